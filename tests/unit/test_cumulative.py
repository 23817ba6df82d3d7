"""Counters that only grow: what their points add up to is what happened, in whatever order the points come."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.cumulative import (
    LOOKBACK_BLOCKS,
    Exponential,
    Histogram,
    Point,
    Value,
    exponential_stats,
    has_predecessors,
    histogram_stats,
    increment_stats,
    increments,
    stream_id,
)
from shared.domain.rollup import Stats, merge
from shared.domain.sketch import GAMMA

BLOCK = 300_000
NOW = 1_773_144_000_000 // BLOCK * BLOCK
EDGES = (0.0, 10.0, 100.0, 1000.0)
Keyed = tuple[str, Point]


# --- a world of processes that count, and their exports


@dataclass
class Process:
    """Exports all its counters at once. `seen`: what each has observed since it last began at zero, at each export."""

    sender: bytes
    start: int
    kind: str
    seen: dict[str, list[float]] = field(default_factory=dict)
    scale: int = 4

    def reading(self, name: str) -> Value:
        return reading(self.kind, self.seen[name], self.scale)

    def export(self, at: int) -> list[Keyed]:
        return [
            (name, Point(stream_id(self.sender, name.encode()), self.start, at, self.reading(name)))
            for name in self.seen
        ]


def reading(kind: str, values: Sequence[float], scale: int) -> Value:
    if kind == "number":
        return float(sum(values))
    if kind == "histogram":
        counts = Counter(bisect_left(EDGES, value) for value in values)
        return Histogram(len(values), sum(values), EDGES, tuple(counts[n] for n in range(len(EDGES) + 1)))
    places = Counter(math.ceil(math.log2(value) * 2.0**scale) - 1 for value in values if value)
    offset, end = min(places, default=0), max(places, default=-1) + 1
    zeros = sum(not value for value in values)
    return Exponential(
        len(values), sum(values), scale, zeros, 0.0, offset, tuple(places[n] for n in range(offset, end))
    )


class Told:
    """The sum of increments by series key, in a form that can be compared whatever the scale was."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.total: Counter[str] = Counter()
        self.buckets: Counter[tuple[str, int]] = Counter()

    def add(self, key: str, added: Value) -> None:
        if isinstance(added, int | float):
            assert added >= 0
            self.total[key] += added
            return
        assert added.count >= 0 <= added.total
        assert min(added.counts, default=0) >= 0
        assert added.count == sum(added.counts) + (added.zero_count if isinstance(added, Exponential) else 0)
        self.count[key] += added.count
        self.total[key] += added.total
        for n, many in enumerate(added.counts):
            self.buckets[key, (added.offset + n) // 2**added.scale if isinstance(added, Exponential) else n] += many

    def add_values(self, kind: str, key: str, values: Iterable[float]) -> None:
        for value in values:
            self.total[key] += value
            if kind == "number":
                continue
            self.count[key] += 1
            if kind == "histogram":
                self.buckets[key, bisect_left(EDGES, value)] += 1
            elif value:
                self.buckets[key, math.ceil(math.log2(value)) - 1] += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Told) and all(
            +mine == +theirs
            for mine, theirs in ((self.count, other.count), (self.total, other.total), (self.buckets, other.buckets))
        )

    def __repr__(self) -> str:
        return f"{dict(self.count)} {dict(self.total)} {dict(self.buckets)}"


def history(rng: random.Random, kind: str) -> tuple[list[Keyed], Told]:
    """Every point that some processes exported, and what has happened since each counter was first known."""
    points: list[Keyed] = []
    truth = Told()
    for sender in (b"one", b"two", b"two"):  # the last two have the same resource
        at = NOW + rng.randrange(0, 8 * BLOCK)
        age = rng.choice(["new", "new", "old", "unknown"])
        start = {"new": at - rng.randrange(1, BLOCK), "old": at - rng.randrange(30 * BLOCK, 90 * BLOCK), "unknown": 0}[
            age
        ]
        if age == "unknown" and any(
            point.start == 0 and point.stream[:6] == stream_id(sender, b"")[:6] for _, point in points
        ):
            continue  # these two could not be told apart
        process = Process(sender, start, kind)
        first = True
        for _ in range(rng.randrange(1, 25)):
            for name in ("a", "b", "c"):
                known = name in process.seen
                if not known and rng.random() < 0.6:
                    continue
                fresh = [rng.choice([0.0, 1.0, 3.0, 7.0, 96.0, 200.0, 5000.0]) for _ in range(rng.randrange(0, 4))]
                began_again = known and rng.random() < 0.05
                if began_again and fell(kind, process.seen[name], fresh):
                    process.seen[name] = fresh
                else:
                    process.seen.setdefault(name, []).extend(fresh)
                # Of one that ran before, or whose start is not known, the first reading only tells where it stands.
                if known or (age == "new") or (age == "old" and not first):
                    truth.add_values(kind, name, fresh)
            if rng.random() < 0.2 and process.scale > 0:
                process.scale -= 1
            points += process.export(at)
            first = first and not process.seen
            at += rng.choice([1000, 60_000, 60_000, 60_000, 5 * BLOCK])
    return points, truth


def fell(kind: str, before: list[float], after: list[float]) -> bool:
    """Whether one can see that a counter with the same start began again."""
    if kind == "number":
        return sum(after) < sum(before)
    return len(after) < len(before)


def told(points: Iterable[Keyed]) -> Told:
    """The increments of all blocks, each worked out from what is known of it and of those before."""
    blocks: defaultdict[int, set[Keyed]] = defaultdict(set)
    for key, point in points:
        blocks[point.time // BLOCK].add((key, point))
    found = Told()
    for number, own in blocks.items():
        for back in (1, LOOKBACK_BLOCKS):
            before = [point for n in range(number - back, number) for _, point in blocks.get(n, ())]
            begins = (number - back) * BLOCK
            if has_predecessors([point for _, point in own], before, begins):
                break
        for key, added in increments(own, before, begins):
            found.add(key, added)
    return found


@settings(max_examples=150)
@given(st.randoms(use_true_random=False), st.sampled_from(["number", "histogram", "exponential"]))
def test_in_any_order_and_however_often_points_add_up_to_what_happened(rng: random.Random, kind: str) -> None:
    points, truth = history(rng, kind)
    delivered = points + rng.choices(points, k=5) if points else []
    rng.shuffle(delivered)
    assert told(delivered) == truth


@settings(max_examples=100)
@given(st.randoms(use_true_random=False), st.sampled_from(["number", "histogram", "exponential"]))
def test_points_that_never_come_lose_nothing_but_what_was_before_the_first(rng: random.Random, kind: str) -> None:
    """Of new processes without resets, as long as the last point comes, everything is counted, and never more."""
    at, process = NOW + rng.randrange(BLOCK), Process(b"one", NOW - 1, kind)
    process.seen = {"a": []}
    points: list[Keyed] = []
    for _ in range(rng.randrange(1, 20)):
        process.seen["a"] += [rng.choice([0.0, 1.0, 96.0, 5000.0]) for _ in range(rng.randrange(0, 3))]
        points += process.export(at)
        at += rng.choice([1000, 60_000, BLOCK])
    kept = [point for point in points[:-1] if rng.random() < 0.5] + points[-1:]
    truth = Told()
    truth.add_values(kind, "a", process.seen["a"])
    assert told(kept) == truth


# --- single cases in words


def number(at: int, value: float, start: int = NOW, stream: bytes = stream_id(b"s", b"a")) -> Keyed:
    return "k", Point(stream, start, at, value)


OLD = NOW - 100 * BLOCK


def added(*points: Keyed, before: Sequence[Keyed] = (), begins: int = NOW - BLOCK) -> list[Value]:
    return [value for _, value in increments(points, [point for _, point in before], begins)]


def test_the_first_export_of_a_long_running_sender_only_tells_where_it_stands() -> None:
    assert added(number(NOW, 500, OLD), number(NOW + 1, 507, OLD)) == [7]


def test_a_counter_that_began_within_the_time_known_counts_from_zero() -> None:
    assert added(number(NOW + 9, 500, NOW)) == [500]


def test_a_label_set_new_to_a_known_sender_counts_from_zero() -> None:
    other = stream_id(b"s", b"b")
    assert added(number(NOW, 500, OLD), number(NOW + 1, 3, OLD, other)) == [3]
    assert added(number(NOW + 1, 3, OLD, other), before=[number(NOW - 5, 500, OLD)]) == [3]
    assert added(number(NOW + 1, 3, OLD, stream_id(b"t", b"b")), before=[number(NOW - 5, 500, OLD)]) == []


def test_one_without_a_start_is_never_taken_to_begin_at_zero() -> None:
    assert added(number(NOW, 500, 0), number(NOW + 1, 3, 0, stream_id(b"s", b"b"))) == []


def test_a_counter_that_falls_has_begun_again_from_zero() -> None:
    assert added(number(NOW, 500), number(NOW + 1, 7)) == [500, 7]


def test_two_processes_with_the_same_resource_and_other_starts_do_not_mix() -> None:
    points = [
        number(NOW + 1, 5, NOW),
        number(NOW + 2, 100, NOW + 1),
        number(NOW + 3, 6, NOW),
        number(NOW + 4, 101, NOW + 1),
    ]
    assert added(*points) == [5, 100, 1, 1]


def test_two_readings_at_one_time_count_in_one_way_in_any_order() -> None:
    points = [number(NOW + 1, 5), number(NOW + 1, 9), number(NOW + 2, 10)]
    assert sum(v for v in added(*points) if isinstance(v, float | int)) == 10
    assert added(*points) == added(*reversed(points))


def test_the_same_point_under_two_series_keys_counts_once() -> None:
    """As when one instance folds its label set into `other` and another one does not."""
    point = number(NOW + 1, 5)[1]
    assert sorted(increments([("k", point), ("other", point)], [], NOW)) in (
        [("k", 5), ("other", 0)],
        [("k", 0), ("other", 5)],
    )


def test_a_histogram_with_other_bounds_begins_again() -> None:
    old = Histogram(5, 50, (10.0,), (3, 2))
    new = Histogram(6, 60, (20.0,), (4, 2))
    stream = stream_id(b"s", b"a")
    assert added(("k", Point(stream, NOW, NOW + 1, new)), before=[("k", Point(stream, NOW, NOW - 1, old))]) == [new]


def difference(new: Exponential, old: Exponential) -> Value:
    stream = stream_id(b"s", b"a")
    (found,) = added(("k", Point(stream, NOW, NOW + 1, new)), before=[("k", Point(stream, NOW, NOW - 1, old))])
    return found


def test_an_empty_histogram_of_another_scale_changes_nothing() -> None:
    new = Exponential(3, 10.0, 4, 0, 0.0, 20, (1, 2))
    assert difference(new, Exponential(0, 0.0, -10, 0, 0.0, 10**9, ())) == new


def test_buckets_far_apart_take_no_room() -> None:
    found = difference(
        Exponential(3, 10.0, 4, 0, 0.0, 2 * 10**9, (1, 2)), Exponential(1, 0.0, 4, 1, 0.0, -(10**9), (0,))
    )
    assert isinstance(found, Exponential)
    assert found.counts == (1, 2)
    found = difference(
        Exponential(3, 10.0, 4, 1, 0.0, 2 * 10**9, (2,)), Exponential(1, 0.0, 4, 1, 0.0, -(10**9), (0, 0))
    )
    assert found == Exponential(2, 10.0, 4, 0, 0.0, 2 * 10**9, (2,))


@pytest.mark.parametrize("factor", [1.0, 1e3, 86_400_000.0, 1e-6])
def test_the_coarsest_scale_stops_no_fold(factor: float) -> None:
    """(1, 2^1024] is a bucket whose end is no float."""
    old = Exponential(1, 0.5, -10, 0, 0.0, -1, (1,), factor)
    new = Exponential(3, 20.5, 0, 0, 0.0, -1, (1, 0, 0, 0, 2), factor)
    stats = increment_stats(difference(new, old), (100.0,))
    assert stats is not None
    assert stats.count == 2
    assert all(map(math.isfinite, (stats.total, stats.low, stats.high)))
    assert merge([stats, stats]).quantile(0.5) is not None


def test_nothing_added_is_no_event() -> None:
    assert increment_stats(0.0, ()) is None
    assert increment_stats(Histogram(0, 0.0, (1.0,), (0, 0)), ()) is None
    assert increment_stats(Exponential(0, 0.0, 3, 0, 0.0, 0, ()), ()) is None


def test_an_increment_of_a_number_is_one_observation() -> None:
    stats = increment_stats(5.0, (1.0, 5.0))
    assert stats is not None
    assert (stats.count, stats.total, stats.low, stats.high, stats.up_to) == (1, 5, 5, 5, {1.0: 0, 5.0: 1})


# --- histograms as rollups

VALUES = st.lists(
    st.one_of(st.sampled_from([0.0, 5.0, 10.0, 100.0, 250.0, 1000.0]), st.floats(1e-6, 1e6)), min_size=1, max_size=40
)
BOUNDS = st.sets(st.sampled_from([0.0, 5.0, 10.0, 25.0, 100.0, 250.0, 1000.0, 1e5]), min_size=1, max_size=6).map(
    lambda of: tuple(sorted(of))
)
WANTED = (0.0, 5.0, 10.0, 100.0, 300.0, 1e5)
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def explicit(values: Sequence[float], bounds: tuple[float, ...], extremes: bool) -> Stats:
    counts = Counter(bisect_left(bounds, value) for value in values)
    histogram = Histogram(len(values), math.fsum(values), bounds, tuple(counts[n] for n in range(len(bounds) + 1)))
    low, high = (min(values), max(values)) if extremes else (None, None)
    stats = histogram_stats(histogram, low, high, WANTED)
    assert stats is not None
    return stats


def exponential(values: Sequence[float], scale: int, zero_up_to: float, extremes: bool) -> Stats:
    places = Counter(math.ceil(math.log2(v) * 2.0**scale) - 1 for v in values if v > zero_up_to)
    offset, end = min(places, default=0), max(places, default=-1) + 1
    zeros = sum(v <= zero_up_to for v in values)
    counts = tuple(places[n] for n in range(offset, end))
    low, high = (min(values), max(values)) if extremes else (None, None)
    histogram = Exponential(len(values), math.fsum(values), scale, zeros, zero_up_to, offset, counts)
    stats = exponential_stats(histogram, low, high, WANTED)
    assert stats is not None
    return stats


def assert_true_of(stats: Stats, values: Sequence[float]) -> None:
    """Everything that the rollup says for certain about these values holds, and every figure is a number."""
    ordered = sorted(values)
    assert stats.count == len(values)
    assert stats.count == sum(stats.buckets.values()) + sum(stats.spans.values())
    assert stats.total == pytest.approx(math.fsum(values))
    assert stats.low <= ordered[0]
    assert all(map(math.isfinite, (stats.total, stats.low, stats.high)))
    previous = 0
    for bound in sorted({*stats.up_to, 42.0, 1e7}):
        count = stats.count_up_to(bound)
        assert 0 <= count <= stats.count
        if bound in stats.up_to:
            assert count >= previous
            previous = count
        if not stats.is_estimate(bound):
            assert count == sum(v <= bound for v in values), bound
    for q in QUANTILES:
        true = ordered[max(1, math.ceil(q * len(ordered) - 1e-9)) - 1]
        bounds, point = stats.quantile_bounds(q), stats.quantile(q)
        assert bounds is not None
        assert point is not None
        assert math.isfinite(point)
        assert bounds[0] <= true * (1 + 1e-9)
        assert bounds[0] <= point * (1 + 1e-9)
        if bounds[1] is not None:
            assert true <= bounds[1] * (1 + 1e-9)
            assert point <= bounds[1] * (1 + 1e-9)


@settings(max_examples=300)
@given(VALUES, BOUNDS, st.booleans())
def test_what_an_explicit_histogram_becomes_is_true_of_any_values_in_it(
    values: list[float], bounds: tuple[float, ...], extremes: bool
) -> None:
    stats = explicit(values, bounds, extremes)
    assert_true_of(stats, values)
    assert stats.up_to.keys() == set(WANTED)
    for bound in WANTED:
        inside = Counter(bisect_left(bounds, v) for v in values)[bisect_left(bounds, bound)]
        known = bound in bounds or not inside or (extremes and not min(values) <= bound < max(values))
        assert (bound in stats.estimated) == (not known), bound


@settings(max_examples=300)
@given(VALUES, st.integers(-3, 8), st.sampled_from([0.0, 0.0, 1e-5, 7.0]), st.booleans())
def test_what_an_exponential_histogram_becomes_is_true_of_any_values_in_it(
    values: list[float], scale: int, zero_up_to: float, extremes: bool
) -> None:
    assert_true_of(exponential(values, scale, zero_up_to, extremes), values)


@settings(max_examples=200)
@given(VALUES, VALUES, VALUES, BOUNDS, st.booleans())
def test_merged_histograms_of_several_kinds_are_true_of_all_values(
    a: list[float], b: list[float], c: list[float], bounds: tuple[float, ...], extremes: bool
) -> None:
    merged = merge([explicit(a, bounds, extremes), exponential(b, 2, 0.0, not extremes), explicit(c, (100.0,), False)])
    assert_true_of(merged, [*a, *b, *c])


def test_values_above_the_last_edge_are_not_taken_to_be_below_any_bound() -> None:
    """A bound that was set after the data came says that it is an estimate."""
    stats = explicit([50.0, 20_000.0], (100.0,), extremes=False)
    bounds = stats.quantile_bounds(1.0)
    assert bounds is not None
    assert bounds[1] is None
    assert stats.is_estimate(10_000.0)
    assert stats.count_up_to(10_000.0) == 1
    assert explicit([50.0, 20_000.0], (100.0,), extremes=True).is_estimate(10_000.0)
    assert not explicit([50.0, 20_000.0], (100.0,), extremes=True).is_estimate(20_000.0)


def test_the_first_bucket_may_hold_zeros() -> None:
    assert 0.0 in explicit([0.0, 3.0], (10.0,), extremes=False).estimated
    assert 0.0 not in explicit([2.0, 3.0], (10.0,), extremes=True).estimated
    assert 0.0 not in explicit([0.0, 3.0], (0.0, 10.0), extremes=False).estimated


def test_estimates_lie_evenly_between_the_edges() -> None:
    stats = explicit([150.0] * 100, (100.0, 200.0), extremes=False)
    found = histogram_stats(Histogram(100, 15_000.0, (100.0, 200.0), (0, 100, 0)), None, None, (125.0, 175.0))
    assert found is not None
    assert found.up_to == {125.0: 25, 175.0: 75}
    assert stats.quantile(0.5) == pytest.approx(150, rel=0.02)
    assert stats.quantile_bounds(0.5) == pytest.approx((100, 200), rel=GAMMA - 1 + 0.001)


@pytest.mark.parametrize(
    ("low", "high"), [(None, 1.0), (500.0, None), (500.0, 1.0), (0.0, 0.0), (150.0, 150.0), (1e15, 1e15)]
)
def test_extremes_that_contradict_the_buckets_break_nothing(low: float | None, high: float | None) -> None:
    stats = histogram_stats(Histogram(5, 700.0, (100.0, 200.0), (1, 3, 1)), low, high, WANTED)
    assert stats is not None
    assert stats.count == 5 == sum(stats.buckets.values()) + sum(stats.spans.values())
    for q in QUANTILES:
        bounds, point = stats.quantile_bounds(q), stats.quantile(q)
        assert bounds is not None
        assert point is not None
        assert math.isfinite(point)
        assert bounds[1] is None or bounds[0] <= bounds[1]

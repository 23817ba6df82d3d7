"""Rollups: exact counts at the bounds, estimates that say so, and merging that is free of order and grouping."""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.cumulative import Exponential, Histogram, Point, histogram_stats
from shared.domain.definition import Definition
from shared.domain.fit import fit, is_other
from shared.domain.rollup import SHARDS, Gathered, Stats, distribution, merge, shard_of, stats_of
from shared.domain.series import key_of, split_key
from shared.domain.slots import count_definitions
from shared.metrics.points_codec import decode_points
from shared.metrics.rollup_codec import MAX_PAYLOAD, decode_rollup, encode_fitted, encode_rollup
from shared.metrics.rollups import decode_block
from shared.metrics.segment import decode_segment
from tests.core import registry, shipped

BOUNDS = (0.0, 0.1, 100.0, 300.0, 400.0)
VALUES = st.one_of(st.sampled_from([0.0, 0.1, 99.99, 100.0, 100.01, 300.0, 400.0]), st.floats(1e-9, 1e6))
LISTS = st.lists(VALUES, min_size=1, max_size=25)


def stats(values: Sequence[float], bounds: tuple[float, ...] = BOUNDS) -> Stats:
    gathered = Gathered(bounds)
    gathered.values = list(values)
    return gathered.stats()


def same(a: Stats, b: Stats) -> bool:
    return (a.count, a.low, a.high, a.up_to, dict(a.buckets), a.estimated) == (
        b.count, b.low, b.high, b.up_to, dict(b.buckets), b.estimated,
    ) and math.isclose(a.total, b.total, rel_tol=1e-12)  # fmt: skip


@given(LISTS)
def test_a_rollup_of_values_is_what_they_are(values: list[float]) -> None:
    found = stats(values)
    assert (found.count, found.low, found.high) == (len(values), min(values), max(values))
    assert found.total == pytest.approx(math.fsum(values), rel=1e-12)
    assert found.up_to == {bound: sum(v <= bound for v in values) for bound in BOUNDS}
    assert found.estimated == set()


@pytest.mark.parametrize("bound", [0.1, 100.0, 300.0])
def test_a_value_at_a_bound_is_within_it_and_the_next_float_is_not(bound: float) -> None:
    found = stats([math.nextafter(bound, 0), bound, math.nextafter(bound, math.inf)])
    assert found.count_up_to(bound) == 2


@given(LISTS, LISTS)
def test_merging_is_commutative(a: list[float], b: list[float]) -> None:
    assert same(merge([stats(a), stats(b)]), merge([stats(b), stats(a)]))


@given(LISTS, LISTS, LISTS)
def test_merging_is_associative(a: list[float], b: list[float], c: list[float]) -> None:
    left = merge([merge([stats(a), stats(b)]), stats(c)])
    right = merge([stats(a), merge([stats(b), stats(c)])])
    assert same(left, right)
    assert same(left, stats([*a, *b, *c]))


@given(LISTS)
def test_merging_one_alone_changes_nothing(a: list[float]) -> None:
    assert same(merge([stats(a)]), stats(a))


BOUND_SETS = st.sets(st.sampled_from(BOUNDS), max_size=3).map(lambda s: tuple(sorted(s)))


@given(st.lists(st.tuples(LISTS, BOUND_SETS), min_size=1, max_size=5))
def test_a_bound_that_is_not_marked_as_estimated_is_exact(
    given_parts: list[tuple[list[float], tuple[float, ...]]],
) -> None:
    every = [v for values, _ in given_parts for v in values]
    merged = stats(*given_parts[0])
    for values, bounds in given_parts[1:]:
        merged = merge([merged, stats(values, bounds)])
    for bound, count in merged.up_to.items():
        if bound not in merged.estimated:
            assert count == sum(v <= bound for v in every)
    assert merged.count == len(every)


def test_a_bound_that_one_part_did_not_count_is_estimated_and_marked() -> None:
    merged = merge([stats([50, 350], (300.0,)), stats([100.0, 500.0], ())])
    assert merged.estimated == {300.0}
    assert merged.up_to[300.0] == 2


def test_the_mark_of_an_estimate_survives_merging_and_storing() -> None:
    estimated = merge([stats([50, 350], (300.0,)), stats([100.0, 500.0], ())])
    again = decode_rollup(encode_rollup({"api_latency{}": estimated}))["api_latency{}"]
    assert same(again, estimated)
    assert merge([again, stats([1.0], (300.0,))]).estimated == {300.0}


def test_a_bound_outside_of_what_was_seen_needs_no_estimate() -> None:
    merged = merge([stats([50, 350], (300.0,)), stats([100.0, 200.0], ()), stats([301.0], ())])
    assert merged.estimated == set()
    assert merged.up_to[300.0] == 3


@given(LISTS)
def test_a_quantile_never_lies_outside_of_what_was_seen(values: list[float]) -> None:
    for q in (0.5, 0.95, 0.99):
        found = stats(values).quantile(q)
        assert found is not None
        assert min(values) <= found <= max(values)


@given(st.dictionaries(st.sampled_from(["api_latency{}", "token_cost{}", 'api_latency{"a":"ü"}']), LISTS))
def test_a_rollup_comes_back_from_storage_as_it_was(given_series: dict[str, list[float]]) -> None:
    rollup = {key: stats(values) for key, values in given_series.items()}
    found = decode_rollup(encode_rollup(rollup))
    assert found.keys() == rollup.keys()
    assert all(same(found[key], rollup[key]) for key in rollup)


def test_all_series_of_a_metric_are_in_one_shard_and_the_metrics_spread() -> None:
    for metric in registry().metrics:
        assert len({shard_of(key_of(metric, {"n": str(n)})) for n in range(50)}) == 1
    assert {shard_of(f"{metric}{{}}") for metric in registry().metrics} == set(range(SHARDS))


# --- histograms and weighted samples

PARTS = st.one_of(
    LISTS.map(stats),
    st.tuples(LISTS, st.integers(2, 1000)).map(lambda drawn: stats_of(list(drawn[0]), BOUNDS, drawn[1])),
    st.lists(st.integers(0, 30), min_size=4, max_size=4)
    .filter(any)
    .map(
        lambda counts: histogram_stats(
            Histogram(sum(counts), 7.0, (0.1, 150.0, 400.0), tuple(counts)), None, None, BOUNDS
        )
    ),
)


def whole(a: Stats) -> tuple[object, ...]:
    return a.count, a.low, a.high, a.up_to, dict(a.buckets), a.estimated, a.spans, a.weighted


@given(PARTS, PARTS, PARTS)
def test_merging_histograms_and_samples_is_free_of_order_and_grouping(a: Stats, b: Stats, c: Stats) -> None:
    left = merge([merge([a, b]), c])
    assert whole(left) == whole(merge([a, merge([c, b])])) == whole(merge([c, b, a]))
    assert left.count == sum(left.buckets.values()) + sum(left.spans.values())
    assert left.weighted == a.weighted + b.weighted + c.weighted
    for q in (0.5, 0.95, 0.99):
        assert left.quantile(q) == merge([c, a, b]).quantile(q)
    kept = distribution([a, b, c])
    assert kept is not None
    assert [kept.quantile_bounds(q) for q in (0.5, 0.99)] == [left.quantile_bounds(q) for q in (0.5, 0.99)]


@given(st.dictionaries(st.sampled_from(["api_latency{}", "token_cost{}"]), PARTS))
def test_histograms_and_samples_come_back_from_storage_as_they_were(rollup: dict[str, Stats]) -> None:
    again = decode_rollup(encode_rollup(rollup))
    assert {key: whole(s) for key, s in again.items()} == {key: whole(s) for key, s in rollup.items()}


def test_rollups_stored_before_there_were_histograms_are_read() -> None:
    row = ("api_latency{}", 2, 150.0, 50.0, 100.0, {100.0: 2}, {300.0}, {195: 1, 230: 1})
    (found,) = decode_rollup(zlib.compress(msgspec.msgpack.encode([row]), 1)).values()
    assert found == Stats(2, 150.0, 50.0, 100.0, {100.0: 2}, {195: 1, 230: 1}, {300.0})
    assert len(msgspec.msgpack.decode(zlib.decompress(encode_rollup({"api_latency{}": found})))[0]) == 8


def test_a_block_without_a_part_from_points_is_read() -> None:
    payload = encode_rollup({"api_latency{}": stats([1.0])})
    for data in ({"payload": payload}, {"payload": payload, "derived": b""}):
        assert whole(decode_block(data)["api_latency{}"]) == whole(stats([1.0]))
    both = decode_block({"payload": payload, "derived": payload})
    assert both["api_latency{}"].count == 2


def test_a_segment_of_the_first_version_is_read() -> None:
    blocks = [(5_910_480, array("I", [7]).tobytes(), array("d", [42.0]).tobytes(), [])]
    body = msgspec.msgpack.encode((1, [(100.0,)], {7: ("api_latency{}", 0)}, [(b"12345678", blocks)]))
    (batch,) = decode_segment(b"m" + zlib.crc32(body).to_bytes(4, "big") + body)
    (block,) = batch.blocks
    assert (batch.series, list(block.raw_values)) == ({7: ("api_latency{}", (100.0,))}, [42.0])
    assert (block.wholes, block.points) == ([], [])


def test_points_stored_without_a_factor_are_read() -> None:
    row = (b"s" * 12, 1, 2, ("e", 3, 7.0, 4, 1, 0.5, -3, (1, 1)))
    found = decode_points(zlib.compress(msgspec.msgpack.encode({"api_latency{}": [row]}), 1))
    assert found == {"api_latency{}": [Point(b"s" * 12, 1, 2, Exponential(3, 7.0, 4, 1, 0.5, -3, (1, 1), 1.0))]}


# --- kept within a document


def varied(count: int) -> dict[str, Stats]:
    """Series of api_latency with a status each, more and more frequent."""
    return {
        key_of("api_latency", {"endpoint": f"/route/{n}", "status": str((200, 404, 500, 503)[n % 4])}): stats(
            [float(17 * n % 977 + m) for m in range(1 + n % 40)]
        )
        for n in range(count)
    }


def sums(rollup: dict[str, Stats]) -> tuple[object, ...]:
    merged = merge(rollup.values())
    counts = count_definitions(rollup, shipped().definitions, registry())
    return merged.count, round(merged.total), merged.low, merged.high, merged.up_to, dict(merged.buckets), counts


@pytest.mark.parametrize("limit", [100_000, 50_000, 10_000, 5_000])
def test_five_thousand_series_fit_and_sums_counts_and_errors_stay(limit: int) -> None:
    rollup = varied(5000)
    payload = encode_fitted(rollup, limit)
    assert len(payload) <= limit < len(encode_rollup(rollup))
    fitted = decode_rollup(payload)
    assert sums(fitted) == sums(rollup)
    assert any(is_other(key) for key in fitted)


def test_the_most_frequent_series_stay_by_themselves() -> None:
    rollup = varied(5000)
    top = max(rollup, key=lambda key: rollup[key].count)
    assert top in decode_rollup(encode_fitted(rollup, 100_000))


def test_what_fits_stays_as_it_is() -> None:
    rollup = varied(50)
    assert fit(rollup, lambda r: len(encode_rollup(r)), MAX_PAYLOAD) is rollup


def test_a_label_status_of_ever_new_texts_cannot_make_it_stick() -> None:
    rollup = {key_of("api_latency", {"status": f"odd {n}"}): stats([1.0]) for n in range(3000)}
    rollup |= {key_of("api_latency", {"status": str(n)}): stats([1.0]) for n in range(10_000, 13_000)}
    rollup[key_of("api_latency", {"status": "500"})] = stats([1.0])
    fitted = fit(rollup, lambda r: len(encode_rollup(r)), 300)
    assert len(encode_rollup(fitted)) <= 300
    assert merge(fitted.values()).count == 6001
    assert sum(s.count for key, s in fitted.items() if split_key(key)[1].get("status") == "500") == 1


def test_series_already_put_together_do_not_stop_others_from_being() -> None:
    together = {key_of(m, {"other": "true"}): stats([1.0]) for m in ("token_cost", "storage_usage", "agent_uptime")}
    rollup = together | {key_of("api_latency", {"endpoint": f"/r{n}"}): stats([float(n)] * 5) for n in range(2)}
    fitted = fit(rollup, lambda r: 400 if len(r) > 4 else 10, 100)
    assert len(fitted) == 4
    assert merge(fitted.values()).count == 13


def test_fitting_ends_where_nothing_is_left_to_put_together() -> None:
    rollup = {key_of("api_latency", {"other": "true"}): stats([1.0])}
    assert fit(rollup, lambda r: 1000, 1) == rollup


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(100, 8000))
def test_fitting_keeps_every_sum_for_any_limit(count: int, limit: int) -> None:
    rollup = varied(count)
    assert sums(fit(rollup, lambda r: len(encode_rollup(r)), limit)) == sums(rollup)


def test_a_definition_is_counted_over_all_series_of_its_metric() -> None:
    block = {
        key_of("api_latency", {"endpoint": "/a"}): stats([100, 300, 301]),
        key_of("api_latency", {"endpoint": "/b"}): stats([300]),
        key_of("token_cost", {}): stats([1.0]),
    }
    definition = Definition("api_latency", 300.0)
    counts = count_definitions(block, [definition], registry())[definition.hash]
    assert (counts.good, counts.total) == (3, 4)

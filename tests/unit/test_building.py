"""The builder of a batch: values, weighted samples, histograms, points and labels left out."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.building import DROPPED, Batch, BatchBuilder, Suspect
from shared.domain.cumulative import Exponential, Histogram, Point, histogram_stats
from shared.domain.rollup import Delta, Stats, merge, merge_all, stats_of
from shared.domain.series import Series, SeriesTable
from shared.domain.sketch import UNBOUNDED
from shared.metrics.gather import gather, gather_points
from shared.metrics.segment import decode_segment, encode_segment
from tests.core import new_table

BLOCK = 5_910_480
VALUES = st.lists(st.sampled_from([0.0, 1.0, 99.5, 100.0, 300.0, 1200.0]), min_size=1, max_size=9)


def series(table: SeriesTable, name: str = "api_latency", labels: bytes = b'{"endpoint":"/a"}') -> Series:
    found = table.resolve(name, labels)
    assert isinstance(found, Series)
    return found


def gathered(*batches: Batch) -> dict[str, Stats]:
    """What the fold would make of them, after a segment."""
    found = []
    for batch in decode_segment(encode_segment(batches)):
        for block in batch.blocks:
            fresh, _ = gather([(batch, block)], [set(), set()])
            found += [{key: g.stats()} for shard in fresh for (key, _), g in shard.items()]
    return merge_all(found)


@settings(max_examples=60)
@given(st.lists(st.tuples(VALUES, st.integers(1, 1000)), min_size=1, max_size=6))
def test_weighted_samples_multiply_counts_and_sums_and_are_marked(parts: list[tuple[list[float], int]]) -> None:
    table = new_table()
    builder = BatchBuilder(table)
    for values, weight in parts:
        builder.weighted(series(table), BLOCK, list(values), weight)
    (stats,) = gathered(builder.batch(b"12345678", 1)).values()
    every = [v for values, weight in parts for v in values * weight]
    assert (stats.count, stats.low, stats.high) == (len(every), min(every), max(every))
    assert stats.total == pytest.approx(sum(every))
    assert stats.up_to == {bound: sum(v <= bound for v in every) for bound in stats.up_to}
    assert sum(stats.buckets.values()) == len(every)
    assert stats.weighted == sum(len(values) * weight for values, weight in parts if weight > 1)
    assert stats.estimated == set()


def test_sampling_leaves_sums_counts_and_shares_unbiased() -> None:
    """One in ten, each for ten, many times over: the mean of what is estimated is what is true."""
    rng = random.Random(20260310)
    true = [rng.lognormvariate(5, 1) for _ in range(2000)]
    counts, sums, within = [], [], []
    for _ in range(300):
        stats = stats_of([v for v in true if rng.random() < 0.1], (300.0,), 10)
        counts.append(stats.count)
        sums.append(stats.total)
        within.append(stats.up_to[300.0])
    assert fmean(counts) == pytest.approx(2000, rel=0.02)
    assert fmean(sums) == pytest.approx(sum(true), rel=0.02)
    assert fmean(within) == pytest.approx(sum(v <= 300 for v in true), rel=0.02)


@pytest.mark.parametrize("weight", [1, 7])
@pytest.mark.parametrize("value", [-1.0, 2e15, 1e-300, float("nan"), float("inf")])
def test_what_is_no_possible_value_is_suspect_whatever_its_weight(value: float, weight: int) -> None:
    table = new_table()
    for values in ([value], [1.0, 2.0, 3.0, value]):
        with pytest.raises(Suspect):
            BatchBuilder(table).weighted(series(table), BLOCK, list(values), weight)


@pytest.mark.parametrize("weight", [1, 7])
def test_a_ratio_takes_zeros_and_ones_alone(weight: int) -> None:
    table = new_table()
    ratio = series(table, "error_rate", b"{}")
    builder = BatchBuilder(table)
    builder.weighted(ratio, BLOCK, [0.0, 1.0, 1.0], weight)
    with pytest.raises(Suspect):
        builder.weighted(ratio, BLOCK, [0.5], weight)
    (stats,) = gathered(builder.batch(b"12345678", 3)).values()
    assert (stats.count, stats.total) == (3 * weight, 2 * weight)


def test_histograms_and_points_come_back_from_a_segment_as_they_were() -> None:
    table = new_table()
    own = series(table)
    histogram = Histogram(3, 75.0, (10.0, 50.0), (1, 1, 1))
    exponential = Exponential(4, 9.0, 3, 1, 0.25, -2, (1, 2), 1000.0)
    whole = histogram_stats(histogram, 1.0, 70.0, own.bounds)
    assert whole is not None
    points = [Point(b"s" * 12, 1, 2, value) for value in (5.0, histogram, exponential, None)]
    builder = BatchBuilder(table)
    builder.values(own, BLOCK, [7.0])
    builder.whole(own, BLOCK + 1, whole)
    for point in points:
        builder.point(own, BLOCK, point)
    (batch,) = decode_segment(encode_segment([builder.batch(b"12345678", 6)]))
    blocks = {block.number: block for block in batch.blocks}
    assert blocks[BLOCK + 1].wholes == [(own.number, whole)]
    assert [point for _, point in blocks[BLOCK].points] == points
    entries = [(batch, block) for block in batch.blocks]
    found = gather_points(entries + entries, 2)
    assert [by_key for by_key in found if by_key] == [{own.key: set(points)}]


BOUNDS = (10.0, 50.0)
HISTOGRAMS = st.integers(0, 50).flatmap(
    lambda low: st.tuples(
        st.sampled_from([BOUNDS, (20.0,)]),
        st.floats(0, 1e6),
        st.sampled_from([None, float(low)]),
        st.sampled_from([None, 60.0]),
        st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)),
    )
)


def batch_of(histograms: list[Delta], table: SeriesTable, name: bytes = b"12345678") -> Batch:
    """Delta histograms of one series in one block."""
    own, builder = series(table), BatchBuilder(table)
    for bounds, total, low, high, counts in histograms:
        builder.note(own, BLOCK, sum(counts))
        row = (own.number, builder.place_of(bounds), total, low, high, counts)
        builder.block(BLOCK).histograms.append(row)
    return builder.batch(name, len(histograms))


@settings(max_examples=60)
@given(st.lists(HISTOGRAMS, min_size=1, max_size=8))
def test_delta_histograms_add_up_to_what_each_alone_would(drawn: list[Delta]) -> None:
    table = new_table()
    histograms = [(bounds, total, low, high, counts[: len(bounds) + 1]) for bounds, total, low, high, counts in drawn]
    (found,) = gathered(batch_of(histograms, table)).values()
    each = [
        histogram_stats(Histogram(sum(counts), total, bounds, counts), low, high, series(table).bounds)
        for bounds, total, low, high, counts in histograms
    ]
    alone = merge([stats for stats in each if stats is not None])
    assert (found.count, found.low, found.high) == (alone.count, alone.low, alone.high)
    assert found.total == pytest.approx(alone.total)
    assert sum(found.spans.values()) + sum(found.buckets.values()) == found.count
    exact = found.up_to.keys() - found.estimated - alone.estimated
    assert {bound: found.up_to[bound] for bound in exact} == {bound: alone.up_to[bound] for bound in exact}


def test_a_delta_histogram_counts_once_however_many_segments_hold_it() -> None:
    table = new_table()
    (batch,) = decode_segment(encode_segment([batch_of([(BOUNDS, 75.0, 1.0, 70.0, (1, 1, 1))], table)]))
    entries = [(batch, block) for block in batch.blocks]
    fresh, added = gather(entries + entries, [set(), set()])
    assert [g.stats().count for shard in fresh for g in shard.values()] == [3]
    again, _ = gather(entries, [set(of) for of in added])
    assert not any(again)


def test_of_histograms_without_a_largest_value_the_others_keep_theirs() -> None:
    table = new_table()
    known, unknown = (BOUNDS, 9.0, 1.0, 70.0, (0, 0, 1)), (BOUNDS, 9.0, None, None, (0, 0, 1))
    (found,) = gathered(batch_of([known, unknown], table)).values()
    assert sorted(last == UNBOUNDED for _, last in found.spans) == [False, True]


def test_readings_come_back_from_a_segment_as_points() -> None:
    table = new_table()
    own, builder = series(table), BatchBuilder(table)
    builder.note(own, BLOCK, 1)
    stream, place = b"s" * 12, builder.place_of(BOUNDS)
    builder.block(BLOCK).readings += [
        (own.number, stream, 1, 2, 5.0),
        (own.number, stream, 1, 3, (place, 75.0, (1, 0, 2))),
    ]
    (batch,) = decode_segment(encode_segment([builder.batch(b"12345678", 2)]))
    values = (5.0, Histogram(3, 75.0, BOUNDS, (1, 0, 2)))
    expected = [(own.number, Point(stream, 1, time, value)) for time, value in zip((2, 3), values, strict=True)]
    assert batch.blocks[0].points == expected


def test_a_segment_without_histograms_and_points_stays_readable_for_an_older_version() -> None:
    table = new_table()
    plain, more, histogram = BatchBuilder(table), BatchBuilder(table), BatchBuilder(table)
    plain.values(series(table), BLOCK, [1.0])
    histogram.block(BLOCK).histograms.append((series(table).number, 0, 9.0, None, None, (1,)))
    more.point(series(table), BLOCK, Point(b"", 0, BLOCK * 300_000, None))
    versions = [
        encode_segment([b.batch(b"12345678", 1)])[6] for b in (plain, more, histogram)
    ]  # the first field of the tuple
    assert versions == [1, 2, 3]


def test_labels_left_out_are_counted_by_metric_label_and_block() -> None:
    table = new_table()
    with_extra = series(table, labels=b'{"endpoint":"/a","color":"red"}')
    builder = BatchBuilder(table)
    builder.values(with_extra, BLOCK, [1.0] * 5)
    builder.weighted(with_extra, BLOCK, [1.0, 2.0], 10)
    builder.values(with_extra, BLOCK + 1, [1.0])
    builder.point(with_extra, BLOCK + 1, Point(b"s" * 12, 0, 1, 5.0))
    batch = builder.batch(b"12345678", 9)
    assert batch.dropped == {"color": 5 + 20 + 1 + 1}
    found = gathered(batch)
    key = f'{DROPPED}{{"label":"color","metric":"api_latency"}}'
    assert (found[key].count, found[key].total) == (2, 27)
    assert with_extra.key == 'api_latency{"endpoint":"/a"}'


def test_no_label_left_out_is_no_series() -> None:
    table = new_table()
    builder = BatchBuilder(table)
    builder.values(series(table), BLOCK, [1.0])
    batch = builder.batch(b"12345678", 1)
    assert batch.dropped == {}
    assert [s.metric for s in batch.series.values()] == ["api_latency"]

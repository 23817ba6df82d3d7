"""Counters that only grow: what was added is the difference of one point to the one before.

A point alone says nothing, and points come late and out of order; so they are stored, as a set, and differenced where
a 5-minute block is worked out. Numbers, explicit and exponential histograms of OpenTelemetry all go this way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from math import fsum

from shared.domain.rollup import Delta, Stats
from shared.domain.sketch import UNBOUNDED, index_of
from shared.domain.spans import Span

LOOKBACK_BLOCKS = 24  # two hours: how far back the point before is looked for
_HASH = 6
_BELOW_ZERO = -1.0  # where a bucket starts that holds 0 itself
_LARGEST_POWER = 900.0  # of 2: a sketch has buckets up to 2^945


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]`: values in (bounds[i-1], bounds[i]]; the last has no upper bound."""

    count: int
    total: float
    bounds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Exponential:
    """`counts[i]`: values in (b^(offset+i), b^(offset+i+1)] with b = 2^(2^-scale); `zero_count`: up to `zero_up_to`.

    All these edges times `factor`: they are in the sender's unit, since powers of b are none in another one. `total` is
    in ours.
    """

    count: int
    total: float
    scale: int
    zero_count: int
    zero_up_to: float
    offset: int
    counts: tuple[int, ...]
    factor: float = 1.0


Value = float | Histogram | Exponential


@dataclass(frozen=True, slots=True)
class Point:
    """What a counter read at `time`, having begun at zero at `start` (0: unknown); milliseconds since 1970.

    `stream` names the counter, see `stream_id`. `value` is None for a heartbeat.
    """

    stream: bytes
    start: int
    time: int
    value: Value | None


def stream_id(sender: bytes, attributes: bytes) -> bytes:
    """`sender`: resource and scope; `attributes`: the point's, sorted. Both as they were sent: labels lose parts."""
    return b"".join(blake2b(part, digest_size=_HASH).digest() for part in (sender, attributes))


def sender_of(point: Point) -> bytes:
    return point.stream[:_HASH]


def size_of(value: Value | None) -> float:
    """How much was counted: of two readings at the same time the larger is the later one."""
    if value is None:
        return 0
    return value.count if isinstance(value, Histogram | Exponential) else value


def has_predecessors(points: Iterable[Point], before: Iterable[Point], begins: int) -> bool:
    """Whether each counter has a point among those `before`, or began after `begins`, so that it can have none."""
    known = {(point.stream, point.start) for point in before}
    return all((point.stream, point.start) in known or point.start >= begins for point in points)


def increments(
    points: Iterable[tuple[str, Point]], before: Iterable[Point], begins: int
) -> Iterator[tuple[str, Value]]:
    """What each point of one metric in a block has added, with the series key that it came with.

    `before`: the points since `begins` that came earlier. A point is compared with the one before it of the same stream
    and start. The first of a stream counts from zero if nothing can have been before: it started after `begins`, or its
    sender, which always tells all of its counters, reported earlier without it. Otherwise it only tells where the
    counter stands. A counter that falls has begun again from zero.
    """
    last: dict[tuple[bytes, int], Point] = {}
    first_seen: dict[tuple[bytes, int], int] = {}
    everything: list[tuple[str | None, Point]] = [(None, point) for point in before]
    for key, point in sorted([*everything, *points], key=lambda entry: (entry[1].time, size_of(entry[1].value))):
        if point.value is None:
            continue
        stream, sender = (point.stream, point.start), (sender_of(point), point.start)
        seen = first_seen.setdefault(sender, point.time)
        previous = last.get(stream)
        last[stream] = point
        if key is None:
            continue
        if previous is not None and previous.value is not None:
            yield key, _difference(point.value, previous.value)
        elif point.start and (point.start >= begins or seen < point.time):
            yield key, point.value


def _difference(new: Value, old: Value) -> Value:
    """`new` itself after a reset, or where the two cannot be compared."""
    if isinstance(new, Histogram) and isinstance(old, Histogram):
        counts = tuple(a - b for a, b in zip(new.counts, old.counts, strict=False))
        if new.bounds != old.bounds or min(counts, default=0) < 0 or new.count < old.count:
            return new
        return Histogram(new.count - old.count, max(0.0, new.total - old.total), new.bounds, counts)
    if isinstance(new, Exponential) and isinstance(old, Exponential):
        return _exponential_difference(new, old)
    if isinstance(new, int | float) and isinstance(old, int | float):
        return new - old if new >= old else new
    return new


def _exponential_difference(new: Exponential, old: Exponential) -> Exponential:
    if not old.count:  # its scale and offset mean nothing
        return new
    scale = min(new.scale, old.scale)
    left, taken = _at_scale(new, scale), _at_scale(old, scale)
    for index, count in taken.items():
        left[index] = left.get(index, 0) - count
    left = {
        index: count for index, count in left.items() if count
    }  # so the buckets are as close together as those of new
    zeros = new.zero_count - old.zero_count
    differs = (new.zero_up_to, new.factor) != (old.zero_up_to, old.factor)
    if min(left.values(), default=0) < 0 or zeros < 0 or differs or new.count < old.count:
        return new
    offset = min(left, default=0)
    counts = tuple(left.get(index, 0) for index in range(offset, max(left, default=-1) + 1))
    total = max(0.0, new.total - old.total)
    return Exponential(new.count - old.count, total, scale, zeros, new.zero_up_to, offset, counts, new.factor)


def _at_scale(histogram: Exponential, scale: int) -> dict[int, int]:
    """Two buckets become one with each step down."""
    merged: dict[int, int] = {}
    for n, count in enumerate(histogram.counts):
        index = histogram.offset + n >> histogram.scale - scale
        merged[index] = merged.get(index, 0) + count
    return merged


Range = tuple[float, float | None, int]  # values above the first, up to the second (None: no end), and how many


def histogram_stats(
    histogram: Histogram, low: float | None, high: float | None, bounds: Sequence[float]
) -> Stats | None:
    """As a rollup; None if it is empty. `low`, `high`: the least and largest value, where they are known.

    Counts at `bounds` are exact where the histogram has such a bound; the others are estimated, and marked.
    """
    edges = [_BELOW_ZERO, *(max(0.0, bound) for bound in histogram.bounds)]
    ends: list[float | None] = [*edges[1:], None]
    ranges = [(a, b, n) for a, b, n in zip(edges, ends, histogram.counts, strict=True) if n]
    return _stats(ranges, histogram.total, low, high, bounds)


def put_together(histograms: Iterable[Delta], bounds: Sequence[float]) -> list[Stats]:
    """Delta histograms of one series as rollups: one for all that have the same bounds and tell as much.

    Bounds are the same if they are one object: to compare them would take longer than all the rest.
    """
    alike: defaultdict[tuple[int, bool, bool], list[Delta]] = defaultdict(list)
    for histogram in histograms:
        own, _, low, high, _ = histogram
        alike[id(own), low is None, high is None].append(histogram)
    found = []
    for group in alike.values():
        own = group[0][0]
        lows = [low for _, _, low, _, _ in group if low is not None]
        highs = [high for _, _, _, high, _ in group if high is not None]
        counts = tuple(map(sum, zip(*(counts for *_, counts in group), strict=True)))
        total = fsum(total for _, total, _, _, _ in group)
        low, high = min(lows, default=None), max(highs, default=None)
        found.append(histogram_stats(Histogram(sum(counts), total, own, counts), low, high, bounds))
    return [stats for stats in found if stats is not None]


def exponential_stats(
    histogram: Exponential, low: float | None, high: float | None, bounds: Sequence[float]
) -> Stats | None:
    """The same for an exponential histogram."""
    by = histogram.factor
    ranges: list[Range] = []
    if histogram.zero_count:
        ranges.append((_BELOW_ZERO, histogram.zero_up_to * by, histogram.zero_count))
    for index, count in enumerate(histogram.counts, histogram.offset):
        if count:
            ranges.append((_edge(index, histogram.scale) * by, _edge(index + 1, histogram.scale) * by, count))
    return _stats(ranges, histogram.total, low, high, bounds)


def _edge(index: int, scale: int) -> float:
    """A bucket's edge. Buckets that were put together can end beyond the largest float: no value is there."""
    return float(2.0 ** min(index * 2.0**-scale, _LARGEST_POWER))


def _stats(
    ranges: list[Range], total: float, low: float | None, high: float | None, bounds: Sequence[float]
) -> Stats | None:
    """`ranges` and `bounds` rise, and no range is empty."""
    if not ranges:
        return None
    least = max(ranges[0][0] if low is None else low, 0.0)
    last = max(start if end is None else end for start, end, _ in ranges)
    most = max(least, last if high is None else high)
    buckets: dict[int, int] = {}
    spans: dict[Span, int] = {}
    count = 0
    for n, (start, end, some) in enumerate(ranges):
        count += some
        if high is not None and (end is None or n == len(ranges) - 1):
            end = most
        first = _index(max(least, start))
        last_index = UNBOUNDED if end is None else max(first, _index(end))
        if first == last_index:
            buckets[first] = buckets.get(first, 0) + some
        else:
            spans[first, last_index] = spans.get((first, last_index), 0) + some
    stats = Stats(count, total, least, most, {}, buckets, set(), spans)
    _count_up_to(stats, ranges, None if high is None else most, bounds)
    return stats


_index = lru_cache(maxsize=10_000)(index_of)  # the same edges come with every point


def _count_up_to(stats: Stats, ranges: list[Range], most: float | None, bounds: Sequence[float]) -> None:
    """Set how many values are <= each bound: exact where no range is cut by it, else estimated, and marked.

    Values are taken to lie evenly between a range's edges; of one without an end none is taken to be below.
    """
    below = n = 0
    for bound in bounds:
        while n < len(ranges) and (end := ranges[n][1]) is not None and bound >= end * (1 - 1e-12):
            below += ranges[n][2]
            n += 1
        if most is not None and bound >= most:
            stats.up_to[bound] = stats.count
        elif bound < stats.low:
            stats.up_to[bound] = 0
        elif n == len(ranges) or bound <= ranges[n][0]:
            stats.up_to[bound] = below
        else:
            start, end, count = ranges[n]
            start, stop = max(stats.low, start), end if n < len(ranges) - 1 or most is None else most
            share = 0.0 if stop is None or bound <= start else min(1.0, (bound - start) / (stop - start))
            stats.up_to[bound] = below + round(count * share)
            stats.estimated.add(bound)


def increment_stats(added: Value, bounds: Sequence[float]) -> Stats | None:
    """An increment as a rollup: a number is one observation of what was added; None if nothing was."""
    if isinstance(added, Histogram):
        return histogram_stats(added, None, None, bounds)
    if isinstance(added, Exponential):
        return exponential_stats(added, None, None, bounds)
    if added <= 0:
        return None
    return Stats(1, added, added, added, {bound: int(added <= bound) for bound in bounds}, {index_of(added): 1})

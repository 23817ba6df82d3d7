"""Rollups of a series over a time: a 5-minute block, an hour, a day. Merging is free of order."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import fsum
from zlib import crc32

from shared.domain import sketch, spans
from shared.domain.spans import Span

SHARDS = 2  # of a block, an hour; by metric name
# A delta histogram: bounds, sum, least and largest value (None: unknown), and how many values each bucket holds.
Delta = tuple[tuple[float, ...], float, float | None, float | None, tuple[int, ...]]


@lru_cache(maxsize=20_000)
def shard_of(key: str) -> int:
    """The shard of a series key: all series of a metric are in one."""
    return crc32(key.partition("{")[0].encode()) % SHARDS


@dataclass(slots=True)
class Stats:
    """`up_to`: bound → how many values are <= it, exact except for the bounds in `estimated` (from the sketch).

    `spans`: values of histograms. `weighted`: how many of `count` are estimates, that is, stood for by a sample.
    """

    count: int
    total: float
    low: float
    high: float
    up_to: dict[float, int]
    buckets: dict[int, int]
    estimated: set[float] = field(default_factory=set)
    spans: dict[Span, int] = field(default_factory=dict)
    weighted: int = 0

    def quantile(self, q: float) -> float | None:
        """Within 1 %, and never outside of what was seen. Of histograms: within the edges of one of their buckets."""
        if not self.count:
            return None
        shares = spans.spread(self.buckets, self.spans) if self.spans else self.buckets
        value = sketch.representative(sketch.quantile_index(shares, self.count, q))
        return min(max(value, self.low), self.high)

    def quantile_bounds(self, q: float) -> tuple[float, float | None] | None:
        """Between which values the quantile surely lies; None as the second where a histogram has no upper edge."""
        if not self.count:
            return None
        low, high = (
            sketch.quantile_index(spans.at_an_end(self.buckets, self.spans, end), self.count, q) for end in (0, 1)
        )
        least = max(sketch.edges(low)[0], self.low)
        return least, None if high == sketch.UNBOUNDED else max(least, min(sketch.edges(high)[1], self.high))

    @property
    def _has_no_end(self) -> bool:
        """Whether values may lie above `high`, in a histogram's last bucket."""
        return any(last == sketch.UNBOUNDED for _, last in self.spans)

    def is_estimate(self, bound: float) -> bool:
        """Whether `count_up_to` of it is not an exact count of values."""
        if bound in self.up_to:
            return bound in self.estimated
        return self.low <= bound and (bound < self.high or self._has_no_end)

    def count_up_to(self, bound: float) -> int:
        exact = self.up_to.get(bound)
        if exact is not None:
            return exact
        if bound >= self.high and not self._has_no_end:
            return self.count
        return 0 if bound < self.low else sketch.count_up_to(self.buckets, bound) + spans.up_to(self.spans, bound)


def merge(parts: Iterable[Stats]) -> Stats:
    """One rollup of several; a bound that one of them did not count is estimated there, and marked."""
    given = list(parts)
    buckets: Counter[int] = Counter()
    for part in given:
        buckets.update(part.buckets)
    bounds = {bound for part in given for bound in part.up_to}
    estimated = {b for b in bounds for p in given if p.is_estimate(b)}
    return Stats(
        count=sum(p.count for p in given),
        total=fsum(p.total for p in given),
        low=min(p.low for p in given),
        high=max(p.high for p in given),
        up_to={b: sum(p.count_up_to(b) for p in given) for b in sorted(bounds)},
        buckets=dict(buckets),
        estimated=estimated,
        spans=_merged_spans(given),
        weighted=sum(p.weighted for p in given),
    )


def _merged_spans(given: Iterable[Stats]) -> dict[Span, int]:
    merged: dict[Span, int] = {}
    for part in given:
        for span, count in part.spans.items():
            merged[span] = merged.get(span, 0) + count
    return merged


def distribution(parts: Iterable[Stats]) -> Stats | None:
    """Like `merge`, for quantiles alone: without the counts at bounds, most of the work. None for no parts."""
    given = list(parts)
    if not given:
        return None
    buckets: dict[int, int] = {}
    for part in given:
        for index, count in part.buckets.items():
            buckets[index] = buckets.get(index, 0) + count
    low, high = min(p.low for p in given), max(p.high for p in given)
    return Stats(
        count=sum(p.count for p in given),
        total=fsum(p.total for p in given),
        low=low,
        high=high,
        up_to={},
        buckets=buckets,
        spans=_merged_spans(given),
        weighted=sum(p.weighted for p in given),
    )


def merge_all(groups: Iterable[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Series by key over several rollups."""
    collected: dict[str, list[Stats]] = {}
    for group in groups:
        for key, stats in group.items():
            collected.setdefault(key, []).append(stats)
    return {key: parts[0] if len(parts) == 1 else merge(parts) for key, parts in collected.items()}


class Gathered:
    """What many batches bring to one series of a block, before it is worked out."""

    __slots__ = ("bounds", "counts", "deltas", "highs", "indexes", "lows", "sums", "values", "wholes")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.values: list[float] = []
        self.sums: list[float] = []
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.counts: list[list[int]] = []
        self.indexes: list[bytes] = []
        self.wholes: list[Stats] = []  # worked out before: histograms, weighted samples
        self.deltas: list[Delta] = []  # histograms that are to become wholes once they are all here

    def stats(self) -> Stats:
        if not self.wholes:
            return self._of_values()
        return merge([self._of_values(), *self.wholes] if self.values or self.indexes else self.wholes)

    def _of_values(self) -> Stats:
        buckets: Counter[int] = Counter()
        up_to = [0] * len(self.bounds)
        if self.indexes:
            buckets = Counter(array("h", b"".join(self.indexes)))
            up_to = list(map(sum, zip(*self.counts, strict=True)))
        if self.values:
            values = self.values
            values.sort()
            buckets.update(sketch.count_sorted(values))
            self.lows.append(values[0])
            self.highs.append(values[-1])
            self.sums.append(sum(values))  # in rising order, so any order of arrival gives the same
            up_to = [n + bisect_right(values, bound) for n, bound in zip(up_to, self.bounds, strict=True)]
        return Stats(
            count=buckets.total(),
            total=fsum(self.sums),
            low=min(self.lows),
            high=max(self.highs),
            up_to=dict(zip(self.bounds, up_to, strict=True)),
            buckets=buckets,
        )


def stats_of(values: list[float], bounds: tuple[float, ...], weight: int = 1) -> Stats:
    """Values as a rollup, each standing for `weight` events: counts and sums are multiplied, so they stay unbiased."""
    gathered = Gathered(bounds)
    gathered.values = values
    one = gathered.stats()
    if weight == 1:
        return one
    return Stats(
        count=one.count * weight,
        total=one.total * weight,
        low=one.low,
        high=one.high,
        up_to={bound: n * weight for bound, n in one.up_to.items()},
        buckets={index: n * weight for index, n in one.buckets.items()},
        weighted=one.count * weight,
    )

"""Builds the batch of one request: what was sent, per 5-minute block and series."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat
from math import isfinite

from shared.domain.cumulative import Point
from shared.domain.rollup import Stats, stats_of
from shared.domain.series import Series, SeriesTable
from shared.domain.sketch import SMALLEST, indices

BLOCK_MS = 300_000
LARGEST = 1e15
RAW_UP_TO = 3  # so few values take less room, and less work, as they are
DROPPED = "dropped_labels"

# A part: series number, sum, min, max, exact counts of values <= each bound, and the sketch bucket of each value.
Part = tuple[int, float, float, float, list[int], bytes]
# A delta histogram: series number, place of its bounds in the batch's, sum, least and largest value (None: unknown),
# and how many values each bucket holds. It is sound, and not empty.
DeltaHistogram = tuple[int, int, float, float | None, float | None, tuple[int, ...]]
# What a counter read: series number, stream, start, time, and a number, or a histogram as place of its bounds, sum and
# buckets. It becomes a `Point` in the fold, which would cost too much at ingest.
HistogramReading = tuple[int, float, tuple[int, ...]]
Reading = tuple[int, bytes, int, int, float | HistogramReading]


class Suspect(Exception):
    """Something in the batch must be refused: look at each metric by itself."""


@dataclass(slots=True)
class Block:
    """What one batch brings to a 5-minute block. Few values stay raw: `raw_series[i]` has the value `raw_values[i]`.

    `wholes`: worked out already. `histograms`: to be added up first, see `put_together`. `readings` and `points`: of
    counters that only grow, and beats; they mean something only beside the points before them. All by series number.
    """

    number: int
    raw_series: array[int] = field(default_factory=lambda: array("I"))
    raw_values: array[float] = field(default_factory=lambda: array("d"))
    parts: list[Part] = field(default_factory=list)
    wholes: list[tuple[int, Stats]] = field(default_factory=list)
    points: list[tuple[int, Point]] = field(default_factory=list)
    histograms: list[DeltaHistogram] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """A request, aggregated. `series` are those it touches, by number. `dropped`: label left out → samples.

    `bounds`: of its histograms, each once.
    """

    hash: bytes
    series: dict[int, Series]
    blocks: list[Block]
    count: int
    dropped: dict[str, int] = field(default_factory=dict)
    bounds: list[tuple[float, ...]] = field(default_factory=list)


class BatchBuilder:
    """`number` is always that of a block: milliseconds since 1970 over BLOCK_MS. Raises `Suspect` for a bad value."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self.noted: dict[int, Series] = {}
        self._blocks: dict[int, Block] = {}
        self._dropped: Counter[tuple[str, str, int]] = Counter()
        self._bounds: dict[tuple[float, ...], int] = {}

    def values(self, series: Series, number: int, values: list[float]) -> None:
        """Observations, one event each; the list is sorted in place."""
        block = self._block(series, number, len(values))
        if len(values) > RAW_UP_TO:
            block.parts.append(_part(series, values))
            return
        for value in values:
            if not (SMALLEST <= value <= LARGEST or value == 0) or (series.is_ratio and value not in (0, 1)):
                raise Suspect
            block.raw_series.append(series.number)
            block.raw_values.append(value)

    def weighted(self, series: Series, number: int, values: list[float], weight: int) -> None:
        """Observations that stand for `weight` events each."""
        if weight == 1:
            self.values(series, number, values)
            return
        for value in values:
            if not (SMALLEST <= value <= LARGEST or value == 0) or (series.is_ratio and value not in (0, 1)):
                raise Suspect
        self.whole(series, number, stats_of(values, series.bounds, weight))

    def whole(self, series: Series, number: int, stats: Stats) -> None:
        """What has been worked out already; its `up_to` holds the series' bounds."""
        self._block(series, number, stats.count).wholes.append((series.number, stats))

    def place_of(self, bounds: tuple[float, ...]) -> int:
        """Where a histogram's bounds are kept: it costs too much to look them up for each point."""
        return self._bounds.setdefault(bounds, len(self._bounds))

    def point(self, series: Series, number: int, point: Point) -> None:
        self._block(series, number, 1).points.append((series.number, point))

    def batch(self, batch_hash: bytes, count: int) -> Batch:
        """`count`: how many metrics it is made of. The labels left out are counted as samples of their own."""
        dropped: Counter[str] = Counter()
        for (metric, label, number), samples in self._dropped.items():
            dropped[label] += samples
            series = self._table.own(DROPPED, {"metric": metric, "label": label})
            if series is not None and metric != DROPPED:
                self.values(series, number, [samples])
        return Batch(batch_hash, self.noted, list(self._blocks.values()), count, dict(dropped), list(self._bounds))

    def block(self, number: int) -> Block:
        """For rows that are added by hand, where a call for each is too much: their series must be `noted`."""
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = Block(number)
        return block

    def note(self, series: Series, number: int, samples: int) -> None:
        self.noted[series.number] = series
        if series.dropped:
            for label in series.dropped:
                self._dropped[series.metric, label, number] += samples

    def _block(self, series: Series, number: int, samples: int) -> Block:
        self.note(series, number, samples)
        return self.block(number)


def _part(series: Series, values: list[float]) -> Part:
    try:
        buckets = indices(values)
    except (ValueError, OverflowError):
        raise Suspect from None
    total = sum(values)
    values.sort()
    low, high = values[0], values[-1]
    smallest = low if low > 0 else values[min(bisect_right(values, 0), len(values) - 1)]  # beside zeros
    if (
        not isfinite(total)
        or low < 0
        or high > LARGEST
        or 0 < smallest < SMALLEST
        or (series.is_ratio and not set(values) <= {0, 1})
    ):
        raise Suspect
    counts = list(map(bisect_right, repeat(values), series.bounds))
    return (series.number, total, low, high, counts, buckets.tobytes())

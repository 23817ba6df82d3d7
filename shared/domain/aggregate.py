"""Aggregates the metrics of one request per 5-minute block and series: what is appended, and later folded."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.domain.series import Series, SeriesTable
from shared.domain.sketch import SMALLEST, indices

BLOCK_MS = 300_000
OLDEST_MS = 48 * 3_600_000
AHEAD_MS = 5 * 60_000
LARGEST = 1e15
RAW_UP_TO = 3  # so few values take less room, and less work, as they are


class Sample(Protocol):
    """A metric as decoded; `labels` is its JSON as sent (a buffer)."""

    name: str
    value: float
    timestamp: int
    labels: bytes


# A part: series number, sum, min, max, exact counts of values <= each bound, and the sketch bucket of each value.
Part = tuple[int, float, float, float, list[int], bytes]


@dataclass(slots=True)
class Block:
    """What one batch brings to a 5-minute block. Few values stay raw: `raw_series[i]` has the value `raw_values[i]`."""

    number: int
    raw_series: array[int] = field(default_factory=lambda: array("I"))
    raw_values: array[float] = field(default_factory=lambda: array("d"))
    parts: list[Part] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """A request, aggregated. `series` are those it touches, by number."""

    hash: bytes
    series: dict[int, Series]
    blocks: list[Block]
    count: int


class Suspect(Exception):
    """Something in the batch must be refused: look at each metric by itself."""


def faults_of(sample: Sample, table: SeriesTable, now_ms: int) -> list[str]:
    """Every reason why a well-typed metric is refused; an empty list means that it is accepted."""
    series = table.resolve(sample.name, b"" + sample.labels)
    reasons = list(series) if isinstance(series, list) else []
    value = sample.value
    if value < 0:
        reasons.append("value: must not be negative")
    elif not (value == 0 or SMALLEST <= value <= LARGEST):
        reasons.append(f"value: must be 0, or between {SMALLEST:g} and {LARGEST:g}")
    elif isinstance(series, Series) and series.is_ratio and value not in (0, 1):
        reasons.append(f"value: a sample of {series.metric} is 0 or 1")
    if sample.timestamp < now_ms - OLDEST_MS:
        reasons.append("timestamp: older than 48 hours")
    elif sample.timestamp > now_ms + AHEAD_MS:
        reasons.append("timestamp: more than 5 minutes ahead; it is in milliseconds since 1970")
    return reasons


def aggregate(samples: Sequence[Sample], batch_hash: bytes, table: SeriesTable, now_ms: int) -> Batch:
    """Raises `Suspect` if any sample must be refused; then `faults_of` tells which and why."""
    groups: defaultdict[tuple[str, bytes, int], list[float]] = defaultdict(list)
    for s in samples:
        groups[s.name, b"" + s.labels, s.timestamp // BLOCK_MS].append(s.value)
    _check_times(samples, {number for _, _, number in groups}, now_ms)
    touched: dict[int, Series] = {}
    blocks: dict[int, Block] = {}
    resolve = table.resolve
    for (name, labels, number), values in groups.items():
        series = resolve(name, labels)
        if isinstance(series, list):
            raise Suspect
        touched[series.number] = series
        block = blocks.get(number)
        if block is None:
            block = blocks[number] = Block(number)
        if len(values) > RAW_UP_TO:
            block.parts.append(_part(series, values))
            continue
        for value in values:
            if not (SMALLEST <= value <= LARGEST or value == 0) or (series.is_ratio and value not in (0, 1)):
                raise Suspect
            block.raw_series.append(series.number)
            block.raw_values.append(value)
    return Batch(batch_hash, touched, list(blocks.values()), len(samples))


def _part(series: Series, values: list[float]) -> Part:
    buckets = indices_or_suspect(values)
    total = sum(values)
    values.sort()
    low, high = values[0], values[-1]
    if low < 0 or high > LARGEST or (series.is_ratio and not set(values) <= {0, 1}):
        raise Suspect
    counts = [bisect_right(values, bound) for bound in series.bounds]
    return (series.number, total, low, high, counts, buckets.tobytes())


def indices_or_suspect(values: list[float]) -> array[int]:
    try:
        return indices(values)
    except (ValueError, OverflowError):
        raise Suspect from None


def _check_times(samples: Iterable[Sample], blocks: set[int], now_ms: int) -> None:
    """Whole blocks inside the window need no look at their samples."""
    oldest, newest = now_ms - OLDEST_MS, now_ms + AHEAD_MS
    if blocks and (min(blocks) * BLOCK_MS < oldest or (max(blocks) + 1) * BLOCK_MS > newest + 1):
        for s in samples:
            if not oldest <= s.timestamp <= newest:
                raise Suspect

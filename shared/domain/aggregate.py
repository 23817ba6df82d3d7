"""Aggregates the metrics of one request per 5-minute block and series: what is appended, and later folded."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
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
    return reasons + value_faults(sample.value, series) + time_faults(sample.timestamp, now_ms)


def value_faults(value: float, series: Series | list[str]) -> list[str]:
    if value < 0:
        return ["value: must not be negative"]
    if not (value == 0 or SMALLEST <= value <= LARGEST):
        return [f"value: must be 0, or between {SMALLEST:g} and {LARGEST:g}"]
    if isinstance(series, Series) and series.is_ratio and value not in (0, 1):
        return [f"value: a sample of {series.metric} is 0 or 1"]
    return []


def time_faults(timestamp: int, now_ms: int) -> list[str]:
    if timestamp < now_ms - OLDEST_MS:
        return ["timestamp: older than 48 hours"]
    if timestamp > now_ms + AHEAD_MS:
        return ["timestamp: more than 5 minutes ahead; it is in milliseconds since 1970"]
    return []


def aggregate(samples: Sequence[Sample], batch_hash: bytes, table: SeriesTable, now_ms: int) -> Batch:
    """Raises `Suspect` if any sample must be refused; then `faults_of` tells which and why."""
    times = [s.timestamp for s in samples] or [now_ms]
    oldest, newest = min(times), max(times)
    if oldest < now_ms - OLDEST_MS or newest > now_ms + AHEAD_MS:
        raise Suspect
    same_labels: defaultdict[bytes, list[Sample]] = defaultdict(list)
    for s in samples:
        same_labels[b"" + s.labels].append(s)
    one_block = oldest // BLOCK_MS == newest // BLOCK_MS
    touched: dict[int, Series] = {}
    blocks: dict[int, Block] = {}
    resolve = table.resolve
    groups = ((labels, g) for labels, same in same_labels.items() for g in _groups(same, one_block))
    for labels, (name, number, values) in groups:
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
    smallest = low if low > 0 else values[min(bisect_right(values, 0), len(values) - 1)]  # beside zeros
    if low < 0 or high > LARGEST or 0 < smallest < SMALLEST or (series.is_ratio and not set(values) <= {0, 1}):
        raise Suspect
    counts = list(map(bisect_right, repeat(values), series.bounds))
    return (series.number, total, low, high, counts, buckets.tobytes())


def indices_or_suspect(values: list[float]) -> array[int]:
    try:
        return indices(values)
    except (ValueError, OverflowError):
        raise Suspect from None


def _groups(samples: list[Sample], one_block: bool) -> Iterable[tuple[str, int, list[float]]]:
    """Name, block and values of samples with the same labels; nearly always they are all of one name and block."""
    name = samples[0].name
    if one_block and not [s for s in samples if s.name != name]:
        return ((name, samples[0].timestamp // BLOCK_MS, [s.value for s in samples]),)
    apart: dict[tuple[str, int], list[float]] = {}
    for s in samples:
        apart.setdefault((s.name, s.timestamp // BLOCK_MS), []).append(s.value)
    return ((name, number, values) for (name, number), values in apart.items())

"""Aggregates the metrics of one request per 5-minute block and series: what is appended, and later folded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from shared.domain.building import BLOCK_MS, LARGEST, Batch, BatchBuilder, Suspect
from shared.domain.series import Series, SeriesTable
from shared.domain.sketch import SMALLEST

OLDEST_MS = 48 * 3_600_000
AHEAD_MS = 5 * 60_000
_SECONDS = 100_000_000_000  # milliseconds below this are of before 1973, seconds of now
_UNIT = "; it is in milliseconds since 1970"


class Sample(Protocol):
    """A metric as decoded; `labels` is its JSON as sent (a buffer)."""

    name: str
    value: float
    timestamp: int
    labels: bytes


class Weighted(Sample, Protocol):
    """`weight`: how many events the sample stands for."""

    weight: int


class SeriesOfPoints(Protocol):
    """The points of one series: the n-th time is of the n-th value."""

    name: str
    labels: bytes
    weight: int
    times: list[int]
    values: list[float]


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
        return ["timestamp: older than 48 hours" + (_UNIT if timestamp < _SECONDS else "")]
    if timestamp > now_ms + AHEAD_MS:
        return [f"timestamp: more than 5 minutes ahead{_UNIT}"]
    return []


def aggregate(samples: Sequence[Sample], batch_hash: bytes, table: SeriesTable, now_ms: int) -> Batch:
    """Raises `Suspect` if any sample must be refused; then `faults_of` tells which and why."""
    builder = BatchBuilder(table)
    _add(builder, samples, 1, table, now_ms)
    return builder.batch(batch_hash, len(samples))


def aggregate_weighted(samples: Sequence[Weighted], batch_hash: bytes, table: SeriesTable, now_ms: int) -> Batch:
    """The same of samples that may stand for several events each."""
    by_weight: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_weight[sample.weight].append(sample)
    builder = BatchBuilder(table)
    for weight, same in by_weight.items():
        _add(builder, same, weight, table, now_ms)
    return builder.batch(batch_hash, len(samples))


def aggregate_series(several: Sequence[SeriesOfPoints], batch_hash: bytes, table: SeriesTable, now_ms: int) -> Batch:
    """The same of the compact form, where each series comes with all of its points."""
    builder = BatchBuilder(table)
    oldest, newest = now_ms - OLDEST_MS, now_ms + AHEAD_MS
    total = 0
    for one in several:
        series = table.resolve(one.name, b"" + one.labels)
        if isinstance(series, list):
            raise Suspect
        if len(one.times) != len(one.values):
            raise Suspect
        if not one.times:
            continue
        first, last = min(one.times), max(one.times)
        if first < oldest or last > newest:
            raise Suspect
        total += len(one.times)
        if first // BLOCK_MS == last // BLOCK_MS:
            builder.weighted(series, first // BLOCK_MS, one.values, one.weight)
            continue
        apart: defaultdict[int, list[float]] = defaultdict(list)
        for time, value in zip(one.times, one.values, strict=True):
            apart[time // BLOCK_MS].append(value)
        for number, some in apart.items():
            builder.weighted(series, number, some, one.weight)
    return builder.batch(batch_hash, total)


def _add(builder: BatchBuilder, samples: Sequence[Sample], weight: int, table: SeriesTable, now_ms: int) -> None:
    times = [s.timestamp for s in samples] or [now_ms]
    oldest, newest = min(times), max(times)
    if oldest < now_ms - OLDEST_MS or newest > now_ms + AHEAD_MS:
        raise Suspect
    same_labels: defaultdict[bytes, list[Sample]] = defaultdict(list)
    for s in samples:
        same_labels[b"" + s.labels].append(s)
    one_block = oldest // BLOCK_MS == newest // BLOCK_MS
    resolve = table.resolve
    groups = ((labels, g) for labels, same in same_labels.items() for g in _groups(same, one_block))
    for labels, (name, number, values) in groups:
        series = resolve(name, labels)
        if isinstance(series, list):
            raise Suspect
        builder.weighted(series, number, values, weight)


def _groups(samples: list[Sample], one_block: bool) -> Iterable[tuple[str, int, list[float]]]:
    """Name, block and values of samples with the same labels; nearly always they are all of one name and block."""
    name = samples[0].name
    if one_block and not [s for s in samples if s.name != name]:
        return ((name, samples[0].timestamp // BLOCK_MS, [s.value for s in samples]),)
    apart: dict[tuple[str, int], list[float]] = {}
    for s in samples:
        apart.setdefault((s.name, s.timestamp // BLOCK_MS), []).append(s.value)
    return ((name, number, values) for (name, number), values in apart.items())

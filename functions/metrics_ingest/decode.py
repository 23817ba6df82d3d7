"""The body of POST /api/metrics. A sound batch is decoded at once; otherwise each metric is looked at by itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import msgspec

from functions.metrics_ingest.forms import (
    BATCH_ID,
    MAX_METRICS,
    UNREADABLE,
    Metric,
    Rejected,
    SeriesPoints,
    WeightedMetric,
    aggregate_metrics,
    hash_of,
)
from functions.metrics_ingest.one_by_one import read_one_by_one
from shared.domain.aggregate import aggregate, aggregate_series
from shared.domain.building import Batch, Suspect
from shared.domain.series import SeriesTable

SMALL = 256 * 1024
_ANYHOW = nullcontext()


class _Body(msgspec.Struct):
    """Of `metrics` and `series` there must be one."""

    batchId: str
    metrics: list[Metric] | msgspec.UnsetType = msgspec.UNSET
    series: list[SeriesPoints] | msgspec.UnsetType = msgspec.UNSET


class _WeightedBody(msgspec.Struct):
    batchId: str
    metrics: list[WeightedMetric]


_decode = msgspec.json.Decoder(_Body).decode
_decode_weighted = msgspec.json.Decoder(_WeightedBody).decode
parse_labels = msgspec.json.Decoder().decode


def read_batch(
    body: bytes, table: SeriesTable, now_ms: int, alone: AbstractContextManager[object] = _ANYHOW
) -> tuple[Batch, Rejected]:
    """The batch of all acceptable metrics, and the rejected ones with index and every reason.

    `alone` is held while a body is read that may need many times its size in memory: one that is large or not sound.
    Raises `Problem` 400 if the body cannot be read, 413 if it holds too many metrics.
    """
    is_small = len(body) <= SMALL
    batch = _sound(body, table, now_ms) if is_small else None
    if batch is not None:
        return batch, []
    with alone:
        batch = None if is_small else _sound(body, table, now_ms)
        if batch is not None:
            return batch, []
        return read_one_by_one(body, table, now_ms)


def _sound(body: bytes, table: SeriesTable, now_ms: int) -> Batch | None:
    """None where there is anything to refuse; nothing of the attempt is kept then."""
    try:
        return _read_sound(body, table, now_ms)
    except (*UNREADABLE, Suspect):
        return None


def _read_sound(body: bytes, table: SeriesTable, now_ms: int) -> Batch:
    """All at once. Raises `Suspect` or what decoding raises where there is anything to refuse."""
    parsed = _decode(body)
    if not BATCH_ID.fullmatch(parsed.batchId) or (parsed.metrics is msgspec.UNSET) == (parsed.series is msgspec.UNSET):
        raise Suspect
    batch_hash = hash_of(parsed.batchId)
    if parsed.series is not msgspec.UNSET:
        series: list[SeriesPoints] = parsed.series
        if len(series) > MAX_METRICS or sum(len(one.times) for one in series) > MAX_METRICS:
            raise Suspect
        return aggregate_series(series, batch_hash, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer
    metrics: list[Metric] = parsed.metrics  # type: ignore[assignment]  # not UNSET
    if len(metrics) > MAX_METRICS:
        raise Suspect
    if b'"weight"' in body:  # rarely so: a field more in each metric would cost all the others
        return aggregate_metrics(_decode_weighted(body).metrics, batch_hash, table, now_ms)
    return aggregate(metrics, batch_hash, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer

"""The body of POST /api/metrics. A sound batch is decoded at once; otherwise each metric is looked at by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec

from shared.domain.aggregate import (
    aggregate,
    aggregate_series,
    aggregate_weighted,
    faults_of,
    time_faults,
    value_faults,
)
from shared.domain.building import Batch, Suspect
from shared.domain.series import SeriesTable
from shared.http import Problem

MAX_METRICS = 10_000
MAX_WEIGHT = 1000
_ID = re.compile(r"[A-Za-z0-9._:\-]{8,128}")


class Metric(msgspec.Struct, gc=False):
    """`labels` stays JSON as sent. `aggregation` is checked only: how a metric is read stands in the registry."""

    name: str
    value: float
    timestamp: int
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    aggregation: Literal["sum", "avg", "p95", "count"] | None = None


Weight = Annotated[int, msgspec.Meta(ge=1, le=MAX_WEIGHT)]


class WeightedMetric(Metric, gc=False):
    """`weight`: how many events the sample stands for."""

    weight: Weight = 1


class SeriesPoints(msgspec.Struct, gc=False):
    """The compact form of the metrics of one series: the n-th timestamp is of the n-th value."""

    name: str
    times: list[int]
    values: list[float]
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    weight: Weight = 1


class _Body(msgspec.Struct):
    """Of `metrics` and `series` there must be one."""

    batchId: str
    metrics: list[Metric] | msgspec.UnsetType = msgspec.UNSET
    series: list[SeriesPoints] | msgspec.UnsetType = msgspec.UNSET


class _WeightedBody(msgspec.Struct):
    batchId: str
    metrics: list[WeightedMetric]


class _LooseBody(msgspec.Struct):
    batchId: msgspec.Raw = msgspec.Raw(b"null")
    metrics: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    series: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _LooseMetric(msgspec.Struct):
    name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    timestamp: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    aggregation: msgspec.Raw = msgspec.Raw(b"null")
    weight: msgspec.Raw = msgspec.Raw(b"1")


class _LooseSeries(msgspec.Struct):
    times: list[msgspec.Raw]
    values: list[msgspec.Raw]
    name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    weight: msgspec.Raw = msgspec.Raw(b"1")


_decode = msgspec.json.Decoder(_Body).decode
_decode_weighted = msgspec.json.Decoder(_WeightedBody).decode
_decode_loose = msgspec.json.Decoder(_LooseBody).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_metric = msgspec.json.Decoder(WeightedMetric).decode
_decode_loose_metric = msgspec.json.Decoder(_LooseMetric).decode
_decode_loose_series = msgspec.json.Decoder(_LooseSeries).decode
parse_labels = msgspec.json.Decoder().decode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # RecursionError: nested too deeply
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', re.DOTALL)
_ESCAPE = re.compile(rb"(?i)\\(?:u(?:d[89ab]..\\ud[c-f]|(?P<half>d[89a-f]))..|.)", re.DOTALL)
_NO_METRIC = "must be an object with name, value, timestamp and labels"
_EXPECTED = {
    "name": (str, "name: must be a text in UTF-8"),
    "value": (float, "value: must be a finite number"),
    "timestamp": (int, "timestamp: must be a whole number of milliseconds since 1970"),
    "aggregation": (
        Literal["sum", "avg", "p95", "count"] | None,
        "aggregation: must be sum, avg, p95 or count",
    ),
    "weight": (Weight, f"weight: must be a whole number from 1 to {MAX_WEIGHT}"),
}

_OF_A_POINT = ("name", "value", "timestamp", "weight")

Rejected = list[dict[str, object]]


def read_batch(body: bytes, table: SeriesTable, now_ms: int) -> tuple[Batch, Rejected]:
    """The batch of all acceptable metrics, and the rejected ones with index and every reason.

    Raises `Problem` 400 if the body cannot be read, 413 if it holds too many metrics.
    """
    try:
        return _read_sound(body, table, now_ms), []
    except (*_UNREADABLE, Suspect):
        return _read_one_by_one(body, table, now_ms)


def _read_sound(body: bytes, table: SeriesTable, now_ms: int) -> Batch:
    """All at once. Raises `Suspect` or what decoding raises where there is anything to refuse."""
    parsed = _decode(body)
    if not _ID.fullmatch(parsed.batchId) or (parsed.metrics is msgspec.UNSET) == (parsed.series is msgspec.UNSET):
        raise Suspect
    batch_hash = hash_of(parsed.batchId)
    if parsed.series is not msgspec.UNSET:
        series: list[SeriesPoints] = parsed.series
        if sum(len(one.times) for one in series) > MAX_METRICS:
            raise Suspect
        return aggregate_series(series, batch_hash, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer
    metrics: list[Metric] = parsed.metrics  # type: ignore[assignment]  # not UNSET
    if len(metrics) > MAX_METRICS:
        raise Suspect
    if b'"weight"' in body:  # rarely so: a field more in each metric would cost all the others
        return _aggregate(_decode_weighted(body).metrics, batch_hash, table, now_ms)
    return aggregate(metrics, batch_hash, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer


def _aggregate(metrics: list[WeightedMetric], batch_hash: bytes, table: SeriesTable, now_ms: int) -> Batch:
    return aggregate_weighted(metrics, batch_hash, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer


def hash_of(batch_id: str) -> bytes:
    return blake2b(batch_id.encode(), digest_size=8).digest()


def _read_one_by_one(body: bytes, table: SeriesTable, now_ms: int) -> tuple[Batch, Rejected]:
    batch_id, items = _frame(body)
    accepted: list[WeightedMetric] = []
    rejected: Rejected = []
    for index, item in enumerate(items):
        reasons: list[str]
        try:
            metric = item if isinstance(item, _LooseMetric) else _decode_metric(item)
            if isinstance(metric, _LooseMetric):
                metric = _tightened(metric)
            reasons = faults_of(metric, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer
            if not reasons:
                accepted.append(metric)
        except _UNREADABLE:
            reasons = _explain(item, table, now_ms)
        if reasons:
            rejected.append({"index": index, "reasons": reasons})
    return _aggregate(accepted, hash_of(batch_id), table, now_ms), rejected


def _tightened(loose: _LooseMetric) -> WeightedMetric:
    """A point of a series as a metric. Raises what decoding raises."""
    known = {field: msgspec.json.decode(getattr(loose, field), type=_EXPECTED[field][0]) for field in _OF_A_POINT}
    return WeightedMetric(**known, labels=loose.labels)


def _frame(body: bytes) -> tuple[str, Sequence[msgspec.Raw | _LooseMetric]]:
    """batchId and the metrics, undecoded; a point of a series becomes a metric."""
    try:
        loose = _frame_of(body)
    except _UNREADABLE:
        detail = "the body must be JSON in UTF-8: {batchId, metrics: [...]} or {batchId, series: [...]}"
        raise Problem(400, "unreadable_body", detail) from None
    errors = []
    batch_id = _value(loose.batchId)
    if not isinstance(batch_id, str) or not _ID.fullmatch(batch_id):
        message = "must be 8 to 128 letters, digits, . _ : or -; a UUID is best, the same one for a retry"
        errors.append({"path": "batchId", "message": message})
    items: Sequence[msgspec.Raw | _LooseMetric] = []
    if isinstance(loose.series, msgspec.Raw) and isinstance(loose.metrics, msgspec.Raw):
        errors.append({"path": "series", "message": "either metrics or series, not both"})
    elif isinstance(loose.series, msgspec.Raw):
        items, faults = _points_of(loose.series)
        errors += faults
    else:
        try:
            items = _decode_items(loose.metrics if isinstance(loose.metrics, msgspec.Raw) else b"null")
        except _UNREADABLE:
            errors.append({"path": "metrics", "message": "must be a list"})
    if errors:
        raise Problem(400, "invalid_body", "; ".join(f"{e['path']}: {e['message']}" for e in errors), errors=errors)
    if len(items) > MAX_METRICS:
        raise Problem(413, "too_many_metrics", f"{len(items)} metrics in one request, at most {MAX_METRICS}")
    return str(batch_id), items


def _points_of(series: msgspec.Raw) -> tuple[list[_LooseMetric], list[dict[str, str]]]:
    """Each point of all series, undecoded; and the faults that leave no points to count."""
    points: list[_LooseMetric] = []
    errors: list[dict[str, str]] = []
    try:
        items = _decode_items(series)
    except _UNREADABLE:
        return [], [{"path": "series", "message": "must be a list"}]
    for n, item in enumerate(items):
        try:
            loose = _decode_loose_series(item)
        except _UNREADABLE:
            message = "must be an object with name, labels, and the lists times and values"
            errors.append({"path": f"series[{n}]", "message": message})
            continue
        if len(loose.times) != len(loose.values):
            message = f"{len(loose.times)} times for {len(loose.values)} values"
            errors.append({"path": f"series[{n}]", "message": message})
            continue
        points += [
            _LooseMetric(name=loose.name, labels=loose.labels, weight=loose.weight, timestamp=time, value=value)
            for time, value in zip(loose.times, loose.values, strict=True)
        ]
    return points, errors


def _frame_of(body: bytes) -> _LooseBody:
    """Mended where common encoders write no JSON: NaN becomes null, half of an emoji the replacement character.

    So each costs at most its own metric, and not the batch.
    """
    try:
        return _decode_loose(body)
    except msgspec.DecodeError:
        return _decode_loose(_TOKEN.sub(_mended, body))


def _mended(token: re.Match[bytes]) -> bytes:
    text = token[0]
    return _ESCAPE.sub(lambda e: rb"\ufffd" if e["half"] else e[0], text) if text[:1] == b'"' else b"null"


def _explain(item: msgspec.Raw | _LooseMetric, table: SeriesTable, now_ms: int) -> list[str]:
    """Every reason why a metric is not of the right form. Nothing of what was sent is quoted."""
    try:
        loose = item if isinstance(item, _LooseMetric) else _decode_loose_metric(item)
    except _UNREADABLE:
        return [_NO_METRIC]
    reasons = []
    known: dict[str, Any] = {}
    for field, (type_, message) in _EXPECTED.items():
        raw = getattr(loose, field)
        if raw is msgspec.UNSET:
            reasons.append(f"{field}: is missing")
            continue
        try:
            known[field] = msgspec.json.decode(raw, type=type_)
        except _UNREADABLE:
            reasons.append(message)
    series = table.resolve(known.get("name", ""), b"" + loose.labels)
    if isinstance(series, list):
        reasons += [r for r in series if "name" in known or not r.startswith("name:")]
    if "value" in known:
        reasons += value_faults(known["value"], series)
    if "timestamp" in known:
        reasons += time_faults(known["timestamp"], now_ms)
    return reasons or [_NO_METRIC]


def _value(raw: msgspec.Raw) -> object:
    try:
        return parse_labels(raw)
    except _UNREADABLE:
        return None

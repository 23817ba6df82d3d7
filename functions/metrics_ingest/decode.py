"""The body of POST /api/metrics. A sound batch is decoded at once; otherwise each metric is looked at by itself."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from shared.domain.aggregate import aggregate, faults_of, time_faults, value_faults
from shared.domain.building import Batch, Suspect
from shared.domain.series import SeriesTable
from shared.http import Problem

MAX_METRICS = 10_000
_ID = re.compile(r"[A-Za-z0-9._:\-]{8,128}")


class Metric(msgspec.Struct, gc=False):
    """`labels` stays JSON as sent. `aggregation` is checked only: how a metric is read stands in the registry."""

    name: str
    value: float
    timestamp: int
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    aggregation: Literal["sum", "avg", "p95", "count"] | None = None


class _Body(msgspec.Struct):
    batchId: str
    metrics: list[Metric]


class _LooseBody(msgspec.Struct):
    batchId: msgspec.Raw = msgspec.Raw(b"null")
    metrics: msgspec.Raw = msgspec.Raw(b"null")


class _LooseMetric(msgspec.Struct):
    name: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    timestamp: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    aggregation: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Body).decode
_decode_loose = msgspec.json.Decoder(_LooseBody).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_metric = msgspec.json.Decoder(Metric).decode
_decode_loose_metric = msgspec.json.Decoder(_LooseMetric).decode
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
}

Rejected = list[dict[str, object]]


def read_batch(body: bytes, table: SeriesTable, now_ms: int) -> tuple[Batch, Rejected]:
    """The batch of all acceptable metrics, and the rejected ones with index and every reason.

    Raises `Problem` 400 if the body cannot be read, 413 if it holds too many metrics.
    """
    try:
        parsed = _decode(body)
        if len(parsed.metrics) <= MAX_METRICS and _ID.fullmatch(parsed.batchId):
            return _aggregate(parsed.metrics, parsed.batchId, table, now_ms), []
    except (*_UNREADABLE, Suspect):
        pass
    return _read_one_by_one(body, table, now_ms)


def _aggregate(metrics: list[Metric], batch_id: str, table: SeriesTable, now_ms: int) -> Batch:
    return aggregate(metrics, hash_of(batch_id), table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer


def hash_of(batch_id: str) -> bytes:
    return blake2b(batch_id.encode(), digest_size=8).digest()


def _read_one_by_one(body: bytes, table: SeriesTable, now_ms: int) -> tuple[Batch, Rejected]:
    batch_id, items = _frame(body)
    accepted: list[Metric] = []
    rejected: Rejected = []
    for index, item in enumerate(items):
        reasons: list[str]
        try:
            metric = _decode_metric(item)
            reasons = faults_of(metric, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer
            if not reasons:
                accepted.append(metric)
        except _UNREADABLE:
            reasons = _explain(item, table, now_ms)
        if reasons:
            rejected.append({"index": index, "reasons": reasons})
    return _aggregate(accepted, batch_id, table, now_ms), rejected


def _frame(body: bytes) -> tuple[str, list[msgspec.Raw]]:
    """batchId and the metrics, undecoded."""
    try:
        loose = _frame_of(body)
    except _UNREADABLE:
        raise Problem(400, "unreadable_body", "the body must be JSON in UTF-8: {batchId, metrics: [...]}") from None
    errors = []
    batch_id = _value(loose.batchId)
    if not isinstance(batch_id, str) or not _ID.fullmatch(batch_id):
        message = "must be 8 to 128 letters, digits, . _ : or -; a UUID is best, the same one for a retry"
        errors.append({"path": "batchId", "message": message})
    items: list[msgspec.Raw] = []
    try:
        items = _decode_items(loose.metrics)
    except _UNREADABLE:
        errors.append({"path": "metrics", "message": "must be a list"})
    if errors:
        raise Problem(400, "invalid_body", "; ".join(f"{e['path']}: {e['message']}" for e in errors), errors=errors)
    if len(items) > MAX_METRICS:
        raise Problem(413, "too_many_metrics", f"{len(items)} metrics in one request, at most {MAX_METRICS}")
    return str(batch_id), items


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


def _explain(item: msgspec.Raw, table: SeriesTable, now_ms: int) -> list[str]:
    """Every reason why a metric is not of the right form. Nothing of what was sent is quoted."""
    try:
        loose = _decode_loose_metric(item)
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

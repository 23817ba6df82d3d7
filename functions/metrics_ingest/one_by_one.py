"""Reads a body of POST /api/metrics that is not sound as a whole: each metric is looked at by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from functions.metrics_ingest.forms import (
    BATCH_ID,
    MAX_METRICS,
    MAX_WEIGHT,
    UNREADABLE,
    Rejected,
    Weight,
    WeightedMetric,
    aggregate_metrics,
    hash_of,
)
from shared.api.http import Problem
from shared.domain.aggregate import faults_of, time_faults, value_faults
from shared.domain.building import Batch
from shared.domain.series import SeriesTable

MOST_TOLD = 20
_IN_SUMMARY = 3


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


_decode_text = msgspec.json.Decoder(str).decode
_decode_loose = msgspec.json.Decoder(_LooseBody).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_metric = msgspec.json.Decoder(WeightedMetric).decode
_decode_loose_metric = msgspec.json.Decoder(_LooseMetric).decode
_decode_loose_series = msgspec.json.Decoder(_LooseSeries).decode

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', re.DOTALL)
_ESCAPE = re.compile(rb"(?i)\\(?:u(?:d[89ab]..\\ud[c-f]|(?P<half>d[89a-f]))..|.)", re.DOTALL)
_NO_METRIC = "must be an object with name, value, timestamp and labels"
_NO_SERIES = "must be an object with name, labels, and the lists times and values"
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

_Faults = list[dict[str, str]]


def read_one_by_one(body: bytes, table: SeriesTable, now_ms: int) -> tuple[Batch, Rejected]:
    """As `read_batch`, of any body. For a moment it may need more than a hundred times the body's size in memory."""
    try:
        batch_id, items = _frame(body)
    except Problem as refusal:  # its frames hold all that was read until it is answered, without the lock
        raise refusal.with_traceback(None) from None
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
        except UNREADABLE:
            reasons = _explain(item, table, now_ms)
        if reasons:
            rejected.append({"index": index, "reasons": reasons})
    return aggregate_metrics(accepted, hash_of(batch_id), table, now_ms), rejected


def _tightened(loose: _LooseMetric) -> WeightedMetric:
    """A point of a series as a metric. Raises what decoding raises."""
    known = {field: msgspec.json.decode(getattr(loose, field), type=_EXPECTED[field][0]) for field in _OF_A_POINT}
    return WeightedMetric(**known, labels=loose.labels)


def _frame(body: bytes) -> tuple[str, Sequence[msgspec.Raw | _LooseMetric]]:
    """batchId and the metrics, undecoded; a point of a series becomes a metric."""
    try:
        loose = _frame_of(body)
    except UNREADABLE:
        detail = "the body must be JSON in UTF-8: {batchId, metrics: [...]} or {batchId, series: [...]}"
        raise Problem(400, "unreadable_body", detail) from None
    errors: _Faults = []
    batch_id = _text(loose.batchId)
    if not BATCH_ID.fullmatch(batch_id):
        message = "must be 8 to 128 letters, digits, . _ : or -; a UUID is best, the same one for a retry"
        errors.append({"path": "batchId", "message": message})
    items: Sequence[msgspec.Raw | _LooseMetric] = []
    if isinstance(loose.series, msgspec.Raw) and isinstance(loose.metrics, msgspec.Raw):
        errors.append({"path": "series", "message": "either metrics or series, not both"})
    elif isinstance(loose.series, msgspec.Raw):
        series, faults = _series_of(loose.series)
        errors += faults
        items = [] if errors else _points_of(series)
    else:
        items, faults = _listed(loose.metrics if isinstance(loose.metrics, msgspec.Raw) else None, "metrics")
        errors += faults
    if errors:
        raise _invalid(errors)
    return batch_id, items


def _listed(sent: msgspec.Raw | None, what: str) -> tuple[list[msgspec.Raw], _Faults]:
    """The items of `metrics` or `series`, undecoded. Raises `Problem` 413 where they are too many to be looked at."""
    try:
        items = _decode_items(sent or b"null")
    except UNREADABLE:
        return [], [{"path": what, "message": "must be a list"}]
    _limited(len(items), what)
    return items, []


def _series_of(sent: msgspec.Raw) -> tuple[list[_LooseSeries], _Faults]:
    """All series, and the faults that leave no points to count. Raises `Problem` 413 for too many series or points."""
    items, errors = _listed(sent, "series")
    series: list[_LooseSeries] = []
    points = 0
    for n, item in enumerate(items):
        try:
            one = _decode_loose_series(item)
        except UNREADABLE:
            errors.append({"path": f"series[{n}]", "message": _NO_SERIES})
            continue
        points += max(len(one.times), len(one.values))
        _limited(points, "metrics")
        if len(one.times) == len(one.values):
            series.append(one)
        else:
            message = f"{len(one.times)} times for {len(one.values)} values"
            errors.append({"path": f"series[{n}]", "message": message})
    return series, errors


def _points_of(series: list[_LooseSeries]) -> list[_LooseMetric]:
    """Each point of all series, undecoded."""
    return [
        _LooseMetric(name=one.name, labels=one.labels, weight=one.weight, timestamp=time, value=value)
        for one in series
        for time, value in zip(one.times, one.values, strict=True)
    ]


def _limited(number: int, what: str) -> None:
    if number > MAX_METRICS:
        raise Problem(413, "too_many_metrics", f"more than {MAX_METRICS} {what} in one request")


def _invalid(errors: _Faults) -> Problem:
    """The first faults, and how many there are more."""
    detail = "; ".join(f"{e['path']}: {e['message']}" for e in errors[:_IN_SUMMARY])
    if len(errors) > _IN_SUMMARY:
        detail += f"; and {len(errors) - _IN_SUMMARY} more"
    told = errors[:MOST_TOLD]
    if len(errors) > MOST_TOLD:
        told.append({"path": "series", "message": f"and {len(errors) - MOST_TOLD} more"})
    return Problem(400, "invalid_body", detail, errors=told)


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
    except UNREADABLE:
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
        except UNREADABLE:
            reasons.append(message)
    series = table.resolve(known.get("name", ""), b"" + loose.labels)
    if isinstance(series, list):
        reasons += [r for r in series if "name" in known or not r.startswith("name:")]
    if "value" in known:
        reasons += value_faults(known["value"], series)
    if "timestamp" in known:
        reasons += time_faults(known["timestamp"], now_ms)
    return reasons or [_NO_METRIC]


def _text(raw: msgspec.Raw) -> str:
    """Empty where it is none."""
    try:
        return _decode_text(raw)
    except UNREADABLE:
        return ""

"""Reads OTLP's JSON: names in lowerCamelCase, 64-bit integers as texts or numbers, enums as integers.

Fields with unknown names are ignored. Attributes stay JSON until they are met for the first time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from functions.metrics_ingest.otlp_read import (
    MAX_ATTRIBUTES,
    UNSPECIFIED,
    Allowance,
    Attributes,
    AttributesCache,
    ExponentialPoint,
    HistogramPoint,
    Kind,
    Metric,
    NumberPoint,
    TooMany,
    Unreadable,
    Value,
)

_EMPTY = msgspec.Raw(b"null")
_Int = int | str | None
_Float = float | str | None
_UINT32, _UINT64 = 1 << 32, 1 << 64
_INTEGER = re.compile(r"-?\d{1,20}")
_FLOAT = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?(?:[eE][+-]?\d{1,4})?|NaN|-?Infinity")
_T = TypeVar("_T")


class _Form(msgspec.Struct, rename="camel", gc=False):
    """null means the same as nothing, in every field."""


class _AnyValue(_Form):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Int = None
    double_value: _Float = None
    array_value: msgspec.Raw = _EMPTY
    kvlist_value: msgspec.Raw = _EMPTY
    bytes_value: str | None = None


class _KeyValue(_Form):
    key: str | None = None
    value: _AnyValue | None = None


class _Number(_Form):
    attributes: msgspec.Raw = _EMPTY
    start_time_unix_nano: _Int = None
    time_unix_nano: _Int = None
    as_double: _Float = None
    as_int: _Int = None
    flags: int | None = None


class _Histogram(_Form):
    attributes: msgspec.Raw = _EMPTY
    start_time_unix_nano: _Int = None
    time_unix_nano: _Int = None
    count: _Int = None
    sum: _Float = None
    bucket_counts: tuple[int | str, ...] | None = None
    explicit_bounds: tuple[float | str, ...] | None = None
    flags: int | None = None
    min: _Float = None
    max: _Float = None


class _Buckets(_Form):
    offset: int | None = None
    bucket_counts: tuple[int | str, ...] | None = None


class _Exponential(_Form):
    attributes: msgspec.Raw = _EMPTY
    start_time_unix_nano: _Int = None
    time_unix_nano: _Int = None
    count: _Int = None
    sum: _Float = None
    scale: int | None = None
    zero_count: _Int = None
    positive: _Buckets | None = None
    negative: _Buckets | None = None
    flags: int | None = None
    min: _Float = None
    max: _Float = None
    zero_threshold: _Float = None


class _Numbers(_Form):
    data_points: tuple[_Number, ...] | None = None
    aggregation_temporality: int | None = None
    is_monotonic: bool | None = None


class _Histograms(_Form):
    data_points: tuple[_Histogram, ...] | None = None
    aggregation_temporality: int | None = None


class _Exponentials(_Form):
    data_points: tuple[_Exponential, ...] | None = None
    aggregation_temporality: int | None = None


class _Summaries(_Form):
    data_points: tuple[msgspec.Raw, ...] | None = None


class _Metric(_Form):
    name: str | None = None
    unit: str | None = None
    gauge: _Numbers | None = None
    sum: _Numbers | None = None
    histogram: _Histograms | None = None
    exponential_histogram: _Exponentials | None = None
    summary: _Summaries | None = None


class _Scope(_Form):
    name: str | None = None
    version: str | None = None
    attributes: msgspec.Raw = _EMPTY


class _ScopeMetrics(_Form):
    scope: _Scope | None = None
    metrics: tuple[_Metric, ...] | None = None


class _Resource(_Form):
    attributes: msgspec.Raw = _EMPTY


class _ResourceMetrics(_Form):
    resource: _Resource | None = None
    scope_metrics: tuple[_ScopeMetrics, ...] | None = None


class _Request(_Form):
    resource_metrics: tuple[_ResourceMetrics, ...] | None = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_attributes = msgspec.json.Decoder(tuple[_KeyValue, ...] | None).decode
_KINDS: tuple[Kind, ...] = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_WRONG = "not an ExportMetricsServiceRequest in JSON"


class JsonReader:
    """Reads requests, and keeps attributes by their JSON, as clients send the same ones again and again."""

    def __init__(self) -> None:
        self._cache = AttributesCache()

    def read(self, body: bytes) -> list[Metric]:
        """Raises `Unreadable`, `TooMany`."""
        try:
            return list(self._read(_decode(body)))
        except msgspec.DecodeError as error:  # its text gives types and places, and nothing that was sent
            raise Unreadable(f"{_WRONG}: {error}") from None
        except (UnicodeDecodeError, RecursionError):
            raise Unreadable(_WRONG) from None

    def _read(self, request: _Request) -> Iterable[Metric]:
        allowance = Allowance()
        for in_resource in _counted(request.resource_metrics, allowance):
            resource = self._attributes((in_resource.resource or _Resource()).attributes)
            for in_scope in _counted(in_resource.scope_metrics, allowance):
                scope = self._scope(in_scope.scope or _Scope())
                for metric in _counted(in_scope.metrics, allowance):
                    yield self._metric(metric, resource, scope, allowance)

    def _metric(self, m: _Metric, resource: Attributes, scope: Attributes, allowance: Allowance) -> Metric:
        kind: Kind = next((kind for kind in _KINDS if getattr(m, kind) is not None), "none")
        made = Metric(resource, scope, m.name or "", m.unit or "", kind)
        if kind == "none":
            return made
        data = getattr(m, kind)
        points = _counted(data.data_points, allowance)
        made.count = len(points)
        made.temporality = getattr(data, "aggregation_temporality", None) or UNSPECIFIED
        made.is_monotonic = getattr(data, "is_monotonic", None) or False
        if kind in ("gauge", "sum"):
            made.numbers = [self._number(p) for p in points]
        elif kind == "histogram":
            made.histograms = [self._histogram(p) for p in points]
        elif kind == "exponential_histogram":
            made.exponentials = [self._exponential(p) for p in points]
        return made

    def _number(self, p: _Number) -> NumberPoint:
        value = _float(p.as_double) if p.as_int is None else _int(p.as_int, -(1 << 63))
        start, time = _int(p.start_time_unix_nano), _int(p.time_unix_nano)
        return self._attributes(p.attributes), start, time, value, _flags(p.flags)

    def _histogram(self, p: _Histogram) -> HistogramPoint:
        return HistogramPoint(
            self._attributes(p.attributes),
            _int(p.start_time_unix_nano),
            _int(p.time_unix_nano),
            _flags(p.flags),
            _int(p.count),
            _float(p.sum),
            _float(p.min),
            _float(p.max),
            tuple(map(_int, p.bucket_counts or ())),
            tuple(_float(bound) or 0.0 for bound in p.explicit_bounds or ()),
        )

    def _exponential(self, p: _Exponential) -> ExponentialPoint:
        positive, negative = p.positive or _Buckets(), p.negative or _Buckets()
        return ExponentialPoint(
            self._attributes(p.attributes),
            _int(p.start_time_unix_nano),
            _int(p.time_unix_nano),
            _flags(p.flags),
            _int(p.count),
            _float(p.sum),
            _float(p.min),
            _float(p.max),
            p.scale or 0,
            _int(p.zero_count),
            _float(p.zero_threshold) or 0.0,
            positive.offset or 0,
            tuple(map(_int, positive.bucket_counts or ())),
            any(map(_int, negative.bucket_counts or ())),
        )

    def _attributes(self, sent: msgspec.Raw) -> Attributes:
        key = b"" + sent
        return self._cache.found.get(key) or self._cache.keep(key, len(key), _values(key))

    def _scope(self, scope: _Scope) -> Attributes:
        name, version = scope.name or "", scope.version or ""
        key = name, version, b"" + scope.attributes
        known = self._cache.found.get(key)
        values = {"scope.name": name, "scope.version": version}
        return known or self._cache.keep(key, sum(map(len, key)), _values(key[2]) | values)


def _counted(items: tuple[_T, ...] | None, allowance: Allowance) -> tuple[_T, ...]:
    items = items or ()
    allowance.spend(len(items))
    return items


def _values(sent: bytes) -> dict[str, Value]:
    pairs = _decode_attributes(sent) or ()
    if len(pairs) > MAX_ATTRIBUTES:
        raise TooMany
    return {pair.key or "": _value(pair.value) for pair in pairs}


def _value(v: _AnyValue | None) -> Value:
    if v is None:
        return None
    if v.int_value is not None:
        return _int(v.int_value, -(1 << 63))
    if v.double_value is not None:
        return _float(v.double_value)
    if v.string_value is not None:
        return v.string_value
    if v.bool_value is not None:
        return v.bool_value
    others = b"".join((v.array_value, v.kvlist_value, (v.bytes_value or "").encode()))
    return others if others != b"nullnull" else None


def _int(sent: _Int, low: int = 0) -> int:
    """A 64-bit integer: not negative, unless `low` says otherwise."""
    if isinstance(sent, str) and _INTEGER.fullmatch(sent):
        sent = int(sent)
    if sent is None:
        return 0
    if isinstance(sent, str) or not low <= sent < (_UINT64 if low == 0 else 1 << 63):
        raise Unreadable(f"{_WRONG}: an integer is of the wrong form, or too large")
    return sent


def _float(sent: _Float) -> float | None:
    if isinstance(sent, str):
        if not _FLOAT.fullmatch(sent):
            raise Unreadable(f"{_WRONG}: a number is of the wrong form")
        return float(sent)
    return sent


def _flags(sent: int | None) -> int:
    return (sent or 0) % _UINT32

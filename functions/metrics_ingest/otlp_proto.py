"""Reads OTLP protobuf. The protobuf runtime gives points as bytes: what common clients send is read at fixed places.

Whatever is laid out in another way is parsed field by field, so any client's bytes are read as protobuf means them.
What the quick way relies on is checked for each point: its tags, and that the rest is attributes and flags alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct, error, unpack_from
from typing import Any

from google.protobuf.message import DecodeError

from functions.metrics_ingest.otlp_read import (
    MAX_ATTRIBUTES,
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
from functions.metrics_ingest.otlp_schema import messages

_KINDS: tuple[Kind, ...] = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_DOUBLE, _INT = 0x21, 0x31  # tags: field number << 3 | wire type
_START_TIME_VALUE = {_DOUBLE: Struct("<xQBQxd"), _INT: Struct("<xQBQxq")}  # counters: 27 bytes, three tags among them
_TIME_VALUE = {_DOUBLE: Struct("<BQxd"), _INT: Struct("<BQxq")}  # gauges, which often have no start: 18 bytes
_HISTOGRAM = Struct("<BQBQBQBdB")  # start, time, count, sum, and the tag of the bucket counts
_HISTOGRAM_TAGS = (0x11, 0x19, 0x21, 0x29, 0x32)
_LOW_AND_HIGH = Struct("<BdBd")
_Found = tuple[Attributes, int]  # with the flags


class ProtobufReader:
    """Reads requests, and keeps attributes by their bytes, as clients send the same ones again and again."""

    def __init__(self) -> None:
        self._numbers_rest: dict[bytes, _Found | None] = {}
        self._histograms_rest: dict[bytes, _Found | None] = {}
        self._cache = AttributesCache(self._numbers_rest, self._histograms_rest)

    def read(self, body: bytes) -> list[Metric]:
        """Raises `Unreadable`, `TooMany`."""
        try:
            return self._read(body)
        except (DecodeError, UnicodeDecodeError):
            raise Unreadable("not an ExportMetricsServiceRequest in protobuf") from None

    def _read(self, body: bytes) -> list[Metric]:
        allowance = Allowance()
        read = []
        for resource_metrics in _counted(messages()["Request"].FromString(body).resource_metrics, allowance):
            in_resource = messages()["ResourceMetrics"].FromString(resource_metrics)
            resource = self._whole("Resource", b"".join(in_resource.resource))
            for scope_metrics in _counted(in_resource.scope_metrics, allowance):
                in_scope = messages()["ScopeMetrics"].FromString(scope_metrics)
                scope = self._whole("Scope", b"".join(in_scope.scope))
                for metric in _counted(in_scope.metrics, allowance):
                    read.append(self._metric(messages()["Metric"].FromString(metric), resource, scope, allowance))
        return read

    def _metric(self, metric: Any, resource: Attributes, scope: Attributes, allowance: Allowance) -> Metric:
        kind: Kind = metric.WhichOneof("one") or "none"
        made = Metric(resource, scope, metric.name, metric.unit, kind)
        if kind == "none":
            return made
        data = getattr(metric, kind)
        points = _counted(data.data_points, allowance)
        made.count = len(points)
        made.temporality, made.is_monotonic = data.aggregation_temporality, data.is_monotonic
        if kind in ("gauge", "sum"):
            made.numbers = self._numbers(points)
        elif kind == "histogram":
            made.histograms = [self._histogram(p) or self._any_histogram(p) for p in points]
        elif kind == "exponential_histogram":
            made.exponentials = [self._exponential(p) for p in points]
        return made

    def _numbers(self, points: Iterable[bytes]) -> list[NumberPoint]:
        read: list[NumberPoint] = []
        known = self._numbers_rest
        for p in points:
            try:
                if p[0] == 0x11:
                    start, tag, time, value = _START_TIME_VALUE[p[18]].unpack_from(p)
                    rest = p[27:]
                else:
                    tag, time, value = _TIME_VALUE[p[9]].unpack_from(p)
                    start, rest = 0, p[18:]
            except (KeyError, IndexError, error):
                tag = 0
            found = (known.get(rest) or self._rest("Number", rest, known)) if tag == 0x19 else None
            read.append((found[0], start, time, value, found[1]) if found else self._any_number(p))
        return read

    def _any_number(self, point: bytes) -> NumberPoint:
        p = messages()["Number"].FromString(point)
        which = p.WhichOneof("one")
        return self._of(p.attributes), p.start, p.time, getattr(p, which) if which else None, p.flags

    def _histogram(self, p: bytes) -> HistogramPoint | None:
        """None where it is laid out in another way than usual."""
        try:
            first, start, second, time, third, count, fourth, total, fifth = _HISTOGRAM.unpack_from(p)
            if (first, second, third, fourth, fifth) != _HISTOGRAM_TAGS:
                return None
            at, size = _length(p, 37)
            counts = unpack_from(f"<{size >> 3}Q", p, at)
            at += size
            if p[at] != 0x3A:
                return None
            after, more = _length(p, at + 1)
            bounds = _bounds(p[after : after + more])
            at = after + more
            low = high = None
            end = len(p)
            if end - at >= 18 and p[-18] == 0x59 and p[-9] == 0x61:
                _, low, _, high = _LOW_AND_HIGH.unpack_from(p, end - 18)
                end -= 18
        except (IndexError, error):
            return None
        if size & 7 or after + more > len(p):
            return None
        rest = p[at:end]
        known = self._histograms_rest
        found = known.get(rest) or self._rest("Histogram", rest, known)
        if found is None:
            return None
        return HistogramPoint(found[0], start, time, found[1], count, total, low, high, counts, bounds)

    def _any_histogram(self, point: bytes) -> HistogramPoint:
        p = messages()["Histogram"].FromString(point)
        return HistogramPoint(
            self._of(p.attributes),
            p.start,
            p.time,
            p.flags,
            p.count,
            p.sum if p.HasField("sum") else None,
            p.min if p.HasField("min") else None,
            p.max if p.HasField("max") else None,
            tuple(p.counts),
            tuple(p.bounds),
        )

    def _exponential(self, point: bytes) -> ExponentialPoint:
        p = messages()["Exponential"].FromString(point)
        return ExponentialPoint(
            self._of(p.attributes),
            p.start,
            p.time,
            p.flags,
            p.count,
            p.sum if p.HasField("sum") else None,
            p.min if p.HasField("min") else None,
            p.max if p.HasField("max") else None,
            p.scale,
            p.zero_count,
            p.zero_threshold,
            p.positive.offset,
            tuple(p.positive.counts),
            any(p.negative.counts),
        )

    def _rest(self, of: str, rest: bytes, known: dict[bytes, _Found | None]) -> _Found | None:
        """What follows the fields at fixed places; None if it is more than attributes and flags, or ends amid one."""
        if rest in known:
            return known[rest]
        try:
            p = messages()[of].FromString(rest)
        except DecodeError:
            return None
        others = any(field.name not in ("attributes", "flags") for field, _ in p.ListFields())
        found = None if others else (self._of(p.attributes), p.flags)
        self._cache.make_room(len(rest))
        known[rest] = found
        return found

    def _of(self, sent: Sequence[bytes]) -> Attributes:
        """Attributes of a point, each as its bytes."""
        if len(sent) > MAX_ATTRIBUTES:
            raise TooMany
        key = tuple(sent)
        return self._cache.found.get(key) or self._cache.keep(key, sum(map(len, key)), _values(key))

    def _whole(self, of: str, sent: bytes) -> Attributes:
        """Attributes of a resource, or of a scope together with its name and version."""
        known = self._cache.found.get((of, sent))
        if known is not None:
            return known
        message = messages()[of].FromString(sent)
        values = _values(message.attributes)
        if of == "Scope":
            values |= {"scope.name": message.name, "scope.version": message.version}
        return self._cache.keep((of, sent), len(sent), values)


def _length(p: bytes, at: int) -> tuple[int, int]:
    """Where a field's content begins, and its size. Raises `IndexError` where it is cut off, or larger than usual."""
    size = p[at]
    if size < 0x80:
        return at + 1, size
    if p[at + 1] < 0x80:
        return at + 2, size & 0x7F | p[at + 1] << 7
    raise IndexError


@lru_cache(maxsize=1000)
def _bounds(sent: bytes) -> tuple[float, ...]:
    if len(sent) & 7:
        raise IndexError
    return unpack_from(f"<{len(sent) >> 3}d", sent)


def _counted(items: Sequence[bytes], allowance: Allowance) -> Sequence[bytes]:
    allowance.spend(len(items))
    return items


def _values(sent: Sequence[bytes]) -> dict[str, Value]:
    if len(sent) > MAX_ATTRIBUTES:
        raise TooMany
    values: dict[str, Value] = {}
    for pair in map(messages()["KeyValue"].FromString, sent):
        which = pair.value.WhichOneof("one")
        values[pair.key] = getattr(pair.value, which) if which else None
    return values

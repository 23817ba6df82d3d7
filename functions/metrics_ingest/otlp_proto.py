"""Reads OTLP protobuf. The protobuf runtime gives points as bytes: what common clients send is read at fixed places.

Whatever is laid out in another way is parsed field by field, so any client's bytes are read as protobuf means them.
What the quick way relies on is checked for each point: its tags, and that the rest is attributes and flags alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct, error
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
_HISTOGRAM_TAGS = b"\x11\x19\x21\x29\x32"  # start, time, count, sum, and bucket counts: each 9 bytes after the other
_HISTOGRAM = Struct("<xQxQxQxd")
_LOW_AND_HIGH = Struct("<xdxd")
_Found = tuple[Attributes, int]  # with the flags
_FoundOfHistogram = tuple[Attributes, int, tuple[float, ...]]  # with the flags and the bounds


class _Counts(dict[bytes, Struct]):
    """A histogram up to its last bucket count, by the bytes from their tag on, which tell how many there are."""

    def __missing__(self, tag_and_size: bytes) -> Struct:
        """Raises `IndexError` where that is cut off, no whole number, or larger than usual."""
        size, after = tag_and_size[1], 1
        if size >= 0x80:
            size, after = size & 0x7F | tag_and_size[2] << 7, 2
        if size & 7 or tag_and_size[0] != _HISTOGRAM_TAGS[4] or size >= 1 << 14:
            raise IndexError
        made = Struct(f"<{37 + after}x{size >> 3}Q")
        if len(self) < _MOST_SIZES:
            self[tag_and_size] = made
        return made


_MOST_SIZES = 1000
_COUNTS = _Counts()


class ProtobufReader:
    """Reads requests, and keeps attributes by their bytes, as clients send the same ones again and again."""

    def __init__(self) -> None:
        self._numbers_rest: dict[bytes, _Found | None] = {}
        self._histograms_rest: dict[bytes, _FoundOfHistogram | None] = {}
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
            made.histograms = self._histograms(points)
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
            found = (known.get(rest) or self._number_rest(rest)) if tag == 0x19 else None
            read.append((found[0], start, time, value, found[1]) if found else self._any_number(p))
        return read

    def _any_number(self, point: bytes) -> NumberPoint:
        p = messages()["Number"].FromString(point)
        which = p.WhichOneof("one")
        return self._of(p.attributes), p.start, p.time, getattr(p, which) if which else None, p.flags

    def _histograms(self, points: Iterable[bytes]) -> list[HistogramPoint]:
        """The usual layout: start, time, count, sum, bucket counts, anything but these, and perhaps min and max."""
        read = []
        known = self._histograms_rest
        for p in points:
            found = None
            try:
                start, time, count, total = _HISTOGRAM.unpack_from(p)
                counts = _COUNTS[p[36:39]]
                end = len(p)
                low = high = None
                if p[-18] == 0x59 and p[-9] == 0x61:
                    end -= 18
                    low, high = _LOW_AND_HIGH.unpack_from(p, end)
                if p[:37:9] == _HISTOGRAM_TAGS and end >= counts.size:
                    rest = p[counts.size : end]
                    found = known.get(rest) or self._histogram_rest(rest)
            except (IndexError, error):
                pass
            if found is None:
                read.append(self._any_histogram(p))
            else:
                attributes, flags, bounds = found
                of = counts.unpack_from(p)
                read.append(HistogramPoint(attributes, start, time, flags, count, total, low, high, of, bounds))
        return read

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

    def _number_rest(self, rest: bytes) -> _Found | None:
        """What follows the fields at fixed places; None if it is more than attributes and flags, or ends amid one."""
        if rest in self._numbers_rest:
            return None
        p = _only("Number", rest, "attributes", "flags")
        found = None if p is None else (self._of(p.attributes), p.flags)
        self._cache.make_room(len(rest))
        self._numbers_rest[rest] = found
        return found

    def _histogram_rest(self, rest: bytes) -> _FoundOfHistogram | None:
        """The same for a histogram, whose bounds follow too."""
        if rest in self._histograms_rest:
            return None
        p = _only("Histogram", rest, "attributes", "flags", "bounds")
        found = None if p is None else (self._of(p.attributes), p.flags, _bounds(array("d", p.bounds).tobytes()))
        self._cache.make_room(len(rest))
        self._histograms_rest[rest] = found
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


def _only(of: str, sent: bytes, *fields: str) -> Any:
    """The message; None if it has other fields than these, or cannot be read."""
    try:
        p = messages()[of].FromString(sent)
    except DecodeError:
        return None
    return p if all(field.name in fields for field, _ in p.ListFields()) else None


@lru_cache(maxsize=1000)
def _bounds(as_bytes: bytes) -> tuple[float, ...]:
    """Always the same object for the same bounds, so that they need not be compared."""
    return tuple(array("d", as_bytes))


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

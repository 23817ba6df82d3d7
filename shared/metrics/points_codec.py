"""Points of counters, and beats, as bytes. A document holds those of one 5-minute block and shard: a set."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from shared.domain.cumulative import Exponential, Histogram, Point, Value, size_of

_encode = msgspec.msgpack.Encoder().encode


class _Histogram(msgspec.Struct, array_like=True, tag="h"):
    count: int
    total: float
    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class _Exponential(msgspec.Struct, array_like=True, tag="e"):
    count: int
    total: float
    scale: int
    zero_count: int
    zero_up_to: float
    offset: int
    counts: tuple[int, ...]
    factor: float = 1.0


class PackedPoint(msgspec.Struct, array_like=True, gc=False):
    """A point in a segment or a document."""

    stream: bytes
    start: int
    time: int
    value: float | _Histogram | _Exponential | None

    def unpack(self) -> Point:
        value: Value | None
        match self.value:
            case _Histogram(count, total, bounds, counts):
                value = Histogram(count, total, bounds, counts)
            case _Exponential(count, total, scale, zero_count, zero_up_to, offset, counts, factor):
                value = Exponential(count, total, scale, zero_count, zero_up_to, offset, counts, factor)
            case number:
                value = number
        return Point(self.stream, self.start, self.time, value)


_decode = msgspec.msgpack.Decoder(dict[str, list[PackedPoint]]).decode


def pack(point: Point) -> tuple[Any, ...]:
    value: Any = point.value
    if isinstance(value, Histogram):
        value = ("h", value.count, value.total, value.bounds, value.counts)
    elif isinstance(value, Exponential):
        value = (
            "e", value.count, value.total, value.scale, value.zero_count, value.zero_up_to, value.offset, value.counts,
            value.factor,
        )  # fmt: skip
    return (point.stream, point.start, point.time, value)


def encode_points(points: Mapping[str, Iterable[Point]]) -> bytes:
    """By series key. The same set gives the same bytes."""
    ordered = {key: [pack(p) for p in sorted(of, key=_place)] for key, of in sorted(points.items())}
    return zlib.compress(_encode(ordered), 1)


def decode_points(payload: bytes) -> dict[str, list[Point]]:
    return {key: [p.unpack() for p in of] for key, of in _decode(zlib.decompress(payload)).items()}


def _place(point: Point) -> tuple[bytes, int, int, float]:
    return point.stream, point.start, point.time, size_of(point.value)

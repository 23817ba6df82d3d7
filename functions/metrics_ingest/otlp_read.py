"""What is read out of an OTLP request, whether it came as protobuf or as JSON. Times are nanoseconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

MAX_POINTS = 50_000
MAX_ATTRIBUTES = 1000  # of one point, resource or scope
MAX_CACHED = 20_000
MAX_CACHED_BYTES = 16_000_000
UNSPECIFIED, DELTA, CUMULATIVE = 0, 1, 2
NO_RECORDED_VALUE = 1

Kind = Literal["gauge", "sum", "histogram", "exponential_histogram", "summary", "none"]
Value = str | int | float | bytes | None  # bytes: lists, maps and bytes, in the form that they were sent in


class Unreadable(Exception):
    """The body is no OTLP request. The text quotes nothing of it."""


class TooMany(Exception):
    """More points, or more of what holds them, than are read in one request."""


class Attributes:
    """Attributes of a point, a resource or a scope, by name. They are cached, so identity serves as their hash."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values

    def canonical(self) -> bytes:
        """The same bytes for the same attributes in any order."""
        return repr(sorted(self.values.items(), key=lambda item: item[0])).encode("utf-8", "surrogatepass")


# Attributes, start, time, value (None: none was sent), flags. A bare tuple, since it is made once a point.
NumberPoint = tuple[Attributes, int, int, float | None, int]


class HistogramPoint(msgspec.Struct, frozen=True, gc=False):
    """`counts[i]` values lie in (bounds[i-1], bounds[i]]; the last ones are above all bounds."""

    attributes: Attributes
    start: int
    time: int
    flags: int
    count: int
    total: float | None
    low: float | None
    high: float | None
    counts: tuple[int, ...]
    bounds: tuple[float, ...]


class ExponentialPoint(msgspec.Struct, frozen=True, gc=False):
    """`counts[i]` values lie in (base^(offset+i), base^(offset+i+1)], where base = 2^(2^-scale)."""

    attributes: Attributes
    start: int
    time: int
    flags: int
    count: int
    total: float | None
    low: float | None
    high: float | None
    scale: int
    zero_count: int
    zero_up_to: float
    offset: int
    counts: tuple[int, ...]
    has_negative: bool


@dataclass(slots=True)
class Metric:
    """`points` are of the type that `kind` tells. `count`: how many were sent, also of kinds that are not read."""

    resource: Attributes
    scope: Attributes
    name: str
    unit: str
    kind: Kind
    temporality: int = UNSPECIFIED
    is_monotonic: bool = False
    numbers: Sequence[NumberPoint] = ()
    histograms: Sequence[HistogramPoint] = ()
    exponentials: Sequence[ExponentialPoint] = ()
    count: int = 0


class AttributesCache:
    """Attributes by what they were sent as. Emptied, with all that is kept `beside` it, once it has grown large."""

    def __init__(self, *beside: dict[Any, Any]) -> None:
        self.found: dict[object, Attributes] = {}
        self._kept: tuple[dict[Any, Any], ...] = (self.found, *beside)
        self._bytes = 0

    def keep(self, key: object, size: int, values: Mapping[str, Value]) -> Attributes:
        """`size`: about how many bytes are kept by that."""
        attributes = Attributes(values)
        self.make_room(size)
        self.found[key] = attributes
        return attributes

    def make_room(self, size: int) -> None:
        if sum(map(len, self._kept)) >= MAX_CACHED or self._bytes >= MAX_CACHED_BYTES:
            for kept in self._kept:
                kept.clear()
            self._bytes = 0
        self._bytes += size


class Allowance:
    """How much may still be read of a request."""

    def __init__(self, points: int = MAX_POINTS) -> None:
        self._left = points

    def spend(self, number: int) -> None:
        """Raises `TooMany`."""
        self._left -= number
        if self._left < 0:
            raise TooMany

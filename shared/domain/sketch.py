"""Quantiles by log buckets, as DDSketch does it (Masson, Rim, Lee: "DDSketch", VLDB 2019).

Bucket i holds values in (γ^(i-1), γ^i] with γ = 1.01/0.99, and answers with the value whose relative distance to both
ends is the same, so a quantile errs by at most 1 %. Merging adds counts: any order gives the same sketch.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from math import ceil, log2
from operator import mul

GAMMA = 1.01 / 0.99
_LOG = log2(GAMMA)
_PER_LOG = 1 / _LOG
ZERO = -32_768  # the bucket of values too small for a logarithm; 16 bits hold every index
UNBOUNDED = 32_767  # of a span: no upper edge is known
SMALLEST = 1e-280


def indices(values: Iterable[float]) -> array[int]:
    """The bucket of each value; values must be 0 or in [SMALLEST, 1e280], and not negative."""
    try:
        return array("h", list(map(ceil, map(mul, map(log2, values), repeat(_PER_LOG)))))
    except ValueError:  # the logarithm of 0
        return array("h", [ceil(log2(v) * _PER_LOG) if v >= SMALLEST else ZERO for v in values])


def count_sorted(values: Sequence[float]) -> dict[int, int]:
    """Buckets of values in rising order, with a logarithm a bucket instead of one a value."""
    buckets: dict[int, int] = {}
    start, end = 0, len(values)
    while start < end:
        value = values[start]
        index = ceil(log2(value) * _PER_LOG) if value >= SMALLEST else ZERO
        upper = 2 ** (index * _LOG)  # a rounding off at the very edge of a bucket is far inside of the 1 %
        stop = bisect_right(values, upper if upper > value else value, start)
        buckets[index] = buckets.get(index, 0) + stop - start
        start = stop
    return buckets


def index_of(value: float) -> int:
    """The bucket of one value."""
    return ceil(log2(value) * _PER_LOG) if value >= SMALLEST else ZERO


def edges(index: int) -> tuple[float, float]:
    """The values between which all of a bucket lie."""
    return (0.0, 0.0) if index == ZERO else (2 ** ((index - 1) * _LOG), 2 ** (index * _LOG))


def representative(index: int) -> float:
    """The value that stands for a bucket: within 1 % of every value in it."""
    return 0.0 if index == ZERO else float(2 * 2 ** (index * _LOG) / (1 + GAMMA))


def quantile_index(buckets: Mapping[int, float], count: int, q: float) -> int:
    """The bucket of the value at rank ceil(q·n), counted from 1. `count` is their sum, above 0."""
    rank: float = max(1, ceil(q * count - 1e-9))
    index = ZERO
    for index in sorted(buckets):
        rank -= buckets[index]
        if rank <= 1e-6:  # shares of a histogram's bucket are no whole numbers
            break
    return index


def quantile(buckets: Mapping[int, int], q: float) -> float | None:
    """The value at rank ceil(q·n), counted from 1, within 1 %; None if there are no values."""
    count = sum(buckets.values())
    return representative(quantile_index(buckets, count, q)) if count else None


def count_up_to(buckets: Mapping[int, int], bound: float) -> int:
    """About how many values are <= bound: whole buckets, and half of the one that the bound cuts."""
    if bound < SMALLEST:
        return buckets.get(ZERO, 0)
    edge = ceil(log2(bound) * _PER_LOG)
    below = sum(n for index, n in buckets.items() if index < edge)
    return below + (buckets.get(edge, 0) + 1) // 2

"""Histograms of OTLP in our own units, or the fault that makes one unusable."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from functions.metrics_ingest.otlp_read import ExponentialPoint, HistogramPoint
from functions.metrics_ingest.otlp_units import converted
from shared.domain.building import LARGEST
from shared.domain.cumulative import Exponential

MOST_VALUES = 10**12  # in one histogram
MOST_BUCKETS = 2000
_LARGEST_TOTAL = LARGEST * MOST_VALUES
_SCALES = range(-10, 21)
_LARGEST_EDGE = 900  # as a power of 2: what a sketch has buckets for


class Fault(Exception):
    """Why the point is refused; the text quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What bounds alone tell: themselves in our unit, how many of them are below 0, and what is wrong with them."""

    bounds: tuple[float, ...]
    below_zero: int
    fault: str | None


@lru_cache(maxsize=1000)
def layout_of(bounds: tuple[float, ...], by: float) -> Layout:
    if len(bounds) >= MOST_BUCKETS:
        return Layout((), 0, f"bucketCounts: more than {MOST_BUCKETS}")
    own = tuple(converted(bound, by) for bound in bounds)
    if any(not a < b for a, b in pairwise(own)) or any(not abs(bound) <= LARGEST for bound in own):
        return Layout((), 0, f"explicitBounds: must rise, and be numbers of at most {LARGEST:g}")
    return Layout(own, bisect_left(own, 0), None)


def explicit(p: HistogramPoint, layout: Layout) -> tuple[tuple[int, ...], float]:
    """How many values each bucket holds, and their sum, in the unit sent. `layout`: of its bounds. Raises `Fault`."""
    counts = p.counts
    if not counts and not p.bounds:
        counts = (p.count,)
    if len(counts) != len(p.bounds) + 1:
        raise Fault("bucketCounts: must be one more than explicitBounds")
    if layout.fault:
        raise Fault(layout.fault)
    if sum(counts) != p.count:
        raise Fault("bucketCounts: must add up to count")
    if layout.below_zero and any(counts[: layout.below_zero]):
        raise Fault("bucketCounts: values below 0 are not taken")
    return counts, _total(p)


def exponential(p: ExponentialPoint, by: float) -> Exponential:
    """Raises `Fault`. Buckets that are empty at either end are left out."""
    if p.scale not in _SCALES:
        raise Fault(f"scale: must be from {_SCALES[0]} to {_SCALES[-1]}")
    if p.has_negative:
        raise Fault("negative: values below 0 are not taken")
    if not 0 <= p.zero_up_to <= LARGEST:
        raise Fault(f"zeroThreshold: must be from 0 to {LARGEST:g}")
    if sum(p.counts) + p.zero_count != p.count:
        raise Fault("bucketCounts and zeroCount: must add up to count")
    filled = [n for n, count in enumerate(p.counts) if count]
    first, last = (filled[0], filled[-1]) if filled else (0, -1)
    if last - first >= MOST_BUCKETS:
        raise Fault(f"bucketCounts: more than {MOST_BUCKETS}")
    width = 2.0**-p.scale
    highest = (p.offset + last + 1) * width + math.log2(by)
    if filled and (highest > _LARGEST_EDGE or highest - width > math.log2(LARGEST)):
        raise Fault(f"offset: values above {LARGEST:g}")
    offset, counts = p.offset + first, p.counts[first : last + 1]
    total = converted(_total(p), by)
    return Exponential(p.count, total, p.scale, p.zero_count, p.zero_up_to, offset, counts, by)


def _total(p: HistogramPoint | ExponentialPoint) -> float:
    count, total = p.count, p.total
    if count > MOST_VALUES:
        raise Fault(f"count: more than {MOST_VALUES:g}")
    low, high = 0.0 if p.low is None else p.low, LARGEST if p.high is None else p.high
    if count and not 0 <= low <= high <= LARGEST:
        raise Fault(f"min and max: must rise, and be from 0 to {LARGEST:g}")
    if total is None and count:
        raise Fault("sum: is missing, as it is where values lie below 0")
    total = total or 0.0
    if not 0 <= total <= _LARGEST_TOTAL:
        raise Fault("sum: must be finite and not negative")
    return total

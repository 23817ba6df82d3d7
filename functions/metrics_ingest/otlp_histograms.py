"""Histograms of OTLP in our own units, or the fault that makes one unusable."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

from functions.metrics_ingest.otlp_read import ExponentialPoint, HistogramPoint
from functions.metrics_ingest.otlp_units import converted
from shared.domain.building import LARGEST
from shared.domain.cumulative import Exponential, Histogram

MOST_VALUES = 10**12  # in one histogram
MOST_BUCKETS = 2000
_SCALES = range(-10, 21)
_LARGEST_EDGE = 900  # as a power of 2: what a sketch has buckets for


class Fault(Exception):
    """Why the point is refused; the text quotes nothing of it."""


def explicit(p: HistogramPoint, by: float) -> Histogram:
    """Raises `Fault`."""
    counts = p.counts
    if not counts and not p.bounds:
        counts = (p.count,)
    if len(counts) != len(p.bounds) + 1:
        raise Fault("bucketCounts: must be one more than explicitBounds")
    if len(counts) > MOST_BUCKETS:
        raise Fault(f"bucketCounts: more than {MOST_BUCKETS}")
    bounds = _own_bounds(p.bounds, by)
    if bounds is None:
        raise Fault(f"explicitBounds: must rise, and be numbers of at most {LARGEST:g}")
    if sum(counts) != p.count:
        raise Fault("bucketCounts: must add up to count")
    if bounds and bounds[0] < 0 and any(count for bound, count in zip(bounds, counts, strict=False) if bound < 0):
        raise Fault("bucketCounts: values below 0 are not taken")
    return Histogram(p.count, _total(p, by), bounds, counts)


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
    total = _total(p, by)
    return Exponential(p.count, total, p.scale, p.zero_count, p.zero_up_to, offset, counts, by)


def _total(p: HistogramPoint | ExponentialPoint, by: float) -> float:
    if p.count > MOST_VALUES:
        raise Fault(f"count: more than {MOST_VALUES:g}")
    low, high = 0.0 if p.low is None else p.low, LARGEST if p.high is None else p.high
    if p.count and not 0 <= low <= high <= LARGEST:
        raise Fault(f"min and max: must rise, and be from 0 to {LARGEST:g}")
    if p.total is None and p.count:
        raise Fault("sum: is missing, as it is where values lie below 0")
    total = p.total or 0.0
    if not 0 <= total <= LARGEST * MOST_VALUES:
        raise Fault("sum: must be finite and not negative")
    return converted(total, by)


@lru_cache(maxsize=1000)
def _own_bounds(bounds: tuple[float, ...], by: float) -> tuple[float, ...] | None:
    """None if they are not sound."""
    own = tuple(converted(bound, by) for bound in bounds)
    rising = all(a < b for a, b in pairwise(own))
    return own if rising and all(abs(bound) <= LARGEST for bound in own) else None

"""Spans: values of histograms, of which only the two sketch buckets between which they lie are known.

A span is (first bucket, last bucket), both inclusive, with the number of its values; `UNBOUNDED` as last means that
there is no upper edge. For display its values are spread evenly between its edges, as is usual for histograms; what is
certain about a quantile are the edges.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.domain.sketch import UNBOUNDED, edges

Span = tuple[int, int]
_DEEPEST = 700  # buckets below a span's upper edge, a millionth of its value; what is below takes the last of them


def spread(buckets: Mapping[int, int], spans: Mapping[Span, int]) -> dict[int, float]:
    """Buckets with the spans' values spread over them: shares, no whole numbers."""
    shares: dict[int, float] = dict(buckets)
    for (first, last), count in spans.items():
        for index, share in _shares(first, last):
            shares[index] = shares.get(index, 0.0) + share * count
    return shares


def _shares(first: int, last: int) -> list[tuple[int, float]]:
    if last == UNBOUNDED or first >= last:
        return [(first, 1.0)]
    low, high = edges(first)[0], edges(last)[1]
    start = max(first, last - _DEEPEST)
    rest = [(start, (edges(start)[1] - low) / (high - low))]
    return rest + [(index, (edges(index)[1] - edges(index)[0]) / (high - low)) for index in range(start + 1, last + 1)]


def at_an_end(buckets: Mapping[int, int], spans: Mapping[Span, int], end: int) -> dict[int, float]:
    """Buckets with every span's values at its first (0) or last (1) bucket: the extremes that it allows."""
    extreme: dict[int, float] = dict(buckets)
    for span, count in spans.items():
        extreme[span[end]] = extreme.get(span[end], 0) + count
    return extreme


def up_to(spans: Mapping[Span, int], bound: float) -> int:
    """About how many of the spans' values are <= bound."""
    total = 0.0
    for (first, last), count in spans.items():
        low = edges(first)[0]
        high = None if last == UNBOUNDED else edges(last)[1]
        if high is not None and bound >= high:
            total += count
        elif high is not None and bound > low:
            total += count * (bound - low) / (high - low)
    return round(total)

"""Batches of points, beats and histograms, as OpenTelemetry's intake and the heartbeats' would build them."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache

from functions.metrics_ingest.forms import hash_of
from shared.domain.building import BLOCK_MS, Batch, BatchBuilder
from shared.domain.cumulative import Histogram, Point, Value, histogram_stats, stream_id
from shared.domain.series import Series, SeriesTable

EDGES = (50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 1000.0, 2000.0)
Sent = tuple[str, Mapping[str, str], Point]  # metric, labels, point


def stream(sender: str, labels: Mapping[str, str]) -> bytes:
    return stream_id(sender.encode(), as_json(labels))


def as_json(labels: Mapping[str, str]) -> bytes:
    return _as_json(tuple(sorted(labels.items())))


@cache
def _as_json(labels: tuple[tuple[str, str], ...]) -> bytes:
    return json.dumps(dict(labels)).encode()


def counter(at: int, value: Value, start: int, sender: str = "app-1", name: str = "token_cost", **labels: str) -> Sent:
    """A point of a counter."""
    return name, labels, Point(stream(sender, labels), start, at, value)


def beat(at: int, agent: str) -> Sent:
    return "agent_uptime", {"agent": agent}, Point(b"", 0, at, None)


def histogram_of(values: Sequence[float], edges: tuple[float, ...] = EDGES) -> Histogram:
    counts = Counter(bisect_left(edges, value) for value in values)
    return Histogram(len(values), float(sum(values)), edges, tuple(counts[n] for n in range(len(edges) + 1)))


def series_of(table: SeriesTable, name: str, labels: Mapping[str, str]) -> Series:
    found = table.resolve(name, as_json(labels))
    assert isinstance(found, Series)
    return found


def batch_of_points(points: Sequence[Sent], name: str, table: SeriesTable) -> Batch:
    builder = BatchBuilder(table)
    for metric, labels, point in points:
        builder.point(series_of(table, metric, labels), point.time // BLOCK_MS, point)
    return builder.batch(hash_of(name), len(points))


def batch_of_histogram(
    at: int, values: Sequence[float], labels: Mapping[str, str], name: str, table: SeriesTable
) -> Batch:
    """A delta histogram of api_latency."""
    series = series_of(table, "api_latency", labels)
    stats = histogram_stats(histogram_of(values), None, None, series.bounds)
    builder = BatchBuilder(table)
    if stats is not None:
        builder.whole(series, at // BLOCK_MS, stats)
    return builder.batch(hash_of(name), 1)


def keyed(points: Sequence[Sent], table: SeriesTable) -> list[tuple[str, Point]]:
    return [(series_of(table, metric, labels).key, point) for metric, labels, point in points]

"""What there is to query, and what its labels cost: read from the hours of the last day, or of today."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.building import BLOCK_MS, DROPPED
from shared.domain.cardinality import DroppedLabel, MetricCost, costs_of, dropped_labels
from shared.domain.metric import Registry
from shared.domain.metric_query import labels_of
from shared.domain.query_range import DAY, HOUR
from shared.domain.rollup import SHARDS
from shared.metrics.layout import day_of, hour_path
from shared.metrics.rollup_codec import decode_rollup
from shared.store.protocol import Store

CHUNK = 12


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """`labels`: what it may be grouped and filtered by; None: every one. `series`: their number in the last day."""

    name: str
    description: str
    unit: str
    kind: str
    direction: str
    aggregation: str
    aliases: tuple[str, ...]
    labels: tuple[str, ...] | None
    bounds: tuple[float, ...]
    derived_from: str | None
    series: int


@dataclass(frozen=True, slots=True)
class Catalog:
    metrics: list[CatalogEntry]
    reads: int


@dataclass(frozen=True, slots=True)
class Cardinality:
    """Of a day (UTC), as far as it is folded."""

    day: str
    metrics: list[MetricCost]
    dropped_labels: list[DroppedLabel]
    reads: int


def read_catalog(store: Store, registry: Registry, now: datetime) -> Catalog:
    """Reads 50 documents: the hours of the last day."""
    paths = _hours(now - timedelta(hours=24), now)
    events, _ = _counts(store, paths)
    series = Counter(key.partition("{")[0] for key in events)
    entries = [
        CatalogEntry(
            name=name,
            description=metric.description,
            unit=metric.unit,
            kind=metric.kind,
            direction=metric.direction,
            aggregation=metric.aggregation,
            aliases=metric.aliases,
            labels=labels_of(metric, registry),
            bounds=metric.bounds,
            derived_from=metric.derived_from.metric if metric.derived_from else None,
            series=series[name],
        )
        for name, metric in registry.metrics.items()
    ]
    return Catalog(entries, len(paths))


def read_cardinality(store: Store, registry: Registry, now: datetime) -> Cardinality:
    """Reads at most 48 documents: the hours of today (UTC)."""
    day = now.strftime("%Y-%m-%d")
    paths = _hours(now.replace(hour=0, minute=0), now)
    events, dropped = _counts(store, paths)
    return Cardinality(day, costs_of(events, registry), dropped_labels(dropped), len(paths))


def _hours(first: datetime, last: datetime) -> list[str]:
    """Paths of all hours that touch the time, last included."""
    start, end = (int(t.timestamp()) * 1000 // BLOCK_MS // HOUR for t in (first, last))
    hours = (hour * HOUR for hour in range(start, end + 1))
    return [hour_path(day_of(block), block % DAY // HOUR, shard) for block in hours for shard in range(SHARDS)]


def _counts(store: Store, paths: list[str]) -> tuple[dict[str, int], dict[str, int]]:
    """By key: the events of each series; and of each series of dropped labels, whose values are counts, their sum."""
    events: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for start in range(0, len(paths), CHUNK):
        for doc in store.get_many(paths[start : start + CHUNK]):
            rollup = decode_rollup(doc.data["payload"]) if doc else {}
            for key, stats in rollup.items():
                events[key] += stats.count
                if key.startswith(DROPPED + "{"):
                    dropped[key] += round(stats.total)
    return events, dropped

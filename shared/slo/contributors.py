"""Which values of a metric's labels most of an SLO's bad events have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shared.domain.definition import Counts
from shared.domain.exclusion import Span
from shared.domain.metric import Registry
from shared.domain.metric_query import MetricQuery, labels_of
from shared.domain.query_cells import OTHER, Group, group_of
from shared.domain.query_range import Range, Stored, without
from shared.domain.rollup import Stats
from shared.domain.series import split_key
from shared.domain.slo import Slo
from shared.domain.slots import add_up, count_definitions
from shared.metrics.query import Reader
from shared.store.protocol import Store

MOST = 10


@dataclass(frozen=True, slots=True)
class Contributor:
    """`value`: empty for series without the label; None for those put together in `other`, whose value is not known."""

    value: str | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Contributors:
    """`whole`: all events of the time. `labels`: for each label the ten values with the most bad events."""

    whole: Counts
    labels: Mapping[str, list[Contributor]]


def read_contributors(
    store: Store,
    slo: Slo,
    registry: Registry,
    stored: Stored,
    first: int,
    end: int,
    excluded: Sequence[Span] = (),
) -> Contributors:
    """Of blocks `first` … `end` - 1 without `excluded`, which is merged. Raises `TooManyDocuments`, `StoreError`."""
    metric = registry.metrics[slo.metric]
    sources = (slo.metric, metric.derived_from.metric) if metric.derived_from else (slo.metric,)

    def rollups() -> Iterator[Mapping[str, Stats]]:
        for start, stop in without(first, end, excluded, stored.blocks_from):
            span = Range(start, stop, stop)  # one step, which is cut to the range
            query = MetricQuery(slo.metric, slo.aggregation, span, (), {}, sources, metric.kind == "ratio", slo.unit)
            for _, rollup in Reader(store, query, registry, stored).rollups():
                yield rollup

    return contributors_of(rollups(), slo, registry)


def contributors_of(rollups: Iterable[Mapping[str, Stats]], slo: Slo, registry: Registry) -> Contributors:
    """Of all events of the SLO in these rollups, which are series → statistics."""
    metric = registry.metrics[slo.metric]
    sources = (slo.metric, metric.derived_from.metric) if metric.derived_from else (slo.metric,)
    by_key: dict[str, Counts] = {}
    for rollup in rollups:
        for key, stats in rollup.items():
            if key.partition("{")[0] in sources:
                found = count_definitions({key: stats}, [slo.objective], registry)[slo.objective.hash]
                if found.total:
                    by_key[key] = add_up([by_key[key], found]) if key in by_key else found
    labels = {key: split_key(key)[1] for key in by_key}
    names = labels_of(metric, registry)
    if names is None:
        names = tuple(sorted({name for of in labels.values() for name in of} - {"other"}))
    used = [name for name in names if any(name in of for of in labels.values())]
    return Contributors(
        add_up(by_key.values()),
        {name: _worst((group_of(labels[key], [name]), counts) for key, counts in by_key.items()) for name in used},
    )


def _worst(parts: Iterable[tuple[Group, Counts]]) -> list[Contributor]:
    by_group: dict[Group, list[Counts]] = {}
    for group, counts in parts:
        by_group.setdefault(group, []).append(counts)
    found = [Contributor(None if group == OTHER else group[0], add_up(of)) for group, of in by_group.items()]
    bad = [one for one in found if one.counts.bad]
    return sorted(bad, key=lambda one: (-one.counts.bad, -one.counts.total, one.value or ""))[:MOST]

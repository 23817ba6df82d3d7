"""How many series each metric has, and which of its labels makes them many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.fit import is_other
from shared.domain.metric import Registry
from shared.domain.series import split_key


@dataclass(frozen=True, slots=True)
class LabelCost:
    """`values`: how many it has. `without`: how many series would be left if the label were not kept."""

    label: str
    values: int
    without: int


@dataclass(frozen=True, slots=True)
class MetricCost:
    """`labels`: the costliest first. `other_percent`: share of the events that are in `other`, their labels lost."""

    metric: str
    series: int
    limit: int
    events: int
    other_percent: float
    labels: list[LabelCost]


@dataclass(frozen=True, slots=True)
class DroppedLabel:
    """A label that was sent with a metric and not kept, and in how many samples."""

    metric: str
    label: str
    samples: int


def costs_of(events: Mapping[str, int], registry: Registry) -> list[MetricCost]:
    """Costs by metric, that with the most series first. `events`: by series key.

    A metric that is no longer in the registry has a limit of 0.
    """
    by_metric: dict[str, dict[str, int]] = {}
    for key, count in events.items():
        by_metric.setdefault(key.partition("{")[0], {})[key] = count
    costs = []
    for name, counted in by_metric.items():
        limit = registry.metrics[name].max_series if name in registry.metrics else 0
        costs.append(_cost(name, counted, limit))
    return sorted(costs, key=lambda cost: (-cost.series, cost.metric))


def dropped_labels(samples: Mapping[str, int]) -> list[DroppedLabel]:
    """`samples`: by key of the metric that counts them. The most frequent first; folded ones have empty names."""
    found = [(split_key(key)[1], count) for key, count in samples.items()]
    told = [DroppedLabel(labels.get("metric", ""), labels.get("label", ""), count) for labels, count in found]
    return sorted(told, key=lambda entry: (-entry.samples, entry.metric, entry.label))


def _cost(name: str, counted: Mapping[str, int], limit: int) -> MetricCost:
    label_sets = [split_key(key)[1] for key in counted]
    total = sum(counted.values())
    other = sum(count for key, count in counted.items() if is_other(key))
    costs = []
    for label in sorted({label for labels in label_sets for label in labels} - {"other"}):
        left = {tuple(sorted((k, v) for k, v in labels.items() if k != label)) for labels in label_sets}
        values = {labels[label] for labels in label_sets if label in labels}
        costs.append(LabelCost(label, len(values), len(left)))
    costs.sort(key=lambda cost: (cost.without, cost.label))
    return MetricCost(name, len(counted), limit, total, 100 * other / total if total else 0.0, costs)

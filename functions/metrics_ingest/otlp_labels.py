"""From the names and attributes of OpenTelemetry to our series."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from functions.metrics_ingest.otlp_read import MAX_CACHED, Attributes, Metric, Value
from shared.domain.cumulative import stream_id
from shared.domain.metric import Metric as Declared
from shared.domain.metric import Registry
from shared.domain.scrub import scrub_value
from shared.domain.series import MAX_LABEL_LENGTH, MAX_LABELS, Series, SeriesTable

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,62}")
_LONGEST = 2000
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Target:
    """Where a point goes: its series, and the stream that it belongs to if it is one of a counter's."""

    series: Series
    stream: bytes


class TargetsOfOne(dict[Attributes, Target | str]):
    """The targets of one metric, resource and scope, or why there is none: made at the first meeting."""

    def __init__(self, targets: Targets, own: str, metric: Metric) -> None:
        super().__init__()
        self._targets, self._own, self._resource = targets, own, metric.resource
        self._sender = b"\n".join((metric.name.encode(), metric.resource.canonical(), metric.scope.canonical()))

    def __missing__(self, attributes: Attributes) -> Target | str:
        found = self[attributes] = self._make(attributes)
        self._targets.made += 1
        return found

    def _make(self, attributes: Attributes) -> Target | str:
        table = self._targets.table
        labels = labels_of(self._resource, attributes, table.registry, table.registry.metrics[self._own])
        series = table.resolve(self._own, _encode(labels))
        if isinstance(series, list):
            return "; ".join(series)
        return Target(series, stream_id(self._sender, attributes.canonical()))


class Targets:
    """Finds the series of (metric, resource, scope, attributes), each once for each configuration.

    `made`: how many are kept; all are forgotten once they are many.
    """

    def __init__(self, table: SeriesTable) -> None:
        self.table = table
        self.made = 0
        self._found: dict[tuple[object, ...], TargetsOfOne] = {}

    def of(self, own: str, metric: Metric) -> TargetsOfOne:
        if self.made >= MAX_CACHED:
            self._found.clear()
            self.made = 0
        key = (metric.name, metric.resource, metric.scope)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = TargetsOfOne(self, own, metric)
            self.made += 1
        return found


def labels_of(resource: Attributes, attributes: Attributes, registry: Registry, declared: Declared) -> dict[str, str]:
    """Labels of a point, under our names. Those that the metric does not keep are there without their value.

    A point's own attributes win over its resource's, and of several for one label the first in `label_names`. What a
    resource has beyond the metric's labels describes the sender, and is left out without a word.
    """
    kept = declared.labels
    of_resource = tuple(registry.label_names.values()) if kept is None else kept
    labels = {label: text for label, text in _named(resource, registry) if label in of_resource}
    left_out = []
    for label, text in _named(attributes, registry):
        if kept is None or label in kept:
            labels[label] = text
        else:
            left_out.append(label)
    for label in left_out:
        if len(labels) < MAX_LABELS and _KEY.fullmatch(label):
            labels[label] = ""
    return labels


def _named(given: Attributes, registry: Registry) -> list[tuple[str, str]]:
    """Label and value; of several values for one label the last one counts."""
    rank = {name: n for n, name in enumerate(registry.label_names)}
    ordered = sorted(given.values.items(), key=lambda item: rank.get(item[0], -1), reverse=True)
    return [
        (registry.label_names.get(name, name), text) for name, value in ordered if (text := _text(value)) is not None
    ]


def _text(value: Value) -> str | None:
    """None for what no label can hold: lists, maps, bytes, nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else str(value)
    if isinstance(value, str) and len(value) > MAX_LABEL_LENGTH:
        return scrub_value(value[:_LONGEST])[:MAX_LABEL_LENGTH]
    return None if value is None or isinstance(value, bytes) else str(value)

"""A metric query: what is asked for, checked whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import NamedTuple

from shared.domain.metric import Metric, Registry
from shared.domain.query_range import (
    MAX_POINTS,
    Range,
    Stored,
    aligned,
    iso,
    moment,
    step_blocks,
    step_that_fits,
    usual_step,
)
from shared.domain.rollup import shard_of

MAX_DOCUMENTS = 2500
QUANTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
PLAIN = ("avg", "sum", "count", "min", "max", "rate")
OF_RATIOS = ("avg", "sum", "count", "rate")
PARAMETERS = ("metric", "agg", "from", "to", "step", "group_by", "filter")


class Fault(NamedTuple):
    path: str
    message: str


class InvalidQuery(Exception):
    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{f.path}: {f.message}" for f in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """`sources`: the metrics whose series are read. Values of one label in `filters` are alternatives."""

    metric: str
    agg: str
    range: Range
    group_by: tuple[str, ...]
    filters: Mapping[str, frozenset[str]]
    sources: tuple[str, ...]
    is_ratio: bool
    unit: str

    @property
    def shards(self) -> list[int]:
        return sorted({shard_of(name) for name in self.sources})


def parse_query(args: Mapping[str, Sequence[str]], registry: Registry, stored: Stored, now: datetime) -> MetricQuery:
    """`args`: the parameters of the address, each with all its values. Raises `InvalidQuery` with every fault."""
    faults = [
        Fault(name, f"unknown parameter; there are {', '.join(PARAMETERS)}") for name in args if name not in PARAMETERS
    ]
    faults += [Fault(n, "given more than once") for n in PARAMETERS if n != "filter" and len(args.get(n, ())) > 1]
    one = {name: values[0].strip() for name, values in args.items() if values and values[0].strip()}
    name = registry.canonical(one.get("metric", ""))
    if name is None:
        faults.append(Fault("metric", _unknown_metric(one.get("metric"), registry)))
    metric = registry.metrics[name] if name else None
    labels = labels_of(metric, registry) if metric else None
    agg = one.get("agg", metric.aggregation if metric else "avg")
    faults += _agg_faults(agg, metric)
    group_by = tuple(dict.fromkeys(part.strip() for part in one.get("group_by", "").split(",") if part.strip()))
    if labels is not None:
        faults += [Fault("group_by", _unknown_label(label, labels)) for label in group_by if label not in labels]
    filters = _filters(args.get("filter", ()), labels, faults)
    span = _range(one, agg, stored, now, faults)
    if faults or span is None or metric is None or name is None:
        raise InvalidQuery(faults)
    sources = (name, metric.derived_from.metric) if metric.derived_from else (name,)
    if faults := _size_faults(span, stored, len({shard_of(source) for source in sources})):
        raise InvalidQuery(faults)
    return MetricQuery(name, agg, span, group_by, filters, sources, metric.kind == "ratio", _unit(agg, metric))


def _unit(agg: str, metric: Metric) -> str:
    if agg == "rate":
        return "1/s"
    return "count" if agg == "count" or (agg == "sum" and metric.kind == "ratio") else metric.unit


def labels_of(metric: Metric, registry: Registry) -> tuple[str, ...] | None:
    """Labels that it may be grouped and filtered by: its own, and those of the metric it is derived from.

    None where a metric keeps every label.
    """
    kept = [metric.labels, registry.metrics[metric.derived_from.metric].labels if metric.derived_from else ()]
    if any(labels is None for labels in kept):
        return None
    return tuple(dict.fromkeys(name for labels in kept for name in labels or ()))


def _unknown_metric(text: str | None, registry: Registry) -> str:
    names = [*registry.metrics, *(alias for metric in registry.metrics.values() for alias in metric.aliases)]
    if not text:
        return f"is missing; there are {', '.join(registry.metrics)}"
    near = get_close_matches(text, names, n=3, cutoff=0.5)
    return f"unknown metric {text[:63]!r}; {'nearest' if near else 'there are'}: {', '.join(near or registry.metrics)}"


def _unknown_label(name: str, labels: Iterable[str]) -> str:
    return f"unknown label {name[:63]!r}; this metric has {', '.join(labels) or 'none'}"


def _agg_faults(agg: str, metric: Metric | None) -> list[Fault]:
    if agg not in (*QUANTILES, *PLAIN):
        return [Fault("agg", f"unknown: use one of {', '.join((*QUANTILES, *PLAIN))}")]
    if metric and metric.kind == "ratio" and agg not in OF_RATIOS:
        return [Fault("agg", f"samples of a ratio are 0 or 1: use one of {', '.join(OF_RATIOS)}")]
    return []


def _filters(given: Sequence[str], labels: Iterable[str] | None, faults: list[Fault]) -> dict[str, frozenset[str]]:
    filters: dict[str, set[str]] = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon:
            faults.append(Fault("filter", "must be label:value"))
        elif labels is not None and name not in labels:
            faults.append(Fault("filter", _unknown_label(name, labels)))
        else:
            filters.setdefault(name, set()).add(value)
    return {name: frozenset(values) for name, values in filters.items()}


def _range(one: Mapping[str, str], agg: str, stored: Stored, now: datetime, faults: list[Fault]) -> Range | None:
    """A rate ends before the running block, whose events would be divided by time that has not been yet."""
    before = len(faults)
    times: dict[str, int] = {}
    for name, usual in (("from", "-6h"), ("to", "now")):
        try:
            times[name] = moment(one.get(name, usual), now)
        except ValueError as error:
            faults.append(Fault(name, str(error)))
    step: int | None = None
    try:
        step = step_blocks(one["step"]) if "step" in one else None
    except ValueError as error:
        faults.append(Fault("step", str(error)))
    if len(times) < 2:
        return None
    if times["from"] >= times["to"]:
        faults.append(Fault("from", "must be before `to`"))
        return None
    first, end = aligned(times["from"], times["to"], stored, running=agg != "rate")
    if first < stored.hours_from:
        faults.append(Fault("from", f"metrics are not kept so long: the earliest is {iso(stored.hours_from)}"))
    elif step and first < stored.blocks_from and step % 12:
        message = f"must be whole hours, such as 1h: there are 5-minute blocks from {iso(stored.blocks_from)} on only"
        faults.append(Fault("step", message))
    if len(faults) > before:
        return None
    return Range(first, end, step or usual_step(first, end, stored))


def _size_faults(span: Range, stored: Stored, shards: int) -> list[Fault]:
    if span.points > MAX_POINTS:
        fits = step_that_fits(span.end - span.first, 1 if span.first >= stored.blocks_from else 12)
        return [Fault("step", f"{span.points:,} points, at most {MAX_POINTS:,}: a step of {fits} fits")]
    documents = sum(shards for _ in span.pieces(stored))
    if documents > MAX_DOCUMENTS:
        hourly = "; a step of whole hours needs a twelfth" if span.step % 12 else ""
        message = f"{documents:,} documents to read, at most {MAX_DOCUMENTS:,}: ask for a shorter time{hourly}"
        return [Fault("step" if hourly else "from", message)]
    return []

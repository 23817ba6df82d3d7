"""OpenSLO's SLI: which metric, with which labels, as a ratio or as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scripts.slo_config.openslo_objects import Objects, name_of
from scripts.slo_config.yaml_parts import Part


@dataclass(frozen=True, slots=True)
class Indicator:
    """`place`: where the metric is named. `is_ratio`: as OpenSLO says, not as the metric is."""

    metric: str
    labels: dict[str, Any]
    place: str
    is_ratio: bool


def indicator(spec: Part, objects: Objects) -> Indicator | None:
    """Of an SLO's `spec`; None where a fault keeps it from being made."""
    if ("indicator" in spec.value) == ("indicatorRef" in spec.value):
        spec.fault("indicator", "either indicator or indicatorRef")
        return None
    sli = objects.refer(spec, "indicatorRef", "SLI") if "indicatorRef" in spec.value else spec.part("indicator")
    if sli is None:
        return None
    sli.only("apiVersion", "kind", "metadata", "spec")
    if "metadata" in sli.value:
        name_of(sli)
    body = sli.part("spec")
    if body is None:
        return None
    body.only("description", "thresholdMetric", "ratioMetric")
    body.note("description")
    if ("thresholdMetric" in body.value) == ("ratioMetric" in body.value):
        body.fault("", "either thresholdMetric or ratioMetric")
        return None
    threshold = body.part("thresholdMetric", required=False)
    if threshold is not None:
        return _source(threshold, is_ratio=False)
    ratio = body.part("ratioMetric")
    if ratio is None:
        return None
    ratio.only("counter", "good", "bad", "total")
    if not isinstance(ratio.value.get("counter", True), bool):  # either is fine: our metrics know how they are counted
        ratio.fault("counter", "must be true or false")
    if ("good" in ratio.value) == ("bad" in ratio.value):
        ratio.fault("", "either good or bad, with total")
        return None
    part, total = ratio.part("good" if "good" in ratio.value else "bad"), ratio.part("total")
    found = _source(part, is_ratio=True) if part else None
    whole = _source(total, is_ratio=True) if total else None
    if found and whole and (found.metric, found.labels) != (whole.metric, whole.labels):
        ratio.fault("total", "must name the same metric and labels: a metric here knows its good and its bad events")
    return found if whole else None


def _source(part: Part, is_ratio: bool) -> Indicator | None:
    part.only("metricSource")
    source = part.part("metricSource")
    if source is None:
        return None
    source.only("type", "spec")
    if source.text("type") not in (None, "f0ops"):
        source.fault("type", "must be f0ops, with metric and labels in spec")
        return None
    spec = source.part("spec")
    if spec is None:
        return None
    spec.only("metric", "labels")
    metric, labels = spec.text("metric"), spec.part("labels", required=False)
    return Indicator(metric, labels.value if labels else {}, spec.place(), is_ratio) if metric else None

"""OpenSLO v1 in our own form. What cannot be said in ours is a fault with its place, and nothing is left out unsaid."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from scripts.slo_config import openslo_alert, openslo_indicator
from scripts.slo_config.openslo_indicator import Indicator
from scripts.slo_config.openslo_objects import Objects
from scripts.slo_config.yaml_parts import Part
from shared.domain.faults import ConfigError
from shared.domain.metric import Registry
from shared.domain.slo_file import slug_of

_CALENDAR = {"1d": "day", "1w": "week", "1M": "month", "1Q": "quarter"}
_FAULT = re.compile(r"slos\[(\d+)\]\.?([^:]*): (.*)", re.DOTALL)
_QUANTILE = re.compile(r"(.+)_p(50|75|90|95|99)")


@dataclass(frozen=True, slots=True)
class Converted:
    """`placed` turns a fault of the content into one of the YAML."""

    content: dict[str, Any]
    placed: Callable[[str], str]
    notes: tuple[str, ...]


@dataclass
class _Entry:
    """An SLO in our form, and for each field of it where it comes from."""

    label: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)


def convert(text: str, source: str, registry: Registry) -> Converted:
    """Raises `ConfigError` with every fault."""
    faults: list[str] = []
    notes: list[str] = []
    objects = Objects(text, source, faults, notes)
    entries = [entry for slo in objects.of("SLO") for entry in _slo(slo, objects, registry)]
    if not objects.of("SLO") and not faults:
        faults.append("(the whole): there is no SLO in it")
    if faults:
        raise ConfigError(source, faults)
    for (kind, name), part in objects.found.items():
        if kind == "Service":
            notes.append(f"{part.label}: a service has no place here")
        elif kind != "SLO" and (kind, name) not in objects.used:
            notes.append(f"{part.label}: no SLO refers to it")
    return Converted({"slos": [e.data for e in entries]}, lambda fault: _placed(fault, entries), tuple(notes))


def _placed(fault: str, entries: list[_Entry]) -> str:
    match = _FAULT.fullmatch(fault)
    if match is None:
        return fault
    entry, path = entries[int(match[1])], match[2]
    while path and path not in entry.places:
        path = path.rpartition(".")[0]
    return f"{entry.places.get(path) or entry.label}: {match[3]}"


def _slo(slo: Part, objects: Objects, registry: Registry) -> list[_Entry]:
    """One entry for each objective."""
    slo.only("apiVersion", "kind", "metadata", "spec")
    spec = slo.part("spec")
    if spec is None:
        return []
    known = ("service", "indicator", "indicatorRef", "timeWindow", "budgetingMethod", "objectives", "alertPolicies")
    spec.only("description", *known)
    spec.note("description", "service")
    if spec.text("budgetingMethod") not in (None, "Occurrences"):
        spec.fault("budgetingMethod", "only Occurrences: events are counted here, not slices of time")
    window = _window(spec)
    indicator = openslo_indicator.indicator(spec, objects)
    alert = openslo_alert.policy(spec, objects)
    objectives = list(spec.parts("objectives"))
    if not objectives:
        spec.fault("objectives", "name one at least")
    if indicator and not indicator.is_ratio and len(objectives) > 1:
        spec.fault("objectives", "a thresholdMetric has one objective only")
    metadata = slo.value["metadata"]
    entries = []
    for n, objective in enumerate(objectives):
        target = _target(objective)
        if target is None or indicator is None or alert is None:
            continue
        entry = _Entry(slo.label)
        own = objective.text("displayName", required=False)
        name = metadata.get("displayName") or metadata["name"]
        slo_id = metadata["name"]
        if len(objectives) > 1:
            name, slo_id = f"{name} ({own or n + 1})", f"{slo_id}-{slug_of(own) if own else n + 1}"
        elif own:
            objective.note("displayName")
        entry.data = {"name": name, "id": slo_id, "window": window, "metric": indicator.metric}
        if indicator.labels:
            entry.data["labels"] = indicator.labels
        entry.data["alert"] = dict(alert.data)
        entry.places = {
            "name": slo.place("metadata.displayName" if "displayName" in metadata else "metadata.name"),
            "id": slo.place("metadata.name"),
            "window": spec.place("timeWindow[0]"),
            "metric": f"{indicator.place}.metric",
            "labels": f"{indicator.place}.labels",
            "target": objective.place(),
            "under": objective.place("value"),
            "threshold": alert.place,
            **alert.places,
        }
        _numbers(entry, objective, indicator, target, alert, registry)
        entries.append(entry)
    return entries


def _target(objective: Part) -> Decimal | None:
    """In percent."""
    objective.only("displayName", "op", "value", "target", "targetPercent")
    if ("target" in objective.value) == ("targetPercent" in objective.value):
        objective.fault("", "either target or targetPercent")
        return None
    name, whole = ("target", 1) if "target" in objective.value else ("targetPercent", 100)
    number = objective.number(name)
    if number is None:
        return None
    if not 0 <= number < whole:
        objective.fault(name, f"from 0, and below {whole}")
        return None
    return number * (100 // whole)


def _numbers(
    entry: _Entry,
    objective: Part,
    indicator: Indicator,
    target: Decimal,
    alert: openslo_alert.Alert,
    registry: Registry,
) -> None:
    """Target, `under` and threshold: the share of bad events at which the burn rate is reached."""
    quantile = _QUANTILE.fullmatch(indicator.metric)
    bad = alert.burn_rate * (100 - target)
    if bad >= 100 and alert.threshold is None:
        text = f"against {_plain(target)} % this is {_plain(bad)} % bad events: it can never be exceeded"
        alert.condition.fault("threshold", text)
    entry.data["target"] = _plain(target)
    if indicator.is_ratio:
        for name in ("op", "value"):
            if name in objective.value:
                objective.fault(name, "is for a thresholdMetric")
        metric = registry.metrics.get(registry.canonical(indicator.metric) or "")
        more_is_worse = metric is not None and metric.direction == "more_is_worse"
        entry.data["threshold"] = _plain(_threshold(alert, bad if more_is_worse else 100 - bad))
        return
    value, op = objective.number("value"), objective.text("op")
    if op not in (None, "lte", "lt"):
        objective.fault("op", "only lte and lt: values are judged by what is too much")
    if value is None:
        return
    limit = value if op != "lt" else Decimal(repr(math.nextafter(float(value), -math.inf)))
    if quantile is None:
        entry.data |= {"under": _plain(limit), "threshold": _plain(_threshold(alert, 100 - bad))}
        return
    if target != int(quantile[2]):
        text = f"a p{quantile[2]} is met by {quantile[2]} % of the events: say so, or name {quantile[1]} as the metric"
        objective.fault("", text)
    if alert.burn_rate != 1 and alert.threshold is None:
        text = f"of a p{quantile[2]} only 1; name {quantile[1]} as the metric for another one"
        alert.condition.fault("threshold", text)
    entry.data |= {"target": _plain(limit), "threshold": _plain(_threshold(alert, limit))}


def _threshold(alert: openslo_alert.Alert, by_burn_rate: Decimal) -> Decimal:
    """What the annotation says, else what the burn rate comes to."""
    return by_burn_rate if alert.threshold is None else alert.threshold


def _plain(number: Decimal) -> Decimal | int:
    """99 and not 99.00."""
    return int(number) if number == number.to_integral_value() else number.normalize()


def _window(spec: Part) -> Any:
    windows = list(spec.parts("timeWindow"))
    if len(windows) != 1:
        spec.fault("timeWindow", "name one")
        return None
    (window,) = windows
    window.only("duration", "isRolling", "calendar")
    duration, calendar = window.text("duration"), window.part("calendar", required=False)
    rolling = window.value.get("isRolling", calendar is None)
    if not isinstance(rolling, bool) or rolling == (calendar is not None):
        window.fault("isRolling", "true for a rolling window, false for one with a calendar")
    if calendar is None or duration is None:
        if duration is not None and duration[-1:] in ("M", "Q", "Y"):
            window.fault("duration", "a rolling window is in m, h, d or w; or give it a calendar")
        return duration
    calendar.only("startTime", "timeZone")
    unit = _CALENDAR.get(duration)
    if unit is None:
        window.fault("duration", f"of a calendar only {', '.join(_CALENDAR)}")
    start, zone = calendar.text("startTime"), calendar.text("timeZone")
    if unit and start and not _begins(unit, start):
        calendar.fault("startTime", f"must be where a {unit} begins, at 00:00:00 without a time zone")
    return {"calendar": unit, "timeZone": zone}


def _begins(unit: str, start: str) -> bool:
    try:
        at = datetime.fromisoformat(start)
    except ValueError:
        return False
    if at.tzinfo or (at.hour, at.minute, at.second, at.microsecond) != (0, 0, 0, 0):
        return False
    if unit in ("day", "week"):
        return unit == "day" or at.weekday() == 0
    return at.day == 1 and (unit == "month" or at.month % 3 == 1)

"""What the components are doing, derived from the last evaluation, the firing alerts and the public incidents.

Nothing here is public yet: reasons name alerts and incidents. `shared.domain.snapshot` says what leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain.component import Component, Components

State = Literal["operational", "degraded", "outage", "not_monitored", "no_data"]
Overall = Literal["operational", "degraded", "outage", "unknown"]
Data = Mapping[str, Any]

RECENT = timedelta(days=14)
STALE = timedelta(minutes=20)  # four evaluations missed: what was true then says nothing about now


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """`reason` is internal and names its cause; `message` is public, in plain words, or None.

    `last_check` is the end of the period judged. `figures`: latency, readLatency and writeLatency in ms; uptime in
    percent, rounded down to two decimals, over `uptime_window`.
    """

    component: Component
    state: State
    reason: str
    message: str | None = None
    last_check: datetime | None = None
    figures: Mapping[str, int | float] = field(default_factory=dict)
    uptime_window: timedelta | None = None


@dataclass(frozen=True, slots=True)
class View:
    """`incidents`: unresolved first, then those resolved within 14 days, each newest first; data as stored.

    `slo_names` are those of the last evaluation, which the public does not get to see.
    """

    overall: Overall
    components: tuple[ComponentStatus, ...]
    incidents: tuple[Data, ...]
    slo_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Cause:
    state: State
    reason: str
    message: str


def derive(
    components: Components, run: Data | None, alerts: Sequence[Data], incidents: Sequence[Data], now: datetime
) -> View:
    """The view at `now`.

    `run` is the data of `runs/alertRules`, `alerts` of open alerts, `incidents` of incidents with their `id` added.
    Only firing alerts and incidents with `publicVisible` count; whatever else is passed is left out.
    """
    shown = _shown(incidents, now)
    firing = [alert for alert in alerts if alert.get("state") == "firing"]
    statuses = tuple(_status(c, components, run, firing, shown, now) for c in components.components)
    names = frozenset(slo["name"] for slo in (run or {}).get("slos") or ())
    return View(_overall(statuses), statuses, shown, names)


def _shown(incidents: Sequence[Data], now: datetime) -> tuple[Data, ...]:
    public = [i for i in incidents if i.get("publicVisible") is True]
    public.sort(key=lambda i: i["startedAt"], reverse=True)
    active = [i for i in public if i.get("status") != "resolved"]
    resolved = [i for i in public if i.get("status") == "resolved"]
    return (*active, *(i for i in resolved if now - (i.get("resolvedAt") or i["startedAt"]) <= RECENT))


def _overall(statuses: Sequence[ComponentStatus]) -> Overall:
    """The worst of the components whose state is known; those that are not monitored or without data never count."""
    states = {status.state for status in statuses}
    if "outage" in states:
        return "outage"
    if "degraded" in states:
        return "degraded"
    return "operational" if "operational" in states else "unknown"


def _status(
    component: Component,
    components: Components,
    run: Data | None,
    firing: Sequence[Data],
    incidents: Sequence[Data],
    now: datetime,
) -> ComponentStatus:
    slos = [s for s in (run or {}).get("slos") or () if _owner(s, components) == component.id]
    fresh = run is not None and now - run["factsAt"] <= STALE
    measured = [s for s in slos if _measured(s)] if fresh else []
    last_check = run["factsAt"] if run and measured else None
    causes = [_by_alert(a, component) for a in firing if _owner(a, components) == component.id]
    causes += [
        _by_incident(i) for i in incidents if i.get("status") != "resolved" and component.id in i.get("components", ())
    ]
    figures, window = _figures(component, measured)
    if causes:
        causes.sort(key=lambda cause: cause.state != "outage")
        return ComponentStatus(
            component,
            causes[0].state,
            "; ".join(cause.reason for cause in causes),
            ". ".join(dict.fromkeys(cause.message for cause in causes)),
            last_check,
            figures,
            window,
        )
    if measured:
        return ComponentStatus(component, "operational", "nothing_firing", None, last_check, figures, window)
    if slos or (run is None and component.metrics):
        reason = "never_evaluated" if run is None else "no_data" if fresh else "evaluation_stale"
        return ComponentStatus(component, "no_data", reason, "There are no recent measurements")
    return ComponentStatus(component, "not_monitored", "no_source")


def _measured(slo: Data) -> bool:
    """Whether anything came in the alert's window. The SLO's own window says little: 30 days hide a silence of 29."""
    return bool(slo.get("alertTotal") and slo.get("total"))


def _owner(data: Data, components: Components) -> str | None:
    """The component of an SLO or an alert: the configuration of today decides, else what was written then."""
    return components.component_of(data.get("metric") or "") or data.get("component")


def _by_alert(alert: Data, component: Component) -> _Cause:
    source = component.source(alert.get("metric") or "")
    return _Cause(
        "outage" if alert.get("severity") == "critical" else "degraded",
        f"alert {alert.get('alertId')}: {alert.get('reason')}",
        source.message if source else "Not working as it should",
    )


def _by_incident(incident: Data) -> _Cause:
    return _Cause(
        "outage" if incident.get("impact") == "critical" else "degraded",
        f"incident {incident.get('id')}",
        "Affected by a current incident",
    )


def _figures(component: Component, measured: Sequence[Data]) -> tuple[dict[str, int | float], timedelta | None]:
    figures: dict[str, int | float] = {}
    window: timedelta | None = None
    for slo in measured:
        source = component.source(slo.get("metric") or "")
        if source is None or source.shows is None or source.shows in figures:
            continue
        if slo.get("labels") or slo.get("kind") == "share":  # of a part only, or no value in the metric's unit
            continue
        if source.shows == "uptime":
            figures["uptime"] = percent_down(slo["good"], slo["total"])
            window = timedelta(seconds=slo["windowSeconds"])
        elif slo.get("value") is not None and math.isfinite(slo["value"]):
            value = slo["value"]
            figures[source.shows] = round(value) if value >= 10 else round(value, 1)
    return figures, window


def percent_down(good: int, total: int) -> float:
    """The exact share in percent, rounded down to two decimals: anything short of everything stays below 100."""
    return good * 10_000 // total / 100

"""What the components are doing, derived from probes, last evaluation, firing alerts, public incidents, maintenance.

Nothing here is public yet: reasons name alerts and incidents. `shared.domain.snapshot` says what leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain import why
from shared.domain.component import Component, Components
from shared.domain.probed import (
    BAD,
    SILENT,
    Cause,
    NotSetUp,
    Probed,
    ProviderStatus,
    State,
    by_probe,
    by_providers,
    not_set_up,
    provider_status,
    said,
    with_component,
)

Overall = Literal["operational", "degraded", "outage", "unknown"]
Data = Mapping[str, Any]

RECENT = timedelta(days=14)
PAST = timedelta(days=90)  # how long the public can read of what began then
STALE = timedelta(minutes=20)  # four evaluations missed: what was true then says nothing about now
IN_FORCE = ("in_progress", "verifying")


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """`message` is public, in plain words, or None. Internal are `reason`, which names the cause, `why`, which tells it
    in plain words, and `lacks`: probes that are not set up.

    `last_check` is the end of the period judged, or the time of the last probe. `figures`: latency, readLatency and
    writeLatency in ms. `maintenance`: one is in force, and what probes and alerts say is expected.
    """

    component: Component
    state: State
    reason: str
    message: str | None = None
    last_check: datetime | None = None
    figures: Mapping[str, int | float] = field(default_factory=dict)
    maintenance: bool = False
    providers: tuple[ProviderStatus, ...] = ()
    why: tuple[str, ...] = ()
    lacks: tuple[NotSetUp, ...] = ()

    @property
    def recorded(self) -> str:
        """The state of the history that this time counts for."""
        if self.state in BAD:
            return self.state
        if self.maintenance:
            return "maintenance"
        return "operational" if self.state == "operational" else "unknown"


@dataclass(frozen=True, slots=True)
class View:
    """`incidents`: unresolved first, then those resolved within 14 days, each newest first; data as stored.

    `maintenances`: public ones in force, then those planned by their begin, then those completed within 14 days, newest
    first. `slo_names` are those of the last evaluation, which the public does not get to see.
    """

    overall: Overall
    components: tuple[ComponentStatus, ...]
    incidents: tuple[Data, ...]
    slo_names: frozenset[str] = frozenset()
    maintenances: tuple[Data, ...] = ()


def derive(
    components: Components,
    run: Data | None,
    alerts: Sequence[Data],
    incidents: Sequence[Data],
    now: datetime,
    probed: Data | None = None,
    maintenances: Sequence[Data] = (),
) -> View:
    """The view at `now`.

    `run` is the data of `runs/alertRules`, `probed` of `runs/healthProbe`, `alerts` of open alerts, `incidents` and
    `maintenances` with their `id` added. Only firing alerts, and incidents and maintenances with `publicVisible`,
    count; whatever else is passed is left out.
    """
    shown = _shown(incidents, now)
    works = _works(maintenances, now)
    firing = [alert for alert in alerts if alert.get("state") == "firing" and _is_felt(alert, run, now)]
    statuses = tuple(
        _status(c, components, run, firing, shown, now, said(c, probed, now), not_set_up(c, probed), works)
        for c in components.components
    )
    names = frozenset(slo["name"] for slo in (run or {}).get("slos") or ())
    return View(_overall(statuses), statuses, shown, names, works)


def _shown(incidents: Sequence[Data], now: datetime) -> tuple[Data, ...]:
    public = [i for i in incidents if is_shown(i, now)]
    public.sort(key=lambda i: i["startedAt"], reverse=True)
    active = [i for i in public if i.get("status") != "resolved"]
    return (*active, *(i for i in public if i.get("status") == "resolved"))


def is_shown(incident: Data, now: datetime) -> bool:
    """Whether the public sees it: it may, and it is under way or was resolved within 14 days."""
    if incident.get("publicVisible") is not True:
        return False
    return incident.get("status") != "resolved" or now - (incident.get("resolvedAt") or incident["startedAt"]) <= RECENT


def has_page(incident: Data, now: datetime) -> bool:
    """Whether the public can read of it: it sees it, or did, and it began within 90 days."""
    return is_shown(incident, now) or (incident.get("publicVisible") is True and now - incident["startedAt"] <= PAST)


def _works(maintenances: Sequence[Data], now: datetime) -> tuple[Data, ...]:
    public = [m for m in maintenances if m.get("publicVisible") is True]
    public = [m for m in public if isinstance(m.get("scheduledFor"), datetime)]  # documents can be edited by hand
    public.sort(key=lambda m: (m["scheduledFor"], m["id"]))
    by_status: dict[str, list[Data]] = {}
    for maintenance in public:
        by_status.setdefault(maintenance.get("status") or "scheduled", []).append(maintenance)
    in_force = [m for m in public if m.get("status") in IN_FORCE]
    done = by_status.get("completed", [])
    recent = [m for m in done if now - (m.get("completedAt") or m["scheduledFor"]) <= RECENT]
    return (*in_force, *by_status.get("scheduled", []), *reversed(recent))


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
    probed: Sequence[Probed],
    lacks: Sequence[NotSetUp],
    works: Sequence[Data],
) -> ComponentStatus:
    slos = [s for s in (run or {}).get("slos") or () if _owner(s, components) == component.id]
    judged_at = _judged_at(run)
    fresh = judged_at is not None and now - judged_at <= STALE
    measured = [s for s in slos if _measured(s)] if fresh else []
    told = [
        _by_incident(i)
        for i in incidents
        if i.get("status") != "resolved" and component.id in (i.get("components") or ())
    ]
    own = [_by_alert(a, component) for a in firing if _owner(a, components) == component.id]
    own += [by_probe(p, component) for p in probed if p.provider is None and p.state in BAD]
    work = next((m for m in works if m.get("status") in IN_FORCE and component.id in (m.get("components") or ())), None)
    causes = _worst_first([*told, *([] if work else own)])
    is_up = bool(measured) or any(p.provider is None and p.state != "no_data" for p in probed)
    shared = _state_of(causes) or (("operational", None) if is_up else None)
    providers = [provider_status(provider, probed) for provider in component.providers]
    if not work:
        causes = _worst_first([*causes, *by_providers(component, providers)])
    times = [p.at for p in probed if p.at] + ([judged_at] if judged_at and measured else [])
    figures = _figures(component, measured, probed)
    known = bool(measured) or any(p.state != "no_data" for p in probed)

    def status(state: State, reason: str, message: str | None, *told: str, silent: bool = False) -> ComponentStatus:
        return ComponentStatus(
            component,
            state,
            reason,
            message,
            None if silent else max(times, default=None),
            {} if silent else figures,
            work is not None,
            tuple(with_component(p, state, message, shared) for p in providers),
            ((why.maintenance(work),) if work else ()) + told,
            tuple(lacks),
        )

    bad = _state_of(causes)
    if bad is not None:
        return status(bad[0], "; ".join(cause.reason for cause in causes), bad[1], *(cause.why for cause in causes))
    if work and (known or slos or probed):
        return status("operational", f"maintenance {work.get('id')}", None)
    if known:
        if measured:
            return status("operational", "nothing_firing", None, why.MEASURED)
        return status("operational", "probes_answered", None, why.ANSWERED)
    unanswered = [p.why for p in probed]
    if fresh and slos and all(slo.get("reason") == "excluded" for slo in slos):
        planned = "Not measured at the moment, because of planned work"
        return status("no_data", "excluded", planned, why.EXCLUDED, *unanswered, silent=True)
    if not slos and probed:
        reason = f"probe {component.id}.{probed[0].probe.id}: {probed[0].reason}"
        return status("no_data", reason, SILENT, *unanswered, silent=True)
    if run is None and component.metrics:
        return status("no_data", "never_evaluated", SILENT, why.NEVER_JUDGED, silent=True)
    if slos and fresh:
        names = sorted({str(slo.get("metric")) for slo in slos})
        return status("no_data", "no_data", SILENT, why.silent(names), *unanswered, silent=True)
    if slos:
        return status("no_data", "evaluation_stale", SILENT, why.NOT_JUDGED_LATELY, *unanswered, silent=True)
    never = () if lacks else (why.NEVER_ASKED if component.all_probes() else why.NO_SOURCE,)
    return status("not_monitored", "no_source", None, *never)


def _worst_first(causes: list[Cause]) -> list[Cause]:
    return sorted(causes, key=lambda cause: cause.state != "outage")


def _state_of(causes: Sequence[Cause]) -> tuple[State, str] | None:
    """The state and the message of these causes, the worst first; None without any."""
    messages = ". ".join(dict.fromkeys(cause.message for cause in causes))
    return (causes[0].state, messages) if causes else None


def _is_felt(alert: Data, run: Data | None, now: datetime) -> bool:
    """Whether users feel what the alert tells of. A threshold's they do.

    A burn rate looks hours back: it says nothing of now if the last minutes met the objective, and if it opens no
    incident (as a ticket) it is about the budget alone.
    """
    if not alert.get("burn"):
        return True
    judged_at = _judged_at(run)
    if alert.get("incidentId") is None or judged_at is None or now - judged_at > STALE:
        return alert.get("incidentId") is not None
    slos = (run or {}).get("slos") or ()
    return not any(slo["id"] == alert.get("sloId") and slo.get("recent") == "met" for slo in slos)


def _judged_at(run: Data | None) -> datetime | None:
    """The end of the last facts of which nothing was missing."""
    at: datetime | None = (run.get("foldedUntil") or run["factsAt"]) if run else None
    return at


def _measured(slo: Data) -> bool:
    """Whether anything came in the alert's window. The SLO's own window says little: 30 days hide a silence of 29."""
    return bool(slo.get("alertTotal") and slo.get("total"))


def _owner(data: Data, components: Components) -> str | None:
    """The component of an SLO or an alert: the configuration of today decides, else what was written then."""
    return components.component_of(data.get("metric") or "") or data.get("component")


def _by_alert(alert: Data, component: Component) -> Cause:
    source = component.source(alert.get("metric") or "")
    return Cause(
        "outage" if alert.get("severity") == "critical" else "degraded",
        f"alert {alert.get('alertId')}: {alert.get('reason')}",
        source.message if source else "Not working as it should",
        why.alert(alert),
    )


def _by_incident(incident: Data) -> Cause:
    return Cause(
        "outage" if incident.get("impact") == "critical" else "degraded",
        f"incident {incident.get('id')}",
        "Affected by a current incident",
        why.incident(incident),
    )


def _figures(component: Component, measured: Sequence[Data], probed: Sequence[Probed]) -> dict[str, int | float]:
    """What the app measured goes before what a probe did."""
    figures: dict[str, int | float] = {}
    for slo in measured:
        source = component.source(slo.get("metric") or "")
        if source is None or source.shows is None or source.shows in figures:
            continue
        if slo.get("labels") or slo.get("kind") == "share":  # of a part only, or no value in the metric's unit
            continue
        if slo.get("value") is not None and math.isfinite(slo["value"]):
            figures[source.shows] = _shortly(slo["value"])
    for one in probed:
        shown: dict[str, int | float] = dict(one.figures)
        if one.probe.shows and one.latency is not None:
            shown[one.probe.shows] = one.latency
        for name, value in shown.items():
            figures.setdefault(name, _shortly(value))
    return figures


def _shortly(value: float) -> int | float:
    return round(value) if value >= 10 else round(value, 1)

"""The public form of a view. Everything that the world may read is named here, field by field."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from shared.domain import history
from shared.domain.component import Components
from shared.domain.incident import FIRST_WORDS
from shared.domain.probed import ProviderStatus
from shared.domain.status import ComponentStatus, View
from shared.domain.timeline import AUTHOR

BUDGET_BYTES = 500_000
MAX_TITLE = 200
MAX_MESSAGE = 4_000
SHORT_MESSAGE = 300

Data = dict[str, Any]


def public(view: View, components: Components, records: Mapping[str, history.Record], now: datetime) -> Data:
    """`{enabled, overall, page, components, incidents, maintenances}`, before it is cut to its budget.

    Unknown keys are absent. `records`: the history of the components, by id.
    """
    return {
        "enabled": True,
        "overall": view.overall,
        "page": components.page.model_dump(mode="json", exclude_none=True),
        "components": [
            _component(status) | _history(records.get(status.component.id), components, now)
            for status in view.components
        ],
        "incidents": [_incident(incident, view.slo_names, components) for incident in view.incidents],
        "maintenances": [_maintenance(maintenance, components) for maintenance in view.maintenances],
    }


def past(
    incidents: Iterable[Data], maintenances: Iterable[Data], slo_names: frozenset[str], components: Components
) -> Data:
    """`{incidents, maintenances}` in the form of a snapshot; what is no more than planned or cancelled is left out.

    Only those with `publicVisible` may be passed.
    """
    return {
        "incidents": [_incident(incident, slo_names, components) for incident in incidents],
        "maintenances": [_maintenance(m, components) for m in maintenances if m.get("status") == "completed"],
    }


def blank(components: Components) -> Data:
    """What is public while the page is switched off."""
    page = components.page.model_dump(mode="json", exclude_none=True)
    nothing: Data = {"components": [], "incidents": [], "maintenances": []}
    return {"enabled": False, "overall": "unknown", "page": page, **nothing}


def item(component: Mapping[str, Any]) -> Data:
    """The document `status/components/items/{id}` of a component of the snapshot."""
    metadata = {
        key: component[key] for key in ("provider", "latency", "readLatency", "writeLatency") if key in component
    }
    if "uptime90" in component:
        metadata["uptime"] = component["uptime90"]
    return {
        "name": component["id"],
        "state": component["state"],
        "lastCheck": component.get("lastCheck"),
        "metadata": metadata,
    }


def fit(snapshot: Data, size_of: Callable[[Data], int], budget: int = BUDGET_BYTES) -> Data:
    """The snapshot within `budget` as `size_of` counts it.

    Maintenances have at most a quarter of it: completed ones go first, then they keep fewer of their updates, then
    texts are shortened.

    The oldest resolved incidents go first; then incidents keep fewer of their updates, the newest, with the number of
    those left out in `earlierUpdates`; then texts are shortened.
    """
    snapshot = {**snapshot, "maintenances": _fit_maintenances(snapshot["maintenances"], size_of, budget // 4)}
    incidents = list(snapshot["incidents"])

    def fits() -> bool:
        return size_of({**snapshot, "incidents": incidents}) <= budget

    while incidents and incidents[-1]["status"] == "resolved" and not fits():
        incidents.pop()
    for kept in (50, 20, 10, 5, 2, 1):
        if fits():
            break
        incidents = [_with_updates(incident, kept, MAX_MESSAGE) for incident in incidents]
    if not fits():
        incidents = [_with_updates(incident, 1, SHORT_MESSAGE) for incident in incidents]
    while incidents and not fits():
        incidents.pop()
    return {**snapshot, "incidents": incidents}


def fit_past(found: Data, size_of: Callable[[Data], int], budget: int) -> Data:
    """`{incidents, maintenances}` within `budget`: first they keep fewer of their updates, then the oldest go."""
    incidents: list[Data] = found["incidents"]
    maintenances = _fit_maintenances(found["maintenances"], size_of, budget // 4)

    def fits() -> bool:
        return size_of({"incidents": incidents, "maintenances": maintenances}) <= budget

    for kept in (50, 20, 10, 5):
        if fits():
            break
        incidents = [_with_updates(incident, kept, MAX_MESSAGE) for incident in incidents]
    while incidents and not fits():
        incidents = incidents[:-1]
    return {"incidents": incidents, "maintenances": maintenances}


def _fit_maintenances(maintenances: list[Data], size_of: Callable[[Data], int], budget: int) -> list[Data]:
    def fits() -> bool:
        return size_of({"maintenances": maintenances}) <= budget

    while maintenances and maintenances[-1]["status"] == "completed" and not fits():
        maintenances = maintenances[:-1]
    for kept, length in ((5, MAX_MESSAGE), (1, MAX_MESSAGE), (1, SHORT_MESSAGE)):
        if fits():
            break
        maintenances = [
            {
                **maintenance,
                "message": shortened(maintenance["message"], length),
                "updates": [{**u, "message": shortened(u["message"], length)} for u in maintenance["updates"][-kept:]],
            }
            for maintenance in maintenances
        ]
    while maintenances and not fits():
        maintenances = maintenances[:-1]
    return maintenances


def _component(status: ComponentStatus) -> Data:
    component = status.component
    found: Data = {"id": component.id, "name": component.name, "state": status.state}
    if status.message:
        found["message"] = status.message
    if component.provider:
        found["provider"] = component.provider
    if component.providers:
        found["providers"] = [_provider(provider) for provider in status.providers]
    if status.maintenance:
        found["maintenance"] = True
    if status.last_check:
        found["lastCheck"] = status.last_check
    return {**found, **status.figures}


def _provider(status: ProviderStatus) -> Data:
    found: Data = {"name": status.provider.name, "models": list(status.provider.models), "state": status.state}
    given = {"latency": status.latency, "message": status.message, "basis": status.basis}
    return {**found, **{key: value for key, value in given.items() if value is not None}}


def _history(record: history.Record | None, components: Components, now: datetime) -> Data:
    """The days, and the one figure that is called uptime everywhere: with `uptimeSince` where it is of fewer days."""
    shown = history.shown(record, now) if record else None
    if record is None or shown is None:
        return {}
    first, days = shown
    found: Data = {"history": {"from": first, "days": days}}
    if not any(seconds.get("operational") for seconds in days):
        return found  # of what only incidents are known, as where nothing is asked, there is no share of time
    up, known = history.up_and_known(days, components.uptime)
    since = history.known_since(record, now)
    if known:
        found["uptime90"] = history.percent_down(up, known)
    if known and since:
        found["uptimeSince"] = since
    return found


def _maintenance(maintenance: Mapping[str, Any], components: Components) -> Data:
    affected = maintenance.get("components") or ()
    times = {key: maintenance[key] for key in ("startedAt", "completedAt") if maintenance.get(key)}
    return {
        "id": maintenance["id"],
        "title": shortened(maintenance.get("title") or "Maintenance", MAX_TITLE),
        "message": shortened(maintenance.get("message") or "", MAX_MESSAGE),
        "status": maintenance.get("status") or "scheduled",
        "components": [component.id for component in components.components if component.id in affected],
        "scheduledFor": maintenance["scheduledFor"],
        "scheduledUntil": maintenance.get("scheduledUntil") or maintenance["scheduledFor"],
        **times,
        "updates": [_update(update, "scheduled") for update in _public_updates(maintenance)],
    }


def _public_updates(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The updates that are not marked as internal, oldest first."""
    public = [update for update in data.get("updates") or () if update.get("public") is not False]
    return sorted(public, key=lambda update: update["timestamp"])


def _incident(incident: Mapping[str, Any], slo_names: frozenset[str], components: Components) -> Data:
    affected = [c for c in components.components if c.id in (incident.get("components") or ())]
    is_whole = not incident.get("earlierUpdates")  # the first of them is the one that opened it
    shown = [
        _update(update, "investigating", opening=is_whole and n == 0)
        for n, update in enumerate(_public_updates(incident))
    ]
    status = incident.get("status") or "investigating"
    times = {key: incident[key] for key in ("identifiedAt", "mitigatedAt", "resolvedAt") if incident.get(key)}
    title = incident.get("title") or "A problem"
    by_slo = title == incident.get("autoTitle") or any(title.startswith(name) for name in slo_names)
    if incident.get("autoCreated") and by_slo:  # nobody has written another one, which tells no internal name
        names = ", ".join(component.name for component in affected)
        title = f"A problem with {names}" if names else "A problem"
    return {
        "id": public_id(incident["id"], incident),
        "title": shortened(title, MAX_TITLE),
        "impact": incident.get("impact") or "low",
        "status": status,
        "components": [component.id for component in affected],
        "startedAt": incident["startedAt"],
        **times,
        "updates": shown or [{"timestamp": _last_time(incident), "status": status, "message": FIRST_WORDS[status]}],
        "earlierUpdates": int(incident.get("earlierPublicUpdates") or 0),
    }


def _last_time(incident: Mapping[str, Any]) -> Any:
    """When an incident of which nothing was written for the public came into its status."""
    return incident.get("statusSince") or incident["startedAt"]


def public_id(name: str, incident: Mapping[str, Any]) -> str:
    """The incident's id, `name`; a fingerprint of it where automation made it from the name of an alert."""
    return hashlib.sha256(name.encode()).hexdigest()[:20] if incident.get("autoCreated") else name


def _update(update: Mapping[str, Any], status: str, *, opening: bool = False) -> Data:
    """An update as people wrote it; automation writes for the team, so the public reads a phrase instead."""
    message = update.get("message") or ""
    if update.get("author") == AUTHOR:
        phrase = "Found by our monitoring." if opening else "Our measurements are back to normal."
        message = update.get("publicMessage") or phrase
    return {
        "timestamp": update["timestamp"],
        "status": update.get("status") or status,
        "message": shortened(message, MAX_MESSAGE),
    }


def _with_updates(incident: Data, kept: int, message: int) -> Data:
    updates = incident["updates"]
    left = updates[-kept:]
    return {
        **incident,
        "updates": [{**update, "message": shortened(update["message"], message)} for update in left],
        "earlierUpdates": incident["earlierUpdates"] + len(updates) - len(left),
    }


def shortened(text: str, length: int) -> str:
    """`text`, or its beginning with an ellipsis where it is longer than `length` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"

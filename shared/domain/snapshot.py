"""The public form of a view. Everything that the world may read is named here, field by field."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from shared.domain.component import Components
from shared.domain.incident import AUTHOR
from shared.domain.status import ComponentStatus, View

BUDGET_BYTES = 500_000
MAX_TITLE = 200
MAX_MESSAGE = 4_000
SHORT_MESSAGE = 300

Data = dict[str, Any]


def public(view: View, components: Components) -> Data:
    """`{enabled, overall, page, components, incidents}`, before it is cut to its budget. Unknown keys are absent."""
    return {
        "enabled": True,
        "overall": view.overall,
        "page": components.page.model_dump(mode="json"),
        "components": [_component(status) for status in view.components],
        "incidents": [_incident(incident, view, components) for incident in view.incidents],
    }


def blank(components: Components) -> Data:
    """What is public while the page is switched off."""
    page = components.page.model_dump(mode="json")
    return {"enabled": False, "overall": "unknown", "page": page, "components": [], "incidents": []}


def item(component: Mapping[str, Any]) -> Data:
    """The document `status/components/items/{id}` of a component of the snapshot."""
    metadata = {
        key: component[key]
        for key in ("provider", "latency", "uptime", "readLatency", "writeLatency")
        if key in component
    }
    return {
        "name": component["id"],
        "state": component["state"],
        "lastCheck": component.get("lastCheck"),
        "metadata": metadata,
    }


def fit(snapshot: Data, size_of: Callable[[Data], int], budget: int = BUDGET_BYTES) -> Data:
    """The snapshot within `budget` as `size_of` counts it.

    The oldest resolved incidents go first; then incidents keep fewer of their updates, the newest, with the number of
    those left out in `earlierUpdates`; then texts are shortened.
    """
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


def _component(status: ComponentStatus) -> Data:
    component = status.component
    found: Data = {"id": component.id, "name": component.name, "state": status.state}
    if status.message:
        found["message"] = status.message
    if component.provider:
        found["provider"] = component.provider
    if component.providers:
        found["providers"] = [p.model_dump(mode="json") for p in component.providers]
    if status.last_check:
        found["lastCheck"] = status.last_check
    if status.uptime_window:
        found["uptimeWindowSeconds"] = int(status.uptime_window.total_seconds())
    return {**found, **status.figures}


def _incident(incident: Mapping[str, Any], view: View, components: Components) -> Data:
    affected = [c for c in components.components if c.id in (incident.get("components") or ())]
    updates = sorted(incident.get("updates") or (), key=lambda update: update["timestamp"])
    times = {key: incident[key] for key in ("identifiedAt", "mitigatedAt", "resolvedAt") if incident.get(key)}
    title = incident.get("title") or "A problem"
    if incident.get("autoCreated") and any(title.startswith(name) for name in view.slo_names):
        names = ", ".join(component.name for component in affected)
        title = f"A problem with {names}" if names else "A problem"
    return {
        "id": _public_id(incident),
        "title": shortened(title, MAX_TITLE),
        "impact": incident.get("impact") or "low",
        "status": incident.get("status") or "investigating",
        "components": [component.id for component in affected],
        "startedAt": incident["startedAt"],
        **times,
        "updates": [_update(update, opening=n == 0) for n, update in enumerate(updates)],
        "earlierUpdates": 0,
    }


def _public_id(incident: Mapping[str, Any]) -> str:
    """The incident's id; a fingerprint of it where automation made it from the name of an alert."""
    name: str = incident["id"]
    return hashlib.sha256(name.encode()).hexdigest()[:20] if incident.get("autoCreated") else name


def _update(update: Mapping[str, Any], *, opening: bool) -> Data:
    """An update as people wrote it; automation writes for the team, so the public reads a phrase instead."""
    message = update.get("message") or ""
    if update.get("author") == AUTHOR:
        message = "Found by our monitoring." if opening else "Our measurements are back to normal."
    return {
        "timestamp": update["timestamp"],
        "status": update.get("status") or "investigating",
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

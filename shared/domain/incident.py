"""Incidents that automation opens and closes. Fields are the original's; people's part comes on top of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

AUTHOR = "f0-ops"

Data = dict[str, Any]


def opened(title: str, impact: str, component: str | None, alert_id: str, message: str, now: datetime) -> Data:
    """A new incident, not visible to the public until somebody decides so."""
    return {
        "title": title,
        "impact": impact,
        "status": "investigating",
        "components": [component] if component else [],
        "startedAt": now,
        "identifiedAt": None,
        "mitigatedAt": None,
        "resolvedAt": None,
        "updates": [_update("investigating", message, now)],
        "rootCause": None,
        "actionItems": [],
        "publicVisible": False,
        "alertIds": [alert_id],
        "autoCreated": True,
    }


def cleared(incident: Mapping[str, Any], message: str, now: datetime) -> Data:
    """The incident after its alert cleared: resolved if only automation ever touched it, else with a line added."""
    untouched = incident["status"] != "resolved" and all(u["author"] == AUTHOR for u in incident["updates"])
    status = "resolved" if untouched else incident["status"]
    data = {**incident, "status": status, "updates": [*incident["updates"], _update(status, message, now)]}
    if untouched:
        data["resolvedAt"] = now
    return data


def _update(status: str, message: str, now: datetime) -> Data:
    return {"timestamp": now, "status": status, "message": message, "author": AUTHOR}

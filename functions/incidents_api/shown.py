"""Incidents as answers have them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

from shared.api.bodies import outward
from shared.domain.incident import allowed_from
from shared.domain.incident_alerts import firing
from shared.domain.incident_stats import Life, life_of
from shared.domain.postmortem import standing
from shared.domain.snapshot import public_id
from shared.domain.status import has_page
from shared.domain.timeline import count
from shared.status_page.told import link

FIELDS = (
    "title", "impact", "status", "components", "startedAt", "identifiedAt", "mitigatedAt", "resolvedAt", "rootCause",
    "actionItems", "publicVisible", "alertIds", "autoCreated", "acknowledgedAt", "acknowledged", "runbook", "createdBy",
    "reopened", "postmortemDueAt", "postmortemAt", "updatedAt",
)  # fmt: skip
ENTRY = ("timestamp", "status", "message", "author", "public", "publicMessage", "corrects")


def incident(name: str, data: Mapping[str, Any], now: datetime, page: str) -> dict[str, Any]:
    """The whole of it, with as many of its entries as its document holds: the newest. `page`: the status page; `audit`:
    where every change of it is told.
    """
    first = int(data.get("earlierUpdates") or 0)
    return {
        **summary(name, data, now, page),
        "updates": [entry(first + n, update) for n, update in enumerate(data["updates"])],
        "earlierUpdates": first,
        "audit": f"/api/incidents/{name}/audit" if name else None,
    }


def summary(name: str, data: Mapping[str, Any], now: datetime, page: str) -> dict[str, Any]:
    """Without its entries, but for the last one. `publicUrl` is null where the public has no page of it."""
    last = data["updates"][-1] if data["updates"] else None
    total = count(data)
    return {
        "id": name,
        **{field: outward(data.get(field)) for field in FIELDS},
        "publicUrl": urljoin(page, link(public_id(name, data))) if has_page(data, now) else None,
        "firingAlertIds": firing(data),
        "postmortemState": standing(data, now),
        "allowed": list(allowed_from(data["status"])),
        "times": times(life_of(data, now)),
        "updateCount": total,
        "lastUpdate": entry(total - 1, last) if last else None,
        "version": data.get("rev"),
    }


def entry(number: int, update: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the timeline with its number from 0; those of earlier releases are public."""
    shown = {name: outward(update[name]) for name in ENTRY if name in update}
    return {"n": number, **shown, "public": update.get("public") is not False}


def times(life: Life) -> dict[str, Any]:
    """In seconds, null for what has not come."""
    return {
        "toAcknowledge": seconds(life.to_acknowledge),
        "toResolve": seconds(life.to_resolve),
        "inState": {status: round(micros / 1e6, 3) for status, micros in life.in_state.items()},
    }


def seconds(micros: float | None) -> float | None:
    return None if micros is None else round(micros / 1e6, 3)

"""The view as Statuspage's public API v2 has it, for the tools that read such pages.

That API has no word for 'not known', so a component without data or without monitoring is left out: it never counts
as up. A view that says nothing about now has the indicator `minor` and says so in its description.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from shared.status_page import view
from shared.status_page.told import link

Data = Mapping[str, Any]
Object = dict[str, Any]

NAMES = (
    "status.json",
    "summary.json",
    "components.json",
    "incidents.json",
    "incidents/unresolved.json",
    "scheduled-maintenances.json",
    "scheduled-maintenances/upcoming.json",
    "scheduled-maintenances/active.json",
)
LONG = ("incidents.json", "scheduled-maintenances.json")  # the 50 newest, also those that the snapshot has no more
COMPONENTS = {
    "operational": "operational",
    "degraded": "degraded_performance",
    "outage": "major_outage",
    "maintenance": "under_maintenance",
}
STATUSES = {
    "investigating": "investigating",
    "identified": "identified",
    "mitigating": "monitoring",
    "resolved": "resolved",
}
IMPACTS = {"low": "minor", "medium": "major", "high": "major", "critical": "critical"}
_OUTAGES = {"minor": "Minor Service Outage", "major": "Partial System Outage", "critical": "Major Service Outage"}


class V2:
    """The answers of one snapshot. `public_url` is the page's address; what is linked to is at the same host."""

    def __init__(self, snapshot: Data, public_url: str, *, outdated: bool) -> None:
        self._snapshot = snapshot
        self._outdated = outdated
        place = urlsplit(public_url)
        self._origin = f"{place.scheme}://{place.netloc}"
        self._page = {
            "id": hashlib.sha256(public_url.encode()).hexdigest()[:12],
            "name": snapshot["page"]["name"],
            "url": public_url,
            "time_zone": snapshot["page"]["timeZone"],
            "updated_at": moment(snapshot["publishedAt"]),
        }
        known = [c for c in snapshot["components"] if view.state(c) in COMPONENTS]
        self._components = {c["id"]: self._component(c, n) for n, c in enumerate(known, 1)}

    def answer(self, name: str) -> Object:
        """The body of `/api/v2/{name}`, of which there are `NAMES`."""
        match name:
            case "status.json":
                return self._with(status=self._status())
            case "summary.json":
                return self._with(
                    status=self._status(),
                    components=list(self._components.values()),
                    incidents=self._incidents(view.active(self._snapshot)),
                    scheduled_maintenances=self._maintenances("scheduled", *view.UNDER_WAY),
                )
            case "components.json":
                return self._with(components=list(self._components.values()))
            case "incidents.json":
                newest = sorted(self._snapshot["incidents"], key=lambda i: i["startedAt"], reverse=True)
                return self._with(incidents=self._incidents(newest[:50]))
            case "incidents/unresolved.json":
                return self._with(incidents=self._incidents(view.active(self._snapshot)))
            case "scheduled-maintenances.json":
                found = self._maintenances("scheduled", *view.UNDER_WAY, "completed")
                return self._with(scheduled_maintenances=found[::-1][:50])
            case "scheduled-maintenances/upcoming.json":
                return self._with(scheduled_maintenances=self._maintenances("scheduled"))
            case "scheduled-maintenances/active.json":
                return self._with(scheduled_maintenances=self._maintenances(*view.UNDER_WAY))
        raise KeyError(name)

    def _with(self, **content: Any) -> Object:
        return {"page": self._page, **content}

    def _status(self) -> Object:
        if self._outdated:
            return {"indicator": "minor", "description": "Status Unknown"}
        states = [component["status"] for component in self._components.values()]
        if self._snapshot["overall"] == "outage":
            everything = bool(states) and all(state == "major_outage" for state in states)
            indicator = "critical" if everything else "major"
            return {"indicator": indicator, "description": _OUTAGES[indicator]}
        incidents = {IMPACTS.get(incident["impact"], "minor") for incident in view.active(self._snapshot)}
        worst = next((impact for impact in ("critical", "major", "minor") if impact in incidents), None)
        if worst:
            return {"indicator": worst, "description": _OUTAGES[worst]}
        if self._snapshot["overall"] == "degraded":
            return {"indicator": "minor", "description": "Partially Degraded Service"}
        if "under_maintenance" in states:
            return {"indicator": "maintenance", "description": "Service Under Maintenance"}
        if self._snapshot["overall"] == "operational":
            return {"indicator": "none", "description": "All Systems Operational"}
        return {"indicator": "minor", "description": "Status Unknown"}

    def _component(self, component: Data, position: int) -> Object:
        """`created_at` is when the history that is shown begins, of what is known: what was before is not kept."""
        begin = (component.get("history") or {}).get("from")
        created = f"{begin}T00:00:00.000Z" if begin else moment(self._snapshot["publishedAt"])
        if "uptimeSince" in component:
            created = moment(component["uptimeSince"])
            begin = created[:10]
        return {
            "id": component["id"],
            "name": component["name"],
            "status": COMPONENTS[view.state(component)],
            "created_at": created,
            "updated_at": moment(component.get("lastCheck") or self._snapshot["publishedAt"]),
            "position": position,
            "description": component.get("message") or component.get("provider"),
            "showcase": True,
            "start_date": begin,
            "group_id": None,
            "page_id": self._page["id"],
            "group": False,
            "only_show_if_degraded": False,
        }

    def _incidents(self, incidents: Sequence[Data]) -> list[Object]:
        return [
            self._event(incident, STATUSES.get(incident["status"], "investigating"), STATUSES)
            | {
                "impact": IMPACTS.get(incident["impact"], "minor"),
                "created_at": moment(incident["startedAt"]),
                "started_at": moment(incident["startedAt"]),
                "monitoring_at": _moment(incident.get("mitigatedAt")),
                "resolved_at": _moment(incident.get("resolvedAt")),
            }
            for incident in incidents
        ]

    def _maintenances(self, *statuses: str) -> list[Object]:
        """In order of their begin. A cancelled one is in no answer: the API has no word for it."""
        return [
            self._event(maintenance, maintenance["status"], {s: s for s in ("scheduled", *view.UNDER_WAY, "completed")})
            | {
                "impact": "maintenance",
                "created_at": moment(_first(maintenance)),
                "started_at": moment(maintenance.get("startedAt") or maintenance["scheduledFor"]),
                "monitoring_at": None,
                "resolved_at": _moment(maintenance.get("completedAt")),
                "scheduled_for": moment(maintenance["scheduledFor"]),
                "scheduled_until": moment(maintenance["scheduledUntil"]),
            }
            for maintenance in view.maintenances(self._snapshot, *statuses)
        ]

    def _event(self, event: Data, status: str, statuses: Mapping[str, str]) -> Object:
        """What incidents and maintenances have in common; updates newest first."""
        earlier = event.get("earlierUpdates", 0)
        updates = [
            self._update(update, f"{event['id']}-{n}", event["id"], statuses.get(update["status"], status))
            for n, update in enumerate(event.get("updates") or (), earlier + 1)
        ]
        last = event["updates"][-1]["timestamp"] if updates else event.get("startedAt") or event["scheduledFor"]
        return {
            "id": event["id"],
            "name": event["title"],
            "status": status,
            "updated_at": moment(last),
            "shortlink": self._origin + link(event["id"]),
            "page_id": self._page["id"],
            "incident_updates": updates[::-1],
            "components": [self._components[c] for c in event["components"] if c in self._components],
        }

    def _update(self, update: Data, name: str, event: str, status: str) -> Object:
        at = moment(update["timestamp"])
        return {
            "id": name,
            "status": status,
            "body": update.get("message") or "",
            "incident_id": event,
            "created_at": at,
            "updated_at": at,
            "display_at": at,
            "affected_components": None,
            "deliver_notifications": False,
        }


def moment(time: datetime) -> str:
    """`2026-03-04T10:07:30.000Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(time: datetime | None) -> str | None:
    return moment(time) if time else None


def _first(maintenance: Data) -> datetime:
    updates = maintenance.get("updates") or ()
    first: datetime = updates[0]["timestamp"] if updates else maintenance["scheduledFor"]
    return first

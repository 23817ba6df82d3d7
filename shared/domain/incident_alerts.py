"""What automation does with incidents: one per component and cause is opened, joined, closed, and opened again.

What a person has touched is theirs: automation only adds to its timeline, and resolves it no more. What a person opened
gets its cause from the first alert that joins it; alerts of another cause open their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain import in_hand
from shared.domain.incident import IMPACTS, moved, new_incident
from shared.domain.incident_policy import SHIPPED, IncidentPolicy
from shared.domain.timeline import AUTHOR, Data, entry, lasted, moment_of, with_entry

MOST_ALERTS = 100  # that an incident names, the latest


def cause_of(component: str | None, metric: str) -> str:
    """What open incidents are told apart by: alerts of one component and metric have one cause."""
    return f"{component or '-'}:{metric}"


def opened(
    title: str,
    impact: str,
    component: str | None,
    alert_id: str,
    message: str,
    now: datetime,
    *,
    cause: str | None = None,
    runbook: str | None = None,
) -> Data:
    """A new incident, not visible to the public until somebody decides so."""
    components = [component] if component else []
    begun = new_incident(
        title, impact, components, now, message=message, public=True, phrase="Found by our monitoring.",
        alert_ids=[alert_id], runbook=runbook,
    )  # fmt: skip
    return {**begun, "cause": cause, "firingAlertIds": [alert_id], "autoTitle": title}


def takes(incident: Mapping[str, Any], now: datetime, policy: IncidentPolicy = SHIPPED) -> bool:
    """Whether an alert of its cause belongs to it: it is open, or was resolved a short time ago."""
    ended = incident.get("resolvedAt")
    return incident["status"] != "resolved" or (ended is not None and now - ended <= policy.reopen_within)


def awaits(incident: Mapping[str, Any], component: str | None, alert_id: str) -> bool:
    """Whether an alert belongs to what a person opened: no alert has given it a cause yet, and it names this alert or
    its component.
    """
    if incident["status"] == "resolved" or incident.get("autoCreated") is not False or incident.get("cause"):
        return False
    return alert_id in incident["alertIds"] or (component is not None and component in incident["components"])


def joined(
    incident: Mapping[str, Any],
    impact: str,
    alert_id: str,
    message: str,
    now: datetime,
    *,
    cause: str | None = None,
    runbook: str | None = None,
) -> Data:
    """With one alert more: an open one goes on, a resolved one is opened again. A graver impact counts if untouched.

    `cause` and `runbook` are taken where it has none. Its `acknowledged` is who has it in hand still, with this alert.
    """
    at = moment_of(incident, now)
    held = in_hand.holder(incident, bool(firing(incident)), now)
    after: Data = {
        **incident,
        "alertIds": _with(incident["alertIds"], alert_id),
        "firingAlertIds": _with(firing(incident), alert_id),
        "cause": incident.get("cause") or cause,
        "runbook": incident.get("runbook") or runbook,
        "acknowledged": held,
    }
    if IMPACTS.index(impact) > IMPACTS.index(incident["impact"]):
        if is_touched(incident):
            message = f"{message} By itself it would be of {impact} impact."
        else:
            after["impact"] = impact
    if incident["status"] == "resolved":
        after = moved(after, "investigating", at)
        phrase = "The problem is back, and we are looking into it."
        return with_entry(after, entry("investigating", message, AUTHOR, at, public=True, phrase=phrase))
    return with_entry(after, entry(after["status"], message, AUTHOR, at, public=False))


def cleared(
    incident: Mapping[str, Any], alert_id: str, message: str, now: datetime, policy: IncidentPolicy = SHIPPED
) -> Data:
    """After one of its alerts cleared: resolved if that was the last and nobody touched it, else with a line added."""
    at = moment_of(incident, now)
    left = [one for one in firing(incident) if one != alert_id]
    after: Data = {**incident, "firingAlertIds": left}
    if left:
        message = f"{message} Still firing: {', '.join(left)}."
        return with_entry(after, entry(after["status"], message, AUTHOR, at, public=False))
    if incident["status"] == "resolved":
        return with_entry(after, entry("resolved", message, AUTHOR, at, public=False))
    phrase = "Our measurements are back to normal."
    if not is_touched(incident):
        after = moved(after, "resolved", at, policy)
        phrase = f"{phrase} Resolved after {lasted(after['resolvedAt'] - after['startedAt'])}."
    return with_entry(after, entry(after["status"], message, AUTHOR, at, public=True, phrase=phrase))


def still_fires(incident: Mapping[str, Any], alert_id: str, now: datetime) -> Data | None:
    """Opened again because an alert fires on since a person has resolved it; None where it is open."""
    if incident["status"] != "resolved":
        return None
    at, over = moment_of(incident, now), incident.get("resolvedAt")
    since = f" {lasted(now - over)}" if over else ""
    message = f"Opened again: the alert {alert_id} fires on{since} after this was resolved."
    phrase = "The problem is not over yet, and we are looking into it."
    opened = moved(incident, "investigating", at)
    return with_entry(opened, entry("investigating", message, AUTHOR, at, public=True, phrase=phrase))


def is_touched(incident: Mapping[str, Any]) -> bool:
    """Whether a person did anything to it; those of earlier releases tell by the authors of their entries."""
    return bool(incident.get("touched")) or any(u["author"] != AUTHOR for u in incident["updates"])


def firing(incident: Mapping[str, Any]) -> list[str]:
    """The alerts that still fire; of an incident of an earlier release, all that it has unless it is resolved."""
    known = incident.get("firingAlertIds")
    if known is None:
        return list(incident["alertIds"]) if incident["status"] != "resolved" else []
    return list(known)


def _with(names: list[str], one: str) -> list[str]:
    return [*(name for name in names if name != one), one][-MOST_ALERTS:]

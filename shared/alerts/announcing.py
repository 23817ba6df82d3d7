"""One notification more of an alert, and what somebody who takes the alert on changes. All of it for a commit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.notification import Kind, new_notification
from shared.domain.quiet import Hold
from shared.store.protocol import Create, Data, Doc, Write, over

FACTS = (
    "sloId", "sloName", "severity", "metric", "labels", "unit", "under", "aggregation", "value", "threshold",
    "comparison", "good", "total", "windowSeconds", "burn", "component", "firedAt", "resolvedAt", "incidentId",
    "reason", "judgedAt", "runbook", "firingSeq", "budget", "worst", "config", "spending",
)  # fmt: skip
HEARS = "pagerduty"  # the channel that has a word for it that somebody has an alert


def announced(
    name: str,
    seq: int,
    channel: str,
    kind: Kind,
    facts: Mapping[str, Any],
    now: datetime,
    hold: Hold | None,
    because: str | None = None,
) -> tuple[Create, Data]:
    """The write of a new notification, and what the alert's document says of its channel.

    `because`: why an alert that goes on firing is told again, or to somebody else.
    """
    reason = hold.reason if hold else None
    path, data = new_notification(name, seq, channel, kind, facts, now, reason)
    if because is not None:
        data["because"] = because
    if hold is not None and hold.by is not None:
        data["heldBy"] = {"id": hold.by, "until": hold.until}
    return Create(path, data), {"seq": seq, "state": "withheld" if reason else "announced", "reason": reason}


def acknowledging(alert: Data, now: datetime) -> tuple[Data, list[Write]]:
    """An acknowledged alert after PagerDuty is told so, and the write that tells it: none if it was not paged."""
    return _heard(alert, "acknowledge", now)


def taken_on(alert: Doc, taker: Data, now: datetime) -> list[Write]:
    """The writes of a firing alert that somebody takes on. `taker`: {by, at, note}."""
    had = {**alert.data, "acknowledged": taker, "resolvedByHandAt": None, "updatedAt": now}
    after, told = acknowledging(had, now)
    return [*told, over(alert, alert.path, after)]


def resolved_by_hand(alert: Doc, taker: Data | None, now: datetime) -> list[Write]:
    """The writes of an alert that fires on while somebody resolves its incident: PagerDuty's is resolved with it, since
    only so it can page again. Nothing of one that nobody has, which is repeated and passed on anyway.
    """
    has = alert.data.get("acknowledged") or taker
    if has is None:
        return []
    after, told = _heard({**alert.data, "acknowledged": has, "resolvedByHandAt": now, "updatedAt": now}, "resolve", now)
    return [*told, over(alert, alert.path, after)]


def reopened_by_hand(alert: Doc, now: datetime) -> list[Write]:
    """The writes of an alert whose incident is open again, by a person, who has both."""
    if not alert.data.get("resolvedByHandAt"):
        return []
    return [over(alert, alert.path, {**alert.data, "resolvedByHandAt": None, "updatedAt": now})]


def _heard(alert: Data, kind: Kind, now: datetime) -> tuple[Data, list[Write]]:
    if alert["channels"].get(HEARS, {}).get("state") != "announced":
        return alert, []
    seq = alert["seq"] + 1
    facts = {name: alert.get(name) for name in (*FACTS, "rule", "acknowledged")}
    write, _ = announced(alert["alertId"], seq, HEARS, kind, facts, now, None)
    return {**alert, "seq": seq}, [write]

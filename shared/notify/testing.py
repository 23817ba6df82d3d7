"""A test message on one channel, and what the other side said to it. It is no notification: nothing is kept of it."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from shared import log
from shared.domain.alert_policy import Channel
from shared.domain.notification import Kind, Outcome, new_notification, withhold_reason
from shared.notify.registry import NEEDS, configured, senders

if TYPE_CHECKING:
    from shared.bootstrap import App

CHANNELS: tuple[str, ...] = get_args(Channel)
FACTS = {
    "test": True, "sloName": "Test message", "severity": "info", "component": "F0 Ops", "metric": "test", "labels": {},
    "unit": "count", "under": None, "aggregation": "count", "value": None, "threshold": 0, "comparison": "above",
    "good": None, "total": None, "windowSeconds": 300, "burn": None, "firedAt": None, "resolvedAt": None,
    "incidentId": None, "reason": None, "firingSeq": 1,
}  # fmt: skip


def send_test(app: App, channel: str, now: datetime) -> dict[str, Any]:
    """{channel, outcome, detail, status, durationMs, needs}; `outcome` is withheld where a switch or a setting forbids
    it, and then `needs` says in words what it takes, else it is null.

    PagerDuty is sent the resolve too, so that nobody has to close the incident of a test.
    """
    reason = withhold_reason(channel, app.flags.all(), configured(app))
    if reason is not None:
        return _told(channel, "withheld", Outcome("dead", reason), _needs(channel, reason))
    alert_id = f"test-{secrets.token_hex(6)}"
    outcome = _send(app, channel, alert_id, "trigger", now)
    if channel == "pagerduty" and outcome.result in ("delivered", "unknown"):
        closed = _send(app, channel, alert_id, "resolve", now)
        outcome = outcome if closed.result == "delivered" else closed
    log.info("a test message was sent", channel=channel, outcome=outcome.result, detail=outcome.detail)
    return _told(channel, outcome.result, outcome)


def _send(app: App, channel: str, alert_id: str, kind: Kind, now: datetime) -> Outcome:
    document = new_notification(alert_id, 1 if kind == "trigger" else 2, channel, kind, FACTS, now)[1]
    try:
        return senders(app)[channel].send([document])
    except Exception as error:  # noqa: BLE001 - as in delivery: a fault of ours is an outcome too
        log.error("a sender failed", error, channel=channel)
        return Outcome("unknown", "internal_error")


def _needs(channel: str, reason: str) -> str | None:
    switches = {"alerts_disabled": "alerts.enabled", "channel_disabled": f"alerts.{channel}"}
    if reason in switches:
        return f"the switch {switches[reason]} to be on"
    return NEEDS[channel] if reason == "not_configured" else None


def _told(channel: str, result: str, outcome: Outcome, needs: str | None = None) -> dict[str, Any]:
    return {
        "channel": channel,
        "outcome": result,
        "detail": outcome.detail,
        "status": outcome.status,
        "durationMs": outcome.duration_ms,
        "needs": needs,
    }

"""What an alert that goes on firing needs from time to time: to be told again, or to somebody else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain.notification_policy import NotificationPolicy


@dataclass(frozen=True, slots=True)
class FollowUp:
    """`kind` of the notifications for `channels`; `reason`: escalated, repeated or told_again."""

    kind: Literal["trigger", "repeat"]
    channels: tuple[str, ...]
    reason: str
    changes: Mapping[str, Any]  # of the alert's document


def next_follow_up(alert: Mapping[str, Any], policy: NotificationPolicy, now: datetime) -> FollowUp | None:
    """What is due for this alert, one thing at a time; None if nothing is. Acknowledging ends all of it, and nothing is
    due of one that another alert speaks for (`saidBy`).

    An escalation counts from the beginning of the firing, a repetition from when it was last told as a whole.
    """
    if not _is_followed(alert):
        return None
    steps = policy.escalation.get(alert["severity"], ())
    done = alert.get("escalated") or 0
    if done < len(steps) and now >= alert["firedAt"] + timedelta(seconds=steps[done].after):
        new = tuple(channel for channel in steps[done].channels if channel not in alert["channels"])
        return FollowUp("trigger", new, "escalated", {"escalated": done + 1})
    every = policy.repeat.get(alert["severity"])
    last = alert.get("repeatedAt") or alert["firedAt"]
    if every is not None and now >= last + timedelta(seconds=every):
        return FollowUp("repeat", tuple(sorted(alert["channels"])), "repeated", {"repeatedAt": now})
    return None


def further(alert: Mapping[str, Any], policy: NotificationPolicy) -> list[str]:
    """The channels that the next escalation tells and that do not know of the alert yet."""
    if times(alert, policy)["escalates"] is None:
        return []
    step = policy.escalation[alert["severity"]][alert.get("escalated") or 0]
    return [channel for channel in step.channels if channel not in alert["channels"]]


def times(alert: Mapping[str, Any], policy: NotificationPolicy) -> dict[str, datetime | None]:
    """When the next escalation and the next repetition are due, for who asks; None if none is."""
    if not _is_followed(alert):
        return {"escalates": None, "repeats": None}
    steps, done = policy.escalation.get(alert["severity"], ()), alert.get("escalated") or 0
    every, last = policy.repeat.get(alert["severity"]), alert.get("repeatedAt") or alert["firedAt"]
    return {
        "escalates": alert["firedAt"] + timedelta(seconds=steps[done].after) if done < len(steps) else None,
        "repeats": last + timedelta(seconds=every) if every is not None else None,
    }


def _is_followed(alert: Mapping[str, Any]) -> bool:
    fires = alert["state"] == "firing" and alert.get("firedAt") is not None
    return fires and not alert.get("acknowledged") and not alert.get("saidBy")

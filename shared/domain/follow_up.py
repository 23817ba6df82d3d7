"""What an alert that goes on firing needs from time to time: to be told again, or to somebody else. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain.notification_policy import NotificationPolicy

STILL_FIRES = "still_fires"
UNREPEATED = timedelta(hours=24)  # after so long, what is not repeated by itself speaks again


@dataclass(frozen=True, slots=True)
class FollowUp:
    """`kind` of the notifications for `channels`; `reason`: escalated, repeated, still_fires or told_again."""

    kind: Literal["trigger", "repeat"]
    channels: tuple[str, ...]
    reason: str
    changes: Mapping[str, Any]  # of the alert's document


def next_follow_up(alert: Mapping[str, Any], policy: NotificationPolicy, now: datetime) -> FollowUp | None:
    """What is due for this alert, one thing at a time; None if nothing is. Acknowledging ends all of it, and nothing is
    due of one that another alert speaks for (`saidBy`).

    An escalation counts from the beginning of the firing, a repetition from when it was last told as a whole. Whoever
    resolves its incident by hand has it for one repetition more; then it is nobody's, and speaks again.
    """
    again = speaks_again(alert, policy)
    if again is not None and now >= again:
        changes = {"acknowledged": None, "resolvedByHandAt": None, "againAt": now, "repeatedAt": now}
        return FollowUp("repeat", tuple(sorted(alert["channels"])), STILL_FIRES, changes)
    if not _is_followed(alert):
        return None
    steps = policy.escalation.get(alert["severity"], ())
    done = alert.get("escalated") or 0
    if done < len(steps) and now >= _asked_since(alert) + timedelta(seconds=steps[done].after):
        new = tuple(channel for channel in steps[done].channels if channel not in alert["channels"])
        return FollowUp("trigger", new, "escalated", {"escalated": done + 1})
    every = policy.repeat.get(alert["severity"])
    last = alert.get("repeatedAt") or alert["firedAt"]
    if every is not None and now >= last + timedelta(seconds=every):
        return FollowUp("repeat", tuple(sorted(alert["channels"])), "repeated", {"repeatedAt": now})
    return None


def speaks_again(alert: Mapping[str, Any], policy: NotificationPolicy) -> datetime | None:
    """When an alert whose incident a person has resolved is told again, if it fires until then."""
    over: datetime | None = alert.get("resolvedByHandAt")
    if over is None or alert["state"] != "firing" or alert.get("saidBy"):
        return None
    every = policy.repeat.get(alert["severity"])
    return over + (UNREPEATED if every is None else timedelta(seconds=every))


def further(alert: Mapping[str, Any], policy: NotificationPolicy) -> list[str]:
    """The channels that the next escalation tells and that do not know of the alert yet."""
    if times(alert, policy)["escalates"] is None:
        return []
    step = policy.escalation[alert["severity"]][alert.get("escalated") or 0]
    return [channel for channel in step.channels if channel not in alert["channels"]]


def times(alert: Mapping[str, Any], policy: NotificationPolicy) -> dict[str, datetime | None]:
    """When the next escalation and the next repetition are due, for who asks; None if none is. `speaksAgain`: when it
    is told again although somebody has it, since its incident was resolved.
    """
    again = {"speaksAgain": speaks_again(alert, policy)}
    if not _is_followed(alert):
        return {"escalates": None, "repeats": None, **again}
    steps, done = policy.escalation.get(alert["severity"], ()), alert.get("escalated") or 0
    every, last = policy.repeat.get(alert["severity"]), alert.get("repeatedAt") or alert["firedAt"]
    return {
        "escalates": _asked_since(alert) + timedelta(seconds=steps[done].after) if done < len(steps) else None,
        "repeats": last + timedelta(seconds=every) if every is not None else None,
        **again,
    }


def _asked_since(alert: Mapping[str, Any]) -> datetime:
    since: datetime = alert.get("againAt") or alert["firedAt"]
    return since


def _is_followed(alert: Mapping[str, Any]) -> bool:
    fires = alert["state"] == "firing" and alert.get("firedAt") is not None
    return fires and not alert.get("acknowledged") and not alert.get("saidBy")

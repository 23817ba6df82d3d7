"""What is told in one message, and when: grouping, and the limit of a storm. Pure.

A *group* is the notifications of one channel and kind with the same values of the policy's `by`. What a channel has
sent lately is its *log*, one document: the times of its messages, and what each group has told and not taken back.

    {"sent": [time, …], "groups": {key: {at, groupId, severity, alerts: [alertId, …]}}}

One message is *led* by one of its notifications, whose id it bears. The leader's document lists all `members`; the
others name their leader as `groupId`. Until it is known whether a message arrived, it is sent again to the letter: same
leader, same members. If it surely did not arrive, the group is dissolved, and what is due by then makes the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain.matcher import labels_of
from shared.domain.notification_policy import NotificationPolicy

Data = dict[str, Any]

EVERYTHING = "*"  # the key of a storm's summary
MOST_MEMBERS = 5000  # of one message: their ids fit into the leader's document
LOGGED_ALERTS = 50  # of a group, by name
NAMED_ALERTS = 10  # of those that a message adds to; the last ones
LOGGED_GROUPS = 200  # the last ones: the log must stay a small document, however many groups there are
FORGOTTEN_AFTER = timedelta(hours=24)
_RANKS = {"critical": 0, "high": 1, "warning": 2}


@dataclass(frozen=True, slots=True)
class Message:
    """Notifications to be sent as one, the leader first."""

    key: str
    members: tuple[Data, ...]

    @property
    def leader(self) -> Data:
        return self.members[0]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Notifications that are not to be sent before `until`: `reason` is group_wait, group_interval or storm."""

    members: tuple[Data, ...]
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class LogChange:
    """What a message with this key does to the channel's log."""

    key: str
    before: Mapping[str, Any]
    after: Data


def taken_back(log: Mapping[str, Any], change: LogChange) -> Data | None:
    """The log without what the change put in; None if there is nothing of it any more."""
    put_in = change.after["groups"].get(change.key)
    groups = dict(log["groups"])
    sent = [at for at in log["sent"] if at in change.before.get("sent", ()) or at not in change.after["sent"]]
    if put_in is not None and groups.get(change.key) == put_in:
        was = change.before.get("groups", {}).get(change.key)
        groups = {k: g for k, g in groups.items() if k != change.key} | ({change.key: was} if was else {})
    return None if (sent, groups) == (log["sent"], log["groups"]) else {"sent": sent, "groups": groups}


def rank(data: Mapping[str, Any]) -> int:
    """0 is the most severe."""
    return _RANKS.get(data["facts"].get("severity", ""), len(_RANKS))


def group_of(data: Mapping[str, Any], by: Sequence[str]) -> str:
    """The values that a notification is grouped by, as a key: `component=API`."""
    labels = labels_of(data["alertId"], data["facts"].get("rule", ""), data["facts"])
    return ",".join(f"{name}={labels.get(name, '')}" for name in by)


def plan(
    due: Iterable[Data], log: Mapping[str, Any], policy: NotificationPolicy, groups: bool, now: datetime
) -> list[Message | Waiting]:
    """What to do with the notifications of a channel that are due, the most severe first; none is in two of them.

    `groups`: whether the channel can tell several in one message. Where it cannot, nothing waits for others, and there
    is no summary of a storm: each has its own message, and the other side does the sorting.
    """
    ordered = sorted(due, key=lambda data: (rank(data), data["dueAt"], data["notificationId"]))
    if not groups:
        return [Message(data["notificationId"], (data,)) for data in ordered]
    together: dict[tuple[str, str], list[Data]] = {}
    for data in ordered:
        together.setdefault((data["kind"], group_of(data, policy.grouping.by)), []).append(data)
    ready: list[Message] = []
    planned: list[Message | Waiting] = []
    for (kind, key), members in together.items():
        wait = _wait(kind, members, log.get("groups", {}).get(key), policy, now)
        if wait is not None:
            planned.append(wait)
        else:
            ready += [Message(key, part) for part in _parts(members)]
    return [*_within_limit(ready, log, policy, now), *planned]


def _wait(
    kind: str, members: Sequence[Data], told: Mapping[str, Any] | None, policy: NotificationPolicy, now: datetime
) -> Waiting | None:
    """Why this group waits: only what begins does."""
    if kind != "trigger":
        return None
    if told is None:
        until = min(data["createdAt"] for data in members) + timedelta(seconds=policy.grouping.wait)
        return Waiting(tuple(members), until, "group_wait") if now < until else None
    until = told["at"] + timedelta(seconds=policy.grouping.interval)
    if now >= until or rank(members[0]) < told["severity"]:
        return None
    return Waiting(tuple(members), until, "group_interval")


def _within_limit(
    ready: Sequence[Message], log: Mapping[str, Any], policy: NotificationPolicy, now: datetime
) -> list[Message | Waiting]:
    """As many messages as the storm limit has room for; the rest as one summary, or waiting for the next summary."""
    window = timedelta(seconds=policy.storm.window)
    room = policy.storm.messages - sum(at > now - window for at in log.get("sent", ()))
    if not policy.storm.messages or len(ready) <= max(room, 0):
        return list(ready)
    alone, rest = ready[: max(room, 0)], ready[max(room, 0) :]
    members = sorted((m for message in rest for m in message.members), key=rank)
    summary = log.get("groups", {}).get(EVERYTHING)
    if summary and now < summary["at"] + window and rank(members[0]) >= summary["severity"]:
        return [*alone, Waiting(tuple(members), summary["at"] + window, "storm")]
    return [*alone, *(Message(EVERYTHING, part) for part in _parts(members))]


def _parts(members: Sequence[Data]) -> list[tuple[Data, ...]]:
    return [tuple(members[n : n + MOST_MEMBERS]) for n in range(0, len(members), MOST_MEMBERS)]


def led(message: Message, log: Mapping[str, Any]) -> list[Data]:
    """The members with the marks of their message. The leader says what the message adds to, so that it can be told."""
    group_id = message.leader["notificationId"]
    if len(message.members) == 1 and not _adds_to(message, log):
        return [dict(message.leader)]
    leader = {
        **message.leader,
        "groupId": group_id,
        "groupKey": message.key,
        "members": [data["notificationId"] for data in message.members],
        "addsTo": _adds_to(message, log),
        "deadlineAt": max(data["deadlineAt"] for data in message.members),
    }
    others = [{**data, "groupId": group_id, "groupKey": message.key} for data in message.members[1:]]
    return [leader, *others]


def _adds_to(message: Message, log: Mapping[str, Any]) -> Data | None:
    told = log.get("groups", {}).get(message.key)
    if told is None or message.leader["kind"] != "trigger" or message.key == EVERYTHING:
        return None
    names = {data["alertId"] for data in message.members}
    others = [name for name in told["alerts"] if name not in names]  # what is told once more adds nothing to itself
    if not others:
        return None
    more = len(others) - NAMED_ALERTS
    known: Data = {"groupId": told["groupId"], "at": told["at"], "alerts": others[-NAMED_ALERTS:]}
    return {**known, "more": more} if more > 0 else known


def logged(message: Message, log: Mapping[str, Any], policy: NotificationPolicy, now: datetime) -> Data:
    """The log once this message is claimed. What is old is forgotten."""
    window = timedelta(seconds=policy.storm.window)
    sent = [at for at in log.get("sent", ()) if at > now - window]
    if message.key != EVERYTHING:
        sent = [*sent, now][-max(policy.storm.messages, 1) :]
    known = sorted(log.get("groups", {}).items(), key=lambda item: item[1]["at"], reverse=True)[: LOGGED_GROUPS - 1]
    groups = {k: g for k, g in known if g["at"] > now - FORGOTTEN_AFTER}
    if message.key == EVERYTHING:
        groups[EVERYTHING] = {
            "at": now, "groupId": message.leader["notificationId"], "severity": rank(message.leader), "alerts": [],
        }  # fmt: skip
        return {"sent": sent, "groups": groups}
    names = {data["alertId"] for data in message.members}
    told = groups.pop(message.key, None)
    if message.leader["kind"] == "resolve":
        left = [name for name in told["alerts"] if name not in names] if told else []
        if told and left:
            groups[message.key] = {**told, "alerts": left}
    elif message.leader["kind"] == "trigger":
        before = [name for name in told["alerts"] if name not in names] if told else []
        groups[message.key] = {
            "at": now,
            "groupId": told["groupId"] if told else message.leader["notificationId"],
            "severity": min(rank(message.leader), told["severity"] if told else len(_RANKS)),
            "alerts": [*before, *sorted(names)][-LOGGED_ALERTS:],
        }
    elif told:
        groups[message.key] = told
    return {"sent": sent, "groups": groups}

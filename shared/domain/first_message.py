"""The first message of a thread, brought up to date as what it told of grows and ends. Pure.

A message that follows another one outdates it, and its record says so (`outdates`). What the first message is to show
is worked out from the records alone, so the same state gives the same text, and to write it twice changes nothing.

Of each first message there is a document, so that only one at a time writes it, and what was written is known:

    {reference, channel, notificationId, shows, elsewhere: {alertId: notificationId},
     owner, leaseUntil, dueAt, failed, attempts: [{at, durationMs, outcome, status, detail}], expireAt}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from shared.domain.notification import (
    DELIVERY_DEADLINE,
    LEASE,
    RETENTION,
    Data,
    Outcome,
    wait_after,
    with_attempt,
)

FIRST_MESSAGES = "first_messages"  # the collection
_RANKS = {"critical": 0, "high": 1, "warning": 2}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a first message is to show: of each alert that its thread tells of the latest, the worst first.

    `notification_id`: whose message it was. `at`: when the latest of all was told.
    """

    notification_id: str
    latest: tuple[Data, ...]
    at: datetime

    @property
    def digest(self) -> str:
        """The same for the same text: what was told of a notification does not change any more."""
        names = [self.notification_id, *(data["notificationId"] for data in self.latest)]
        return blake2b(" ".join(names).encode(), digest_size=8).hexdigest()


def path_of(reference: str) -> str:
    """The other side's names may hold what no document's name may."""
    return f"{FIRST_MESSAGES}/{blake2b(reference.encode(), digest_size=12).hexdigest()}"


def shown(thread: Iterable[Data], elsewhere: Iterable[Data]) -> Shown | None:
    """`thread`: notifications whose messages are in it. `elsewhere`: of the same firings, told in other threads.

    None without any that leads a message: then nobody knows what the first one was.
    """
    told = sorted(thread, key=lambda data: (data["deliveredAt"], data["notificationId"]))
    first = next((data for data in told if leads(data)), None)
    if first is None:
        return None
    latest: dict[str, Data] = {}
    for data in told:
        before = latest.get(data["alertId"])
        if before is None or before["seq"] < data["seq"]:
            latest[data["alertId"]] = data
    for data in elsewhere:
        before = latest.get(data["alertId"])
        if before is not None and before["seq"] < data["seq"] and _firing(before) == _firing(data):
            latest[data["alertId"]] = data
    ranked = tuple(sorted(latest.values(), key=_rank))
    return Shown(first["notificationId"], ranked, max(data["deliveredAt"] for data in latest.values()))


def leads(data: Data) -> bool:
    """Does its message bear its own id?"""
    return data.get("groupId") in (None, data["notificationId"])


def claimed(
    data: Data | None, reference: str, channel: str, news: Mapping[str, Data], owner: str, now: datetime
) -> Data | None:
    """The document of a first message claimed for `owner`; None while another's lease holds or its next try is not due.

    `news`: what was told in other threads of alerts that this one tells of, by alert.
    """
    before: Data = data or {"reference": reference, "channel": channel, "shows": None, "failed": 0, "attempts": []}
    if data is not None and ((data["leaseUntil"] or now) > now or (data["dueAt"] or now) > now):
        return None
    elsewhere = dict(before.get("elsewhere") or {})
    for alert_id, notification in news.items():
        if notification["seq"] > _seq(elsewhere.get(alert_id)):
            elsewhere[alert_id] = notification["notificationId"]
    return {
        **before,
        "elsewhere": elsewhere,
        "owner": owner,
        "leaseUntil": now + LEASE,
        "dueAt": None,
        "expireAt": now + RETENTION,
    }


def let_go(data: Data) -> Data:
    """After nothing was written: it shows already what it should."""
    return {**data, "owner": None, "leaseUntil": None, "dueAt": None}


def written(data: Data, of: Shown, outcome: Outcome, now: datetime, jitter: float) -> Data:
    """The claimed document after an attempt. After a failure the next try waits as that of a message does."""
    attempt = with_attempt(data, now, outcome.duration_ms, outcome.result, outcome.status, outcome.detail)
    after = {**let_go(attempt), "notificationId": of.notification_id}
    if outcome.result == "delivered":
        return {**after, "shows": of.digest, "failed": 0}
    if outcome.result == "dead":
        return {**after, "failed": 0}
    failed = data["failed"] + 1
    return {**after, "failed": failed, "dueAt": now + wait_after(failed, outcome.retry_after, jitter)}


def too_late(outdated_at: datetime, now: datetime) -> bool:
    return now >= outdated_at + DELIVERY_DEADLINE


def _rank(data: Data) -> tuple[bool, int]:
    severity = data["facts"].get("severity", "")
    return data["kind"] == "resolve", _RANKS.get(severity, len(_RANKS))


def _firing(data: Data) -> object:
    return data["facts"].get("firingSeq")


def _seq(notification_id: str | None) -> int:
    """`{alertId}-{seq}-{channel}`"""
    return int(notification_id.rsplit("-", 2)[1]) if notification_id else 0

"""A notification of the outbox: what it is, and every step it may take. Pure: data in, new data out.

    pending ──claim──► sending ──after_attempt──► delivered | pending (again, later) | dead
    pending ──cancel, withhold, expire──► cancelled | withheld | dead

A claim is a lease with an owner. Whoever finds a lapsed lease may claim again; the attempt that was lost is recorded,
because its message may have arrived. Documents are `Data` as docs/design.md has them; times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Literal

Data = dict[str, Any]
Kind = Literal["trigger", "repeat", "acknowledge", "resolve"]
Result = Literal["delivered", "retry", "unknown", "dead"]

HTTP_TIMEOUT = timedelta(seconds=10)
LEASE = timedelta(seconds=30)
DELIVERY_DEADLINE = timedelta(hours=24)
RETENTION = timedelta(days=90)
OVERDUE_AFTER = timedelta(minutes=15)  # of attempts that fail, until the other channels are told
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=10)
JITTER = 0.25  # the most that is added to a wait, as a share of it
KEPT_FIRST, KEPT_LAST = 5, 20  # attempts that stay in the record
DEAD_LETTERS = "dead-letters"  # the alert that tells of dead letters
OVERDUE = "overdue"  # among its causes: in the place of a reason, for what is not given up yet
GROUP_FIELDS = ("groupId", "groupKey", "members", "addsTo")  # of what goes out with others: see grouping.py
KEPT_RESENDS = 20
MOST_EARLIER = 10  # notifications before one that are looked at


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt to send ended.

    `delivered`: accepted. `retry`: refused for now. `unknown`: the request left and no clear answer came, so it may
    have arrived; it is tried again too. `dead`: refused for good, and `detail` is the reason. `detail` is one short
    word that holds no secret; `retry_after` is what the other side asked for, in seconds; `reference` is the other
    side's own name of the message that it took, if later ones of the same alert need it; `outdates`: what earlier
    messages say is not the latest any more, and they can be brought up to date.
    """

    result: Result
    detail: str
    status: int | None = None
    duration_ms: int = 0
    retry_after: float | None = None
    reference: str | None = None
    outdates: bool = False


def new_notification(
    alert_id: str,
    seq: int,
    channel: str,
    kind: Kind,
    facts: Mapping[str, Any],
    now: datetime,
    withheld_reason: str | None = None,
) -> tuple[str, Data]:
    """Path and data of a new outbox document; with `withheld_reason` it is a record only, and never sent."""
    notification_id = f"{alert_id}-{seq}-{channel}"
    data: Data = {
        "notificationId": notification_id,
        "alertId": alert_id,
        "seq": seq,
        "channel": channel,
        "kind": kind,
        "state": "pending",
        "reason": None,
        "open": True,
        "lane": f"{alert_id}:{channel}",
        "dueAt": now,
        "createdAt": now,
        "deadlineAt": now + DELIVERY_DEADLINE,
        "deliveredAt": None,
        "expireAt": now + RETENTION,
        "owner": None,
        "leaseUntil": None,
        "attempts": [],
        "reference": None,
        "facts": dict(facts),
    }
    if withheld_reason is not None:
        data = _closed(data, "withheld", withheld_reason)
    return f"notifications/{notification_id}", data


def claim(data: Data, owner: str, now: datetime) -> Data | None:
    """The notification claimed for `owner` until `leaseUntil`, or None: closed, not due, or another's lease holds.

    Claiming again under the same owner renews the lease, so that a claim whose reply was lost does no harm.
    """
    if not data["open"] or now >= data["deadlineAt"]:
        return None
    held = data["state"] == "sending"
    renewed = held and data["owner"] == owner
    if not renewed:
        if now < data["dueAt"]:  # of a claimed one this is the lease's end
            return None
        data = _with_lost_attempt(data)
    until = now + LEASE
    return {**data, "state": "sending", "owner": owner, "leaseUntil": until, "dueAt": until}


def may_send(data: Data, owner: str, now: datetime) -> bool:
    """To be asked just before the bytes leave: does the lease last until the slowest answer is in?"""
    claimed = data["state"] == "sending" and data["owner"] == owner
    return claimed and bool(now + HTTP_TIMEOUT <= data["leaseUntil"])


def held(data: Data, now: datetime) -> bool:
    """Somebody's lease holds: nobody else may touch it."""
    return data["state"] == "sending" and bool(now < data["leaseUntil"])


def after_attempt(data: Data, outcome: Outcome, now: datetime, jitter: float) -> Data:
    """The claimed notification after `outcome`. `jitter` is a random number from 0 to 1."""
    data = with_attempt(data, now, outcome.duration_ms, outcome.result, outcome.status, outcome.detail)
    if outcome.result == "delivered":
        told = {**_closed(data, "delivered", None), "deliveredAt": now, "reference": outcome.reference}
        leads = data.get("groupId") in (None, data["notificationId"])
        return {**told, "outdates": now} if outcome.outdates and leads else told
    if not is_fixed({**data, "state": "pending"}):  # it surely did not arrive: what is due by then makes the next one
        data = _without_group(data)
    if outcome.result == "dead":
        return _closed(data, "dead", outcome.detail)
    due = now + wait_after(len(data["attempts"]), outcome.retry_after, jitter)
    if due >= data["deadlineAt"]:
        return _closed(data, "dead", "deadline")
    again = {**data, "state": "pending", "dueAt": due, "owner": None, "leaseUntil": None}
    return {**again, "untold": True} if _is_overdue(data, now) else again


def cancel(data: Data, reason: str) -> Data:
    """The notification that is not to be sent any more, because it has become pointless."""
    return _closed(_with_lost_attempt(data), "cancelled", reason)


def withhold(data: Data, reason: str, owner: str | None = None) -> Data:
    """The notification that may not be sent, because a person or the set-up says so.

    `owner`: who claimed it and knows that nothing was sent under that claim.
    """
    if owner is None or data["owner"] != owner:
        data = _with_lost_attempt(data)
    return _closed(data, "withheld", reason)


def is_fixed(data: Data) -> bool:
    """Its message may have arrived: it is sent again as it was, under the same id and with the same members."""
    return may_be_known(data)


def released(data: Data) -> Data:
    """A member whose leader was never claimed: nothing was sent, and it is as if it had not been claimed either."""
    data = _without_group(data)
    if data["state"] != "sending":
        return data
    return {**data, "state": "pending", "dueAt": data["leaseUntil"], "owner": None, "leaseUntil": None}


def follow(data: Data, leader: Data) -> Data:
    """A member with the end of its leader, whose message told of both."""
    attempts = [*data["attempts"], *leader["attempts"][-1:]]
    ended = _closed({**data, "attempts": attempts}, leader["state"], leader["reason"])
    return {**ended, "deliveredAt": leader["deliveredAt"], "reference": leader.get("reference")}


def expire(data: Data, now: datetime) -> Data | None:
    """The notification dead of its deadline, or None where that has not passed or somebody's lease still holds."""
    if not data["open"] or now < data["deadlineAt"] or held(data, now):
        return None
    return _closed(_with_lost_attempt(data), "dead", "deadline")


def resend(data: Data, by: str, now: datetime, key: str | None = None) -> Data:
    """The dead letter due once more, for another `DELIVERY_DEADLINE`; `resends` says who asked for it, and when, and
    under which Idempotency-Key (its digest), if any.
    """
    entry: Data = {"by": by, "at": now, "was": data["reason"], **({"key": key} if key else {})}
    again = {"state": "pending", "reason": None, "open": True, "dueAt": now, "deadlineAt": now + DELIVERY_DEADLINE}
    return {
        **_without_group(data),
        **again,
        "untold": False,
        "resends": [*(data.get("resends") or ()), entry][-KEPT_RESENDS:],
    }


def asks_for_somebody(data: Data) -> bool:
    """It is told because nobody has taken the alert on: pointless once somebody has.

    What a person asked to be sent again is wanted in any case.
    """
    return data.get("because") in ("escalated", "repeated", "still_fires") and not data.get("resends")


def was_pointless(data: Data) -> bool:
    """It was to ask somebody who was never asked, since another one had the alert by then."""
    asked = data.get("kind") == "trigger" or data.get("because") == "still_fires"
    return asked and (data["state"], data["reason"]) == ("cancelled", "acknowledged")


def overtakes(later: Data) -> bool:
    """Would what is before `later` in its lane tell of the past? It was told, or is the end that nobody waits for."""
    return may_be_known(later) or (later["kind"] == "resolve" and not later["open"])


def untried(data: Data) -> bool:
    """Nobody has begun to send it."""
    return data["state"] == "pending" and not data["attempts"]


def may_be_known(data: Data) -> bool:
    """Has its message arrived, or may it have?"""
    return data["state"] in ("delivered", "sending") or any(
        a["outcome"] in ("delivered", "unknown") for a in data["attempts"]
    )


def nobody_was_told(episode: Sequence[Data]) -> bool:
    """Has none of these arrived, nor can it any more?"""
    return not any(data["open"] or may_be_known(data) for data in episode)


def episode_before(earlier: Iterable[Data]) -> list[Data]:
    """Of a lane's notifications before a point, the latest first: those since the last resolve."""
    return list(takewhile(lambda data: data["kind"] != "resolve", earlier))


def ids_before(data: Data) -> list[str] | None:
    """The ids that those before it in its lane and of the same firing have if they exist, the latest first.

    None where the firing is not known, or began too many notifications ago.
    """
    first, seq = data["facts"].get("firingSeq"), data["seq"]
    if not isinstance(first, int) or not 0 <= seq - first <= MOST_EARLIER:
        return None
    return [f"{data['alertId']}-{n}-{data['channel']}" for n in range(seq - 1, first - 1, -1)]


def resolve_is_pointless(earlier: Iterable[Data]) -> bool:
    """Was nobody told of what a resolve ends? `earlier` are the lane's notifications before it, the latest first.

    False where there is no trigger in `earlier`: its record may have expired, and a needless 'resolved' does no harm.
    """
    episode = episode_before(earlier)
    return bool(episode) and nobody_was_told(episode)


def withhold_reason(
    channel: str,
    flags: Mapping[str, Any],
    configured: Mapping[str, bool],
    *,
    severity: str = "critical",
    explicit: bool = True,
) -> str | None:
    """Why nothing may go out on `channel`, or None.

    `flags` by dotted name; `configured` has every channel that this release can send on, and whether it has an address.
    `explicit`: the SLO itself names the channel, which for PagerDuty outweighs that it is for critical alerts only.
    """
    if flags.get("alerts.enabled") is not True:
        return "alerts_disabled"
    if flags.get(f"alerts.{channel}", True) is not True:
        return "channel_disabled"
    if channel not in configured:
        return "not_available"
    if not configured[channel]:
        return "not_configured"
    if channel == "pagerduty" and severity != "critical" and not explicit:
        return "critical_only"
    return None


def wait_after(attempts: int, retry_after: float | None, jitter: float) -> timedelta:
    """5 s, 10 s, 20 s … 10 min after the first, second, third … attempt; never less than was asked for."""
    wait = min(LONGEST_WAIT, FIRST_WAIT * int(2 ** min(attempts - 1, 10)))
    asked = timedelta(seconds=min(retry_after or 0, DELIVERY_DEADLINE.total_seconds()))
    return max(wait, asked) * (1 + JITTER * jitter)


def _closed(data: Data, state: str, reason: str | None) -> Data:
    ended = {"state": state, "reason": reason, "open": False, "dueAt": None, "owner": None, "leaseUntil": None}
    if state == "dead" and data["alertId"] != DEAD_LETTERS:
        return {**data, **ended, "untold": True}  # until it is announced through another channel
    if data.get("untold"):  # it was overdue, and is that no more
        return {**data, **ended, "untold": False}
    return {**data, **ended}


def _is_overdue(data: Data, now: datetime) -> bool:
    """Has nobody accepted it for so long that the others should know? Once, and never of what tells of dead letters."""
    if "untold" in data or data["alertId"] == DEAD_LETTERS:
        return False
    begun = data["deadlineAt"] - DELIVERY_DEADLINE
    first = next((a["at"] for a in data["attempts"] if a["at"] >= begun), now)
    return bool(now - first >= OVERDUE_AFTER)


def _without_group(data: Data) -> Data:
    return {name: value for name, value in data.items() if name not in GROUP_FIELDS}


def _with_lost_attempt(data: Data) -> Data:
    """With a record of the attempt whose sender never came back, if there is one."""
    if data["state"] != "sending":
        return data
    return with_attempt(data, data["leaseUntil"] - LEASE, None, "unknown", None, "sender_lost")


def with_attempt(
    data: Data, at: datetime, duration_ms: int | None, outcome: str, status: int | None, detail: str
) -> Data:
    entry = {"at": at, "durationMs": duration_ms, "outcome": outcome, "status": status, "detail": detail}
    attempts = [*data["attempts"], entry]
    if len(attempts) > KEPT_FIRST + KEPT_LAST:
        attempts = attempts[:KEPT_FIRST] + attempts[-KEPT_LAST:]
    return {**data, "attempts": attempts}

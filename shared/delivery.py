"""Delivery of the outbox: what is due is sent, lane by lane in order of `seq`, until accepted, dead or pointless.

One item goes through these steps, each safe to be killed after: (1) claim by compare-and-set, with an owner of its own
and a lease longer than the slowest answer; (2) flags and lease, checked just before (3) sending; (4) the outcome, by
compare-and-set on the claim. A second copy of a message can exist only where (4) never came after (3).

A lease is honest only against the clock that all deliverers share, so this use case, unlike the others, asks
`app.clock` again for each item: time goes on from the handler's `now` as that clock tells. Budgets are real seconds.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared import log
from shared.domain import notification as outbox
from shared.domain.notification import Data, Outcome
from shared.flags import FlagsUnknown
from shared.notify.registry import configured, senders
from shared.store.protocol import (
    Conflict,
    Doc,
    Put,
    Query,
    Store,
    Unavailable,
    compare_and_set,
    cursor_of,
    new_rev,
)

if TYPE_CHECKING:
    from shared.bootstrap import App

COLLECTION = "notifications"
PAGE = 100  # due items a query
LANE_PAGE = 20  # items of a lane in one run
EARLIER = 10  # notifications before a resolve that are looked at
RECORD_TRIES = 3


@dataclass(slots=True)
class Delivered:
    """What one run did, in items. `stopped`: why it ended before all that was due, or None."""

    delivered: int = 0
    retried: int = 0
    dead: int = 0
    withheld: int = 0
    cancelled: int = 0
    stopped: str | None = None

    @property
    def handled(self) -> int:
        return self.delivered + self.retried + self.dead + self.withheld + self.cancelled


def deliver_due(
    app: App,
    now: datetime,
    *,
    budget_seconds: float,
    limit: int = 1000,
    patient: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Delivered:
    """Send what is due. Raises `StoreError` when the store fails; a claimed item is due again when its lease ends.

    No item is begun once `budget_seconds` have passed or `limit` items were handled; the last one may take the HTTP
    timeout and its commits longer. `patient`: wait, within the budget, until a channel that throttles takes more.
    """
    run = _Run(app, now, budget_seconds, limit)
    try:
        run.one_pass()
        while patient and (wait := run.seconds_to_wait()) is not None:
            pause(wait)
            run.one_pass()
    except FlagsUnknown:
        run.done.stopped = "flags_unknown"
        log.warning("flags could never be read: nothing is sent")
    return run.done


def dead_letters(store: Store, limit: int = 100) -> list[Doc]:
    """Notifications that could not be delivered, the latest first."""
    return store.query(Query(COLLECTION, (("state", "==", "dead"),), (("createdAt", "desc"),), limit))


class _Run:
    def __init__(self, app: App, now: datetime, budget_seconds: float, limit: int) -> None:
        self.app = app
        self.store = app.store
        self.now = now
        self.end = app.monotonic() + budget_seconds
        self.limit = limit
        self.senders = senders(app)
        self.configured = configured(app)
        self.throttled: dict[str, float] = {}  # channel → when it takes more, by app.monotonic
        self.done = Delivered()

    def moment(self) -> datetime:
        return max(self.now, self.app.clock())

    def over(self) -> bool:
        if self.app.monotonic() >= self.end:
            self.done.stopped = "budget"
        elif self.done.handled >= self.limit:
            self.done.stopped = "limit"
        return self.done.stopped is not None

    def one_pass(self) -> None:
        """Each lane that has something due, once. Pages go on past lanes that wait, so that they hold nobody up."""
        query = Query(COLLECTION, (("open", "==", True), ("dueAt", "<=", self.moment())), (("dueAt", "asc"),), PAGE)
        lanes: set[str] = set()
        while True:
            page = self.store.query(query)
            for doc in page:
                lane = doc.data["lane"]
                if lane in lanes or self.throttled.get(doc.data["channel"], 0.0) > self.app.monotonic():
                    continue
                if self.over():
                    return
                lanes.add(lane)
                self.walk(lane)
            if len(page) < PAGE:
                return
            query = replace(query, after=cursor_of(page[-1], query))

    def walk(self, lane: str) -> None:
        """The lane's open items in order, until one is not finished."""
        query = Query(COLLECTION, (("lane", "==", lane), ("open", "==", True)), (("seq", "asc"),), LANE_PAGE)
        waiting = deque(self.store.query(query))
        finished = True
        while waiting and finished and not self.over():
            finished = self.step(waiting.popleft(), waiting)

    def step(self, doc: Doc, waiting: deque[Doc]) -> bool:
        """Do what the lane's first item needs; True if it is closed now. What it closes too it takes from `waiting`."""
        data, moment, channel = doc.data, self.moment(), doc.data["channel"]
        if outbox.held(data, moment):
            return False
        expired = outbox.expire(data, moment)
        if expired is not None:
            return self.close([(doc, expired)])
        reason = self.reason_to_withhold(channel)
        if reason is not None:
            return self.close([(doc, outbox.withhold(data, reason))])
        if data["kind"] == "resolve" and outbox.resolve_is_pointless(self.earlier(doc)):
            return self.close([(doc, outbox.cancel(data, "trigger_not_sent"))])
        over_already = self.resolved_before_sent(doc, waiting)
        if over_already:
            return self.close([(d, outbox.cancel(d.data, "resolved_before_sent")) for d in over_already])
        return self.attempt(doc)

    def attempt(self, doc: Doc) -> bool:
        owner = secrets.token_hex(8)
        claimed = outbox.claim(doc.data, owner, self.moment())
        if claimed is None or not self.write([(doc, claimed)]):
            return False
        channel = claimed["channel"]
        reason = self.reason_to_withhold(channel)  # again: a switch may have been thrown since
        if reason is not None:
            return self.record(doc.path, owner, outbox.withhold(claimed, reason, owner))
        if not outbox.may_send(claimed, owner, self.moment()):
            return False
        outcome = self.send(claimed)
        if outcome.retry_after is not None:
            self.throttled[channel] = self.app.monotonic() + outcome.retry_after
        return self.record(doc.path, owner, outbox.after_attempt(claimed, outcome, self.moment(), random.random()))

    def send(self, claimed: Data) -> Outcome:
        try:
            return self.senders[claimed["channel"]].send([claimed])
        except Exception as error:  # noqa: BLE001 - a fault in one message must not keep all others from being sent
            log.error("a sender failed", error, notification=claimed["notificationId"])
            return Outcome("unknown", "internal_error")

    def record(self, path: str, owner: str, data: Data) -> bool:
        """Commit what became of a claimed item. Tries hard: if this is lost, the message is sent a second time."""

        def decide(doc: Doc | None) -> Data | None:
            return data if doc is not None and doc.data["owner"] == owner else None

        for last in (False,) * (RECORD_TRIES - 1) + (True,):
            try:
                if compare_and_set(self.store, path, decide) is None:
                    log.warning("a lease ended before its outcome was recorded", notification=data["notificationId"])
                    return False
                break
            except Unavailable:
                if last:
                    raise
        self.tell(data)
        return not data["open"]

    def close(self, changes: Sequence[tuple[Doc, Data]]) -> bool:
        """Commit items that end without being sent."""
        if not self.write(changes):
            return False
        for _, data in changes:
            self.tell(data)
        return True

    def write(self, changes: Sequence[tuple[Doc, Data]]) -> bool:
        """Replace documents as they were read, all or none; False if another run was faster."""
        rev = new_rev()
        try:
            self.store.commit([Put(doc.path, {**data, "rev": rev}, doc.version) for doc, data in changes])
        except Conflict:
            return False
        except Unavailable:
            found = self.store.get(changes[0][0].path)
            return found is not None and found.data.get("rev") == rev
        return True

    def tell(self, data: Data) -> None:
        """Count an item by what became of it, and log what did not simply work."""
        state = "retried" if data["open"] else data["state"]
        setattr(self.done, state, getattr(self.done, state) + 1)
        fields: dict[str, Any] = {"notification": data["notificationId"], "reason": data["reason"]}
        if state == "dead":
            log.error("dead letter: a notification could not be delivered", **fields)
        elif state in ("withheld", "cancelled"):
            log.info(f"notification {state}", **fields)
        elif state == "retried":
            log.warning("a notification will be tried again", **{**fields, "reason": data["attempts"][-1]["detail"]})

    def reason_to_withhold(self, channel: str) -> str | None:
        return outbox.withhold_reason(channel, self.app.flags.all(), self.configured)

    def earlier(self, doc: Doc) -> list[Data]:
        """The lane's items before this one, the latest first."""
        lane, seq = doc.data["lane"], doc.data["seq"]
        query = Query(COLLECTION, (("lane", "==", lane), ("seq", "<", seq)), (("seq", "desc"),), EARLIER)
        return [earlier.data for earlier in self.store.query(query)]

    def resolved_before_sent(self, doc: Doc, waiting: deque[Doc]) -> list[Doc]:
        """This trigger up to its resolve, taken from `waiting`, if all that was over before anybody heard of it."""
        resolve_at = next((n for n, d in enumerate(waiting) if d.data["kind"] == "resolve"), None)
        if doc.data["kind"] != "trigger" or resolve_at is None:
            return []
        episode = [doc, *(waiting[n] for n in range(resolve_at + 1))]
        if not all(outbox.untried(d.data) for d in episode):
            return []
        if not outbox.nobody_was_told(outbox.episode_before(self.earlier(doc))):
            return []
        for _ in range(resolve_at + 1):
            waiting.popleft()
        return episode

    def seconds_to_wait(self) -> float | None:
        """Until a throttled channel takes more, if that is within the budget."""
        if self.done.stopped is not None:
            return None
        now = self.app.monotonic()
        waits = [until - now for until in self.throttled.values() if now < until < self.end]
        return min(waits, default=None)

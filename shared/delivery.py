"""Delivery of the outbox: what is due is sent, lane by lane in order of `seq`, until accepted, dead or pointless.

What broke together goes out as one message (`shared/domain/grouping.py`). A message goes through these steps, each safe
to be killed after: (1) claim by compare-and-set of all its notifications, with an owner of its own and a lease longer
than the slowest answer, the leader's document and the channel's log last; (2) flags and lease, checked just before
(3) sending; (4) the outcome, by compare-and-set on the claim, the leader's first. A second copy of a message can exist
only where (4) never came after (3), and it has the same leader and the same members.

A lease is honest only against the clock that all deliverers share, so this use case, unlike the others, asks
`app.clock` again for each item: time goes on from the handler's `now` as that clock tells. Budgets are real seconds.
"""

from __future__ import annotations

import random
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared import log
from shared.delivery_records import COLLECTION, DeliveryRecords
from shared.domain import grouping
from shared.domain import notification as outbox
from shared.domain.grouping import LogChange, Message, Waiting
from shared.domain.notification import Data, Outcome
from shared.episodes import Episodes
from shared.flags import FlagsUnknown
from shared.notification_policy import PolicyLoader
from shared.notify.registry import configured, senders
from shared.quiet import quiet_reader
from shared.store.protocol import Doc, Query, Store, cursor_of

if TYPE_CHECKING:
    from shared.bootstrap import App

__all__ = ["COLLECTION", "Delivered", "dead_letters", "deliver_due"]

PAGE = 300  # open items a query
MOST_OPEN = 20_000  # that are looked at in one pass


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

    No message is begun once `budget_seconds` have passed or `limit` items were handled; the last one may take the HTTP
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
        self.policy = app.part(PolicyLoader).policy
        self.quiet = quiet_reader(app)
        self.senders = senders(app)
        self.configured = configured(app)
        self.throttled: dict[str, float] = {}  # channel → when it takes more, by app.monotonic
        self.done = Delivered()
        self.records = DeliveryRecords(app.store, self.tell)
        self.episodes = Episodes(app.store)
        self.found: dict[str, Doc] = {}  # everything open, by id, as this pass read it

    def moment(self) -> datetime:
        return max(self.now, self.app.clock())

    def over(self) -> bool:
        if self.app.monotonic() >= self.end:
            self.done.stopped = "budget"
        elif self.done.handled >= self.limit:
            self.done.stopped = "limit"
        return self.done.stopped is not None

    def is_throttled(self, channel: str) -> bool:
        return self.throttled.get(channel, 0.0) > self.app.monotonic()

    def one_pass(self) -> None:
        """Each channel that has something due, its lanes side by side. A lane that waits holds up nobody else."""
        due = Query(COLLECTION, (("open", "==", True), ("dueAt", "<=", self.moment())), (("dueAt", "asc"),), 1)
        if not self.store.query(due):
            return
        channels: dict[str, dict[str, deque[Doc]]] = {}
        self.found = {}
        for doc in self.open_items():
            self.found[doc.id] = doc
            channels.setdefault(doc.data["channel"], {}).setdefault(doc.data["lane"], deque()).appendleft(doc)
        for channel, lanes in sorted(channels.items()):
            self.serve(channel, lanes)

    def open_items(self) -> list[Doc]:
        """Everything open, the later ones of a lane first.

        In this order a lane is never seen without an item that must go before those that were seen, whatever is written
        meanwhile: it existed before them, its place does not change, and it is read after them.
        """
        query = Query(COLLECTION, (("open", "==", True),), (("lane", "desc"), ("seq", "desc")), PAGE)
        found: list[Doc] = []
        while len(found) < MOST_OPEN:
            page = self.store.query(query)
            found += page
            if len(page) < PAGE:
                return found
            query = replace(query, after=cursor_of(page[-1], query))
        last = found[-1].data["lane"]  # it may go on: what comes first in it is not known
        return [doc for doc in found if doc.data["lane"] != last]

    def serve(self, channel: str, lanes: dict[str, deque[Doc]]) -> None:
        """Send what leads its lane, as few messages; then what comes after it, until nothing moves any more."""
        while lanes and not self.is_throttled(channel) and not self.over():
            heads: dict[str, Doc] = {}
            self.look_back(channel, lanes.values())
            for lane, waiting in list(lanes.items()):
                head = self.head(waiting)
                if head is None:
                    del lanes[lane]
                elif self.over():
                    return
                else:
                    heads[head.id] = head
            sent = self.send_all(channel, heads) if heads else set()
            for lane, waiting in list(lanes.items()):
                if waiting[0].id in sent:
                    waiting.popleft()
                else:
                    del lanes[lane]  # it waits

    def look_back(self, channel: str, lanes: Iterable[deque[Doc]]) -> None:
        """Look up at once what was told before those that may turn out to be pointless."""
        moment = self.moment()
        if self.reason_to_withhold(channel) is None:
            due = [waiting for waiting in lanes if waiting and waiting[0].data["dueAt"] <= moment]
            self.episodes.look_up(waiting[0] for waiting in due if _may_be_pointless(waiting))

    def head(self, waiting: deque[Doc]) -> Doc | None:
        """The lane's first item, if it is to be sent now. Those before it that end without being sent are closed."""
        while waiting and not self.done.stopped:
            doc, moment = waiting[0], self.moment()
            if moment < doc.data["dueAt"]:  # of a claimed one this is the lease's end
                return None
            own = self.on_its_own(doc)
            if own is None:
                return None
            doc = own
            end = self.ending(doc, moment, waiting)
            if end is None:
                return doc
            if not self.records.close(end):
                return None
            self.found |= {was.id: replace(was, data=data) for was, data in end}  # for those that go with them
            closed = {was.path for was, _ in end}
            while waiting and waiting[0].path in closed:
                waiting.popleft()
        return None

    def on_its_own(self, doc: Doc) -> Doc | None:
        """An item that no message has in hand, or None. One whose message is over gets the same end."""
        name = doc.data.get("groupId")
        if name in (None, doc.id):
            return doc
        leader = self.found.get(name) or self.store.get(f"{COLLECTION}/{name}")
        if leader is None or doc.id not in (leader.data.get("members") or ()):
            return replace(doc, data=outbox.released(doc.data))  # the leader was never claimed: nothing was sent
        if not leader.data["open"]:
            self.records.close([(doc, outbox.follow(doc.data, leader.data))])
        return None

    def ending(self, doc: Doc, moment: datetime, waiting: deque[Doc]) -> list[tuple[Doc, Data]] | None:
        """What is to be closed before anything of this lane may be sent, with its end; None if nothing is."""
        data = doc.data
        expired = outbox.expire(data, moment)
        if expired is not None:
            return [(doc, expired)]
        reason = self.reason_to_withhold(data["channel"])
        if reason is not None:
            return [(doc, outbox.withhold(data, reason))]
        if not outbox.is_fixed(data):  # what may have arrived is brought to its end
            held = self.held(doc, moment)
            if held is not None:
                return [(doc, held)]
        if data["kind"] in ("resolve", "acknowledge") and outbox.resolve_is_pointless(self.episodes.before(doc)):
            return [(doc, outbox.cancel(data, "trigger_not_sent"))]
        is_over = any(later.data["kind"] == "resolve" for later in waiting)
        if is_over and data["kind"] in ("repeat", "acknowledge") and outbox.untried(data):
            return [(doc, outbox.cancel(data, "resolved_before_sent"))]
        over_already = self.resolved_before_sent(doc, waiting)
        return [(d, outbox.cancel(d.data, "resolved_before_sent")) for d in over_already] or None

    def held(self, doc: Doc, moment: datetime) -> Data | None:
        """The item withheld, where a silence or the like holds its alert back now."""
        hold = self.quiet.hold_of(doc.data, moment)
        if hold is None:
            return None
        return {**outbox.withhold(doc.data, hold.reason), "heldBy": {"id": hold.by, "until": hold.until}}

    # --- sending

    def send_all(self, channel: str, heads: Mapping[str, Doc]) -> set[str]:
        """Send these in as few messages as may be. The ids of those that are closed now."""
        groups = self.senders[channel].groups
        closed: set[str] = set()
        fixed = [doc for doc in heads.values() if outbox.is_fixed(doc.data)]
        for doc in fixed:
            if self.is_throttled(channel) or self.over():
                return closed
            members = self.records.members(doc, self.found)
            closed |= self.attempt(members, [member.data for member in members], None)
        fresh = [doc.data for doc in heads.values() if not outbox.is_fixed(doc.data)]
        logged = self.records.log(channel) if groups and fresh else {}
        for step in grouping.plan(fresh, logged, self.policy, groups, self.moment()):
            docs = [heads[data["notificationId"]] for data in step.members]
            if isinstance(step, Waiting):
                self.records.postpone(docs, step.until, step.reason)
                continue
            if self.is_throttled(channel) or self.over():
                return closed
            closed |= self.send_message(channel, docs, step.key, groups)
        return closed

    def send_message(self, channel: str, docs: Sequence[Doc], key: str, groups: bool) -> set[str]:
        """Those that a silence holds back since the pass began are left out: messages before this one may take long."""
        moment = self.moment()
        ends = {doc.id: held for doc in docs if (held := self.held(doc, moment))}
        closed = {doc.id for doc in docs if doc.id in ends and self.records.close([(doc, ends[doc.id])])}
        docs = [doc for doc in docs if doc.id not in ends]
        return closed | (self.send_docs(channel, docs, key, groups) if docs else set())

    def send_docs(self, channel: str, docs: Sequence[Doc], key: str, groups: bool) -> set[str]:
        message = Message(key, tuple(doc.data for doc in docs))
        if not groups:
            return self.attempt(docs, [docs[0].data], None)
        before = self.records.log(channel)
        change = grouping.LogChange(message.key, before, grouping.logged(message, before, self.policy, self.moment()))
        return self.attempt(docs, grouping.led(message, before), change)

    def attempt(self, docs: Sequence[Doc], members: Sequence[Data], change: LogChange | None) -> set[str]:
        """Claim, send and record one message. The ids of those that are closed now."""
        owner, moment, channel = secrets.token_hex(8), self.moment(), members[0]["channel"]
        claimed = [outbox.claim(data, owner, moment) if data["open"] else data for data in members]
        ours = [data for data in claimed if data is not None]
        if len(ours) < len(claimed) or not self.records.claim(docs, ours, change):
            return set()
        reason = self.reason_to_withhold(channel)  # again: a switch may have been thrown since
        if reason is not None:
            return self.records.record(owner, ours, lambda data: outbox.withhold(data, reason, owner))
        if not outbox.may_send(ours[0], owner, self.moment()):
            return set()
        outcome = self.send(channel, ours)
        if outcome.retry_after is not None:
            self.throttled[channel] = self.app.monotonic() + outcome.retry_after
        if change is not None and outcome.result in ("retry", "dead"):  # nobody was told
            self.records.take_back(channel, change)
        moment, jitter = self.moment(), random.random()
        return self.records.record(owner, ours, lambda data: outbox.after_attempt(data, outcome, moment, jitter))

    def send(self, channel: str, claimed: Sequence[Data]) -> Outcome:
        try:
            return self.senders[channel].send(claimed)
        except Exception as error:  # noqa: BLE001 - a fault in one message must not keep all others from being sent
            log.error("a sender failed", error, notification=claimed[0]["notificationId"])
            return Outcome("unknown", "internal_error")

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

    def resolved_before_sent(self, doc: Doc, waiting: deque[Doc]) -> list[Doc]:
        """This trigger up to its resolve, if all that was over before anybody heard of it."""
        resolve_at = next((n for n, d in enumerate(waiting) if d.data["kind"] == "resolve"), None)
        if doc.data["kind"] != "trigger" or resolve_at is None:
            return []
        episode = [doc, *(waiting[n] for n in range(1, resolve_at + 1))]
        if not all(outbox.untried(d.data) for d in episode):
            return []
        if not outbox.nobody_was_told(outbox.episode_before(self.episodes.before(doc))):
            return []
        return episode

    def seconds_to_wait(self) -> float | None:
        """Until a throttled channel takes more, if that is within the budget."""
        if self.done.stopped is not None:
            return None
        now = self.app.monotonic()
        waits = [until - now for until in self.throttled.values() if now < until < self.end]
        return min(waits, default=None)


def _may_be_pointless(waiting: deque[Doc]) -> bool:
    """Whether it matters to the first of a lane what was told before it."""
    return waiting[0].data["kind"] in ("resolve", "acknowledge") or any(d.data["kind"] == "resolve" for d in waiting)

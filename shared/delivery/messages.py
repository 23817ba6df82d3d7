"""What leads its lane is put into messages; a message is claimed, sent and recorded."""

from __future__ import annotations

import random
import secrets
from collections.abc import Collection, Mapping, Sequence

from shared import log
from shared.delivery.run import Run
from shared.delivery.taken_on import taken_on
from shared.domain import grouping
from shared.domain import notification as outbox
from shared.domain.grouping import LogChange, Message, Waiting
from shared.domain.notification import Data, Outcome
from shared.notify.registry import senders
from shared.store.protocol import Doc


class Messages:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.records = run.records
        self.senders = senders(run.app)

    def send_all(self, channel: str, heads: Collection[Doc], found: Mapping[str, Doc]) -> set[str]:
        """Send these in as few messages as may be. The ids of those that are closed now.

        `found`: everything open by id.
        """
        groups = self.senders[channel].groups
        closed: set[str] = set()
        for doc in heads:
            if not outbox.is_fixed(doc.data):
                continue
            if self.run.is_throttled(channel) or self.run.over():
                return closed
            members = self.records.members(doc, found)
            closed |= self._attempt(members, [member.data for member in members], None)
        fresh = {doc.id: doc for doc in heads if not outbox.is_fixed(doc.data)}
        logged = self.records.log(channel) if groups and fresh else {}
        steps = grouping.plan((doc.data for doc in fresh.values()), logged, self.run.policy, groups, self.run.moment())
        for step in steps:
            docs = [fresh[data["notificationId"]] for data in step.members]
            if isinstance(step, Waiting):
                self.records.postpone(docs, step.until, step.reason)
                continue
            if self.run.is_throttled(channel) or self.run.over():
                return closed
            closed |= self._send_message(channel, docs, step.key, groups)
        return closed

    def _send_message(self, channel: str, docs: Sequence[Doc], key: str, groups: bool) -> set[str]:
        """Those that a silence holds back since the pass began, or whose alert somebody has taken on, are left out:
        messages before this one may take long.
        """
        moment = self.run.moment()
        taken = taken_on(self.run.store, docs)
        ends = {doc.id: outbox.cancel(doc.data, "acknowledged") for doc in docs if doc.id in taken}
        ends |= {doc.id: held for doc in docs if doc.id not in taken and (held := self.run.held(doc, moment))}
        closed = {doc.id for doc in docs if doc.id in ends and self.records.close([(doc, ends[doc.id])])}
        docs = [doc for doc in docs if doc.id not in ends]
        return closed | (self._send_docs(channel, docs, key, groups) if docs else set())

    def _send_docs(self, channel: str, docs: Sequence[Doc], key: str, groups: bool) -> set[str]:
        message = Message(key, tuple(doc.data for doc in docs))
        if not groups:
            return self._attempt(docs, [docs[0].data], None)
        before = self.records.log(channel)
        after = grouping.logged(message, before, self.run.policy, self.run.moment())
        return self._attempt(docs, grouping.led(message, before), LogChange(message.key, before, after))

    def _attempt(self, docs: Sequence[Doc], members: Sequence[Data], change: LogChange | None) -> set[str]:
        """Claim, send and record one message. The ids of those that are closed now."""
        owner, moment, channel = secrets.token_hex(8), self.run.moment(), members[0]["channel"]
        claimed = [outbox.claim(data, owner, moment) if data["open"] else data for data in members]
        ours = [data for data in claimed if data is not None]
        if len(ours) < len(claimed) or not self.records.claim(docs, ours, change):
            return set()
        reason = self.run.reason_to_withhold(channel)  # again: a switch may have been thrown since
        if reason is not None:
            return self.records.record(owner, ours, lambda data: outbox.withhold(data, reason, owner))
        if not outbox.may_send(ours[0], owner, self.run.moment()):
            return set()
        outcome = self._send(channel, ours)
        if outcome.retry_after is not None:
            self.run.throttle(channel, outcome.retry_after)
        if change is not None and outcome.result in ("retry", "dead"):  # nobody was told
            self.records.take_back(channel, change)
        moment, jitter = self.run.moment(), random.random()
        return self.records.record(owner, ours, lambda data: outbox.after_attempt(data, outcome, moment, jitter))

    def _send(self, channel: str, claimed: Sequence[Data]) -> Outcome:
        try:
            return self.senders[channel].send(claimed)
        except Exception as error:  # noqa: BLE001 - a fault in one message must not keep all others from being sent
            log.error("a sender failed", error, notification=claimed[0]["notificationId"])
            return Outcome("unknown", "internal_error")

"""First messages that later ones have outdated are brought up to date, where the channel can do that.

It comes after all that is due was sent, is no message of its own and notifies nobody: so it may fail, or be done twice,
and keeps nothing back. A record says by `outdates` that earlier messages must be looked at, until they are as they
should be, or for a day. Which ones: the first of its own thread, and of those that its firings were told in before.

One failure ends it for this run: a Slack that hangs must not use up the time of what is due.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from shared import log
from shared.delivery.episodes import Episodes
from shared.delivery.records import COLLECTION
from shared.delivery.run import Run
from shared.domain import first_message, notification
from shared.domain.first_message import Shown
from shared.domain.notification import HTTP_TIMEOUT, Data, Outcome
from shared.notify.sender import Reviser
from shared.store.protocol import Conflict, Doc, Put, Query, StoreError, compare_and_set, cursor_of, new_rev

AT_ONCE = 50  # records that are looked at in a run
LOOKED_BACK = 1000  # notifications of one message that are looked up in other threads
PAGE = 1000
MOST_TOLD = 6000  # notifications of one thread
_READ = 300  # documents a call


class FirstMessages:
    def __init__(self, run: Run, channel: str, reviser: Reviser) -> None:
        self.run = run
        self.store = run.store
        self.channel = channel
        self.reviser = reviser
        self.failed = False

    def bring_up_to_date(self) -> None:
        """Raises `StoreError`, after which it is done in a later run; what is due was sent before this."""
        marked = self._to_be_done([doc for doc in self._marked() if doc.data["channel"] == self.channel])
        if not marked:
            return
        news = {doc.path: self._outdated_by(doc) for doc in marked}
        done = {reference: self._write(reference, [news[doc.path] for doc in marked]) for reference in _in_turn(news)}
        for doc in marked:
            if all(done[reference] for reference in news[doc.path]):
                self._unmark(doc)

    def _marked(self) -> list[Doc]:
        moment = self.run.moment()
        query = Query(COLLECTION, (("outdates", "<=", moment),), (("outdates", "asc"),), AT_ONCE)
        found = self.store.query(query)
        late = [doc for doc in found if first_message.too_late(doc.data["outdates"], moment)]
        for doc in late:
            log.warning("a first message was not brought up to date for a day; it stays", notification=doc.id)
            self._unmark(doc)
        return [doc for doc in found if doc not in late]

    def _to_be_done(self, marked: Sequence[Doc]) -> list[Doc]:
        """Without those whose next try is not due: while Slack changes nothing, a minute reads little."""
        moment = self.run.moment()
        paths = {doc.path: first_message.path_of(doc.data["reference"]) for doc in marked if doc.data["reference"]}
        unique = list(dict.fromkeys(paths.values()))
        docs = self.store.get_many(unique) if unique else []
        waiting = {doc.path for doc in docs if doc is not None and (doc.data["dueAt"] or moment) > moment}
        return [doc for doc in marked if paths.get(doc.path) not in waiting]

    def _outdated_by(self, leader: Doc) -> dict[str, dict[str, Data]]:
        """Reference of a first message → what was told by this message elsewhere of its alerts, by alert."""
        own = leader.data["reference"]
        outdated: dict[str, dict[str, Data]] = {own: {}} if own else {}
        episodes = Episodes(self.store)
        members = self._members([leader], ())[:LOOKED_BACK]
        episodes.look_up(members)
        for member in members:
            firing = member.data["facts"].get("firingSeq")
            for earlier in episodes.before(member):
                reference = earlier.get("reference")
                if reference and reference != own and earlier["facts"].get("firingSeq") == firing:
                    outdated.setdefault(reference, {})[member.data["alertId"]] = member.data
        return outdated

    def _write(self, reference: str, news: Sequence[Mapping[str, Mapping[str, Data]]]) -> bool:
        """Bring one up to date; True if it is, or never can be. False leaves it to a later run."""
        if self.failed or self.run.over() or self.run.reason_to_withhold(self.channel) is not None:
            return False
        owner, moment = secrets.token_hex(8), self.run.moment()
        told = {alert_id: data for each in news for alert_id, data in each.get(reference, {}).items()}
        path = first_message.path_of(reference)
        claimed = compare_and_set(
            self.store,
            path,
            lambda doc: first_message.claimed(doc.data if doc else None, reference, self.channel, told, owner, moment),
        )
        if claimed is None:
            return False
        shown = self._shown(reference, list(claimed["elsewhere"].values()))
        if shown is None or shown.digest == claimed["shows"]:
            self._record(path, owner, first_message.let_go(claimed))
            return True
        moment = self.run.moment()
        reason = self.run.reason_to_withhold(self.channel)  # again: a switch may have been thrown since
        if reason is not None or moment + HTTP_TIMEOUT > claimed["leaseUntil"]:
            self._record(path, owner, first_message.let_go(claimed))
            return False
        outcome = self._revise(reference, shown)
        after = first_message.written(claimed, shown, outcome, self.run.moment(), random.random())
        self._record(path, owner, after)
        if outcome.result == "delivered":
            return True
        log.warning("a first message was not brought up to date", reference=reference, reason=outcome.detail)
        self.failed = outcome.result != "dead"
        return not self.failed

    def _revise(self, reference: str, shown: Shown) -> Outcome:
        try:
            return self.reviser.revise(reference, shown)
        except Exception as error:  # noqa: BLE001 - as for a message: a fault in one must not keep the others
            log.error("a first message could not be made", error, notification=shown.notification_id)
            return Outcome("unknown", "internal_error")

    def _shown(self, reference: str, elsewhere: Sequence[str]) -> Shown | None:
        """As of now, from the records: whoever comes later, with more of them, finds our lease or writes after us."""
        thread = list(self._thread(reference))
        known = {doc.id for doc in thread}
        members = self._members([doc for doc in thread if len(doc.data.get("members") or ()) > 1], known)
        told = [doc.data for doc in (*thread, *members)]
        others = self.store.get_many([f"{COLLECTION}/{name}" for name in elsewhere]) if elsewhere else []
        found = [self._with_its_leader(doc.data) for doc in others if doc is not None]
        return first_message.shown(
            (data for data in told if data["deliveredAt"] is not None),
            (data for data in found if data["deliveredAt"] is not None),
        )

    def _thread(self, reference: str) -> Iterator[Doc]:
        query = Query(COLLECTION, (("reference", "==", reference),), limit=PAGE)
        for _ in range(MOST_TOLD // PAGE):
            page = self.store.query(query)
            yield from page
            if len(page) < PAGE:
                return
            query = replace(query, after=cursor_of(page[-1], query))

    def _members(self, leaders: Sequence[Doc], known: set[str] | Sequence[str]) -> list[Doc]:
        """All that these messages tell, except what is known. A member whose end is not on record yet has the
        leader's.
        """
        found = [doc for doc in leaders if doc.id not in known]
        for leader in leaders:
            missing = [n for n in leader.data.get("members") or () if n != leader.id and n not in known]
            for n in range(0, len(missing), _READ):
                docs = self.store.get_many([f"{COLLECTION}/{name}" for name in missing[n : n + _READ]])
                found += [
                    replace(doc, data=notification.follow(doc.data, leader.data)) if doc.data["open"] else doc
                    for doc in docs
                    if doc is not None
                ]
        return found

    def _with_its_leader(self, data: Data) -> Data:
        if not data["open"] or first_message.leads(data):
            return data
        leader = self.store.get(f"{COLLECTION}/{data['groupId']}")
        return notification.follow(data, leader.data) if leader and not leader.data["open"] else data

    def _record(self, path: str, owner: str, after: Data) -> None:
        """If this is lost, the lease ends by itself, and the same text is written once more."""
        compare_and_set(self.store, path, lambda doc: after if doc and doc.data["owner"] == owner else None)

    def _unmark(self, doc: Doc) -> None:
        data = {name: value for name, value in doc.data.items() if name != "outdates"}
        try:
            self.store.commit([Put(doc.path, {**data, "rev": new_rev()}, doc.version)])
        except Conflict:
            return  # somebody else did it


def bring_up_to_date(run: Run, revisers: Mapping[str, Reviser]) -> None:
    """Whatever fails here costs a first message its news for a while, and never a run."""
    for channel, reviser in revisers.items():
        if run.over():
            return
        try:
            FirstMessages(run, channel, reviser).bring_up_to_date()
        except StoreError as error:
            log.warning("first messages could not be looked after", kind=type(error).__name__)


def _in_turn(news: Mapping[str, Mapping[str, Mapping[str, Data]]]) -> list[str]:
    """Each outdated first message once, the longest outdated first."""
    return list(dict.fromkeys(reference for outdated in news.values() for reference in outdated))

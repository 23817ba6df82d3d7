"""What leads its lane and is to be sent now; what comes to its end without being sent is closed on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from shared.delivery.episodes import Episodes
from shared.delivery.records import CHUNK, COLLECTION
from shared.delivery.run import Run
from shared.delivery.taken_on import taken_on
from shared.domain import notification as outbox
from shared.domain.notification import Data
from shared.store.protocol import Doc

Ending = list[tuple[Doc, Data]]  # items of a lane that are to be closed together, as they are to become


class Heads:
    """Of one pass. `found`: everything open by id, as the pass read it; what is closed since is put into it."""

    def __init__(self, run: Run, found: dict[str, Doc]) -> None:
        self.run = run
        self.records = run.records
        self.episodes = Episodes(run.store)
        self.found = found
        self.taken: set[str] = set()  # what asks for somebody although somebody has the alert

    def of(self, channel: str, lanes: Mapping[str, deque[Doc]]) -> dict[str, Doc]:
        """What leads each lane. One that waits or has nothing left has none; if the run is over first, none has any."""
        heads: dict[str, Doc] = {}
        while lanes and not self.run.over():
            self._look_back(channel, lanes.values())
            ends: dict[str, Ending] = {}
            for lane, waiting in lanes.items():
                first = self._first(waiting)
                if isinstance(first, Doc):
                    heads[lane] = first
                elif first is not None:
                    ends[lane] = first
            lanes = {lane: lanes[lane] for lane in self._close(ends, lanes) if lanes[lane]}
        return heads if heads and not self.run.over() else {}

    def _look_back(self, channel: str, lanes: Iterable[deque[Doc]]) -> None:
        """Look up at once what may make those that are due pointless: what was told before, and who has the alert."""
        moment = self.run.moment()
        if self.run.reason_to_withhold(channel) is None:
            due = [waiting for waiting in lanes if waiting[0].data["dueAt"] <= moment]
            self.episodes.look_up(waiting[0] for waiting in due if _may_be_pointless(waiting))
            self.taken = taken_on(self.run.store, (waiting[0] for waiting in due))

    def _first(self, waiting: deque[Doc]) -> Doc | Ending | None:
        """The lane's first item if it is to be sent now, or what is to be closed before; None if the lane waits."""
        doc, moment = waiting[0], self.run.moment()
        if moment < doc.data["dueAt"]:  # of a claimed one this is the lease's end
            return None
        own = self._on_its_own(doc)
        return own and (self._ending(own, moment, waiting) or own)

    def _close(self, ends: Mapping[str, Ending], lanes: Mapping[str, deque[Doc]]) -> list[str]:
        """Close what ends without being sent, many in one commit; the lanes that may go on.

        Where a commit fails since somebody else has changed one of them, each lane has a commit of its own.
        """
        closed: list[str] = []
        for part in _parts(ends):
            if self.records.close([change for lane in part for change in ends[lane]]):
                closed += part
            else:
                closed += [lane for lane in part if len(part) > 1 and self.records.close(ends[lane])]
        for lane in closed:
            self.found |= {was.id: replace(was, data=data) for was, data in ends[lane]}  # for those that go with them
            gone = {was.path for was, _ in ends[lane]}
            while lanes[lane] and lanes[lane][0].path in gone:
                lanes[lane].popleft()
        return closed

    def _on_its_own(self, doc: Doc) -> Doc | None:
        """An item that no message has in hand, or None. One whose message is over gets the same end."""
        name = doc.data.get("groupId")
        if name in (None, doc.id):
            return doc
        leader = self.found.get(name) or self.run.store.get(f"{COLLECTION}/{name}")
        if leader is None or doc.id not in (leader.data.get("members") or ()):
            return replace(doc, data=outbox.released(doc.data))  # the leader was never claimed: nothing was sent
        if not leader.data["open"]:
            self.records.close([(doc, outbox.follow(doc.data, leader.data))])
        return None

    def _ending(self, doc: Doc, moment: datetime, waiting: deque[Doc]) -> Ending | None:
        """What is to be closed before anything of this lane may be sent, with its end; None if nothing is."""
        data = doc.data
        expired = outbox.expire(data, moment)
        if expired is not None:
            return [(doc, expired)]
        reason = self.run.reason_to_withhold(data["channel"])
        if reason is not None:
            return [(doc, outbox.withhold(data, reason))]
        if not outbox.is_fixed(data):  # what may have arrived is brought to its end
            if doc.id in self.taken:
                return [(doc, outbox.cancel(data, "acknowledged"))]
            held = self.run.held(doc, moment)
            if held is not None:
                return [(doc, held)]
        if data["kind"] in ("resolve", "acknowledge") and outbox.resolve_is_pointless(self.episodes.before(doc)):
            return [(doc, outbox.cancel(data, "trigger_not_sent"))]
        is_over = any(later.data["kind"] == "resolve" for later in waiting)
        if is_over and data["kind"] in ("repeat", "acknowledge") and outbox.untried(data):
            return [(doc, outbox.cancel(data, "resolved_before_sent"))]
        over_already = self._resolved_before_sent(doc, waiting)
        return [(d, outbox.cancel(d.data, "resolved_before_sent")) for d in over_already] or None

    def _resolved_before_sent(self, doc: Doc, waiting: deque[Doc]) -> list[Doc]:
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


def _may_be_pointless(waiting: deque[Doc]) -> bool:
    """Whether it matters to the first of a lane what was told before it."""
    return waiting[0].data["kind"] in ("resolve", "acknowledge") or any(d.data["kind"] == "resolve" for d in waiting)


def _parts(ends: Mapping[str, Ending]) -> Iterator[list[str]]:
    """Lanes whose items fit into one commit."""
    part: list[str] = []
    size = 0
    for lane, ending in ends.items():
        if part and size + len(ending) > CHUNK:
            yield part
            part, size = [], 0
        part.append(lane)
        size += len(ending)
    if part:
        yield part

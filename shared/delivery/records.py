"""The commits of delivery: claims, outcomes and ends of notifications, and the log of each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from shared import log
from shared.domain import grouping
from shared.domain.grouping import LogChange
from shared.domain.notification import Data
from shared.store.protocol import Conflict, Doc, Put, Store, Unavailable, Write, compare_and_set, new_rev, over

COLLECTION = "notifications"
LOGS = "delivery"  # one document a channel
CHUNK = 300  # notifications a commit: with 25 attempts each they fit into its bytes
RECORD_TRIES = 3

After = Callable[[Data], Data]


class DeliveryRecords:
    """`tell` is given each notification that was closed, or put off after an attempt."""

    def __init__(self, store: Store, tell: Callable[[Data], None]) -> None:
        self.store = store
        self.tell = tell
        self._logs: dict[str, Doc | None] = {}

    def log(self, channel: str) -> Data:
        """What the channel has sent lately, as `shared/domain/grouping.py` has it."""
        if channel not in self._logs:
            self._logs[channel] = self.store.get(f"{LOGS}/{channel}")
        doc = self._logs[channel]
        return doc.data if doc else {}

    def members(self, leader: Doc, found: Mapping[str, Doc]) -> list[Doc]:
        """The documents of a leader's message, itself first; those that are gone are left out."""
        others = [name for name in leader.data.get("members") or () if name != leader.id]
        missing = [f"{COLLECTION}/{name}" for name in others if name not in found]
        read = {doc.id: doc for doc in (self.store.get_many(missing) if missing else ()) if doc}
        known = {name: found.get(name) or read.get(name) for name in others}
        return [leader, *(doc for doc in known.values() if doc is not None)]

    def claim(self, docs: Sequence[Doc], claimed: Sequence[Data], change: LogChange | None) -> bool:
        """Commit a claim: False if somebody else was faster, and then what was claimed so far is free after its lease.

        The leader comes last: only a leader that is claimed stands for its members. What is closed stays as it is.
        """
        changes = [(doc, data) for doc, data in zip(docs, claimed, strict=True) if data["open"]]
        log_writes: list[Write] = []
        if change is not None:
            channel = claimed[0]["channel"]
            log_writes = [over(self._logs.pop(channel, None), f"{LOGS}/{channel}", change.after)]
        first, *rest = [changes[n : n + CHUNK] for n in range(0, len(changes), CHUNK)]
        return all(self._write(chunk) for chunk in rest) and self._write(first, log_writes)

    def take_back(self, channel: str, change: LogChange) -> None:
        """Take from the channel's log what a claim put in, because the message surely did not arrive."""

        def decide(doc: Doc | None) -> Data | None:
            return grouping.taken_back(doc.data, change) if doc else None

        self._logs.pop(channel, None)
        try:
            compare_and_set(self.store, f"{LOGS}/{channel}", decide)
        except (
            Conflict,
            Unavailable,
        ) as error:  # the outcome itself matters more: at worst something waits an interval
            log.warning("a message that did not arrive stays in the channel's log", kind=type(error).__name__)

    def record(self, owner: str, claimed: Sequence[Data], after: After) -> set[str]:
        """Commit what became of a claimed message. Tries hard: if this is lost, the message is sent a second time.

        The ids of those that are closed now.
        """
        ours = [data for data in claimed if data["owner"] == owner]
        if len(ours) == 1:
            recorded = self._record_one(owner, ours[0], after)
        else:
            recorded = []
            for n in range(0, len(ours), CHUNK):
                part = self._record_several(owner, ours[n : n + CHUNK], after)
                if not part:
                    break
                recorded += part
        if not recorded:
            log.warning("a lease ended before its outcome was recorded", notification=ours[0]["notificationId"])
        for data in recorded:
            self.tell(data)
        return {data["notificationId"] for data in recorded if not data["open"]}

    def _record_one(self, owner: str, claimed: Data, after: After) -> list[Data]:
        data = after(claimed)

        def decide(doc: Doc | None) -> Data | None:
            return data if doc is not None and doc.data["owner"] == owner else None

        for last in (False,) * (RECORD_TRIES - 1) + (True,):
            try:
                written = compare_and_set(self.store, f"{COLLECTION}/{claimed['notificationId']}", decide)
                return [data] if written is not None else []
            except Unavailable:
                if last:
                    raise
        return []

    def _record_several(self, owner: str, claimed: Sequence[Data], after: After) -> list[Data]:
        """All in one commit; those that somebody else has claimed since are left to him."""
        outcomes = {data["notificationId"]: after(data) for data in claimed}
        paths = [f"{COLLECTION}/{name}" for name in outcomes]
        rev, unanswered = new_rev(), 0
        while True:
            try:
                docs = [doc for doc in self.store.get_many(paths) if doc is not None]
                done = [outcomes[doc.id] for doc in docs if doc.data.get("rev") == rev]
                mine = [doc for doc in docs if doc.data["owner"] == owner]
                if done or not mine:
                    return done
                self.store.commit([Put(doc.path, {**outcomes[doc.id], "rev": rev}, doc.version) for doc in mine])
                return [outcomes[doc.id] for doc in mine]
            except Conflict:
                continue  # who changed one of these has claimed it, so that fewer are left
            except Unavailable:
                unanswered += 1
                if unanswered == RECORD_TRIES:
                    raise

    def close(self, changes: Sequence[tuple[Doc, Data]]) -> bool:
        """Commit items that end without being sent."""
        if not self._write(changes):
            return False
        for _, data in changes:
            self.tell(data)
        return True

    def postpone(self, docs: Sequence[Doc], until: datetime, reason: str) -> None:
        """Put these off, and say why."""
        waits = {"reason": reason, "until": until}
        for n in range(0, len(docs), CHUNK):
            self._write([(doc, {**doc.data, "dueAt": until, "waitsFor": waits}) for doc in docs[n : n + CHUNK]])

    def _write(self, changes: Sequence[tuple[Doc, Data]], more: Sequence[Write] = ()) -> bool:
        """Replace documents as they were read, all or none; False if another run was faster."""
        rev = new_rev()
        try:
            self.store.commit([*(Put(doc.path, {**data, "rev": rev}, doc.version) for doc, data in changes), *more])
        except Conflict:
            return False
        except Unavailable:
            found = self.store.get(changes[0][0].path)
            return found is not None and found.data.get("rev") == rev
        return True

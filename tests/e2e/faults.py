"""Planted faults: stores that break the promise, each in one way that does not show unless the process is killed.

With them the kill test proves that it can fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shared.store.protocol import Create, Delete, Doc, Put, Query, Store, Write
from tests.e2e.test_delivery import Wrapped


class _Late(Wrapped):
    """Says that writes of one kind are committed, and makes them at its next call."""

    def __init__(self, inner: Store, is_late: Callable[[Write], bool]) -> None:
        super().__init__(inner)
        self._is_late = is_late
        self._late: list[Write] = []

    def _catch_up(self) -> None:
        late, self._late = self._late, []
        if late:
            self.inner.commit(late)

    def get(self, path: str) -> Doc | None:
        self._catch_up()
        return self.inner.get(path)

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self._catch_up()
        return self.inner.get_many(paths)

    def query(self, query: Query) -> list[Doc]:
        self._catch_up()
        return self.inner.query(query)

    def commit(self, writes: Sequence[Write]) -> None:
        self._catch_up()
        now = [write for write in writes if not self._is_late(write)]
        self._late = [write for write in writes if self._is_late(write)]
        if now:
            self.inner.commit(now)


class _SegmentsDeletedWhenRead(Wrapped):
    """Deletes segments before what is in them is in the blocks."""

    def query(self, query: Query) -> list[Doc]:
        found = self.inner.query(query)
        if query.collection == "segments" and found:
            self.inner.commit([Delete(doc.path) for doc in found])
        return found


class _NewIds(Wrapped):
    """A message that may have been sent before goes out under another id."""

    def query(self, query: Query) -> list[Doc]:
        found = self.inner.query(query)
        return [self._renamed(doc) if doc.data.get("state") == "sending" else doc for doc in found]

    def _renamed(self, doc: Doc) -> Doc:
        return replace(doc, data={**doc.data, "notificationId": f"{doc.id}-again"})


class _Changed(Wrapped):
    """Changes documents on their way into the store."""

    def __init__(self, inner: Store, change: Callable[[Create | Put], Create | Put]) -> None:
        super().__init__(inner)
        self._change = change

    def commit(self, writes: Sequence[Write]) -> None:
        self.inner.commit([self._change(w) if isinstance(w, Create | Put) else w for w in writes])


def _without_receipts(write: Create | Put) -> Create | Put:
    return replace(write, data={**write.data, "receipts": b""}) if "/m5/" in write.path else write


def _is_new_notification(write: Write) -> bool:
    return isinstance(write, Create) and write.path.startswith("notifications/")


def _delivered_when_claimed(write: Create | Put) -> Create | Put:
    if write.data.get("state") != "sending":
        return write
    return replace(write, data={**write.data, "state": "delivered", "open": False, "dueAt": None})


@dataclass(frozen=True)
class Fault:
    """`wrap` plants it. Killed after the first call named `shows_after`, what begins with `breaks` is found broken."""

    wrap: Callable[[Store], Store]
    shows_after: str
    breaks: str


_TRANSITION = (
    "commit +alert_firings/*, +alerts/*, +incidents/*, +incidents/*/audit/*, +notifications/*, +runs/alertRules"
)
_CLAIM = "commit +delivery/*, +notifications/*"

FAULTS = {
    "a batch is acknowledged before it is stored": Fault(
        lambda store: _Late(store, lambda write: "/segments/" in write.path), "fetch the scheduler's keys", "blocks"
    ),
    "segments are deleted before they are folded": Fault(_SegmentsDeletedWhenRead, "query segments by path", "blocks"),
    "a block forgets which batches it holds": Fault(
        lambda store: _Changed(store, _without_receipts), "commit +ops_metrics/*/m5/*", "blocks"
    ),
    "an alert is committed before its notifications": Fault(
        lambda store: _Late(store, _is_new_notification), _TRANSITION, "notifications"
    ),
    "a notification is called delivered before it is sent": Fault(
        lambda store: _Changed(store, _delivered_when_claimed), _CLAIM, "messages shown"
    ),
    "a notification gets a new id when it is sent again": Fault(_NewIds, "post to Slack", "messages shown"),
}

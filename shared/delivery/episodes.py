"""What a lane was told of a firing before one of its notifications, looked up for many at once.

A storm ends as it began: thousands of alerts clear in one minute. A look-up for each by itself would use up the time of
a run before its first message, in every run anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.delivery.records import COLLECTION
from shared.domain.notification import MOST_EARLIER, Data, ids_before
from shared.store.protocol import Doc, Query, Store

AT_ONCE = 300  # documents a call


class Episodes:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._before: dict[str, list[Data]] = {}

    def look_up(self, docs: Iterable[Doc]) -> None:
        """Read what came before each of these, as of now; what was looked up earlier is forgotten."""
        self._before = self._read(docs)

    def before(self, doc: Doc) -> list[Data]:
        """The lane's notifications before this one, the latest first: those of its firing, where that is known."""
        if doc.id not in self._before:
            self._before |= self._read([doc])
        known = self._before.get(doc.id)
        return self._latest(doc) if known is None else known

    def _read(self, docs: Iterable[Doc]) -> dict[str, list[Data]]:
        ids = {doc.id: names for doc in docs if (names := ids_before(doc.data)) is not None}
        wanted = list(dict.fromkeys(f"{COLLECTION}/{name}" for names in ids.values() for name in names))
        found: dict[str, Data] = {}
        for n in range(0, len(wanted), AT_ONCE):
            found |= {doc.id: doc.data for doc in self._store.get_many(wanted[n : n + AT_ONCE]) if doc is not None}
        return {of: [found[name] for name in names if name in found] for of, names in ids.items()}

    def _latest(self, doc: Doc) -> list[Data]:
        lane, seq = doc.data["lane"], doc.data["seq"]
        query = Query(COLLECTION, (("lane", "==", lane), ("seq", "<", seq)), (("seq", "desc"),), MOST_EARLIER)
        return [earlier.data for earlier in self._store.query(query)]

"""The admins' notification centre: what has arrived, and what each person has read of it.

`inbox_readers/{digest of the uid}` says it for one person: everything that arrived until `readUntil`, and of what came
later the ids in `read`. So it takes one document a person, however many notifications there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from shared.domain.notification import RETENTION
from shared.notify.inapp import COLLECTION
from shared.store.protocol import Data, Doc, Query, Store, compare_and_set, cursor_of

READERS = "inbox_readers"
MOST_IDS = 2000  # of one person's `read`
MOST_SCANNED = 500  # documents of one answer
_PAGE = 100


class TooManyRead(Exception):
    """There is no room for another id: what came until some moment has to be marked as a whole."""


class Unknown(Exception):
    """There is no such notification, or it has expired."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one person has read."""

    until: datetime | None
    ids: Mapping[str, datetime]

    def has(self, doc: Doc) -> bool:
        return (self.until is not None and doc.data["arrivedAt"] <= self.until) or doc.id in self.ids


@dataclass(frozen=True, slots=True)
class Page:
    """Each document with whether it is read, the latest first. `after`: where to go on, or None."""

    shown: list[tuple[Doc, bool]]
    unread: int
    after: tuple[Any, ...] | None


def reading_of(store: Store, uid: str) -> Reading:
    return _reading(store.get(_path(uid)))


def page(
    store: Store, uid: str, now: datetime, *, unread_only: bool, limit: int, after: tuple[Any, ...] | None
) -> Page:
    """Raises `StoreError`. A page of unread ones may be short although more follow: at most 500 are looked through."""
    reading = reading_of(store, uid)
    begin = _begin(reading, now) if unread_only else now - RETENTION
    query = Query(COLLECTION, (("arrivedAt", ">", begin),), (("arrivedAt", "desc"),), _PAGE, after)
    shown: list[tuple[Doc, bool]] = []
    place: tuple[Any, ...] | None = None
    for _ in range(MOST_SCANNED // _PAGE):
        docs = store.query(query)
        for doc in docs:
            read = reading.has(doc)
            if read and unread_only:
                continue
            if len(shown) == limit:
                return Page(shown, _unread(store, reading, now), cursor_of(shown[-1][0], query))
            shown.append((doc, read))
        if len(docs) < _PAGE:
            return Page(shown, _unread(store, reading, now), None)
        place = cursor_of(docs[-1], query)
        query = Query(COLLECTION, query.where, query.order, _PAGE, place)
    return Page(shown, _unread(store, reading, now), place)


def mark_read(store: Store, uid: str, notification_id: str, now: datetime) -> int:
    """Mark one; how many are unread then. Raises `Unknown`, `TooManyRead`, `StoreError`."""
    doc = _known(store, notification_id, now)

    def decide(found: Doc | None) -> Data | None:
        reading = _reading(found)
        if reading.has(doc):
            return None
        ids = {**_kept(reading, now), doc.id: doc.data["arrivedAt"]}
        if len(ids) > MOST_IDS:
            raise TooManyRead
        return _data(reading.until, ids, now)

    compare_and_set(store, _path(uid), decide)
    return _unread(store, reading_of(store, uid), now)


def mark_read_until(store: Store, uid: str, notification_id: str, now: datetime) -> int:
    """Mark one and all that arrived before it; how many are unread then. Raises `Unknown`, `StoreError`."""
    until = _known(store, notification_id, now).data["arrivedAt"]

    def decide(found: Doc | None) -> Data | None:
        reading = _reading(found)
        if reading.until is not None and until <= reading.until:
            return None
        return _data(until, {i: at for i, at in _kept(reading, now).items() if at > until}, now)

    compare_and_set(store, _path(uid), decide)
    return _unread(store, reading_of(store, uid), now)


def _known(store: Store, notification_id: str, now: datetime) -> Doc:
    doc = store.get(f"{COLLECTION}/{notification_id}")
    if doc is None or doc.data["expireAt"] <= now:
        raise Unknown
    return doc


def _unread(store: Store, reading: Reading, now: datetime) -> int:
    begin = _begin(reading, now)
    arrived = store.count(Query(COLLECTION, (("arrivedAt", ">", begin),), (("arrivedAt", "desc"),)))
    return max(0, arrived - sum(at > begin for at in reading.ids.values()))


def _begin(reading: Reading, now: datetime) -> datetime:
    """What arrived until then is read, or has expired."""
    kept = now - RETENTION
    return kept if reading.until is None else max(kept, reading.until)


def _kept(reading: Reading, now: datetime) -> dict[str, datetime]:
    return {name: at for name, at in reading.ids.items() if at > now - RETENTION}


def _reading(doc: Doc | None) -> Reading:
    return Reading(doc.data["readUntil"], doc.data["read"]) if doc else Reading(None, {})


def _data(until: datetime | None, ids: Mapping[str, datetime], now: datetime) -> Data:
    return {"readUntil": until, "read": dict(ids), "expireAt": now + RETENTION}


def _path(uid: str) -> str:
    """A uid may hold what no document's name may."""
    return f"{READERS}/{blake2b(uid.encode(), digest_size=16).hexdigest()}"

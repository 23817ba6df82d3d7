"""Silences as the store has them: one document each, `silences/{id}`, found by their end."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.domain.matcher import Matcher
from shared.domain.silence import Silence
from shared.store.protocol import Conflict, Create, Data, Doc, Query, Store, Unavailable, compare_and_set, new_rev

COLLECTION = "silences"
MOST = 500  # at a time that have not ended
KEPT = timedelta(days=90)  # after the end


class KeyReused(Exception):
    """Another silence was made with the same key."""


class TooMany(Exception):
    """There is no room for another one."""


def not_ended(store: Store, now: datetime) -> list[Silence]:
    """Those that have not ended, also those that begin later; the first to end comes first."""
    query = Query(COLLECTION, (("endsAt", ">", now),), (("endsAt", "asc"),), MOST)
    return [silence_of(doc) for doc in store.query(query)]


def silences_in_force(store: Store, now: datetime) -> list[Silence]:
    return [one for one in not_ended(store, now) if one.in_force(now)]


def ended(store: Store, now: datetime, limit: int) -> list[Silence]:
    """The last ones that ended, the latest first."""
    query = Query(COLLECTION, (("endsAt", "<=", now),), (("endsAt", "desc"),), limit)
    return [silence_of(doc) for doc in store.query(query)]


def one_silence(store: Store, name: str) -> Silence | None:
    doc = store.get(f"{COLLECTION}/{name}")
    return silence_of(doc) if doc else None


def add(store: Store, wanted: Silence, request: str | None, now: datetime) -> tuple[Silence, bool]:
    """Put it in force. One of the same id and request is left as it is: that one, and True.

    `request`: a digest of what was asked for, where the id was made of a key.
    Raises `KeyReused`, `TooMany`, `StoreError`.
    """
    path = f"{COLLECTION}/{wanted.id}"
    if len(not_ended(store, now)) >= MOST:
        raise TooMany
    data = _data(wanted, request)
    try:
        store.commit([Create(path, data)])
    except (Conflict, Unavailable) as error:
        found = store.get(path)
        if found is None:
            raise
        if found.data["rev"] == data["rev"]:
            return wanted, False
        if isinstance(error, Conflict) and (request is None or found.data["request"] != request):
            raise KeyReused from None
        return silence_of(found), True
    return wanted, False


def expire(store: Store, name: str, now: datetime) -> Silence | None:
    """End it now; None if there is none of this id. One that has ended stays as it is. Raises `StoreError`."""
    found: list[Silence] = []

    def decide(doc: Doc | None) -> Data | None:
        found[:] = [silence_of(doc)] if doc else []
        if doc is None or doc.data["expiredAt"] is not None or doc.data["endsAt"] <= now:
            return None
        after = {**doc.data, "endsAt": now, "expiredAt": now, "expireAt": now + KEPT}
        found[:] = [_of(doc.id, after)]
        return after

    compare_and_set(store, f"{COLLECTION}/{name}", decide)
    return found[0] if found else None


def silence_of(doc: Doc) -> Silence:
    return _of(doc.id, doc.data)


def _of(name: str, data: Data) -> Silence:
    return Silence(
        id=name,
        matchers=tuple(Matcher(m["name"], m["operator"], m["value"]) for m in data["matchers"]),
        starts_at=data["startsAt"],
        ends_at=data["endsAt"],
        created_by=data["createdBy"],
        created_at=data["createdAt"],
        comment=data["comment"],
        expired_at=data["expiredAt"],
    )


def _data(one: Silence, request: str | None) -> Data:
    return {
        "matchers": [{"name": m.name, "operator": m.operator, "value": m.value} for m in one.matchers],
        "startsAt": one.starts_at,
        "endsAt": one.ends_at,
        "createdBy": one.created_by,
        "createdAt": one.created_at,
        "comment": one.comment,
        "expiredAt": one.expired_at,
        "request": request,
        "expireAt": one.ends_at + KEPT,
        "rev": new_rev(),
    }

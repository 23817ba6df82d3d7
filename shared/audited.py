"""Documents that people change: each change is one commit of the document, its audit entry, and the request's key.

`{path}/audit/{n}` holds who changed what and when, as it was before and as it is after. Entries are created and never
written again; their numbers have no gap, because the document counts them and is compared-and-set in the same commit.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from shared import log
from shared.store.protocol import (
    Conflict,
    Create,
    Data,
    Doc,
    Put,
    Query,
    Store,
    StoreError,
    Unavailable,
    Write,
    new_rev,
    over,
)

KEEP_KEYS = timedelta(days=7)
ATTEMPTS = 200  # many people at once, and each attempt that fails is another one's success
_UNANSWERED = 3  # commits in a row, each of which may take the whole deadline
_FRAME = ("rev", "auditSeq", "updatedAt")  # change with everything else, and say nothing

NO_REV = "0" * 16  # of a document that is not there yet

Decide = Callable[[Data | None], Data | None]


class Missing(Exception):
    """There is no such document."""


@dataclass
class Changed(Exception):
    """The document is not as the caller has seen it; `rev` is what it is now."""

    rev: str


class KeyReused(Exception):
    """Another request was made with the same key."""


@dataclass(frozen=True, slots=True)
class Key:
    """An Idempotency-Key: `id` is the caller's and the route's, `digest` that of the body."""

    id: str
    digest: str

    @property
    def path(self) -> str:
        return f"idempotency/{self.id}"


def key_of(caller: str, method: str, path: str, given: str, body: bytes) -> Key:
    def digest(*parts: bytes) -> str:
        return blake2b(b"\0".join(parts), digest_size=16).hexdigest()

    return Key(digest(caller.encode(), f"{method} {path}".encode(), given.encode()), digest(body))


@dataclass(frozen=True, slots=True)
class Intent:
    """Who wants what, and when. `rev`: of the document as the caller has seen it; None overwrites whatever there is."""

    action: str
    by: str
    at: datetime
    rev: str | None = None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """The document after the change; `repeated`: the change was made by an earlier request with the same key."""

    path: str
    data: Data
    repeated: bool = False


def change(
    store: Store,
    path: str,
    decide: Callable[[Data], Data | None],
    intent: Intent,
    *,
    more: Callable[[Data], tuple[Data, Sequence[Write]]] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Edited:
    """Replace the document by `decide(data)`, reading and deciding again on conflict; None leaves it.

    `more` fits the new data into a document, and gives what has to be written beside it. Raises `Missing`, `Changed`,
    `KeyReused`, whatever `decide` raises, and `StoreError`.
    """

    def of(doc: Doc | None) -> Data | None:
        if doc is None:
            raise Missing(path)
        _check_version(doc, intent)
        return decide(doc.data)

    return _settle(store, path, of, intent, more, pause)


def create(
    store: Store,
    path: str,
    data: Data,
    intent: Intent,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Edited:
    """A document at a path that nobody has: the same one however often it is tried, so that a commit which lands late
    makes no second one. Raises `KeyReused` and `StoreError`.
    """

    def of(doc: Doc | None) -> Data:
        if doc is not None:
            raise Conflict(f"{doc.path} is taken")
        return data

    return _settle(store, path, of, intent, None, pause)


def put(
    store: Store,
    path: str,
    decide: Decide,
    intent: Intent,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Edited:
    """As `change`, for a document that may not be there yet; then its version is `NO_REV`."""

    def of(doc: Doc | None) -> Data | None:
        _check_version(doc, intent)
        return decide(doc.data if doc else None)

    return _settle(store, path, of, intent, None, pause)


def rev_of(doc: Doc | None) -> str:
    """The version as it is told; of one that people made by hand, and of none, `NO_REV`."""
    found: str = (doc.data.get("rev") or NO_REV) if doc else NO_REV
    return found


def _check_version(doc: Doc | None, intent: Intent) -> None:
    if intent.rev is not None and intent.rev != rev_of(doc):
        raise Changed(rev_of(doc))


def _settle(
    store: Store,
    path: str,
    decide: Callable[[Doc | None], Data | None],
    intent: Intent,
    more: Callable[[Data], tuple[Data, Sequence[Write]]] | None,
    pause: Callable[[float], None],
) -> Edited:
    mark = new_rev()  # of this request: whoever finds it in an entry of the audit knows that it took effect
    lost: list[str] = []  # entries of commits whose reply did not come
    unanswered = 0
    for attempt in range(ATTEMPTS):
        # 1. The document, and only then the key: an earlier request that is in the document has left its key.
        doc = store.get(path)
        known = store.get(intent.key.path) if intent.key else None
        if known is not None and intent.key is not None and known.data["expireAt"] > intent.at:
            if known.data["digest"] != intent.key.digest:
                raise KeyReused
            if known.data["mark"] != mark:
                return _found(store, known.data["document"], repeated=True)
        for entry in lost:
            landed = store.get(entry)
            if landed is not None and landed.data["mark"] == mark:
                return _found(store, entry.rpartition("/audit/")[0])
        # 2. What becomes of it.
        after = decide(doc)
        if after is None:
            return Edited(path, doc.data if doc else {})
        after, beside = more(after) if more else (after, ())
        document, logged = audited(doc, path, after, intent, mark)
        writes: list[Write] = [*beside, document, logged]
        if intent.key is not None:
            remembered = {"digest": intent.key.digest, "document": path, "mark": mark}
            times = {"createdAt": intent.at, "expireAt": intent.at + KEEP_KEYS}
            writes.append(over(known, intent.key.path, {**remembered, **times}))
        # 3. All of it, or nothing.
        try:
            store.commit(writes)
            return Edited(path, document.data)
        except Conflict:
            unanswered = 0
        except Unavailable:
            unanswered += 1
            if unanswered == _UNANSWERED:
                raise
            lost.append(logged.path)
        pause(random.uniform(0, min(0.1, 0.005 * 2 ** min(attempt, 5))))
    raise Conflict(f"{path} kept changing: {ATTEMPTS} attempts")


def audited(
    doc: Doc | None, path: str, after: Data, intent: Intent, mark: str | None = None
) -> tuple[Create | Put, Create]:
    """The writes of a change: the document, and the entry of its audit log."""
    before = doc.data if doc else {}
    n = int(before.get("auditSeq") or 0) + 1
    was, now = difference(before, after)
    logged: Data = {
        "n": n,
        "action": intent.action,
        "by": intent.by,
        "at": intent.at,
        "before": was,
        "after": now,
        "mark": mark or new_rev(),
    }
    return over(doc, path, {**after, "auditSeq": n, "rev": new_rev()}), Create(f"{path}/audit/{n:08d}", logged)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Data, Data]:
    """The fields that differ, as they were and as they are. Of a timeline only what is new: the rest never changes."""
    names = [n for n in {**before, **after} if n not in _FRAME and before.get(n) != after.get(n)]
    was = {name: before.get(name) for name in names if name in before}
    now = {name: after.get(name) for name in names}
    if "updates" in now and "updates" in was:
        kept = len(was.pop("updates") or ())
        moved = int(after.get("earlierUpdates") or 0) - int(before.get("earlierUpdates") or 0)
        now["updates"] = after["updates"][max(0, kept - moved) :]
    return was, now


def once(store: Store, key: Key, act: Callable[[], Data], now: datetime) -> tuple[Data | None, bool]:
    """What `act` told, and whether it was an earlier request with the same key that did it.

    For what happens outside the store: it is begun once at most. None: it was begun, and nobody knows (yet) what came
    of it. Raises `KeyReused`, `StoreError`, and what `act` raises.
    """
    known = store.get(key.path)
    if known is not None and known.data["expireAt"] > now:
        if known.data["digest"] != key.digest:
            raise KeyReused
        return known.data.get("told"), True
    begun: Data = {
        "digest": key.digest, "document": None, "mark": new_rev(), "told": None,
        "createdAt": now, "expireAt": now + KEEP_KEYS,
    }  # fmt: skip
    try:
        store.commit([over(known, key.path, begun)])
    except (Conflict, Unavailable):  # another one with this key was faster, or the reply was lost
        found = store.get(key.path)
        if found is None:
            raise
        if found.data["mark"] != begun["mark"]:
            if found.data["digest"] != key.digest:
                raise KeyReused from None
            return found.data.get("told"), True
    told = act()
    try:
        store.commit([Put(key.path, {**begun, "told": told})])
    except StoreError as error:  # who asks again hears that it was begun
        log.warning("what came of a request with a key could not be noted", kind=type(error).__name__)
    return told, False


def entries(store: Store, path: str, limit: int, after: str | None = None) -> tuple[list[Data], str | None]:
    """Entries of the audit log, the first first, and the cursor of the next page."""
    place = (f"{path}/audit/{after}",) if after else None
    query = Query(f"{path}/audit", limit=limit + 1, after=place)
    docs = store.query(query)
    found = docs[:limit]
    return [doc.data for doc in found], found[-1].id if len(docs) > limit else None


def _found(store: Store, path: str, *, repeated: bool = False) -> Edited:
    doc = store.get(path)
    if doc is None:
        raise Missing(path)
    return Edited(path, doc.data, repeated)

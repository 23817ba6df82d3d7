"""Usage that could not be booked, in `usage_quarantine` for 90 days: who is erased must not be named there either.

What can be read stays as usage of nobody, with its counts, so that it can still be booked by hand. In what cannot be
read the name is written over wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from shared.domain.usage import Usage
from shared.store.protocol import Data, Doc, Query, Store, compare_and_set, cursor_of
from shared.usage.segments import QUARANTINE, decode, encode

PAGE = 20
NOBODY = "(erased)"
LEAST_BYTES = 8  # of a name that is written over wherever it stands: a shorter one may be anything


def kept_of(store: Store, uid: str) -> list[Data]:
    """What is quarantined of a user and can be read, for an export."""
    found = []
    for doc in documents_of(store, QUARANTINE, PAGE):
        for usage in _readable(doc.data["payload"]) or ():
            if usage.uid == uid:
                found.append(
                    {
                        "requestId": usage.request_id,
                        "time": usage.at.isoformat(),
                        "provider": usage.provider,
                        "model": usage.model,
                        "plan": usage.plan,
                        "tokens": usage.tokens.values(),
                    }
                )
    return found


def erase_from_quarantine(store: Store, uid: str) -> int:
    """How many segments named the user. Again, or after a kill, it goes on; raises `StoreError`."""

    def scrubbed(doc: Doc | None) -> Data | None:
        if doc is None:  # its time was over
            return None
        payload = without(doc.data["payload"], uid)
        return None if payload == doc.data["payload"] else {**doc.data, "payload": payload}

    return sum(compare_and_set(store, doc.path, scrubbed) is not None for doc in documents_of(store, QUARANTINE, PAGE))


def without(payload: bytes, uid: str) -> bytes:
    """A segment's payload without the user's name; the same where it is not in it."""
    usages = _readable(payload)
    if usages is not None:
        if not any(usage.uid == uid for usage in usages):
            return payload
        return encode([_of_nobody(usage) if usage.uid == uid else usage for usage in usages])
    name = uid.encode()
    over = b"*" * len(name)
    payload = payload.replace(msgspec.msgpack.encode(uid), msgspec.msgpack.encode(over.decode()))
    return payload.replace(name, over) if len(name) >= LEAST_BYTES else payload


def _of_nobody(usage: Usage) -> Usage:
    """The request's id may tell a person too; a hash of it still names the call once."""
    return replace(usage, uid=NOBODY, request_id=f"erased-{usage.receipt.hex()}")


def _readable(payload: bytes) -> list[Usage] | None:
    try:
        return decode(payload)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
        return None


def documents_of(store: Store, collection: str, page_of: int) -> Iterator[Doc]:
    """Every document of a collection, so many a query."""
    query = Query(collection, limit=page_of)
    while True:
        page = store.query(query)
        yield from page
        if len(page) < page_of:
            return
        query = Query(collection, limit=page_of, after=cursor_of(page[-1], query))

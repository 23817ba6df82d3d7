"""The batch path of usage: requests append, costRollup books.

`usage_segments/{id}` holds the calls of one group commit; it is deleted once every user's part is booked, so that one
that is there is unfinished work. Booked twice, a call meets its receipt.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from shared import log
from shared.domain.account_work import Record
from shared.domain.usage import Tokens, Usage
from shared.store.protocol import Create, Delete, Doc, InvalidWrite, Query, Store, Unavailable
from shared.turns import Turns
from shared.usage.accounts import Accounts, Erasing

COLLECTION = "usage_segments"
QUARANTINE = "usage_quarantine"
PAGE = 50  # segments
MOST_CALLS = 2000  # in a segment: some 250 bytes each
KEPT = timedelta(days=90)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Call(msgspec.Struct, array_like=True):
    request_id: str
    uid: str
    provider: str
    model: str
    at_us: int
    tokens: list[int]
    plan: str | None
    tier: str
    duration_ms: int


_decoder = msgspec.msgpack.Decoder(list[_Call])


class UsageLog:
    """`append` returns when the calls are stored, and raises `StoreError` if that is not known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: Turns[Sequence[Usage]] = Turns(_size_of_group, self._write)

    def append(self, usages: Sequence[Usage]) -> None:
        self._turns.run("", usages)

    def _write(self, _: str, group: Sequence[Sequence[Usage]]) -> None:
        path = f"{COLLECTION}/{secrets.token_hex(10)}"
        try:
            self._store.commit([Create(path, {"payload": encode([usage for part in group for usage in part])})])
        except Unavailable:
            if self._store.get(path) is None:  # a lost reply is a success
                raise


def _size_of_group(waiting: Sequence[Sequence[Usage]]) -> int:
    calls = 0
    for size, usages in enumerate(waiting):
        calls += len(usages)
        if size and calls > MOST_CALLS:
            return size
    return len(waiting)


def encode(usages: Sequence[Usage]) -> bytes:
    return msgspec.msgpack.encode(
        [
            _Call(
                u.request_id, u.uid, u.provider, u.model, (u.at - _EPOCH) // timedelta(microseconds=1),
                u.tokens.values(), u.plan, u.tier, u.duration_ms,
            )
            for u in usages
        ]
    )  # fmt: skip


def decode(payload: bytes) -> list[Usage]:
    """Raises `msgspec.DecodeError` or `TypeError` for what no instance of ours wrote."""
    return [
        Usage(
            c.request_id, c.uid, c.provider, c.model, _EPOCH + timedelta(microseconds=c.at_us),
            Tokens(*c.tokens), c.plan, c.tier, c.duration_ms,
        )
        for c in _decoder.decode(payload)
    ]  # fmt: skip


def fold_usage(
    store: Store,
    accounts: Accounts,
    tell: Callable[[Sequence[Usage]], None],
    now: datetime,
    may_go_on: Callable[[], bool],
) -> dict[str, Any]:
    """Book all that waits. `tell` is given what was booked, before its segment is deleted. Raises `StoreError`."""
    done = {"segments": 0, "calls": 0, "left": False}
    while may_go_on():
        page = store.query(Query(COLLECTION, limit=PAGE))
        finished = [doc for doc in page if _book(store, accounts, tell, doc, now, done)]
        if finished:
            store.commit([Delete(doc.path) for doc in finished])
        done["segments"] += len(finished)
        if len(page) < PAGE or not finished:
            done["left"] = len(finished) < len(page)
            return done
    done["left"] = True
    return done


def _book(
    store: Store,
    accounts: Accounts,
    tell: Callable[[Sequence[Usage]], None],
    doc: Doc,
    now: datetime,
    done: dict[str, Any],
) -> bool:
    """Whether the segment may go."""
    try:
        by_user: dict[str, list[Usage]] = defaultdict(list)
        usages = decode(doc.data["payload"])
        for usage in usages:
            by_user[usage.uid].append(usage)
        for uid, theirs in by_user.items():
            record = Record(theirs)
            accounts.do(uid, record, now)
            done["calls"] += record.booked
        tell(usages)
    except Erasing:
        return False
    except (msgspec.MsgspecError, TypeError, ValueError, KeyError, OverflowError, InvalidWrite) as error:
        log.error("a segment of usage cannot be booked; it is kept in usage_quarantine", error)
        kept = Create(f"{QUARANTINE}/{doc.id}", {**doc.data, "at": now, "expireAt": now + KEPT})
        store.commit([kept, Delete(doc.path)])
        return False
    return True

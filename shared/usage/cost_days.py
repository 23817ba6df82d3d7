"""Days of the whole organisation, and users' months, made of users' days.

`costs/{dayId}` has the sums of each shard, `costs/{dayId}/users/{shard}` a row for each user. An account that has
changed says so (`pending`, `dirty`), and is asked for by that. Rows are replaced whole: the targets' versions are read
first, then the sources, then compare-and-set; only then the account's mark is taken away, at the version at which it
was found. Killed anywhere, or run twice at once, it ends with the same figures.
"""

from __future__ import annotations

import random
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import msgspec

from shared import log
from shared.domain.account_work import Reprice
from shared.domain.cost_day import ERASED, ERASED_UNPRICED, part_data, part_of, shard_of, summed
from shared.domain.ledger import (
    Cell,
    Data,
    Key,
    Part,
    amount_of,
    cells_data,
    cells_of,
    parts_of,
    summary_of,
    together,
)
from shared.domain.price import PriceSource
from shared.domain.quota import Account
from shared.store.protocol import (
    Conflict,
    Delete,
    Doc,
    InvalidWrite,
    Put,
    Query,
    Store,
    Unavailable,
    Write,
    new_rev,
    over,
)
from shared.usage.accounts import Accounts, Erasing, day_path

PAGE = 100  # accounts
ATTEMPTS = 20
PENDING = Query("quota", (("pending", "==", True),), limit=PAGE)

Rows = dict[str, list[Part]]
Cells = dict[Key, Cell]


@dataclass(slots=True)
class Rolled:
    """What a run did. `accounts`: those that changed, as they were read, for who judges them next."""

    users: int = 0
    days: set[str] = field(default_factory=set)
    left: bool = False
    accounts: list[Doc] = field(default_factory=list)


def costs_path(day: str) -> str:
    return f"costs/{day}"


def shard_path(day: str, shard: str) -> str:
    return f"costs/{day}/users/{shard}"


def month_path(uid: str, month: str) -> str:
    return f"usage_summary/{uid}/monthly/{month}"


def roll_up(store: Store, accounts: Accounts, now: datetime, may_go_on: Callable[[], bool]) -> Rolled:
    """Bring the organisation's days, and the users' months, up to date. Raises `StoreError`."""
    done = Rolled()
    while may_go_on():
        page = [doc for doc in store.query(PENDING) if not doc.data["erasing"]]
        groups: dict[tuple[str, str], list[Doc]] = defaultdict(list)
        for doc in page:
            for day in doc.data["dirty"]:
                groups[day, shard_of(doc.id)].append(doc)
        stuck: set[str] = set()
        behind = 0
        for (day, shard), docs in sorted(groups.items()):
            try:
                for uid in _replace(store, accounts, day, shard, docs, now):
                    behind += _caught_up(accounts, uid, day, now)
                done.days.add(day)
            except InvalidWrite as error:  # too large: the others must not wait for it
                log.error("users' rows of a day cannot be stored; they stay uncounted", error, day=day, shard=shard)
                stuck |= {doc.path for doc in docs}
        cleared = [doc for doc in page if doc.path not in stuck and _clear(store, doc)]
        done.users += len(cleared)
        done.accounts += cleared
        if not behind and (len(page) < PAGE or not cleared):
            done.left = len(cleared) < len(page)
            return done
    done.left = True
    return done


def _caught_up(accounts: Accounts, uid: str, day: str, now: datetime) -> bool:
    """Price a user's day anew. Its rows are by today's price list, and the user's own document must say the same."""
    try:
        accounts.do(uid, Reprice(day), now)
    except Erasing:
        return False
    return True


def _replace(store: Store, accounts: Accounts, day: str, shard: str, docs: Sequence[Doc], now: datetime) -> list[str]:
    """These users' rows of a day, and their months. The users whose day has usage that an older list had no price for.

    Those are marked again by being priced anew, and so come once more.
    """
    behind: list[str] = []
    uids = {doc.id: doc for doc in docs}
    months = {uid: month_path(uid, day[:7]) for uid in uids}
    targets = [costs_path(day), shard_path(day, shard), *months.values()]

    def decide(found: Mapping[str, Doc | None]) -> dict[str, Data]:
        sources = store.get_many([day_path(uid, day) for uid in uids])
        rows = rows_of(found[shard_path(day, shard)])
        written: dict[str, Data] = {}
        behind.clear()
        for (uid, account), source in zip(uids.items(), sources, strict=True):
            if source is None:
                continue
            parts = parts_of(day, cells_of(source.data), accounts.prices)
            rows[uid] = parts
            if source.data["unpriced"] and source.data["pricesHash"] != accounts.prices.hash:
                behind.append(uid)
            quota = Account(account.data, accounts.plans, now)
            written[months[uid]] = _month(found[months[uid]], day, parts, quota, accounts, now)
        kept = found[shard_path(day, shard)]
        written[shard_path(day, shard)] = _shard(rows, kept.data.get("unpriced") if kept else None, now)
        written[costs_path(day)] = _totals(found[costs_path(day)], day, shard, rows, now)
        return written

    set_together(store, targets, decide)
    return behind


def _month(doc: Doc | None, day: str, parts: Sequence[Part], quota: Account, accounts: Accounts, now: datetime) -> Data:
    days = dict(doc.data["days"]) if doc else {}
    days[day] = [part_data(part) for part in parts]
    everything = summed([part_of(p) for p in listed] for listed in days.values())
    summary = summary_of(everything, quota.percent_of_month(amount_of(everything)), accounts.prices.pricing.key)
    return {**summary, "month": day[:7], "days": days, "updatedAt": now}


def _totals(doc: Doc | None, day: str, shard: str, rows: Rows, now: datetime) -> Data:
    shards = dict(doc.data["shards"]) if doc else {}
    shards[shard] = [part_data(part) for part in summed(rows.values())]
    return {"day": day, "shards": shards, "updatedAt": now}


def set_together(
    store: Store,
    paths: Sequence[str],
    decide: Callable[[Mapping[str, Doc | None]], Mapping[str, Data]],
    beside: Sequence[Write] = (),
) -> None:
    """Replace several documents in one commit if each is still as it was read, else read and decide again.

    `beside` is committed with them.
    """
    for attempt in range(ATTEMPTS):
        found = dict(zip(paths, store.get_many(paths), strict=True))
        rev = new_rev()
        writes: list[Write] = [over(found[path], path, {**data, "rev": rev}) for path, data in decide(found).items()]
        writes += beside
        try:
            if writes:
                store.commit(writes)
            return
        except Conflict:
            pass
        except Unavailable:
            doc = store.get(writes[0].path)
            if doc is not None and doc.data.get("rev") == rev:
                return
            if attempt >= 2:
                raise
        time.sleep(random.uniform(0, min(0.25, 0.005 * 2 ** min(attempt, 6))))
    raise Conflict(f"{paths[0]} kept changing: {ATTEMPTS} attempts")


def _clear(store: Store, doc: Doc) -> bool:
    """Take the mark away, unless the account has changed since; then it stays for the next time."""
    try:
        store.commit([Put(doc.path, {**doc.data, "dirty": [], "pending": False, "rev": new_rev()}, doc.version)])
    except Conflict:
        return False
    return True


def packed(rows: Mapping[str, Iterable[Part]]) -> bytes:
    data = {uid: [list(part_data(part).values()) for part in parts] for uid, parts in rows.items()}
    return zlib.compress(msgspec.msgpack.encode(data), 6)


_KEYS = tuple(part_data(Part("", "", "", 0, 0, 0, Decimal(0))))


def rows_of(doc: Doc | None) -> Rows:
    """A shard's rows: uid → parts. Those of ERASED and ERASED_UNPRICED have no uid."""
    if doc is None:
        return {}
    data = msgspec.msgpack.decode(zlib.decompress(doc.data["payload"]))
    return {uid: [part_of(dict(zip(_KEYS, p, strict=False))) for p in parts] for uid, parts in data.items()}


def parts_in(doc: Doc | None) -> list[Part]:
    """The organisation's sums of a day, from `costs/{dayId}`."""
    if doc is None:
        return []
    return summed([part_of(p) for p in listed] for listed in doc.data["shards"].values())


def move_to_erased(store: Store, uid: str, day: str, prices: PriceSource, now: datetime) -> None:
    """A user's row becomes a part of the rows of those who were erased, and the user's own day is deleted with it.

    In one commit, which writes the rows in any case: a rollup under way either comes before it, or finds no day to make
    a row of. What has a price keeps what it was counted with: a price list that has changed since must not change the
    totals.
    """
    own = day_path(uid, day)

    def take(rows: Rows) -> tuple[Cells, list[Part]]:
        parts = rows.pop(uid, [])
        source = store.get(own) if any(part.unpriced for part in parts) else None
        if source is None:
            rows[ERASED] = summed([rows.get(ERASED, []), parts])
            return {}, []
        return cells_of(source.data), parts

    _erase_in(store, day, shard_of(uid), take, prices, now, [Delete(own)])


def reprice_erased(store: Store, day: str, shard: str, prices: PriceSource, now: datetime) -> None:
    """What erased users used without a price has the one that there is by now."""
    _erase_in(store, day, shard, lambda rows: ({}, []) if ERASED_UNPRICED in rows else None, prices, now)


def _erase_in(
    store: Store,
    day: str,
    shard: str,
    take: Callable[[Rows], tuple[Cells, list[Part]] | None],
    prices: PriceSource,
    now: datetime,
    beside: Sequence[Write] = (),
) -> None:
    """`take` gives the cells that nobody owns any more, and their row, or None where there is nothing to do.

    What has a price becomes a part of the row ERASED, for good. What has none stays in its cells, by which it can be
    priced exactly later, and makes the row ERASED_UNPRICED.
    """
    targets = [shard_path(day, shard), costs_path(day)]

    def decide(found: Mapping[str, Doc | None]) -> dict[str, Data]:
        doc = found[targets[0]]
        rows = rows_of(doc)
        taken = take(rows) if doc else None
        if taken is None:
            return {}
        own, counted = taken
        priced, waiting = _split(day, own, prices)
        priced_now, still_waiting = _split(day, _unpriced_cells(doc), prices)
        waiting = together(still_waiting, waiting)
        rows[ERASED] = summed([rows.get(ERASED, []), priced_now, _as_counted(priced, counted)])
        rows[ERASED_UNPRICED] = parts_of(day, waiting, prices)
        rows = {uid: parts for uid, parts in rows.items() if parts}
        unpriced = zlib.compress(msgspec.msgpack.encode(cells_data(waiting)), 6) if waiting else None
        return {
            targets[0]: _shard(rows, unpriced, now),
            targets[1]: _totals(found[targets[1]], day, shard, rows, now),
        }

    set_together(store, targets, decide, beside)


def _split(day: str, cells: Cells, prices: PriceSource) -> tuple[list[Part], Cells]:
    """The rows of those cells that have a price, and the cells of which something has none."""
    waiting = {key: cell for key, cell in cells.items() if _unpriced(day, key, cell, prices)}
    return parts_of(day, {key: cell for key, cell in cells.items() if key not in waiting}, prices), waiting


def _as_counted(priced: Iterable[Part], counted: Iterable[Part]) -> list[Part]:
    """Each row as it was counted, if it was with a price, and is the same usage still."""
    known = {(p.provider, p.model, p.plan, p.calls, p.kinds): p for p in counted if not p.unpriced}
    return [known.get((p.provider, p.model, p.plan, p.calls, p.kinds), p) for p in priced]


def _shard(rows: Rows, unpriced: bytes | None, now: datetime) -> Data:
    """`unpriced`: the cells of ERASED_UNPRICED."""
    return {"payload": packed(rows), "updatedAt": now} | ({"unpriced": unpriced} if unpriced else {})


def _unpriced_cells(doc: Doc | None) -> Cells:
    held = doc.data.get("unpriced") if doc else None
    return cells_of({"cells": msgspec.msgpack.decode(zlib.decompress(held))}) if held else {}


def _unpriced(day: str, key: Key, cell: Cell, prices: PriceSource) -> bool:
    (part,) = parts_of(day, {key: cell}, prices)
    return part.unpriced

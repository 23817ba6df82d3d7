"""Maintenances in the store: one document each with its audit log; what time alone moves; and their exclusions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from shared import audited, log
from shared.audited import Edited, Intent, Missing
from shared.domain import maintenance
from shared.domain.exclusion import Exclusion, outward
from shared.domain.timeline import AUTHOR
from shared.incidents.incidents import fitted
from shared.slo.exclusions import TooMany, hold
from shared.store.protocol import Data, Query, Store, StoreError, compare_and_set

COLLECTION = "maintenances"
AT_ONCE = 50


def path_of(name: str) -> str:
    return f"{COLLECTION}/{name}"


def create(store: Store, data: Data, intent: Intent) -> Edited:
    """A new one under an id of its own. Raises `audited.KeyReused`, `StoreError`."""
    return audited.create(store, path_of(f"{intent.at:%Y%m%d}-{secrets.token_hex(4)}"), data, intent)


def change(store: Store, path: str, decide: Callable[[Data], Data | None], intent: Intent) -> Edited:
    """As `audited.change`, with older entries moved to pages."""
    return audited.change(store, path, decide, intent, more=lambda data: fitted(path, data))


def advance(store: Store, now: datetime) -> int:
    """Do what time has made due: moves, and exclusions that a change left behind. Returns how many were looked at.

    Killed anywhere, or run twice at once, it ends the same. It raises nothing of the store: what cannot be done now is
    due again with the next run.
    """
    seen = 0
    try:
        query = Query(COLLECTION, (("settleAt", "<=", now),), (("settleAt", "asc"),), limit=AT_ONCE)
        for doc in store.query(query):
            settle(store, doc.path, now)
            seen += 1
    except StoreError as error:
        log.warning("maintenances could not be moved on; the next run does it", kind=type(error).__name__)
    return seen


def settle(store: Store, path: str, now: datetime) -> None:
    """(1) Move it as its times say; (2) bring its exclusion in line; (3) only then note when to look at it again."""
    try:
        moved = change(store, path, lambda data: maintenance.due(data, now), Intent("moved_by_time", AUTHOR, now))
    except Missing:
        return
    data = moved.data
    if data["settleAt"] is None or data["settleAt"] > now:
        return
    span = maintenance.excluded(data)
    wanted = None if span is None else _exclusion(data, now)
    try:
        hold(store, path.rpartition("/")[2], wanted, now)
    except TooMany:
        log.error("a maintenance could not be excluded from SLOs: there are too many exclusions", maintenance=path)

    def looked_at(doc: Any) -> Data | None:
        if doc is None or doc.data["rev"] != data["rev"]:
            return None  # changed meanwhile, so it is due again
        return {**doc.data, "settleAt": maintenance.next_move(doc.data), "excluded": span is not None}

    compare_and_set(store, path, looked_at)


def _exclusion(data: Mapping[str, Any], now: datetime) -> Exclusion:
    span = maintenance.excluded(data)
    assert span is not None
    return Exclusion(
        id="",
        span=outward(span.start, span.end),
        reason=f"maintenance: {data['title']}"[:200],
        created_by=data["createdBy"],
        created_at=now,
        components=tuple(data["components"]) or None,
    )

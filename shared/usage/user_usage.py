"""What is kept of one user: read by days, exported whole, erased.

Erasing goes in steps that are harmless when they come twice: (1) what still waits is booked; (2) the organisation's
days are brought up to date; (3) the account is marked, and takes nothing in from then on; (4) each of the user's days
is deleted, and in the same commit its row becomes a part of the rows of those who were erased, so that totals stay; (5)
the name is taken out of what could not be booked; (6) the other documents are deleted, the account last.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared import log
from shared.domain.usage import user_key
from shared.store.protocol import Data, Delete, Doc, Query, Store, compare_and_set
from shared.usage.accounts import account_path, accounts_for
from shared.usage.cost_days import PAGE, move_to_erased, roll_up
from shared.usage.quarantine import documents_of, erase_from_quarantine, kept_of
from shared.usage.record import tell_metric
from shared.usage.segments import fold_usage

if TYPE_CHECKING:
    from shared.bootstrap import App

COLLECTIONS = ("daily", "monthly", "receipts", "storage")
ROUNDS = 50


def days_of(store: Store, uid: str, start: str, end: str) -> list[Doc]:
    """The documents of the days from `start` to `end`, both included, the earliest first."""
    where = (("day", ">=", start), ("day", "<=", end))
    return store.query(Query(f"usage_summary/{uid}/daily", where, (("day", "asc"),), limit=500))  # type: ignore[arg-type]


def export_usage(store: Store, uid: str) -> Data:
    """The account, and each document by its collection and id. Receipts, which say nothing, are left out."""
    account = store.get(account_path(uid))
    found: dict[str, Any] = {"quota": _plain(account.data) if account else None}
    for name in COLLECTIONS:
        if name != "receipts":
            found[name] = {doc.id: _plain(doc.data) for doc in documents_of(store, f"usage_summary/{uid}/{name}", PAGE)}
    found["notBooked"] = kept_of(store, uid)
    return found


def erase_usage(app: App, uid: str, now: datetime) -> Data:
    """How many documents were deleted. Raises `StoreError`; called again it goes on."""
    store, accounts = app.store, app.part(accounts_for)
    fold_usage(store, accounts, lambda usages: tell_metric(app, usages, now), now, lambda: True)
    _settle_rows(app, uid, now)

    def mark(doc: Doc | None) -> Data | None:
        if doc is None:
            return None
        if doc.data["pending"] and not doc.data["erasing"]:
            raise StillChanging
        return {**doc.data, "erasing": True}

    for _ in range(ROUNDS):
        try:
            compare_and_set(store, account_path(uid), mark)
            break
        except StillChanging:
            _settle_rows(app, uid, now)
    else:
        raise StillChanging
    deleted = 0
    for doc in documents_of(store, f"usage_summary/{uid}/daily", PAGE):
        move_to_erased(store, uid, doc.id, accounts.prices, now)
        deleted += 1
    erase_from_quarantine(store, uid)
    for name in COLLECTIONS:
        paths = [doc.path for doc in documents_of(store, f"usage_summary/{uid}/{name}", PAGE)]
        for start in range(0, len(paths), 400):
            store.commit([Delete(path) for path in paths[start : start + 400]])
        deleted += len(paths)
    had_account = store.get(account_path(uid)) is not None
    store.commit([Delete(account_path(uid))])
    log.info("a user's usage was erased", user=user_key(uid), documents=deleted)
    return {"erased": deleted + had_account, "totals": "kept"}


class StillChanging(Exception):
    """Usage comes in as fast as it is counted; the user cannot be erased meanwhile."""


def _settle_rows(app: App, uid: str, now: datetime) -> None:
    """The user's rows are those of the days as they stand."""
    accounts = app.part(accounts_for)
    for _ in range(ROUNDS):
        doc = app.store.get(account_path(uid))
        if doc is None or not doc.data["pending"] or doc.data["erasing"]:
            return
        roll_up(app.store, accounts, now, lambda: True)


def _plain(value: Any) -> Any:
    """As JSON has it; bytes are receipts, of which only the number means something."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if not isinstance(one, bytes)}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value

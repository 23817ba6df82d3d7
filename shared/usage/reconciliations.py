"""Reconciliations in the store: `cost_reconciliations/{provider}-{from}-{to}`, one for each provider and time.

The same bill again, or a corrected one of the same days, takes the place of the one before.
"""

from __future__ import annotations

from shared.domain.reconciled import Reconciliation
from shared.store.protocol import Delete, Query, Store, compare_and_set

COLLECTION = "cost_reconciliations"
MOST = 500  # that are read at once: those that end last


def keep(store: Store, one: Reconciliation) -> None:
    """Raises `StoreError`; the same may be kept again."""
    compare_and_set(store, f"{COLLECTION}/{one.id}", lambda _: one.data())


def ended(store: Store, after: str, until: str) -> list[Reconciliation]:
    """Those whose last day is later than the day `after`, and not later than `until`; the last one first."""
    where = (("to", ">", after), ("to", "<=", until))
    found = store.query(Query(COLLECTION, where, (("to", "desc"),), MOST))  # type: ignore[arg-type]
    return [Reconciliation.of(doc.data) for doc in found]


def drop(store: Store, id_: str) -> bool:
    """Whether it was there."""
    path = f"{COLLECTION}/{id_}"
    if store.get(path) is None:
        return False
    store.commit([Delete(path)])
    return True

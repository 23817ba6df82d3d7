"""Which days have data, and those that are over closed: their series' documents written."""

from __future__ import annotations

from shared.domain.metric import Registry
from shared.metrics.layout import FOLD_RUN
from shared.metrics.rollups import close_day
from shared.store.protocol import Data, Doc, Store, compare_and_set

KEPT_DAYS = 92


def remember_days(store: Store, days: set[str]) -> set[str]:
    """Write down which days have data, before any of it is written."""
    if days:

        def decide(doc: Doc | None) -> Data | None:
            data = doc.data if doc else {"days": [], "closedThrough": "", "closing": [], "backfilled": []}
            if days <= set(data["days"]):
                return None
            return {**data, "days": sorted({*data["days"], *days})[-KEPT_DAYS:]}

        compare_and_set(store, FOLD_RUN, decide)
    return days


def close_days(store: Store, registry: Registry, last: str) -> None:
    """Write the day documents of the days that are over. Each is marked before its hours are read: see fold."""

    def mark(doc: Doc | None) -> Data | None:
        due = [d for d in doc.data["days"] if doc.data["closedThrough"] < d <= last] if doc else []
        if doc is None or not due:
            return None
        return {**doc.data, "closedThrough": due[-1], "closing": sorted({*doc.data["closing"], *due})}

    def unmark(doc: Doc | None) -> Data | None:
        if doc is None or day not in doc.data["closing"]:
            return None
        return {**doc.data, "closing": [d for d in doc.data["closing"] if d != day]}

    compare_and_set(store, FOLD_RUN, mark)
    state = store.get(FOLD_RUN)
    for day in state.data["closing"] if state else ():
        close_day(store, day, registry)
        compare_and_set(store, FOLD_RUN, unmark)

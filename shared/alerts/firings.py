"""Firings: what fires now, and one record for each time that an alert fired, `alert_firings/{alertId}-{seq}`.

An alert's document is overwritten by its next firing. These stay, so that firings can be counted, and those that a
responder marked false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shared.store.protocol import Create, Doc, Query, Store, Write, cursor_of, new_rev, over

KEEP = timedelta(days=400)
PAGE = 1000  # alerts a query: the most that there may be


def all_that_fires(store: Store) -> list[Doc]:
    """Every alert that fires, by id. A storm may be of any size, and one left out would be told wrongly, or never."""
    query = Query("alerts", (("state", "==", "firing"),), limit=PAGE)
    found: list[Doc] = []
    while True:
        page = store.query(query)
        found += page
        if len(page) < PAGE:
            return found
        query = replace(query, after=cursor_of(page[-1], query))


def firing_path(alert_id: str, seq: int) -> str:
    """`seq`: that of the alert when it fired."""
    return f"alert_firings/{alert_id}-{seq}"


def begun(alert_id: str, rule: str, seq: int, facts: Mapping[str, Any], now: datetime) -> Create:
    data = {
        "alertId": alert_id,
        "sloId": facts["sloId"],
        "rule": rule,
        "severity": facts["severity"],
        "firedAt": now,
        "resolvedAt": None,
        "markedFalse": None,
        "expireAt": now + KEEP,
        "rev": new_rev(),
    }
    return Create(firing_path(alert_id, seq), data)


def ended(store: Store, alert: Doc, now: datetime) -> list[Write]:
    """The write that ends an alert's last firing; none where it fired under a release that kept no record."""
    seq = alert.data.get("firingSeq")
    doc = store.get(firing_path(alert.id, seq)) if seq is not None else None
    return [over(doc, doc.path, {**doc.data, "resolvedAt": now})] if doc else []

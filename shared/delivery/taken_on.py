"""Which messages somebody has made pointless by taking their alert on after they were put into the outbox.

Between its making and its sending may lie a throttled channel, a failure, a group's interval: by then whoever it asks
for may not be needed any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.domain.notification import asks_for_somebody
from shared.store.protocol import Doc, Store

AT_ONCE = 300  # documents a call


def taken_on(store: Store, notifications: Iterable[Doc]) -> set[str]:
    """The ids of those that only ask for somebody, and whose alert has somebody by now. Raises `StoreError`.

    Costs a read for each alert that is asked for, and nothing for all other notifications.
    """
    asking = [doc for doc in notifications if asks_for_somebody(doc.data)]
    paths = list(dict.fromkeys(f"alerts/{doc.data['alertId']}" for doc in asking))
    alerts: dict[str, Mapping[str, Any]] = {}
    for n in range(0, len(paths), AT_ONCE):
        alerts |= {doc.id: doc.data for doc in store.get_many(paths[n : n + AT_ONCE]) if doc is not None}
    return {doc.id for doc in asking if _has_somebody(alerts.get(doc.data["alertId"], {}), doc.data)}


def _has_somebody(alert: Mapping[str, Any], notification: Mapping[str, Any]) -> bool:
    """In the same firing: the next one is nobody's, and says nothing of the one before."""
    same = alert.get("firingSeq") == notification["facts"].get("firingSeq")
    return same and bool(alert.get("acknowledged"))

"""Which message of a channel begins the thread of a firing, or of a group, as the outbox has it on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared import log
from shared.store.protocol import Query, Store, StoreError

LOOKED_AT = 20  # notifications before one
ASKED = 10  # of the notifications of one message


class Threads:
    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, notifications: Sequence[Mapping[str, Any]]) -> str | None:
        """The `reference` of the message that these add to, or of an earlier one of the first firing that has one.

        None begins a thread. A record that is lost, or cannot be read now, costs the thread and never the message.
        """
        try:
            return self._of_group(notifications[0]) or self._of_firing(notifications)
        except StoreError as error:
            log.warning("a thread could not be looked up; another one begins", kind=type(error).__name__)
            return None

    def _of_group(self, leader: Mapping[str, Any]) -> str | None:
        """What broke together stays together: what comes later goes below the first message of its group."""
        adds_to = leader.get("addsTo")
        first = self._store.get(f"notifications/{adds_to['groupId']}") if adds_to else None
        return first.data.get("reference") if first else None

    def _of_firing(self, notifications: Sequence[Mapping[str, Any]]) -> str | None:
        for notification in notifications[:ASKED]:
            if begins_a_firing(notification):
                continue
            found = self._before(notification)
            if found is not None:
                return found
        return None

    def _before(self, notification: Mapping[str, Any]) -> str | None:
        firing = notification["facts"].get("firingSeq")
        lane, seq = notification["lane"], notification["seq"]
        before = Query("notifications", (("lane", "==", lane), ("seq", "<", seq)), (("seq", "desc"),), LOOKED_AT)
        for doc in self._store.query(before):
            if doc.data["facts"].get("firingSeq") == firing and doc.data.get("reference"):
                return str(doc.data["reference"])
        return None


def begins_a_firing(notification: Mapping[str, Any]) -> bool:
    """Nothing was told of its firing before."""
    return notification["kind"] == "trigger" and bool(notification["seq"] == notification["facts"].get("firingSeq"))

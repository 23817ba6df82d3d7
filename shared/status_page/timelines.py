"""The older updates of long incidents, which the snapshot has no room for: read once for each change of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared import log
from shared.status.cache import REFRESH_SECONDS, Served
from shared.store.protocol import StoreError

if TYPE_CHECKING:
    from shared.bootstrap import App

UPDATES = "status/incidents/items"
KEPT = 8  # incidents; the updates of one have 800 kB at most

Data = Mapping[str, Any]


class Timelines:
    """Read under one lock: whoever asks for the same meanwhile gets what was read."""

    def __init__(self, app: App) -> None:
        self._store = app.store
        self._monotonic = app.monotonic
        self._known: OrderedDict[tuple[str, str], list[Data]] = OrderedDict()
        self._lock = threading.Lock()
        self._failed_at = float("-inf")

    def whole(self, served: Served, event: Data) -> Data:
        """The incident with all of its updates that are kept; as it is in the snapshot if they cannot be read.

        A store that just failed is left alone for as long as the snapshot is.
        """
        digest = event.get("updatesHash")
        if digest is None:
            return event
        with self._lock:
            older = self._known.get((event["id"], digest))
            if older is None and served.reachable and self._monotonic() - self._failed_at >= REFRESH_SECONDS:
                older = self._read(event["id"], digest)
        return _merged(event, older) if older else event

    def _read(self, name: str, digest: str) -> list[Data] | None:
        try:
            doc = self._store.get(f"{UPDATES}/{name}")
        except StoreError as error:
            log.warning("the older updates of an incident could not be read", kind=type(error).__name__)
            self._failed_at = self._monotonic()
            return None
        found: list[Data] = list(doc.data["updates"]) if doc else []
        self._known[name, digest] = found
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found


def _merged(event: Data, older: list[Data]) -> Data:
    """All in `older`, which has whole texts too; and what came after it, where its document waits for its turn."""
    newer = [update for update in event["updates"] if update["timestamp"] > older[-1]["timestamp"]]
    updates = [*older, *newer]
    of_all = event["earlierUpdates"] + len(event["updates"])
    return {**event, "updates": updates, "earlierUpdates": max(0, of_all - len(updates))}

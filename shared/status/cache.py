"""The snapshot in memory: what statusApi serves, read from the store at most once in 5 s by each instance."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from shared import log
from shared.flags import DOCUMENT as FLAGS
from shared.flags import Flags
from shared.store.protocol import Store, StoreError

SNAPSHOT = "status/public"
REFRESH_SECONDS = 5.0


class Served:
    """What to serve; the same object for as long as nothing changes, so that answers can be prepared once for it.

    `snapshot` is the data of `status/public`, None where none was found. `enabled` is False while the page is switched
    off. `reachable` is False if the last read failed: `snapshot` is then the last that is known.
    """

    def __init__(self, snapshot: Mapping[str, Any] | None, *, enabled: bool, reachable: bool) -> None:
        self.snapshot = snapshot
        self.enabled = enabled
        self.reachable = reachable
        self.prepared: dict[str, Any] = {}

    @property
    def seq(self) -> int:
        return int(self.snapshot["seq"]) if self.snapshot else 0


class SnapshotCache:
    """Reads snapshot and flags together, by one request at a time while the others are served what is known.

    Never goes back to a lower `seq`, and never raises: a store that fails leaves what was known in force.
    """

    def __init__(self, store: Store, flags: Flags, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._flags = flags
        self._monotonic = monotonic
        self._served: Served | None = None
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def served(self) -> Served:
        known = self._served
        if known is not None and self._monotonic() - self._read_at < REFRESH_SECONDS:
            return known
        # The first request has nothing to serve but what is read, so it waits; later ones do not.
        if self._lock.acquire(blocking=known is None):
            try:
                if self._served is None or self._monotonic() - self._read_at >= REFRESH_SECONDS:
                    self._served = self._read(self._served)
                    self._read_at = self._monotonic()
            finally:
                self._lock.release()
        assert self._served is not None
        return self._served

    def _read(self, known: Served | None) -> Served:
        try:
            doc, switches = self._store.get_many([SNAPSHOT, FLAGS])
        except StoreError as error:
            log.warning("the status snapshot could not be read; the last one stays", kind=type(error).__name__)
            if known is None:
                return Served(None, enabled=True, reachable=False)
            return known if not known.reachable else Served(known.snapshot, enabled=known.enabled, reachable=False)
        snapshot: Mapping[str, Any] | None = doc.data if doc else None
        if known is not None and (snapshot is None or int(snapshot["seq"]) <= known.seq):
            snapshot = known.snapshot
        enabled = self._flags.merged(switches)["ops.public_status_page"] is True
        if snapshot is not None and snapshot["enabled"] is not True:
            enabled = False
        if known is not None and known.reachable and known.snapshot is snapshot and known.enabled is enabled:
            return known
        return Served(snapshot, enabled=enabled, reachable=True)

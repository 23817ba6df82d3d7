"""How long the store takes to answer: firestore_read_latency and firestore_write_latency, measured at each call.

What was measured waits in memory and travels with the next segment that is written anyway, or with one a run of
alertRules. What an instance still holds when it ends is lost: these are samples, nobody was promised them.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from shared.domain.building import BLOCK_MS, Batch, BatchBuilder
from shared.domain.series import SeriesTable
from shared.store.protocol import Doc, Meter, Query, Store, Write

READ, WRITE = "firestore_read_latency", "firestore_write_latency"
MOST = 5000  # that wait; what is measured beyond is dropped

Answer = TypeVar("Answer")


class TimedStore:
    """The store itself, with every call timed: also one that fails. `kind`: firestore or sqlite."""

    def __init__(self, store: Store, kind: str, seconds: Callable[[], float]) -> None:
        self._store = store
        self._seconds = seconds
        self._lock = threading.Lock()
        self._taken: dict[tuple[str, str], list[float]] = {}
        self._waiting = 0
        self.kind = kind
        self.meter: Meter = store.meter

    def get(self, path: str) -> Doc | None:
        return self._timed(READ, "get", lambda: self._store.get(path))

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        return self._timed(READ, "get_many", lambda: self._store.get_many(paths))

    def query(self, query: Query) -> list[Doc]:
        return self._timed(READ, "query", lambda: self._store.query(query))

    def count(self, query: Query) -> int:
        return self._timed(READ, "count", lambda: self._store.count(query))

    def commit(self, writes: Sequence[Write]) -> None:
        return self._timed(WRITE, "commit", lambda: self._store.commit(writes))

    def purge(self, now_us: int, limit: int = 1000) -> int:
        return self._store.purge(now_us, limit)

    def close(self) -> None:
        self._store.close()

    def take(self) -> dict[tuple[str, str], list[float]]:
        """What was measured since the last call, in ms, by metric and operation."""
        with self._lock:
            taken, self._taken, self._waiting = self._taken, {}, 0
            return taken

    def _timed(self, metric: str, operation: str, call: Callable[[], Answer]) -> Answer:
        begun = self._seconds()
        try:
            return call()
        finally:
            milliseconds = (self._seconds() - begun) * 1000
            with self._lock:
                if self._waiting < MOST:
                    self._waiting += 1
                    self._taken.setdefault((metric, operation), []).append(milliseconds)


def latency_batch(store: Store, table: SeriesTable, now: datetime) -> Batch | None:
    """What the store took since the last time, as a batch of its own; None if nothing was measured."""
    if not isinstance(store, TimedStore):
        return None
    builder = BatchBuilder(table)
    block = int(now.timestamp() * 1000) // BLOCK_MS
    samples = 0
    for (metric, operation), values in store.take().items():
        series = table.own(metric, {"operation": operation, "store": store.kind})
        if series is not None:
            builder.values(series, block, values)
            samples += len(values)
    return builder.batch(secrets.token_bytes(8), samples) if samples else None

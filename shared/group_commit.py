"""Group commit: the first request that waits commits for all that wait.

No background thread: on Cloud Functions nothing runs after a response.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime

from shared.domain.aggregate import Batch
from shared.segment import MAX_BYTES, encode_segment
from shared.store.protocol import Create, Store, Unavailable

MAX_BATCHES = 200
MAX_METRICS = 100_000


class TooVaried(Exception):
    """One batch that does not fit into a document."""


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    day: str
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class GroupCommit:
    """`append` returns when the batch is stored, and raises `StoreError` if that is not known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def append(self, batch: Batch, now: datetime) -> None:
        mine = _Waiting(batch, now.strftime("%Y-%m-%d"))
        with self._lock:
            self._waiting.append(mine)
        while not mine.done.is_set():
            with self._turn:
                if not mine.done.is_set():
                    self._commit_waiting()
        if mine.error is not None:
            raise mine.error

    def _commit_waiting(self) -> None:
        """Take the oldest that wait, write them as one segment, and let them go."""
        group = self._take()
        try:
            self._write([w.batch for w in group], group[0].day)
        except Exception as error:  # noqa: BLE001 - every waiting request must hear of it
            for waiting in group:
                waiting.error = error
        for waiting in group:
            waiting.done.set()

    def _take(self) -> list[_Waiting]:
        with self._lock:
            metrics = 0
            for size, waiting in enumerate(self._waiting[:MAX_BATCHES]):
                metrics += waiting.batch.count
                if size and metrics > MAX_METRICS:
                    break
            else:
                size = min(len(self._waiting), MAX_BATCHES)
            group, self._waiting = self._waiting[:size], self._waiting[size:]
            return group

    def _write(self, batches: list[Batch], day: str) -> None:
        payload = encode_segment(batches)
        if len(payload) > MAX_BYTES:
            if len(batches) == 1:
                raise TooVaried
            half = len(batches) // 2
            self._write(batches[:half], day)
            self._write(batches[half:], day)
            return
        path = f"ops_metrics/{day}/segments/{secrets.token_hex(10)}"
        try:
            self._store.commit([Create(path, {"payload": payload})])
        except Unavailable:
            if self._store.get(path) is None:  # a lost reply is a success
                raise

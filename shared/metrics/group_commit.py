"""Group commit: the first request that waits commits for all that wait.

No background thread: on Cloud Functions nothing runs after a response.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from shared.domain.building import Batch
from shared.metrics.segment import MAX_BYTES, encode_segment
from shared.store.protocol import Create, Store, Unavailable

MAX_BATCHES = 200
MAX_METRICS = 100_000


class TooVaried(Exception):
    """One batch that does not fit into a document."""


def _held() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Waiting:
    """A request's batch; `turn` is released once it is written, or once this request is the one to write.

    A bare lock, because it costs a tenth of an Event.
    """

    batches: tuple[Batch, ...]
    day: str
    error: Exception | None = None
    written: bool = False
    turn: Lock = field(default_factory=_held)


class GroupCommit:
    """`append` returns when the batch is stored, and raises `StoreError` if that is not known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._lock = Lock()
        self._writing = False

    def append(self, batch: Batch, now: datetime, *more: Batch) -> None:
        """`more`: batches of our own that travel with it, and fail with it."""
        mine = _Waiting((batch, *more), now.strftime("%Y-%m-%d"))
        with self._lock:
            self._waiting.append(mine)
            first = not self._writing
            self._writing = True
        if not first:
            mine.turn.acquire()
        if not mine.written:
            self._write_waiting()
        if mine.error is not None:
            raise mine.error

    def _write_waiting(self) -> None:
        """Write the oldest that wait, let them go, and give the turn to the next one."""
        group = self._take()
        for waiting in group:
            waiting.error = Unavailable("the writer was stopped")
        try:
            self._write(group)
        finally:
            for waiting in group:
                waiting.written = True
                waiting.turn.release()
            with self._lock:
                self._writing = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].turn.release()

    def _take(self) -> list[_Waiting]:
        with self._lock:
            metrics = 0
            for size, waiting in enumerate(self._waiting[:MAX_BATCHES]):
                metrics += waiting.batches[0].count
                if size and metrics > MAX_METRICS:
                    break
            else:
                size = min(len(self._waiting), MAX_BATCHES)
            group, self._waiting = self._waiting[:size], self._waiting[size:]
            return group

    def write(self, batches: list[Batch], day: str) -> None:
        """Write these batches now, as one segment or, where they are too large for one, as several."""
        group = [_Waiting((batch,), day) for batch in batches]
        self._write(group)
        for waiting in group:
            if waiting.error is not None:
                raise waiting.error

    def _write(self, group: list[_Waiting]) -> None:
        """Sets the `error` of each: a batch that can never be written must not fail the others."""
        error: Exception | None = None
        try:
            payload = encode_segment([batch for w in group for batch in w.batches])
            if len(payload) > MAX_BYTES and len(group) > 1:
                half = len(group) // 2
                self._write(group[:half])
                self._write(group[half:])
                return
            if len(payload) > MAX_BYTES:
                raise TooVaried
            self._commit(f"ops_metrics/{group[0].day}/segments/{secrets.token_hex(10)}", payload)
        except Exception as caught:  # noqa: BLE001 - every waiting request must hear of it
            error = caught
        for waiting in group:
            waiting.error = error

    def _commit(self, path: str, payload: bytes) -> None:
        try:
            self._store.commit([Create(path, {"payload": payload})])
        except Unavailable:
            if self._store.get(path) is None:  # a lost reply is a success
                raise

"""The public past beside the snapshot: read once for each change of it, and only where somebody asks for it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shared import log
from shared.status.cache import REFRESH_SECONDS, Served
from shared.status.past import DOCUMENT
from shared.store.protocol import StoreError

if TYPE_CHECKING:
    from shared.bootstrap import App

Data = Mapping[str, Any]


class Whole(Served):
    """What is served, with the past in it. `complete` is False if the past of this snapshot could not be read."""

    def __init__(self, served: Served, past: Data | None, *, complete: bool) -> None:
        snapshot = served.snapshot
        if snapshot is not None and past is not None:
            snapshot = {**snapshot, **{kind: _joined(snapshot, past, kind) for kind in ("incidents", "maintenances")}}
        super().__init__(snapshot, enabled=served.enabled, reachable=served.reachable)
        self.of = served
        self.complete = complete


class Past:
    """One in a process. Read under one lock: whoever asks meanwhile gets what was read."""

    def __init__(self, app: App) -> None:
        self._store = app.store
        self._monotonic = app.monotonic
        self._known: tuple[str, Data] | None = None
        self._whole: Whole | None = None
        self._lock = threading.Lock()
        self._failed_at = float("-inf")

    def whole(self, served: Served) -> Whole:
        """The same object for as long as nothing changes. Never raises: what was read last stays in force.

        A store that just failed is left alone for as long as the snapshot is.
        """
        told = (served.snapshot or {}).get("past") if served.enabled else None
        digest = told["hash"] if told else None  # a snapshot of an older release tells of none
        with self._lock:
            if digest is not None and (self._known is None or self._known[0] != digest):
                self._read(served, digest)
            past = self._known[1] if self._known and digest is not None else None
            complete = digest is None or (self._known is not None and self._known[0] == digest)
            if self._whole is None or self._whole.of is not served or self._whole.complete is not complete:
                self._whole = Whole(served, past, complete=complete)
            return self._whole

    def _read(self, served: Served, digest: str) -> None:
        """A document of another hash is a newer one, of which the next snapshot will tell."""
        if not served.reachable or self._monotonic() - self._failed_at < REFRESH_SECONDS:
            return
        try:
            doc = self._store.get(DOCUMENT)
        except StoreError as error:
            log.warning("the public past could not be read", kind=type(error).__name__)
            self._failed_at = self._monotonic()
            return
        self._known = (digest, doc.data if doc else {})


def _joined(snapshot: Data, past: Data, kind: str) -> list[Data]:
    here = snapshot.get(kind) or []
    ids = {event["id"] for event in here}
    return [*here, *(event for event in past.get(kind) or () if event["id"] not in ids)]

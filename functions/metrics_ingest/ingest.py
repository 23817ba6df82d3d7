"""What an instance keeps between requests, and the storing that all ways in share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

from functions.metrics_ingest.decode import parse_labels
from shared.api.http import Problem
from shared.bootstrap import App
from shared.domain.building import Batch
from shared.domain.series import MAX_LABELS, SeriesTable
from shared.metrics.group_commit import TooVaried
from shared.metrics.store_latency import latency_batch

REMEMBERED_BATCHES = 2000
OWN_EVERY_SECONDS = 15.0
COLLECTION_IS_OFF = "metrics collection is switched off: nothing was stored"


class Ingest:
    """The series that an instance knows, and its last batches for the `duplicate` hint."""

    def __init__(self, app: App) -> None:
        self.alone = threading.Lock()  # held while a body is read that may need much memory
        self._app = app
        self._lock = threading.Lock()
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        self._tables: dict[Callable[[bytes], Any], SeriesTable] = {}
        self._tables_hash = ""
        self._numbers = count()
        self._own_at = app.monotonic()

    @property
    def is_on(self) -> bool:
        """The kill switch. While it is off, nothing is stored and the answer says so."""
        return self._app.flags.on("ops.metrics_collection")

    def table(self, parse: Callable[[bytes], Any], max_labels: int = MAX_LABELS) -> SeriesTable:
        """The series of those whose labels `parse` decodes; made anew when the SLO configuration changes."""
        slos = self._app.slos
        config = slos.current()
        table = self._tables.get(parse)
        if table is None or self._tables_hash != config.hash:
            with self._lock:
                if self._tables_hash != config.hash:
                    self._tables = {}
                    self._tables_hash = config.hash
                bounds = config.bounds(slos.registry)
                table = SeriesTable(slos.registry, bounds, parse, self._numbers, max_labels)
                self._tables[parse] = table
        return table

    def store(self, batch: Batch, now: datetime) -> bool:
        """Append a batch; True if this instance has seen it before, which is a hint only.

        Raises `Problem` 413 if it does not fit into a document, `StoreError` if it is not known to be stored.
        """
        seen = batch.hash in self._recent
        try:
            self._app.group_commit.append(batch, now, *self._own_batch(now))
        except TooVaried:
            raise Problem(
                413, "batch_too_varied", "too many different series in one batch: send it in halves"
            ) from None
        with self._lock:
            self._recent[batch.hash] = None
            if len(self._recent) > REMEMBERED_BATCHES:
                self._recent.popitem(last=False)
        return seen

    def _own_batch(self, now: datetime) -> tuple[Batch, ...]:
        """Now and then, how long the store took: it travels with a segment that is written anyway."""
        with self._lock:
            if self._app.monotonic() - self._own_at < OWN_EVERY_SECONDS:
                return ()
            self._own_at = self._app.monotonic()
        batch = latency_batch(self._app.store, self.table(parse_labels), now)
        return (batch,) if batch else ()

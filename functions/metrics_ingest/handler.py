"""metricsIngest: validate, scrub, aggregate, group commit. 202 only after the commit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from itertools import count

from flask import Request, Response

from functions.metrics_ingest.decode import parse_labels, read_batch
from shared import auth
from shared.bootstrap import App
from shared.domain.building import Batch
from shared.domain.series import SeriesTable
from shared.group_commit import TooVaried
from shared.http import Problem, answer, require_method

MAX_BODY = 1024 * 1024
REMEMBERED_BATCHES = 2000


class Ingest:
    """What an instance keeps between requests: the series it knows, and the last batches for the `duplicate` hint."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._recent: OrderedDict[bytes, None] = OrderedDict()
        self._table: SeriesTable | None = None
        self._table_hash = ""
        self._numbers = count()

    def take(self, body: bytes, now: datetime) -> dict[str, object]:
        """The answer to a body: accepted, rejected (index, reasons), duplicate. Raises `Problem`, `StoreError`."""
        batch, rejected = read_batch(body, self._series(), int(now.timestamp() * 1000))
        result: dict[str, object] = {"accepted": batch.count, "rejected": rejected, "duplicate": False}
        if not self._app.flags.on("ops.metrics_collection"):
            notice = "metrics collection is switched off: nothing was stored"
            return {**result, "accepted": 0, "stored": False, "notice": notice}
        if batch.count:
            result["duplicate"] = batch.hash in self._recent
            self._store(batch, now)
        return result

    def _store(self, batch: Batch, now: datetime) -> None:
        try:
            self._app.group_commit.append(batch, now)
        except TooVaried:
            raise Problem(
                413, "batch_too_varied", "too many different series in one batch: send it in halves"
            ) from None
        with self._lock:
            self._recent[batch.hash] = None
            if len(self._recent) > REMEMBERED_BATCHES:
                self._recent.popitem(last=False)

    def _series(self) -> SeriesTable:
        slos = self._app.slos
        config = slos.current()
        if self._table is None or self._table_hash != config.hash:
            with self._lock:
                bounds = config.bounds(slos.registry)
                self._table = SeriesTable(slos.registry, bounds, parse_labels, self._numbers)
                self._table_hash = config.hash
        return self._table


def handle(request: Request, app: App) -> Response:
    now = app.clock()
    require_method(request, "POST")
    auth.require_ingest_key(request, app.settings)
    return answer(app.part(Ingest).take(_body(request), now), 202)


def _body(request: Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY:
        raise Problem(413, "body_too_large", f"at most {MAX_BODY} bytes in one request")
    body = request.stream.read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise Problem(413, "body_too_large", f"at most {MAX_BODY} bytes in one request")
    return bytes(body)

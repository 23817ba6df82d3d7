"""OTLP/HTTP for metrics, as OpenTelemetry's specification says: POST /v1/metrics, protobuf or JSON."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from threading import Lock

from flask import Request, Response

from functions.metrics_ingest.body import Held, read_body, require_type
from functions.metrics_ingest.decode import parse_labels
from functions.metrics_ingest.ingest import COLLECTION_IS_OFF, Ingest
from functions.metrics_ingest.otlp_answer import JSON, PROTOBUF, failure, success
from functions.metrics_ingest.otlp_json import JsonReader
from functions.metrics_ingest.otlp_labels import Targets
from functions.metrics_ingest.otlp_points import Intake
from functions.metrics_ingest.otlp_proto import ProtobufReader
from functions.metrics_ingest.otlp_read import MAX_ATTRIBUTES, MAX_POINTS, TooMany, Unreadable
from shared.api import auth
from shared.api.http import Problem, problem_of, require_method
from shared.bootstrap import App
from shared.domain.building import Batch
from shared.domain.series import SeriesTable

MAX_SENT = 1024 * 1024
MAX_DECODED = 4 * 1024 * 1024
MOST_TOLD = 1000


class Otlp:
    """What an instance keeps between OTLP requests."""

    def __init__(self, app: App | None = None) -> None:
        self._read = {PROTOBUF: ProtobufReader().read, JSON: JsonReader().read}
        self._targets: Targets | None = None
        self._told: set[str] = set()
        self._lock = Lock()

    def read(self, body: bytes, media_type: str, table: SeriesTable, now_ms: int) -> tuple[Batch, Intake]:
        """One request at a time, since a hostile one may need many times its size in memory while it is read."""
        with self._lock:
            if self._targets is None or self._targets.table is not table:
                self._targets = Targets(table)
            intake = Intake(self._targets, now_ms)
            try:
                for metric in self._read[media_type](body):
                    intake.add(metric)
            except Unreadable as error:
                raise Problem(400, "unreadable_body", str(error)) from None
            except TooMany:
                detail = f"more than {MAX_POINTS} points in one request, or {MAX_ATTRIBUTES} attributes of one"
                raise Problem(413, "too_many_metrics", detail) from None
            return intake.batch(sha256(body).digest()[:8]), intake  # processors help with it, unlike with blake2b

    def news(self, batch: Batch) -> str:
        """Says which labels were left out, once for each: an SDK sends the same ones for ever."""
        new = sorted(set(batch.dropped) - self._told)
        if not new or len(self._told) > MOST_TOLD:
            return ""
        self._told.update(new)
        return f"labels left out, as the metric does not keep them: {', '.join(new)}"


def receive(request: Request, app: App, ingest: Ingest, now: datetime) -> Response:
    """200 with what was rejected and why; every error as a google.rpc.Status, in the request's content type."""
    media_type = PROTOBUF if request.mimetype == PROTOBUF else JSON
    try:
        require_method(request, "POST")
        auth.require_ingest_key(request, app.settings)
        require_type(request, PROTOBUF, JSON)
        with read_body(request, app.part(Held), MAX_SENT, MAX_DECODED) as body:
            return _take(body, media_type, app.part(Otlp), ingest, now)
    except Exception as error:  # noqa: BLE001 - `run` would answer in another form
        return failure(media_type, problem_of(error))


def _take(body: bytes, media_type: str, otlp: Otlp, ingest: Ingest, now: datetime) -> Response:
    batch, intake = otlp.read(body, media_type, ingest.table(parse_labels), int(now.timestamp() * 1000))
    if not ingest.is_on:
        return success(media_type, intake.accepted + intake.refused.count, COLLECTION_IS_OFF)
    if batch.blocks:
        ingest.store(batch, now)
    message = "\n".join(filter(None, (intake.refused.text(), otlp.news(batch))))
    return success(media_type, intake.refused.count, message)

"""metricsIngest: validate, scrub, aggregate, group commit. Answered only after the commit."""

from __future__ import annotations

from datetime import datetime

from flask import Request, Response

from functions.metrics_ingest.body import Held, read_body
from functions.metrics_ingest.decode import parse_labels, read_batch
from functions.metrics_ingest.ingest import COLLECTION_IS_OFF, Ingest
from shared.api import auth
from shared.api.http import Problem, answer, require_method
from shared.bootstrap import App

MAX_BODY = 1024 * 1024
JSON_PATHS = ("/", "/metricsIngest", "/api/metrics")  # the second where the function is called by its own address
HEARTBEAT = "/api/metrics/heartbeat/"


def handle(request: Request, app: App) -> Response:
    now = app.clock()
    ingest = app.part(Ingest)
    path = request.path.removeprefix("/metricsIngest/") if request.path.startswith("/metricsIngest/") else request.path
    path = "/" + path.lstrip("/")
    if path == "/v1/metrics":
        from functions.metrics_ingest.otlp import receive  # not every app sends OpenTelemetry

        return receive(request, app, ingest, now)
    if path not in JSON_PATHS and not path.startswith(HEARTBEAT):
        raise Problem(404, "not_found", "metrics go to /api/metrics, OpenTelemetry's to /v1/metrics")
    require_method(request, "POST")
    auth.require_ingest_key(request, app.settings)
    with read_body(request, app.part(Held), MAX_BODY, MAX_BODY) as body:
        if path.startswith(HEARTBEAT):
            from functions.metrics_ingest.heartbeat import beat

            return answer(beat(path.removeprefix(HEARTBEAT), body, app, ingest, now), 202)
        return answer(take(body, ingest, now), 202)


def take(body: bytes, ingest: Ingest, now: datetime) -> dict[str, object]:
    """The answer to a body: accepted, rejected (index, reasons), duplicate. Raises `Problem`, `StoreError`."""
    batch, rejected = read_batch(body, ingest.table(parse_labels), int(now.timestamp() * 1000), ingest.alone)
    result: dict[str, object] = {"accepted": batch.count, "rejected": rejected, "duplicate": False}
    if not ingest.is_on:
        return {**result, "accepted": 0, "stored": False, "notice": COLLECTION_IS_OFF}
    if batch.count:
        result["duplicate"] = ingest.store(batch, now)
    if batch.dropped:
        result["droppedLabels"] = batch.dropped
    return result

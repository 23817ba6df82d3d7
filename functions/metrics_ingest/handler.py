"""metricsIngest: validate, scrub, aggregate, group commit. Answered only after the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from flask import Request, Response

from functions.metrics_ingest.body import Held, read_body
from functions.metrics_ingest.decode import parse_labels, read_batch
from functions.metrics_ingest.ingest import COLLECTION_IS_OFF, Ingest
from shared.api import auth
from shared.api.http import Problem, answer, require_method
from shared.bootstrap import App

MAX_BODY = 1024 * 1024
HEARTBEAT = "/api/metrics/heartbeat/"


def handle(request: Request, app: App) -> Response:
    now = app.clock()
    path = request.path.removeprefix("/metricsIngest/") if request.path.startswith("/metricsIngest/") else request.path
    path = "/" + path.lstrip("/")
    receive = PATHS.get(HEARTBEAT if path.startswith(HEARTBEAT) else path)
    if receive is None:
        raise Problem(404, "not_found", "metrics go to /api/metrics, OpenTelemetry's to /v1/metrics")
    return receive(request, path, app, app.part(Ingest), now)


def _batch(request: Request, path: str, app: App, ingest: Ingest, now: datetime) -> Response:
    require_method(request, "POST")
    auth.require_ingest_key(request, app.settings)
    with read_body(request, app.part(Held), MAX_BODY, MAX_BODY) as body:
        return answer(take(body, ingest, now), 202)


def _heartbeat(request: Request, path: str, app: App, ingest: Ingest, now: datetime) -> Response:
    from functions.metrics_ingest.heartbeat import beat

    require_method(request, "POST")
    auth.require_ingest_key(request, app.settings)
    with read_body(request, app.part(Held), MAX_BODY, MAX_BODY) as body:
        return answer(beat(path.removeprefix(HEARTBEAT), body, app, ingest, now), 202)


def _otlp(request: Request, path: str, app: App, ingest: Ingest, now: datetime) -> Response:
    from functions.metrics_ingest.otlp import receive  # not every app sends OpenTelemetry

    return receive(request, app, ingest, now)


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


# Nothing else is answered. What ends with a slash goes on with a name, but for the root; `/metricsIngest` is where the
# function is called by its own address.
PATHS: Mapping[str, Callable[[Request, str, App, Ingest, datetime], Response]] = {
    "/": _batch,
    "/metricsIngest": _batch,
    "/api/metrics": _batch,
    HEARTBEAT: _heartbeat,
    "/v1/metrics": _otlp,
}

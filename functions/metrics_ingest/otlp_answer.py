"""Answers as OTLP/HTTP wants them: ExportMetricsServiceResponse or google.rpc.Status, in the request's content type."""

from __future__ import annotations

import json
from typing import Any

from flask import Response

from shared.api.http import Problem, no_store

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 3, 415: 3, 429: 8, 500: 13, 503: 14}  # of google.rpc.Code
_UNKNOWN = 2


def success(media_type: str, rejected: int = 0, message: str = "") -> Response:
    """`message` alone is a warning: everything was accepted."""
    if media_type == JSON:
        partial = {"rejectedDataPoints": str(rejected), "errorMessage": message}
        return _respond(media_type, 200, {"partialSuccess": partial} if rejected or message else {})
    made = _messages()["Response"]()
    if rejected or message:
        made.partial_success.rejected_data_points = rejected
        made.partial_success.error_message = message
    return _respond(media_type, 200, made)


def failure(media_type: str, problem: Problem) -> Response:
    """The problem as a Status; for a bad request it names the field, as BadRequest."""
    code, message = _CODES.get(problem.status, _UNKNOWN), f"{problem.code}: {problem.detail}"
    is_bad = problem.status == 400
    if media_type == JSON:
        violations = [{"field": "body", "description": problem.detail}]
        details = [{"@type": _BAD_REQUEST, "fieldViolations": violations}] if is_bad else []
        status: Any = {"code": code, "message": message, **({"details": details} if details else {})}
    else:
        status = _messages()["Status"](code=code, message=message)
        if is_bad:
            bad = _messages()["BadRequest"]()
            bad.field_violations.add(field="body", description=problem.detail)
            status.details.add(type_url=_BAD_REQUEST, value=bad.SerializeToString())
    response = _respond(media_type, problem.status, status)
    response.headers.update(problem.headers)
    return response


def _respond(media_type: str, status: int, body: Any) -> Response:
    data = json.dumps(body) if media_type == JSON else body.SerializeToString()
    return no_store(Response(data, status, content_type=media_type))


def _messages() -> dict[str, Any]:
    from functions.metrics_ingest.otlp_schema import messages  # late: JSON needs no protobuf

    return messages()

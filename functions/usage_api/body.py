"""Reads the JSON bodies of usage, within limits."""

from __future__ import annotations

import json
from typing import Any

from flask import Request

from functions.metrics_ingest.body import Held, read_body
from shared.api.http import Problem
from shared.bootstrap import App

MAX_SENT = 4 * 1024 * 1024
MAX_UNPACKED = 16 * 1024 * 1024


def json_object(request: Request, app: App) -> dict[str, Any]:
    """The body, which may be gzipped. Raises `Problem` 400, 413, 415, 503."""
    with read_body(request, app.part(Held), MAX_SENT, MAX_UNPACKED) as raw:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
    if not isinstance(body, dict):
        raise Problem(400, "invalid_body", "the body must be a JSON object")
    return body


def refuse(faults: list[str]) -> None:
    """Raises `Problem` 400 with every fault and its path, if there is one."""
    if faults:
        errors = [{"path": path, "message": message} for path, _, message in (f.partition(": ") for f in faults)]
        raise Problem(400, "invalid_body", "the body cannot be right; `errors` names each fault", errors=errors)

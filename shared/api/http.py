"""What all HTTP functions share: errors as problem+json (RFC 9457), JSON answers, and the frame around a handler."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from shared import log
from shared.domain.faults import ConfigError
from shared.flags import FlagsUnknown
from shared.settings import SettingsError
from shared.store.protocol import StoreError

if TYPE_CHECKING:
    from shared.bootstrap import App

LARGEST_DISCARDED = 32 * 1024 * 1024
_PIECE = 64 * 1024

Handler = Callable[[Request, "App"], Response]


class Problem(Exception):
    """An error to be answered. `code` is stable, for programs; `errors` names every fault of a body with its path.

    `more`: members of its own, such as the moves that are allowed instead.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.more = more or {}

    def response(self) -> Response:
        body: dict[str, Any] = {
            "type": f"urn:f0ops:problem:{self.code}",
            "title": self.code.replace("_", " "),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.more,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        answer = Response(json.dumps(body), self.status, content_type="application/problem+json")
        answer.headers.update(self.headers)
        return no_store(answer)


def no_store(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "private, no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def answer(body: Any, status: int = 200) -> Response:
    """A JSON answer that nobody may cache; public routes set their own Cache-Control."""
    return no_store(Response(json.dumps(body), status, content_type="application/json"))


def require_method(request: Request, *allowed: str) -> None:
    if request.method not in allowed:
        raise Problem(405, "method_not_allowed", f"use {' or '.join(allowed)}", headers={"Allow": ", ".join(allowed)})


def run(handler: Handler, request: Request) -> Response:
    """Call a handler with the process's App; whatever goes wrong becomes a problem answer, never a stack trace."""
    from shared import bootstrap  # late: a test or the local server may install its own App first

    app: App | None = None
    try:
        app = bootstrap.current()
        log.set_trace(request.headers, app.settings.project)
        return handler(request, app)
    except Exception as error:  # noqa: BLE001 - the last resort: told in the log, answered as 500
        if app is None:
            log.set_trace(request.headers, None)
        return problem_of(error).response()
    finally:
        _discard_body(request)
        if not gc.isenabled():  # main.py switched it off for the cold start: what was imported is here to stay
            gc.freeze()
            gc.enable()


def _discard_body(request: Request) -> None:
    """Take in what a handler left of the body: functions-framework would read all of it into memory, however large.

    A client whose body is not taken in may find its connection broken before it has read the answer. Beyond what Cloud
    Run lets through, it does.
    """
    sent = request.environ
    if sent.get("CONTENT_LENGTH", "0") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in sent:
        request.stream = BytesIO()  # there is none, and what looks for one takes its time
        return
    left = LARGEST_DISCARDED
    with suppress(Exception):  # a client that went away, or a body of broken chunks
        while left > 0 and (piece := request.stream.read(_PIECE)):
            left -= len(piece)
    request.stream = BytesIO()


def problem_of(error: Exception) -> Problem:
    """Whatever went wrong, as it is to be answered. What is not the caller's fault is told in the log here."""
    match error:
        case Problem():
            return error
        case FlagsUnknown():
            detail = "the kill switches cannot be read, so nothing was done: send the same request again"
            return Problem(503, "flags_unknown", detail, headers={"Retry-After": "5"})
        case StoreError():
            log.error("store failed", error, kind=type(error).__name__)
            if not error.retryable:
                return _internal()
            detail = "the store did not answer; nothing is lost if you send the same request again"
            return Problem(503, "store_unavailable", detail, headers={"Retry-After": "5"})
        case SettingsError():
            log.error("the settings are not usable; no request is served", faults=error.faults)
            return Problem(500, "settings_not_usable", "this function is not set up; its log names every fault")
        case ConfigError():
            log.error("the configuration is not usable", source=error.source, faults=error.faults)
            detail = "the configuration is not usable; the function's log names every fault"
            return Problem(500, "configuration_not_usable", detail)
    log.error("unexpected error", error)
    return _internal()


def _internal() -> Problem:
    return Problem(500, "internal", "an unexpected error; it is in the log")

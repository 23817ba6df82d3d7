"""What admins do to an alert: take it on, give it back, say that its firing was false."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.ops_api.alert_answer import id_of, tagged, unknown
from shared.alerts import acknowledge as taking_on
from shared.alerts.marks import MAX_NOTE, Changed, NeverFired, UnknownAlert, mark_false, scrubbed, unmark
from shared.api.http import Problem
from shared.store.protocol import Doc

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_BODY = 8192  # bytes


def acknowledge(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """`together`: the other alerts of its incident that fire, and are acknowledged with it."""
    note = _note(request)
    change = partial(taking_on.acknowledge, app.store, id_of(path), path["caller"], note, now)
    return _changed(change, request, lambda alert: {"together": taking_on.together_with(app.store, alert)})


def not_acknowledged(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    change = partial(taking_on.take_back, app.store, id_of(path), path["caller"], now)
    return _changed(change, request, lambda alert: {"together": taking_on.together_with(app.store, alert)})


def mark(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    note = _note(request)
    return _changed(lambda rev: mark_false(app.store, id_of(path), path["caller"], note, now, rev), request)


def take_back(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    return _changed(lambda rev: unmark(app.store, id_of(path), rev), request)


def _changed(
    change: Callable[[str | None], Doc],
    request: Request,
    more: Callable[[Doc], Mapping[str, Any]] = lambda _: {},
) -> Response:
    try:
        alert = change(_expected(request))
        return tagged(alert, more(alert))
    except UnknownAlert:
        raise unknown() from None
    except taking_on.NotFiring:
        detail = "this alert does not fire now: there is nothing to take on"
        raise Problem(409, "alert_not_firing", detail) from None
    except NeverFired:
        detail = "this alert has no firing on record that could be false: it never fired, or over 400 days ago"
        raise Problem(409, "alert_never_fired", detail) from None
    except Changed as changed:
        detail = "the alert has changed since you read it: it fired or cleared, or was marked; `ETag` is what it is now"
        raise Problem(412, "alert_changed", detail, headers={"ETag": f'"{changed.rev}"'}) from None


def _expected(request: Request) -> str | None:
    """The `rev` of If-Match; None where any will do."""
    given = request.headers.get("If-Match", "*").strip()
    return None if given == "*" else given.strip('"')


def _note(request: Request) -> str | None:
    raw = request.stream.read(MOST_BODY + 1)
    fault = _note_fault(raw)
    if fault:
        raise Problem(400, "invalid_body", fault)
    note = json.loads(raw).get("note") if raw.strip() else None
    return (scrubbed(note) or None) if note else None


def _note_fault(raw: bytes) -> str | None:
    if len(raw) > MOST_BODY:
        return f"the body has at most {MOST_BODY} bytes"
    if not raw.strip():
        return None
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return 'the body must be JSON, such as {"note": "a deployment"}, or empty'
    if not isinstance(body, dict) or set(body) - {"note"}:
        return "the body must be an object with nothing but a `note`"
    note = body.get("note")
    if note is not None and not (isinstance(note, str) and len(note) <= MAX_NOTE):
        return f"`note` must be a text of at most {MAX_NOTE} characters"
    return None

"""The notification centre: what has arrived for admins, and what the caller has read of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from shared.api.bodies import Body, outward, read_body
from shared.api.http import Problem, answer
from shared.api.lists import Asked, by_time, cursor
from shared.delivery import inbox
from shared.notify.inapp import COLLECTION
from shared.store.protocol import Doc

if TYPE_CHECKING:
    from shared.bootstrap import App

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_SHOWN = (
    "alertId", "kind", "severity", "component", "incidentId", "title", "message", "links", "createdAt", "arrivedAt",
)  # fmt: skip


class ReadUntil(Body):
    upTo: str


def arrived(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """The latest first, of the last 90 days."""
    asked = Asked(request, ("unread", "limit", "cursor"))
    unread = asked.choice("unread", ("true", "false")) == "true"
    limit, after = asked.limit(), asked.place(by_time(COLLECTION))
    asked.done()
    found = inbox.page(app.store, path["caller"], now, unread_only=unread, limit=limit, after=after)
    shown = [_shown(doc, read) for doc, read in found.shown]
    return answer({"notifications": shown, "unread": found.unread, "cursor": cursor(found.after)})


def read_one(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    return _marked(lambda: inbox.mark_read(app.store, path["caller"], _id(path["id"]), now))


def read_until(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """All that arrived until the one that is named, which is the newest that the caller has seen."""
    body, _ = read_body(request, ReadUntil)
    return _marked(lambda: inbox.mark_read_until(app.store, path["caller"], _id(body.upTo), now))


def _marked(mark: Callable[[], int]) -> Response:
    try:
        return answer({"unread": mark()})
    except inbox.Unknown:
        raise _unknown() from None
    except inbox.TooManyRead:
        detail = f"at most {inbox.MOST_IDS:,} are marked one by one: mark all up to one by POST /api/ops/inbox/read"
        raise Problem(409, "too_many_read", detail) from None


def _id(given: str) -> str:
    if not _ID.fullmatch(given):
        raise _unknown()
    return given


def _unknown() -> Problem:
    return Problem(404, "unknown_notification", "there is none of this id; they are kept for 90 days")


def _shown(doc: Doc, read: bool) -> dict[str, Any]:
    return {"id": doc.id, **{name: outward(doc.data.get(name)) for name in _SHOWN}, "read": read}

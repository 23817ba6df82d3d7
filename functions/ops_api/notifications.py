"""Notifications as admins read them, with every attempt; dead letters sent again; and a test message on a channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from flask import Request, Response
from pydantic import AfterValidator

from shared.api.bodies import Body, intent_of, marked, outward, read_body, refusals
from shared.api.http import Problem, answer
from shared.api.lists import Asked, by_time, cursor
from shared.audited import once
from shared.delivery import resending
from shared.domain.first_message import path_of
from shared.notify.testing import CHANNELS, send_test
from shared.store.protocol import Data, Query, Store, cursor_of

if TYPE_CHECKING:
    from shared.bootstrap import App

STATES = ("pending", "sending", "delivered", "withheld", "cancelled", "dead")
COLLECTION = "notifications"
MOST_SCANNED = 500  # documents of one answer
_PAGE = 100
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_OF_FIRST = ("notificationId", "dueAt", "attempts")
_HIDDEN = ("owner", "lane", "facts", "attempts")  # of a list


def _channel(name: str) -> str:
    if name not in CHANNELS:
        raise ValueError(f"must be one of {', '.join(CHANNELS)}")
    return name


class Test(Body):
    channel: Annotated[str, AfterValidator(_channel)]


def all_notifications(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """The latest first. A filtered page may be short although more follow: at most 500 are looked through."""
    asked = Asked(request, ("state", "channel", "alert", "limit", "cursor"))
    wanted = {
        "alertId": asked.text("alert"),
        "state": asked.choice("state", STATES),
        "channel": asked.choice("channel", CHANNELS),
    }
    limit, after = asked.limit(), asked.place(by_time(COLLECTION))
    asked.done()
    given = {name: value for name, value in wanted.items() if value is not None}
    found, place = _page(app.store, given, limit, after)
    return answer({"notifications": [_briefly(data) for data in found], "cursor": cursor(place)})


def one_notification(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    doc = app.store.get(f"{COLLECTION}/{_id(path)}")
    if doc is None:
        raise _unknown()
    told = {name: value for name, value in doc.data.items() if name != "owner"}
    return answer(outward({**told, "firstMessage": _first_message(app.store, doc.data)}))


def resend(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """202: it is due again, for another 24 hours, under the same id. 200 if an earlier request with this key did it."""
    key = intent_of(request, path, b"", "resent", now).key
    try:
        data, repeated = resending.resend(app.store, _id(path), path["caller"], now, key.id if key else None)
    except resending.Unknown:
        raise _unknown() from None
    except resending.NotDead as found:
        raise Problem(409, "not_dead", f"only a dead letter is sent again; this one is {found.state}") from None
    except resending.Overtaken:
        detail = "later news of the same alert went out on this channel, or it has cleared: it would tell of the past"
        raise Problem(409, "overtaken", detail) from None
    return marked(answer(_briefly(data), 200 if repeated else 202), repeated)


def test(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """200 with what the other side said, whatever that was. With a key that was used: what it said then."""
    body, raw = read_body(request, Test)
    key = intent_of(request, path, raw, "tested", now).key
    if key is None:
        return answer(send_test(app, body.channel, now))
    with refusals():
        told, repeated = once(app.store, key, lambda: send_test(app, body.channel, now), now)
    if told is None:
        detail = (
            "a test with this Idempotency-Key was begun, and what came of it is not known (yet): look at the channel"
        )
        raise Problem(409, "test_under_way", detail)
    return marked(answer(told), repeated)


def _page(
    store: Store, wanted: Mapping[str, str], limit: int, after: tuple[Any, ...] | None
) -> tuple[list[Data], tuple[Any, ...] | None]:
    """One filter is the query's, the one that leaves least; the others are looked through."""
    first = [(name, "==", value) for name, value in wanted.items()][:1]
    query = Query(COLLECTION, tuple(first), (("createdAt", "desc"),), _PAGE, after)  # type: ignore[arg-type]
    found: list[Data] = []
    place: tuple[Any, ...] | None = None
    for _ in range(MOST_SCANNED // _PAGE):
        docs = store.query(query)
        for doc in docs:
            if any(doc.data[name] != value for name, value in wanted.items()):
                continue
            if len(found) == limit:
                return found, place
            found.append(doc.data)
            place = cursor_of(doc, query)
        if len(docs) < _PAGE:
            return found, None
        place = cursor_of(docs[-1], query)
        query = Query(COLLECTION, query.where, query.order, _PAGE, place)
    return found, place


def _briefly(data: Data) -> dict[str, Any]:
    last = data["attempts"][-1] if data["attempts"] else None
    told = {name: value for name, value in data.items() if name not in _HIDDEN}
    return dict(
        outward({**told, "sloName": data["facts"].get("sloName"), "tries": len(data["attempts"]), "last": last})
    )


def _first_message(store: Store, data: Data) -> Data | None:
    """What was made of the first message of its thread; None if it was never outdated, or cannot be changed."""
    doc = store.get(path_of(data["reference"])) if data["reference"] else None
    return {name: doc.data[name] for name in _OF_FIRST} if doc and doc.data["attempts"] else None


def _id(path: Mapping[str, str]) -> str:
    if not _ID.fullmatch(path["id"]):
        raise _unknown()
    return path["id"]


def _unknown() -> Problem:
    return Problem(404, "unknown_notification", "there is none of this id; they are kept for 90 days")

"""Maintenances: what is planned, a new one, and each way to change one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from flask import Request, Response
from pydantic import Field

from functions.incidents_api import shown
from functions.incidents_api.bodies import UNSENT, Component
from functions.incidents_api.incidents import is_id, known, refusal
from shared import audited
from shared.api import lists
from shared.api.audit_list import audit_of
from shared.api.bodies import Body, Faults, Line, Moment, Text, intent_of, invalid, outward, read_body, refusals, tagged
from shared.api.http import Problem, answer
from shared.audited import Edited, Intent
from shared.domain import maintenance
from shared.domain.faults import WHOLE
from shared.domain.timeline import Refused, count
from shared.incidents import maintenances
from shared.status.published import published
from shared.store.protocol import Data, Doc, Query, StoreError, cursor_of

if TYPE_CHECKING:
    from shared.bootstrap import App

FIELDS = (
    "title", "message", "status", "components", "scheduledFor", "scheduledUntil", "startedAt", "completedAt",
    "publicVisible", "excludeFromSlos", "createdBy", "createdAt", "updatedAt",
)  # fmt: skip
Components = Annotated[list[Component], Field(min_length=1, max_length=20)]
Decide = Callable[[Data, Intent], Data | None]


class NewMaintenance(Body):
    title: Line
    message: Text
    components: Components
    scheduledFor: Moment
    scheduledUntil: Moment
    publicVisible: bool = False
    excludeFromSlos: bool = False


class Changes(Body):
    """Only what is sent is changed."""

    title: Line = ""
    message: Text = ""
    components: Components = Field(default_factory=list)
    scheduledFor: Moment = UNSENT
    scheduledUntil: Moment = UNSENT
    publicVisible: bool = False
    excludeFromSlos: bool = False


class NewUpdate(Body):
    message: Text
    status: maintenance.Status | None = None
    public: bool | None = None


def all_maintenances(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """Those that begin last come first."""
    asked = lists.Asked(request, ("status", "limit", "cursor"))
    status = asked.choice("status", maintenance.STATUSES)
    limit, after = asked.limit(), asked.place(lists.by_time(maintenances.COLLECTION))
    asked.done()
    where: Any = (("status", "==", status),) if status else ()
    query = Query(maintenances.COLLECTION, where, (("scheduledFor", "desc"),), limit + 1, after)
    docs = app.store.query(query)
    place = cursor_of(docs[limit - 1], query) if len(docs) > limit else None
    return answer({"maintenances": [_shown(doc.id, doc.data) for doc in docs[:limit]], "cursor": lists.cursor(place)})


def one_maintenance(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    doc = _found(app, path)
    return tagged(_shown(doc.id, doc.data), Edited(doc.path, doc.data))


def audit(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    return audit_of(app, request, _found(app, path).path)


def plan(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    data, intent = _wanted(app, request, now, path)
    with refusals():
        made = maintenances.create(app.store, data, intent)
    response = _told(app, made, now, 201)
    response.headers["Location"] = f"/api/maintenances/{made.path.rpartition('/')[2]}"
    return response


def preview(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """The maintenance that would be planned, checked as when it is; nothing is stored, so it has no id."""
    data, _ = _wanted(app, request, now, path)
    return answer({**_shown("", data), "id": None})


def _wanted(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> tuple[Data, Intent]:
    def misplaced(sound: Mapping[str, Any]) -> Faults:
        return maintenance.time_faults(sound.get("scheduledFor"), sound.get("scheduledUntil"), now)

    body, raw = read_body(request, NewMaintenance, known=known(app), also=misplaced)
    intent = intent_of(request, path, raw, "planned", now)
    try:
        data = maintenance.planned(
            body.title,
            body.message,
            list(dict.fromkeys(body.components)),
            body.scheduledFor,
            body.scheduledUntil,
            intent.by,
            now,
            visible=body.publicVisible,
            exclude=body.excludeFromSlos,
        )
    except maintenance.Misplaced as fault:
        raise _misplaced(fault) from None
    return data, intent


def edit(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """Needs If-Match, because it replaces what somebody else may have written."""
    body, raw = read_body(request, Changes, known=known(app), also=_out_of_order)
    changes = body.model_dump(include=body.model_fields_set)
    if not changes:
        raise invalid([{"path": WHOLE, "message": "name a field to change"}])
    if "components" in changes:
        changes["components"] = list(dict.fromkeys(changes["components"]))
    intent = intent_of(request, path, raw, "edited", now, needs_version=True)
    return _changed(app, path, intent, lambda data, i: maintenance.edited(data, changes, i.by, now))


def add_update(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """An entry of its timeline, and with `status` a move."""
    body, raw = read_body(request, NewUpdate)
    intent = intent_of(request, path, raw, "updated", now)

    def decide(data: Data, intent: Intent) -> Data:
        return maintenance.updated(data, body.message, intent.by, now, status=body.status, public=body.public)

    return _changed(app, path, intent, decide, 201)


def _found(app: App, path: Mapping[str, str]) -> Doc:
    doc = app.store.get(maintenances.path_of(path["id"])) if is_id(path["id"]) else None
    if doc is None:
        raise _unknown()
    return doc


def _unknown() -> Problem:
    return Problem(404, "unknown_maintenance", "there is none of this id; `GET /api/maintenances` lists them")


def _misplaced(found: maintenance.Misplaced) -> Problem:
    return invalid([{"path": path, "message": message} for path, message in found.faults])


def _out_of_order(sound: Mapping[str, Any]) -> Faults:
    """Of times that are both sent. Whether they suit the maintenance as it is, is seen once that is read."""
    start, end = sound.get("scheduledFor", UNSENT), sound.get("scheduledUntil", UNSENT)
    return [] if UNSENT in (start, end) else maintenance.order_faults(start, end)


def _changed(app: App, path: Mapping[str, str], intent: Intent, decide: Decide, status: int = 200) -> Response:
    if not is_id(path["id"]):
        raise _unknown()
    try:
        with refusals():
            edited = maintenances.change(
                app.store, maintenances.path_of(path["id"]), lambda data: decide(data, intent), intent
            )
    except audited.Missing:
        raise _unknown() from None
    except Refused as refused:
        raise refusal(refused, "maintenance") from None
    except maintenance.Misplaced as fault:
        raise _misplaced(fault) from None
    return _told(app, edited, intent.at, status)


def _told(app: App, edited: Edited, now: datetime, status: int = 200) -> Response:
    """The change stands; its exclusion and the public view follow from it, later if not now."""
    try:
        maintenances.settle(app.store, edited.path, now)
        fresh = app.store.get(edited.path)
    except StoreError:
        fresh = None
    data = fresh.data if fresh else edited.data
    body = {**_shown(edited.path.rpartition("/")[2], data), "published": published(app, now)}
    return tagged(body, Edited(edited.path, data, edited.repeated), status)


def _shown(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    first = int(data.get("earlierUpdates") or 0)
    return {
        "id": name,
        **{field: outward(data.get(field)) for field in FIELDS},
        "allowed": list(maintenance.ALLOWED[data["status"]]),
        "updates": [shown.entry(first + n, update) for n, update in enumerate(data["updates"])],
        "updateCount": count(data),
        "audit": f"/api/maintenances/{name}/audit" if name else None,
        "version": data.get("rev"),
    }

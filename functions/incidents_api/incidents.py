"""Incidents: what there are, a new one, and each way to change one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.incidents_api import bodies, shown
from shared import audited
from shared.api import lists
from shared.api.audit_list import audit_of
from shared.api.bodies import Faults, intent_of, invalid, read_body, refusals, tagged
from shared.api.http import Problem, answer
from shared.audited import Edited, Intent
from shared.domain import action_item, incident, postmortem
from shared.domain.faults import WHOLE
from shared.domain.timeline import Refused, count
from shared.incidents import incidents
from shared.incidents.policy import incident_policy
from shared.status.published import published
from shared.store.protocol import Data, Doc

if TYPE_CHECKING:
    from shared.bootstrap import App

PARAMETERS = ("status", "impact", "component", "postmortem", "text", "from", "to", "limit", "cursor")
Decide = Callable[[Data, Intent], Data | None]


# --- reading


def all_incidents(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """The latest first, each with its last entry only; by `postmortem`, ordered by when it is due, or was written."""
    asked = lists.Asked(request, PARAMETERS)
    status = asked.choice("status", ("open", *incident.STATUSES))
    written_up = asked.choice("postmortem", postmortem.STANDINGS)
    wanted = incidents.Wanted(
        statuses=incident.OPEN if status == "open" else (status,) if status else (),
        postmortem=(written_up, now) if written_up else None,
        impact=asked.choice("impact", incident.IMPACTS),
        component=asked.text("component"),
        text=asked.text("text"),
        start=asked.time("from", now),
        end=asked.time("to", now),
    )
    limit, after = asked.limit(), asked.place(lists.by_time(incidents.COLLECTION))
    asked.done()
    found, place = incidents.listed(app.store, wanted, limit, after)
    summaries = [shown.summary(doc.id, doc.data, now, app.settings.public_url) for doc in found]
    return answer({"incidents": summaries, "cursor": lists.cursor(place)})


def one_incident(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    doc = found(app, path)
    return tagged(shown.incident(doc.id, doc.data, now, app.settings.public_url), Edited(doc.path, doc.data))


def timeline(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """All entries from the first, also those that are not in the document any more."""
    asked = lists.Asked(request, ("limit", "cursor"))
    limit, place = asked.limit(), asked.place(lists.by_number)
    asked.done()
    doc = found(app, path)
    first = place[0] if place else 0
    entries = []
    total = count(doc.data)
    for number, update in enumerate(incidents.timeline(app.store, doc.path, doc.data)):
        if number >= first:
            entries.append(shown.entry(number, update))
            if len(entries) == limit:
                break
    following = first + len(entries)
    return answer({"updates": entries, "cursor": lists.cursor((following,)) if entries and following < total else None})


def audit(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """Every change from the first: who, when, before and after. There is no way to change an entry."""
    return audit_of(app, request, incidents.path_of(found(app, path).id))


# --- changing


def open_one(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    data, intent = _wanted(app, request, now, path)
    with refusals():
        made = incidents.create(app.store, data, intent)
    response = told(app, made, now, 201)
    response.headers["Location"] = f"/api/incidents/{made.path.rpartition('/')[2]}"
    return response


def preview(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """The incident that would be opened, checked as when it is; nothing is stored, so it has no id."""
    data, _ = _wanted(app, request, now, path)
    return answer({**shown.incident("", data, now, app.settings.public_url), "id": None, "publicUrl": None})


def _wanted(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> tuple[Data, Intent]:

    def late(sound: Mapping[str, Any]) -> Faults:
        started = sound.get("startedAt")
        return [("startedAt", "cannot be in the future")] if started is not None and started > now else []

    body, raw = read_body(request, bodies.NewIncident, known=known(app), also=late)
    intent = intent_of(request, path, raw, "opened", now)
    data = incident.new_incident(
        body.title,
        body.impact,
        list(dict.fromkeys(body.components)),
        now,
        by=intent.by,
        status=body.status,
        message=body.message,
        started_at=body.startedAt,
        visible=body.publicVisible,
        public=body.public,
        alert_ids=list(dict.fromkeys(body.alertIds)),
        runbook=body.runbook,
    )
    return data, intent


def edit(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """Needs If-Match, because it replaces what somebody else may have written."""
    body, raw = read_body(request, bodies.Changes, known=known(app))
    changes = body.model_dump(include=body.model_fields_set)
    if not changes:
        raise invalid([{"path": WHOLE, "message": "name a field to change"}])
    changes |= {name: list(dict.fromkeys(changes[name])) for name in ("components", "alertIds") if name in changes}
    intent = intent_of(request, path, raw, "edited", now, needs_version=True)
    policy = incident_policy(app)
    return changed(app, path, intent, lambda data, i: incident.edited(data, changes, i.at, policy))


def add_update(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    body, raw = read_body(request, bodies.NewUpdate)
    intent = intent_of(request, path, raw, "updated", now)
    policy = incident_policy(app)

    def decide(data: Data, intent: Intent) -> Data:
        if body.corrects is not None and body.corrects >= count(data):
            raise invalid([{"path": "corrects", "message": f"there are entries 0 to {count(data) - 1}"}])
        return incident.updated(
            data,
            body.message,
            intent.by,
            now,
            status=body.status,
            public=body.public,
            corrects=body.corrects,
            policy=policy,
        )

    return changed(app, path, intent, decide, 201)


def resolve(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    body, raw = read_body(request, bodies.Resolution)
    intent = intent_of(request, path, raw, "resolved", now)
    policy = incident_policy(app)
    return changed(
        app,
        path,
        intent,
        lambda data, i: incident.resolved(
            data, i.by, now, message=body.message, root_cause=body.rootCause, public=body.public, policy=policy
        ),
    )


def reopen(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    body, raw = read_body(request, bodies.Reopening)
    intent = intent_of(request, path, raw, "reopened", now)
    return changed(
        app,
        path,
        intent,
        lambda data, i: incident.reopened(data, body.message, i.by, now, status=body.status, public=body.public),
    )


def add_item(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    body, raw = read_body(request, bodies.NewItem)
    intent = intent_of(request, path, raw, "action_item_added", now)

    def decide(data: Data, intent: Intent) -> Data:
        return incident.touched(action_item.with_item(data, body.title, body.owner, body.dueAt, now), now)

    return changed(app, path, intent, decide, 201)


def edit_item(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    body, raw = read_body(request, bodies.ItemChanges)
    changes = body.model_dump(include=body.model_fields_set)
    if not changes:
        raise invalid([{"path": WHOLE, "message": "name a field to change"}])
    number = int(path["item"]) if path["item"].isascii() and path["item"].isdecimal() and len(path["item"]) < 9 else 0
    intent = intent_of(request, path, raw, "action_item_changed", now)

    def decide(data: Data, intent: Intent) -> Data:
        return incident.touched(action_item.with_changed(data, number, changes, now), now)

    return changed(app, path, intent, decide)


# --- what they share


def found(app: App, path: Mapping[str, str]) -> Doc:
    name = path["id"]
    doc = app.store.get(incidents.path_of(name)) if is_id(name) else None
    if doc is None:
        raise unknown()
    return doc


def unknown() -> Problem:
    return Problem(404, "unknown_incident", "there is no incident of this id; `GET /api/incidents` lists them")


def is_id(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum() and len(name) <= 200


def known(app: App) -> bodies.Known:
    return bodies.Known(app.settings.config_dir)


def changed(app: App, path: Mapping[str, str], intent: Intent, decide: Decide, status: int = 200) -> Response:
    """The answer to a change of one incident, which is public at once. Raises `Problem` with why it was refused."""
    if not is_id(path["id"]):
        raise unknown()
    try:
        with refusals():
            edited = incidents.change(
                app.store, incidents.path_of(path["id"]), lambda data: decide(data, intent), intent
            )
    except audited.Missing:
        raise unknown() from None
    except Refused as refused:
        raise refusal(refused) from None
    except incident.OutOfOrder as fault:
        raise invalid([{"path": path, "message": message} for path, message in fault.faults]) from None
    except action_item.TooMany:
        raise Problem(409, "too_many_action_items", f"an incident has at most {action_item.MOST}") from None
    except action_item.Unknown:
        raise Problem(404, "unknown_action_item", "the incident has no action item of this number") from None
    return told(app, edited, intent.at, status)


def refusal(refused: Refused, what: str = "incident") -> Problem:
    more = {"statusNow": refused.status, "allowed": list(refused.allowed)}
    allowed = ", ".join(refused.allowed)
    if refused.wanted == "rootCause":
        detail = f"the incident is {refused.status}: a root cause is written once it is resolved"
        return Problem(409, "not_resolved", detail, more=more)
    detail = f"the {what} is {refused.status}, which does not allow {refused.wanted}; allowed: {allowed or 'nothing'}"
    return Problem(409, "move_not_allowed", detail, more=more)


def told(app: App, edited: Edited, now: datetime, status: int = 200) -> Response:
    """The incident after the change, once the public view has it too. `published` false: that follows in a minute."""
    name, page = edited.path.rpartition("/")[2], app.settings.public_url
    body: dict[str, Any] = shown.incident(name, edited.data, now, page)
    return tagged({**body, "published": published(app, now)}, edited, status)

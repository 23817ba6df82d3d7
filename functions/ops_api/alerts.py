"""Alerts as admins read them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from flask import Request, Response

from functions.ops_api.alert_answer import ALERT_ID, alert_of, id_of, iso, tagged, unknown
from shared.alerts.quiet import quiet_reader
from shared.alerts.writes import AlertWrites
from shared.api.http import Problem, answer
from shared.delivery.policy import PolicyLoader
from shared.domain import follow_up
from shared.domain.alert_policy import Severity
from shared.domain.quiet import Hold
from shared.notify.registry import configured
from shared.store.protocol import Doc, Query, Store, cursor_of

if TYPE_CHECKING:
    from shared.bootstrap import App

OPEN = ("firing", "pending")
CLOSED = ("resolved", "ok")
SEVERITIES: tuple[str, ...] = get_args(Severity)  # the worst first
PARAMETERS = ("state", "slo", "limit", "cursor")
USUAL_LIMIT, MOST = 50, 200
MOST_READ = 500  # documents of one answer


def all_alerts(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """The first page has every open alert: what fires, the worst first, then what is pending; then the others come."""
    one = _parameters(request)
    state, slo = one.get("state"), one.get("slo")
    limit, after = int(one.get("limit", USUAL_LIMIT)), _after(one.get("cursor"))
    found: list[Doc] = []
    cursor: str | None = None
    if after is None and state not in CLOSED:
        found += _open(app.store, state, slo)
    if state not in OPEN:
        closed, cursor = _closed(app.store, state, slo, limit, after)
        found += closed
    writes = _writes(app, now)
    return answer({"alerts": [{**alert_of(doc), **_coming(app, writes, doc)} for doc in found], "cursor": cursor})


def one_alert(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    doc = app.store.get(f"alerts/{id_of(path)}")
    if doc is None:
        raise unknown()
    return tagged(doc, {"told": _told(app, doc), **_coming(app, _writes(app, now), doc)})


def _told(app: App, doc: Doc) -> dict[str, Any]:
    """By channel what became of the last notification, with the reason if it was not sent."""
    names = {channel: f"notifications/{doc.id}-{was['seq']}-{channel}" for channel, was in doc.data["channels"].items()}
    docs = app.store.get_many(list(names.values())) if names else []
    told: dict[str, Any] = {}
    for channel, found in zip(names, docs, strict=True):
        data = found.data if found else doc.data["channels"][channel]
        told[channel] = {
            "notificationId": names[channel].partition("/")[2],
            **{name: data.get(name) for name in ("kind", "state", "reason", "groupId")},
            **{name: iso(data.get(name)) for name in ("dueAt", "deliveredAt")},
            "heldBy": _held(data.get("heldBy")),
            "waitsFor": _held(data.get("waitsFor")),
        }
    return told


def _held(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {**data, "until": iso(data.get("until"))} if data else None


def _writes(app: App, now: datetime) -> AlertWrites:
    return AlertWrites(app.store, app.flags.all(), configured(app), now, quiet_reader(app))


def _holds(writes: AlertWrites, doc: Doc, further: Sequence[str]) -> dict[str, Any]:
    """By channel, those that are told next too, what would hold it back now, or null."""
    if doc.data["state"] != "firing" or doc.data.get("firedAt") is None:
        return {}
    found: dict[str, Any] = {}
    speaks = doc.data.get("saidBy")  # another alert, in place of this one
    for channel in (*doc.data["channels"], *further):
        hold = (
            Hold("higher_threshold", speaks)
            if speaks
            else writes.withheld(channel, doc.id, doc.data.get("rule") or "", doc.data, "trigger")
        )
        found[channel] = hold and {"reason": hold.reason, "by": hold.by, "until": iso(hold.until)}
    return found


def _coming(app: App, writes: AlertWrites, doc: Doc) -> dict[str, Any]:
    """What holds it back, and when it is passed on, to which further channels, and repeated, if nobody has it by then.

    `escalationDue`: its time has come; what is held back is passed on once nothing holds it back any more.
    """
    policy = app.part(PolicyLoader).policy
    times, further = follow_up.times(doc.data, policy), follow_up.further(doc.data, policy)
    due = times["escalates"] is not None and times["escalates"] <= writes.now
    told = {name: iso(moment) for name, moment in times.items()}
    return {
        "holds": _holds(writes, doc, further),
        "next": {**told, "escalatesTo": further, "escalationDue": due},
    }


# --- what is asked for


def _parameters(request: Request) -> dict[str, str]:
    given = request.args.to_dict(flat=False)
    one = {name: values[0] for name, values in given.items()}
    faults = [(n, f"unknown parameter; there are {', '.join(PARAMETERS)}") for n in given if n not in PARAMETERS]
    faults += [(name, "given more than once") for name, values in given.items() if len(values) > 1]
    if one.get("state") not in (None, *OPEN, *CLOSED):
        faults.append(("state", f"must be one of {', '.join((*OPEN, *CLOSED))}"))
    limit = one.get("limit", "1")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 3 and 1 <= int(limit) <= MOST):
        faults.append(("limit", f"must be a whole number from 1 to {MOST}"))
    try:
        _after(one.get("cursor"))
    except (ValueError, TypeError, AttributeError, OverflowError):
        faults.append(("cursor", "must be the `cursor` of an earlier answer"))
    if faults:
        errors = [{"path": name, "message": message} for name, message in faults]
        raise Problem(400, "invalid_query", "the parameters cannot be right; `errors` names each", errors=errors)
    return one


def _after(cursor: str | None) -> tuple[datetime, str] | None:
    """Raises whatever a text that no answer had may lead to."""
    if cursor is None:
        return None
    moment, path = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=="))
    if not path.startswith("alerts/") or not ALERT_ID.fullmatch(path.removeprefix("alerts/")):
        raise ValueError("no path of an alert")
    return datetime.fromisoformat(moment).astimezone(UTC), path


def _cursor(doc: Doc) -> str:
    text = json.dumps([doc.data["updatedAt"].isoformat(), doc.path])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


# --- what there is


def _open(store: Store, state: str | None, slo: str | None) -> list[Doc]:
    docs = store.query(Query("alerts", (("state", "in", (state,) if state else OPEN),), limit=MOST_READ))
    wanted = [doc for doc in docs if slo in (None, doc.data["sloId"])]
    wanted.sort(key=lambda doc: doc.data["since"], reverse=True)
    return sorted(wanted, key=lambda doc: (OPEN.index(doc.data["state"]), _rank(doc.data.get("severity"))))


def _rank(severity: str | None) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _closed(
    store: Store, state: str | None, slo: str | None, limit: int, after: tuple[datetime, str] | None
) -> tuple[list[Doc], str | None]:
    """A page, and where the next one goes on. It may have fewer where many had to be passed over."""
    states = (state,) if state else CLOSED
    page = Query("alerts", order=(("updatedAt", "desc"),), limit=100, after=after)
    found: list[Doc] = []
    for _ in range(MOST_READ // page.limit):
        docs = store.query(page)
        for doc in docs:
            if doc.data["state"] in states and slo in (None, doc.data["sloId"]):
                if len(found) == limit:
                    return found, _cursor(found[-1])
                found.append(doc)
        if len(docs) < page.limit:
            return found, None
        page = Query("alerts", order=page.order, limit=page.limit, after=cursor_of(docs[-1], page))
    return found, _cursor(docs[-1])

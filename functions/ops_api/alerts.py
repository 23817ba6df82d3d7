"""Alerts as admins read them, and the mark that says a firing was false."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

from flask import Request, Response

from shared.alerts import acknowledge as taking_on
from shared.alerts.marks import MAX_NOTE, Changed, NeverFired, UnknownAlert, mark_false, scrubbed, unmark
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
MOST_BODY = 8192  # bytes
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_TIMES = ("since", "calmSince", "firedAt", "resolvedAt", "updatedAt")
_KEPT = (
    "alertId", "sloId", "sloName", "rule", "severity", "component", "state", "reason", "seq", "metric", "labels",
    "unit", "under", "aggregation", "value", "threshold", "comparison", "good", "total", "windowSeconds", "burn",
    "incidentId", "channels",
)  # fmt: skip


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
    return answer({"alerts": [{**_alert(doc), **_coming(app, writes, doc)} for doc in found], "cursor": cursor})


def one_alert(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    doc = app.store.get(f"alerts/{_id(path)}")
    if doc is None:
        raise _unknown()
    return _tagged(doc, {"told": _told(app, doc), **_coming(app, _writes(app, now), doc)})


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
            **{name: _iso(data.get(name)) for name in ("dueAt", "deliveredAt")},
            "heldBy": _held(data.get("heldBy")),
            "waitsFor": _held(data.get("waitsFor")),
        }
    return told


def _held(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {**data, "until": _iso(data.get("until"))} if data else None


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
        found[channel] = hold and {"reason": hold.reason, "by": hold.by, "until": _iso(hold.until)}
    return found


def _coming(app: App, writes: AlertWrites, doc: Doc) -> dict[str, Any]:
    """What holds it back, and when it is passed on, to which further channels, and repeated, if nobody has it by then.

    `escalationDue`: its time has come; what is held back is passed on once nothing holds it back any more.
    """
    policy = app.part(PolicyLoader).policy
    times, further = follow_up.times(doc.data, policy), follow_up.further(doc.data, policy)
    due = times["escalates"] is not None and times["escalates"] <= writes.now
    told = {name: _iso(moment) for name, moment in times.items()}
    return {
        "holds": _holds(writes, doc, further),
        "next": {**told, "escalatesTo": further, "escalationDue": due},
    }


def acknowledge(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """`together`: the other alerts of its incident that fire, and are acknowledged with it."""
    note = _note(request)
    change = partial(taking_on.acknowledge, app.store, _id(path), path["caller"], note, now)
    return _changed(change, request, lambda alert: {"together": taking_on.together_with(app.store, alert)})


def not_acknowledged(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    change = partial(taking_on.take_back, app.store, _id(path), path["caller"], now)
    return _changed(change, request, lambda alert: {"together": taking_on.together_with(app.store, alert)})


def mark(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    note = _note(request)
    return _changed(lambda rev: mark_false(app.store, _id(path), path["caller"], note, now, rev), request)


def take_back(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    return _changed(lambda rev: unmark(app.store, _id(path), rev), request)


# --- what is asked for


def _id(path: Mapping[str, str]) -> str:
    if not _ID.fullmatch(path["id"]):
        raise _unknown()
    return path["id"]


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
    if not path.startswith("alerts/") or not _ID.fullmatch(path.removeprefix("alerts/")):
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


def _alert(doc: Doc) -> dict[str, Any]:
    marked, taken = doc.data.get("markedFalse"), doc.data.get("acknowledged")
    return {
        **{name: doc.data.get(name) for name in _KEPT},
        **{name: _iso(doc.data.get(name)) for name in _TIMES},
        "firingSeq": doc.data.get("firingSeq"),
        "markedFalse": marked and {**marked, "at": _iso(marked["at"])},
        "acknowledged": taken and {**taken, "at": _iso(taken["at"])},
        "rev": doc.data["rev"],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


# --- what changes


def _changed(
    change: Callable[[str | None], Doc],
    request: Request,
    more: Callable[[Doc], Mapping[str, Any]] = lambda _: {},
) -> Response:
    try:
        alert = change(_expected(request))
        return _tagged(alert, more(alert))
    except UnknownAlert:
        raise _unknown() from None
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


def _tagged(doc: Doc, more: Mapping[str, Any] | None = None) -> Response:
    response = answer({**_alert(doc), **(more or {})})
    response.headers["ETag"] = f'"{doc.data["rev"]}"'
    return response


def _unknown() -> Problem:
    return Problem(404, "unknown_alert", "no alert of this id ever began; `GET /api/ops/alerts` lists those that did")

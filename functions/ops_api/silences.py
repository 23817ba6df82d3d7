"""Silences: what there is, one more, what one would match, and ending one early."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

from flask import Request, Response
from pydantic import Field, PlainValidator

from shared import log
from shared.alerts.silences import MOST, KeyReused, TooMany, add, ended, expire, not_ended, one_silence
from shared.api.bodies import Body, Faults, Line, Moment, intent_of, outward, read_body
from shared.api.http import Problem, answer
from shared.api.lists import Asked
from shared.domain.matcher import Matcher, labels_of, matcher, parse, warnings_of
from shared.domain.silence import Silence, matcher_faults, time_faults
from shared.store.protocol import Query

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_BODY = 16_384  # bytes
MOST_ALERTS = 1000  # that a preview looks at


Minutes = Annotated[int, Field(ge=1, le=43_200)]


def _matcher(given: Any) -> Matcher:
    if isinstance(given, str):
        return parse(given)
    if not isinstance(given, dict):
        raise ValueError('must be a text such as severity="critical", or an object with name, operator and value')
    if unknown := [name for name in given if name not in ("name", "operator", "value")]:
        raise ValueError(f"there is no such field: {', '.join(unknown)}")
    return matcher(given.get("name"), given.get("operator", "="), given.get("value"))


class Matchers(Body):
    """Each matcher is a text such as `severity="critical"`, or has name, operator and value."""

    matchers: Annotated[list[Annotated[Matcher, PlainValidator(_matcher)]], Field(max_length=100)]


class Preview(Matchers):
    """What the silence is to have besides may be sent too: it is checked as when it is made."""

    comment: Line | None = None
    startsAt: Moment | None = None
    endsAt: Moment | None = None
    minutes: Minutes | None = None


class NewSilence(Matchers):
    """`startsAt`: now, unless said; `endsAt` or `minutes`."""

    comment: Line
    startsAt: Moment | None = None
    endsAt: Moment | None = None
    minutes: Minutes | None = None


def all_silences(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """Those that have not ended, the first to end first; with `ended` the last that did."""
    asked = Asked(request, ("state", "limit"))
    state, limit = asked.choice("state", ("open", "expired")), asked.limit()
    asked.done()
    found = ended(app.store, now, limit) if state == "expired" else not_ended(app.store, now)
    return answer({"silences": [shown(one, now) for one in found]})


def one(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    found = one_silence(app.store, path["id"]) if path["id"].isalnum() else None
    if found is None:
        raise _unknown()
    return answer(shown(found, now))


def silence(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    body, raw = read_body(request, NewSilence, MOST_BODY, also=lambda sound: _faults(sound, now))
    intent = intent_of(request, path, raw, "silenced", now)
    starts = body.startsAt or now
    ends = body.endsAt or starts + timedelta(minutes=body.minutes or 0)
    key = request.headers.get("Idempotency-Key")
    name = secrets.token_hex(6) if key is None else _digest(path["caller"], key)
    wanted = Silence(name, tuple(body.matchers), starts, ends, intent.by, now, body.comment)
    try:
        made, repeated = add(app.store, wanted, None if key is None else _digest(raw.decode(errors="replace")), now)
    except KeyReused:
        detail = "another silence was made with this Idempotency-Key: a key stands for one request"
        raise Problem(422, "idempotency_key_reused", detail) from None
    except TooMany:
        raise Problem(409, "too_many_silences", f"at most {MOST} silences at a time: expire some") from None
    if not repeated:
        log.info("alerts were silenced", silence=made.id)
    return answer(shown(made, now), 200 if repeated else 201)


def preview(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """The alerts on record that these matchers mean, those that fire first."""

    def faults(sound: Mapping[str, Any]) -> Faults:
        ends = sound.get("endsAt") is not None or sound.get("minutes") is not None
        return _faults(sound, now) if ends else _of_matchers(sound)

    body, _raw = read_body(request, Preview, MOST_BODY, also=faults)
    docs = app.store.query(Query("alerts", order=(("updatedAt", "desc"),), limit=MOST_ALERTS))
    names = {name for slo in app.slos.current().slos for name, _ in slo.labels}
    found = []
    for doc in docs:
        labels = labels_of(doc.id, doc.data.get("rule") or "", doc.data)
        names |= labels.keys()
        if all(one.matches(labels) for one in body.matchers):
            found.append({"alertId": doc.id, "state": doc.data["state"], "labels": dict(labels)})
    found.sort(key=lambda alert: alert["state"] != "firing")
    firing = sum(alert["state"] == "firing" for alert in found)
    warnings = warnings_of(body.matchers, names)
    return answer({"matches": len(found), "firing": firing, "alerts": found[:100], "warnings": warnings})


def end(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """What it holds back is told from now on, if it still fires. Again it changes nothing more."""
    found = expire(app.store, path["id"], now) if path["id"].isalnum() else None
    if found is None:
        raise _unknown()
    log.info("a silence was expired", silence=found.id)
    return answer(shown(found, now))


def shown(one: Silence, now: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = outward(
        {
            "id": one.id,
            "state": one.state(now),
            "matchers": [{"name": m.name, "operator": m.operator, "value": m.value} for m in one.matchers],
            "text": [str(m) for m in one.matchers],
            "startsAt": one.starts_at,
            "endsAt": one.ends_at,
            "createdBy": one.created_by,
            "createdAt": one.created_at,
            "comment": one.comment,
            "expiredAt": one.expired_at,
        }
    )
    return shown


def _of_matchers(sound: Mapping[str, Any]) -> Faults:
    return [("matchers", message) for message in matcher_faults(sound["matchers"])] if "matchers" in sound else []


def _faults(sound: Mapping[str, Any], now: datetime) -> Faults:
    faults = _of_matchers(sound)
    if not {"endsAt", "minutes"} <= sound.keys():
        return faults
    ends, minutes = sound["endsAt"], sound["minutes"]
    if (ends is None) is (minutes is None):
        return [*faults, ("endsAt", "a silence always ends: give `endsAt` or `minutes`")]
    starts = sound.get("startsAt", now) or now
    return faults + time_faults(starts, ends or starts + timedelta(minutes=minutes), now)


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _unknown() -> Problem:
    return Problem(404, "unknown_silence", "there is none of this id; `GET /api/ops/silences` lists them")

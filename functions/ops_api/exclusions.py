"""Times that count neither good nor bad, such as maintenance: what there is, one more, and taking one back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from shared import log
from shared.api.http import Problem, answer
from shared.components import load_components
from shared.domain.exclusion import Exclusion, outward
from shared.domain.query_range import moment
from shared.metrics.layout import KEEP
from shared.slo.exclusions import EXCLUSIONS, MOST, MOST_BYTES, KeyReused, TooMany, add, cancel, exclusions_of

if TYPE_CHECKING:
    from shared.bootstrap import App

FIELDS = ("from", "to", "slos", "components", "reason")
BACK = KEEP["day"]  # of days before that only sums are kept
AHEAD = timedelta(days=90)
LONGEST = timedelta(days=31)  # what takes longer is no maintenance: the SLO is not wanted then
MOST_BODY = 16_384  # bytes
MOST_NAMES = 100
LONGEST_REASON = 200  # characters
LONGEST_KEY = 255
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Faults = list[dict[str, str]]


def all_exclusions(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """The latest first."""
    found = exclusions_of(app.store.get(EXCLUSIONS))
    return answer({"exclusions": [shown(one) for one in reversed(found)]})


def exclude(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    body = _body(request)
    faults: Faults = []
    faults += [
        {"path": name, "message": f"unknown; there are {', '.join(FIELDS)}"} for name in body if name not in FIELDS
    ]
    times = [_moment(body, name, now, faults) for name in ("from", "to")]
    ids = [slo.id for slo in app.slos.current().slos]
    slos = _names(body, "slos", ids, "SLO", faults)
    known = [c.id for c in load_components(app.settings.config_dir).components]
    components = _names(body, "components", known, "component", faults)
    reason = _reason(body, faults)
    start, end = times
    faults += _faults_of(start, end, now)
    if faults or start is None or end is None:
        raise Problem(400, "invalid_body", "the body cannot be right; `errors` names each fault", errors=faults)
    span = outward(start, end)
    key, caller = _key(request), path["caller"]
    wanted = Exclusion(
        id=secrets.token_hex(6) if key is None else _digest(caller, key),
        span=span,
        reason=reason,
        created_by=caller,
        created_at=now,
        slos=slos,
        components=components,
        request=None if key is None else _digest(json.dumps(body, sort_keys=True)),
    )
    try:
        made, repeated = add(app.store, wanted, now)
    except KeyReused:
        detail = "another exclusion was made with this Idempotency-Key: a key stands for one request"
        raise Problem(422, "idempotency_key_reused", detail) from None
    except TooMany as full:
        detail = (
            f"at most {MOST} exclusions are kept, the cancelled ones among them, until 400 days after their end: there "
            f"are {full.kept} with {full.size} bytes, of which {MOST_BYTES} have room. The first of them goes on "
            f"{_iso(full.room_at)}. Several SLOs or components may share one exclusion"
        )
        raise Problem(409, "too_many_exclusions", detail) from None
    if not repeated:
        log.info("time was excluded from SLOs", exclusion=made.id)
    return answer({**shown(made), "rounded": made.span != (start, end)}, 200 if repeated else 201)


def take_back(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """Its slots count again; it is kept for the record. Again it changes nothing more."""
    found = cancel(app.store, path["id"], now)
    if found is None:
        raise Problem(404, "unknown_exclusion", "there is none of this id; `GET /api/ops/exclusions` lists them all")
    log.info("an exclusion was cancelled", exclusion=found.id)
    return answer(shown(found))


def shown(one: Exclusion) -> dict[str, Any]:
    """As an answer has it."""
    return {
        "id": one.id,
        "from": _iso(one.span.start),
        "to": _iso(one.span.end),
        "slos": None if one.slos is None else list(one.slos),
        "components": None if one.components is None else list(one.components),
        "reason": one.reason,
        "createdBy": one.created_by,
        "createdAt": _iso(one.created_at),
        "cancelledAt": one.cancelled_at and _iso(one.cancelled_at),
    }


# --- what is asked for


def _body(request: Request) -> dict[str, Any]:
    raw = request.stream.read(MOST_BODY + 1)
    if len(raw) > MOST_BODY:
        raise Problem(413, "body_too_large", f"at most {MOST_BODY} bytes")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Problem(400, "invalid_body", "the body must be a JSON object with from, to and reason")
    return body


def _key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise Problem(400, "invalid_idempotency_key", f"an Idempotency-Key has 1 to {LONGEST_KEY} characters")
    return key


def _moment(body: Mapping[str, Any], name: str, now: datetime, faults: Faults) -> datetime | None:
    given = body.get(name)
    try:
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise ValueError("must be a time, such as 2026-03-01T12:00:00Z or -2h")
        return _EPOCH + timedelta(milliseconds=moment(str(given), now))
    except ValueError as error:
        faults.append({"path": name, "message": str(error)})
        return None


def _faults_of(start: datetime | None, end: datetime | None, now: datetime) -> Faults:
    """Of the times that are known."""
    faults = []
    if start is not None and start < now - BACK:
        message = f"at most {BACK.days} days back: of days before that only sums are kept, and nothing can be taken out"
        faults.append({"path": "from", "message": message})
    if start is not None and end is not None and end <= start:
        faults.append({"path": "to", "message": "must be later than `from`"})
    if end is not None and end > now + AHEAD:
        faults.append({"path": "to", "message": f"at most {AHEAD.days} days ahead"})
    if not faults and start is not None and end is not None and end - start > LONGEST:
        message = f"at most {LONGEST.days} days after `from`; take an SLO that is not wanted for longer out of the SLOs"
        faults.append({"path": "to", "message": message})
    return faults


def _reason(body: Mapping[str, Any], faults: Faults) -> str:
    given = body.get("reason")
    reason = given.strip() if isinstance(given, str) else ""
    if not (0 < len(reason) <= LONGEST_REASON and reason.isprintable()):
        message = f"say why, in one line of 1 to {LONGEST_REASON} characters"
        faults.append({"path": "reason", "message": message})
    return reason


def _names(
    body: Mapping[str, Any], field: str, known: Sequence[str], what: str, faults: Faults
) -> tuple[str, ...] | None:
    """None stands for all."""
    given = body.get(field)
    if given is None:
        return None
    if not isinstance(given, list) or not 0 < len(given) <= MOST_NAMES:
        faults.append({"path": field, "message": f"must be a list of 1 to {MOST_NAMES}, or absent for all"})
        return None
    faults += [
        {"path": f"{field}[{n}]", "message": f"there is no such {what}; there are {', '.join(known) or 'none'}"}
        for n, name in enumerate(given)
        if name not in known
    ]
    return tuple(dict.fromkeys(name for name in given if isinstance(name, str)))


def _digest(*parts: str) -> str:
    return blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

"""The success metrics of a week or a month as data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from flask import Request, Response

from functions.ops_api.metrics import Turns
from shared.api.http import Problem, answer
from shared.domain.query_range import moment
from shared.domain.report import DAYS, Period
from shared.metrics.query import TooManyDocuments
from shared.slo.success_report import MOST, Line, TooEarly, TooManyRecords, make_report

if TYPE_CHECKING:
    from shared.bootstrap import App

PARAMETERS = ("period", "to")


def success(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    period, to = _asked(request, now)
    try:
        with app.part(Turns).semaphore:
            found = make_report(app, period, to, now)
    except TooEarly as error:
        message = f"metrics are not kept so long: the earliest is {_iso(error.earliest)}"
        raise _invalid([("to", message)]) from None
    except (TooManyDocuments, TooManyRecords):
        detail = f"more would be read than is allowed: at most {MOST:,} firings, and {MOST:,} incidents"
        raise Problem(422, "query_too_large", detail) from None
    body = {
        "period": period,
        "from": _iso(found.start),
        "to": _iso(found.end),
        "metrics": [_line(line) for line in found.lines],
        "configurations": [
            {"version": one.version, "hash": one.hash, "since": _iso(one.since)} for one in found.versions
        ],
        "reads": found.reads,
    }
    return answer(body)


def _asked(request: Request, now: datetime) -> tuple[Period, datetime | None]:
    given = request.args.to_dict(flat=False)
    faults = [
        (name, f"unknown parameter; there are {', '.join(PARAMETERS)}") for name in given if name not in PARAMETERS
    ]
    faults += [(name, "given more than once") for name, values in given.items() if len(values) > 1]
    period = request.args.get("period", "week")
    if period not in DAYS:
        faults.append(("period", f"must be one of {', '.join(DAYS)}"))
    to: datetime | None = None
    text = request.args.get("to", "now")
    try:
        if text != "now":
            to = datetime.fromtimestamp(moment(text, now) / 1000, UTC)
            if to > now:
                faults.append(("to", "must not be in the future"))
    except ValueError as error:
        faults.append(("to", str(error)))
    if faults:
        raise _invalid(faults)
    return cast(Period, period), to


def _invalid(faults: list[tuple[str, str]]) -> Problem:
    errors = [{"path": name, "message": message} for name, message in faults]
    return Problem(400, "invalid_query", "the parameters cannot be right; `errors` names each", errors=errors)


def _line(line: Line) -> dict[str, Any]:
    target, measured = line.target, line.measured
    return {
        "id": target.metric,
        "name": target.name,
        "value": None if measured.value is None else float(measured.value),
        "unit": target.unit,
        "target": float(target.value),
        "comparison": target.comparison,
        "verdict": line.verdict,
        "counts": dict(measured.counts),
        "estimated": measured.estimated,
        "how": target.how,
        "reason": measured.reason,
    }


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")

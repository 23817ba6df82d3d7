"""/api/usage/{uid}: what one user used, by day and month; exported whole; and erased."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.usage_api import quotas
from functions.usage_api.quotas import known_uid
from functions.usage_api.switch import require_dashboard
from shared.api.http import Problem, answer, no_store
from shared.api.spreadsheet import harmless
from shared.domain.cost_day import part_data, summed
from shared.domain.ledger import Data, Part, amount_of, cells_of, parts_of, summary_of
from shared.domain.quota import Account
from shared.domain.usage import user_key
from shared.store.protocol import Doc, Query
from shared.usage.accounts import account_path, accounts_for
from shared.usage.user_usage import StillChanging, days_of, erase_usage, export_usage

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_DAYS = 400
FORMATS = ("json", "csv")
SUMMARY = (
    "calls", "tokens", "duration", "cost", "estimated_cost_usd", "quota_pct", "breakdown_by_model",
    "breakdown_by_plan", "breakdown_by_provider", "unpriced",
)  # fmt: skip
COLUMNS = ("day", "provider", "model", "plan", "calls", "tokens", "durationMs", "costUsd", "unpricedCalls")


def one_user(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """The days of a time (this month unless it is said), their months, and how the quota stands. `format=csv`."""
    require_dashboard(app)
    uid = known_uid(path)
    start, end = days_asked(request, now, {"format": FORMATS})
    accounts = app.part(accounts_for)
    doc = app.store.get(account_path(uid))
    account = Account(doc.data if doc else None, accounts.plans, now)
    days = days_of(app.store, uid, start, end)
    prices = accounts.prices
    by_day = {d.data["day"]: parts_of(d.data["day"], cells_of(d.data), prices) for d in days}
    if request.args.get("format") == "csv":
        return _csv(by_day)
    rows: dict[str, list[list[Part]]] = {}
    for day, parts in by_day.items():
        rows.setdefault(day[:7], []).append(parts)
    months = {month: summed(of) for month, of in rows.items()}
    return answer(
        {
            "uid": uid,
            "user": user_key(uid),
            "from": start,
            "to": end,
            "daily": [{"day": d.data["day"], **_summary(d)} for d in days],
            "monthly": [
                {"month": month, **summary_of(of, account.percent_of_month(amount_of(of)), prices.pricing.key)}
                for month, of in sorted(months.items())
            ],
            "quota": quotas.shown(account, list(account.standings())),
        }
    )


def by_key(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """Whose key this is that an alert or the inbox names: `?key=user-…`."""
    require_dashboard(app)
    key = request.args.get("key", "")
    found = app.store.query(Query("quota", (("key", "==", key),), limit=1)) if key else []
    if not found:
        raise Problem(404, "unknown_user", "no user has this key; `?key=user-…` as alerts and the inbox name it")
    return answer({"user": key, "uid": found[0].id})


def export(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """All that is kept of a user's usage, as it is stored, for who asks for their data."""
    uid = known_uid(path)
    text = json.dumps({"uid": uid, "exportedAt": now.isoformat(), **export_usage(app.store, uid)}, indent=1)
    response = no_store(Response(text, content_type="application/json"))
    response.headers["Content-Disposition"] = 'attachment; filename="usage.json"'
    return response


def erase(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """The user's documents are deleted; the organisation's totals stay. Again, or after a kill, it goes on."""
    uid = known_uid(path)
    try:
        return answer({"user": user_key(uid), **erase_usage(app, uid, now)})
    except StillChanging:
        detail = "usage of this user comes in as fast as it is counted; stop its calls, or try again"
        raise Problem(503, "user_still_changing", detail, headers={"Retry-After": "30"}) from None


def days_asked(
    request: Request, now: datetime, others: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> tuple[str, str]:
    """`from` and `to`, both included, as 2026-11-29; this month unless they are given.

    Raises `Problem` 400 with every fault: also of a parameter that there is not, or of one of `others` with a value
    that it cannot have.
    """
    today = now.astimezone(UTC).date()
    known = ", ".join(("from", "to", *others))
    faults = [
        {"path": name, "message": f"unknown parameter; there are {known}"}
        for name in request.args
        if name not in ("from", "to", *others)
    ]
    faults += [
        {"path": name, "message": f"must be one of {', '.join(values)}"}
        for name, values in others.items()
        if name in request.args and request.args[name] not in values
    ]
    found: dict[str, date] = {"from": today.replace(day=1), "to": today}
    for name in found:
        given = request.args.get(name)
        if given is not None:
            try:
                found[name] = date.fromisoformat(given)
            except ValueError:
                faults.append({"path": name, "message": "must be a day such as 2026-11-29, in UTC"})
    if not faults and found["from"] > found["to"]:
        faults.append({"path": "from", "message": "is after to"})
    if not faults and found["to"] - found["from"] >= timedelta(days=MOST_DAYS):
        faults.append({"path": "from", "message": f"at most {MOST_DAYS} days at a time"})
    if faults:
        raise Problem(400, "invalid_query", "`errors` names each fault", errors=faults)
    return found["from"].isoformat(), found["to"].isoformat()


def _summary(doc: Doc) -> Data:
    return {name: doc.data[name] for name in SUMMARY}


def _csv(by_day: Mapping[str, list[Part]]) -> Response:
    rows = [{"day": day, **part_data(part)} for day, parts in by_day.items() for part in parts]
    return csv_response(COLUMNS, rows)


def csv_response(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Response:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([harmless(v) if isinstance(v := row[name], str) else v for name in columns])
    return no_store(Response(file.getvalue(), content_type="text/csv; charset=utf-8; header=present"))

"""/api/costs: what the organisation spends, by model, plan, user, day or provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from flask import Request, Response

from functions.usage_api.switch import require_dashboard
from functions.usage_api.users import FORMATS, csv_response, days_asked
from shared.api.http import answer
from shared.domain.cost import plain
from shared.domain.cost_day import DIMENSIONS, ERASED, ERASED_UNPRICED, group_row, grouped, spent
from shared.domain.ledger import Part
from shared.domain.spending import RATE_DAYS, forecast
from shared.usage.accounts import accounts_for
from shared.usage.cost_days import costs_path, parts_in, roll_up, rows_of, shard_path
from shared.usage.record import tell_metric
from shared.usage.segments import fold_usage
from shared.usage.spending import load_spending
from shared.usage.unknown_plans import unknown_plans

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_GROUPS = 1000  # of an answer in JSON: then the most expensive ones
MOST_SECONDS = 5.0  # that a read spends on bringing the days up to date
GROUPS: Mapping[str, Callable[[str, Part], str]] = {
    "model": lambda _, part: part.model,
    "plan": lambda _, part: part.plan,
    "provider": lambda _, part: part.provider,
    "day": lambda day, _: day,
}
COLUMNS = (
    "calls",
    "tokens",
    "duration",
    "cost",
    "estimated_cost_usd",
    "unpriced_calls",
    "unpriced_tokens",
    "unpriced_searches",
)


def grouped_costs(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """`group_by` one of model, plan, user, day, provider; `from` and `to` days, both included; `format=csv`.

    What has come so far is counted first, for at most five seconds; `complete` says whether all of it is.
    """
    require_dashboard(app)
    start, end = days_asked(request, now, {"group_by": DIMENSIONS, "format": FORMATS})
    group_by = request.args.get("group_by", "model")
    complete = bring_up_to_date(app, now)
    days = days_between(start, end)
    if group_by == "user":
        found = grouped(_rows(app, days), lambda uid, _: uid)
    else:
        docs = app.store.get_many([costs_path(day) for day in days])
        parts = [(day, part) for day, doc in zip(days, docs, strict=True) for part in parts_in(doc)]
        found = grouped(parts, GROUPS[group_by])
    names, as_csv = sorted(found), request.args.get("format") == "csv"
    if len(names) > MOST_GROUPS and not as_csv:
        names = sorted(names, key=lambda name: spent(found[name]), reverse=True)[:MOST_GROUPS]
    rows = [{group_by: name or "(erased)", **group_row(found[name])} for name in names]
    if as_csv:
        return csv_response((group_by, *COLUMNS), rows)
    total = group_row(part for parts in found.values() for part in parts)
    return answer(
        {
            "from": start,
            "to": end,
            "group_by": group_by,
            "complete": complete,
            "groups": rows,
            "left_out": len(found) - len(names),
            "total": total,
        }
    )


def bring_up_to_date(app: App, now: datetime) -> bool:
    """Whether everything that has come is in the organisation's days."""
    until = app.monotonic() + MOST_SECONDS
    accounts = app.part(accounts_for)

    def in_time() -> bool:
        return app.monotonic() < until

    folded = fold_usage(app.store, accounts, lambda usages: tell_metric(app, usages, now), now, in_time)
    return not roll_up(app.store, accounts, now, in_time).left and not folded["left"]


def days_between(start: str, end: str) -> list[str]:
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _rows(app: App, days: list[str]) -> list[tuple[str, Part]]:
    """(uid, part) of each user; only shards that there are, are read."""
    docs = app.store.get_many([costs_path(day) for day in days])
    paths = [
        shard_path(day, shard)
        for day, doc in zip(days, docs, strict=True)
        if doc is not None
        for shard in doc.data["shards"]
    ]
    found = app.store.get_many(paths) if paths else []
    rows = [(uid, part) for doc in found for uid, parts in rows_of(doc).items() for part in parts]
    return [(ERASED if uid == ERASED_UNPRICED else uid, part) for uid, part in rows]


def overview(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """This month: what it has cost, what it will have cost at its end, the budget, what has no price, unknown plans."""
    require_dashboard(app)
    complete = bring_up_to_date(app, now)
    today = now.astimezone(UTC).date()
    days = days_between((today - timedelta(days=RATE_DAYS + 31)).isoformat(), today.isoformat())
    docs = app.store.get_many([costs_path(day) for day in days])
    by_day = {day: parts_in(doc) for day, doc in zip(days, docs, strict=True)}
    month = [part for day, parts in by_day.items() if day[:7] == today.isoformat()[:7] for part in parts]
    expected = forecast({day: spent(parts) for day, parts in by_day.items()}, today)
    budget = load_spending(app.settings.config_dir).budgets.organisation
    return answer(
        {
            "month": today.isoformat()[:7],
            "complete": complete,
            "month_to_date": group_row(month),
            "today": group_row(by_day[today.isoformat()]),
            "forecast_usd": plain(Decimal(round(expected * 10_000)) / 10_000),
            "budget_usd": None if budget is None else plain(budget),
            "unpriced_models": sorted({part.model for part in month if part.unpriced}),
            "unknown_plans": unknown_plans(month, app.part(accounts_for).plans),
        }
    )

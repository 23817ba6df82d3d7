"""POST /api/costs/reconcile: a provider's bill, as CSV or JSON, against what was counted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from flask import Request, Response

from functions.usage_api.body import json_object, refuse
from functions.usage_api.costs import bring_up_to_date, days_between
from functions.usage_api.switch import require_dashboard
from shared.accounts import accounts_for
from shared.cost_days import costs_path, parts_in
from shared.domain.bill import BadBill, read_bill
from shared.domain.cost import add, plain
from shared.domain.cost_day import joined
from shared.domain.ledger import Part
from shared.domain.price import Priced, Rates, rates_of
from shared.domain.reconcile import reconcile, shown
from shared.domain.usage import parse_words
from shared.http import answer

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_DAYS = 400
_FIELDS = ("provider", "bill")


def against_bill(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """`{"provider": "anthropic", "bill": "…"}`: each model and day of the bill's time, its variance and the causes."""
    require_dashboard(app)
    body = json_object(request, app)
    faults = [f"{name}: unknown" for name in body if name not in _FIELDS][:10]
    provider = parse_words(body, ("provider",), faults)["provider"]
    if not isinstance(body.get("bill"), str):
        faults.append("bill: must be the bill's text, CSV or JSON")
    refuse(faults)
    try:
        bill = read_bill(body["bill"])
    except BadBill as error:
        refuse([f"bill: {fault}" for fault in error.faults])
        raise AssertionError from None
    first, last = min(day for day, _ in bill), max(day for day, _ in bill)
    days = days_between(first, last)  # a day without a line has nothing billed, and perhaps something counted
    if len(days) > MOST_DAYS:
        refuse([f"bill: is of {len(days)} days, and at most {MOST_DAYS} can be held against what was counted"])
    complete = bring_up_to_date(app, now)
    counted: dict[tuple[str, str], Part] = {}
    for day, doc in zip(days, app.store.get_many([costs_path(day) for day in days]), strict=True):
        for part in parts_in(doc):
            if part.provider == provider:
                key = (day, part.model)
                counted[key] = joined(counted[key], part) if key in counted else part
    prices = app.part(accounts_for).prices

    def rates(day: str, model: str) -> Rates | None:
        found = rates_of(prices, provider, model, date.fromisoformat(day), "standard")
        return found.rates if isinstance(found, Priced) else None

    lines = reconcile(bill, counted, rates)
    ours, theirs = add(line.counted for line in lines), add(line.billed for line in lines)
    causes = sorted({cause.name for line in lines for cause in line.causes})
    by_cause = {n: plain(add(c.usd for line in lines for c in line.causes if c.name == n)) for n in causes}
    return answer(
        {
            "provider": provider,
            "from": first,
            "to": last,
            "complete": complete,
            "counted_usd": plain(ours),
            "billed_usd": plain(theirs),
            "variance_usd": plain(theirs - ours),
            "variance_percent": _percent(theirs - ours, theirs),
            "causes_usd": by_cause,
            "unexplained_usd": plain(add(line.unexplained for line in lines)),
            "lines": [shown(line) for line in lines],
        }
    )


def _percent(variance: Decimal, billed: Decimal) -> str | None:
    """Rounded to two decimals, of the bill."""
    return None if not billed else f"{variance / billed * 100:.2f}"

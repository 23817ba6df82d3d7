"""/api/costs/reconcile: a provider's bill, as CSV or JSON, against what was counted; and what came of it, kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from flask import Request, Response

from functions.usage_api.body import json_object, refuse
from functions.usage_api.costs import bring_up_to_date, days_between
from functions.usage_api.switch import require_dashboard
from functions.usage_api.users import days_asked
from shared import log
from shared.api.http import Problem, answer
from shared.domain.bill import BadBill, read_bill
from shared.domain.cost import add, plain
from shared.domain.cost_day import joined
from shared.domain.faults import WHOLE
from shared.domain.ledger import Part
from shared.domain.price import Priced, Rates, rates_of
from shared.domain.reconcile import reconcile, shown
from shared.domain.reconciled import Reconciliation
from shared.domain.usage import parse_words
from shared.usage.accounts import accounts_for
from shared.usage.cost_days import costs_path, parts_in
from shared.usage.reconciliations import drop, ended, keep

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_DAYS = 400
_FIELDS = ("provider", "bill", "keep")


def against_bill(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """`{"provider": "anthropic", "bill": "…"}`: each model and day of the bill's time, its variance and the causes.

    The sums are kept for the report, unless `keep` is false, or not all that has come is counted yet.
    """
    require_dashboard(app)
    body = json_object(request, app)
    faults = [f"{name}: unknown" for name in body if name not in _FIELDS][:10]
    provider = parse_words(body, ("provider",), faults)["provider"]
    if not isinstance(body.get("bill"), str):
        faults.append("bill: must be the bill's text, CSV or JSON")
    if not isinstance(body.get("keep", True), bool):
        faults.append("keep: must be true or false")
    refuse(faults)
    try:
        bill = read_bill(body["bill"])
    except BadBill as error:
        refuse([f"bill: {fault.removeprefix(f'{WHOLE}: ')}" for fault in error.faults])
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
    unexplained = add(line.unexplained for line in lines)
    found = Reconciliation(provider, first, last, theirs, ours, unexplained, now, path["caller"])
    kept = complete and body.get("keep", True)
    if kept:
        keep(app.store, found)
    return answer(
        {
            "provider": provider,
            "from": first,
            "to": last,
            "complete": complete,
            "kept": found.id if kept else None,
            "counted_usd": plain(ours),
            "billed_usd": plain(theirs),
            "variance_usd": plain(found.variance),
            "variance_percent": _percent(found.variance, theirs),
            "causes_usd": by_cause,
            "unexplained_usd": plain(unexplained),
            "lines": [shown(line) for line in lines],
        }
    )


def kept_ones(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """What is kept of the bills whose last day lies in `from` to `to`, both included; this month unless given."""
    require_dashboard(app)
    start, end = days_asked(request, now)
    before = (date.fromisoformat(start) - timedelta(days=1)).isoformat()
    listed = [{"id": one.id, **one.data(), "at": one.at.isoformat()} for one in ended(app.store, before, end)]
    return answer({"from": start, "to": end, "reconciliations": listed})


def forget(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """A bill that was the wrong one: the report counts it no more."""
    require_dashboard(app)
    if not drop(app.store, path["id"]):
        raise Problem(404, "unknown_reconciliation", "nothing is kept by this id")
    log.info("a reconciliation was dropped", id=path["id"], by=path["caller"])
    return answer({"dropped": path["id"]})


def _percent(variance: Decimal, billed: Decimal) -> str | None:
    """Rounded to two decimals, of the bill."""
    return None if not billed else f"{variance / billed * 100:.2f}"

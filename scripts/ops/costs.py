"""`costs`: what language models cost, by model, plan, provider, user or day, and how the month will end."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from scripts.ops.client import Client, printable
from scripts.ops.money import counts, usd
from scripts.ops.screen import Screen, table

BASE = "/api/costs"
Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "costs",
        help="what language models cost, and how the month will end",
        description="Show costs by model, plan, provider, user or day. Days are in UTC.",
    )
    by = ("model", "plan", "provider", "user", "day")
    command.add_argument("--by", choices=by, default="model", help="model unless said otherwise")
    command.add_argument("--from", dest="start", metavar="DAY", help="2026-11-01; the month's first unless said")
    command.add_argument("--to", metavar="DAY", help="the last day, included; today unless said")
    command.add_argument("--csv", action="store_true", help="for a spreadsheet, every digit")
    command.add_argument("--json", action="store_true", help="the answer as it is, every digit")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    params = [("group_by", options.by)]
    params += [(name, value) for name, value in (("from", options.start), ("to", options.to)) if value]
    if options.csv:
        return client.get(BASE, [*params, ("format", "csv")], "text/csv").text
    answer = client.json(BASE, params)
    if options.json:
        return json.dumps(answer, indent=2, ensure_ascii=False)
    month = client.json(f"{BASE}/overview")
    return "\n".join([*groups(answer, screen), "", *ahead(month, screen)])


def groups(answer: Answer, screen: Screen) -> list[str]:
    """The most expensive first, days in their order; the total below."""
    by = answer["group_by"]
    rows = list(answer["groups"])
    if by != "day":
        rows.sort(key=_amount, reverse=True)
    cells = [[printable(row[by]), *counts(row)] for row in rows]
    lines = table(screen, [by, "calls", "tokens", "cost"], [*cells, ["total", *counts(answer["total"])]], (1, 2, 3))
    lines[-1] = screen.bold(lines[-1])
    note = "" if answer["complete"] else " Not all that has come is counted yet: ask again."
    return [*lines, "", screen.dim(f"{answer['from']} to {answer['to']}, UTC.{note}")]


def ahead(month: Answer, screen: Screen) -> list[str]:
    """What this month has cost, and will have."""
    budget = month["budget_usd"]
    limit = f" of a budget of {usd(budget)}" if budget is not None else ""
    spent = usd(month["month_to_date"]["estimated_cost_usd"])
    lines = [f"{month['month']}: {spent} so far, {usd(month['forecast_usd'])} expected at its end{limit}."]
    if month["unpriced_models"]:
        lines.append(screen.paint(f"Without a price: {printable(', '.join(month['unpriced_models']))}.", 1))
    if month["unknown_plans"]:
        named = ", ".join(f"{plan} ({calls:,})" for plan, calls in month["unknown_plans"].items())
        lines.append(screen.paint(f"Plans that config/plans.json does not know (calls): {printable(named)}.", 1))
    return lines


def _amount(row: Answer) -> Decimal:
    return Decimal(-1) if row["estimated_cost_usd"] == "unpriced" else Decimal(row["estimated_cost_usd"])

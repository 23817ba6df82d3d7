"""`usage`: what one user used and what is left of the quota; a user's limits, export and erasure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import confirm
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.money import counts, usd
from scripts.ops.screen import Screen, table

BASE = "/api/usage"
Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "usage",
        help="what a user used, and what is left of the quota",
        description="Show a user's days, which are in UTC, and limits.",
    )
    command.add_argument("user", metavar="UID", help="or user-…, as alerts have it")
    command.add_argument("--from", dest="start", metavar="DAY", help="2026-11-01; the month's first unless said")
    command.add_argument("--to", metavar="DAY", help="the last day, included; today unless said")
    command.add_argument("--set-quota", metavar="JSON", help='limits of this user: {"day": {"calls": 5}}; {} ends them')
    command.add_argument("--export", action="store_true", help="all that is kept of the user's usage")
    command.add_argument("--erase", action="store_true", help="delete it for ever; the organisation's totals stay")
    command.add_argument("--yes", action="store_true", help="of --erase: do not ask")
    command.add_argument("--json", action="store_true", help="the answer as it is, every digit")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    uid = options.user
    if uid.startswith("user-") and len(uid) == 17:
        uid = client.json(BASE, [("key", uid)])["uid"]
    path = f"{BASE}/{quote(uid, safe='')}"
    if options.export:
        return client.get(f"{path}/export").text
    if options.erase:
        confirm(options, f"Erase the usage of {printable(uid)} for ever? The organisation's totals stay.")
        done = client.change("DELETE", path)
        return f"Erased {done['erased']} documents of {done['user']}. The totals stay."
    if options.set_quota is not None:
        try:
            limits = json.loads(options.set_quota)
        except ValueError:
            raise CannotAsk('--set-quota must be JSON, such as {"day": {"calls": 5}}', WRONG) from None
        return "\n".join(standing(client.change("PUT", f"{path}/quota", limits), screen))
    params = [(name, value) for name, value in (("from", options.start), ("to", options.to)) if value]
    answer = client.json(path, params)
    if options.json:
        return json.dumps(answer, indent=2, ensure_ascii=False)
    return "\n".join([*days(answer, screen), "", *standing(answer["quota"], screen)])


def days(answer: Answer, screen: Screen) -> list[str]:
    """The user's days, and below them the month's models."""
    rows = [[day["day"], *counts({**day, **_unpriced(day)})] for day in answer["daily"]]
    if not rows:
        return [screen.dim(f"Nothing was used from {answer['from']} to {answer['to']}.")]
    return table(screen, ["day", "calls", "tokens", "cost"], rows, (1, 2, 3))


def _unpriced(day: Answer) -> dict[str, int]:
    models = day["unpriced"].values()
    return {f"unpriced_{name}": sum(of.get(name, 0) for of in models) for name in ("calls", "tokens", "searches")}


def standing(quota: Answer, screen: Screen) -> list[str]:
    """Each limit, used, held and left."""
    head = f"plan {printable(quota['plan'])}" + (", with limits of this user alone" if quota["override"] else "")
    if quota["limits_of"] != quota["plan"]:
        head += f", which config/plans.json does not know: the limits of {printable(quota['limits_of'])} hold"
    amounts = ("used", "held", "left", "most")
    rows = [[s["limit"], *(_amount(s, name) for name in amounts), s["resetsAt"][:16]] for s in quota["limits"]]
    if not rows:
        return [head, screen.dim("No limits.")]
    return [head, *table(screen, ["limit", "used", "held", "left", "of", "resets (UTC)"], rows, (1, 2, 3, 4))]


def _amount(standing: Answer, name: str) -> str:
    """`2,000` calls or tokens, `19.92 USD`."""
    amount: str = standing[name]
    return usd(amount) if standing["limit"].endswith("-cost") else f"{int(amount):,}"

"""`reconcile`: a provider's bill against what was counted, and what explains each difference."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.money import usd
from scripts.ops.screen import Screen, table
from shared.domain.faults import unreadable

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "reconcile",
        help="a provider's bill against what was counted",
        description="Show by day and model what a bill differs by, and why.",
    )
    command.add_argument("bill", metavar="FILE", help="CSV or JSON: day, model, cost in USD, and tokens by kind")
    command.add_argument("--provider", default="anthropic", help="anthropic unless said otherwise")
    command.add_argument("--all", action="store_true", help="also the lines that agree")
    command.add_argument("--try", dest="keep", action="store_false", help="only show it; keep nothing for the report")
    command.add_argument("--json", action="store_true", help="the answer as it is, every digit")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    try:
        bill = Path(options.bill).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotAsk(f"{options.bill} {unreadable(error)}", WRONG) from None
    body = {"provider": options.provider, "bill": bill, "keep": options.keep}
    answer = client.change("POST", "/api/costs/reconcile", body)
    if options.json:
        return json.dumps(answer, indent=2, ensure_ascii=False)
    return "\n".join(shown(answer, screen, everything=options.all))


def shown(answer: Answer, screen: Screen, *, everything: bool = False) -> list[str]:
    """A row for each line that differs, and one for each of its causes; the sums below."""
    rows: list[list[str]] = []
    for line in answer["lines"]:
        if not (line["causes"] or line["variance_usd"] != "0" or everything):
            continue
        rows.append([line["day"], printable(line["model"]), *(usd(line[f"{n}_usd"]) for n in _AMOUNTS), ""])
        rows += [["", f"  {c['cause']}", "", "", usd(c["usd"]), printable(c["explanation"])] for c in line["causes"]]
        if line["unexplained_usd"] != "0":
            rows.append(["", "  unexplained", "", "", usd(line["unexplained_usd"]), ""])
    percent = f" ({answer['variance_percent']} % of the bill)" if answer["variance_percent"] is not None else ""
    sums = ", ".join(f"{name} {usd(amount)}" for name, amount in answer["causes_usd"].items())
    head = ["day", "model, cause", "counted", "billed", "variance", "explanation"]
    return [
        *(table(screen, head, rows, (2, 3, 4)) if rows else []),
        "",
        f"Counted {usd(answer['counted_usd'])}, billed {usd(answer['billed_usd'])}: "
        f"variance {usd(answer['variance_usd'])}{percent}.",
        *([f"Of it {sums}."] if sums else []),
        *([f"Unexplained: {usd(answer['unexplained_usd'])}."] if answer["unexplained_usd"] != "0" else []),
        screen.dim(_kept(answer)),
    ]


def _kept(answer: Answer) -> str:
    if answer["kept"]:
        return f"Kept for the report as {answer['kept']}."
    return (
        "Nothing is kept."
        if answer["complete"]
        else "Not all that has come is counted yet, so nothing is kept: ask again."
    )


_AMOUNTS = ("counted", "billed", "variance")

"""`exclude`: times that count neither good nor bad, such as maintenance: add one, list them, cancel one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import add_answers, as_json, cell_time, confirm, from_to, once
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.screen import Screen, table

BASE = "/api/ops/exclusions"
_OF_ADD = ("start", "end", "reason", "slo", "component")

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "exclude",
        help="times that do not count, such as maintenance, also afterwards",
        description="Exclude a time from SLOs, budgets and alerts, list what is excluded, or cancel an exclusion.",
    )
    command.add_argument("action", choices=("add", "list", "cancel"))
    command.add_argument("id", nargs="?", help="of cancel: which one")
    command.add_argument("--from", dest="start", metavar="TIME", help="ISO 8601, UTC unless it says otherwise, or =-2h")
    command.add_argument("--to", dest="end", metavar="TIME", help="likewise, or now")
    command.add_argument("--slo", action="append", metavar="ID", help="of this SLO only; may be repeated")
    command.add_argument("--component", action="append", metavar="ID", help="of its SLOs; may be repeated")
    command.add_argument("--reason", help="why, in one line")
    add_answers(command)
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    _check(options)
    if options.action == "list":
        answer = client.json(BASE)
        return as_json(answer) if options.json else "\n".join(listed(answer, screen))
    if options.action == "cancel":
        confirm(options, f"Cancel {printable(options.id)}? Its time counts again, also in alerts.")
        answer = client.change("DELETE", f"{BASE}/{quote(options.id, safe='')}")
        return as_json(answer) if options.json else f"Cancelled. {_words(answer)} counts again."
    wanted = {"from": options.start, "to": options.end, "reason": options.reason}
    wanted |= {"slos": options.slo} if options.slo else {}
    wanted |= {"components": options.component} if options.component else {}
    confirm(
        options,
        f"Exclude {options.start} to {options.end} from {_whom(wanted)}? "
        "That time will count neither good nor bad, also in alerts.",
    )
    answer = client.change("POST", BASE, wanted, once())
    if options.json:
        return as_json(answer)
    rounded = " It was widened to whole 5 minutes." if answer["rounded"] else ""
    undo = f"Undo it: ./ops exclude cancel {printable(answer['id'])}"
    return f"Excluded {_words(answer)}.{rounded}\n{screen.dim(undo)}"


def _check(options: argparse.Namespace) -> None:
    if options.action == "add":
        missing = [
            flag for flag, given in zip(("--from", "--to", "--reason"), _OF_ADD, strict=False)
            if not getattr(options, given)
        ]  # fmt: skip
        if missing or options.id:
            raise CannotAsk(f"`exclude add` needs {', '.join(missing)}." if missing else "`add` takes no id.", WRONG)
        return
    if any(getattr(options, name) for name in _OF_ADD):
        raise CannotAsk(f"`exclude {options.action}` takes no time, SLO, component or reason.", WRONG)
    if (options.action == "cancel") != bool(options.id):
        raise CannotAsk("Name one: `exclude cancel ID`; `exclude list` has them.", WRONG)


def listed(answer: Answer, screen: Screen) -> list[str]:
    """The latest first."""
    if not answer["exclusions"]:
        return ["Nothing is excluded."]
    rows = [
        [
            printable(one["id"]), cell_time(one["from"]), f"{_minutes(one):,}", printable(_whom(one)),
            "cancelled" if one["cancelledAt"] else "in force", printable(one["reason"]),
        ]
        for one in answer["exclusions"]
    ]  # fmt: skip
    return table(
        screen, ["id", "from (UTC)", "minutes", "of", "state", "reason"], rows, (2,), wrapped=5, kept=(0, 1), spare=(4,)
    )


def _words(one: Answer) -> str:
    return f"{from_to(one['from'], one['to'])} of {printable(_whom(one))}"


def _whom(one: Answer) -> str:
    names = [*(one.get("slos") or []), *(one.get("components") or [])]
    return ", ".join(names) or "all SLOs"


def _minutes(one: Answer) -> int:
    start, end = (datetime.fromisoformat(one[name]) for name in ("from", "to"))
    return int((end - start).total_seconds()) // 60

"""`inbox`: what has arrived for admins in the product itself, and marking it as read."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import as_json, cell_time
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.screen import Screen, table

BASE = "/api/ops/inbox"
Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "inbox",
        help="what has arrived for you, and marking it as read",
        description="List the notifications that arrived in-app, or mark them as read; each person reads alone.",
    )
    command.add_argument("action", nargs="?", choices=("list", "read"), default="list")
    command.add_argument("id", nargs="?", help="of read: which one")
    command.add_argument("--all", action="store_true", help="of read: all that have arrived until now")
    command.add_argument("--unread", action="store_true", help="of list: only those that you have not read")
    command.add_argument("--limit", type=int, metavar="N", help="of list: so many at most")
    command.add_argument("--json", action="store_true", help="the answer as it is")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    if options.action == "read":
        return _read(options, client)
    if options.id or options.all:
        raise CannotAsk("`inbox list` takes no id, and no --all.", WRONG)
    asked = [("unread", "true" if options.unread else None), ("limit", options.limit)]
    answer = client.json(BASE, [(name, str(value)) for name, value in asked if value is not None])
    return as_json(answer) if options.json else "\n".join(listed(answer, screen))


def _read(options: argparse.Namespace, client: Client) -> str:
    if bool(options.id) == options.all or options.unread or options.limit is not None:
        raise CannotAsk("`inbox read ID`, or `inbox read --all`; `inbox list` has the ids.", WRONG)
    if options.id:
        answer = client.change("POST", f"{BASE}/{quote(options.id, safe='')}/read")
    else:  # up to the newest that there is now, so that nothing is marked that comes meanwhile
        newest = client.json(BASE, [("limit", "1")])["notifications"]
        answer = client.change("POST", f"{BASE}/read", {"upTo": newest[0]["id"]}) if newest else {"unread": 0}
    return as_json(answer) if options.json else _left(answer)


def listed(answer: Answer, screen: Screen) -> list[str]:
    """The latest first, and how many are unread in all."""
    if not answer["notifications"]:
        return ["Nothing has arrived.", *([_left(answer)] if answer["unread"] else [])]
    rows = [
        [
            cell_time(one["arrivedAt"]), "" if one["read"] else "new", one["severity"] or "",
            printable(one["id"]), printable(one["title"] or ""),
        ]
        for one in answer["notifications"]
    ]  # fmt: skip
    head, *lines = table(screen, ["arrived (UTC)", "", "severity", "id", "what"], rows, (), wrapped=4, kept=(0, 1, 3))
    more = " There are more: ask for more by --limit." if answer["cursor"] else ""
    return [head, *lines, "", screen.dim(f"{_left(answer)}{more}")]


def _left(answer: Answer) -> str:
    return f"{answer['unread']:,} unread." if answer["unread"] else "All is read."

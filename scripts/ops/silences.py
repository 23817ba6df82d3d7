"""`silence`: times in which alerts are not told: see what one would match, add one, list them, end one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import add_answers, as_json, cell_time, confirm, once, shown_time
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.screen import Screen, table

BASE = "/api/ops/silences"
Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "silence",
        help="for a time, alerts that match are not told",
        description="Silence alerts for a time, see what a silence would match, list silences, or end one.",
    )
    command.add_argument("action", choices=("preview", "add", "list", "expire"))
    command.add_argument("id", nargs="?", help="of expire: which one")
    command.add_argument(
        "--match", action="append", metavar="MATCHER", help='such as component="API"; may be repeated, all must hold'
    )
    command.add_argument("--minutes", type=int, metavar="N", help="how long, from now")
    command.add_argument("--comment", help="why, in one line")
    add_answers(command)
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    _check(options)
    if options.action == "list":
        answer = client.json(BASE)
        return as_json(answer) if options.json else "\n".join(listed(answer, screen))
    if options.action == "expire":
        path = f"{BASE}/{quote(options.id, safe='')}"
        before = client.json(path)
        answer = client.change("DELETE", path)
        if options.json:
            return as_json(answer)
        if before["state"] == "expired":
            return f"{printable(options.id)} had ended already, at {shown_time(before['endsAt'])}."
        return f"Expired {printable(options.id)}. What it held back and still fires is told."
    wanted = {"matchers": options.match, "minutes": options.minutes, "comment": options.comment}
    given = {name: value for name, value in wanted.items() if value is not None}
    shown = client.change("POST", f"{BASE}/preview", given)  # which refuses what could not be made: ask nothing then
    if options.action == "preview":
        return as_json(shown) if options.json else "\n".join(matched(shown, screen))
    warned = [screen.bold(f"! {printable(words)}") for words in shown["warnings"]]
    confirm(
        options,
        "\n".join([*warned, ""]) + f"Silence what matches (known alerts: {shown['matches']}, firing: {shown['firing']})"
        f" for {options.minutes} minutes?",
    )
    answer = client.change("POST", BASE, wanted, once())
    if options.json:
        return as_json(answer)
    undo = f"End it: ./ops silence expire {printable(answer['id'])}"
    return "\n".join([*warned, f"Silenced until {shown_time(answer['endsAt'])}.", screen.dim(undo)])


def _check(options: argparse.Namespace) -> None:
    needed = {"add": ("match", "minutes", "comment"), "preview": ("match",), "list": (), "expire": ("id",)}
    missing = [name for name in needed[options.action] if getattr(options, name) in (None, [], "")]
    if missing:
        words = ", ".join("an id" if name == "id" else f"--{name}" for name in missing)
        raise CannotAsk(f"`silence {options.action}` needs {words}.", WRONG)
    if options.id and options.action != "expire":
        raise CannotAsk(f"`silence {options.action}` takes no id.", WRONG)


def matched(shown: Answer, screen: Screen) -> list[str]:
    warned = [screen.bold(f"! {printable(words)}") for words in shown["warnings"]]
    if not shown["alerts"]:
        return [*warned, "No known alert matches."]
    rows = [[printable(one["alertId"]), one["state"]] for one in shown["alerts"]]
    return [*warned, *table(screen, ["alert", "state"], rows, (), kept=(0,))]


def listed(answer: Answer, screen: Screen) -> list[str]:
    if not answer["silences"]:
        return ["Nothing is silenced."]
    rows = [
        [
            printable(one["id"]), one["state"], cell_time(one["endsAt"]), printable(" ".join(one["text"])),
            printable(one["createdBy"]), printable(one["comment"]),
        ]
        for one in answer["silences"]
    ]  # fmt: skip
    return table(
        screen,
        ["id", "state", "until (UTC)", "matchers", "by", "comment"],
        rows,
        (),
        wrapped=5,
        kept=(0, 1, 2),
        spare=(4,),
    )

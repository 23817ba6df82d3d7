"""`flag`: the kill switches and limits, what is in force, and changing one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from scripts.ops.asking import add_answers, as_json, confirm, once
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.screen import Screen, table
from shared.domain.flags import SHIPPED, fault_of

BASE = "/api/ops/flags"

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "flag",
        help="kill switches: what is in force, and setting one",
        description="List the flags, set one, or reset it to its default. It is in force everywhere within 8 seconds.",
    )
    command.add_argument("action", choices=("list", "set", "reset"))
    command.add_argument("name", nargs="?", help="such as alerts.enabled")
    command.add_argument("value", nargs="?", help="true, false or a number")
    add_answers(command)
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    reply = client.get(BASE)
    answer = reply.json()
    if options.action == "list":
        if options.name:
            raise CannotAsk("`flag list` takes no name.", WRONG)
        return as_json(answer) if options.json else "\n".join(listed(answer, screen))
    if not options.name or (options.action == "set") != (options.value is not None):
        raise CannotAsk("`flag set NAME VALUE`, or `flag reset NAME`; `flag list` has them.", WRONG)
    before = answer["flags"].get(options.name)
    if before is None:
        raise CannotAsk(f"There is no such flag; there are {', '.join(answer['flags'])}.", WRONG)
    if options.action == "reset" and not before.get("set", True):
        return as_json(answer) if options.json else f"{options.name} has its default already: {_text(before['value'])}."
    value = _value(options.value) if options.action == "set" else None
    fault = fault_of(options.name, value) if options.name in SHIPPED and value is not None else None
    if fault:
        raise CannotAsk(f"{options.name} {fault}.", WRONG)
    to = before["default"] if value is None else value
    if options.action == "reset" and before["value"] == to:
        question = f"Remove what is set for {options.name}? It stays {_text(to)}."
    else:
        question = f"Set {options.name} from {_text(before['value'])} to {_text(to)}, for everything that runs?"
    confirm(options, question)
    headers = {"If-Match": reply.headers["ETag"], **once()}
    after = client.change("PATCH", BASE, {"flags": {options.name: value}}, headers)
    if options.json:
        return as_json(after)
    return f"{options.name} is {_text(after['flags'][options.name]['value'])}, everywhere within 8 seconds."


def changed(flags: Answer) -> list[str]:
    """A sentence for each that is not as by default: whoever looks for trouble has to know that messages are off."""
    return [
        f"The switch {printable(name)} is {_text(one['value'])}; as shipped it is {_text(one['default'])}."
        for name, one in flags.items()
        if one["value"] != one["default"]
    ]


def listed(answer: Answer, screen: Screen) -> list[str]:
    rows = [
        [printable(name), _text(one["value"]), "" if one["value"] == one["default"] else _text(one["default"])]
        for name, one in answer["flags"].items()
    ]
    return table(screen, ["flag", "in force", "by default"], rows, ())


def _value(text: str) -> Any:
    try:
        value = json.loads(text.lower())
    except ValueError:
        value = None
    if not isinstance(value, bool | int | float):
        raise CannotAsk(f"{printable(text)} is neither true, false nor a number.", WRONG)
    return value


def _text(value: Any) -> str:
    return json.dumps(value)

"""`alert`: take an alert on, give it back, or see why nobody was paged."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import as_json
from scripts.ops.client import Client, printable
from scripts.ops.screen import Screen, table

BASE = "/api/ops/alerts"
Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "alert",
        help="take an alert on, or see who was told and why not",
        description="Acknowledge an alert (ack), give it back (unack), or show what each channel was told (why).",
    )
    command.add_argument("action", choices=("ack", "unack", "why"))
    command.add_argument("id", help="of the alert, such as api-availability-threshold")
    command.add_argument("--note", help="of ack: for those who come after you")
    command.add_argument("--json", action="store_true", help="the answer as it is")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    path = f"{BASE}/{quote(options.id, safe='')}"
    if options.action == "why":
        answer = client.json(path)
    elif options.action == "ack":
        answer = client.change("POST", f"{path}/acknowledge", {"note": options.note} if options.note else {})
    else:
        answer = client.change("DELETE", f"{path}/acknowledge")
    if options.json:
        return as_json(answer)
    if options.action == "why":
        return "\n".join(why(answer, screen))
    return taken(answer) if options.action == "ack" else given_back(answer)


def taken(answer: Answer) -> str:
    """Of an alert that was acknowledged: whose it is now, with the others of its incident."""
    name, others = printable(answer["alertId"]), printable(", ".join(answer["together"]))
    if others:
        return f"Yours are {name} and what fires of its incident, {others}: all are repeated and passed on no more."
    return f"{name} is yours: it is repeated and passed on no more."


def given_back(answer: Answer) -> str:
    name, others = printable(answer["alertId"]), printable(", ".join(answer["together"]))
    if others:
        return f"Nobody has {name} nor what fires of its incident, {others}: all are repeated and passed on again."
    return f"{name} is nobody's: it is repeated and passed on again."


def why(answer: Answer, screen: Screen) -> list[str]:
    """A line for each channel: what became of its last notification, and what would hold it back now."""
    rows = []
    for channel, told in sorted(answer["told"].items()):
        hold = answer["holds"].get(channel)
        now = f"{hold['reason']} {hold['by'] or ''}".strip() if hold else "nothing"
        rows.append([channel, told["kind"] or "", told["state"], told["reason"] or "", printable(now)])
    head = f"{printable(answer['alertId'])}: {answer['state']}, {printable(answer['reason'])}"
    taken = answer["acknowledged"]
    lines = [head, f"acknowledged by {printable(taken['by'])}"] if taken else [head]
    return [*lines, *table(screen, ["channel", "last", "state", "reason", "held now by"], rows, (0, 1, 2, 3))]

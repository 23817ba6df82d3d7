"""`runbook`: what there are, or one as it is written."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import as_json
from scripts.ops.client import Client, printable
from scripts.ops.screen import Screen, table

BASE = "/api/runbooks"


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "runbook",
        help="what to do, step by step, when something is broken",
        description="List the runbooks, or show one.",
    )
    command.add_argument("name", nargs="?", help="such as api-outage")
    command.add_argument("--json", action="store_true", help="the answer as it is")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    answer = client.json(f"{BASE}/{quote(options.name, safe='')}" if options.name else BASE, [])
    if options.json:
        return as_json(answer)
    if options.name:
        return "\n".join(printable(line) for line in answer["markdown"].splitlines())
    rows = [[found["name"], found["severity"] or "", printable(found["summary"])] for found in answer["runbooks"]]
    return "\n".join(table(screen, ["runbook", "severity", "when"], rows, (), wrapped=2))

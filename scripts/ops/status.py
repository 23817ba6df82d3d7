"""`status`: at a glance what is broken and why, what is worked on and what is planned."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scripts.ops import alerts, flags, incident_screen, incidents, maintenances
from scripts.ops.asking import as_json, shown_time
from scripts.ops.client import Client, printable
from scripts.ops.screen import Screen
from shared.status_page import words
from shared.status_page.bars import percent

_COLOURS = {"outage": 5, "degraded": 1, "operational": 3}

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "status",
        help="switches, components, firing alerts, open incidents, maintenance",
        description="Show what was switched, is broken and why, is not set up, is worked on, and is planned.",
    )
    command.add_argument("--json", action="store_true", help="the answers as they are")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    answer = {
        **({"health": client.json("/api/status/healthz")} if options.json else {}),
        "status": client.json("/api/ops/status"),
        "alerts": client.json(alerts.BASE, [("state", "firing")])["alerts"],
        "incidents": client.json(incidents.BASE, [("status", "open")]),
        "maintenances": [
            one
            for status in ("in_progress", "verifying", "scheduled")
            for one in client.json(maintenances.BASE, [("status", status)])["maintenances"]
        ],
        "postmortems": client.json(incidents.BASE, [("postmortem", "due"), ("from", "-90d")]),
        "flags": client.json(flags.BASE)["flags"],
    }
    return as_json(answer) if options.json else "\n".join(overview(answer, screen))


def overview(answer: Answer, screen: Screen) -> list[str]:
    """Switches, components, then what fires, what is worked on, what is planned, and what is to be written."""
    lines = [screen.bold(f"Status: {answer['status']['overall']}.")]  # the page has it in a few seconds
    lines += [screen.paint(line, _COLOURS["degraded"]) for line in flags.changed(answer["flags"])]
    lines += components(answer["status"], screen)
    lines += ["", screen.bold("Firing"), *alerts.listed({"alerts": answer["alerts"], "cursor": None}, screen)]
    lines += ["", screen.bold("Open incidents"), *incident_screen.listed(answer["incidents"], screen)]
    if answer["maintenances"]:
        lines += ["", screen.bold("Maintenance"), *maintenances.listed(answer, screen)]
    if answer["postmortems"]["incidents"]:
        lines += ["", screen.bold("Post-mortems due"), *incident_screen.postmortems(answer["postmortems"], screen)]
    return lines


def components(status: Answer, screen: Screen) -> list[str]:
    """Of each its state, since when, its uptime, why, and which settings are missing; the same of its providers."""
    lines = []
    for one in status["components"]:
        troubled = one["maintenance"] or one["state"] in ("degraded", "outage")
        facts = [f"since {shown_time(one['since'])}"] if one["since"] and troubled else []
        facts += [f"uptime {_uptime(one, status['publishedAt'])}"] if one["uptime"] is not None else []
        lines += _row(one, screen, "  ", ["maintenance", *facts] if one["maintenance"] else facts)
        for provider in one["providers"]:
            told = {**provider, "why": [text for text in provider["why"] if text not in " ".join(one["why"])]}
            lines += _row(told, screen, "    ", ["by its own status page"] if provider["basis"] == "feed" else [])
    if any(part["notSetUp"] for one in status["components"] for part in (one, *one["providers"])):
        lines += [screen.dim("  What each setting is: docs/probes.md")]
    return lines


def _row(one: Answer, screen: Screen, indent: str, facts: list[str]) -> list[str]:
    state = str(one["state"])
    head = (
        f"{indent}{printable(one['name']):<{18 - len(indent)}}{state.replace('_', ' '):<15}{', '.join(facts)}".rstrip()
    )
    told = [*one["why"], *(lack["why"] for lack in one["notSetUp"])]
    below = " " * (len(indent) + 2)
    texts = [
        screen.dim(line)
        for text in told
        for line in textwrap.wrap(printable(text), screen.width, initial_indent=below, subsequent_indent=below)
    ]
    return [screen.paint(head, _COLOURS[state]) if state in _COLOURS else head, *texts]


def _uptime(one: Answer, published: str) -> str:
    """In the words of the page."""
    if one["uptimeSince"] is None:
        return percent(one["uptime"])
    begin, now = (datetime.fromisoformat(text) for text in (one["uptimeSince"], published))
    return f"{percent(one['uptime'])} {words.since(begin, now, UTC)}"

"""`status`: at a glance what is broken, what is worked on and what is planned."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from scripts.ops import incidents, maintenances
from scripts.ops.asking import as_json
from scripts.ops.client import Client, printable
from scripts.ops.screen import Screen, table

_COLOURS = {"outage": 5, "degraded": 1, "operational": 3}

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "status",
        help="components, firing alerts, open incidents, maintenance",
        description="Show what is broken, what is worked on, and what is planned.",
    )
    command.add_argument("--json", action="store_true", help="the answers as they are")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    answer = {
        "health": client.json("/api/status/healthz"),
        "alerts": client.json("/api/ops/alerts", [("state", "firing")])["alerts"],
        "incidents": client.json(incidents.BASE, [("status", "open")]),
        "maintenances": [
            one
            for status in ("in_progress", "verifying", "scheduled")
            for one in client.json(maintenances.BASE, [("status", status)])["maintenances"]
        ],
    }
    return as_json(answer) if options.json else "\n".join(overview(answer, screen))


def overview(answer: Answer, screen: Screen) -> list[str]:
    """Components, then what fires, then what is worked on, then what is planned; each only if there is any."""
    health = answer["health"]
    lines = [screen.bold(f"The status page says: {health['status']}.")]
    for name, one in health.get("components", {}).items():
        state = str(one["status"]) if "status" in one else ", ".join(f"{k} {v['status']}" for k, v in one.items())
        text = f"  {printable(name):<14} {state.replace('_', ' ')}"
        lines.append(screen.paint(text, _COLOURS[state]) if state in _COLOURS else screen.dim(text))
    alerts = [
        [printable(one["alertId"]), one["severity"], printable(one["reason"]), printable(one["incidentId"] or "–")]
        for one in answer["alerts"]
    ]
    lines += ["", screen.bold("Firing")]
    lines += table(screen, ["alert", "severity", "reason", "incident"], alerts, ()) if alerts else ["Nothing."]
    lines += ["", screen.bold("Open incidents"), *incidents.listed(answer["incidents"], screen)]
    if answer["maintenances"]:
        lines += ["", screen.bold("Maintenance"), *maintenances.listed(answer, screen)]
    return lines

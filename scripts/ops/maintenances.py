"""`maintenance`: plan one, list them, show, extend, begin, verify, complete or cancel one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scripts.ops import audit
from scripts.ops.asking import add_answers, as_json, cell_time, confirm, from_to, needed, once
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.incident_screen import entry_rows
from scripts.ops.screen import Screen, table

BASE = "/api/maintenances"
MOVES = {"begin": "in_progress", "verify": "verifying", "complete": "completed", "cancel": "cancelled"}
_USUAL = {
    "begin": "The maintenance has begun.",
    "verify": "The work is done, and we are checking it.",
    "complete": "The maintenance is completed.",
    "cancel": "The maintenance will not take place.",
}

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "maintenance",
        help="plan maintenance, show it, extend it, begin and end it",
        description="Planned maintenance. It begins and ends by itself at its times, unless somebody is earlier.",
    )
    command.add_argument("action", choices=("plan", "list", "show", "audit", "update", "extend", *MOVES))
    command.add_argument("id", nargs="?", help="which one; not for plan and list")
    command.add_argument("--title", help="of plan")
    command.add_argument("--message", "-m", help="what is done, or what is new")
    command.add_argument("--component", action="append", metavar="ID", help="affected; may be repeated")
    command.add_argument("--from", dest="start", metavar="TIME", help="ISO 8601, UTC unless it says otherwise")
    command.add_argument("--to", dest="end", metavar="TIME", help="likewise, in UTC; of plan and extend")
    command.add_argument("--visible", action="store_true", help="of plan: the status page shows it")
    command.add_argument("--exclude", action="store_true", help="of plan: its time does not count in SLOs")
    add_answers(command)
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    if options.action == "list":
        answer = client.json(BASE)
        return as_json(answer) if options.json else "\n".join(listed(answer, screen))
    if options.action == "plan":
        return _plan(options, client, screen)
    if not options.id:
        raise CannotAsk(f"Name one: `maintenance {options.action} ID`; `maintenance list` has them.", WRONG)
    if options.action == "extend":
        needed(options, "maintenance extend", end="--to")
    if options.action == "update":
        needed(options, "maintenance update", message="--message")
    path = f"{BASE}/{quote(options.id, safe='')}"
    if options.action == "audit":
        found = audit.entries(client, path)
        return as_json({"audit": found}) if options.json else "\n".join(audit.told(found, screen))
    reply = client.get(path)
    one = reply.json()
    if options.action == "show":
        return as_json(one) if options.json else "\n".join(shown(one, screen))
    refused = options.action in MOVES and MOVES[options.action] not in one["allowed"]  # with the reason
    if one["publicVisible"] and not refused:
        confirm(options, f"{options.action.capitalize()} {printable(one['title'])}, for everybody to see?")
    if options.action == "extend":
        headers = {"If-Match": reply.headers["ETag"], **once()}
        return _told(client.change("PATCH", path, {"scheduledUntil": options.end}, headers), options)
    body = {"message": options.message}
    if options.action != "update":
        body = {"message": options.message or _USUAL[options.action], "status": MOVES[options.action]}
    return _told(client.change("POST", f"{path}/updates", body, once()), options)


def _plan(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    needed(
        options,
        "maintenance plan",
        title="--title",
        message="--message",
        component="--component",
        start="--from",
        end="--to",
    )
    body = {
        "title": options.title,
        "message": options.message,
        "components": options.component,
        "scheduledFor": options.start,
        "scheduledUntil": options.end,
        "publicVisible": options.visible,
        "excludeFromSlos": options.exclude,
    }
    if options.visible and not options.yes:
        seen = client.change(
            "POST", f"{BASE}/preview", body
        )  # which refuses what could not be planned: ask nothing then
        confirm(options, f"{_will_be_seen(seen)}Announce it on the status page?")
    return _told(client.change("POST", BASE, body, once()), options)


def _will_be_seen(one: Answer) -> str:
    entries = [f"  {printable(update.get('publicMessage') or update['message'])}\n" for update in one["updates"]]
    span = from_to(*_span(one))
    what = f"  {printable(one['title'])}, {span}, {', '.join(one['components'])}\n"
    return f"The status page will show:\n{what}{''.join(entries)}"


def shown(one: Answer, screen: Screen) -> list[str]:
    """What it is, and its timeline."""
    seen = "on the status page" if one["publicVisible"] else "for the team only"
    counts = "; does not count in SLOs" if one["excludeFromSlos"] else ""
    rows = [row for update in one["updates"] for row in entry_rows(update)]
    earlier = one["updateCount"] - len(one["updates"])
    return [
        screen.bold(printable(one["title"])),
        f"{one['status'].replace('_', ' ')}, {from_to(*_span(one))}, {seen}{counts}.",
        f"{', '.join(one['components'])}.",
        "",
        *([screen.dim(f"{earlier} earlier entries are left out.")] if earlier else []),
        *table(screen, ["time (UTC)", "status", "for", "who", "message"], rows, (), wrapped=4, kept=(0, 1, 2)),
        "",
        screen.dim(f"next: {', '.join(_verbs(one)) or 'nothing'}"),
        screen.dim(f"every change of it: ./ops maintenance audit {printable(one['id'])}"),
    ]


def _verbs(one: Answer) -> list[str]:
    """The moves as they are typed here."""
    return [verb for verb, status in MOVES.items() if status in one["allowed"]]


def listed(answer: Answer, screen: Screen) -> list[str]:
    """Those that begin last come first, each with when it did begin and end, or else when it is planned to."""
    if not answer["maintenances"]:
        return ["Nothing is planned, and nothing was."]
    rows = [
        [
            printable(one["id"]), one["status"].replace("_", " "), *map(cell_time, _span(one)),
            "public" if one["publicVisible"] else "internal",
            ", ".join(one["components"]), printable(one["title"]),
        ]
        for one in answer["maintenances"]
    ]  # fmt: skip
    heads = ["id", "status", "from (UTC)", "until (UTC)", "seen", "of", "title"]
    return table(screen, heads, rows, (), wrapped=6, kept=(0, 2, 3), spare=(5, 4, 3))


def _span(one: Answer) -> tuple[str, str]:
    return one["startedAt"] or one["scheduledFor"], one["completedAt"] or one["scheduledUntil"]


def _told(answer: Answer, options: argparse.Namespace) -> str:
    if options.json:
        return as_json(answer)
    span = from_to(*_span(answer))
    late = "" if answer["published"] else "\nThe status page could not be renewed yet; it follows within a minute."
    return f"{printable(answer['id'])}: {answer['status'].replace('_', ' ')}, {span}.{late}"

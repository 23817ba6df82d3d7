"""`alert`: what fires and who has it; take an alert on, give it back, see why nobody was paged, or mark it false."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import as_json, cell_time, shown_time
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.screen import Screen, table

BASE = "/api/ops/alerts"
OPEN = ("firing", "pending")
STATES = (*OPEN, "resolved", "ok")
_COLOURS = {"critical": 5, "high": 5, "warning": 1}
Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "alert",
        help="what fires, take an alert on, or see who was told and why not",
        description="List what fires (list), acknowledge an alert (ack), give it back (unack), show what each channel"
        " was told and what comes next (why), or mark its last firing as a false alarm (false), for the report.",
    )
    command.add_argument("action", choices=("list", "ack", "unack", "why", "false"))
    command.add_argument("id", nargs="?", help="of the alert, such as api-availability-threshold; not for list")
    command.add_argument("--note", help="of ack: for those who come after you; of false: why it was")
    command.add_argument("--undo", action="store_true", help="of false: take the mark back")
    command.add_argument("--state", choices=STATES, help="of list: only these; firing and pending unless said")
    command.add_argument("--json", action="store_true", help="the answer as it is")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    if options.action == "list":
        return _list(options, client, screen)
    if not options.id:
        raise CannotAsk(f"Name one: `alert {options.action} ID`; `alert list` has them.", WRONG)
    if options.undo and options.action != "false":
        raise CannotAsk("--undo is of `alert false`; `alert unack` gives an alert back.", WRONG)
    path = f"{BASE}/{quote(options.id, safe='')}"
    body = {"note": options.note} if options.note else {}
    if options.action == "why":
        answer = client.json(path)
    elif options.action == "ack":
        answer = client.change("POST", f"{path}/acknowledge", body)
    elif options.action == "unack":
        answer = client.change("DELETE", f"{path}/acknowledge")
    elif options.undo:
        answer = client.change("DELETE", f"{path}/false")
    else:
        answer = client.change("POST", f"{path}/false", body)
    if options.json:
        return as_json(answer)
    if options.action == "why":
        return "\n".join(why(answer, screen))
    if options.action == "false":
        return marked(answer)
    return taken(answer) if options.action == "ack" else given_back(answer)


# --- what there is


def _list(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    """The interface gives the open ones with the last of the others; those are asked for by name."""
    if options.id:
        raise CannotAsk("`alert list` takes no id; `alert why ID` shows one.", WRONG)
    answer = client.json(BASE, [("state", options.state)] if options.state else [("limit", "1")])
    if not options.state:
        answer = {"alerts": [one for one in answer["alerts"] if one["state"] in OPEN], "cursor": None}
    return as_json(answer) if options.json else "\n".join(listed(answer, screen))


def listed(answer: Answer, screen: Screen) -> list[str]:
    """What fires first; the columns that matter less come last, since a narrow screen leaves them out."""
    alerts = answer["alerts"]
    if not alerts:
        return ["Nothing."]
    rows = [
        [
            printable(one["alertId"]), one["state"], one["severity"] or "", cell_time(one["since"]),
            _taker(one), _passed_on(one), printable(one["incidentId"] or "–"),
        ]
        for one in alerts
    ]  # fmt: skip
    heads = ["alert", "state", "severity", "since (UTC)", "acknowledged by", "passed on (UTC)", "incident"]
    head, *lines = table(screen, heads, rows, (), kept=(0, 3, 5), spare=(6, 5))
    for n, one in enumerate(alerts):
        if one["state"] == "firing" and one["severity"] in _COLOURS:
            lines[n] = screen.paint(lines[n], _COLOURS[one["severity"]])
    return [head, *lines, *(["", screen.dim("There are more.")] if answer["cursor"] else [])]


def _passed_on(one: Answer) -> str:
    """When; or that it would have been by now, but for what holds it back."""
    at, held = cell_time(one["next"]["escalates"]), _held_back(one)
    if not held:
        return at
    return f"held back: {held}" if one["next"]["escalationDue"] else f"{at} (held now)"


def _held_back(one: Answer) -> str | None:
    """What holds the next escalation back, if it would be told to nobody."""
    holds = [one["holds"].get(channel) for channel in one["next"]["escalatesTo"]]
    return _words(holds[0]["reason"]) if holds and all(holds) else None


def _taker(one: Answer) -> str:
    if one["acknowledged"]:
        return printable(str(one["acknowledged"]["by"]))
    return "nobody" if one["state"] == "firing" else "–"


# --- one of them


def taken(answer: Answer) -> str:
    """Of an alert that is acknowledged: who has it, maybe since before, with the others of its incident."""
    name, others = printable(answer["alertId"]), printable(", ".join(answer["together"]))
    by = printable(answer["acknowledged"]["by"])
    if others:
        return f"{by} has {name} and what fires of its incident, {others}: all are repeated and passed on no more."
    return f"{by} has {name}: it is repeated and passed on no more."


def given_back(answer: Answer) -> str:
    name, others = printable(answer["alertId"]), printable(", ".join(answer["together"]))
    if others:
        return f"Nobody has {name} nor what fires of its incident, {others}: all are repeated and passed on again."
    return f"{name} is nobody's: it is repeated and passed on again."


def marked(answer: Answer) -> str:
    """Which firing is, or is no longer, a false alarm, and what that is for."""
    name, at = printable(answer["alertId"]), shown_time(answer["firedAt"])
    if answer["markedFalse"]:
        return f"The firing of {name} at {at} counts as false in the report. Nothing is silenced by that."
    return f"The firing of {name} at {at} counts as right."


def why(answer: Answer, screen: Screen) -> list[str]:
    """A line for each channel: what became of its last notification, and what would hold it back now; what is next."""
    rows = []
    for channel, told in sorted(answer["told"].items()):
        hold = answer["holds"].get(channel)
        now = f"{_words(hold['reason'])} {hold['by'] or ''}".strip() if hold else "nothing"
        rows.append([channel, told["kind"] or "", told["state"], _words(told["reason"]), printable(now)])
    lines = [
        f"{printable(answer['alertId'])}: {answer['state']}, {printable(_words(answer['reason']))},"
        f" since {shown_time(answer['since'])}"
    ]
    if answer["acknowledged"]:
        by, note = answer["acknowledged"]["by"], answer["acknowledged"]["note"]
        at = shown_time(answer["acknowledged"]["at"])
        lines.append(f"acknowledged by {printable(by)} at {at}{f': {printable(note)}' if note else ''}")
    if answer["markedFalse"]:
        by, note = answer["markedFalse"]["by"], answer["markedFalse"]["note"]
        lines.append(f"marked false by {printable(by)}{f': {printable(note)}' if note else ''}")
    if answer["incidentId"]:
        lines.append(f"incident {printable(answer['incidentId'])}")
    heads = ["channel", "last", "state", "reason", "held now by"]
    told_to = ["", *table(screen, heads, rows, (), kept=(0, 1, 2, 3))] if rows else ["Nothing was told to any channel."]
    return [*lines, *told_to, "", f"next: {coming(answer)}"]


def coming(answer: Answer) -> str:
    """What the alert does by itself if nobody does anything."""
    due = answer["next"]
    if answer["state"] != "firing":
        return "nothing; it does not fire"
    if due["speaksAgain"]:
        holds = list(answer["holds"].values())
        now = f" (held now: {_words(holds[0]['reason'])})" if holds and all(holds) else ""
        return f"told again at {shown_time(due['speaksAgain'])}{now}: its incident was resolved, and it fires on"
    if answer["acknowledged"]:
        return "nothing, since somebody has it; its end is told"
    to = f" to {', '.join(_further(answer, channel) for channel in due['escalatesTo'])}" if due["escalatesTo"] else ""
    said = [f"passed on{to} at {shown_time(due['escalates'])}"] if due["escalates"] else []
    held = _held_back(answer)
    if due["escalationDue"] and held:
        since, to = shown_time(due["escalates"]), ", ".join(due["escalatesTo"])
        said = [f"passed on to {to}: due since {since}, held back: {held}"]
    said += [f"repeated at {shown_time(due['repeats'])}"] if due["repeats"] else []
    return ", ".join(said) or "nothing; it was passed on to everybody, and its end is told"


def _further(answer: Answer, channel: str) -> str:
    """A channel that hears of it next, unless what holds it back now still does."""
    hold = answer["holds"].get(channel)
    return f"{channel} (held now: {_words(hold['reason'])})" if hold else channel


def _words(reason: str | None) -> str:
    return (reason or "").replace("_", " ")

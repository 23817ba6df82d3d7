"""`incident`: open one, lead it, end it; list them, show one, and write what was learnt."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scripts.ops import audit
from scripts.ops.asking import add_answers, as_json, confirm, mean_span, needed, once, shown_span, shown_time
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.incident_screen import listed, postmortems, shown
from scripts.ops.screen import Screen, table
from shared.domain.faults import unreadable

BASE = "/api/incidents"
IMPACTS = ("low", "medium", "high", "critical")
ITEM_STATES = ("open", "in_progress", "done", "cancelled")
POSTMORTEMS = ("due", "overdue", "written")
STATUSES = ("investigating", "identified", "mitigating", "resolved")
_EDITED_FROM = re.compile(r'\n*<!-- edited from version ("[0-9a-f]{16}") -->\s*\Z')

_TIMES = ("started", "identified", "mitigated", "resolved")

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "incident",
        help="open, update, resolve, list and show incidents",
        description="Lead an incident from a terminal. What the public would see is shown and asked about before.",
    )
    command.add_argument("action", choices=tuple(_DO))
    command.add_argument("id", nargs="?", help="which one; not for open, list and stats")
    command.add_argument("--title", help="of open and edit; of todo, what is to be done")
    command.add_argument("--impact", choices=IMPACTS, help="of open and edit; of list, only these")
    command.add_argument("--component", action="append", metavar="ID", help="affected; may be repeated")
    command.add_argument("--message", "-m", help="what is written into its timeline")
    command.add_argument(
        "--corrects", metavar="N", type=int, help="of update: the entry that it corrects, by its number"
    )
    command.add_argument("--status", choices=("open", *STATUSES), help="of open and update; of list, only these")
    command.add_argument("--runbook", metavar="NAME", help="of open and edit: what to follow, such as api-outage")
    command.add_argument("--root-cause", dest="root_cause", help="of resolve, or of edit once it is resolved")
    who = command.add_mutually_exclusive_group()
    who.add_argument("--public", action="store_true", help="the message is for everybody")
    who.add_argument("--internal", action="store_true", help="the message is for the team")
    seen = command.add_mutually_exclusive_group()
    seen.add_argument("--visible", action="store_true", help="of open and edit: the status page shows it")
    seen.add_argument("--hidden", action="store_true", help="of edit: the status page does not show it")
    command.add_argument(
        "--started",
        metavar="TIME",
        help="of open and edit: when it began, if that was earlier; ISO 8601, UTC unless it says otherwise",
    )
    for name in _TIMES[1:]:
        command.add_argument(f"--{name}", metavar="TIME", help="of edit: likewise, when it was so")
    command.add_argument("--postmortem", choices=POSTMORTEMS, help="of list: only those whose post-mortem is so")
    command.add_argument("--text", help="of list: what its title or timeline has")
    command.add_argument(
        "--from",
        dest="start",
        metavar="TIME",
        help="of list and stats: ISO 8601, UTC unless it says otherwise, or =-7d",
    )
    command.add_argument("--to", dest="end", metavar="TIME", help="likewise")
    command.add_argument(
        "--write", metavar="FILE", help="of postmortem: put this Markdown in its place; - is the input"
    )
    command.add_argument("--owner", metavar="UID", help="of todo: who does it")
    command.add_argument("--due", metavar="TIME", help="of todo: by when, such as 2026-03-20, in UTC")
    command.add_argument("--item", metavar="N", help="of todo: change this one rather than add one")
    command.add_argument("--state", choices=ITEM_STATES, help="of todo with --item: how far it is")
    add_answers(command)
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    if options.action in ("open", "list", "stats"):
        if options.id:
            raise CannotAsk(f"`incident {options.action}` takes no id.", WRONG)
    elif not options.id:
        raise CannotAsk(f"Name one: `incident {options.action} ID`; `incident list` has them.", WRONG)
    return _DO[options.action](options, client, screen)


# --- reading


def _list(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    asked = [("status", options.status), ("impact", options.impact), ("text", options.text)]
    asked += [("postmortem", options.postmortem), ("from", options.start), ("to", options.end), ("limit", "50")]
    asked += [("component", name) for name in options.component or ()]
    answer = client.json(BASE, [(name, value) for name, value in asked if value])
    if options.json:
        return as_json(answer)
    return "\n".join((postmortems if options.postmortem else listed)(answer, screen))


def _show(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    answer = client.json(_path(options))
    return as_json(answer) if options.json else "\n".join(shown(answer, audit.entries(client, _path(options)), screen))


def _audit(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    found = audit.entries(client, _path(options))
    return as_json({"audit": found}) if options.json else "\n".join(audit.told(found, screen))


def _stats(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    asked = [("from", options.start), ("to", options.end)]
    answer = client.json(f"{BASE}/stats", [(name, value) for name, value in asked if value])
    if options.json:
        return as_json(answer)
    rows = [
        [
            row["month"], str(row["incidents"]), str(row["resolved"]),
            *("–" if row[name] is None else mean_span(row[name]) for name in ("mtta", "mttr")),
            *(shown_span(row["inState"][status]) for status in STATUSES[:3]),
        ]
        for row in (*answer["months"], {**answer["all"], "month": "in all"})
    ]  # fmt: skip
    heads = [
        "month",
        "incidents",
        "resolved",
        "MTTA (mean)",
        "MTTR (mean)",
        *(f"{status} (sum)" for status in STATUSES[:3]),
    ]
    return "\n".join(table(screen, heads, rows, tuple(range(1, 8)), spare=(7, 6, 5)))


def _postmortem(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    """The last line of what is shown names its version, so that what somebody else wrote meanwhile is not lost."""
    path = f"{_path(options)}/postmortem"
    reply = client.get(path)
    answer = reply.json()
    seen = reply.headers["ETag"]
    if not options.write:
        text = printable(str(answer["markdown"]), "\n").rstrip("\n")
        return as_json(answer) if options.json else f"{text}\n\n<!-- edited from version {seen.removeprefix('W/')} -->"
    try:
        text = sys.stdin.read() if options.write == "-" else Path(options.write).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotAsk(f"{options.write} {unreadable(error)}", WRONG) from None
    named = _EDITED_FROM.search(text)
    if named is None and answer["state"] == "edited":
        confirm(options, f"{options.write} does not say which version it was edited from. Overwrite what is kept now?")
    body = {"markdown": _EDITED_FROM.sub("", text) if named else text}
    kept = client.change("PUT", path, body, {"If-Match": named[1] if named else seen, **once()})
    if options.json:
        return as_json(kept)
    told = "Kept. It is served in the place of the draft from now on."
    if kept["unwritten"] and not kept["writtenAt"]:
        told += f"\nIt does not count as written yet: fill in or delete what is in italics in {_listed(kept)}."
    return told


def _listed(kept: Mapping[str, Any]) -> str:
    return printable(", ".join(kept["unwritten"]))


# --- changing


def _open(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    needed(options, "incident open", title="--title", impact="--impact")
    if options.status in ("open", "resolved"):
        raise CannotAsk("An incident opens as investigating, identified or mitigating.", WRONG)
    body: dict[str, Any] = {"title": options.title, "impact": options.impact, "components": options.component or []}
    body |= {"publicVisible": True} if options.visible else {}
    given = {
        "message": options.message, "status": options.status, "runbook": options.runbook, "startedAt": options.started,
    }  # fmt: skip
    body |= {name: value for name, value in given.items() if value} | _audience(options)
    if options.visible and not options.yes:
        seen = client.change(
            "POST", f"{BASE}/preview", body
        )  # which refuses what could not be opened: ask nothing then
        confirm(options, f"{_will_be_seen(seen, None)}Open an incident that everybody can see?")
    return _told(client.change("POST", BASE, body, once()), options)


def _update(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    needed(options, "incident update", message="--message")
    body = {"message": options.message, **({"status": options.status} if options.status else {}), **_audience(options)}
    body |= {} if options.corrects is None else {"corrects": options.corrects}
    _ask(options, client, f"Update it{' to ' + options.status if options.status else ''}")
    return _told(client.change("POST", f"{_path(options)}/updates", body, once()), options)


def _resolve(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    body = {name: value for name, value in (("message", options.message), ("rootCause", options.root_cause)) if value}
    _ask(options, client, "Resolve it")
    return _told(client.change("POST", f"{_path(options)}/resolve", body | _audience(options), once()), options)


def _reopen(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    needed(options, "incident reopen", message="--message")
    body = {"message": options.message, **({"status": options.status} if options.status else {}), **_audience(options)}
    _ask(options, client, "Open it again")
    return _told(client.change("POST", f"{_path(options)}/reopen", body, once()), options)


def _edit(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    given = {
        "title": options.title, "impact": options.impact, "runbook": options.runbook, "rootCause": options.root_cause,
    }  # fmt: skip
    given |= {f"{name}At": getattr(options, name) for name in _TIMES}
    body: dict[str, Any] = {name: value for name, value in given.items() if value}
    body |= {"components": options.component} if options.component else {}
    body |= {"publicVisible": options.visible} if options.visible or options.hidden else {}
    if not body:
        raise CannotAsk("`incident edit` needs something to change, such as --impact high.", WRONG)
    reply = client.get(_path(options))
    seen = reply.json()
    if seen["publicVisible"] or options.visible:
        shown = "" if seen["publicVisible"] else _will_be_seen(seen, options.title)
        confirm(options, f"{shown}Everybody can see that. Change of {printable(seen['title'])}: {_fields(body)}?")
    headers = {"If-Match": reply.headers["ETag"], **once()}
    return _told(client.change("PATCH", _path(options), body, headers), options)


def _will_be_seen(incident: Answer, title: str | None) -> str:
    """What the public reads at once of an incident that becomes visible; not a title that came of an SLO."""
    entries = [
        f"  {shown_time(update['timestamp'])}  {printable(update.get('publicMessage') or update['message'])}\n"
        for update in incident["updates"]
        if update["public"]
    ]
    titles = [printable(title or incident["title"])] if title or not incident["autoCreated"] else []
    lines = [*(f"  {title}\n" for title in titles), *entries]
    return f"The status page will show:\n{''.join(lines)}" if lines else ""


def _todo(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    """An action item, which only the team sees: added, or with `--item` changed."""
    given = {"title": options.title, "owner": options.owner, "dueAt": options.due, "state": options.state}
    body = {name: value for name, value in given.items() if value}
    path = f"{_path(options)}/actions"
    if options.item:
        if not body:
            raise CannotAsk("`incident todo --item N` needs something to change, such as --state done.", WRONG)
        return _stored(client.change("PATCH", f"{path}/{quote(options.item, safe='')}", body, once()), options)
    needed(options, "incident todo", title="--title")
    if options.state:
        raise CannotAsk("--state is of an item that is there: name it by --item.", WRONG)
    return _stored(client.change("POST", path, body, once()), options)


def _stored(answer: Answer, options: argparse.Namespace) -> str:
    """The item as it stands now; a new one has the highest number."""
    if options.json:
        return as_json(answer)
    items = answer["actionItems"]
    item = next(i for i in items if str(i["id"]) == options.item) if options.item else items[-1]
    return f"{printable(answer['id'])}, to do {printable(audit.item_told(item))}."


def _fields(body: Answer) -> str:
    words = {"publicVisible": "who sees it", "rootCause": "the root cause"}
    words |= {f"{name}At": f"when it was {name}" for name in _TIMES[1:]} | {"startedAt": "when it began"}
    return ", ".join(words.get(name, f"the {name}") for name in body)


def _audience(options: argparse.Namespace) -> dict[str, bool]:
    return {"public": options.public} if options.public or options.internal else {}


def _ask(options: argparse.Namespace, client: Client, what: str) -> None:
    """Asks where the status page would show something of it: then also what is for the team changes its status. And
    where it would be resolved while its alerts fire.
    """
    if options.yes:
        return
    one = client.json(_path(options))
    if options.action in ("resolve", "reopen") and options.action not in one["allowed"]:
        return  # it is refused, with the reason
    moves = options.action != "update" or (options.status and options.status != one["status"])
    ends = moves and (options.action == "resolve" or options.status == "resolved")
    if ends and one["firingAlertIds"]:
        what = f"{_still_firing(one)}\n{what} all the same"
    if one["publicVisible"] and (moves or not options.internal):
        message = None if options.internal else options.message
        confirm(options, _question(f"{what}, for everybody to see", one["title"], message))
    elif ends and one["firingAlertIds"]:
        confirm(options, _question(what, one["title"], None))


def _still_firing(one: Answer) -> str:
    return f"Still firing: {printable(', '.join(one['firingAlertIds']))}."


def _goes_on(one: Answer) -> str:
    """What comes of alerts that fire on."""
    alert = printable(one["firingAlertIds"][0])
    return f"{_still_firing(one)} What goes on is told again and opens this anew: `alert why {alert}` says when."


def _question(what: str, title: str, message: str | None) -> str:
    said = f"\n  {printable(message)}\n" if message else ""
    return f"{what}: {printable(title)}?{said}"


def _told(answer: Answer, options: argparse.Namespace) -> str:
    if options.json:
        return as_json(answer)
    late = "" if answer["published"] else "\nThe status page could not be renewed yet; it follows within a minute."
    seen = "public" if answer["publicVisible"] else "not public"
    fires = f"\n{_goes_on(answer)}" if answer["status"] == "resolved" and answer["firingAlertIds"] else ""
    page = f"\n{printable(answer['publicUrl'])}" if answer["publicUrl"] else ""
    what = f"{printable(answer['id'])}: {answer['impact']}, {answer['status']}, {seen}{_timed(answer, options)}."
    return f"{what}{_holder(answer)}{page}{fires}{late}"


def _timed(answer: Answer, options: argparse.Namespace) -> str:
    """The times that were typed, as they were understood."""
    given = [name for name in _TIMES if getattr(options, name) and answer[f"{name}At"]]
    return "".join(f", {'began' if n == 'started' else n} {shown_time(answer[f'{n}At'])}" for n in given)


def _holder(answer: Answer) -> str:
    """Who has it, or how one takes what still fires of it."""
    if answer["acknowledged"]:
        return f" In the hands of {printable(answer['acknowledged']['by'])}."
    if answer["status"] == "resolved" or not answer["firingAlertIds"]:
        return ""
    return f" Nobody has it in hand: `alert ack {printable(answer['firingAlertIds'][0])}` takes it."


def _path(options: argparse.Namespace) -> str:
    return f"{BASE}/{quote(options.id, safe='')}"


_DO: Mapping[str, Callable[[argparse.Namespace, Client, Screen], str]] = {
    "open": _open,
    "list": _list,
    "show": _show,
    "audit": _audit,
    "update": _update,
    "resolve": _resolve,
    "reopen": _reopen,
    "edit": _edit,
    "todo": _todo,
    "postmortem": _postmortem,
    "stats": _stats,
}

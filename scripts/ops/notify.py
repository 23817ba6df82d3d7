"""`notify`: a test message on a channel; what was sent, held back or could not be; and a dead letter once more."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import cell_time
from scripts.ops.client import WRONG, CannotAsk, Client, Failed, printable
from scripts.ops.screen import Screen, table

BASE = "/api/ops/notifications"
CHANNELS = ("slack", "email", "pagerduty", "inapp", "webhook")
STATES = ("pending", "sending", "delivered", "withheld", "cancelled", "dead")
_SECONDS = "%Y-%m-%d %H:%M:%S"  # attempts follow each other quickly
_MEANINGS = {
    "delivered": "It was accepted: look whether it has arrived.",
    "withheld": "Nothing was sent.",
    "retry": "It was surely not accepted, but may be later.",
    "unknown": "It left, and no clear answer came: it may have arrived.",
    "dead": "It was refused for good.",
}

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "notify",
        help="test a channel, list notifications, send a dead letter again",
        description="Test a channel; list notifications; show one with every attempt; send a dead letter again.",
    )
    command.add_argument("action", choices=("test", "list", "show", "resend"))
    command.add_argument("what", nargs="*", help="of test: channels; of show and resend: the notification's id")
    command.add_argument("--all", action="store_true", help="of test: every channel")
    command.add_argument("--state", choices=STATES, help="of list: only those")
    command.add_argument("--channel", choices=CHANNELS, help="of list: only those")
    command.add_argument("--alert", metavar="ID", help="of list: only those of this alert")
    command.add_argument("--limit", type=int, help="of list: so many at most")
    command.add_argument("--json", action="store_true", help="the answer as it is")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    if options.action == "test":
        return _test(options, client)
    if len(options.what) != (0 if options.action == "list" else 1) or options.all:
        needed = "no name" if options.action == "list" else "one id; `notify list` has them"
        raise CannotAsk(f"`notify {options.action}` takes {needed}.", WRONG)
    if options.action == "resend":
        found = client.change("POST", f"{BASE}/{quote(options.what[0], safe='')}/resend")
        return _json(found) if options.json else f"{printable(found['notificationId'])} is due again."
    if options.action == "show":
        found = client.json(f"{BASE}/{quote(options.what[0], safe='')}")
        return _json(found) if options.json else "\n".join(shown(found, screen))
    wanted = [(name, str(getattr(options, name))) for name in ("state", "channel", "alert", "limit")]
    found = client.json(BASE, [(name, value) for name, value in wanted if value != "None"])
    return _json(found) if options.json else "\n".join(listed(found, screen))


def _test(options: argparse.Namespace, client: Client) -> str:
    """What each channel said. Raises `Failed` with the same if one of them did not accept."""
    if bool(options.what) == options.all:
        raise CannotAsk(f"`notify test` takes channels, or --all: {', '.join(CHANNELS)}.", WRONG)
    strange = [printable(name) for name in options.what if name not in CHANNELS]
    if strange:
        raise CannotAsk(f"There is no channel {', '.join(strange)}; there are {', '.join(CHANNELS)}.", WRONG)
    channels = CHANNELS if options.all else tuple(dict.fromkeys(options.what))
    found = [client.change("POST", f"{BASE}/test", {"channel": channel}) for channel in channels]
    lines = [tested(one) for one in found]
    text = _json(found[0] if len(channels) == 1 else found) if options.json else "\n".join(lines)
    if any(one["outcome"] != "delivered" for one in found):
        raise Failed(text)
    return text


def tested(one: Answer) -> str:
    """What came of a test, and what the channel needs if it was not sent."""
    status = f", status {one['status']}" if one["status"] is not None else ""
    said = f"{one['channel']}: {one['outcome']}: {one['detail']}{status}, after {one['durationMs']:,} ms."
    needs = f"It needs {one['needs']}." if one["needs"] else ""
    return printable(" ".join(part for part in (said, _MEANINGS.get(one["outcome"], ""), needs) if part))


def listed(answer: Answer, screen: Screen) -> list[str]:
    """The latest first."""
    if not answer["notifications"]:
        return ["There are none."]
    rows = [
        [
            cell_time(one["createdAt"], _SECONDS), printable(one["notificationId"]), one["kind"], one["state"],
            f"{one['tries']:,}", printable(one["reason"] or (one["last"] or {}).get("detail") or ""),
        ]
        for one in answer["notifications"]
    ]  # fmt: skip
    lines = table(screen, ["at (UTC)", "id", "kind", "state", "tries", "reason"], rows, (4,), kept=(0, 1), spare=(4, 2))
    return [*lines, "", screen.dim("There are more.")] if answer["cursor"] else lines


def shown(one: Answer, screen: Screen) -> list[str]:
    reason = f" ({printable(one['reason'])})" if one["reason"] else ""
    lines = [f"{printable(one['notificationId'])}: {one['kind']}, {one['state']}{reason}", ""]
    lines += _attempts(one["attempts"], screen) if one["attempts"] else ["No attempt was made."]
    first = one["firstMessage"]
    if first is None:
        return lines
    again = f" Tried again at {cell_time(first['dueAt'], _SECONDS)} UTC." if first["dueAt"] else ""
    head = f"Of its thread, the first message ({printable(first['notificationId'])}) is kept up to date.{again}"
    return [*lines, "", head, *_attempts(first["attempts"], screen)]


def _attempts(attempts: Sequence[Answer], screen: Screen) -> list[str]:
    rows = [
        [
            cell_time(each["at"], _SECONDS), each["outcome"], printable(each["detail"]),
            "" if each["status"] is None else str(each["status"]),
            "" if each["durationMs"] is None else f"{each['durationMs']:,} ms",
        ]
        for each in attempts
    ]  # fmt: skip
    return table(screen, ["at (UTC)", "outcome", "detail", "status", "took"], rows, (3, 4), wrapped=2)


def _json(answer: Any) -> str:
    return json.dumps(answer, indent=2, ensure_ascii=False)

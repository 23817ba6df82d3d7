"""What commands that change something share: a question before it, one key for it, JSON, and times."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Any

from scripts.ops.client import WRONG, CannotAsk
from shared.domain.timeline import lasted


def add_answers(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--json", action="store_true", help="the answer as it is")


def confirm(options: argparse.Namespace, question: str) -> None:
    """On the error stream, so that --json stays JSON. Only a clear yes is one; the end of the input is none."""
    if options.yes:
        return
    print(f"{question}{'' if question.endswith(chr(10)) else ' '}[y/N] ", end="", file=sys.stderr, flush=True)
    said = sys.stdin.readline()
    if not sys.stdin.isatty():  # then nobody's return key has ended the line
        print(file=sys.stderr)
    if said.strip().lower() not in ("y", "yes"):
        raise CannotAsk("Nothing was changed. --yes does not ask.", WRONG)


def needed(options: argparse.Namespace, command: str, **flags: Any) -> None:
    """Raises `CannotAsk` naming every argument of `command` that is missing: flag by name of its value."""
    missing = [flag for name, flag in flags.items() if not getattr(options, name)]
    if missing:
        raise CannotAsk(f"`{command}` needs {', '.join(missing)}.", WRONG)


def once() -> dict[str, str]:
    """A key of its own, so that a request that is sent twice changes once."""
    return {"Idempotency-Key": secrets.token_hex(16)}


def as_json(answer: Any) -> str:
    return json.dumps(answer, indent=2, ensure_ascii=False)


def shown_time(text: str | None) -> str:
    """`2026-11-30 03:06 UTC`."""
    return "–" if text is None else f"{cell_time(text)} UTC"


def cell_time(text: str | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """In UTC wherever the machine stands, since times are typed, and told in messages, in that; its column says so."""
    return "–" if text is None else f"{datetime.fromisoformat(text).astimezone(UTC):{form}}"


def from_to(start: str, end: str, between: str = " to ") -> str:
    return f"{cell_time(start)}{between}{shown_time(end)}"


def shown_span(seconds: float | None) -> str:
    """As timelines say it: `17 min`, `2 h 5 min`; whole units, rounded down."""
    return "–" if seconds is None else lasted(timedelta(seconds=seconds))


def mean_span(seconds: float, *, up: bool = False) -> str:
    """`3 min 48 s`, `2 h 5 min`, `1 d 4 h`: two units, in the smaller one rounded as a target asks."""
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    least = 3_600 if seconds >= 86_400 else 60 if seconds >= 3_600 else 1
    left = (ceil if up else floor)(round(seconds / least, 6)) * least
    said = []
    for name, size in units:
        if left >= size:
            said.append(f"{left // size} {name}")
            left %= size
    return " ".join(said) or "0 s"

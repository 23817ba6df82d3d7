"""`report`: the success metrics of a week or a month, each beside its target."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from scripts.ops.asking import from_to, mean_span, shown_time
from scripts.ops.client import Client, printable
from scripts.ops.money import usd
from scripts.ops.screen import Screen, padded, table

BASE = "/api/ops/report"
_COLOURS = {"met": 3, "missed": 5}  # green, red
_SIGNS = {"at least": "≥", "at most": "≤", "below": "<"}
_ASCII = {"at least": ">=", "at most": "<=", "below": "<"}

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="the success metrics of a week or a month, each beside its target",
        description="Show the success metrics of the last 7 or 30 days. Times are in UTC.",
    )
    command.add_argument("--period", choices=("week", "month"), default="week", help="week unless said otherwise")
    command.add_argument(
        "--to",
        metavar="TIME",
        help="where the period ends: ISO 8601, UTC unless it says otherwise, or =-7d; now unless said",
    )
    command.add_argument("--how", action="store_true", help="also how each was computed")
    command.add_argument("--json", action="store_true", help="the answer as it is")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    params = [("period", options.period), *([("to", options.to)] if options.to else [])]
    answer = client.json(BASE, params)
    if options.json:
        return json.dumps(answer, indent=2, ensure_ascii=False)
    return "\n".join(overview(answer, screen, how=options.how))


def overview(answer: Answer, screen: Screen, *, how: bool = False) -> list[str]:
    """A line a metric; on a terminal green where its target is met, red where it is missed."""
    signs = _SIGNS if screen.braille else _ASCII
    rows = [
        [
            printable(line["name"]) + (" (mean)" if line["unit"] == "h" else ""),
            _value(line),
            f"{signs[line['comparison']]} {line['target']:g} {line['unit']}",
            line["verdict"].replace("_", " "),
            _counts(line),
        ]
        for line in answer["metrics"]
    ]
    head, *lines = table(screen, ["metric", "value", "target", "verdict", "counts"], rows, (1,))
    told = [
        screen.paint(text, _COLOURS[line["verdict"]]) if line["verdict"] in _COLOURS else text
        for line, text in zip(answer["metrics"], lines, strict=True)
    ]
    span = from_to(answer["from"], answer["to"], " – ")
    explained = ["", *(text for line in answer["metrics"] for text in _how(line, screen))] if how else []
    period = textwrap.wrap(f"The {answer['period']} {span}. {_configurations(answer)}", screen.width)
    return [head, *told, *explained, "", *map(screen.dim, period)]


def _configurations(answer: Answer) -> str:
    """Which SLOs were in force; versions beyond the latest three are only counted."""
    found = answer.get("configurations") or []  # an older server does not say
    if not found:
        return "SLOs: the deployed file." if "configurations" in answer else ""
    told = [f"version {one['version']} since {shown_time(one['since'])}" for one in found[-3:]]
    earlier = f"{len(found) - 3} earlier, " if len(found) > 3 else ""
    return f"SLOs: {earlier}{', '.join(told)}."


def _value(line: Answer) -> str:
    """Rounded to the side on which a target is missed, so that no missed one looks met."""
    if line["value"] is None:
        return "–"
    if line["unit"] == "h":
        return ("about " if line["estimated"] else "") + mean_span(
            line["value"] * 3600, up=line["comparison"] != "at least"
        )
    rounded = (floor if line["comparison"] == "at least" else ceil)(round(line["value"] * 100, 6)) / 100
    return f"{'about ' if line['estimated'] else ''}{rounded:g} {line['unit'].partition(' ')[0]}"


def _counts(line: Answer) -> str:
    """`good 99, total 100`, or why there is no data."""
    if line["reason"]:
        return printable(line["reason"])
    return ", ".join(f"{_words(name)} {_count(count)}" for name, count in line["counts"].items())


def _count(count: int | str) -> str:
    """Amounts of money come as texts, in full."""
    return f"{count:,}" if isinstance(count, int) else usd(count).removesuffix(" USD")


def _words(name: str) -> str:
    """`markedFalse` as `marked false`."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name)


def _how(line: Answer, screen: Screen) -> list[str]:
    text = f"{line['name']}: {line['how']}."
    return textwrap.wrap(printable(text), screen.width, subsequent_indent=padded("", 2))

"""`metrics`: a metric over time as a chart; what metrics there are; what their labels cost."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scripts.ops.asking import shown_time
from scripts.ops.chart import DRAWN, Line, chart, figure, letter, utc
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.screen import Screen, table

BASE = "/api/ops/metrics"
LISTED = 20  # series below a chart

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "metrics",
        help="a metric over time, the catalog, what labels cost",
        description="Draw a metric over time. Times are in UTC; values are per step.",
    )
    command.add_argument("metric", nargs="?", help="such as api_latency; --catalog has them all")
    command.add_argument("--agg", help="p50 p75 p90 p95 p99 avg sum count min max rate; default: the metric's own")
    command.add_argument("--last", metavar="TIME", help="such as 30m, 6h (the default), 7d")
    command.add_argument(
        "--from",
        dest="start",
        metavar="TIME",
        help="ISO 8601, UTC unless it says otherwise, epoch milliseconds, or =-6h",
    )
    command.add_argument("--to", dest="end", metavar="TIME", help="likewise; default: now")
    command.add_argument("--step", help="a multiple of 5 minutes: 5m, 1h, 1d; default: what fits the time")
    command.add_argument("--group-by", action="append", default=[], metavar="LABEL", help="may be repeated")
    command.add_argument("--filter", action="append", default=[], metavar="LABEL:VALUE", help="may be repeated")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--catalog", action="store_true", help="every metric there is")
    what.add_argument(
        "--cardinality", action="store_true", help="how many series there are, and which labels cost most"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the answer as it is")
    form.add_argument("--csv", action="store_true", help="the answer as CSV")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    if options.catalog or options.cardinality:
        if options.metric or options.csv:
            raise CannotAsk("--catalog and --cardinality are about all metrics, as a table or as --json.", WRONG)
        answer = client.json(f"{BASE}/{'catalog' if options.catalog else 'cardinality'}")
        if options.json:
            return json.dumps(answer, indent=2, ensure_ascii=False)
        return "\n".join(catalog(answer, screen) if options.catalog else cardinality(answer, screen))
    if not options.metric:
        raise CannotAsk("Name a metric, such as api_latency; `metrics --catalog` has them all.", WRONG)
    if options.last and (options.start or options.end):
        raise CannotAsk("Give either --last, or --from and --to.", WRONG)
    params = list(_params(options))
    if options.csv:
        return client.get(f"{BASE}/query", params, "text/csv").text
    answer = client.json(f"{BASE}/query", params)
    return json.dumps(answer, indent=2, ensure_ascii=False) if options.json else "\n".join(drawn(answer, screen))


def _params(options: argparse.Namespace) -> Sequence[tuple[str, str]]:
    given = {
        "metric": options.metric,
        "agg": options.agg,
        "from": f"-{options.last}" if options.last else options.start,
        "to": options.end,
        "step": options.step,
        "group_by": ",".join(options.group_by),
    }
    return [*((name, value) for name, value in given.items() if value), *(("filter", f) for f in options.filter)]


# --- a chart


def drawn(answer: Answer, screen: Screen) -> list[str]:
    """The chart with its title and legend, in words where there is nothing to draw."""
    first, last = (int(datetime.fromisoformat(answer[name]).timestamp() * 1000) for name in ("from", "to"))
    series = sorted(answer["series"], key=_events, reverse=True)
    unit = answer["unit"]
    lines = [Line(_middles(one["points"], last)) for one in series]
    title = f"{answer['metric']} {answer['agg']}, {_span(first, last)}, a point every {answer['step']}"
    body = [*map(screen.bold, _wrapped(title, screen.width)), ""]
    if not any(line.values for line in lines):
        return [*body, "There is no data in this time.", *_complete(answer, screen)]
    body += chart(lines[:DRAWN], first, last, unit, screen)
    growing = [_grows(one, answer) for one in series]
    legend = _legend(series, lines, growing, unit, screen)
    return [*body, "", *legend, "", *_notes(answer, screen, any(growing)), *_complete(answer, screen)]


def _events(one: Answer) -> int:
    return sum(point["count"] for point in one["points"])


def _grows(one: Answer, answer: Answer) -> bool:
    """Whether the last point has a value, and its step ends later than all is folded."""
    return one["points"][-1]["value"] is not None and answer["to"] > answer["complete_until"]


def _middles(points: Sequence[Answer], last: int) -> list[tuple[float, float | None]]:
    """Each point in the middle of its step, which ends where the next one begins."""
    ends = [*(point["t"] for point in points[1:]), last]
    return [((point["t"] + end) / 2, point["value"]) for point, end in zip(points, ends, strict=True)]


def _span(first: int, last: int) -> str:
    start, end = utc(first), utc(last)
    same = start.date() == end.date()
    return f"{start:%Y-%m-%d %H:%M} – {end:{'%H:%M' if same else '%Y-%m-%d %H:%M'}} UTC"


def _legend(
    series: Sequence[Answer], lines: Sequence[Line], growing: Sequence[bool], unit: str, screen: Screen
) -> list[str]:
    apart = len(series) > 1
    rows = []
    for number, (one, line) in enumerate(zip(series[:LISTED], lines, strict=False)):
        mark = " "
        if number < DRAWN and apart:
            mark = letter(number) if not (screen.braille and screen.colours) else "•"
        values = line.values
        numbers = [figure(f(values) if values else None, unit) for f in (min, max, lambda given: given[-1])]
        row = [mark, _name(one["labels"]), *numbers, f"{_events(one):,}"]
        rows.append([*row, "still growing" if growing[number] else ""] if any(growing) else row)
    heads = ["", "series", "min", "max", "last", "events", *([""] if any(growing) else [])]
    found = table(screen, heads, rows, (2, 3, 4, 5, 6))
    painted = [
        line.replace("•", screen.paint("•", number), 1) if screen.colours else line
        for number, line in enumerate(found[1:])
    ]
    more = [f"… and {len(series) - LISTED} more; --json has them all"] if len(series) > LISTED else []
    return [found[0], *painted, *more]


def _name(labels: Mapping[str, str]) -> str:
    return printable(" ".join(f"{name}={value or '(none)'}" for name, value in labels.items())) or "all"


def _notes(answer: Answer, screen: Screen, growing: bool) -> list[str]:
    """How far the values may be from the truth, what was put together, and what is not all there yet."""
    points = [point for one in answer["series"] for point in one["points"] if point["value"] is not None]
    notes = [_error(answer["agg"], answer["unit"], points)] if points and "low" in points[0] else []
    estimated = sum(point["estimated"] for point in points)
    if estimated:
        notes.append(
            f"{estimated} of {len(points)} points are estimates, because only a sample of the events was sent."
        )
    if "folded_groups" in answer:
        notes.append(f"{answer['folded_groups']} groups with the fewest events are together in other=true.")
    if growing:
        notes.append("The last point is still growing: it holds what has been folded of its time so far.")
    return [wrapped for note in notes for wrapped in _wrapped(note, screen.width)]


def _error(agg: str, unit: str, points: Sequence[Answer]) -> str:
    open_ended = [point for point in points if point["high"] is None]
    if open_ended:
        least = figure(min(point["low"] for point in open_ended), unit)
        return (
            f"{len(open_ended)} of {len(points)} points come from histograms whose last bucket has no upper edge: "
            f"there the {agg} is {least} or more."
        )
    worst = max(points, key=lambda point: (point["high"] - point["low"]) / (point["value"] or 1))
    if worst["high"] <= worst["low"] * 1.0203:
        return f"Each {agg} is within 1 % of the exact value."
    low, high = figure(worst["low"], unit), figure(worst["high"], unit)
    return f"Some values come from histograms: where it is least certain, the {agg} lies between {low} and {high}."


def _complete(answer: Answer, screen: Screen) -> list[str]:
    if answer["complete_until"] is None:
        return ["Nothing has been folded yet: alertRules does it, every five minutes."]
    text = f"Complete until {shown_time(answer['complete_until'])}; read from {answer['reads']} documents."
    return [screen.dim(line) for line in _wrapped(text, screen.width)]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width)


# --- tables


def catalog(answer: Answer, screen: Screen) -> list[str]:
    rows = [
        [
            *(m["name"], m["unit"], m["kind"], m["aggregation"], f"{m['series']:,}"),
            ", ".join(m["labels"]) if m["labels"] is not None else "any",
        ]
        for m in answer["metrics"]
    ]
    return table(screen, ["metric", "unit", "kind", "read as", "series", "labels"], rows, (4,), wrapped=5)


def cardinality(answer: Answer, screen: Screen) -> list[str]:
    """What the labels cost: without one, so many series would be left."""
    title = [screen.bold(f"Series of {answer['day']} (UTC)"), ""]
    if not answer["metrics"]:
        return [*title, "There are none yet."]
    rows = []
    for m in answer["metrics"]:
        head = [m["metric"], f"{m['series']:,}", f"{m['limit']:,}", f"{m['other_percent']:.1f} %"]
        labels = m["labels"] or [None]
        for n, label in enumerate(labels):
            cost = (
                [printable(label["label"]), f"{label['values']:,}", f"{label['without']:,}"] if label else ["", "", ""]
            )
            rows.append([*(head if n == 0 else ["", "", "", ""]), *cost])
    heads = ["metric", "series", "limit", "in other", "label", "values", "left without"]
    found = [*title, *table(screen, heads, rows, (1, 2, 3, 5, 6))]
    if answer["dropped_labels"]:
        dropped = [
            [printable(d["metric"]) or "(other)", printable(d["label"]) or "(other)", f"{d['samples']:,}"]
            for d in answer["dropped_labels"]
        ]
        found += ["", "Labels that were sent and are not kept:", ""]
        found += table(screen, ["metric", "label", "samples"], dropped, (2,))
    return found

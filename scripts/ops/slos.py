"""`slos`: every SLO with its budget and burn rates as a table; one with its days and its worst contributors."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any
from urllib.parse import quote

from scripts.ops.asking import from_to, shown_time
from scripts.ops.client import WRONG, CannotAsk, Client, printable
from scripts.ops.screen import Screen, padded, table

BASE = "/api/ops/slos"
WIDE = 100  # columns from which on the bar is long
RED, YELLOW, GREEN = 5, 1, 3  # of the screen's colours
_STEPS = ((0, 0), (Fraction(1, 4), 1), (Fraction(1, 2), 2), (Fraction(3, 4), 3), (1, 4), (2, 5), (6, 6))
_WHY = {
    "used_up": "used up",
    "burns_slowly": "lasts",
    "window_ends_first": "lasts",
    "no_recent_events": "quiet",
    "no_data": "–",
}

Answer = Mapping[str, Any]


def add_to(commands: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        "slos",
        help="every SLO with its error budget and burn rates; one of them with its days and what is worst",
        description="Show every SLO, or one. Times are in UTC. A forecast goes by the burn rate of the last hour.",
    )
    command.add_argument("id", nargs="?", help="one SLO, such as api-availability")
    command.add_argument(
        "--over", metavar="TIME", help="of one: how far back what is worst is looked for; 1d, 1h to 30d"
    )
    command.add_argument("--json", action="store_true", help="the answer as it is")
    command.set_defaults(run=run)
    return command


def run(options: argparse.Namespace, client: Client, screen: Screen) -> str:
    if options.over and not options.id:
        raise CannotAsk("--over is for one SLO: name it.", WRONG)
    path = f"{BASE}/{quote(options.id, safe='')}" if options.id else BASE
    answer = client.json(path, [("over", options.over)] if options.over else [])
    if options.json:
        return json.dumps(answer, indent=2, ensure_ascii=False)
    return "\n".join(detail(answer, screen) if options.id else overview(answer, screen))


# --- all of them


def overview(answer: Answer, screen: Screen) -> list[str]:
    """A line an SLO; on a terminal red where it alerts, yellow where the budget is used up."""
    if not answer["slos"]:
        return ["There are no SLOs in force."]
    rows = [_row(slo, answer, screen) for slo in answer["slos"]]
    heads = ["SLO", "SLI", "objective", "budget left", "1h", "6h", "forecast", "state"]
    head, *lines = table(screen, heads, rows, (1, 2, 3, 4, 5))
    told = [_alarming(slo, line, screen) for slo, line in zip(answer["slos"], lines, strict=True)]
    hint = _wrapped(f"One of them: ./ops slos {answer['slos'][0]['id']}", screen.width)
    return [head, *told, "", *map(screen.dim, hint), *_facts(answer, screen)]


def _row(slo: Answer, answer: Answer, screen: Screen) -> list[str]:
    burns = {burn["window"]: burn for burn in slo["burnRates"]}
    rates = [_rate(burns[window]["rate"], "inf") if window in burns else "" for window in ("1h", "6h")]
    budget = f"{_bar(slo, 10 if screen.width >= WIDE else 5, screen)} {padded(_left(slo), 5, right=True)}"
    return [printable(slo["name"]), _sli(slo), f"{slo['objective']} %", budget, *rates, _forecast(slo), _state(slo)]


def _alarming(slo: Answer, line: str, screen: Screen) -> str:
    if slo["alert"]["state"] in ("pending", "firing"):
        return screen.paint(line, RED)
    left = slo["budget"]["left"]
    return screen.paint(line, YELLOW) if left is not None and _exact_left(slo) <= 0 else line


def _state(slo: Answer) -> str:
    if slo["backfilling"]:
        return "counting"
    fires = slo["alert"]["state"] in ("pending", "firing")
    return str(slo["alert"]["state"]) if fires or slo["everHadData"] else "no data"


def _forecast(slo: Answer) -> str:
    at = slo["forecast"]["exhaustedAt"]
    return f"in {_duration(_seconds(at) - _seconds(slo['window']['to']))}" if at else _WHY[slo["forecast"]["reason"]]


def _facts(answer: Answer, screen: Screen) -> list[str]:
    if answer["factsAt"] is None:
        return _wrapped("Nothing has been folded yet: alertRules does it, every five minutes.", screen.width)
    return [screen.dim(f"Complete until {shown_time(answer['factsAt'])}.")]


# --- figures


def _sli(of: Answer, decimals: int | None = None) -> str:
    """In percent, one digit more than the objective has, rounded down: only what has no bad event reads 100 %."""
    if not of["total"]:
        return "–"
    if decimals is None:
        decimals = min(len(of["objective"].partition(".")[2]) + 1, 5)
    return _percent(Fraction(of["good"], of["total"]), decimals)


def _percent(share: Fraction, decimals: int) -> str:
    """Rounded down."""
    steps = share * 100 * 10**decimals // 1
    sign, steps = ("-", -steps) if steps < 0 else ("", steps)
    whole, rest = divmod(steps, 10**decimals)
    return f"{sign}{whole:,}{f'.{rest:0{decimals}d}' if decimals else ''} %"


def _exact_left(slo: Answer) -> Fraction:
    """The share of the budget that is left, from the exact counts."""
    bad, allowed = slo["total"] - slo["good"], slo["total"] * (1 - Fraction(slo["objective"]) / 100)
    return 1 - bad / allowed if allowed else Fraction(not bad)


def _left(slo: Answer) -> str:
    if not slo["total"]:
        return "–"
    left = _exact_left(slo)
    return "< -999 %" if left < -10 else _percent(left, 0)


def _bar(slo: Answer, width: int, screen: Screen) -> str:
    full, empty = ("█", "░") if screen.braille else ("#", ".")
    share = max(Fraction(0), _exact_left(slo)) if slo["total"] else Fraction(0)
    filled = -(-share * width // 1)  # up: empty only where nothing is left
    return full * int(filled) + empty * (width - int(filled))


def _rate(rate: float | str | None, infinite: str = "infinite") -> str:
    if rate is None:
        return "–"
    if isinstance(rate, str):
        return infinite
    return f"{rate:.2f}" if rate < 10 else f"{rate:.3g}" if rate < 100 else f"{rate:.0f}" if rate < 10_000 else ">9999"


def _number(value: float) -> str:
    text = f"{value:,.2f}" if abs(value) < 1e15 else f"{value:.3g}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _duration(seconds: float) -> str:
    """The largest unit of which there are two, rounded down."""
    for unit, size in (("d", 86_400), ("h", 3600)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 60:.0f} min"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# --- one of them


def detail(slo: Answer, screen: Screen) -> list[str]:
    rows = [
        ("SLI", _sli_told(slo)),
        ("budget", _budget_told(slo, screen)),
        ("burn", ", ".join(f"{burn['window']} {_rate(burn['rate'])}" for burn in slo["burnRates"])),
        ("forecast", _forecast_told(slo)),
        ("alert", _alert_told(slo)),
        *([("excluded", _excluded_told(slo))] if slo["excluded"]["minutes"] else []),
    ]
    body = [screen.bold(printable(slo["name"])), *_wrapped(_what(slo), screen.width), ""]
    for name, text in rows:
        body += textwrap.wrap(text, screen.width, initial_indent=padded(name, 10), subsequent_indent=" " * 10)
    return [*body, "", *_days(slo, screen), *_worst(slo, screen), "", *_facts(slo, screen)]


def _what(slo: Answer) -> str:
    """What is counted, and when."""
    labels = "".join(f" {name}={value}" for name, value in slo["labels"].items())
    good = {"share": f"up to {slo['under']}", "quantile": f"up to {slo['target']} {slo['unit']}", "ratio": "good ones"}
    window = slo["window"]
    calendar = f"this {window['calendar']} in {window['timeZone']}, " if "calendar" in window else ""
    span = from_to(window["from"], window["to"], " – ")
    return printable(f"{slo['metric']}{labels}, {good[slo['kind']]}; {calendar}{span}")


def _sli_told(slo: Answer) -> str:
    no_data = "no data" if slo["everHadData"] else "no data yet"
    compliance = {"met": "met", "missed": "missed", "no_data": no_data}[slo["compliance"]]
    about = "about " if slo["estimated"] else ""
    counts = f"{about}{slo['good']:,} of {slo['total']:,} good"
    return f"{_sli(slo)} ({counts}), objective {slo['objective']} %: {compliance}"


def _excluded_told(slo: Answer) -> str:
    why = "; ".join(dict.fromkeys(printable(one["reason"]) for one in slo["excluded"]["list"]))
    return f"{slo['excluded']['minutes']:,} minutes of the window: {why}"


def _budget_told(slo: Answer, screen: Screen) -> str:
    budget = slo["budget"]
    if budget["left"] is None:
        return f"no data; {_number(budget['minutes'])} minutes of full outage"
    events = f"{_number(budget['eventsLeft'])} of {_number(budget['events'])} bad events"
    minutes = f"{_number(budget['minutesLeft'])} of {_number(budget['minutes'])} minutes of full outage"
    return f"{_bar(slo, 10, screen)} {_left(slo)} left: {events}, {minutes}"


def _forecast_told(slo: Answer) -> str:
    forecast = slo["forecast"]
    by = f"if it burns on as in the last {forecast['window']}"
    if forecast["exhaustedAt"]:
        return f"used up {_forecast(slo)}, at {shown_time(forecast['exhaustedAt'])}, {by}"
    return {
        "used_up": "used up already",
        "burns_slowly": f"not used up {by}",
        "window_ends_first": f"not used up before the {slo['window'].get('calendar', 'window')} ends, {by}",
        "no_recent_events": f"no events in the last {forecast['window']}",
        "no_data": "no data",
    }[forecast["reason"]]


def _alert_told(slo: Answer) -> str:
    alert = slo["alert"]
    counting = "; its history is being counted, so it does not alert yet" if slo["backfilling"] else ""
    since = f" since {shown_time(alert['since'])}: {alert['reason']}" if alert["since"] else ""
    return f"{alert['state']}{since}{counting}"


def _days(slo: Answer, screen: Screen) -> list[str]:
    """A mark a day, the higher the faster it burnt."""
    marks = "▁▂▃▄▅▆▇█" if screen.braille else "01234567"
    days = slo["history"]
    text = [_mark(day, slo, marks) for day in days]
    across = screen.width - 12
    lines = []
    for start in range(0, len(days), across):
        painted = "".join(
            screen.paint(mark, RED if level > 4 else GREEN) if level >= 0 else mark
            for mark, level in text[start : start + across]
        )
        lines.append(f"{days[start]['day']}  {painted}")
    none = "·" if screen.braille else "."
    legend = (
        f"A mark a day: {marks[0]} no bad event, {marks[4]} burn rate up to 1, {marks[7]} over 6, {none} no events."
    )
    return [*lines, *map(screen.dim, _wrapped(legend, screen.width)), ""]


def _mark(day: Answer, slo: Answer, marks: str) -> tuple[str, int]:
    """The mark and its height, -1 for a day without events."""
    if not day["total"]:
        return ("·" if marks[0] != "0" else "."), -1
    bad, allowed = Fraction(day["total"] - day["good"], day["total"]), 1 - Fraction(slo["objective"]) / 100
    level = 7
    if not bad:
        level = 0
    elif allowed:
        level = next((step for most, step in _STEPS if bad / allowed <= most), 7)
    return marks[level], level


def _worst(slo: Answer, screen: Screen) -> list[str]:
    worst = slo["worst"]
    bad = worst["total"] - worst["good"]
    span = f"from {shown_time(worst['from'])}"
    if not bad:
        return _wrapped(f"No bad event of {worst['total']:,} {span}.", screen.width)
    lines = _wrapped(f"{bad:,} of {worst['total']:,} events {span} were bad. By label:", screen.width)
    decimals = min(len(slo["objective"].partition(".")[2]) + 1, 5)
    for name, values in worst["labels"].items():
        rows = [
            [
                "(other)" if one["value"] is None else printable(one["value"]) or "(none)",
                *(f"{one['bad']:,}", f"{one['total']:,}", _percent(Fraction(one["bad"], bad), 0)),
                _percent(Fraction(one["total"] - one["bad"], one["total"]), decimals),
            ]
            for one in values
        ]
        lines += ["", *table(screen, [printable(name), "bad", "of", "of all bad", "SLI"], rows, (1, 2, 3, 4))]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width)

"""Ninety days of a component as one drawing, and in words for who does not see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from shared.status_page import words

Seconds = Mapping[str, int]  # of a day in each state; a state that is not there: none

PITCH, HEIGHT = 8, 34  # of a bar with the gap after it, which is 3 wide: see .days in page.css


class Run(NamedTuple):
    """Days of one state, side by side: `path` draws them; `title` is what a pointer is told, if it is one day."""

    state: str
    path: str
    title: str | None


class Trouble(NamedTuple):
    day: str
    what: str


class Bars(NamedTuple):
    """`label` says all of it in one sentence, `told` how many `troubles` there are: the days with anything
    but operation, newest first. `known`: of what time the uptime is, where it is not all days."""

    width: int
    runs: tuple[Run, ...]
    label: str
    told: str
    uptime: str | None
    known: str | None
    days: int
    troubles: tuple[Trouble, ...]


def bars(component: Mapping[str, Any], *, titles: bool, since: str | None = None) -> Bars | None:
    """None where the snapshot has no history of the component. `since` when something is known, if not all the time."""
    history = component.get("history") or {}
    days: Sequence[Seconds] = history.get("days") or ()
    if not days:
        return None
    first = date.fromisoformat(history["from"])
    states = [_state(seconds) for seconds in days]
    uptime = percent(component["uptime90"]) if "uptime90" in component else None
    troubles = [
        Trouble(words.day(first + timedelta(days=n)), _what(seconds))
        for n, seconds in enumerate(days)
        if states[n] not in ("operational", "unknown")
    ]
    return Bars(
        width=PITCH * len(days) - 3,
        runs=tuple(_runs(states, days, first, titles)),
        label=_label(states, uptime, since),
        told=_told(states),
        uptime=uptime,
        known=_known(states, days, since),
        days=len(days),
        troubles=tuple(reversed(troubles)),
    )


def _state(seconds: Seconds) -> str:
    """The day in one word: the worst that was, if only for a second."""
    return next((s for s in ("outage", "degraded", "maintenance", "operational") if seconds.get(s)), "unknown")


def _known(states: Sequence[str], days: Sequence[Seconds], since: str | None) -> str | None:
    """`since 30 Nov`; with days in between of which nothing is known, `in 23 days`. None where something is of each.

    Of an older snapshot, which does not say since when, and of a single day, the time that is known: `in 15 min`.
    """
    found = [seconds for state, seconds in zip(states, days, strict=True) if state != "unknown"]
    first = next((n for n, state in enumerate(states) if state != "unknown"), len(states))
    if since and len(found) == len(days) - first:
        return words.unbroken(since)  # on a narrow screen it goes below as a whole
    if len(found) == len(days):
        return None
    if len(found) > 1:
        return f"in {words.many(len(found), 'day')}"
    known = sum(k for seconds in found for state, k in seconds.items() if state != "unknown")
    return f"in {words.duration(timedelta(seconds=known))}"


def _runs(states: Sequence[str], days: Sequence[Seconds], first: date, titles: bool) -> list[Run]:
    """One path a state for all its days, but each day with a title has its own."""
    plain: dict[str, str] = {}
    titled: list[Run] = []
    start = 0
    for n in range(1, len(states) + 1):
        alone = titles and states[start] not in ("operational", "unknown")
        if n < len(states) and states[n] == states[start] and not alone:
            continue
        # A dashed line as thick as the bars are high draws all days of a run; the dashes begin anew at each M.
        path = f"M{start * PITCH} {HEIGHT // 2}h{(n - start) * PITCH - 3}"
        if alone:
            title = f"{words.day(first + timedelta(days=start))}: {_what(days[start])}"
            titled.append(Run(states[start], path, title))
        else:
            plain[states[start]] = plain.get(states[start], "") + path
        start = n
    return [*(Run(state, path, None) for state, path in plain.items()), *titled]


def _what(seconds: Seconds) -> str:
    """`outage for 12 min, degraded for 1 h 5 min`."""
    return ", ".join(
        f"{state} for {words.duration(timedelta(seconds=seconds[state]))}"
        for state in ("outage", "degraded", "maintenance")
        if seconds.get(state)
    )


def percent(value: float) -> str:
    """`99.98 %`; only what is whole reads `100 %`."""
    return "100 %" if value == 100 else f"{value:.2f} %"


def _label(states: Sequence[str], uptime: str | None, since: str | None) -> str:
    """What the drawing shows, as its name for a screen reader."""
    count = Counter(states)
    parts = [f"{uptime} uptime {since}" if since else f"{uptime} uptime"] if uptime else []
    for state, what in (("outage", "with an outage"), ("degraded", "degraded"), ("maintenance", "with maintenance")):
        if count[state]:
            parts.append(f"{words.many(count[state], 'day')} {what}")
    if count["unknown"]:
        parts.append(f"{words.many(count['unknown'], 'day')} without data")
    if len(parts) == bool(uptime):
        parts.append("no problems")
    return f"The last {len(states)} days: {', '.join(parts)}"


def _told(states: Sequence[str]) -> str:
    """`3 days with problems`, `1 day with maintenance`, or both."""
    count = Counter(states)
    problems = count["outage"] + count["degraded"]
    parts = [f"{words.many(problems, 'day')} with problems"] if problems else []
    if count["maintenance"]:
        parts.append(f"{words.many(count['maintenance'], 'day')} with maintenance")
    return words.listed(parts)

"""A post-mortem as Markdown, written from what is on record: good enough to edit rather than to write anew.

Texts are what people wrote, so they are quoted such that they cannot become headings, tables or links of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from shared.domain.incident import OPEN
from shared.domain.incident_stats import Life
from shared.domain.timeline import AUTHOR, lasted

STANDINGS = ("due", "overdue", "written")
ITEMS = "<!-- action items, as they are now: change them with `incident todo` -->"
ITEMS_END = "<!-- end of the action items -->"
# What a draft leaves to people: each a text in italics that says what to write in its place
_SUMMARY = "_In two or three sentences: what users saw, what caused it, what ended it._"
_AFFECTED = "_Who was affected, and how?_"
_WHICH_ALERT = "_Which alert should have told us, and why did none?_"
_EARLIER = "_Could it have been found earlier?_"
_CAUSE = "_What made it happen, down to what can be changed._"
_LESSON = "_…_"
_TO_WRITE = (_SUMMARY, _AFFECTED, _WHICH_ALERT, _EARLIER, _CAUSE, _LESSON)
_BLOCK = re.compile(rf"{re.escape(ITEMS)}\n(.*?){re.escape(ITEMS_END)}", re.DOTALL)
_OURS = re.compile(r"$|\| # \||\|---|\| \d+ \||\| \| _what will keep")  # a line of our table
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


@dataclass(frozen=True, slots=True)
class Burnt:
    """Of one SLO while the incident lasted. `share`: of the whole error budget; None where there is no budget."""

    slo: str
    objective: str
    window: str
    bad: int
    total: int
    share: Fraction | None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Detected:
    """How an alert of the incident was found: when it fired, and what it read then, in words."""

    alert: str
    fired_at: datetime | None
    words: str


def written(
    incident_id: str,
    incident: Mapping[str, Any],
    updates: Iterable[Mapping[str, Any]],
    life: Life,
    burnt: Sequence[Burnt],
    detected: Sequence[Detected],
) -> str:
    """The whole document. What nobody has said yet is a line in italics that says what to write."""
    lines = [
        f"# Post-mortem: {plain(incident['title'])}",
        "",
        f"Incident `{incident_id}`. Blameless: what failed, not who.",
        "",
        "## Summary",
        "",
        *_summary(incident, life),
        "",
        "## Impact",
        "",
        *_impact(incident, life, burnt),
        "",
        "## Timeline",
        "",
        "Times are UTC.",
        "",
        "| time | status | what happened | who |",
        "|---|---|---|---|",
        *(_row(update) for update in updates),
        "",
        "## Detection",
        "",
        *_detection(incident, life, detected),
        "",
        "## Root cause",
        "",
        plain(incident["rootCause"]) if incident.get("rootCause") else _CAUSE,
        "",
        "## Lessons",
        "",
        f"- What went well: {_LESSON}",
        f"- What went badly: {_LESSON}",
        f"- Where we were lucky: {_LESSON}",
        "",
        "## Action items",
        "",
        _block(incident["actionItems"]),
    ]
    return "\n".join(lines) + "\n"


def unwritten(markdown: str) -> list[str]:
    """The sections in which a text of the draft still says what to write. The action items are not written here."""
    found: list[str] = []
    section = "before the first section"
    for line in markdown.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").strip()
        elif section not in found and any(text in line for text in _TO_WRITE):
            found.append(section)
    return found


def standing(incident: Mapping[str, Any], now: datetime) -> str | None:
    """due, overdue or written; None while none is asked for."""
    if incident.get("postmortemAt") is not None:
        return "written"
    due = incident.get("postmortemDueAt")
    return None if due is None else "overdue" if now > due else "due"


def with_items(markdown: str, items: Sequence[Mapping[str, Any]]) -> str:
    """What somebody has edited, with the action items as they are now.

    The table between our marks is replaced, unless people wrote more into it than its rows. Then, and where there is
    none, another one follows at the end: nothing that people wrote is left out.
    """
    if not items:
        return markdown
    for found in _BLOCK.finditer(markdown):
        if all(_OURS.match(line) for line in found[1].splitlines()):
            return markdown[: found.start()] + _block(items) + markdown[found.end() :]
    return f"{markdown.rstrip()}\n\n## Action items as they are now\n\n{_block(items)}\n"


def plain(text: str) -> str:
    """A text as Markdown shows it as it is; its lines stay."""
    escaped = _SPECIAL.sub(r"\\\1", text.strip())
    return re.sub(r"(?m)^(\s*)([-+=]|\d+[.)])(?=\s|$)", r"\1\\\2", escaped)


def _summary(incident: Mapping[str, Any], life: Life) -> list[str]:
    names = ", ".join(plain(name) for name in incident["components"]) or "no component"
    started, ended = incident["startedAt"], incident.get("resolvedAt")
    span = f"from {_time(started)} to {_time(ended)}, {_span(life.to_resolve)}" if ended else f"since {_time(started)}"
    opened = "our monitoring" if incident.get("autoCreated") else "a person"
    again = incident.get("reopened") or 0
    return [
        f"A disturbance of **{incident['impact']}** impact on {names}, {span}. It was opened by {opened}"
        f"{f' and reopened {again} times' if again > 1 else ' and reopened once' if again else ''}.",
        "",
        _SUMMARY,
    ]


def _impact(incident: Mapping[str, Any], life: Life, burnt: Sequence[Burnt]) -> list[str]:
    states = ", ".join(f"{_span(life.in_state[status])} {status}" for status in OPEN if life.in_state.get(status))
    lines = [
        "| | |",
        "|---|---|",
        f"| impact | {incident['impact']} |",
        f"| components | {', '.join(plain(name) for name in incident['components']) or '–'} |",
        f"| started | {_time(incident['startedAt'])} |",
        f"| resolved | {_time(incident['resolvedAt']) if incident.get('resolvedAt') else 'not yet'} |",
        f"| time to acknowledge | {_span(life.to_acknowledge)} |",
        f"| time to resolve | {_span(life.to_resolve)} |",
        f"| time in each status | {states or '–'} |",
        f"| public | {'yes' if incident['publicVisible'] else 'no'} |",
        "",
    ]
    if not burnt:
        return [*lines, "No SLO of these components was measured in this time.", "", _AFFECTED]
    lines += ["| SLO | objective | bad events | error budget burnt |", "|---|---|---|---|"]
    for one in burnt:
        about = "about " if one.estimated else ""
        events = f"{about}{one.bad:,} of {one.total:,}"
        lines.append(f"| {plain(one.slo)} | {plain(one.objective)} | {events} | {_burnt(one, about)} |")
    return [*lines, "", _AFFECTED]


def _burnt(one: Burnt, about: str) -> str:
    """'45.2 % of the budget of 30 days'; from twice as much, as messages have it, '70.7 × the budget of 30 days'."""
    if one.share is None:
        return "no budget"
    if one.share >= 2:
        much = f"{float(one.share):,.1f}".removesuffix(".0") + " ×"
    elif 0 < one.share < Fraction(1, 2000):
        about, much = "", "less than 0.1 % of"
    else:
        much = f"{float(100 * one.share):.1f} % of"
    return f"{about}{much} the budget of {one.window}"


def _row(update: Mapping[str, Any]) -> str:
    message = plain(update["message"]).replace("\n", "<br>")
    who = "automation" if update["author"] == AUTHOR else plain(update["author"])
    return f"| {_time(update['timestamp'])} | {update['status']} | {message} | {who} |"


def _detection(incident: Mapping[str, Any], life: Life, detected: Sequence[Detected]) -> list[str]:
    if not detected:
        return ["No alert is linked: a person noticed it.", "", _WHICH_ALERT]
    told = [
        f"- `{one.alert}`{f' at {_time(one.fired_at)}' if one.fired_at else ''}: {plain(one.words)}" for one in detected
    ]
    first = min((one.fired_at for one in detected if one.fired_at), default=None)
    if first is not None and first > incident["startedAt"]:
        told += ["", f"The first alert fired {lasted(first - incident['startedAt'])} after it had begun."]
    return [*told, "", _EARLIER]


def _block(items: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join([ITEMS, "", *_items(items), "", ITEMS_END])


def _items(items: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| # | what | owner | due | state |", "|---|---|---|---|---|"]
    for item in items:
        due = f"{item['dueAt']:%Y-%m-%d}" if item.get("dueAt") else "–"
        state = item["state"].replace("_", " ")
        lines.append(f"| {item['id']} | {plain(item['title'])} | {plain(item.get('owner') or '–')} | {due} | {state} |")
    return lines if items else [*lines, "| | _what will keep this from happening again_ | | | |"]


def _span(micros: int | None) -> str:
    return "–" if micros is None else lasted(timedelta(microseconds=micros))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"

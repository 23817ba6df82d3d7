"""What every channel tells of a notification, in the order in which a woken person needs it. Pure.

`brief` of one notification, `summary` of several that go out in one message. Channels only draw: they choose no words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.notify import wording
from shared.notify.cost_wording import is_spending
from shared.notify.links import Link, Links
from shared.notify.own_wording import is_own

SHOWN = 10  # notifications of one message that are told one by one
COUNTED = 6  # words that are counted by name
SYMBOLS = {"critical": "🔴", "high": "🟠", "warning": "🟡"}
RESOLVED = "🟢"

Notification = Mapping[str, Any]
Row = tuple[str, str | datetime]


@dataclass(frozen=True, slots=True)
class Brief:
    """`tone`: the severity, or `resolved`. `what` broke and how much of the budget that burns; `changed`: what else is
    known of its cause; `first`: what to do; `adds`: what was told before and goes with it; `rows`: facts
    by name, where a time is for the channel to write.
    """

    id: str
    name: str
    state: str
    tone: str
    symbol: str
    what: str
    budget: str | None
    changed: tuple[str, ...]
    first: str | None
    rows: tuple[Row, ...]
    links: tuple[Link, ...]
    incident: str | None
    reason: str | None
    adds: str | None = None

    @property
    def title(self) -> str:
        return f"{self.name}: {self.state}"


@dataclass(frozen=True, slots=True)
class Summary:
    """`id`: of the first. `counts`: what is counted, by name, where not all are shown; `more`: how many are not."""

    id: str
    others: int
    title: str
    tone: str
    symbol: str
    counts: tuple[tuple[str, str], ...]
    shown: tuple[Brief, ...]
    more: int
    links: tuple[Link, ...]
    adds: str | None = None


def brief(notification: Notification, links: Links) -> Brief:
    facts, kind = notification["facts"], notification["kind"]
    if facts.get("test"):
        return _of_test(notification, links)
    resolved = kind == "resolve"
    firing = not resolved
    return Brief(
        id=str(notification["notificationId"]),
        name=wording.name(facts),
        state=wording.STATES[kind],
        tone="resolved" if resolved else str(facts["severity"]),
        symbol=RESOLVED if resolved else SYMBOLS.get(facts["severity"], "⚪"),
        what=wording.told(facts, kind),
        budget=wording.budget(facts) if firing else None,
        changed=tuple(wording.changes(facts)) if firing else (),
        first=wording.first_step(facts) if firing else None,
        rows=tuple(_rows(facts)),
        links=links.of(notification),
        incident=str(facts["incidentId"]) if facts.get("incidentId") else None,
        reason=str(facts["reason"]).replace("_", " ") if facts.get("reason") else None,
        adds=wording.added(notification.get("addsTo")),
    )


def _of_test(notification: Notification, links: Links) -> Brief:
    return Brief(
        id=str(notification["notificationId"]),
        name=str(notification["facts"]["sloName"]),
        state="test",
        tone="test",
        symbol="🔔",
        what="An admin asked for a test of this channel. Nothing is wrong, and there is nothing to do.",
        budget=None,
        changed=(),
        first=None,
        rows=(),
        links=(links.status_page,),
        incident=None,
        reason=None,
    )


def summary(notifications: Sequence[Notification], links: Links) -> Summary:
    """Of two or more. Of more than `SHOWN` the worst are told by name, and all are counted."""
    ranked = sorted(notifications, key=_rank)
    many = len(notifications) > SHOWN
    shown = [brief(one, links) for one in (ranked[:SHOWN] if many else notifications)]
    states = Counter(wording.STATES[one["kind"]] for one in notifications)
    counts: tuple[tuple[str, str], ...] = ()
    if many:
        severities = Counter(str(one["facts"]["severity"]) for one in sorted(notifications, key=_rank))
        components = Counter(str(one["facts"]["component"] or "F0 Ops") for one in notifications)
        counts = (("By severity", counted(severities, by_count=False)), ("By component", counted(components)))
    worst = brief(ranked[0], links)
    adds = wording.added(notifications[0].get("addsTo"))
    return Summary(
        id=str(notifications[0]["notificationId"]),
        others=len(notifications) - 1,
        title=f"{len(notifications):,} {'more ' if adds else ''}alerts: {counted(states)}",
        tone=worst.tone,
        symbol=worst.symbol,
        counts=counts,
        shown=tuple(shown),
        more=len(notifications) - len(shown),
        links=links.of_many(),
        adds=adds,
    )


def counted(counts: Counter[str], *, by_count: bool = True) -> str:
    """`3 critical, 1 warning`, the most frequent ones first, or as they come."""
    named = counts.most_common(COUNTED) if by_count else list(counts.items())[:COUNTED]
    words = [f"{count:,} {word}" for word, count in named]
    rest = sum(counts.values()) - sum(count for _, count in named)
    return ", ".join([*words, f"{rest:,} other"] if rest else words)


def _rank(notification: Notification) -> tuple[bool, int]:
    order, severity = list(SYMBOLS), notification["facts"]["severity"]
    return notification["kind"] == "resolve", order.index(severity) if severity in order else len(order)


def _rows(facts: wording.Facts) -> list[Row]:
    side = "at least" if facts["comparison"] == "below" else "at most"
    measured: list[tuple[str, str | datetime | None]] = [
        ("Measured", wording.value(facts)),
        ("Should be", f"{side} {wording.threshold(facts)}"),
        ("Counted", wording.counts(facts)),
    ]
    rows = [
        *([] if is_own(facts) or is_spending(facts) else measured),
        ("Component", str(facts["component"]) if facts["component"] else None),
        ("Severity", str(facts["severity"])),
        ("Since", facts["firedAt"]),
        ("Resolved", facts["resolvedAt"]),
        ("Lasted", wording.duration(facts)),
    ]
    return [(name, value) for name, value in rows if value]

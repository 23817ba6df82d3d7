"""Alerts of F0 Ops about itself in plain words: what is wrong, what that means, what to do. Pure.

No SLO is behind them, so there is nothing that was measured against a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.domain.counting import ALERT as COUNTING
from shared.domain.notification import DEAD_LETTERS, OVERDUE
from shared.domain.watchdog import PERIODS

_WATCHDOG = "watchdog-"

# a function that stopped → what does not happen meanwhile
_MEANS = {
    "alertRules": "Until it runs again no SLO is judged: no alert begins or ends, and the status page grows old",
    "healthProbe": "Until it runs again nothing is probed, and the status page grows old",
    "notifier": "Until it runs again no message that failed is tried again, and nothing is repeated or passed on",
}


def is_own(facts: Mapping[str, Any]) -> bool:
    name = str(facts.get("sloId"))
    return name in (DEAD_LETTERS, COUNTING) or name.startswith(_WATCHDOG)


def sentence(facts: Mapping[str, Any], *, resolved: bool) -> str | None:
    """What is wrong, or that it is over; None where wording.py's words for an SLO say it."""
    name = str(facts.get("sloId"))
    if name == DEAD_LETTERS:
        return _delivered_again(facts) if resolved else _dead_letters(facts)
    if name.startswith(_WATCHDOG):
        function = name.removeprefix(_WATCHDOG)
        return f"{function} finishes its runs again." if resolved else _stopped(function, facts)
    return None


def first_step(facts: Mapping[str, Any]) -> str | None:
    name = str(facts.get("sloId"))
    if name == DEAD_LETTERS:
        return (
            "See what was not delivered (./ops notify list --state dead), mend the channel and try it"
            " (./ops notify test CHANNEL), then send again what is still of use (./ops notify resend ID)."
        )
    if name == COUNTING:
        return (
            "Look at `segments` in the last answers of alertRules. If it falls from run to run, wait. If not, more is"
            " sent than one run can count: send fewer label sets or larger batches, or give alertRules more CPU."
        )
    if name.startswith(_WATCHDOG):
        function = name.removeprefix(_WATCHDOG)
        return f"Look for errors in the log of {function}; if it has no new lines, see whether its schedule is paused."
    return None


def _dead_letters(facts: Mapping[str, Any]) -> str:
    count = round(facts["value"] or 0)
    every = [cause.partition(" ") for cause in str((facts.get("labels") or {}).get("causes", "")).split("; ") if cause]
    why = ", ".join(f"{channel} ({reason})" for channel, _, reason in every if reason != OVERDUE)
    overdue = " and ".join(channel for channel, _, reason in every if reason == OVERDUE)
    what = "1 message" if count == 1 else f"{count:,} messages"
    by = f": {why}" if why else ""
    died = f"{what} could not be delivered and will not be tried again{by}."
    waits = f"For 15 minutes or more nothing could be delivered by {overdue}; it is tried again for a day."
    told = [*([died] if count or not overdue else []), *([waits] if overdue else [])]
    return f"{' '.join(told)} Whoever relies on that channel heard nothing."


def _delivered_again(facts: Mapping[str, Any]) -> str:
    lost = "What was lost stays on record: ./ops notify list --state dead."
    if facts.get("reason") == "letters_delivered":
        return "Nothing waits to be delivered any more, and no message is lost."
    if facts.get("reason") == "letters_seen":
        return f"Somebody has seen what could not be delivered, and nothing waits any more. {lost}"
    return f"For a day, every message could be delivered. {lost}"


def _stopped(function: str, facts: Mapping[str, Any]) -> str:
    minutes, period = round(facts["value"] or 0), PERIODS.get(function)
    due = f", although it should every {_minutes(round(period.total_seconds() / 60))}" if period else ""
    means = f" {_MEANS[function]}." if function in _MEANS else ""
    return f"{function} has not finished a run for {_minutes(minutes)}{due}.{means}"


def _minutes(count: int) -> str:
    return "minute" if count == 1 else f"{count:,} minutes"

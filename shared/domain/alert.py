"""Alert decisions. Pure: the state, the facts and the configuration give the next state and a named reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.domain.slo import Counts, Slo

State = Literal["ok", "pending", "firing", "resolved"]
Verdict = Literal["breach", "within", "no_data", "too_few_events"]
RULE = "threshold"

IMPACT = {"critical": "critical", "high": "high", "warning": "medium"}


@dataclass(frozen=True, slots=True)
class Facts:
    """The alert window's counts. `complete`: everything that was sent is in them."""

    counts: Counts
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of an alert: its state, why, and what has to be told, if anything."""

    state: State
    reason: str
    transition: Literal["fire", "clear"] | None = None


def alert_id(slo: Slo) -> str:
    return f"{slo.id}-{RULE}"


def judge(slo: Slo, counts: Counts) -> Verdict:
    """Whether the window is beyond the threshold; too few events decide nothing."""
    if counts.total == 0:
        return "no_data"
    if counts.total < slo.alert.min_events:
        return "too_few_events"
    return "breach" if slo.exceeds(counts) else "within"


def step(state: State, slo: Slo, facts: Facts) -> Step:
    """The next state. Too few events keep the state; an unfinished fold may raise an alert, never clear one."""
    verdict = judge(slo, facts.counts)
    firing = state == "firing"
    if verdict == "breach":
        return Step("firing", "still_exceeded") if firing else Step("firing", "threshold_exceeded", "fire")
    if verdict == "within" and firing:
        if not facts.complete:
            return Step("firing", "facts_incomplete")
        return Step("resolved", "back_within_threshold", "clear")
    if verdict == "within":
        return Step(state, "within_threshold")
    return Step(state, verdict if facts.complete else "facts_incomplete")

"""Burn rates: how many times as fast as it may an SLO uses up its error budget, over two windows at once.

Beyer et al.: "The Site Reliability Workbook", chapter 5, multiwindow, multi-burn-rate alerts. The long window says that
it matters, the short one that it still goes on. Windows are for an SLO over 30 days; those of another are scaled with
its window, so that each rule stands for the same share of the budget. An objective is the share of events that must be
good. All comparisons are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.domain.alert_policy import Channel, Severity
from shared.domain.definition import Counts
from shared.domain.durations import SLOT_SECONDS, Duration, Exact


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WindowPair(_Model):
    """Raises where the burn rate is above `factor` over both windows."""

    factor: Annotated[Exact, Field(gt=0)]
    long: Duration
    short: Duration


class BurnRule(_Model):
    """One alert of each SLO. `severity`: the SLO's own if absent; `without`: channels that are not for it.

    `min_failures`: more than the SLO's own, if it needs more. `incident`: it opens one, if the SLO's own alert does.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,20}$")]
    windows: Annotated[tuple[WindowPair, ...], Field(min_length=1)]
    severity: Severity | None = None
    without: tuple[Channel, ...] = ()
    min_failures: int = Field(default=0, ge=0)
    incident: bool = True


def _one_each(rules: tuple[BurnRule, ...]) -> tuple[BurnRule, ...]:
    names = [rule.name for rule in rules]
    if len(names) != len(set(names)) or "threshold" in names:
        raise ValueError("rules must have names of their own, and none may be 'threshold'")
    return rules


class BurnWindows(_Model):
    """`config/burn_windows.json`. `period`: the SLO window that the windows are for."""

    period: Duration
    rules: Annotated[tuple[BurnRule, ...], AfterValidator(_one_each)]


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of windows of one SLO, in seconds."""

    factor: Fraction
    long: int
    short: int


def scaled(pairs: Sequence[WindowPair], period: int, window: int) -> tuple[Pair, ...]:
    """The pairs for an SLO over `window` seconds, rounded up to whole slots."""
    share = Fraction(window, period)
    return tuple(Pair(Fraction(p.factor), _slots(p.long * share), _slots(p.short * share)) for p in pairs)


def _slots(seconds: Fraction) -> int:
    return max(1, -(-seconds // SLOT_SECONDS)) * SLOT_SECONDS


def burns(counts: Counts, objective: Fraction, factor: Fraction) -> bool:
    """Whether the budget burns faster than `factor`; at equality it does not. Without a budget any bad event does."""
    most, of = _allowed(factor, objective)
    return counts.bad * of > most * counts.total


@lru_cache(maxsize=1000)
def _allowed(factor: Fraction, objective: Fraction) -> tuple[int, int]:
    """The share of bad events that burns as fast as that, as numerator and denominator: much faster than fractions."""
    return (factor * (1 - objective)).as_integer_ratio()


def can_fire(factor: Fraction, objective: Fraction) -> bool:
    """False where not even a complete outage burns faster than that."""
    return factor * (1 - objective) < 1


Verdict = Literal["breach", "within", "no_data", "excluded", "too_few_events", "too_few_failures"]


@dataclass(frozen=True, slots=True)
class Burning:
    """How one pair stands: counts over both windows. `excluded`: of one of them nothing is left to judge."""

    pair: Pair
    long: Counts
    short: Counts
    excluded: bool = False

    def is_too_fast(self, objective: Fraction) -> bool:
        return all(burns(counts, objective, self.pair.factor) for counts in (self.long, self.short))

    def verdict(self, objective: Fraction, min_events: int, min_failures: int) -> Verdict:
        if self.excluded:
            return "excluded"
        if self.long.total == 0 or self.short.total == 0:  # silence is no recovery
            return "no_data"
        if self.long.total < min_events:
            return "too_few_events"
        if not self.is_too_fast(objective):
            return "within"
        return "breach" if self.long.bad >= min_failures else "too_few_failures"

    def ratio(self, objective: Fraction) -> Fraction:
        """The lower of both burn rates over the factor, to compare pairs by. The objective is below 1."""
        shares = [Fraction(counts.bad, counts.total or 1) for counts in (self.long, self.short)]
        return min(shares) / (1 - objective) / self.pair.factor

"""Error budgets, burn rates and their forecast: exact arithmetic on counts of good and total events.

An objective is the share of events that must be good (999/1000, not 99.9), times are in seconds. Nothing is rounded.
Formulas: Beyer et al.: "The Site Reliability Workbook", chapter 2 (error budget) and chapter 5 (burn rate).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from shared.domain.definition import Counts

Objective = Decimal | Fraction
Infinite = Literal["infinite"]
Rate = Fraction | Infinite
Reason = Literal["at_this_rate", "used_up", "burns_slowly", "window_ends_first", "no_recent_events", "no_data"]


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """`events`: how many may be bad of those that there were; `seconds`: how long everything may fail.

    `left`: the share that is not used yet, 1 = untouched, negative = overspent, None without events. With an objective
    of 100 % there is no budget: `left` is 1 until an event is bad, then 0.
    """

    events: Fraction
    events_left: Fraction
    seconds: Fraction
    left: Fraction | None

    @property
    def seconds_left(self) -> Fraction | None:
        return None if self.left is None else self.seconds * self.left


@dataclass(frozen=True, slots=True)
class Forecast:
    """`seconds` from now the budget is used up if it goes on like this; None where it will not be, or is already."""

    seconds: Fraction | None
    reason: Reason


def error_budget(counts: Counts, objective: Objective, window: int) -> ErrorBudget:
    """(1 - objective) of the window's events, and of its seconds."""
    part, whole = _allowed(objective)
    bad, may = counts.bad * whole, part * counts.total  # both in parts of `whole`
    if counts.total == 0:
        left = None
    elif may == 0:
        left = Fraction(1 if bad == 0 else 0)
    else:
        left = Fraction(may - bad, may)
    return ErrorBudget(Fraction(may, whole), Fraction(may - bad, whole), Fraction(part * window, whole), left)


def _allowed(objective: Objective) -> tuple[int, int]:
    """The share that may be bad, as integers: each Fraction is reduced when it is made, so few are made."""
    good, whole = objective.as_integer_ratio()
    return whole - good, whole


def budget_spent(bad: int, whole: ErrorBudget) -> Fraction | None:
    """The share of the whole budget that so many bad events use; None where there is no budget at all."""
    return bad / whole.events if whole.events else None


def burn_rate(counts: Counts, objective: Objective) -> Rate | None:
    """(bad / total) / (1 - objective): at 1 the budget lasts exactly its window. None without events.

    With an objective of 100 % one bad event is more than any budget: "infinite".
    """
    if counts.total == 0:
        return None
    part, whole = _allowed(objective)
    if part == 0:
        return "infinite" if counts.bad else Fraction(0)
    return Fraction(counts.bad * whole, counts.total * part)


def forecast(left: Fraction | None, rate: Rate | None, window: int, *, rolling: bool) -> Forecast:
    """When the budget is used up, if the burn goes on at `rate` and events keep coming as they did.

    `left`: of the budget of the `window` seconds until now; used = 1 - left.

    Rolling: what was used is taken to have been used evenly, so it falls out of the window evenly. Used after t seconds
    is used · (1 - t/window) + rate · t/window, which is 1 at t = left · window / (rate - used). Of an untouched budget
    that is window / rate, as in the table of chapter 5. Below a rate of 1 it lies beyond the window: never.

    Calendar: nothing falls out, and the budget grows with the events: used · window + rate · t = window + t, so
    t = left · window / (rate - 1). Whether the window ends first is for the caller to see.
    """
    if left is None:
        return Forecast(None, "no_data")
    if left <= 0:
        return Forecast(None, "used_up")
    if rate is None:
        return Forecast(None, "no_recent_events")
    if rate == "infinite":
        return Forecast(Fraction(0), "at_this_rate")
    if rate < 1 or (rate == 1 and not rolling):
        return Forecast(None, "burns_slowly")
    return Forecast(left * window / (rate - (1 - left if rolling else 1)), "at_this_rate")

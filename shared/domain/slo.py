"""SLOs, and the exact arithmetic on counts of good and total events.

Good and total are integers and thresholds are compared as Fractions: even a product of Decimals is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from shared.domain.alert_policy import AlertPolicy
from shared.domain.burn import BurnWindows
from shared.domain.calendar_window import CalendarWindow
from shared.domain.definition import Counts, Definition, bounds_of
from shared.domain.metric import Registry

Compliance = Literal["met", "missed", "no_data"]


@dataclass(frozen=True, slots=True)
class Slo:
    """An SLO that was checked against the registry. Durations are in seconds, `quantile` in percent (95) or None.

    Kinds: `ratio` of good events; `share` of events up to `under`; `quantile`, which must not be above the target.
    """

    id: str
    name: str
    metric: str
    unit: str
    aggregation: str
    quantile: int | None
    more_is_worse: bool
    target: Decimal
    threshold: Decimal
    window: int | CalendarWindow
    alert: AlertPolicy
    under: Decimal | None = None
    under_text: str | None = None  # with the unit of the metric
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> Literal["ratio", "share", "quantile"]:
        if self.quantile is not None:
            return "quantile"
        return "ratio" if self.under is None else "share"

    @property
    def period(self) -> int:
        """The window's length in seconds; of a calendar's, the usual one."""
        return self.window if isinstance(self.window, int) else self.window.usual_seconds

    def start_of(self, end: datetime) -> datetime:
        """Where the window that ends at `end` begins."""
        return end - timedelta(seconds=self.window) if isinstance(self.window, int) else self.window.start_of(end)

    @property
    def objective(self) -> Definition:
        """What compliance and the error budget are counted by."""
        return self._definition(self.target)

    @property
    def trigger(self) -> Definition:
        """What the alert is judged by."""
        return self._definition(self.threshold)

    def _definition(self, limit: Decimal) -> Definition:
        bound = self.under if self.quantile is None else limit
        return Definition(self.metric, None if bound is None else float(bound), self.labels)

    @property
    def good_percent(self) -> Decimal:
        """Which share of events must be good, in percent: 99.5, or 95 for a p95."""
        return self.target if self.quantile is None else Decimal(self.quantile)

    @property
    def good_share(self) -> Fraction:
        """The same as a share: 199/200, or 19/20 for a p95."""
        return Fraction(self.good_percent) / 100

    def compliance(self, counts: Counts) -> Compliance:
        """Over the window. For p95 <= T: count(<= T) >= ceil(0.95 n), which is the same as good/total >= 95 %."""
        if counts.total == 0:
            return "no_data"
        return "met" if counts.good * 100 >= Fraction(self.good_percent) * counts.total else "missed"

    def budget_left(self, counts: Counts) -> Decimal | None:
        """The share of the error budget not yet used, 1 = untouched, negative = overspent; None without events.

        budget = (100 % - objective) · total (Beyer et al.: "The Site Reliability Workbook", chapter 2).
        """
        allowed = (100 - Fraction(self.good_percent)) * counts.total
        if counts.total == 0:
            return None
        if allowed == 0:
            return Decimal(1 if counts.bad == 0 else 0)
        left = 1 - counts.bad * 100 / allowed
        return Decimal(left.numerator) / left.denominator

    def exceeds(self, counts: Counts) -> bool:
        """Whether the alert window is strictly beyond the threshold; at equality it is not."""
        if self.quantile is not None:
            return counts.good * 100 < self.quantile * counts.total
        if self.more_is_worse:
            return counts.bad * 100 > Fraction(self.threshold) * counts.total
        return counts.good * 100 < Fraction(self.threshold) * counts.total

    def ratio_percent(self, counts: Counts) -> float | None:
        """What a ratio metric reads, for people: the share of errors, or of successes, in percent."""
        if self.quantile is not None or counts.total == 0:
            return None
        return (counts.bad if self.more_is_worse else counts.good) * 100 / counts.total


@dataclass(frozen=True, slots=True)
class SloConfig:
    """All SLOs in force, with the hash of what they were made from, and its version if it was uploaded as one."""

    slos: tuple[Slo, ...]
    hash: str
    version: int | None = None
    burn: BurnWindows | None = None  # of burn-rate alerts; set by whoever loads the configuration

    @property
    def definitions(self) -> tuple[Definition, ...]:
        return tuple(dict.fromkeys(d for slo in self.slos for d in (slo.objective, slo.trigger)))

    def bounds(self, registry: Registry) -> dict[str, tuple[float, ...]]:
        return bounds_of(registry, self.definitions)

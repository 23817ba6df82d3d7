"""What every SLO reads now: counts over its window, error budget, burn rates, forecast, alert; and its days.

All SLOs are read from the same documents, one a day, of which the days that can no longer change stay in the instance.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from shared.domain.alert import rules_of
from shared.domain.budget import ErrorBudget, Rate, Reason, budget_spent, burn_rate, error_budget, forecast
from shared.domain.component import Components
from shared.domain.definition import Counts
from shared.domain.exclusion import Exclusion, in_force, merged, seconds_within
from shared.domain.slo import Slo, SloConfig
from shared.metrics.layout import FOLD_RUN, KEEP
from shared.run_guard import RUN
from shared.slo.evaluation import last_mark
from shared.slo.exclusions import EXCLUSIONS, exclusions_of
from shared.slo.history import SloHistory, Window
from shared.store.protocol import Doc, Store

if TYPE_CHECKING:
    from shared.bootstrap import App

BURN_WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21_600, "1d": 86_400, "3d": 259_200}
FORECAST_BY = 3600  # seconds: the burn rate of the last hour, or of the longest window below it that fits
MAX_DAYS = 90
_SHORTEST_DAYS = {"day": 1, "week": 7, "month": 28, "quarter": 90}
_LONGEST_CALENDAR = 93 * 86_400

Foretold = tuple[datetime | None, Reason]


@dataclass(frozen=True, slots=True)
class Burn:
    """`rate` None: no events in this window."""

    window: str
    rate: Rate | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a window. `spent`: the share of the whole window's budget that it used; None where there is none."""

    name: str
    counts: Counts
    spent: Fraction | None


@dataclass(frozen=True, slots=True)
class SloReading:
    """One SLO from `start` to `end`.

    `alerts`: the document of each of its rules, by the rule's name. `all_exclusions`: those in force; `exclusions`: of
    them those that touch the window.
    `heard`: whether anything that it counts ever came, as the last run knows.
    `exhausted_at`: when the budget is used up if the burn of the window `forecast_by` goes on, with `why` or why never.
    """

    slo: Slo
    component: str | None
    start: datetime
    end: datetime
    counts: Counts
    budget: ErrorBudget
    burns: tuple[Burn, ...]
    forecast_by: str
    exhausted_at: datetime | None
    why: Reason
    alerts: tuple[tuple[str, Doc | None], ...]
    backfilling: bool
    window: Window
    all_exclusions: tuple[Exclusion, ...]
    heard: bool

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        return tuple(one for one in self.all_exclusions if one.span.start < self.end and self.start < one.span.end)

    @property
    def excluded_seconds(self) -> int:
        return seconds_within(self.start, self.end, merged(one.span for one in self.exclusions))

    def days(self) -> list[Day]:
        """The days of the window, at most the latest 90, the first and the last cut where the window is."""
        found, zone, excluded = [], _zone_of(self.slo), merged(one.span for one in self.exclusions)
        for since, until in list(days_between(self.start, self.end, zone))[-MAX_DAYS:]:
            counts = self.window.count(self.slo.objective, since, until, excluded)
            name = since.astimezone(zone).strftime("%Y-%m-%d")
            found.append(Day(name, counts, budget_spent(counts.bad, self.budget)))
        return found


@dataclass(frozen=True, slots=True)
class Readings:
    """`facts_at`: all that had come by then of the time before is in them; None if nothing was ever folded."""

    facts_at: datetime | None
    slos: tuple[SloReading, ...]


class SloReader:
    """One an instance: it keeps the days that can no longer change."""

    def __init__(self, app: App) -> None:
        self._store: Store = app.store
        self._history = SloHistory(app.store)
        self._counted: Any = None
        self._lock = threading.Lock()

    def read(self, config: SloConfig, slos: Sequence[Slo], components: Components, now: datetime) -> Readings:
        """These SLOs of the configuration. Reads three documents, one for each alert, and one for each day not kept.

        Raises `StoreError`.
        """
        with self._lock:
            rules = [rule for slo in slos for rule in rules_of(slo, config)]
            paths = [RUN, FOLD_RUN, EXCLUSIONS, *(f"alerts/{rule.alert_id}" for rule in rules)]
            run, fold, excluded, *docs = self._store.get_many(paths)
            facts_at: datetime | None = run.data.get("foldedUntil") if run else None
            # What was counted anew over the history: the days that are kept do not have it.
            counted = (fold.data["backfilled"], fold.data.get("backfilling")) if fold else None
            if counted != self._counted:
                self._history.forget()
                self._counted = counted
            end = facts_at or last_mark(now)
            starts = [slo.start_of(end) for slo in slos]
            spans = [seconds for slo in slos for _, seconds in burn_windows(slo)]
            first = min([end, *starts, *(end - timedelta(seconds=seconds) for seconds in spans)])
            # As of `end`, not of now: while the fold is late, days that seem to be over are not all here.
            window = self._history.load(max(first, end - KEEP["slo_days"]), end, end)
        ready = set(fold.data["backfilled"]) if fold else None
        exclusions = exclusions_of(excluded)
        heard = {one["id"]: one.get("heard") for one in (run.data["slos"] if run else ())}
        return Readings(
            facts_at,
            tuple(
                _reading(
                    slo,
                    components.component_of(slo.metric, slo.labels),
                    (start, end),
                    window,
                    tuple((rule.name, doc) for rule, doc in zip(rules, docs, strict=True) if rule.slo is slo),
                    ready is not None and not {slo.objective.hash, slo.trigger.hash} <= ready,
                    in_force(exclusions, slo.id, components.component_of(slo.metric, slo.labels)),
                    heard.get(slo.id) == slo.trigger.hash,
                )
                for slo, start in zip(slos, starts, strict=True)
            ),
        )


def burn_windows(slo: Slo) -> list[tuple[str, int]]:
    """Those that fit into the SLO's window, shortest first: name and seconds."""
    longest = slo.window if isinstance(slo.window, int) else _SHORTEST_DAYS[slo.window.calendar] * 86_400
    return [(name, seconds) for name, seconds in BURN_WINDOWS.items() if seconds <= longest]


def _zone_of(slo: Slo) -> tzinfo:
    """Whose midnights part the SLO's days."""
    return UTC if isinstance(slo.window, int) else ZoneInfo(slo.window.timeZone)


def _foretold(slo: Slo, left: Fraction | None, rate: Rate | None, start: datetime, end: datetime) -> Foretold:
    rolling = isinstance(slo.window, int)
    found = forecast(left, rate, int((end - start).total_seconds()), rolling=rolling)
    if found.seconds is None:
        return None, found.reason
    if not rolling and found.seconds > _LONGEST_CALENDAR:
        return None, "window_ends_first"
    at = end + timedelta(seconds=int(found.seconds))
    return (at, found.reason) if rolling or slo.start_of(at) == start else (None, "window_ends_first")


def _reading(
    slo: Slo,
    component: str | None,
    span: tuple[datetime, datetime],
    window: Window,
    alerts: tuple[tuple[str, Doc | None], ...],
    backfilling: bool,
    exclusions: Sequence[Exclusion],
    heard: bool,
) -> SloReading:
    start, end = span
    objective, length = Fraction(slo.good_percent) / 100, int((end - start).total_seconds())
    excluded = merged(one.span for one in exclusions)

    def count(since: datetime, until: datetime) -> Counts:
        return window.count(slo.objective, since, until, excluded)

    whole = count(start, end)
    budget = error_budget(whole, objective, length - seconds_within(start, end, excluded))
    burns = []
    for name, seconds in burn_windows(slo):
        counts = count(end - timedelta(seconds=seconds), end)
        burns.append(Burn(name, burn_rate(counts, objective), counts))
    by = [burn for burn in burns if BURN_WINDOWS[burn.window] <= FORECAST_BY][-1]
    exhausted_at, why = _foretold(slo, budget.left, by.rate, start, end)
    return SloReading(
        slo, component, start, end, whole, budget, tuple(burns), by.window, exhausted_at, why, alerts, backfilling,
        window, tuple(exclusions), heard or whole.total > 0,
    )  # fmt: skip


def days_between(start: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """The days of a time zone between two moments, the first and the last cut there; in UTC."""
    day, midnights = start.astimezone(zone).date(), [start]
    while midnights[-1] < end:
        day += timedelta(days=1)
        midnights.append(min(datetime.combine(day, time(), zone).astimezone(UTC), end))
    yield from pairwise(midnights)

"""A user's quota: what is used and what is held for calls under way, against the limits of the plan.

A reservation holds the most that a call can cost. Used and held together never exceed a limit by a reservation; what a
call used beyond its hold, and usage that was never reserved, is booked all the same, because it has happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from hashlib import blake2b
from typing import Any

from shared.domain.ledger import RECEIPT, Amount, Data
from shared.domain.plans import OF_ALL, Limits, Override, Period, Plan, Plans
from shared.domain.usage import Usage, day_of, receipt_of

MOST_HOLDS = 2000
MOST_SETTLED = 1000  # of today, the latest: 8 bytes each
KEPT_DAYS, KEPT_MONTHS = 3, 2  # of which the sums stay at hand
PERIODS: tuple[Period, ...] = ("day", "month")


@dataclass(frozen=True, slots=True)
class Hold:
    at: datetime
    until: datetime
    amount: Amount


@dataclass(frozen=True, slots=True)
class Standing:
    """How one limit stands. `period` is its name, such as 2026-11-29 or 2026-11; `resets` its end."""

    name: str  # calls, tokens, cost
    of: Period
    period: str
    limit: Decimal
    used: Decimal
    held: Decimal
    resets: datetime

    @property
    def left(self) -> Decimal:
        return max(Decimal(0), self.limit - self.used - self.held)

    @property
    def sure(self) -> Decimal:
        """What is as good as used. A call under way is a call; its tokens and its cost are held at their most."""
        return self.used + self.held if self.name == "calls" else self.used

    @property
    def seconds(self) -> int:
        """How long the period is."""
        return 86_400 * (1 if self.of == "day" else (self.resets - timedelta(days=1)).day)

    @property
    def id(self) -> str:
        return f"{self.of}-{self.name}"


@dataclass(frozen=True, slots=True)
class Warning:
    """One that has not been given before. `percent`: of the limit, as it is configured: 80, 100."""

    standing: Standing
    percent: int
    blocks: bool


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Shares of a limit: where to warn, and where to block. `enabled` False: neither."""

    enabled: bool = True
    soft: Decimal = Decimal("0.8")
    hard: Decimal = Decimal(1)


class Account:
    """One user's quota, made of the stored document (`quota/{uid}`) or of None; `data` is the document again."""

    def __init__(self, data: Mapping[str, Any] | None, plans: Plans, now: datetime) -> None:
        stored = data or {}
        self.plans = plans
        self.now = now
        self.told_plan: str | None = stored.get("plan")
        self.told_at: datetime | None = stored.get("planAt")
        self.override = Override.model_validate(stored.get("override") or {})
        self.days = {day: Amount.of(a) for day, a in (stored.get("days") or {}).items()}
        self.months = {month: Amount.of(a) for month, a in (stored.get("months") or {}).items()}
        self.holds = {id_: Hold(h["at"], h["until"], Amount.of(h)) for id_, h in (stored.get("holds") or {}).items()}
        self.warned: dict[str, int] = dict(stored.get("warned") or {})
        self.dirty: set[str] = set(stored.get("dirty") or ())
        self.expired: dict[str, int] = dict(stored.get("expired") or {})
        settled = stored.get("settled") or {}
        self._settled: bytes = settled["receipts"] if settled.get("day") == day_of(now) else b""
        self.erasing: bool = bool(stored.get("erasing"))
        self.changed = False
        self.gave_back = 0  # reservations that had expired
        self._held: dict[str, Amount] = {}
        for hold in self.holds.values():
            self._count(hold, 1)
        self._expire()

    @property
    def plan(self) -> Plan:
        return self.plans.plan(self.told_plan, self.override)

    @property
    def plan_name(self) -> str:
        """What usage is booked under where the call names no plan."""
        return self.override.plan or self.told_plan or self.plans.default

    @property
    def override_tag(self) -> str:
        return tag_of(self.override)

    def tell_plan(self, plan: str | None, at: datetime) -> None:
        """The plan that a call of `at` named. What comes late says nothing of the plan that the user has by now."""
        at = min(at, self.now)
        if not plan or (self.told_at is not None and at < self.told_at):
            return
        self.told_at = at  # stored with the next change: for the same plan alone nothing is written
        if plan != self.told_plan:
            self.told_plan = plan
            self.changed = True

    def standings(self) -> Iterator[Standing]:
        """Each limit that there is, now."""
        plan = self.plan
        for of in PERIODS:
            period = period_of(of, self.now)
            used = (self.days if of == "day" else self.months).get(period, Amount())
            held = self._held.get(period, Amount())
            for name in OF_ALL:
                limit = plan.period(of).of(name)
                if limit is not None:
                    used_, held_ = Decimal(getattr(used, name)), Decimal(getattr(held, name))
                    yield Standing(name, of, period, limit, used_, held_, end_of(of, self.now))

    def reserve(self, id_: str, amount: Amount, until: datetime, hard: Decimal) -> list[Standing]:
        """Hold `amount`, or the limits that it would exceed, of which none is changed. Twice is once."""
        if id_ in self.holds:
            return []
        over = [s for s in self.standings() if s.used + s.held + getattr(amount, s.name) > s.limit * hard]
        if not over:
            self.holds[id_] = Hold(self.now, until, amount)
            self._count(self.holds[id_], 1)
            self.changed = True
        return over

    def let_go(self, id_: str, made: datetime) -> Hold | None:
        """The hold that was made then, to the millisecond, given back; None where there is none (any more).

        Of another time is one that was made later under the same id: its call is still under way.
        """
        hold = self.holds.get(id_)
        if hold is None or (hold.at - made) // timedelta(milliseconds=1) != 0:
            return None
        del self.holds[id_]
        self._count(hold, -1)
        self.changed = True
        return hold

    def settled(self, usage: Usage) -> None:
        """A reserved call was made. Of other days than today none is kept: under its id a new call would count."""
        if usage.day == day_of(self.now) and not self.has_settled(usage.request_id):
            self._settled = (self._settled + usage.receipt)[-MOST_SETTLED * RECEIPT :]
            self.changed = True

    def has_settled(self, id_: str) -> bool:
        """Whether this id was settled today: whatever call it is reserved for now would not count any more."""
        receipts = (self._settled[n : n + RECEIPT] for n in range(0, len(self._settled), RECEIPT))
        return receipt_of(id_) in receipts

    def booked(self, day: str, before: Amount, after: Amount) -> None:
        """A day's sum has changed."""
        month = day[:7]
        self.days[day] = after
        self.months[month] = self.months.get(month, Amount()) + (after - before)
        self.dirty.add(day)
        self.changed = True

    def warnings(self, thresholds: Thresholds, refused: list[Standing]) -> list[Warning]:
        """Those that are due and were not given yet; each limit's highest only. They count as given from now on."""
        if not thresholds.enabled:
            return []
        found = []
        blocked = {s.id for s in refused}
        for standing in self.standings():
            steps = ((thresholds.soft, False), (thresholds.hard, True))
            used = standing.used
            reached = [(share, blocks) for share, blocks in steps if used and used >= standing.limit * share]
            if standing.id in blocked and standing.sure >= standing.limit * thresholds.soft:
                reached = [(thresholds.hard, True)]
            key = f"{standing.period}:{standing.name}"
            if reached:
                share, blocks = max(reached)
                percent = int(share * 100)
                if percent > self.warned.get(key, 0):
                    self.warned[key] = percent
                    self.changed = True
                    found.append(Warning(standing, percent, blocks))
        return found

    def percent_used(self) -> float:
        """Of the limit that is used most now, rounded down to two decimals; 0 where there is no limit."""
        return _percent((s.used, s.limit) for s in self.standings())

    def percent_of_day(self, day: str, spent: Amount) -> float:
        """Likewise of the limits of a day, whichever it was; where there are none, of its month's."""
        of_day = list(_against(self.plan.day, spent))
        return _percent(of_day) if of_day else self.percent_of_month(self.months.get(day[:7], spent))

    def percent_of_month(self, spent: Amount) -> float:
        return _percent(_against(self.plan.month, spent))

    def data(self) -> Data:
        """The document, without rev and updatedAt."""
        days = sorted(self.days)[-KEPT_DAYS:]
        months = sorted(self.months)[-KEPT_MONTHS:]
        current = (period_of("day", self.now), period_of("month", self.now))
        oldest = day_of(self.now - timedelta(days=KEPT_DAYS))
        return {
            "plan": self.told_plan,
            "planAt": self.told_at,
            "override": self.override.model_dump(mode="json", by_alias=True, exclude_unset=True) or None,
            "days": {day: self.days[day].data() for day in days},
            "months": {month: self.months[month].data() for month in months},
            "holds": {id_: {"at": h.at, "until": h.until, **h.amount.data()} for id_, h in self.holds.items()},
            "holdsUntil": min((h.until for h in self.holds.values()), default=None),
            "warned": {key: p for key, p in self.warned.items() if key.partition(":")[0] in current},
            "dirty": sorted(self.dirty),
            "pending": bool(self.dirty),
            "expired": {day: n for day, n in self.expired.items() if day >= oldest},
            "settled": {"day": day_of(self.now), "receipts": self._settled} if self._settled else None,
            "erasing": self.erasing,
        }

    def _expire(self) -> None:
        """Holds that nobody settled are given back; how many is counted by the day on which that was seen."""
        forgotten = [id_ for id_, hold in self.holds.items() if hold.until <= self.now]
        for id_ in forgotten:
            self.let_go(id_, self.holds[id_].at)
        self.gave_back = len(forgotten)
        if forgotten:
            today = day_of(self.now)
            self.expired[today] = self.expired.get(today, 0) + len(forgotten)
            self.dirty.add(today)
            self.changed = True

    def _count(self, hold: Hold, sign: int) -> None:
        for of in PERIODS:
            period = period_of(of, hold.at)
            held = self._held.get(period, Amount())
            self._held[period] = held + hold.amount if sign > 0 else held - hold.amount


def _against(limits: Limits, spent: Amount) -> Iterator[tuple[Decimal, Decimal]]:
    for name in OF_ALL:
        limit = limits.of(name)
        if limit is not None:
            yield Decimal(getattr(spent, name)), limit


def _percent(used_of: Iterable[tuple[Decimal, Decimal]]) -> float:
    shares = [used / limit if limit else Decimal(int(used > 0)) for used, limit in used_of]
    return float((max(shares, default=Decimal(0)) * 100).quantize(Decimal("0.01"), ROUND_FLOOR))


def tag_of(override: Override) -> str:
    """The ETag of limits of one user alone. A limit that is taken away is another thing than one not named."""
    text = override.model_dump_json(by_alias=True, exclude_unset=True)
    return f'"{blake2b(text.encode(), digest_size=8).hexdigest()}"'


def period_of(of: Period, moment: datetime) -> str:
    return day_of(moment)[: 10 if of == "day" else 7]


def end_of(of: Period, moment: datetime) -> datetime:
    """When the next period begins: midnight, or the first of the next month, in UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if of == "day":
        return day + timedelta(days=1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)

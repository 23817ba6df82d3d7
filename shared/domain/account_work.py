"""What may be done to a user's account and days, each step harmless when it comes twice.

The requests that wait for the same user are taken together: `Work` holds what was read, each step changes it and gives
its answer, and one commit stores what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from shared.domain.ledger import Amount, Ledger, Part, amount_of
from shared.domain.plans import Override
from shared.domain.price import PriceSource
from shared.domain.quota import MOST_HOLDS, Account, Standing, Thresholds, Warning, tag_of
from shared.domain.usage import Usage


@dataclass(slots=True)
class Work:
    """`sums`: each day's sum as it was stored, and then as it has become. `warnings` are to be told with the commit."""

    account: Account
    ledgers: Mapping[str, Ledger]
    prices: PriceSource
    thresholds: Thresholds
    now: datetime
    sums: dict[str, Amount] = field(default_factory=dict)
    warnings: list[Warning] = field(default_factory=list)
    _parts: dict[str, list[Part]] = field(default_factory=dict)

    def book(self, usage: Usage) -> bool:
        """Whether it is new. The account's sums follow at once, so that a later step sees them."""
        if not self.ledgers[usage.day].book(usage, usage.plan or self.account.plan_name):
            return False
        self._parts.pop(usage.day, None)
        self.sum_up(usage.day)
        return True

    def sum_up(self, day: str) -> None:
        """The day's sum by today's prices; what that changes is the account's too."""
        after = amount_of(self.parts(day))
        self.account.booked(day, self.sums.get(day, Amount()), after)
        self.sums[day] = after

    def parts(self, day: str) -> list[Part]:
        if day not in self._parts:
            self._parts[day] = self.ledgers[day].parts(self.prices)
        return self._parts[day]

    def warn(self, refused: Sequence[Standing] = ()) -> None:
        self.warnings += self.account.warnings(self.thresholds, list(refused))

    @property
    def changed(self) -> bool:
        return self.account.changed or any(ledger.changed for ledger in self.ledgers.values())


class Step(Protocol):
    """`days`: those that it needs. `apply` may be called again on what was read anew."""

    @property
    def days(self) -> frozenset[str]: ...

    def apply(self, work: Work) -> None: ...


@dataclass(slots=True)
class Record:
    """Calls that were made. `booked`: how many were new; the others were known."""

    usages: Sequence[Usage]
    booked: int = 0

    @property
    def days(self) -> frozenset[str]:
        return frozenset(usage.day for usage in self.usages)

    def apply(self, work: Work) -> None:
        for usage in self.usages:
            work.account.tell_plan(usage.plan, usage.at)
        self.booked = sum(work.book(usage) for usage in self.usages)
        work.warn()


@dataclass(slots=True)
class Reserve:
    """The right to make one call.

    `reason`: granted, already_reserved, reserved_for_less (what is held would not cover this call), already_settled
    (the call of this id was made, so another one would not count), quota_exceeded, too_many_reservations,
    model_unpriced (its cost is not known, and the user has a limit of cost).

    `at` is when it was made: what it settles for is booked to that day. `held`: what is held for it.
    """

    id: str
    amount: Amount
    plan: str | None
    lasts: timedelta
    priced: bool = True
    reason: str = ""
    at: datetime | None = None
    until: datetime | None = None
    held: Amount | None = None
    over: Sequence[Standing] = ()
    standings: Sequence[Standing] = ()
    days: frozenset[str] = frozenset()
    hard: Decimal = Decimal(1)  # the share of a limit that may be used
    first_back: datetime | None = None  # when the first of the calls under way has settled, or is given up

    def fits(self, standing: Standing, taken: Decimal) -> bool:
        """Whether the most that the call can use still fits where so much is taken."""
        return bool(taken + getattr(self.amount, standing.name) <= standing.limit * self.hard)

    def apply(self, work: Work) -> None:
        account = work.account
        account.tell_plan(self.plan, work.now)
        self.over, self.hard = (), work.thresholds.hard
        self.first_back = min((hold.until for hold in account.holds.values()), default=None)
        if self.id in account.holds:
            hold = account.holds[self.id]
            self.reason = "already_reserved" if hold.amount.covers(self.amount) else "reserved_for_less"
            self.at, self.until, self.held = hold.at, hold.until, hold.amount
        elif account.has_settled(self.id):
            self.reason = "already_settled"
        elif len(account.holds) >= MOST_HOLDS:
            self.reason = "too_many_reservations"
        elif not self.priced and any(standing.name == "cost" for standing in account.standings()):
            self.reason = "model_unpriced"
        else:
            self.at, self.until, self.held = work.now, work.now + self.lasts, self.amount
            self.over = account.reserve(self.id, self.amount, self.until, work.thresholds.hard)
            self.reason = "quota_exceeded" if self.over else "granted"
            work.warn(self.over)
        self.standings = list(account.standings())


@dataclass(slots=True)
class Settle:
    """What a reserved call did use, at the time of its reservation; its hold is given back, if it is still there.

    `reason`: settled, settled_late (the hold had expired), already_settled.
    """

    id: str
    usage: Usage
    reason: str = ""
    standings: Sequence[Standing] = ()

    @property
    def days(self) -> frozenset[str]:
        return frozenset({self.usage.day})

    def apply(self, work: Work) -> None:
        work.account.tell_plan(self.usage.plan, self.usage.at)
        hold = work.account.let_go(self.id, self.usage.at)
        work.account.settled(self.usage)
        if not work.book(self.usage):
            self.reason = "already_settled"
        else:
            self.reason = "settled" if hold else "settled_late"
        work.warn()
        self.standings = list(work.account.standings())


@dataclass(slots=True)
class Release:
    """The call was not made. `made`: when it was reserved. `reason`: released, not_reserved (never, or no more)."""

    id: str
    made: datetime
    reason: str = ""
    days: frozenset[str] = frozenset()

    def apply(self, work: Work) -> None:
        self.reason = "released" if work.account.let_go(self.id, self.made) else "not_reserved"


@dataclass(slots=True)
class SetOverride:
    """Limits of this user alone, in the place of those that were set before. `matches`: whether `if_match` held."""

    override: Override
    if_match: str | None = None
    matches: bool = True
    standings: Sequence[Standing] = ()
    days: frozenset[str] = frozenset()

    def apply(self, work: Work) -> None:
        account = work.account
        same = tag_of(self.override) == account.override_tag
        self.matches = same or self.if_match in (None, "*", account.override_tag)
        if self.matches and not same:
            account.override = self.override
            account.changed = True
        self.standings = list(account.standings())


@dataclass(slots=True)
class Reprice:
    """The day's cost anew, by today's price list. `changed`: by how much, in USD."""

    day: str
    changed: Decimal = Decimal(0)

    @property
    def days(self) -> frozenset[str]:
        return frozenset({self.day})

    def apply(self, work: Work) -> None:
        if not work.ledgers[self.day].cells:  # the user has been erased meanwhile, and must not be there again
            return
        before = work.sums.get(self.day, Amount())
        work.ledgers[self.day].changed = True
        work.sum_up(self.day)
        self.changed = work.sums[self.day].cost - before.cost


@dataclass(slots=True)
class Expire:
    """Only what has expired is given back, as before every other step. `expired`: how many."""

    expired: int = 0
    days: frozenset[str] = frozenset()

    def apply(self, work: Work) -> None:
        self.expired = work.account.gave_back


def stored_amount(data: Mapping[str, Any] | None) -> Amount:
    """A day's sum as its document has it."""
    if not data:
        return Amount()
    text = data["estimated_cost_usd"]
    return Amount(data["calls"], data["tokens"], Decimal(0) if text == "unpriced" else Decimal(text))

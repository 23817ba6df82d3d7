"""What is spent against what may be: budgets of a month with thresholds, the month's end, and what is unlike oneself.

Pure: days' costs in, findings with a named reason out. Costs are USD, exact; days are in UTC.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from statistics import median
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.domain.cost import add, plain
from shared.domain.plans import Usd

RATE_DAYS = 7  # whole days that a forecast goes by
Scope = tuple[str, str]  # organisation, plan, model or user; and which one
ORGANISATION: Scope = ("organisation", "")


class Budgets(BaseModel):
    """USD of a calendar month. `each_user`: of every user who has none of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organisation: Usd | None = None
    plans: dict[str, Usd] = {}
    models: dict[str, Usd] = {}
    users: dict[str, Usd] = {}
    each_user: Usd | None = Field(default=None, alias="eachUser")

    def of(self, scope: Scope) -> Decimal | None:
        kind, name = scope
        if kind == "user":
            return self.users.get(name, self.each_user)
        return {"organisation": self.organisation, "plan": self.plans.get(name), "model": self.models.get(name)}[kind]


class Spike(BaseModel):
    """A day is a spike beyond `factor` × the median of the `days` before, and beyond `least_usd`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: Annotated[Usd, Field(gt=1)] = Decimal(3)
    least_usd: Usd = Field(default=Decimal(5), alias="leastUsd")
    days: Annotated[int, Field(strict=True, ge=3, le=60)] = 14
    least_days: Annotated[int, Field(strict=True, ge=1, le=60)] = Field(default=7, alias="leastDays")


class Spending(BaseModel):
    """`config/spending.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[Annotated[str, Field(pattern="^(slack|email|pagerduty|inapp|webhook)$")], ...] = ("slack", "email")
    thresholds: tuple[Annotated[int, Field(strict=True, ge=1, le=1000)], ...] = (50, 80, 100)
    budgets: Budgets = Budgets()
    spike: Spike | None = Spike()
    forgotten_reservations: Annotated[int, Field(strict=True, ge=1)] | None = Field(
        default=50, alias="forgottenReservations"
    )

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, thresholds: tuple[int, ...]) -> tuple[int, ...]:
        if list(thresholds) != sorted(set(thresholds)):
            raise ValueError("must ascend, each once")
        return thresholds


@dataclass(frozen=True, slots=True)
class Finding:
    """One alert as it should stand. `id` is its document's; `firing` False: it holds again, by `reason`.

    `above`: ids of the higher thresholds of the same budget that stand the same way, the highest first: what they say
    needs no second message.
    """

    id: str
    name: str
    firing: bool
    reason: str
    severity: str
    value: Decimal
    limit: Decimal
    unit: str
    seconds: int
    labels: tuple[tuple[str, str], ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)  # for the message, amounts as exact texts
    above: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnpricedModel:
    """Usage of a model, by its own id, without a price. `since`: its first day; `tiers` that have none, if known.

    `calls` are those that have no price at all; tokens or searches of others may have none either.
    """

    model: str
    calls: int = 0
    tokens: int = 0
    searches: int = 0
    since: str = ""
    reason: str = "unknown_model"
    providers: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def forecast(costs: Mapping[str, Decimal], today: date) -> Fraction:
    """What the month will have cost at its end: what it has cost, and for each day that is left the mean of the last
    seven whole days, or of as many as there are since the first that cost something. Today counts as whole once it has
    cost more than that.
    """
    first = today.replace(day=1)
    spent = Fraction(add(cost for day, cost in costs.items() if day[:7] == first.isoformat()[:7]))
    begun = min((day for day, cost in costs.items() if cost), default=today.isoformat())
    whole = [today - timedelta(days=n) for n in range(1, RATE_DAYS + 1)]
    known = [costs.get(day.isoformat(), Decimal(0)) for day in whole if day.isoformat() >= begun]
    if not known:
        return spent
    rate = Fraction(add(known)) / len(known)
    left = monthrange(today.year, today.month)[1] - today.day
    rest_of_today = max(Fraction(0), rate - Fraction(costs.get(today.isoformat(), Decimal(0))))
    return spent + rest_of_today + rate * left


def budget_findings(scope: Scope, shown: str, spent: Decimal, today: date, policy: Spending) -> list[Finding]:
    """One for each threshold, in the order in which they are to be applied. `shown`: what stands for the scope in
    texts, which is no uid.

    What fires comes with the highest first, what holds with the lowest first: a run that ends in between has then told
    the one that speaks for the others, or has left it to the next run.
    """
    budget = policy.budgets.of(scope)
    if budget is None:
        return []
    kind, _ = scope
    labels = ((kind, shown),) if kind != "organisation" else ()
    stem = f"cost-budget-{kind}-{slug(shown)}" if shown else f"cost-budget-{kind}"
    highest_first = [(threshold, budget * threshold / 100) for threshold in reversed(policy.thresholds)]
    above: dict[bool, tuple[str, ...]] = {True: (), False: ()}
    found = []
    for threshold, limit in highest_first:
        firing = spent >= limit and spent > 0
        found.append(
            Finding(
                id=f"{stem}-{threshold}",
                name=f"{threshold}% of the month's budget" + (f" of {kind} {shown}" if shown else ""),
                firing=firing,
                reason="budget_reached" if firing else "within_budget",
                severity="high" if threshold >= 100 else "warning",
                value=spent,
                limit=limit,
                unit="USD",
                seconds=today.day * 86_400,
                labels=labels,
                told={
                    "what": "budget",
                    "scope": _told_scope(kind, shown),
                    "spent": plain(spent),
                    "budget": plain(budget),
                    "percent": threshold,
                },
                above=above[firing],
            )
        )
        above[firing] += (f"{stem}-{threshold}",)
    return [one for one in found if one.firing] + [one for one in reversed(found) if not one.firing]


def forecast_finding(costs: Mapping[str, Decimal], today: date, policy: Spending) -> Finding | None:
    """Of the organisation: that the month will end beyond its budget."""
    budget = policy.budgets.organisation
    if budget is None:
        return None
    expected = forecast(costs, today)
    firing = expected > Fraction(budget)
    return Finding(
        id="cost-forecast-organisation",
        name="The month is expected to end beyond its budget",
        firing=firing,
        reason="forecast_exceeds_budget" if firing else "forecast_within_budget",
        severity="warning",
        value=Decimal(round(expected * 100)) / 100,
        limit=budget,
        unit="USD",
        seconds=monthrange(today.year, today.month)[1] * 86_400,
        told={
            "what": "forecast",
            "scope": None,
            "expected": plain(Decimal(round(expected * 10_000)) / 10_000),
            "budget": plain(budget),
        },
    )


def spike_finding(scope: Scope, shown: str, costs: Mapping[str, Decimal], today: date, policy: Spike) -> Finding | None:
    """Today against the median of one's own days before; None while there are too few of them to tell."""
    days = [(today - timedelta(days=n)).isoformat() for n in range(1, policy.days + 1)]
    begun = min((day for day, cost in costs.items() if cost), default=today.isoformat())
    before = [costs.get(day, Decimal(0)) for day in days if day >= begun]
    if len(before) < policy.least_days:
        return None
    normal = median(before)
    limit = max(normal * policy.factor, policy.least_usd)
    spent = costs.get(today.isoformat(), Decimal(0))
    firing = spent > limit
    kind, _ = scope
    return Finding(
        id=f"cost-spike-{kind}-{slug(shown)}" if shown else f"cost-spike-{kind}",
        name="Spending is far beyond its usual" + (f": {kind} {shown}" if shown else ""),
        firing=firing,
        reason="spend_spike" if firing else "spend_as_usual",
        severity="high",
        value=spent,
        limit=limit,
        unit="USD",
        seconds=86_400,
        labels=((kind, shown),) if kind != "organisation" else (),
        told={
            "what": "spike",
            "scope": _told_scope(kind, shown),
            "spent": plain(spent),
            "usual": plain(normal),
            "days": len(before),
        },
    )


def unpriced_finding(found: UnpricedModel, days: int) -> Finding:
    """Of the last `days`; without usage: it is priced by now, or not used any more."""
    firing = bool(found.calls or found.tokens or found.searches)
    return Finding(
        id=f"cost-unpriced-{slug(found.model)}",
        name=f"Model without a price: {found.model}",
        firing=firing,
        reason="model_unpriced" if firing else "model_priced",
        severity="warning",
        value=Decimal(found.calls or found.tokens or found.searches),
        limit=Decimal(0),
        unit="count",
        seconds=days * 86_400,
        labels=(("model", found.model),),
        told={
            "what": "unpriced",
            "model": found.model,
            "providers": list(found.providers),
            "calls": found.calls,
            "tokens": found.tokens,
            "searches": found.searches,
            "since": found.since,
            "reason": found.reason,
            "rates": list(found.rates),
            "tiers": list(found.tiers),
            "days": days,
        },
    )


def forgotten_finding(reservations: int, policy: Spending) -> Finding | None:
    """Reservations of today that nobody settled or released: calls that may have been made and are not counted."""
    if policy.forgotten_reservations is None:
        return None
    firing = reservations >= policy.forgotten_reservations
    return Finding(
        id="cost-reservations-forgotten",
        name="Reservations are neither settled nor released",
        firing=firing,
        reason="reservations_forgotten" if firing else "reservations_settled",
        severity="warning",
        value=Decimal(reservations),
        limit=Decimal(policy.forgotten_reservations),
        unit="count",
        seconds=86_400,
        told={"what": "forgotten", "scope": None},
    )


def _told_scope(kind: str, shown: str) -> str | None:
    """`plan free`; None of the whole organisation."""
    return f"{kind} {shown}" if shown else None

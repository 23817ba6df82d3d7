"""A user's day: what was used, in cells that can be priced exactly at any time, and the summary made of them.

A cell is provider, model as sent, plan, tier and class of input size; within one, every price is so much a token. So
sums lose nothing, costs are exact without rounding a call, and what had no price can be priced later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from shared.domain.cost import add, cents, cost_of_class, plain, unpriced_of
from shared.domain.price import PriceSource, Unpriced, rates_of
from shared.domain.usage import Tokens, Usage, input_class

Data = dict[str, Any]
Key = tuple[str, str, str, str, int]  # provider, model, plan, tier, input class
UNPRICED = "unpriced"
MOST_CELLS = 400
MOST_PARTS = 100  # of provider, model and plan: a month keeps those of each day
OTHER = "(other)"  # the model of usage beyond these: it has no price, and is shown
RECEIPT = 8
INLINE_RECEIPTS = 4096  # those beyond are moved to pages of this many, which never change


@dataclass(slots=True)
class Cell:
    calls: int = 0
    duration_ms: int = 0
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True)
class Part:
    """Usage of one provider, model (its own id) and plan, priced.

    `unpriced_…`: what has no price, and `reason`: why. Of a call whose text has one, and whose audio or searches have
    none, only those are unpriced. `kinds`: what was used, by kind.
    """

    provider: str
    model: str
    plan: str
    calls: int
    tokens: int
    duration_ms: int
    cost: Decimal
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    reason: str | None = None
    kinds: Tokens = field(default_factory=Tokens)
    unpriced_searches: int = 0

    @property
    def unpriced(self) -> bool:
        return bool(self.unpriced_calls or self.unpriced_tokens or self.unpriced_searches)


@dataclass(frozen=True, slots=True)
class Amount:
    """What quotas are about; cost in USD."""

    calls: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.calls + other.calls, self.tokens + other.tokens, add((self.cost, other.cost)))

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.calls - other.calls, self.tokens - other.tokens, add((self.cost, -other.cost)))

    def covers(self, other: Amount) -> bool:
        """Whether nothing of `other` is more."""
        return self.calls >= other.calls and self.tokens >= other.tokens and self.cost >= other.cost

    def data(self) -> Data:
        return {"calls": self.calls, "tokens": self.tokens, "cost": plain(self.cost)}

    @staticmethod
    def of(data: Mapping[str, Any]) -> Amount:
        return Amount(data["calls"], data["tokens"], Decimal(data["cost"]))


class Ledger:
    """One day of one user. Made of the stored document; `book` adds to it, `data` is the document again.

    `older`: the receipts on the pages of the day.
    """

    def __init__(self, day: str, data: Mapping[str, Any] | None, older: Iterable[bytes] = ()) -> None:
        self.day = day
        self.pages: int = data["pages"] if data else 0
        self.cells = _cells(data["cells"]) if data else {}
        self._inline: bytes = data["receipts"] if data else b""
        self._seen = {receipt for page in (self._inline, *older) for receipt in _receipts(page)}
        self.new_pages: list[tuple[int, bytes]] = []
        self.changed = False

    def book(self, usage: Usage, plan: str) -> bool:
        """Whether it is new; a call whose receipt is here is left out."""
        if usage.receipt in self._seen:
            return False
        key: Key = (usage.provider, usage.model, plan, usage.tier, input_class(usage.tokens))
        if key not in self.cells and not self._has_room(key):
            key = (OTHER, OTHER, OTHER, OTHER, key[4])
        cell = self.cells.setdefault(key, Cell())
        cell.calls += 1
        cell.duration_ms += usage.duration_ms
        cell.tokens += usage.tokens
        self._seen.add(usage.receipt)
        self._inline += usage.receipt
        if len(self._inline) > INLINE_RECEIPTS * RECEIPT:
            self.new_pages.append((self.pages, self._inline))
            self.pages += 1
            self._inline = b""
        self.changed = True
        return True

    def _has_room(self, key: Key) -> bool:
        parts = {cell[:3] for cell in self.cells}
        return len(self.cells) < MOST_CELLS and (key[:3] in parts or len(parts) < MOST_PARTS)

    def parts(self, prices: PriceSource) -> list[Part]:
        """By provider, model and plan, in that order."""
        return parts_of(self.day, self.cells, prices)

    def data(self, parts: Iterable[Part], quota_pct: float, name_of: Callable[[str], str], prices_hash: str) -> Data:
        """The document, without rev and updatedAt."""
        return {
            **summary_of(parts, quota_pct, name_of),
            "day": self.day,
            "cells": cells_data(self.cells),
            "receipts": self._inline,
            "pages": self.pages,
            "pricesHash": prices_hash,
        }


def parts_of(day: str, cells: Mapping[Key, Cell], prices: PriceSource) -> list[Part]:
    on = date.fromisoformat(day)
    found: dict[tuple[str, str, str], Part] = {}
    for (provider, model, plan, tier, size), cell in sorted(cells.items()):
        rates = rates_of(prices, provider, model, on, tier)
        cost = None if isinstance(rates, Unpriced) else cost_of_class(cell.tokens, rates.rates, size)
        missing = cell.tokens if isinstance(rates, Unpriced) or cost is None else unpriced_of(cell.tokens, rates.rates)
        lacks = cost is None or missing != Tokens()
        reason = rates.reason if isinstance(rates, Unpriced) else "no_price_for_kind" if lacks else None
        before = found.get((provider, rates.model, plan)) or Part(provider, rates.model, plan, 0, 0, 0, Decimal(0))
        found[provider, rates.model, plan] = Part(
            provider,
            rates.model,
            plan,
            before.calls + cell.calls,
            before.tokens + cell.tokens.total,
            before.duration_ms + cell.duration_ms,
            add((before.cost, cost or Decimal(0))),
            before.unpriced_calls + (cell.calls if cost is None else 0),
            before.unpriced_tokens + missing.total,
            reason or before.reason,
            before.kinds + cell.tokens,
            before.unpriced_searches + missing.searches,
        )
    return [found[key] for key in sorted(found)]


def cells_of(data: Mapping[str, Any]) -> dict[Key, Cell]:
    """Of a stored day."""
    return _cells(data["cells"])


def together(one: Mapping[Key, Cell], other: Mapping[Key, Cell]) -> dict[Key, Cell]:
    """The cells of both; those beyond MOST_CELLS are put together, as in a day."""
    found = dict(one)
    for key, cell in other.items():
        if key not in found and len(found) >= MOST_CELLS:
            key = (OTHER, OTHER, OTHER, OTHER, key[4])
        before = found.get(key, Cell())
        sums = (before.calls + cell.calls, before.duration_ms + cell.duration_ms)
        found[key] = Cell(*sums, before.tokens + cell.tokens)
    return found


def cells_data(cells: Mapping[Key, Cell]) -> list[Data]:
    """As a day stores them; `cells_of` reads them again."""
    return [_stored(key, cell) for key, cell in sorted(cells.items())]


def amount_of(parts: Iterable[Part]) -> Amount:
    """What is unpriced counts in calls and tokens, and not in cost."""
    total = Amount()
    for part in parts:
        total += Amount(part.calls, part.tokens, part.cost)
    return total


def summary_of(parts: Iterable[Part], quota_pct: float, name_of: Callable[[str], str]) -> Data:
    """A summary's fields. `cost` and `estimated_cost_usd` are decimals in full, as texts: a double would round them.

    Where none of a model's usage has a price its cost reads 'unpriced'; where some has none, `unpriced` says how much.
    """
    parts = list(parts)
    total = amount_of(parts)
    unpriced = any(part.unpriced for part in parts)
    return {
        "calls": total.calls,
        "tokens": total.tokens,
        "duration": sum(part.duration_ms for part in parts),
        "cost": shown_cost(cents(total.cost), unpriced),
        "estimated_cost_usd": shown_cost(total.cost, unpriced),
        "quota_pct": quota_pct,
        "breakdown_by_model": _by(parts, lambda part: name_of(part.model)),
        "breakdown_by_plan": _by(parts, lambda part: part.plan),
        "breakdown_by_provider": _by(parts, lambda part: part.provider),
        "unpriced": {
            part.model: {"calls": part.unpriced_calls, "tokens": part.unpriced_tokens, "reason": part.reason}
            | ({"searches": part.unpriced_searches} if part.unpriced_searches else {})
            for part in parts
            if part.unpriced
        },
    }


def _by(parts: Iterable[Part], key: Callable[[Part], str]) -> dict[str, Data]:
    sums: dict[str, tuple[Amount, bool]] = {}
    for part in parts:
        amount, unpriced = sums.get(key(part), (Amount(), False))
        sums[key(part)] = (amount + Amount(part.calls, part.tokens, part.cost), unpriced or part.unpriced)
    return {
        name: {"calls": a.calls, "tokens": a.tokens, "cost": shown_cost(cents(a.cost), unpriced)}
        for name, (a, unpriced) in sorted(sums.items())
    }


def shown_cost(amount: Decimal, unpriced: bool) -> str:
    """In full; never 0 where a part has no price."""
    return UNPRICED if unpriced and not amount else plain(amount)


def _cells(stored: Iterable[Mapping[str, Any]]) -> dict[Key, Cell]:
    return {
        (c["provider"], c["model"], c["plan"], c["tier"], c["inputClass"]): Cell(
            c["calls"], c["durationMs"], Tokens(*c["tokens"])
        )
        for c in stored
    }


def _stored(key: Key, cell: Cell) -> Data:
    provider, model, plan, tier, size = key
    return {
        "provider": provider,
        "model": model,
        "plan": plan,
        "tier": tier,
        "inputClass": size,
        "calls": cell.calls,
        "durationMs": cell.duration_ms,
        "tokens": cell.tokens.values(),
    }


def _receipts(page: bytes) -> Iterable[bytes]:
    return (page[n : n + RECEIPT] for n in range(0, len(page), RECEIPT))

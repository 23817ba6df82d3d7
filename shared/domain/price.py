"""What a model's tokens cost: dated, in tiers by the size of the prompt, with rates of their own for batches.

Prices are in USD for a million tokens, as providers publish them. All of it is data that is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from decimal import Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Protocol

# Never rounds: it raises instead. 60 digits hold any sum that there can be.
EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow, Clamped])


@dataclass(frozen=True, slots=True)
class Rate:
    """`tiers`: (start, price), ascending; a call whose whole input exceeds `start` pays that price for all of it."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, all_input: int) -> Decimal:
        price = self.base
        for start, higher in self.tiers:
            if all_input > start:
                price = higher
        return price

    def times(self, share: Decimal) -> Rate:
        return Rate(
            EXACT.multiply(self.base, share),
            tuple((start, EXACT.multiply(price, share)) for start, price in self.tiers),
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """None: the provider publishes none of its own, see `filled`. Those of searches are for a million too."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write_5m: Rate | None = None
    cache_write_1h: Rate | None = None
    input_audio: Rate | None = None
    output_audio: Rate | None = None
    web_searches: Rate | None = None
    file_searches: Rate | None = None

    def over(self, below: Rates) -> Rates:
        """These, and where there is none, those of `below`."""
        return Rates(*(getattr(self, n) or getattr(below, n) for n in RATE_NAMES))

    def times(self, share: Decimal) -> Rates:
        """A tier's share is one of the price of tokens: a search costs the same in a batch."""
        changed = {name: rate.times(share) for name in TOKENS if (rate := getattr(self, name)) is not None}
        return replace(self, **changed)

    def filled(self) -> Rates:
        """Cached tokens without a price of their own are input like any other."""
        write = self.cache_write_5m or self.input
        return replace(
            self,
            cache_read=self.cache_read or self.input,
            cache_write_5m=write,
            cache_write_1h=self.cache_write_1h or write,
        )


TEXT = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
AUDIO = ("input_audio", "output_audio")
SEARCHES = ("web_searches", "file_searches")
TOKENS = (*TEXT, *AUDIO)
EXTRAS = (*AUDIO, *SEARCHES)  # what a call may use besides, and a model may have no price for
RATE_NAMES = (*TEXT, *EXTRAS)


@dataclass(frozen=True, slots=True)
class Dated:
    """Rates from a day on, in UTC; `since` None: always. `until`: the first day on which they hold no more."""

    rates: Rates
    since: date | None = None
    until: date | None = None

    def holds(self, day: date) -> bool:
        return (self.since is None or self.since <= day) and (self.until is None or day < self.until)


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """All that is published of a model. `standard`: the last one that holds counts. `variants`: by tier, the first.

    `id` is the model's own id, without a date. `overrides` name single rates, and win over all else; the last counts.
    """

    id: str
    provider: str
    standard: tuple[Dated, ...]
    variants: tuple[tuple[str, Dated], ...] = ()
    overrides: tuple[Dated, ...] = ()


@dataclass(frozen=True, slots=True)
class Priced:
    """The rates of a model, a day and a tier, and the model's own id."""

    model: str
    rates: Rates


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Why there is no price: unknown_model, no_price_for_tier, not_priced_by_token. It is never taken for nothing."""

    model: str
    reason: str


class PriceSource(Protocol):
    """Where the prices come from; `hash` changes with them."""

    hash: str

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """Of an exact id or a dated variant of one, never of a prefix."""
        ...

    def tier_share(self, provider: str, tier: str) -> Decimal | None:
        """What a tier costs of the standard price where a model has no rates of its own for it."""
        ...


def rates_of(source: PriceSource, provider: str, model: str, day: date, tier: str) -> Priced | Unpriced:
    """What holds for calls of that day."""
    found = source.find(provider, model)
    if found is None:
        return Unpriced(model, "unknown_model")
    holding = [dated.rates for dated in found.standard if dated.holds(day)]
    rates = holding[-1] if holding else found.standard[0].rates if found.standard else Rates()
    for override in found.overrides:
        if override.holds(day):
            rates = override.rates.over(rates)
    if rates.input is None:
        return Unpriced(found.id, "not_priced_by_token")
    if tier == "standard":
        return Priced(found.id, rates.filled())
    variant = next((dated.rates for name, dated in found.variants if name == tier and dated.holds(day)), None)
    overridden = any(override.holds(day) for override in found.overrides)
    share = source.tier_share(provider, tier)
    if share is not None and (variant is None or overridden):  # a tier's published rates are those of the list price
        return Priced(found.id, rates.times(share).filled())
    if variant is None:
        return Unpriced(found.id, "no_price_for_tier")
    return Priced(found.id, variant.over(rates).filled())

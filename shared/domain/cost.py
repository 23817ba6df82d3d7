"""What usage costs, exactly: cost = Σ tokens × rate / 1,000,000, in USD, never rounded."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from shared.domain.price import AUDIO, EXACT, EXTRAS, RATE_NAMES, SEARCHES, TEXT, Rates
from shared.domain.usage import INPUT_BOUNDS, Tokens

_CACHING = {
    "none": ("input",),
    "5m": ("input", "cache_read", "cache_write_5m"),
    "1h": ("input", "cache_read", "cache_write_5m", "cache_write_1h"),
}
CACHINGS = tuple(_CACHING)


def cost_of(tokens: Tokens, rates: Rates, all_input: int | None = None) -> Decimal | None:
    """USD, or None where text of a kind has no price. `all_input` chooses the tier; that of these tokens itself.

    Audio and searches that have none are left out: `unpriced_of` tells them.
    Reasoning tokens are output tokens, and cost what those cost.
    """
    size = tokens.all_input if all_input is None else all_input
    total = Decimal(0)
    for name in RATE_NAMES:
        count, rate = getattr(tokens, name), getattr(rates, name)
        if count == 0:
            continue
        if rate is None:
            if name in TEXT:
                return None
            continue
        total = EXACT.add(total, EXACT.multiply(rate.at(size), Decimal(count)))
    return total.scaleb(-6, EXACT)


def unpriced_of(tokens: Tokens, rates: Rates) -> Tokens:
    """The audio and the searches that have no price, where the text has one."""
    return Tokens(**{name: getattr(tokens, name) for name in EXTRAS if getattr(rates, name) is None})


def cost_of_class(tokens: Tokens, rates: Rates, input_class: int) -> Decimal | None:
    """Of many calls together, whose inputs all exceed the same of INPUT_BOUNDS."""
    return cost_of(tokens, rates, INPUT_BOUNDS[input_class - 1] + 1 if input_class else 0)


def most_cost(
    rates: Rates, most_input: int, most_output: int, caching: str = "1h", *, audio: bool = True, searches: int = 0
) -> Decimal | None:
    """The most that a call of at most so many tokens and searches can cost. `caching`: what it may do: none, 5m, 1h.

    None where that is not known. `audio` False: it neither hears nor speaks, where that costs more.
    Each kind of input is taken at its highest price up to that size, since a smaller prompt may be in no higher tier.
    """
    kinds = [rate for rate in (getattr(rates, name) for name in _CACHING[caching]) if rate is not None]
    if not kinds or (rates.output is None and most_output):
        return None
    searched = [rate for name in SEARCHES if (rate := getattr(rates, name)) is not None]
    if searches and not searched:
        return None
    heard, spoken = (getattr(rates, name) if audio else None for name in AUDIO)
    highest = max(_highest(rate.at(size) for size in _sizes(most_input)) for rate in [*kinds, heard] if rate)
    said = [rate for rate in (rates.output, spoken) if rate is not None]
    output = max((_highest(rate.at(size) for size in _sizes(most_input)) for rate in said), default=Decimal(0))
    search = max((rate.at(0) for rate in searched), default=Decimal(0))
    total = add(
        (
            EXACT.multiply(highest, Decimal(most_input)),
            EXACT.multiply(output, Decimal(most_output)),
            EXACT.multiply(search, Decimal(searches)),
        )
    )
    return total.scaleb(-6, EXACT)


def cents(usd: Decimal) -> Decimal:
    return usd.scaleb(2, EXACT)


def plain(amount: Decimal) -> str:
    """The number in full, without an exponent and without zeros at the end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def add(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def _highest(prices: Iterable[Decimal]) -> Decimal:
    return max(prices)


def _sizes(most: int) -> list[int]:
    """One size in each class up to `most`."""
    return [0, most, *(bound + 1 for bound in INPUT_BOUNDS if bound < most)]

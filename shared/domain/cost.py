"""What usage costs, exactly: cost = Σ tokens × rate / 1,000,000, in USD, never rounded."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from shared.domain.price import EXACT, RATE_NAMES, Rates
from shared.domain.usage import INPUT_BOUNDS, Tokens

_CACHING = {
    "none": ("input",),
    "5m": ("input", "cache_read", "cache_write_5m"),
    "1h": ("input", "cache_read", "cache_write_5m", "cache_write_1h"),
}
CACHINGS = tuple(_CACHING)


def cost_of(tokens: Tokens, rates: Rates, all_input: int | None = None) -> Decimal | None:
    """USD, or None where tokens of a kind have no price. `all_input` chooses the tier; that of these tokens itself.

    Reasoning tokens are output tokens, and cost what those cost.
    """
    size = tokens.all_input if all_input is None else all_input
    total = Decimal(0)
    for name in RATE_NAMES:
        count, rate = getattr(tokens, name), getattr(rates, name)
        if count == 0:
            continue
        if rate is None:
            return None
        total = EXACT.add(total, EXACT.multiply(rate.at(size), Decimal(count)))
    return total.scaleb(-6, EXACT)


def cost_of_class(tokens: Tokens, rates: Rates, input_class: int) -> Decimal | None:
    """Of many calls together, whose inputs all exceed the same of INPUT_BOUNDS."""
    return cost_of(tokens, rates, INPUT_BOUNDS[input_class - 1] + 1 if input_class else 0)


def most_cost(rates: Rates, most_input: int, most_output: int, caching: str = "1h") -> Decimal | None:
    """The most that a call of at most so many tokens can cost. `caching`: what it may do: none, 5m, 1h.

    Each kind of input is taken at its highest price up to that size, since a smaller prompt may be in no higher tier.
    """
    kinds = [rate for rate in (getattr(rates, name) for name in _CACHING[caching]) if rate is not None]
    if not kinds or (rates.output is None and most_output):
        return None
    highest = max(_highest(rate.at(size) for size in _sizes(most_input)) for rate in kinds)
    output = _highest(rates.output.at(size) for size in _sizes(most_input)) if rates.output else Decimal(0)
    total = EXACT.add(
        EXACT.multiply(highest, Decimal(most_input)),
        EXACT.multiply(output, Decimal(most_output)),
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

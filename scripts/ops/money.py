"""Amounts as a terminal shows them: rounded, and never to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any


def usd(text: str) -> str:
    """`1,234.57 USD`; small amounts with as many decimals as show their first two digits; `unpriced` as it is."""
    if text == "unpriced":
        return text
    amount = Decimal(text)
    places = 2
    while amount and places < 12 and abs(amount) < Decimal(10) ** (1 - places):
        places += 1
    return f"{amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f} USD"


def counts(row: Mapping[str, Any]) -> list[str]:
    """Calls, tokens and cost, with how many calls have no price, or how much that calls used besides."""
    cost = usd(row["estimated_cost_usd"])
    kinds = (("unpriced_calls", ""), ("unpriced_searches", " searches"), ("unpriced_tokens", " tokens"))
    unpriced = next((f"{row[name]:,}{kind}" for name, kind in kinds if row.get(name)), None)
    note = f" + {unpriced} unpriced" if unpriced and cost != "unpriced" else ""
    return [f"{row['calls']:,}", f"{row['tokens']:,}", cost + note]

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
    """Calls, tokens and cost, with how many calls have no price."""
    unpriced = row.get("unpriced_calls", 0)
    cost = usd(row["estimated_cost_usd"])
    note = f" + {unpriced:,} unpriced" if unpriced and cost != "unpriced" else ""
    return [f"{row['calls']:,}", f"{row['tokens']:,}", cost + note]

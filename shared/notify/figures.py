"""Numbers, lengths of time and moments as messages write them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any


def utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def span(seconds: int) -> str:
    """A length of time in its two largest units: '1 hour 5 minutes'."""
    parts = []
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}" + ("s" if count > 1 else ""))
        if len(parts) == 2:
            break
    return " ".join(parts) or "less than a second"


def with_unit(text: str, unit: str) -> str:
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if unit == "USD" and len(text.rpartition(".")[2]) == 1 and "." in text:
        text += "0"  # 7.5 dollars are 7.50
    return text if unit == "count" else f"{text} {unit}"


def rounded(amount: Decimal, decimals: int, unlike: Sequence[Decimal] = ()) -> str:
    """Rounded half up, to more decimals than asked for where it would otherwise look like one of `unlike`."""
    for places in range(decimals, 13):
        shown = amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
        if shown == amount or shown not in unlike:
            break
    text = f"{shown:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(amount: Any) -> Decimal:
    """The number as it is written, without what binary fractions add."""
    return Decimal(str(amount))

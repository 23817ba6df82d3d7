"""Durations as configuration has them: `5m`, `30d`. Times are cut into slots of 5 minutes."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

SLOT_SECONDS = 300
_MOST_PLACES = 30  # exact arithmetic with more of them takes ever longer
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _slots(value: Any) -> Any:
    match = re.fullmatch(r"(\d{1,4})([mhdw])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number with m, h, d or w, such as '5m' or '30d'")
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    if seconds % SLOT_SECONDS:
        raise ValueError("a duration must be a multiple of 5 minutes")
    return seconds


def seconds_of(value: Any) -> int:
    """Seconds of `5m`, `30d`; never 0. Raises ValueError with a sentence."""
    seconds: int = _slots(value)
    if seconds == 0:
        raise ValueError("a duration must be a multiple of 5 minutes")
    return seconds


def _exact(value: Any) -> Any:
    """A JSON number as it was written: 0.1 is one tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number")
    number = Decimal(str(value))
    if number.is_finite() and number.as_tuple().exponent < -_MOST_PLACES:  # type: ignore[operator]  # finite: an int
        raise ValueError(f"at most {_MOST_PLACES} decimal places")
    return number


Duration = Annotated[int, BeforeValidator(seconds_of)]
Wait = Annotated[int, BeforeValidator(_slots)]  # may be `0m`
Exact = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=Decimal(10) ** 12)]

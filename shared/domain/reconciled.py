"""What came of holding a provider's bill against what was counted, as it is kept: what was billed, and what counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared.domain.cost import plain
from shared.domain.price import EXACT

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Of one provider, from the day `start` to the day `end`, both included. USD. `by`: the uid of the admin."""

    provider: str
    start: str
    end: str
    billed: Decimal
    counted: Decimal
    unexplained: Decimal
    at: datetime
    by: str

    @property
    def id(self) -> str:
        return f"{self.provider}-{self.start}-{self.end}"

    @property
    def variance(self) -> Decimal:
        return EXACT.subtract(self.billed, self.counted)

    def data(self) -> Data:
        """The document."""
        return {
            "provider": self.provider,
            "from": self.start,
            "to": self.end,
            "billedUsd": plain(self.billed),
            "countedUsd": plain(self.counted),
            "varianceUsd": plain(self.variance),
            "unexplainedUsd": plain(self.unexplained),
            "at": self.at,
            "by": self.by,
        }

    @staticmethod
    def of(data: Mapping[str, Any]) -> Reconciliation:
        billed, counted, unexplained = (Decimal(data[name]) for name in ("billedUsd", "countedUsd", "unexplainedUsd"))
        return Reconciliation(
            data["provider"], data["from"], data["to"], billed, counted, unexplained, data["at"], data["by"]
        )


def apart(found: Iterable[Reconciliation]) -> list[Reconciliation]:
    """Without those of days of the same provider that a later one covers too, so that no day counts twice."""
    kept: list[Reconciliation] = []
    for one in sorted(found, key=lambda one: one.at, reverse=True):
        if not any(k.provider == one.provider and k.start <= one.end and one.start <= k.end for k in kept):
            kept.append(one)
    return kept

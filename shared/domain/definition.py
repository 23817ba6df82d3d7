"""What the events of an SLO are counted by, and what was counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from shared.domain.metric import Registry


@dataclass(frozen=True, slots=True)
class Definition:
    """What is counted in each 5-minute slot. For a distribution, good events are values <= `bound`.

    `labels`: only series that have all of them count; in the order of their names. The objective is not part of it:
    changing a target of a ratio changes nothing that was counted.
    """

    metric: str
    bound: float | None
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def hash(self) -> str:
        text = f"{self.metric}|{self.bound!r}" + (f"|{self.labels!r}" if self.labels else "")
        return blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Counts:
    """Good and total events of a window. `estimated`: sampling, or a bound that was not counted, took part in them."""

    good: int
    total: int
    estimated: bool = False

    @property
    def bad(self) -> int:
        return self.total - self.good


def bounds_of(registry: Registry, definitions: Iterable[Definition]) -> dict[str, tuple[float, ...]]:
    """For each metric the values up to which is counted exactly, in rising order."""
    wanted = {name: set(metric.bounds) for name, metric in registry.metrics.items()}
    for definition in definitions:
        if definition.bound is not None:
            wanted.setdefault(definition.metric, set()).add(definition.bound)
    return {name: tuple(sorted(bounds)) for name, bounds in wanted.items()}

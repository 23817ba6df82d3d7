"""How long incidents take: to be acknowledged, to be resolved, and in each status. In microseconds, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from shared.domain.incident import OPEN

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Life:
    """Of one incident. None: it was not acknowledged, or is not resolved. `in_state` counts up to now."""

    to_acknowledge: int | None
    to_resolve: int | None
    in_state: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Means:
    """`mtta` and `mttr`: means over those that were acknowledged, and resolved; None where there are none."""

    incidents: int
    acknowledged: int
    resolved: int
    mtta: Fraction | None
    mttr: Fraction | None
    in_state: Mapping[str, int]  # in all


def life_of(incident: Mapping[str, Any], now: datetime) -> Life:
    """From the first moment to the resolution as people have corrected them; statuses as they were moved through.

    Of an incident of an earlier release it is not known when it was in which status.
    """
    started = incident["startedAt"]
    spent = {status: int((incident.get("spentMicros") or {}).get(status, 0)) for status in OPEN}
    since, status = incident.get("statusSince"), incident["status"]
    if since is not None and status in spent:
        spent[status] += max(0, (now - since) // _MICROSECOND)
    return Life(_between(started, incident.get("acknowledgedAt")), _between(started, incident.get("resolvedAt")), spent)


def means(lives: Iterable[Life]) -> Means:
    given = list(lives)
    acknowledged = [life.to_acknowledge for life in given if life.to_acknowledge is not None]
    resolved = [life.to_resolve for life in given if life.to_resolve is not None]
    return Means(
        len(given),
        len(acknowledged),
        len(resolved),
        _mean(acknowledged),
        _mean(resolved),
        {status: sum(life.in_state.get(status, 0) for life in given) for status in OPEN},
    )


def _between(start: datetime, end: datetime | None) -> int | None:
    return None if end is None else max(0, (end - start) // _MICROSECOND)


def _mean(values: list[int]) -> Fraction | None:
    return Fraction(sum(values), len(values)) if values else None

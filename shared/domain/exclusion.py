"""Exclusions: times that count neither good nor bad, such as maintenance. Also of the past.

Spans are half-open, [start, end), in UTC and on 5-minute marks: an exclusion is widened to whole slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.domain.durations import SLOT_SECONDS

_SLOT = timedelta(seconds=SLOT_SECONDS)


class Span(NamedTuple):
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Exclusion:
    """`slos` and `components`: an SLO is meant if either names it, and every SLO if both are None."""

    id: str
    span: Span
    reason: str
    created_by: str
    created_at: datetime
    slos: tuple[str, ...] | None = None
    components: tuple[str, ...] | None = None
    cancelled_at: datetime | None = None
    request: str | None = None  # what was asked for, as a digest, where it came with a key of its own

    def means(self, slo_id: str, component: str | None) -> bool:
        if self.slos is None and self.components is None:
            return True
        return slo_id in (self.slos or ()) or component in (self.components or ())


def outward(start: datetime, end: datetime) -> Span:
    """The whole slots that the time lies in."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    return Span(midnight + (start - midnight) // _SLOT * _SLOT, midnight - (midnight - end) // _SLOT * _SLOT)


def in_force(exclusions: Iterable[Exclusion], slo_id: str, component: str | None) -> list[Exclusion]:
    """Those of an SLO that are not cancelled."""
    return [one for one in exclusions if one.cancelled_at is None and one.means(slo_id, component)]


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same time in as few spans as can be, in order of time; none of them touch."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        elif span.start < span.end:
            found.append(span)
    return tuple(found)


def within(start: datetime, end: datetime, excluded: Sequence[Span]) -> Iterator[Span]:
    """What of `excluded`, which is merged, lies between `start` and `end`."""
    for span in excluded:
        both = Span(max(start, span.start), min(end, span.end))
        if both.start < both.end:
            yield both


def remaining(start: datetime, end: datetime, excluded: Sequence[Span]) -> Iterator[Span]:
    """What of the time from `start` to `end` is left without `excluded`, which is merged."""
    at = start
    for span in within(start, end, excluded):
        if at < span.start:
            yield Span(at, span.start)
        at = span.end
    if at < end:
        yield Span(at, end)


def seconds_within(start: datetime, end: datetime, excluded: Sequence[Span]) -> int:
    """How many seconds between `start` and `end` are in `excluded`, which is merged."""
    return sum(int((span.end - span.start).total_seconds()) for span in within(start, end, excluded))

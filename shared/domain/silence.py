"""Silences: for a time, alerts that match are not told. A silence always ends, and says who made it and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.matcher import Labels, Matcher, all_match

LONGEST = timedelta(days=30)
AHEAD = timedelta(days=90)  # the latest beginning
MOST_MATCHERS = 20


@dataclass(frozen=True, slots=True)
class Silence:
    """In force from `starts_at` until before `ends_at`; `expired_at`: when a person ended it early, else None."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    created_at: datetime
    comment: str
    expired_at: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        return self.expired_at is None and self.starts_at <= now < self.ends_at

    def state(self, now: datetime) -> str:
        """Alertmanager's words: `pending` before it begins, `active`, `expired`."""
        if self.expired_at is not None or now >= self.ends_at:
            return "expired"
        return "pending" if now < self.starts_at else "active"

    def matches(self, labels: Labels) -> bool:
        return all_match(self.matchers, labels)


def matcher_faults(matchers: Sequence[Matcher]) -> list[str]:
    """Why these matchers are none for a silence: each could be sound by itself."""
    if not 1 <= len(matchers) <= MOST_MATCHERS:
        return [f"a silence has 1 to {MOST_MATCHERS} matchers"]
    if all(one.matches({}) for one in matchers):
        return ["these matchers hold for an alert without any label, so for nearly every one: name what is meant"]
    return []


def time_faults(starts_at: datetime, ends_at: datetime, now: datetime) -> list[tuple[str, str]]:
    """(field, message) of each fault."""
    faults = []
    if ends_at <= starts_at:
        faults.append(("endsAt", "must be later than `startsAt`"))
    elif ends_at <= now:
        faults.append(("endsAt", "is over already"))
    if ends_at - starts_at > LONGEST:
        faults.append(("endsAt", f"a silence lasts {LONGEST.days} days at most; what is quiet for longer is no alert"))
    if starts_at > now + AHEAD:
        faults.append(("startsAt", f"at most {AHEAD.days} days ahead"))
    return faults


def silenced_by(silences: Iterable[Silence], labels: Labels, now: datetime) -> Silence | None:
    """The silence that holds this alert back, the one that lasts longest if there are several."""
    found = [one for one in silences if one.in_force(now) and one.matches(labels)]
    return max(found, key=lambda one: (one.ends_at, one.id), default=None)

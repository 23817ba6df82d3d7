"""`config/notifications.json`: what is told together, told again, passed on, and held back.

Every part may be left out; `{}` is the policy that needs no attention.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from shared.domain.alert_policy import Channel, Severity
from shared.domain.inhibition import Inhibition
from shared.domain.matcher import Labels, Matcher, all_match, parse
from shared.domain.schedule import Schedule

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MOST_RULES = 100


def _seconds(value: Any) -> int:
    match = re.fullmatch(r"(\d{1,4})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a wait is a number with s, m, h or d, such as '30s' or '4h'")
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]]
    if seconds > 7 * 86_400:
        raise ValueError("a wait lasts 7 days at most")
    return seconds


def _matcher(value: Any) -> Matcher:
    return value if isinstance(value, Matcher) else parse(value)


Seconds = Annotated[int, BeforeValidator(_seconds)]
MatcherText = Annotated[Matcher, BeforeValidator(_matcher)]
Matchers = Annotated[tuple[MatcherText, ...], Field(max_length=20)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Grouping(_Frozen):
    """Notifications with the same values of `by` share a message.

    `wait`: from the first of a group until its message. `interval`: between messages that add to a group; what is more
    severe than all that the group has told waits for neither.
    """

    by: Annotated[tuple[str, ...], Field(max_length=10)] = ("component",)
    wait: Seconds = 0
    interval: Seconds = 240


class Storm(_Frozen):
    """Of more than `messages` on a channel within `window`, the rest becomes one summary a window. 0: no limit."""

    messages: Annotated[int, Field(ge=0, le=1000)] = 20
    window: Seconds = 600


class Escalation(_Frozen):
    """Where an alert goes that still fires and that nobody has acknowledged so long after it began."""

    after: Seconds
    channels: tuple[Channel, ...]

    @field_validator("after")
    @classmethod
    def _is_some_time(cls, after: int) -> int:
        if after < 60:
            raise ValueError("give people a minute at least")
        return after


class InhibitRule(_Frozen):
    name: Name
    source: Matchers
    target: Matchers
    equal: Annotated[tuple[str, ...], Field(max_length=10)] = ()

    @field_validator("source", "target")
    @classmethod
    def _names_something(cls, matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
        if not matchers:
            raise ValueError("at least one matcher: a side without any would mean every alert")
        return matchers

    @property
    def rule(self) -> Inhibition:
        return Inhibition(self.name, self.source, self.target, self.equal)


class Mute(_Frozen):
    """While `schedule` holds, alerts that match are not told on `channels` (on any, where there are none)."""

    schedule: Name
    matchers: Matchers = ()
    channels: tuple[Channel, ...] = ()

    def concerns(self, channel: str, labels: Labels) -> bool:
        return (not self.channels or channel in self.channels) and all_match(self.matchers, labels)


_REPEAT: dict[Severity, int] = {"critical": 4 * 3600, "high": 12 * 3600, "warning": 24 * 3600}
_ESCALATION: dict[Severity, tuple[Escalation, ...]] = {
    "critical": (Escalation.model_construct(after=900, channels=("email", "pagerduty")),)
}
_INHIBIT = (
    InhibitRule.model_validate(
        {
            "name": "outage-mutes-latency",
            "source": ['severity="critical"'],
            "target": ['metric=~".*latency.*"', 'severity!="critical"'],
            "equal": ["component"],
        }
    ),
    InhibitRule.model_validate(
        {
            "name": "page-mutes-threshold-and-ticket",
            "source": ['rule="page"'],
            "target": ['rule=~"threshold|ticket"'],
            "equal": ["sloId"],
        }
    ),
)


class NotificationPolicy(_Frozen):
    """`repeat`: after how long a firing alert is told again, by severity; a severity that is left out is not."""

    grouping: Grouping = Grouping()
    storm: Storm = Storm()
    repeat: dict[Severity, Seconds] = _REPEAT
    escalation: dict[Severity, tuple[Escalation, ...]] = _ESCALATION
    inhibit: Annotated[tuple[InhibitRule, ...], Field(max_length=MOST_RULES)] = _INHIBIT
    schedules: Annotated[tuple[Schedule, ...], Field(max_length=MOST_RULES)] = ()
    mutes: Annotated[tuple[Mute, ...], Field(max_length=MOST_RULES)] = ()

    @field_validator("repeat")
    @classmethod
    def _not_too_often(cls, repeat: dict[Severity, int]) -> dict[Severity, int]:
        hasty = [severity for severity, seconds in repeat.items() if seconds < 300]
        if hasty:
            raise ValueError(f"{', '.join(hasty)}: at least 5m, or people stop reading")
        return repeat

    @model_validator(mode="after")
    def _unambiguous(self) -> NotificationPolicy:
        known = Counter(schedule.name for schedule in self.schedules)
        names = Counter(rule.name for rule in self.inhibit)
        faults = [f"schedules: {name} is there {n} times" for name, n in known.items() if n > 1]
        faults += [f"inhibit: {name} is there {n} times" for name, n in names.items() if n > 1]
        faults += [
            f"mutes[{n}].schedule: there is no schedule {mute.schedule!r}"
            for n, mute in enumerate(self.mutes)
            if mute.schedule not in known
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def inhibitions(self) -> tuple[Inhibition, ...]:
        return tuple(rule.rule for rule in self.inhibit)

    def schedule(self, name: str) -> Schedule:
        return next(schedule for schedule in self.schedules if schedule.name == name)

"""Why an alert is not told now although it fires: every reason in one place, the most deliberate first.

Asked when a notification is made and again just before it is sent, since silences come and go in between. Only what
begins or goes on is held back. The end of what people were told is told in any case: nobody is left with a page that
never closes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.domain.inhibition import Inhibitors
from shared.domain.matcher import Labels
from shared.domain.notification_policy import NotificationPolicy
from shared.domain.silence import Silence, silenced_by

HELD_KINDS = ("trigger", "repeat")
ALWAYS_TOLD = (
    "watchdog",
    "dead_letters",
)  # rules about alerting itself: no silence or schedule may hide that it is broken


@dataclass(frozen=True, slots=True)
class Hold:
    """`reason`: silenced, inhibited, maintenance, mute_schedule, higher_threshold, or that of a switch. `by`: what
    holds it back.
    """

    reason: str
    by: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quiet:
    """What may hold alerts back at one moment. `maintained`: component → id of the maintenance in force."""

    policy: NotificationPolicy
    silences: Sequence[Silence] = ()
    maintained: Mapping[str, str] = field(default_factory=dict)

    def needs_firing(self, labels: Labels) -> bool:
        """Whether it must be known which other alerts fire."""
        return any(rule.concerns(labels) for rule in self.policy.inhibitions)

    def hold(self, channel: str, labels: Labels, firing: Inhibitors, now: datetime) -> Hold | None:
        """Why this alert is not told on this channel now, or None. `firing`: of all alerts that fire."""
        if labels.get("rule") in ALWAYS_TOLD:
            return None
        silence = silenced_by(self.silences, labels, now)
        if silence is not None:
            return Hold("silenced", silence.id, silence.ends_at)
        maintenance = self.maintained.get(labels.get("component", ""))
        if maintenance is not None:
            return Hold("maintenance", maintenance)
        for mute in self.policy.mutes:
            if mute.concerns(channel, labels) and self.policy.schedule(mute.schedule).covers(now):
                return Hold("mute_schedule", mute.schedule)
        found = firing.of(labels)
        return Hold("inhibited", found[1]) if found else None


def maintained(docs: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Component → id of a maintenance in force, from (id, document) of maintenances."""
    found: dict[str, str] = {}
    for name, data in docs:
        if data.get("status") in MAINTENANCE_IN_FORCE:
            for component in data.get("components") or ():
                found.setdefault(component, name)
    return found


MAINTENANCE_IN_FORCE: Collection[str] = ("in_progress", "verifying")

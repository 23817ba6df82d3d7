"""Whether a function that should run all the time still does. Functions watch each other: none can tell of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

PERIODS = {"alertRules": timedelta(minutes=5), "healthProbe": timedelta(minutes=1), "notifier": timedelta(minutes=1)}
WATCHES = {"notifier": ("alertRules", "healthProbe"), "alertRules": ("notifier",)}
SEVERITIES = {"alertRules": "critical", "healthProbe": "high", "notifier": "critical"}
LATE_AFTER = 2  # periods


@dataclass(frozen=True, slots=True)
class Watched:
    """A function, and when it last finished; None if it never did: it may not be deployed."""

    function: str
    finished_at: datetime | None

    def is_late(self, now: datetime) -> bool:
        return self.finished_at is not None and now - self.finished_at > LATE_AFTER * PERIODS[self.function]

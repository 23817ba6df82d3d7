"""functions.yaml as the local server needs it: every function, and the schedules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from cronsim import CronSim, CronSimError


@dataclass(frozen=True, slots=True)
class Function:
    """`schedule` is a cron expression in `zone`, None for functions that are not scheduled. `timeout` is in seconds."""

    id: str
    entry_point: str
    region: str
    timeout: int
    schedule: str | None
    zone: tzinfo

    @property
    def job(self) -> str:
        """The name of its Cloud Scheduler job, as the Firebase CLI gives it."""
        return f"firebase-schedule-{self.id}-{self.region}"

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """The times, later than `after`, at which the schedule is due."""
        return CronSim(self.schedule or "", after.astimezone(self.zone))


def load(path: Path) -> list[Function]:
    """Raises ValueError naming the function whose entry cannot be used."""
    manifest: dict[str, Any] = yaml.safe_load(path.read_text())
    return [_function(name, entry) for name, entry in manifest["endpoints"].items()]


def _function(name: str, entry: dict[str, Any]) -> Function:
    trigger = entry.get("scheduleTrigger") or {}
    schedule = trigger.get("schedule")
    zone_name = trigger.get("timeZone", "Etc/UTC")
    try:
        zone = UTC if zone_name in ("UTC", "Etc/UTC") else ZoneInfo(zone_name)
        function = Function(
            name, entry.get("entryPoint", name), entry["region"][0], entry["timeoutSeconds"], schedule, zone
        )
        if schedule is not None:
            function.ticks(datetime.now(UTC))
    except (CronSimError, KeyError, ValueError) as error:
        raise ValueError(f"functions.yaml: {name}: {type(error).__name__}: {error}") from error
    return function

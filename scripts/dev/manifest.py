"""The functions of the manifest, as `scripts.manifest` reads it, with the times at which their schedules are due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from scripts import manifest


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
    """Raises ValueError with every fault, or naming the function whose schedule is never due."""
    try:
        endpoints = manifest.load(path).endpoints
    except manifest.ManifestError as error:
        raise ValueError(str(error)) from error
    return [_function(name, endpoint) for name, endpoint in endpoints.items()]


def _function(name: str, endpoint: manifest.Endpoint) -> Function:
    trigger = endpoint.schedule_trigger
    schedule = trigger.schedule if trigger else None
    zone_name = trigger.time_zone if trigger else "Etc/UTC"
    try:
        zone = UTC if zone_name in ("UTC", "Etc/UTC") else ZoneInfo(zone_name)
        function = Function(name, endpoint.entry_point, endpoint.region[0], endpoint.timeout_seconds, schedule, zone)
        if schedule is not None:
            function.ticks(datetime.now(UTC))
    except (CronSimError, KeyError, ValueError) as error:
        raise ValueError(f"functions.yaml: {name}: {type(error).__name__}: {error}") from error
    return function

"""Calendar windows: from the beginning of the day, week, month or quarter, by the clocks of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict

Unit = Literal["day", "week", "month", "quarter"]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone such as Europe/Berlin") from None
    return name


class CalendarWindow(BaseModel):
    """Weeks begin on Monday, quarters in January, April, July and October."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calendar: Unit
    timeZone: Annotated[str, AfterValidator(_known_zone)] = "UTC"

    @property
    def usual_seconds(self) -> int:
        return {"day": 1, "week": 7, "month": 30, "quarter": 90}[self.calendar] * 86_400

    def start_of(self, end: datetime) -> datetime:
        """Where the window begins that `end` closes, or lies in; at the very turn it is the one that is over."""
        local = (end - timedelta(microseconds=1)).astimezone(_zone(self.timeZone))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        match self.calendar:
            case "day":
                start = midnight
            case "week":
                start = midnight - timedelta(days=midnight.weekday())
            case "month":
                start = midnight.replace(day=1)
            case "quarter":
                start = midnight.replace(day=1, month=(midnight.month - 1) // 3 * 3 + 1)
        return start.astimezone(UTC)


@lru_cache(maxsize=50)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)

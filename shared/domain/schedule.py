"""Schedules in local time, such as nights and weekends: Alertmanager's time intervals.

An interval holds while all that it names holds; a list holds while one of its entries does; what is not named always
does. What counts is what the clock on the wall says: a local hour that a change to summer time leaves out never comes,
one that comes twice in autumn counts both times.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = tuple(name.lower() or "(none)" for name in calendar.month_name)  # January is 1
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


def _minutes(value: Any) -> int:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a time of day is a text such as 09:30; 24:00 ends a day")
    return 1440 if match[1] is None else int(match[1]) * 60 + int(match[2])


def _range(value: Any, names: tuple[str, ...], highest: int, what: str) -> tuple[int, int]:
    """`monday:friday` or `saturday` as places in `names`, `6:8` as numbers from 1 to `highest`."""
    places = [_place(part, names) for part in value.lower().split(":")] if isinstance(value, str) else []
    low, high = (places * 2)[:2] if len(places) in (1, 2) else (-1, -1)
    if not 0 <= low <= high <= highest:
        raise ValueError(f"{what}, from the first to the last")
    return low, high


def _place(part: str, names: tuple[str, ...]) -> int:
    if part in names:
        return names.index(part)
    return int(part) if part.isascii() and part.isdecimal() and len(part) <= 4 and names is not WEEKDAYS else -1


def _weekdays(value: Any) -> tuple[int, int]:
    return _range(value, WEEKDAYS, 6, "weekdays are named such as saturday or monday:friday")


def _months(value: Any) -> tuple[int, int]:
    return _range(value, MONTHS, 12, "months are named such as december or 6:8")


def _years(value: Any) -> tuple[int, int]:
    return _range(value, (), 9999, "years are named such as 2026 or 2026:2028")


def _days(value: Any) -> tuple[int, int]:
    match = re.fullmatch(r"(-?\d{1,2})(?::(-?\d{1,2}))?", value) if isinstance(value, str) else None
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    sound = 1 <= abs(low) <= 31 and 1 <= abs(high) <= 31 and ((low < 0) > (high < 0) or low <= high)
    if not sound or (low > 0 > high and 31 + high + 1 < low):
        raise ValueError("days of the month are named such as 1:7, or -1 for the last, from the first to the last")
    return low, high


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Times(_Frozen):
    """From `from`, until before `to`, on the same day."""

    start: Annotated[int, BeforeValidator(_minutes)] = Field(alias="from")
    end: Annotated[int, BeforeValidator(_minutes)] = Field(alias="to")

    @field_validator("end")
    @classmethod
    def _is_later(cls, end: int, info: Any) -> int:
        if "start" in info.data and end <= info.data["start"]:
            raise ValueError("must be later than `from`, on the same day: split what goes over midnight in two")
        return end


class Interval(_Frozen):
    times: tuple[Times, ...] = ()
    weekdays: tuple[Annotated[tuple[int, int], BeforeValidator(_weekdays)], ...] = ()
    daysOfMonth: tuple[Annotated[tuple[int, int], BeforeValidator(_days)], ...] = ()
    months: tuple[Annotated[tuple[int, int], BeforeValidator(_months)], ...] = ()
    years: tuple[Annotated[tuple[int, int], BeforeValidator(_years)], ...] = ()

    def holds(self, local: datetime) -> bool:
        minute, last = local.hour * 60 + local.minute, calendar.monthrange(local.year, local.month)[1]

        def day(place: int) -> int:
            return place if place > 0 else last + 1 + place

        return (
            _in(self.weekdays, local.weekday())
            and _in(self.months, local.month)
            and _in(self.years, local.year)
            and _in(tuple((day(low), day(high)) for low, high in self.daysOfMonth), local.day)
            and _in(tuple((t.start, t.end - 1) for t in self.times), minute)
        )


def _in(ranges: tuple[tuple[int, int], ...], value: int) -> bool:
    return not ranges or any(low <= value <= high for low, high in ranges)


class Schedule(_Frozen):
    """Times when at least one interval holds, in the time zone `timeZone` (an IANA name)."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    timeZone: str
    intervals: tuple[Interval, ...]

    @field_validator("timeZone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not an IANA time zone, such as Europe/Zurich") from error
        return name

    @field_validator("intervals")
    @classmethod
    def _are_some(cls, intervals: tuple[Interval, ...]) -> tuple[Interval, ...]:
        if not 1 <= len(intervals) <= 50:
            raise ValueError("a schedule has 1 to 50 intervals")
        return intervals

    def covers(self, now: datetime) -> bool:
        """`now` in UTC."""
        local = now.astimezone(ZoneInfo(self.timeZone))
        return any(interval.holds(local) for interval in self.intervals)

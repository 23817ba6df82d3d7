"""Schedules in local time: Alertmanager's intervals, and what the two changes of the clock a year do to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.domain.schedule import Schedule


def schedule(zone: str = "Europe/Berlin", **interval: Any) -> Schedule:
    return Schedule.model_validate({"name": "quiet", "timeZone": zone, "intervals": [interval]})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def edges(found: Schedule, start: str, hours: int) -> list[tuple[str, bool]]:
    """When it begins and ends to hold, looked at every minute."""
    at, before, told = utc(start), found.covers(utc(start)), []
    for _ in range(hours * 60):
        at += timedelta(minutes=1)
        if found.covers(at) is not before:
            before = not before
            told.append((f"{at:%d %H:%M}", before))
    return told


NIGHT = {"times": [{"from": "01:30", "to": "04:00"}]}


@pytest.mark.parametrize(
    ("zone", "start", "expected"),
    [
        ("Europe/Berlin", "2026-03-28 12:00", [("29 00:30", True), ("29 02:00", False)]),  # 02:00 becomes 03:00
        ("Europe/Berlin", "2026-10-24 12:00", [("24 23:30", True), ("25 03:00", False)]),  # 03:00 becomes 02:00
        ("America/New_York", "2026-03-07 18:00", [("08 06:30", True), ("08 08:00", False)]),
        ("America/New_York", "2026-10-31 18:00", [  # 02:00 becomes 01:00: half past one comes twice
            ("01 05:30", True), ("01 06:00", False), ("01 06:30", True), ("01 09:00", False),
        ]),
        ("Australia/Lord_Howe", "2026-04-04 06:00", [  # back by half an hour, at 02:00
            ("04 14:30", True), ("04 17:30", False),
        ]),
        ("Australia/Lord_Howe", "2026-10-03 06:00", [("03 15:00", True), ("03 17:00", False)]),  # on by half an hour
        ("Asia/Kolkata", "2026-06-01 12:00", [("01 20:00", True), ("01 22:30", False)]),
    ],
)  # fmt: skip
def test_what_counts_is_the_clock_on_the_wall(zone: str, start: str, expected: list[tuple[str, bool]]) -> None:
    assert edges(schedule(zone, **NIGHT), start, 20) == expected


@pytest.mark.parametrize(
    ("interval", "yes", "no"),
    [
        ({"weekdays": ["saturday", "sunday"]}, "2026-03-01 12:00", "2026-03-02 12:00"),
        ({"weekdays": ["monday:friday"]}, "2026-03-02 12:00", "2026-03-01 12:00"),
        ({"months": ["december", "1:2"]}, "2026-02-28 12:00", "2026-03-01 12:00"),
        ({"daysOfMonth": ["-1"]}, "2026-02-28 12:00", "2026-02-27 12:00"),
        ({"daysOfMonth": ["1:7", "-3:-1"]}, "2026-04-28 12:00", "2026-04-27 12:00"),
        ({"years": ["2025:2026"]}, "2026-04-28 12:00", "2027-04-27 12:00"),
        ({"weekdays": ["sunday"], "times": [{"from": "09:00", "to": "24:00"}]}, "2026-03-01 22:59", "2026-03-01 23:00"),
        ({"weekdays": ["sunday"], "months": ["april"]}, "2026-04-05 12:00", "2026-03-01 12:00"),
    ],
)
def test_all_that_an_interval_names_must_hold(interval: dict[str, Any], yes: str, no: str) -> None:
    found = schedule(**interval)
    assert (found.covers(utc(yes)), found.covers(utc(no))) == (True, False)


@given(
    st.datetimes(
        utc("2024-01-01").replace(tzinfo=None), utc("2030-01-01").replace(tzinfo=None), timezones=st.just(UTC)
    ),
    st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin"]),
)
def test_a_day_cut_in_two_is_a_whole_day(at: datetime, zone: str) -> None:
    halves = [schedule(zone, times=[t]) for t in ({"from": "00:00", "to": "09:30"}, {"from": "09:30", "to": "24:00"})]
    assert sum(half.covers(at) for half in halves) == 1


@pytest.mark.parametrize(
    ("interval", "path"),
    [
        ({"times": [{"from": "22:00", "to": "06:00"}]}, ("intervals", 0, "times", 0, "to")),
        ({"times": [{"from": "9:00", "to": "10:00"}]}, ("intervals", 0, "times", 0, "from")),
        ({"weekdays": ["funday"]}, ("intervals", 0, "weekdays", 0)),
        ({"weekdays": ["friday:monday"]}, ("intervals", 0, "weekdays", 0)),
        ({"daysOfMonth": ["0"]}, ("intervals", 0, "daysOfMonth", 0)),
        ({"daysOfMonth": ["-1:-7"]}, ("intervals", 0, "daysOfMonth", 0)),
        ({"months": ["13"]}, ("intervals", 0, "months", 0)),
        ({"hours": ["1"]}, ("intervals", 0, "hours")),
    ],
)
def test_a_fault_is_told_with_its_path(interval: dict[str, Any], path: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        schedule(**interval)
    assert [error["loc"] for error in caught.value.errors()] == [path]


def test_a_zone_that_is_none_is_told() -> None:
    with pytest.raises(ValidationError, match="IANA"):
        schedule("Europe/Atlantis", weekdays=["monday"])

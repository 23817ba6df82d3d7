"""The history of components: exact seconds, nothing twice, and time without data is never up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.component import UptimePolicy
from shared.domain.history import DAYS, HELD, Record, advanced, five, known_since, shown, up_and_known

START = datetime(2026, 3, 10, 23, 58, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def played(*published: tuple[float, str]) -> tuple[Record, datetime]:
    """The record after publications at these seconds with these states, and the time of the last."""
    records: dict[str, Record] = {}
    last = None
    for seconds, state in published:
        records = advanced(records, {"API": (state, f"why {state}")}, last, at(seconds))
        last = at(seconds)
    assert last is not None
    return records["API"], last


def days_of(record: Record, now: datetime) -> dict[str, dict[str, int]]:
    found = shown(record, now)
    assert found is not None
    first = datetime.fromisoformat(found[0]).date()
    return {(first + timedelta(days=n)).isoformat(): day for n, day in enumerate(found[1])}


def test_seconds_go_to_the_utc_day_they_are_of() -> None:
    record, now = played((0, "operational"), (60, "operational"), (180, "degraded"), (240, "degraded"))
    days = days_of(record, now)
    assert days["2026-03-10"] == {"operational": 120, "unknown": 86_400 - 120}
    assert days["2026-03-11"] == {"operational": 60, "degraded": 60}


def test_there_are_90_days_with_today_as_the_last_and_all_of_them_are_accounted_for() -> None:
    record, now = played((0, "operational"), (200, "operational"))
    days = days_of(record, now)
    assert (len(days), list(days)[-1]) == (DAYS, "2026-03-11")
    assert [sum(day.values()) for day in days.values()] == [86_400] * (DAYS - 1) + [80]


def test_a_publication_that_comes_twice_counts_nothing_twice() -> None:
    once = played((0, "operational"), (60, "outage"), (120, "operational"))
    twice = played(
        *[(s, state) for s, state in [(0, "operational"), (60, "outage"), (120, "operational")] for _ in "12"]
    )
    assert once == twice


def test_a_record_says_why_the_state_began() -> None:
    record, _ = played((0, "operational"), (60, "outage"), (120, "outage"))
    assert (record["state"], record["reason"], record["since"]) == ("outage", "why outage", at(60))


def test_a_state_that_stays_changes_nothing_that_is_stored() -> None:
    first, _ = played((0, "operational"))
    assert played(*[(60 * n, "operational") for n in range(20)])[0] == first


def test_time_that_nobody_vouched_for_is_unknown() -> None:
    held = HELD.total_seconds()
    record, now = played((0, "operational"), (held + 300, "operational"), (held + 360, "operational"))
    day = days_of(record, now)
    assert sum(five(seconds)[0] for seconds in day.values()) == held + 60
    assert day["2026-03-11"]["unknown"] == 300


def test_without_the_snapshot_that_said_so_time_is_unknown_too() -> None:
    record, _ = played((0, "operational"))
    later = at(3600)
    records = advanced({"API": record}, {"API": ("operational", "answered")}, None, later)
    known = sum(five(seconds)[0] for seconds in days_of(records["API"], later).values())
    assert known == HELD.total_seconds()


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    record, now = played((0, "operational"), (100, "degraded"), (60, "operational"), (160, "operational"))
    assert days_of(record, now)["2026-03-11"] == {"operational": 40}
    assert days_of(record, now)["2026-03-10"]["operational"] == 120


def test_nothing_is_shown_of_a_component_of_which_nothing_is_known() -> None:
    record, now = played((0, "unknown"), (60, "unknown"))
    assert shown(record, now) is None


def test_days_that_are_over_90_days_old_go() -> None:
    record, _ = played((0, "operational"), (60, "outage"))
    later = at(91 * 86_400)
    records = advanced({"API": record}, {"API": ("operational", "answered")}, later - timedelta(minutes=1), later)
    assert min(records["API"]["days"]) == (later - timedelta(days=DAYS - 1)).date().isoformat()


def test_a_component_that_is_configured_no_more_goes() -> None:
    record, now = played((0, "operational"))
    assert advanced({"API": record}, {}, now, now) == {}


def test_a_record_says_since_when_something_is_known() -> None:
    record, now = played((0, "unknown"), (60, "unknown"), (90, "degraded"), (150, "operational"), (210, "unknown"))
    assert known_since(record, now) == at(90)


def test_nothing_is_known_since_any_time_before_the_first_answer() -> None:
    record, now = played((0, "unknown"), (60, "unknown"))
    assert known_since(record, now) is None
    assert played((0, "outage"))[0]["knownSince"] == at(0)


def test_what_is_known_since_before_the_days_that_are_kept_needs_no_since() -> None:
    record, _ = played((0, "operational"), (60, "outage"), (120, "operational"))
    assert known_since(record, at(DAYS * 86_400 - 86_400)) == at(0)
    assert known_since(record, at(DAYS * 86_400)) is None


def test_a_record_of_an_older_release_begins_with_the_first_day_that_it_has() -> None:
    days = {"2026-03-08": {"unknown": 5}, "2026-03-09": {"operational": 60, "unknown": 9}}
    record = {"state": "operational", "reason": "answered", "since": at(0), "days": days}
    assert known_since(record, at(60)) == datetime(2026, 3, 9, tzinfo=UTC)
    changed = advanced({"API": record}, {"API": ("outage", "timeout")}, at(0), at(60))["API"]
    assert changed["knownSince"] == datetime(2026, 3, 9, tzinfo=UTC)
    assert known_since({**record, "days": {}}, at(60)) == at(0)


@pytest.mark.parametrize(
    ("policy", "up", "known"),
    [
        ({}, 600, 700),
        ({"degraded": "down"}, 400, 700),
        ({"maintenance": "up"}, 900, 1000),
        ({"maintenance": "down"}, 600, 1000),
    ],
)
def test_what_counts_as_up_is_configured_and_unknown_time_is_never_up(policy: Any, up: int, known: int) -> None:
    day = {"operational": 400, "degraded": 200, "outage": 100, "maintenance": 300, "unknown": 5000}
    assert up_and_known([day], UptimePolicy.model_validate(policy)) == (up, known)


@given(
    st.lists(
        st.tuples(st.integers(0, 590_000_000), st.sampled_from(["operational", "degraded", "outage", "maintenance"])),
        min_size=1,
        max_size=60,
    )
)
def test_every_second_is_in_exactly_one_state(steps: list[tuple[int, str]]) -> None:
    """Steps of at most 590 s with parts of a second, so nothing is unknown."""
    time, published = 1.0, [(0.0, "operational"), (1.0, "degraded")]
    for microseconds, state in steps:
        time += microseconds / 1e6
        published.append((time, state))
    record, now = played(*published)
    seconds = [sum(column) for column in zip(*map(five, days_of(record, now).values()), strict=True)]
    assert sum(seconds[:4]) == int(now.timestamp()) - int(START.timestamp())

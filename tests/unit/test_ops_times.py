"""The times of `./ops` are in UTC, and say so, wherever the terminal stands."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from scripts.ops.__main__ import parser
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.incidents_api import Desk, desk
from tests.ops_api import ops_api
from tests.ops_cli import Ran, cli
from tests.unit.test_alerting import API, Watch
from tests.unit.test_incident_alerts import FIRST, broken, burning
from tests.unit.test_ops_alert_screen import arrived


@pytest.fixture(autouse=True)
def new_york() -> Iterator[None]:
    """A terminal four hours behind UTC."""
    with pytest.MonkeyPatch.context() as machine:
        machine.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def store(sqlite_store: SqliteStore) -> SqliteStore:
    """With alerts that fire, their incident, and a notification of it."""
    broken(Watch(sqlite_store, burning()), 0)
    arrived(sqlite_store, "one-1-inapp", 1, "API Availability: firing")
    return sqlite_store


@pytest.fixture
def on_call(store: SqliteStore) -> Iterator[Desk]:
    with desk(store) as found:
        yield found


def assert_in_utc(shown: Ran) -> None:
    hours = [int(hour) for hour in re.findall(r"2026-03-10 (\d\d):\d\d", shown.out)]
    assert hours, shown.out + shown.err
    assert min(hours) >= 11, "New York is at 8"
    assert "UTC" in shown.out


@pytest.mark.parametrize("command", [("list",), ("show", FIRST), ("audit", FIRST)])
def test_the_times_of_incidents(on_call: Desk, command: tuple[str, ...]) -> None:
    assert_in_utc(cli(on_call.ops, "incident", *command, width=200))


def test_the_times_of_maintenance_without_a_zone_come_back_as_they_were_typed(on_call: Desk) -> None:
    times = ("--from", "2026-03-10T13:00", "--to", "2026-03-10T14:00")
    planned = ("--title", "Move", "-m", "Slow.", "--component", "Database", *times, "--json")
    name = cli(on_call.ops, "maintenance", "plan", *planned).json["id"]
    assert "2026-03-10 13:00 to 2026-03-10 14:00 UTC" in cli(on_call.ops, "maintenance", "show", name).out
    head, listed = cli(on_call.ops, "maintenance", "list", width=200).lines
    assert "from (UTC)        until (UTC)" in head
    assert "2026-03-10 13:00  2026-03-10 14:00" in listed


@pytest.mark.parametrize(
    "command", ["alert list", f"alert why {API}", "silence list", "exclude list", "inbox", "notify list", "report"]
)
def test_the_times_of_alerts_and_of_what_is_told_of_them(store: SqliteStore, command: str) -> None:
    with ops_api(store, NOW) as ops:
        for given in (
            ("silence", "add", "--match", 'component="Auth"', "--minutes", "30", "--comment", "a test", "--yes"),
            ("exclude", "add", "--from", "2026-03-10T11:30", "--to", "2026-03-10T12:00", "--reason", "a test", "--yes"),
        ):
            done = cli(ops, *given)
            assert done.code == 0, done.err
        assert_in_utc(cli(ops, *command.split(), width=200))


def test_a_silence_that_has_ended_is_not_said_to_be_ended_anew(store: SqliteStore) -> None:
    with ops_api(store, NOW) as ops:
        given = ("--match", 'component="Auth"', "--minutes", "30", "--comment", "a test", "--yes", "--json")
        name = cli(ops, "silence", "add", *given).json["id"]
        assert cli(ops, "silence", "expire", name).out.startswith(f"Expired {name}.")
        assert cli(ops, "silence", "expire", name).out == f"{name} had ended already, at 2026-03-10 12:02 UTC.\n"


def test_a_time_of_an_incident_without_a_zone_comes_back_as_it_was_typed(on_call: Desk) -> None:
    edited = cli(on_call.ops, "incident", "edit", FIRST, "--started", "2026-03-10T11:40")
    assert edited.out.startswith(f"{FIRST}: critical, investigating, not public, began 2026-03-10 11:40 UTC.")


@pytest.mark.parametrize("name", ["incident", "maintenance", "exclude", "metrics", "report"])
def test_the_help_of_what_takes_a_time_says_utc(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([name, "--help"])
    assert "UTC unless it says" in " ".join(capsys.readouterr().out.split())

"""`python -m scripts.ops incident` as somebody on call has it: what it shows, asks and answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.store.sqlite import SqliteStore
from tests.incidents_api import Desk, desk
from tests.ops_cli import cli
from tests.unit.test_alerting import Watch
from tests.unit.test_incident_alerts import FIRST, broken, burning, well


@pytest.fixture
def watch(sqlite_store: SqliteStore) -> Watch:
    return Watch(sqlite_store, burning())


@pytest.fixture
def on_call(watch: Watch) -> Iterator[Desk]:
    """With an incident whose threshold and page fire."""
    broken(watch, 0)
    with desk(watch.store) as found:
        yield found


FIRING = "Still firing: api-availability-threshold, api-availability-page."


@pytest.mark.parametrize("move", [("resolve",), ("update", "-m", "It is over.", "--status", "resolved")])
def test_who_ends_what_still_fires_is_asked_and_told(on_call: Desk, move: tuple[str, ...]) -> None:
    command = ("incident", move[0], FIRST, *move[1:])
    asked = cli(on_call.ops, *command, typed="n\n")
    assert (asked.code, asked.out, on_call.incident(FIRST)["status"]) == (2, "", "investigating")
    assert asked.err.startswith(f"{FIRING}\n")
    assert "all the same: API Availability: error rate 50 %, threshold 0.5 %?" in asked.err
    done = cli(on_call.ops, *command, typed="y\n")
    assert (done.code, done.out) == (0, f"{FIRST}: critical, resolved, not public.\n{FIRING}\n")


def test_yes_asks_nothing_and_still_says_what_fires(on_call: Desk) -> None:
    done = cli(on_call.ops, "incident", "resolve", FIRST, "--yes", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["firingAlertIds"] == ["api-availability-threshold", "api-availability-page"]


def test_what_is_public_and_still_fires_is_asked_about_once(on_call: Desk) -> None:
    on_call.edit(FIRST, publicVisible=True, title="Some requests fail")
    asked = cli(on_call.ops, "incident", "resolve", FIRST, "-m", "All works.", typed="n\n")
    assert asked.err.startswith(
        f"{FIRING}\nResolve it all the same, for everybody to see: Some requests fail?\n  All works.\n [y/N]"
    )


def test_what_no_longer_fires_is_resolved_without_a_question(watch: Watch) -> None:
    watch.data["slos"][0]["alert"]["burn_rates"] = False
    broken(watch, 0)
    with desk(watch.store) as on_call:
        on_call.update(FIRST, "On it.")
        well(watch, 1)
        on_call.wait(minutes=6)
        done = cli(on_call.ops, "incident", "resolve", FIRST)
        assert (done.code, done.err, done.out) == (0, "", f"{FIRST}: critical, resolved, not public.\n")

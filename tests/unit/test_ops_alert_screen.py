"""`./ops alert` and `inbox` as somebody on call has them, against the real function."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from scripts.ops.screen import Screen, table
from shared.alerts.acknowledge import acknowledge
from shared.store.protocol import Create
from shared.store.sqlite import SqliteStore
from tests.core import NOW, Clock
from tests.incidents_api import desk
from tests.ops_api import Ops, ops_api
from tests.ops_cli import cli
from tests.unit.test_alerting import API, Watch
from tests.unit.test_incident_alerts import FIRST, PAGE, broken, burning, well

TICKET = "api-availability-ticket"


@pytest.fixture
def watch(sqlite_store: SqliteStore) -> Watch:
    """A threshold, a page and a ticket fire; the first two are of one incident."""
    watch = Watch(sqlite_store, burning())
    broken(watch, 0)
    return watch


@pytest.fixture
def ops(watch: Watch) -> Iterator[Ops]:
    with ops_api(watch.store, NOW) as ops:
        yield ops


def test_the_list_says_what_fires_since_when_who_has_it_and_what_comes(ops: Ops) -> None:
    cli(ops, "alert", "ack", TICKET)
    assert cli(ops, "alert", "list", width=140).lines == [
        f"{'alert':26}  state   severity  {'since (UTC)':16}  acknowledged by  {'passed on (UTC)':27}  incident",
        f"{PAGE:26}  firing  critical  2026-03-10 12:02  nobody           2026-03-10 12:17 (held now)  {FIRST}",
        f"{API:26}  firing  critical  2026-03-10 12:02  nobody           2026-03-10 12:17 (held now)  {FIRST}",
        f"{TICKET:26}  firing  warning   2026-03-10 12:02  local-admin      {'–':27}  –",
    ]
    found = cli(ops, "alert", "list", "--json").json
    assert [one["alertId"] for one in found["alerts"]] == [PAGE, API, TICKET]


def test_what_is_held_back_is_not_said_to_be_passed_on_in_the_past(ops: Ops) -> None:
    clock = ops.app.clock
    assert isinstance(clock, Clock)
    clock.now += timedelta(minutes=20)
    shown = cli(ops, "alert", "why", API).lines[-1]
    due = "passed on to pagerduty: due since 2026-03-10 12:17 UTC, held back: channel disabled"
    assert shown == f"next: {due}, repeated at 2026-03-10 16:02 UTC"
    listed = cli(ops, "alert", "list", width=140).lines
    assert "held back: channel disabled" in listed[2]
    (one,) = [one for one in cli(ops, "alert", "list", "--json").json["alerts"] if one["alertId"] == API]
    assert one["holds"]["pagerduty"]["reason"] == "channel_disabled"
    assert one["next"]["escalationDue"] is True


def test_of_what_fires_on_after_it_was_resolved_by_hand_it_says_when_it_is_told_again(watch: Watch) -> None:
    with desk(watch.store) as on_call:
        assert cli(on_call.ops, "incident", "resolve", FIRST, "--yes").code == 0
    over = watch.alert(PAGE)["resolvedByHandAt"]
    soon, why = f"{over + timedelta(hours=4):%Y-%m-%d %H:%M} UTC", "its incident was resolved, and it fires on"
    with ops_api(watch.store, NOW) as ops:
        assert (
            cli(ops, "alert", "why", PAGE).lines[-1] == f"next: told again at {soon} (held now: not configured): {why}"
        )
        assert (
            cli(ops, "alert", "why", API).lines[-1] == f"next: told again at {soon} (held now: not configured): {why}"
        )


def test_a_narrow_screen_keeps_what_matters_most(ops: Ops) -> None:
    heads = cli(ops, "alert", "list", width=80).lines[0]
    assert heads == "alert                       state   severity  since (UTC)       acknowledged by"
    lines = cli(ops, "alert", "list", width=60).lines
    assert all(len(line) <= 60 for line in lines)
    assert API in lines[2]


def test_taking_one_on_says_who_has_it_and_what_else_and_giving_it_back_whose_it_is_not(ops: Ops) -> None:
    done = cli(ops, "alert", "ack", API, "--note", "rolling back")
    assert done.out == (
        f"local-admin has {API} and what fires of its incident, {PAGE}: all are repeated and passed on no more.\n"
    )
    assert [line.split()[5] for line in cli(ops, "alert", "list").lines[1:3]] == ["local-admin"] * 2
    assert cli(ops, "alert", "ack", TICKET).out == f"local-admin has {TICKET}: it is repeated and passed on no more.\n"
    assert cli(ops, "alert", "unack", PAGE).out.startswith(f"Nobody has {PAGE} nor what fires of its incident, {API}:")


def test_a_firing_is_marked_false_and_the_mark_is_taken_back(ops: Ops) -> None:
    done = cli(ops, "alert", "false", TICKET, "--note", "a load test").out
    assert done.startswith(f"The firing of {TICKET} at 2026-03-10 12:02 UTC counts as false in the report.")
    assert "marked false by local-admin: a load test" in cli(ops, "alert", "why", TICKET).lines
    assert cli(ops, "alert", "false", TICKET, "--undo").out.endswith("counts as right.\n")
    assert "marked false" not in cli(ops, "alert", "why", TICKET).out


def test_who_was_slower_is_told_who_has_it(ops: Ops) -> None:
    acknowledge(ops.app.store, API, "ben", None, NOW)
    assert cli(ops, "alert", "ack", API).out.startswith(f"ben has {API} and what fires of its incident, {PAGE}:")


def test_why_says_who_was_told_who_has_it_and_what_comes_next(ops: Ops, watch: Watch) -> None:
    shown = cli(ops, "alert", "why", API).lines
    assert shown[:2] == [f"{API}: firing, threshold exceeded, since 2026-03-10 12:02 UTC", f"incident {FIRST}"]
    assert shown[3].split() == ["channel", "last", "state", "reason", "held", "now", "by"]
    to = "pagerduty (held now: channel disabled)"  # as shipped: nobody is to count on it
    assert shown[-1] == f"next: passed on to {to} at 2026-03-10 12:17 UTC, repeated at 2026-03-10 16:02 UTC"
    cli(ops, "alert", "ack", API, "--note", "rolling back")
    shown = cli(ops, "alert", "why", API).lines
    assert shown[1] == "acknowledged by local-admin at 2026-03-10 12:02 UTC: rolling back"
    assert shown[-1] == "next: nothing, since somebody has it; its end is told"
    for n in range(1, 30):
        well(watch, n)
    assert cli(ops, "alert", "why", API).lines[-1] == "next: nothing; it does not fire"
    assert cli(ops, "alert", "list").out == "Nothing.\n"
    assert API in cli(ops, "alert", "list", "--state", "resolved").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("alert", "ack"), "Name one: `alert ack ID`; `alert list` has them."),
        (("alert", "list", API), "`alert list` takes no id"),
        (("alert", "ack", API, "--undo"), "`alert unack` gives an alert back"),
        (("alert", "false", "nothing"), "no alert of this id ever began"),
        (("alert", "why", "nothing"), "no alert of this id ever began"),
        (("inbox", "read"), "`inbox read ID`, or `inbox read --all`"),
        (("inbox", "read", "x", "--all"), "`inbox read ID`, or `inbox read --all`"),
        (("inbox", "list", "x"), "takes no id"),
        (("inbox", "read", "nothing"), "there is none of this id; `./ops inbox` lists them"),
        (("costs", "--group-by", "user"), "usage: ./ops costs [-h] [--by"),
        (("inbox", "--limit", "0"), "limit: must be"),
    ],
)
def test_what_cannot_be_right_ends_in_2_and_says_what_is(ops: Ops, arguments: tuple[str, ...], said: str) -> None:
    wrong = cli(ops, *arguments)
    assert (wrong.code, wrong.out) == (2, "")
    assert said in wrong.err


def arrived(store: SqliteStore, name: str, minutes: int, title: str) -> None:
    at = NOW - timedelta(minutes=minutes)
    data = {"severity": "critical", "title": title, "createdAt": at, "arrivedAt": at, "expireAt": NOW + timedelta(1)}
    store.commit([Create(f"admin_notifications/{name}", {"notificationId": name, "kind": "trigger", **data})])


def test_the_inbox_is_listed_and_read_one_by_one_or_as_a_whole(sqlite_store: SqliteStore) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        assert cli(ops, "inbox").out == "Nothing has arrived.\n"
        assert cli(ops, "inbox", "read", "--all").out == "All is read.\n"
        for n, title in ((1, "API Availability: firing"), (2, "An escape \x1b[2J"), (3, "Post-mortem due")):
            arrived(sqlite_store, f"one-{n}-inapp", n, title)
        assert cli(ops, "inbox").out == (
            "arrived (UTC)          severity  id           what\n"
            "2026-03-10 12:01  new  critical  one-1-inapp  API Availability: firing\n"
            "2026-03-10 12:00  new  critical  one-2-inapp  An escape �[2J\n"
            "2026-03-10 11:59  new  critical  one-3-inapp  Post-mortem due\n"
            "\n"
            "3 unread.\n"
        )
        assert cli(ops, "inbox", "read", "one-2-inapp").out == "2 unread.\n"
        assert [line[18:21] for line in cli(ops, "inbox").lines[1:4]] == ["new", "   ", "new"]
        unread = cli(ops, "inbox", "list", "--unread", "--limit", "1")
        assert unread.lines[-1] == "2 unread. There are more: ask for more by --limit."
        assert cli(ops, "inbox", "read", "--all").out == "All is read.\n"
        assert cli(ops, "inbox", "--unread", "--json").json == {"notifications": [], "unread": 0, "cursor": None}


def test_on_a_narrow_screen_the_title_of_an_incident_outlives_what_matters_less(watch: Watch) -> None:
    with desk(watch.store) as on_call:
        for width, heads in (
            (110, ["id", "impact", "status", "seen", "started", "(UTC)", "took", "title"]),
            (100, ["id", "impact", "status", "seen", "started", "(UTC)", "title"]),
            (91, ["id", "impact", "status", "started", "(UTC)", "title"]),
            (80, ["id", "impact", "status", "title"]),
        ):
            head, first, *_ = cli(on_call.ops, "incident", "list", width=width).lines
            assert (head.split(), len(head) <= width, "API Availability" in first) == (heads, True, True)


def test_a_table_of_nothing_that_may_be_cut_leaves_columns_out() -> None:
    import io

    screen = Screen(io.StringIO(), 40, colours=False, braille=True)
    lines = table(screen, ["id", "at"], [["x" * 30, "y" * 30]], (), kept=(0, 1))
    assert lines == ["id", "x" * 30]

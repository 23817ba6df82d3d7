"""`./ops incident` as somebody on call has it: what it shows, asks and answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared.store.protocol import Merge
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.incidents_api import Desk, desk
from tests.ops_cli import cli
from tests.unit.test_alerting import IN_SLOT, SLOT, Watch
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


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Iterator[Desk]:
    """With nothing on record."""
    with desk(sqlite_store) as found:
        yield found


FIRING = "Still firing: api-availability-threshold, api-availability-page."
GOES_ON = " What goes on is told again and opens this anew: `alert why api-availability-threshold` says when."


@pytest.mark.parametrize("move", [("resolve",), ("update", "-m", "It is over.", "--status", "resolved")])
def test_who_ends_what_still_fires_is_asked_and_told(on_call: Desk, move: tuple[str, ...]) -> None:
    command = ("incident", move[0], FIRST, *move[1:])
    asked = cli(on_call.ops, *command, typed="n\n")
    assert (asked.code, asked.out, on_call.incident(FIRST)["status"]) == (2, "", "investigating")
    assert asked.err.startswith(f"{FIRING}\n")
    assert "all the same: API Availability: error rate 50 %, threshold 0.5 %?" in asked.err
    done = cli(on_call.ops, *command, typed="y\n")
    assert (done.code, done.out) == (0, f"{FIRST}: critical, resolved, not public.\n{FIRING}{GOES_ON}\n")


def test_yes_asks_nothing_and_still_says_what_fires(on_call: Desk) -> None:
    done = cli(on_call.ops, "incident", "resolve", FIRST, "--yes", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["firingAlertIds"] == ["api-availability-threshold", "api-availability-page"]


def test_what_is_public_and_still_fires_is_asked_about_once(on_call: Desk) -> None:
    on_call.edit(FIRST, publicVisible=True, title="Some requests fail")
    asked = cli(on_call.ops, "incident", "resolve", FIRST, "-m", "All works.", typed="n\n")
    assert asked.err.startswith(
        f"{FIRING}\nResolve it all the same, for everybody to see: Some requests fail?\n  All works.\n[y/N]"
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


def test_what_automation_wrote_for_the_team_is_told_from_what_the_public_reads(on_call: Desk) -> None:
    on_call.edit(FIRST, publicVisible=True)
    on_call.update(FIRST, "We are looking\ninto it.")
    shown = cli(on_call.ops, "incident", "show", FIRST, width=300).lines
    begin = shown.index(next(line for line in shown if line.startswith("time ")))
    entries = shown[begin + 1 : begin + 5]
    assert [" ".join(line.split()[:5]) for line in entries] == [
        "2026-03-10 12:02 investigating team f0-ops",
        "public Found by our monitoring.",
        "2026-03-10 12:02 investigating team f0-ops",
        "2026-03-10 12:02 investigating public local-admin",
    ]
    assert "Opened by the alert" in entries[0]
    assert entries[3].endswith("We are looking into it.")
    column = {line.index(word) for line, word in zip(entries, ("team", "public", "team", "public"), strict=True)}
    assert len(column) == 1  # text stands left, below its head


def test_a_change_of_what_it_is_stands_in_the_timeline(on_call: Desk) -> None:
    on_call.wait(minutes=1)
    on_call.edit(FIRST, title="Some requests fail", impact="high")
    on_call.edit(FIRST, rootCause=None)  # which changes nothing
    on_call.wait(minutes=1)
    on_call.update(FIRST, "On it.")
    on_call.wait(minutes=1)
    on_call.edit(FIRST, components=["API", "Auth"])
    on_call.edit(FIRST, components=[], impact="low")
    shown = cli(on_call.ops, "incident", "show", FIRST, width=300).lines
    changed = [" ".join(line.split()) for line in shown if " changed " in line]
    assert changed == [
        "2026-03-10 12:03 changed team local-admin title: API Availability: error rate 50 %, threshold 0.5 %"
        " → Some requests fail; impact: critical → high",
        "2026-03-10 12:05 changed team local-admin components: API → API, Auth",
        "2026-03-10 12:05 changed team local-admin impact: high → low; components: API, Auth → none",
    ]
    times = [line.split()[1] for line in shown if line.startswith("2026-")]
    assert times == sorted(times)


def test_who_made_it_visible_gave_it_a_runbook_or_corrected_a_time_stands_there_too(quick: Desk) -> None:
    name = quick.open()
    quick.wait(minutes=1)
    quick.edit(name, runbook="billing-outage", publicVisible=True)
    quick.edit(name, startedAt="2026-03-10T11:50:00Z")
    quick.update(name, "We know why.", "identified")  # whose time is not a change of its own
    shown = cli(quick.ops, "incident", "show", name, width=200)
    assert [" ".join(line.split()) for line in shown.lines if " changed " in line] == [
        "2026-03-10 12:03 changed team local-admin seen: internal → public; runbook: none → billing-outage",
        "2026-03-10 12:03 changed team local-admin started: 2026-03-10 12:02 UTC → 2026-03-10 11:50 UTC",
    ]
    assert shown.lines[-1] == f"every change of it: ./ops incident audit {name}"


def test_an_entry_is_corrected_by_a_later_one_that_names_it(quick: Desk) -> None:
    name = quick.open()
    quick.update(name, "Since 10:00.")
    correction = ("incident", "update", name, "-m", "Since 11:00.", "--corrects")
    assert cli(quick.ops, *correction, "1").code == 0
    refused = cli(quick.ops, *correction, "9")
    assert (refused.code, "corrects: there are entries 0 to 2" in refused.err) == (2, True)
    lines = [" ".join(line.split()) for line in cli(quick.ops, "incident", "show", name).lines]
    assert [line.partition("local-admin ")[2] for line in lines if "local-admin" in line and "hands" not in line] == [
        "0 We are looking into it.", "1 Since 10:00.", "2 corrects 1: Since 11:00.",
    ]  # fmt: skip


def test_when_it_began_and_moved_is_said_and_corrected_from_a_terminal(quick: Desk) -> None:
    opening = ("incident", "open", "--title", "Checkout fails", "--impact", "high", "--started", "2026-03-10T11:50Z")
    name = cli(quick.ops, *opening, "--json").json["id"]
    quick.update(name, "We know why.", "identified")
    quick.edit(name, publicVisible=True)
    times = ("--started", "2026-03-10T11:40Z", "--identified", "2026-03-10T11:55Z")
    asked = cli(quick.ops, "incident", "edit", name, *times, typed="y\n")
    assert "Change of Checkout fails: when it began, when it was identified?" in asked.err
    found = quick.incident(name)
    told = "high, identified, public, began 2026-03-10 11:40 UTC, identified 2026-03-10 11:55 UTC."
    assert asked.out.startswith(f"{name}: {told}")
    assert (found["startedAt"], found["identifiedAt"]) == ("2026-03-10T11:40:00Z", "2026-03-10T11:55:00Z")
    refused = cli(quick.ops, "incident", "edit", name, "--resolved", "2026-03-10T12:00Z", "--yes")
    assert (refused.code, "resolvedAt: the incident is identified" in refused.err) == (2, True)


def test_the_audit_log_is_a_table_of_who_did_what(quick: Desk) -> None:
    name = quick.open(impact="low")
    quick.post(f"/api/incidents/{name}/actions", {"title": "Watch it", "owner": "ada"}, 201)
    quick.wait(minutes=1)
    quick.post(f"/api/incidents/{name}/resolve", {"rootCause": "The secret expired."})
    head, *lines = [" ".join(line.split()) for line in cli(quick.ops, "incident", "audit", name, width=400).lines]
    assert head == "time (UTC) what who changed"
    assert lines == [
        "2026-03-10 12:02 opened local-admin title: Billing Outage; impact: low; status: investigating; components:"
        " Billing; seen: internal; started: 2026-03-10 12:02 UTC; in hand: local-admin; said: We are looking into it.",
        "2026-03-10 12:02 action item added local-admin to do: 1: Watch it (ada, open)",
        "2026-03-10 12:03 resolved local-admin status: investigating → resolved; resolved: none → 2026-03-10 12:03 UTC;"
        " cause: none → The secret expired.; in hand: local-admin → nobody;"
        " said: Normal service is restored. Resolved after 1 min.",
    ]
    assert [entry["n"] for entry in cli(quick.ops, "incident", "audit", name, "--json").json["audit"]] == [1, 2, 3]


def test_what_could_not_be_opened_is_not_asked_about(quick: Desk) -> None:
    opening = ("incident", "open", "--title", "Checkout fails", "--impact", "high", "--visible")
    refused = cli(quick.ops, *opening, "--component", "Biling", typed="y\n")
    assert (refused.code, refused.err.count("[y/N]"), "no such component" in refused.err) == (2, 0, True)
    asked = cli(quick.ops, *opening, "--component", "Billing", typed="n\n")
    assert asked.err.splitlines()[:4] == [
        "The status page will show:",
        "  Checkout fails",
        "  2026-03-10 12:02 UTC  We are looking into it.",
        "Open an incident that everybody can see? [y/N] ",
    ]
    assert quick.read("/api/incidents")["incidents"] == []


def test_what_nobody_sees_yet_is_opened_without_a_question(quick: Desk) -> None:
    opening = ("incident", "open", "--title", "Checkout fails", "--impact", "high", "-m", "Some fail.", "--public")
    assert (cli(quick.ops, *opening).err, cli(quick.ops, *opening).code) == ("", 0)


def test_all_changes_are_shown_however_many_there_are(sqlite_store: SqliteStore) -> None:
    with desk(sqlite_store) as on_call:
        name = on_call.open(impact="low")
        for n in range(205):
            on_call.edit(name, impact=("high", "low")[n % 2])
        shown = cli(on_call.ops, "incident", "show", name).lines
        assert sum(" changed " in line for line in shown) == 205


def test_the_same_span_reads_the_same_everywhere(watch: Watch) -> None:
    watch.data["slos"][0]["alert"]["burn_rates"] = False
    broken(watch, 0)
    watch.requests(1000, 0, IN_SLOT + SLOT)
    watch.run(NOW + SLOT - timedelta(seconds=31))
    with desk(watch.store, NOW + SLOT) as on_call:
        (entry,) = [u for u in on_call.incident(FIRST)["updates"] if u["status"] == "resolved"]
        assert entry["message"].startswith("The alert cleared after 4 min:")
        assert entry["publicMessage"].endswith("Resolved after 4 min.")
        assert "resolved after 4 min." in cli(on_call.ops, "incident", "show", FIRST).out
        assert cli(on_call.ops, "incident", "list").lines[1].split()[6:8] == ["4", "min"]


def test_which_alerts_still_fire_is_said(on_call: Desk) -> None:
    on_call.store.commit([Merge(f"incidents/{FIRST}", {"firingAlertIds": ["api-availability-page"]})])
    shown = cli(on_call.ops, "incident", "show", FIRST).out
    assert "alerts: api-availability-threshold, api-availability-page (firing)\n" in shown


def test_an_id_stands_left(on_call: Desk) -> None:
    name = on_call.open(title="A short id")
    lines = cli(on_call.ops, "incident", "list", width=300).lines
    assert sorted(line.split()[0] for line in lines[1:]) == sorted([FIRST, name])
    assert all(not line.startswith(" ") for line in lines)


def test_a_todo_says_what_was_stored(on_call: Desk) -> None:
    def todo(*arguments: str) -> str:
        return cli(on_call.ops, "incident", "todo", FIRST, *arguments).out

    assert todo("--title", "Watch the age of secrets", "--owner", "ada", "--due", "2031-01-31") == (
        f"{FIRST}, to do 1: Watch the age of secrets (ada, due 2031-01-31, open).\n"
    )
    assert todo("--title", "Write it down") == f"{FIRST}, to do 2: Write it down (nobody, open).\n"
    assert todo("--item", "1", "--state", "in_progress") == (
        f"{FIRST}, to do 1: Watch the age of secrets (ada, due 2031-01-31, in progress).\n"
    )
    assert "to do 2: Write it down (nobody, open)" in cli(on_call.ops, "incident", "show", FIRST).out
    gone = cli(on_call.ops, "incident", "todo", FIRST, "--item", "9", "--state", "done")
    assert (gone.code, "no action item of this number" in gone.err) == (2, True)


def test_where_the_public_sees_it_the_address_is_told(on_call: Desk) -> None:
    """The page of what an alert opened does not give away the alert's name."""
    hidden = cli(on_call.ops, "incident", "show", FIRST)
    assert "http" not in hidden.out
    on_call.edit(FIRST, publicVisible=True, title="Some requests fail")
    page = on_call.incident(FIRST)["publicUrl"]
    assert re.fullmatch(r"https?://[^/]+/status/incidents/[0-9a-f]{20}", page)
    for command in (("show", FIRST), ("list",), ("update", FIRST, "-m", "On it.", "--yes")):
        assert page in cli(on_call.ops, "incident", *command, width=60).out
    on_call.wait(days=1)
    on_call.update(FIRST, "All works.", "resolved")
    assert on_call.incident(FIRST)["publicUrl"] == page
    on_call.wait(days=91)
    assert on_call.incident(FIRST)["publicUrl"] is None


def test_what_the_public_will_read_is_shown_before_an_incident_is_made_visible(sqlite_store: SqliteStore) -> None:
    with desk(sqlite_store) as on_call:
        name = on_call.open()
        on_call.post(f"/api/incidents/{name}/updates", {"message": "Some payments fail.", "public": True}, 201)
        on_call.post(f"/api/incidents/{name}/updates", {"message": "It is the key again."}, 201)
        asked = cli(on_call.ops, "incident", "edit", name, "--visible", "--title", "Payments", typed="n\n")
        assert asked.code == 2
        assert asked.err.splitlines()[:4] == [
            "The status page will show:",
            "  Payments",
            "  2026-03-10 12:02 UTC  Some payments fail.",
            "Everybody can see that. Change of Billing Outage: the title, who sees it? [y/N] ",
        ]
        assert not on_call.incident(name)["publicVisible"]

"""Planned maintenance over real sockets on both stores: its life, by hand and by time, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import maintenance
from shared.domain.timeline import Refused
from shared.incidents.maintenances import advance
from shared.slo.exclusions import EXCLUSIONS, exclusions_of
from shared.store.protocol import Store, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.incidents_api import Desk, desk
from tests.ops_cli import cli

MOVE = {
    "title": "Database move", "message": "Reads may be slow.", "components": ["Database"],
    "scheduledFor": "2026-03-10T13:00:00Z", "scheduledUntil": "2026-03-10T15:00:00Z",
}  # fmt: skip
BEGIN, END = (datetime(2026, 3, 10, hour, tzinfo=UTC) for hour in (13, 15))


@pytest.fixture
def on_call(store: Store) -> Iterator[Desk]:
    with desk(store) as found:
        yield found


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Iterator[Desk]:
    with desk(sqlite_store) as found:
        yield found


def plan(desk: Desk, **changes: Any) -> str:
    return str(desk.post("/api/maintenances", {**MOVE, **changes}, 201)["id"])


def at(desk: Desk, now: datetime) -> int:
    desk.ops.app.clock.now = now  # type: ignore[attr-defined]
    return advance(desk.store, now)


def read(desk: Desk, name: str) -> Any:
    return desk.read(f"/api/maintenances/{name}")


def in_force(desk: Desk) -> list[tuple[datetime, datetime]]:
    found = exclusions_of(desk.store.get(EXCLUSIONS))
    return [tuple(one.span) for one in found if one.cancelled_at is None]


def test_it_begins_and_ends_by_itself_at_the_times_that_were_planned(on_call: Desk) -> None:
    name = plan(on_call, publicVisible=True)
    assert [m["status"] for m in on_call.public()["maintenances"]] == ["scheduled"]
    assert at(on_call, BEGIN - timedelta(seconds=1)) == 0
    assert at(on_call, BEGIN + timedelta(seconds=40)) == 1
    assert (read(on_call, name)["status"], read(on_call, name)["startedAt"]) == ("in_progress", "2026-03-10T13:00:00Z")
    assert at(on_call, END - timedelta(seconds=1)) == 0
    assert at(on_call, END + timedelta(minutes=9)) == 1
    ended = read(on_call, name)
    assert (ended["status"], ended["completedAt"], ended["allowed"]) == ("completed", "2026-03-10T15:00:00Z", [])
    assert [(u["status"], u["author"], u["message"]) for u in ended["updates"][1:]] == [
        ("in_progress", "f0-ops", "Begun as planned."), ("completed", "f0-ops", "Its time is over."),
    ]  # fmt: skip
    assert at(on_call, END + timedelta(days=1)) == 0
    audit = on_call.read(f"/api/maintenances/{name}/audit")["audit"]
    assert [(e["n"], e["action"], e["by"] == "f0-ops") for e in audit] == [
        (1, "planned", False), (2, "moved_by_time", True), (3, "moved_by_time", True),
    ]  # fmt: skip


def test_who_looks_only_after_its_end_finds_both_moves_at_their_times(quick: Desk) -> None:
    name = plan(quick)
    assert at(quick, END + timedelta(hours=5)) == 1
    found = read(quick, name)
    assert (found["startedAt"], found["completedAt"]) == ("2026-03-10T13:00:00Z", "2026-03-10T15:00:00Z")
    assert [u["timestamp"][11:16] for u in found["updates"]] == ["12:02", "13:00", "15:00"]


def test_people_begin_verify_and_complete_it_when_they_like(on_call: Desk) -> None:
    name = plan(on_call, publicVisible=True)
    path = f"/api/maintenances/{name}/updates"
    on_call.post(path, {"message": "We begin early.", "status": "in_progress"}, 201)
    on_call.wait(minutes=30)
    verifying = on_call.post(path, {"message": "Moved, we look.", "status": "verifying"}, 201)
    assert verifying["allowed"] == ["in_progress", "completed"]
    (shown,) = on_call.public()["maintenances"]
    assert (shown["status"], len(shown["updates"])) == ("verifying", 3)
    done = on_call.post(path, {"message": "All is well.", "status": "completed"}, 201)
    assert (done["startedAt"], done["completedAt"]) == ("2026-03-10T12:02:30Z", "2026-03-10T12:32:30Z")
    assert at(on_call, END) == 0


def test_one_that_is_extended_goes_on_and_says_so(quick: Desk) -> None:
    name = plan(quick)
    at(quick, END - timedelta(minutes=1))
    path = f"/api/maintenances/{name}"
    longer = quick.call("PATCH", path, {"scheduledUntil": "2026-03-10T16:30:00Z"}, If_Match="*").json
    assert longer["updates"][-1]["message"] == "Now planned until 2026-03-10 16:30 UTC."
    assert at(quick, END + timedelta(minutes=1)) == 0
    assert read(quick, name)["status"] == "in_progress"
    at(quick, END + timedelta(minutes=90))
    assert read(quick, name)["completedAt"] == "2026-03-10T16:30:00Z"


def test_a_move_that_is_not_allowed_is_told_with_those_that_are(quick: Desk) -> None:
    name = plan(quick)
    path = f"/api/maintenances/{name}/updates"
    refused = quick.post(path, {"message": "x", "status": "verifying"}, 409)
    assert (refused["code"], refused["allowed"]) == ("move_not_allowed", ["in_progress", "cancelled"])
    quick.post(path, {"message": "Not today.", "status": "cancelled"}, 201)
    assert quick.post(path, {"message": "x", "status": "in_progress"}, 409)["allowed"] == []
    assert at(quick, END) == 0
    late = quick.call("PATCH", f"/api/maintenances/{name}", {"scheduledFor": MOVE["scheduledUntil"]}, 409, If_Match="*")
    assert late.json["code"] == "move_not_allowed"
    assert quick.post("/api/maintenances/none/updates", {"message": "x"}, 404)["code"] == "unknown_maintenance"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scheduledUntil": MOVE["scheduledFor"]}, "scheduledUntil"),
        ({"scheduledFor": "2026-03-10T09:00:00Z", "scheduledUntil": "2026-03-10T10:00:00Z"}, "scheduledUntil"),
        ({"scheduledUntil": "2026-04-10T15:00:00Z"}, "scheduledUntil"),
        ({"scheduledFor": "2028-03-10T13:00:00Z", "scheduledUntil": "2028-03-10T15:00:00Z"}, "scheduledFor"),
        ({"components": []}, "components"),
        ({"components": ["Moon"]}, "components[0]"),
        ({"message": " "}, "message"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_its_field(quick: Desk, changes: dict[str, Any], field: str) -> None:
    refused = quick.post("/api/maintenances", {**MOVE, **changes}, 400)
    assert [error["path"] for error in refused["errors"]] == [field]


def test_no_fault_of_a_maintenance_hides_another(quick: Desk) -> None:
    wrong = {"title": "", "components": ["Moon"], "scheduledFor": "2026-03-12T12:00:00Z",
             "scheduledUntil": "2026-03-11T12:00:00Z"}  # fmt: skip
    refused = quick.post("/api/maintenances", {**wrong, "message": "m"}, 400)
    assert [e["path"] for e in refused["errors"]] == ["title", "components[0]", "scheduledUntil"]
    far = {**wrong, "scheduledFor": "2028-03-12T12:00:00Z", "scheduledUntil": "2026-03-01T12:00:00Z", "message": 1}
    told = [e["path"] for e in quick.post("/api/maintenances", far, 400)["errors"]]
    assert told == ["title", "message", "components[0]", "scheduledUntil", "scheduledFor"]
    name = plan(quick)
    refused = quick.call("PATCH", f"/api/maintenances/{name}", wrong, 400, If_Match="*").json
    assert [e["path"] for e in refused["errors"]] == ["title", "components[0]", "scheduledUntil"]


def test_a_preview_checks_what_would_be_planned_shows_it_and_stores_nothing(quick: Desk) -> None:
    before = quick.store.meter.snapshot()
    seen = quick.post("/api/maintenances/preview", MOVE, 200)
    assert (seen["id"], seen["audit"], seen["status"]) == (None, None, "scheduled")
    assert [u["message"] for u in seen["updates"]] == ["Reads may be slow."]
    wrong = {**MOVE, "components": ["Moon"], "scheduledUntil": MOVE["scheduledFor"]}
    refused = [quick.post(path, wrong, 400)["errors"] for path in ("/api/maintenances/preview", "/api/maintenances")]
    assert refused[0] == refused[1]
    assert [e["path"] for e in refused[0]] == ["components[0]", "scheduledUntil"]
    assert quick.store.meter.since(before).writes == 0


PLAN = ("maintenance", "plan", "--title", "Database move", "-m", "Reads may be slow.", "--component", "Database")


def test_what_could_not_be_planned_is_not_asked_about(quick: Desk) -> None:
    late = ("--from", "2026-03-10T11:00Z", "--to", "2026-03-10T11:30Z", "--visible")
    refused = cli(quick.ops, *PLAN, *late, typed="y\n")
    assert (refused.code, refused.err.count("[y/N]"), "must be in the future" in refused.err) == (2, 0, True)
    asked = cli(quick.ops, *PLAN, "--from", "2026-03-10T13:00Z", "--to", "2026-03-10T15:00Z", "--visible", typed="n\n")
    assert asked.err.splitlines()[:4] == [
        "The status page will show:",
        "  Database move, 2026-03-10 13:00 to 2026-03-10 15:00 UTC, Database",
        "  Reads may be slow.",
        "Announce it on the status page? [y/N] ",
    ]
    assert quick.read("/api/maintenances")["maintenances"] == []


def test_a_move_that_is_refused_is_not_asked_about(quick: Desk) -> None:
    name = plan(quick, publicVisible=True)
    refused = cli(quick.ops, "maintenance", "complete", name)
    assert (refused.code, refused.err.count("[y/N]"), "allowed: in_progress" in refused.err) == (2, 0, True)
    assert "Begin Database move" in cli(quick.ops, "maintenance", "begin", name, typed="n\n").err


def test_one_is_shown_with_its_timeline_its_next_moves_and_who_changed_it(quick: Desk) -> None:
    name = plan(quick)
    quick.wait(minutes=1)
    quick.post(f"/api/maintenances/{name}/updates", {"message": "Early.", "status": "in_progress"}, 201)
    shown = [" ".join(line.split()) for line in cli(quick.ops, "maintenance", "show", name).lines]
    assert shown == [
        "Database move",
        "in progress, 2026-03-10 12:03 to 2026-03-10 15:00 UTC, for the team only.",
        "Database.",
        "",
        "time (UTC) status for who message",
        "2026-03-10 12:02 scheduled team local-admin Reads may be slow.",
        "2026-03-10 12:03 in progress team local-admin Early.",
        "",
        "next: verify, complete",
        f"every change of it: ./ops maintenance audit {name}",
    ]
    audit = [" ".join(line.split()) for line in cli(quick.ops, "maintenance", "audit", name, width=400).lines]
    assert audit[2] == (
        "2026-03-10 12:03 updated local-admin"
        " status: scheduled → in progress; started: none → 2026-03-10 12:03 UTC; said: Early."
    )
    assert len(quick.read(read(quick, name)["audit"])["audit"]) == len(audit) - 1


def test_its_time_is_taken_out_of_the_slos_if_that_is_wanted_and_follows_its_end(on_call: Desk) -> None:
    plan(on_call)
    assert in_force(on_call) == []
    name = plan(on_call, excludeFromSlos=True)
    assert in_force(on_call) == [(BEGIN, END)]
    (one,) = exclusions_of(on_call.store.get(EXCLUSIONS))
    assert (one.components, one.reason) == (("Database",), "maintenance: Database move")
    at(on_call, BEGIN)
    path = f"/api/maintenances/{name}"
    on_call.call("PATCH", path, {"scheduledUntil": "2026-03-10T16:00:00Z"}, If_Match="*")
    assert in_force(on_call) == [(BEGIN, END + timedelta(hours=1))]
    at(on_call, BEGIN + timedelta(minutes=31))
    on_call.post(f"{path}/updates", {"message": "Done.", "status": "completed"}, 201)
    assert in_force(on_call) == [(BEGIN, BEGIN + timedelta(minutes=35))]
    version = on_call.store.get(EXCLUSIONS)
    at(on_call, END + timedelta(days=1))
    assert on_call.store.get(EXCLUSIONS) == version
    on_call.call("PATCH", path, {"excludeFromSlos": False}, If_Match="*")
    assert in_force(on_call) == []


def test_one_that_is_over_is_listed_with_when_it_did_begin_and_end(quick: Desk) -> None:
    over, planned = plan(quick), plan(quick, scheduledFor="2026-03-11T13:00:00Z", scheduledUntil="2026-03-11T15:00:00Z")
    for status in ("in_progress", "completed"):
        quick.wait(minutes=10)
        quick.post(f"/api/maintenances/{over}/updates", {"message": "m", "status": status}, 201)
    listed = {line.split()[0]: " ".join(line.split()[1:6]) for line in cli(quick.ops, "maintenance", "list").lines}
    assert listed[over] == "completed 2026-03-10 12:12 2026-03-10 12:22"
    assert listed[planned] == "scheduled 2026-03-11 13:00 2026-03-11 15:00"


def test_a_cancelled_one_excludes_nothing(quick: Desk) -> None:
    name = plan(quick, excludeFromSlos=True)
    quick.post(f"/api/maintenances/{name}/updates", {"message": "Not today.", "status": "cancelled"}, 201)
    assert in_force(quick) == []


class Breaks:
    """A store that fails from its nth commit on."""

    def __init__(self, store: Any, left: int) -> None:
        self._store, self.left = store, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, writes: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("gone")
        self._store.commit(writes)


@pytest.mark.parametrize("commits", range(4))
def test_wherever_it_breaks_off_the_next_run_brings_it_to_the_same_end(quick: Desk, commits: int) -> None:
    name = plan(quick, excludeFromSlos=True)
    quick.call("PATCH", f"/api/maintenances/{name}", {"scheduledUntil": "2026-03-10T14:00:00Z"}, If_Match="*")
    now = END + timedelta(minutes=1)
    advance(Breaks(quick.store, commits), now)  # type: ignore[arg-type]
    at(quick, now)
    assert at(quick, now) == 0
    assert read(quick, name)["status"] == "completed"
    assert len(read(quick, name)["updates"]) == 3
    assert in_force(quick) == [(BEGIN, END - timedelta(hours=1))]


def test_those_that_begin_last_come_first(on_call: Desk) -> None:
    first = plan(on_call)
    second = plan(on_call, scheduledFor="2026-03-10T14:00:00Z")
    third = plan(on_call, scheduledFor="2026-03-10T12:30:00Z")
    pages = on_call.read("/api/maintenances", limit=2)
    more = on_call.read("/api/maintenances", limit=2, cursor=pages["cursor"])
    assert [m["id"] for m in (*pages["maintenances"], *more["maintenances"])] == [second, first, third]
    on_call.post(f"/api/maintenances/{third}/updates", {"message": "x", "status": "in_progress"}, 201)
    (running,) = on_call.read("/api/maintenances", status="in_progress")["maintenances"]
    assert (running["id"], more["cursor"]) == (third, None)


def test_a_key_plans_once_and_two_people_do_not_overwrite_each_other(quick: Desk) -> None:
    first, again = (quick.call("POST", "/api/maintenances", MOVE, Idempotency_Key="k") for _ in range(2))
    assert (first.status, again.status, first.json["id"]) == (201, 200, again.json["id"])
    path, seen = f"/api/maintenances/{first.json['id']}", again.headers["ETag"]
    quick.call("PATCH", path, {"title": "One"}, If_Match=seen)
    assert quick.call("PATCH", path, {"title": "Two"}, 412, If_Match=seen).json["code"] == "version_changed"
    assert quick.call("PATCH", path, {"title": "Two"}, 428).json["code"] == "precondition_required"


@given(
    st.lists(
        st.tuples(st.sampled_from(("time", *maintenance.STATUSES)), st.integers(min_value=0, max_value=3600)),
        max_size=20,
    )
)
def test_whatever_is_asked_of_it_its_times_and_entries_stay_in_order(steps: list[tuple[str, int]]) -> None:
    now = NOW
    data = maintenance.planned("t", "m", ["API"], BEGIN, END, "ada", now)
    for what, seconds in steps:
        now += timedelta(seconds=seconds)
        refused: Refused | None = None
        try:
            moved = maintenance.due(data, now) if what == "time" else None
            data = moved or (
                data if what == "time" else maintenance.updated(data, "m", "ada", now, status=what, public=None)
            )
        except Refused as refusal:
            refused = refusal
        assert refused is None or what not in refused.allowed
        stamps = [update["timestamp"] for update in data["updates"]]
        assert stamps == sorted(stamps)
        assert (data["startedAt"] is None) == (data["status"] in ("scheduled", "cancelled"))
        assert (data["completedAt"] is None) == (data["status"] != "completed")
        if data["completedAt"]:
            assert data["startedAt"] <= data["completedAt"]
        assert (maintenance.next_move(data) is None) == (not maintenance.ALLOWED[data["status"]])

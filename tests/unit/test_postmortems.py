"""Post-mortems over real sockets: the draft as a golden file, the edited one, its reminders; how long things took."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from shared.domain.incident import new_incident
from shared.domain.incident_stats import life_of, means
from shared.domain.postmortem import Burnt, plain, with_items, written
from shared.incidents.postmortems import remind
from shared.store.protocol import Create, Query, Store, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.incidents_api import Desk, desk
from tests.ops_api import ops_api
from tests.ops_cli import cli
from tests.unit.test_alerting import API, Watch
from tests.unit.test_incident_alerts import broken, well

GOLDEN = Path(__file__).parent / "golden" / "postmortem.md"


@pytest.fixture
def on_call(store: Store) -> Iterator[Desk]:
    with desk(store) as found:
        yield found


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Iterator[Desk]:
    with desk(sqlite_store) as found:
        yield found


def test_the_draft_of_an_incident_that_an_alert_opened_is_good_enough_to_edit(store: Store) -> None:
    watch = Watch(store)
    broken(watch, 0)
    name = f"{API}-1"
    with desk(store, NOW + timedelta(minutes=2)) as on_call:
        on_call.update(name, "Every order fails since the | release of 12:00.\n- rolled back?", "identified")
        on_call.wait(minutes=2)
        on_call.update(name, "Rolled back to 3f2a9c1b.", "mitigating")
        well(watch, 1)
        on_call.wait(minutes=6)
        on_call.post(f"/api/incidents/{name}/resolve", {"rootCause": "A release without *its* migration."})
        on_call.post(f"/api/incidents/{name}/actions", {"title": "Refuse such a release", "owner": "ada"}, 201)
        on_call.post(
            f"/api/incidents/{name}/actions", {"title": "Alert sooner", "dueAt": "2026-03-20T00:00:00Z"}, 201
        )  # fmt: skip
        draft = on_call.read(f"/api/incidents/{name}/postmortem")
        assert (draft["state"], draft["dueAt"], draft["overdue"]) == ("generated", "2026-03-12T12:12:30Z", False)
        if os.environ.get("WRITE_GOLDEN"):
            GOLDEN.write_text(draft["markdown"])
        assert draft["markdown"] == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (Fraction(0), "0.0 % of the budget of 30 days"),
        (Fraction(1, 10_000), "less than 0.1 % of the budget of 30 days"),
        (Fraction(452, 1000), "45.2 % of the budget of 30 days"),
        (Fraction(1999, 1000), "199.9 % of the budget of 30 days"),
        (Fraction(1200), "1,200 × the budget of 30 days"),
        (Fraction(70_743, 1000), "70.7 × the budget of 30 days"),
        (None, "no budget"),
    ],
)
def test_the_budget_burnt_is_told_as_messages_tell_it(share: Fraction | None, told: str) -> None:
    incident = new_incident("Orders fail", "high", ["API"], NOW)
    burnt = Burnt("API Availability", "99.5 %", "30 days", 7, 1000, share)
    draft = written("i-1", incident, [], life_of(incident, NOW), [burnt], [])
    assert f"| API Availability | 99.5 % | 7 of 1,000 | {told} |" in draft


def test_what_people_wrote_cannot_become_markup() -> None:
    assert plain("# a\n- b | c\n1. d <script> [x](y) `z`") == (
        "\\# a\n\\- b \\| c\n\\1. d \\<script\\> \\[x\\](y) \\`z\\`"
    )


def whole(draft: str) -> str:
    """With something in the place of each text in italics, but for that of the action items."""
    return re.sub(r"_[A-Z…][^_\n]*_", "The moon.", draft)


def test_what_is_left_of_a_draft_keeps_it_due_and_is_named(on_call: Desk) -> None:
    name = on_call.open(impact="high")
    on_call.post(f"/api/incidents/{name}/resolve")
    path = f"/api/incidents/{name}/postmortem"
    draft = on_call.call("GET", path)
    assert draft.json["unwritten"] == ["Summary", "Impact", "Detection", "Root cause", "Lessons"]
    kept = on_call.call("PUT", path, {"markdown": draft.json["markdown"]}, If_Match=draft.headers["ETag"])
    assert (kept.json["state"], kept.json["writtenAt"]) == ("edited", None)
    assert on_call.incident(name)["postmortemState"] == "due"
    assert remind(on_call.store, NOW + timedelta(hours=25)) == 1
    half = whole(draft.json["markdown"].partition("## Root cause")[0]) + "## Root cause\n\nThe moon.\n- Lucky: _…_\n"
    kept = on_call.call("PUT", path, {"markdown": half}, If_Match="*")
    assert (kept.json["unwritten"], kept.json["writtenAt"]) == (["Root cause"], None)
    kept = on_call.call("PUT", path, {"markdown": whole(draft.json["markdown"])}, If_Match="*")
    assert (kept.json["unwritten"], kept.json["writtenAt"]) == ([], "2026-03-10T12:02:30Z")
    assert on_call.incident(name)["postmortemState"] == "written"
    assert remind(on_call.store, NOW + timedelta(hours=49)) == 0


def test_who_writes_a_part_is_told_what_is_left(quick: Desk, tmp_path: Path) -> None:
    name = quick.open()
    draft = cli(quick.ops, "incident", "postmortem", name).out
    (tmp_path / "part.md").write_text(whole(draft.partition("## Lessons")[0]) + "## Lessons\n\n- Lucky: _…_\n")
    told = cli(quick.ops, "incident", "postmortem", name, "--write", str(tmp_path / "part.md"), "--yes").lines
    assert told[-1] == "It does not count as written yet: fill in or delete what is in italics in Lessons."
    (tmp_path / "all.md").write_text(whole(cli(quick.ops, "incident", "postmortem", name).out))
    assert len(cli(quick.ops, "incident", "postmortem", name, "--write", str(tmp_path / "all.md"), "--yes").lines) == 1


def test_an_edited_one_is_kept_and_nobody_overwrites_it_unseen(on_call: Desk) -> None:
    name = on_call.open()
    on_call.post(f"/api/incidents/{name}/resolve")
    path = f"/api/incidents/{name}/postmortem"
    draft = on_call.call("GET", path)
    seen = draft.headers["ETag"]
    text = whole(draft.json["markdown"])
    on_call.call("PUT", path, {"markdown": text}, 428)
    kept = on_call.call("PUT", path, {"markdown": text}, If_Match=seen)
    assert (kept.json["state"], kept.json["writtenAt"]) == ("edited", "2026-03-10T12:02:30Z")
    late = on_call.call("PUT", path, {"markdown": "mine"}, 412, If_Match=seen)
    assert late.json["code"] == "version_changed"
    again = on_call.call("GET", path)
    assert (again.json["markdown"], again.headers["ETag"]) == (text, kept.headers["ETag"])
    on_call.call("PUT", path, {"markdown": "Short."}, If_Match=again.headers["ETag"])
    assert on_call.read(path)["markdown"] == "Short."
    assert on_call.call("PUT", path, {"markdown": ""}, 400, If_Match="*").json["code"] == "invalid_body"
    assert on_call.incident(name)["postmortemAt"] == "2026-03-10T12:02:30Z"
    assert "postmortem_written" in [e["action"] for e in on_call.read(f"/api/incidents/{name}/audit")["audit"]]


def reminders(store: Store) -> list[dict[str, Any]]:
    return [doc.data for doc in store.query(Query("admin_notifications"))]


def test_a_reminder_comes_a_day_before_it_is_due_and_another_when_it_is(on_call: Desk) -> None:
    name = on_call.open(impact="high")
    on_call.open(impact="low")
    on_call.post(f"/api/incidents/{name}/resolve")
    store = on_call.store
    assert remind(store, NOW + timedelta(hours=23, minutes=59)) == 0
    assert [remind(store, NOW + timedelta(hours=hours)) for hours in (24, 25, 47, 48, 49)] == [1, 0, 0, 1, 0]
    assert sorted((r["title"], r["severity"], r["kind"]) for r in reminders(store)) == [
        ("Post-mortem due: Billing Outage", "warning", "postmortem"),
        ("Post-mortem overdue: Billing Outage", "high", "postmortem"),
    ]
    assert on_call.incident(name)["status"] == "resolved"
    assert [e["action"] for e in on_call.read(f"/api/incidents/{name}/audit")["audit"]][2:] == ["reminded", "reminded"]
    with ops_api(store, NOW + timedelta(hours=49)) as admin:
        shown = admin.get("/api/ops/inbox").json["notifications"]
    assert [(one["title"], one["incidentId"], one["read"]) for one in shown] == [
        ("Post-mortem overdue: Billing Outage", name, False), ("Post-mortem due: Billing Outage", name, False),
    ]  # fmt: skip


def test_nobody_is_reminded_of_what_is_written_or_open_again(quick: Desk) -> None:
    written, reopened = quick.open(), quick.open()
    for name in (written, reopened):
        quick.post(f"/api/incidents/{name}/resolve")
    quick.call("PUT", f"/api/incidents/{written}/postmortem", {"markdown": "Done."}, If_Match="*")
    quick.post(f"/api/incidents/{reopened}/reopen", {"message": "Not over."})
    assert remind(quick.store, NOW + timedelta(days=9)) == 0


def test_reminders_that_could_not_be_made_are_made_by_the_next_run_once(quick: Desk) -> None:
    name = quick.open()
    quick.post(f"/api/incidents/{name}/resolve")

    class Lost:
        def __getattr__(self, attribute: str) -> Any:
            return getattr(quick.store, attribute)

        def commit(self, writes: Any) -> None:
            quick.store.commit(writes)
            raise Unavailable("the reply was lost")

    assert remind(Lost(), NOW + timedelta(hours=25)) == 0  # type: ignore[arg-type]
    assert remind(quick.store, NOW + timedelta(hours=25)) == 0
    assert len(reminders(quick.store)) == 1


def test_who_was_stopped_after_writing_is_not_reminded_and_the_incident_hears_of_it(quick: Desk) -> None:
    name = quick.open()
    quick.post(f"/api/incidents/{name}/resolve")
    path = f"incidents/{name}/postmortem/current"
    quick.store.commit([Create(path, {"markdown": "Done.", "updatedAt": NOW, "rev": "0" * 16})])
    assert remind(quick.store, NOW + timedelta(hours=25)) == 0
    assert reminders(quick.store) == []
    assert quick.incident(name)["postmortemAt"] == "2026-03-10T12:02:30Z"
    assert remind(quick.store, NOW + timedelta(hours=49)) == 0


def test_a_long_timeline_still_tells_how_it_was_found(quick: Desk) -> None:
    watch = Watch(quick.store)
    broken(watch, 0)
    for n in range(70):
        quick.update(f"{API}-1", f"Line {n}.")
    draft = quick.read(f"/api/incidents/{API}-1/postmortem")["markdown"]
    detection = draft.partition("## Detection")[2].partition("## Root cause")[0]
    assert f"`{API}` at 2026-03-10 12:02:30: Opened by the alert {API}: error rate 50 %" in detection.replace("\\", "")


# --- how long it takes


def incident_of(started: datetime, acknowledged: float | None, resolved: float | None) -> dict[str, Any]:
    def at(minutes: float | None) -> datetime | None:
        return None if minutes is None else started + timedelta(minutes=minutes)

    return {
        "startedAt": started, "acknowledgedAt": at(acknowledged), "resolvedAt": at(resolved),
        "status": "resolved" if resolved else "investigating",
    }  # fmt: skip


def test_means_are_exact_and_of_those_only_that_have_the_time() -> None:
    lives = [
        life_of(incident_of(NOW, 1, 10), NOW), life_of(incident_of(NOW, 2, 21), NOW),
        life_of(incident_of(NOW, None, None), NOW),
    ]  # fmt: skip
    found = means(lives)
    assert (found.incidents, found.acknowledged, found.resolved) == (3, 2, 2)
    assert (found.mtta, found.mttr) == (90_000_000, 930_000_000)
    assert (means([]).mtta, means([]).mttr) == (None, None)


def test_incidents_are_counted_by_the_month_in_which_they_began(on_call: Desk) -> None:
    first = on_call.open(startedAt="2026-02-27T10:00:00Z")
    on_call.open()
    on_call.wait(minutes=30)
    on_call.post(f"/api/incidents/{first}/resolve")
    found = on_call.read("/api/incidents/stats")
    months = [(row["month"], row["incidents"], row["resolved"], row["mttr"]) for row in found["months"]]
    whole = (NOW + timedelta(minutes=30) - datetime.fromisoformat("2026-02-27T10:00:00+00:00")).total_seconds()
    assert months == [("2026-03", 1, 0, None), ("2026-02", 1, 1, whole)]
    assert (found["all"]["incidents"], found["all"]["mttr"]) == (2, whole)
    assert found["all"]["inState"]["investigating"] == whole + 1800
    march = on_call.read("/api/incidents/stats", **{"from": "2026-03-01T00:00:00Z"})
    assert [row["month"] for row in march["months"]] == ["2026-03"]
    head, *_ = lines = cli(on_call.ops, "incident", "stats", width=160).lines
    assert [part.strip() for part in head.split("  ") if part.strip()] == [
        "month", "incidents", "resolved", "MTTA (mean)", "MTTR (mean)", "investigating (sum)", "identified (sum)",
        "mitigating (sum)",
    ]  # fmt: skip
    assert "11 d 2 h" in lines[2]


# --- due, and its action items


def test_how_a_post_mortem_stands_is_shown_and_asked_for(on_call: Desk) -> None:
    name = on_call.open()
    assert on_call.incident(name)["postmortemState"] is None
    on_call.post(f"/api/incidents/{name}/resolve")
    other = on_call.open(impact="low")
    on_call.post(f"/api/incidents/{other}/resolve")

    def ids(how: str) -> list[str]:
        return [one["id"] for one in on_call.read("/api/incidents", postmortem=how)["incidents"]]

    assert (on_call.incident(name)["postmortemState"], ids("due"), ids("overdue")) == ("due", [name], [])
    line = cli(on_call.ops, "incident", "list", "--postmortem", "due").lines[1]
    assert line.split()[:6] == [name, "critical", "due", "2026-03-12", "12:02", "–"]
    assert "post-mortem: due 2026-03-12 12:02 UTC" in cli(on_call.ops, "incident", "show", name).out
    on_call.wait(hours=49)
    assert (on_call.incident(name)["postmortemState"], ids("due"), ids("overdue")) == ("overdue", [name], [name])
    assert "post-mortem: overdue since 2026-03-12 12:02 UTC" in cli(on_call.ops, "incident", "show", name).out
    on_call.call("PUT", f"/api/incidents/{name}/postmortem", {"markdown": "Short."}, If_Match="*")
    assert (on_call.incident(name)["postmortemState"], ids("due"), ids("written")) == ("written", [], [name])
    assert on_call.ops.get("/api/incidents", {"postmortem": "soon"}).status == 400


def test_who_asks_by_post_mortem_reads_those_that_have_one_and_no_other_incident(on_call: Desk) -> None:
    small = [on_call.open(impact="low") for _ in range(6)]
    for name in small:
        on_call.post(f"/api/incidents/{name}/resolve")
    due = on_call.open()
    on_call.post(f"/api/incidents/{due}/resolve")
    for how, expected in (("due", [due]), ("overdue", []), ("written", [])):
        before = on_call.store.meter.reads
        found = on_call.read("/api/incidents", postmortem=how)
        assert [one["id"] for one in found["incidents"]] == expected
        assert on_call.store.meter.reads - before == 1  # what finds nothing costs one, too


def test_post_mortems_are_asked_for_together_with_all_else(on_call: Desk) -> None:
    names = []
    for impact, component in (("high", "API"), ("critical", "Billing"), ("critical", "API")):
        names.append(on_call.open(impact=impact, components=[component]))
        on_call.wait(hours=1)
        on_call.post(f"/api/incidents/{names[-1]}/resolve")
    on_call.post(f"/api/incidents/{names[2]}/reopen", {"message": "It is back."})  # so none is due

    def ids(**query: Any) -> list[str]:
        return [one["id"] for one in on_call.read("/api/incidents", postmortem="due", **query)["incidents"]]

    assert ids() == [names[1], names[0]]
    assert ids(impact="high") == ids(component="API") == [names[0]]
    assert (ids(status="resolved"), ids(status="open")) == ([names[1], names[0]], [])
    assert ids(from_="-150m") == [names[1]]
    assert ids(to="-150m") == [names[0]]
    first = on_call.read("/api/incidents", postmortem="due", limit=1)
    second = on_call.read("/api/incidents", postmortem="due", limit=1, cursor=first["cursor"])
    assert [one["id"] for one in (*first["incidents"], *second["incidents"])] == [names[1], names[0]]


def test_an_edited_one_is_read_with_its_action_items_as_they_are_now(on_call: Desk) -> None:
    name = on_call.open()
    path = f"/api/incidents/{name}/postmortem"
    on_call.post(f"/api/incidents/{name}/actions", {"title": "Watch the age of secrets", "owner": "ada"}, 201)
    draft = on_call.call("GET", path)
    text = draft.json["markdown"] + "\nThat is all.\n"
    on_call.call("PUT", path, {"markdown": text}, If_Match=draft.headers["ETag"])
    assert on_call.read(path)["markdown"] == text
    on_call.call("PATCH", f"/api/incidents/{name}/actions/1", {"state": "done"})
    on_call.post(f"/api/incidents/{name}/actions", {"title": "Rotate them"}, 201)
    now = on_call.call("GET", path)
    assert now.json["markdown"] == text.replace(
        "| 1 | Watch the age of secrets | ada | – | open |",
        "| 1 | Watch the age of secrets | ada | – | done |\n| 2 | Rotate them | – | – | open |",
    )
    kept = on_call.call("PUT", path, {"markdown": now.json["markdown"]}, If_Match=now.headers["ETag"])
    assert kept.json["markdown"] == now.json["markdown"]


def test_nothing_that_people_wrote_among_the_items_is_left_out() -> None:
    item = {"id": 1, "title": "Watch", "owner": None, "dueAt": None, "state": "open"}
    assert with_items("Short.", []) == "Short."
    added = with_items("Short.\n", [item])
    assert added.startswith("Short.\n\n## Action items as they are now\n\n<!-- action items")
    assert with_items(added, [item]) == added
    assert with_items(added, [{**item, "state": "done"}]) == added.replace("| open |", "| done |")
    theirs = added.replace("| open |", "| open |\n| | and tell support | bob | | |")
    both = with_items(theirs, [{**item, "state": "done"}])
    assert both.startswith(theirs.rstrip())
    assert both.count("| 1 | Watch | – | – | done |") == 1
    assert with_items(both, [item]).count("| 1 | Watch | – | – | done |") == 0

"""What the components are doing, from probes, providers and maintenance beside alerts and incidents."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.components import parse_components
from shared.domain.snapshot import BUDGET_BYTES
from shared.domain.status import ComponentStatus, View, derive
from shared.status.publish import HISTORY, SNAPSHOT, publish_status
from shared.store.protocol import Data, document_size
from shared.store.sqlite import SqliteStore
from tests.unit.status_scenes import BILLING, NOW, alert, app_on, fill, incident, minutes, run, slo, update

WRITTEN = {
    "page": {"name": "F0"},
    "components": [
        {
            "id": "API",
            "name": "API",
            "metrics": [{"metric": "error_rate", "message": "Some requests are failing"}],
            "probes": [
                {
                    "id": "health",
                    "kind": "http",
                    "url": "https://example.com/",
                    "message": "No answer",
                    "shows": "latency",
                }
            ],
        },
        {
            "id": "AI",
            "name": "AI",
            "providers": [
                {
                    "name": "Claude",
                    "models": ["opus-4"],
                    "probes": [
                        {"id": "claude", "kind": "anthropic"},
                        {"id": "claude_feed", "kind": "feed", "url": "https://status.example.com/api/v2/summary.json"},
                    ],
                },
                {"name": "OpenAI", "models": ["gpt-4"], "probes": [{"id": "openai", "kind": "openai"}]},
                {"name": "Own", "models": ["small"]},
            ],
        },
        {"id": "Database", "name": "Database", "probes": [{"id": "store", "kind": "store"}]},
    ],
}
COMPONENTS = parse_components(json.dumps(WRITTEN))


def said(state: str, reason: str = "answered", ago: float = 0.5, **more: Any) -> Data:
    return {"state": state, "reason": reason, "checkedAt": NOW - minutes(ago), **more}


NOT_SET_UP: Data = {"state": "not_monitored", "reason": "setting_missing"}


def probed(**components: dict[str, Data]) -> Data:
    return {"roundAt": NOW, "probes": components}


def ai(**probes: Data) -> Data:
    return probed(AI=probes)


def work(status: str = "in_progress", *components: str, **more: Any) -> Data:
    return {
        "id": "m1",
        "title": "Moving the database",
        "message": "Writes pause for a minute.",
        "status": status,
        "components": list(components or ("API",)),
        "scheduledFor": NOW - minutes(10),
        "scheduledUntil": NOW + minutes(50),
        "updates": [],
        "publicVisible": True,
        **more,
    }


def view(probes: Data | None = None, alerts: Any = (), incidents: Any = (), works: Any = (), last: Any = None) -> View:
    named = [{"id": f"i{n}", **i} for n, i in enumerate(incidents)]
    return derive(COMPONENTS, last, alerts, named, NOW, probes, works)


def of(found: View, name: str) -> ComponentStatus:
    return next(s for s in found.components if s.component.id == name)


MEASURED = run([slo("error_rate", "API", value=0.1)])


@pytest.mark.parametrize("state", ["operational", "degraded", "outage"])
def test_a_probe_alone_gives_the_state_and_says_why(state: str) -> None:
    api = of(view(probed(API={"health": said(state, "timeout" if state != "operational" else "answered")})), "API")
    assert api.state == state
    assert api.reason == ("probes_answered" if state == "operational" else "probe API.health: timeout")
    assert api.message == (None if state == "operational" else "No answer")
    assert api.last_check == NOW - minutes(0.5)


def test_the_worst_of_probe_and_alert_wins_and_a_good_answer_hides_no_alert() -> None:
    good = probed(API={"health": said("operational")})
    api = of(view(good, [alert("a1", "error_rate", "critical")], last=MEASURED), "API")
    assert (api.state, api.message) == ("outage", "Some requests are failing")
    bad = probed(API={"health": said("outage", "timeout")})
    api = of(view(bad, [alert("a1", "error_rate", "warning")], last=MEASURED), "API")
    assert (api.state, api.message) == ("outage", "No answer. Some requests are failing")


def test_a_probe_that_stopped_says_nothing_and_measurements_go_on() -> None:
    stale = probed(API={"health": said("operational", ago=4)})
    assert (of(view(stale), "API").state, of(view(stale), "API").reason) == ("no_data", "probe API.health: probe_stale")
    assert of(view(stale, last=MEASURED), "API").state == "operational"
    long_bad = probed(API={"health": said("outage", ago=4)})
    assert of(view(long_bad), "API").state == "no_data"


def test_without_a_setting_the_component_is_not_monitored() -> None:
    nothing = probed(Database={"store": {"state": "not_monitored", "reason": "setting_missing"}})
    assert of(view(nothing), "Database").state == "not_monitored"


def test_a_silent_app_whose_probe_is_answered_is_operational() -> None:
    silent = run([slo("error_rate", "API", value=None, recent=0)])
    assert of(view(probed(API={"health": said("operational")}), last=silent), "API").state == "operational"


def test_figures_of_probes_stand_in_for_those_that_nobody_measured() -> None:
    entries = probed(
        API={"health": said("operational", latency=123.4)},
        Database={"store": said("operational", figures={"readLatency": 4.56, "writeLatency": 78.9})},
    )
    found = view(entries, last=MEASURED)
    assert of(found, "API").figures == {"latency": 123}
    assert of(found, "Database").figures == {"readLatency": 4.6, "writeLatency": 79}


class TestProviders:
    def providers(self, **probes: Data) -> dict[str, tuple[str, str | None]]:
        return {p.provider.name: (p.state, p.basis) for p in of(view(ai(**probes)), "AI").providers}

    def test_each_has_a_state_a_latency_and_a_message_of_its_own(self) -> None:
        status = of(
            view(ai(claude=said("operational", latency=1200), openai=said("degraded", "slow", latency=3500))), "AI"
        )
        claude, openai, own = status.providers
        assert (claude.state, claude.latency, claude.message, claude.basis) == ("operational", 1200, None, "probe")
        assert (openai.state, openai.latency, openai.message) == ("degraded", 3500, "Increased latency detected")
        assert (own.state, own.basis) == (status.state, None)
        assert (status.state, status.message) == ("degraded", "OpenAI: Increased latency detected")

    def test_one_that_is_out_degrades_the_component_and_all_of_them_are_an_outage(self) -> None:
        out = said("outage", "timeout")
        assert of(view(ai(claude=said("operational"), openai=out)), "AI").state == "degraded"
        assert of(view(ai(claude=out, openai=out)), "AI").state == "outage"

    def test_without_a_key_its_status_page_speaks_alone_and_is_marked(self) -> None:
        missing = {"state": "not_monitored", "reason": "setting_missing"}
        found = self.providers(claude=missing, claude_feed=said("outage", "feed_outage"))
        assert found["Claude"] == ("outage", "feed")

    def test_with_a_key_its_status_page_can_degrade_it_at_most(self) -> None:
        found = self.providers(claude=said("operational"), claude_feed=said("outage", "feed_outage"))
        assert found["Claude"] == ("degraded", "probe")
        found = self.providers(claude=said("outage", "timeout"), claude_feed=said("operational", "feed_operational"))
        assert found["Claude"] == ("outage", "probe")

    def test_without_key_and_feed_it_is_not_monitored_and_one_that_is_silent_has_no_data(self) -> None:
        found = self.providers(claude=NOT_SET_UP, claude_feed=NOT_SET_UP, openai=said("no_data", "key_refused"))
        assert found == {"Claude": ("not_monitored", None), "OpenAI": ("no_data", None), "Own": ("no_data", None)}
        nothing = self.providers(claude=NOT_SET_UP, claude_feed=NOT_SET_UP, openai=NOT_SET_UP)
        assert set(nothing.values()) == {("not_monitored", None)}

    def test_another_one_says_nothing_of_it_neither_good_nor_bad(self) -> None:
        for state in ("operational", "outage"):
            found = self.providers(claude=NOT_SET_UP, claude_feed=NOT_SET_UP, openai=said(state, "timeout"))
            assert (found["Claude"], found["OpenAI"]) == (("not_monitored", None), (state, "probe"))
        silent = self.providers(claude=said("no_data", "key_refused"), openai=said("operational"))
        assert silent["Claude"] == ("no_data", None)

    def test_what_is_said_of_the_whole_component_is_said_of_it_too(self) -> None:
        down = incident("Down", "critical", ("AI",), NOW)
        for entry in (NOT_SET_UP, said("no_data", "key_refused")):
            claude, *_ = of(view(ai(claude=entry, openai=said("operational")), incidents=[down]), "AI").providers
            assert (claude.state, claude.message) == ("outage", "Affected by a current incident")

    def test_a_status_page_that_cannot_be_read_says_nothing(self) -> None:
        found = self.providers(claude=said("operational"), claude_feed=said("no_data", "feed_unreadable"))
        assert found["Claude"] == ("operational", "probe")


class TestMaintenance:
    BAD = probed(API={"health": said("outage", "timeout")})

    @pytest.mark.parametrize("status", ["in_progress", "verifying"])
    def test_in_force_it_makes_what_probes_and_alerts_say_expected(self, status: str) -> None:
        found = view(self.BAD, [alert("a1", "error_rate", "critical")], works=[work(status)])
        api = of(found, "API")
        assert (api.state, api.reason, api.message, api.maintenance) == ("operational", "maintenance m1", None, True)
        assert (api.recorded, found.overall) == ("maintenance", "operational")

    @pytest.mark.parametrize("status", ["scheduled", "completed", "cancelled"])
    def test_before_and_after_it_hides_nothing(self, status: str) -> None:
        api = of(view(self.BAD, works=[work(status)]), "API")
        assert (api.state, api.maintenance, api.recorded) == ("outage", False, "outage")

    def test_of_another_component_or_not_public_it_hides_nothing(self) -> None:
        for other in (work("in_progress", "Database"), work(publicVisible=False)):
            assert of(view(self.BAD, works=[other]), "API").state == "outage"

    def test_a_public_incident_is_told_all_the_same(self) -> None:
        api = of(view(self.BAD, incidents=[BILLING], works=[work()]), "API")
        assert (api.state, api.maintenance, api.recorded) == ("outage", True, "outage")

    def test_providers_that_are_out_are_expected_too(self) -> None:
        out = said("outage", "timeout")
        found = of(view(ai(claude=out, openai=out), works=[work("in_progress", "AI")]), "AI")
        assert found.state == "operational"

    def test_a_component_that_is_not_monitored_stays_so(self) -> None:
        found = of(view(works=[work("in_progress", "Database")]), "Database")
        assert (found.state, found.maintenance, found.recorded) == ("not_monitored", True, "maintenance")

    def test_they_are_shown_in_force_then_planned_then_recently_completed(self) -> None:
        works = [
            work("completed", id="old", completedAt=NOW - timedelta(days=15)),
            work("completed", id="done", completedAt=NOW - timedelta(days=1)),
            work("scheduled", id="later", scheduledFor=NOW + timedelta(days=2)),
            work("scheduled", id="soon", scheduledFor=NOW + timedelta(hours=2)),
            work("cancelled", id="off"),
            work("verifying", id="now"),
        ]
        assert [m["id"] for m in view(works=works).maintenances] == ["now", "soon", "later", "done"]


def test_maintenance_is_in_the_snapshot_without_its_authors_and_internal_updates(sqlite_store: SqliteStore) -> None:
    updates = [
        {**update(NOW, "in_progress", "We begin."), "public": True},
        {**update(NOW, "in_progress", "canary: the old server is db-7"), "public": False},
    ]
    internal = {
        **incident("Slow", "low", ("API",), NOW),
        "updates": [{**updates[1]}, update(NOW, "identified", "Found.")],
    }
    document = {**work(updates=updates), "rev": "r1", "createdBy": "canary"}
    document.pop("id")
    fill(sqlite_store, {"maintenances/m1": document, "incidents/i1": internal})
    publish_status(sqlite_store, COMPONENTS, app_on(sqlite_store).flags, NOW)
    doc = sqlite_store.get(SNAPSHOT)
    assert doc is not None
    (shown,) = doc.data["maintenances"]
    assert shown["updates"] == [{"timestamp": NOW, "status": "in_progress", "message": "We begin."}]
    assert [u["message"] for u in doc.data["incidents"][0]["updates"]] == ["Found."]
    assert (shown["components"], shown["status"]) == (["API"], "in_progress")
    assert "canary" not in json.dumps(doc.data, default=str)
    assert "uid-of-an-admin" not in json.dumps(doc.data, default=str)


def test_a_maintenance_that_somebody_edited_badly_stops_nothing(sqlite_store: SqliteStore) -> None:
    broken = {"publicVisible": True, "scheduledFor": None, "rev": "r1"}
    scarce = {"publicVisible": True, "scheduledFor": NOW, "status": "completed", "components": None, "rev": "r1"}
    fill(sqlite_store, {"maintenances/broken": broken, "maintenances/scarce": scarce})
    publish_status(sqlite_store, COMPONENTS, app_on(sqlite_store).flags, NOW)
    doc = sqlite_store.get(SNAPSHOT)
    assert doc is not None
    assert [(m["id"], m["title"]) for m in doc.data["maintenances"]] == [("scarce", "Maintenance")]


def test_maintenances_take_a_quarter_of_the_snapshot_at_most_and_those_in_force_stay(sqlite_store: SqliteStore) -> None:
    texts = [update(NOW - minutes(n), "in_progress", f"{n} " + "€" * 3900) for n in range(20)]
    works = {f"maintenances/m{n}": {**work("in_progress"), "updates": texts, "rev": "r1"} for n in range(10)}
    done = {f"maintenances/d{n}": {**work("completed"), "updates": texts, "rev": "r1"} for n in range(10)}
    fill(sqlite_store, {**works, **done})
    publish_status(sqlite_store, COMPONENTS, app_on(sqlite_store).flags, NOW)
    doc = sqlite_store.get(SNAPSHOT)
    assert doc is not None
    shown = doc.data["maintenances"]
    assert [m["status"] for m in shown] == ["in_progress"] * 10
    assert shown[0]["updates"][-1]["message"].startswith("0 ")
    assert document_size(SNAPSHOT, {"maintenances": shown}) <= BUDGET_BYTES // 4


def test_what_differs_every_minute_is_written_to_component_documents_every_five(sqlite_store: SqliteStore) -> None:
    start = NOW.replace(minute=0, second=0)
    written = []
    for minute in range(11):
        at = start + minutes(minute)
        entry = {**said("operational", latency=100 + minute), "checkedAt": at}
        fill(sqlite_store, {"runs/healthProbe": probed(API={"health": entry})})
        before = sqlite_store.meter.snapshot()
        publish_status(sqlite_store, COMPONENTS, app_on(sqlite_store).flags, at)
        written.append(sqlite_store.meter.since(before).writes)
    # the first writes three components and the history too; then the snapshot, and API's document at each mark
    assert written == [5, 1, 1, 1, 1, 2, 1, 1, 1, 1, 2]
    item = sqlite_store.get("status/components/items/API")
    assert item is not None
    assert (item.data["metadata"], item.data["lastCheck"]) == ({"latency": 110, "uptime": 100.0}, start + minutes(10))


def test_the_history_goes_on_while_the_page_is_switched_off(sqlite_store: SqliteStore) -> None:
    def publish(at: float, state: str, on: bool) -> None:
        switches = {"ops": {"public_status_page": on}, "rev": "r"}
        entry = {**said(state, "timeout"), "checkedAt": NOW + minutes(at)}
        fill(sqlite_store, {"config/flags": switches, "runs/healthProbe": probed(API={"health": entry})})
        publish_status(sqlite_store, COMPONENTS, app_on(sqlite_store).flags, NOW + minutes(at))

    publish(0, "operational", True)
    publish(1, "outage", False)
    publish(2, "outage", False)
    publish(3, "operational", True)
    doc = sqlite_store.get(SNAPSHOT)
    assert doc is not None
    api = next(c for c in doc.data["components"] if c["id"] == "API")
    today = api["history"]["days"][-1]
    assert {state: today[state] for state in ("operational", "outage")} == {"operational": 60, "outage": 120}
    assert (api["uptime90"], api["uptimeSince"]) == (33.33, NOW)
    assert sqlite_store.get(HISTORY) is not None


def test_a_snapshot_with_90_days_of_50_components_is_within_its_budget(sqlite_store: SqliteStore) -> None:
    many = {
        "page": {"name": "F0"},
        "components": [
            {"id": f"C{n}", "name": f"C{n}", "probes": [{"id": "health", "kind": "store"}]} for n in range(50)
        ],
    }
    components = parse_components(json.dumps(many))
    day = dict.fromkeys(("operational", "degraded", "outage", "maintenance", "unknown"), 17_280)
    days = {(NOW - timedelta(days=n)).date().isoformat(): day for n in range(1, 90)}
    records = {f"C{n}": {"state": "operational", "since": NOW, "days": days} for n in range(50)}
    fill(sqlite_store, {HISTORY: {"components": records, "rev": "r1"}})
    publish_status(sqlite_store, components, app_on(sqlite_store).flags, NOW)
    doc = sqlite_store.get(SNAPSHOT)
    assert doc is not None
    assert len(doc.data["components"][49]["history"]["days"]) == 90
    assert document_size(SNAPSHOT, doc.data) <= BUDGET_BYTES


@given(
    st.sampled_from([None, "operational", "degraded", "outage", "no_data", "not_monitored"]),
    st.lists(st.sampled_from(["critical", "high", "warning"]), max_size=3),
    st.sampled_from([None, "critical", "low"]),
    st.booleans(),
    st.booleans(),
)
def test_the_state_is_the_worst_that_is_said_and_maintenance_hides_all_but_incidents(
    probe: str | None, severities: list[str], impact: str | None, maintained: bool, measured: bool
) -> None:
    alerts = [alert(f"a{n}", "error_rate", severity) for n, severity in enumerate(severities)]
    incidents = [incident("Down", impact, ("API",), NOW)] if impact else []
    entries = probed(API={"health": said(probe)}) if probe else None
    works = [work()] if maintained else []
    api = of(view(entries, alerts, incidents, works, MEASURED if measured else None), "API")
    bad = {"critical": "outage", "high": "degraded", "warning": "degraded", "low": "degraded"}
    causes = [bad[impact]] if impact else []
    if not maintained:
        causes += [bad[severity] for severity in severities]
        causes += [probe] if probe in ("degraded", "outage") else []
    assert (api.state in ("degraded", "outage")) == bool(causes)
    assert (api.state == "outage") == ("outage" in causes)
    assert bool(api.message) == (bool(causes) or api.state == "no_data")
    if api.state == "operational":
        assert measured or probe in ("operational", "degraded", "outage") or maintained
    assert api.reason

"""A run of alertRules: what it commits, what it leaves to another run, and what stays right when things go wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.alerts import alerting
from shared.alerts.alerting import RUN, AlertRun, last_mark
from shared.alerts.run_result import RunResult
from shared.alerts.settling import Settling
from shared.components import load_components
from shared.domain.incident_policy import SHIPPED as INCIDENT_POLICY
from shared.domain.incident_policy import IncidentPolicy
from shared.domain.slo import SloConfig
from shared.domain.status import ComponentStatus, derive
from shared.flags import load_defaults
from shared.metrics.query import read_stored
from shared.slo.history import SloHistory
from shared.slo_loader import SloLoader, digest_of, load_burn_windows
from shared.store.protocol import Conflict, Delete, Merge, Put, Query, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, metric, registry
from tests.unit.test_fold import append

MARK = last_mark(NOW)  # 12:00
IN_SLOT = MARK - timedelta(minutes=2)
SLOT = timedelta(minutes=5)
API = "api-availability-threshold"
FLAGS = load_defaults(CONFIG)
CONFIGURED = {"slack": True}
# The SLOs as shipped, but for thresholds alone and without a least number of failures: one alert each, told at once.
SHIPPED = json.loads((CONFIG / "slo.json").read_text())
for _slo in SHIPPED["slos"]:
    _slo["alert"] = {key: _slo["alert"][key] for key in ("severity", "channels")}


def config_of(data: dict[str, Any]) -> SloConfig:
    from shared.domain.slo_file import parse_slos

    config = parse_slos(data, registry(), source="test", digest=digest_of(data))
    return replace(config, burn=load_burn_windows(CONFIG))


def only(name: str = "API Availability", **changes: Any) -> dict[str, Any]:
    """A configuration of this SLO alone; a copy, which a test may change."""
    (slo,) = [s for s in deepcopy(SHIPPED["slos"]) if s["name"] == name]
    return {"slos": [{**slo, **changes}]}


@dataclass
class Watch:
    """Runs over one store; flags, channels and configuration can be changed between them."""

    store: Any
    data: dict[str, Any] = field(default_factory=lambda: deepcopy(SHIPPED))
    flags: dict[str, Any] = field(default_factory=lambda: dict(FLAGS))
    channels: dict[str, bool] = field(default_factory=lambda: dict(CONFIGURED))
    sent: int = 0
    policy: IncidentPolicy = INCIDENT_POLICY

    def __post_init__(self) -> None:
        self.history = SloHistory(self.store)

    def make(self, now: datetime = NOW, *, fresh: bool = True) -> AlertRun:
        return AlertRun(
            self.store, config_of(self.data), registry(), load_components(CONFIG), self.history, self.flags,
            self.channels, now, self.store.get(RUN) if fresh else None, policy=self.policy,
        )  # fmt: skip

    def run(self, now: datetime = NOW, may_go_on: Callable[[], bool] = lambda: True) -> RunResult:
        return self.make(now)(may_go_on)

    def requests(self, good: int, bad: int, at: datetime = IN_SLOT, ms: float = 100) -> None:
        self.sent += 1
        metrics = [metric(ms, at=at, labels={"status": "200"})] * good
        metrics += [metric(ms, at=at, labels={"status": "500"})] * bad
        append(self.store, metrics, f"batch-{self.sent:04}", at)

    def doc(self, path: str) -> dict[str, Any]:
        found = self.store.get(path)
        assert found is not None, path
        return dict(found.data)

    def alert(self, name: str = API) -> dict[str, Any]:
        return self.doc(f"alerts/{name}")

    def documents(self, collection: str) -> dict[str, dict[str, Any]]:
        return {doc.id: doc.data for doc in self.store.query(Query(collection))}

    def reported(self, name: str = "api-availability") -> dict[str, Any]:
        (found,) = [s for s in self.doc(RUN)["slos"] if s["id"] == name]
        return dict(found)


@pytest.fixture
def watch(store: Store) -> Watch:
    return Watch(store)


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Watch:
    return Watch(sqlite_store)


# --- the path of an alert


def test_an_alert_its_incident_and_its_notifications_come_and_go_together(watch: Watch) -> None:
    watch.requests(90, 10)
    assert watch.run().fired == [API]
    alert = watch.alert()
    incident = watch.doc(f"incidents/{alert['incidentId']}")
    expected = {
        "alertId": API, "sloId": "api-availability", "sloName": "API Availability", "rule": "threshold",
        "component": "API", "severity": "critical", "state": "firing", "seq": 1, "since": NOW, "firedAt": NOW,
        "resolvedAt": None, "updatedAt": NOW, "reason": "threshold_exceeded", "metric": "error_rate", "unit": "%",
        "aggregation": "avg", "value": 10.0, "threshold": 0.5, "comparison": "above", "good": 90, "total": 100,
        "windowSeconds": 300,
    }  # fmt: skip
    assert {key: alert[key] for key in expected} == expected
    assert alert["channels"] == {
        "slack": {"seq": 1, "state": "announced", "reason": None},
        "email": {"seq": 1, "state": "withheld", "reason": "not_available"},
    }
    assert (incident["status"], incident["impact"], incident["components"]) == ("investigating", "critical", ["API"])
    assert (incident["publicVisible"], incident["autoCreated"], incident["alertIds"]) == (False, True, [API])
    told = watch.documents("notifications")
    assert {name: (n["kind"], n["state"]) for name, n in told.items()} == {
        f"{API}-1-slack": ("trigger", "pending"), f"{API}-1-email": ("trigger", "withheld"),
    }  # fmt: skip
    assert watch.doc(RUN)["openAlerts"] == [API]
    assert watch.reported()["alertState"] == "firing"

    later = NOW + SLOT
    watch.requests(100, 0, MARK + timedelta(minutes=1))
    assert watch.run(later).cleared == [API]
    alert = watch.alert()
    assert (alert["state"], alert["seq"], alert["reason"]) == ("resolved", 2, "back_within_threshold")
    assert (alert["firedAt"], alert["resolvedAt"], alert["since"], alert["value"]) == (NOW, later, later, 0.0)
    incident = watch.doc(f"incidents/{alert['incidentId']}")
    assert (incident["status"], incident["resolvedAt"], len(incident["updates"])) == ("resolved", later, 2)
    assert watch.documents("notifications")[f"{API}-2-slack"]["kind"] == "resolve"
    assert watch.doc(RUN)["openAlerts"] == []


def test_a_firing_alert_that_goes_on_changes_nothing(watch: Watch) -> None:
    watch.requests(90, 10)
    watch.run()
    before = (watch.alert(), watch.documents("notifications"), watch.documents("incidents"))
    watch.requests(80, 20, MARK + timedelta(minutes=1))
    result = watch.run(NOW + SLOT)
    assert (result.fired, result.cleared, result.told_again) == ([], [], [])
    assert (watch.alert(), watch.documents("notifications"), watch.documents("incidents")) == before
    assert watch.reported()["reason"] == "still_exceeded"


def test_an_alert_that_comes_back_is_a_new_incident_and_counts_on(quick: Watch) -> None:
    for n in range(0, 24, 8):  # 40 minutes apart: oftener would be damped
        quick.requests(90, 10, IN_SLOT + n * SLOT)
        quick.run(NOW + n * SLOT)
        quick.requests(100, 0, IN_SLOT + (n + 1) * SLOT)
        quick.run(NOW + (n + 1) * SLOT)
    assert quick.alert()["seq"] == 6
    assert set(quick.documents("incidents")) == {f"{API}-{n}" for n in (1, 3, 5)}
    assert len(quick.documents("notifications")) == 12


def test_exactly_at_the_threshold_nothing_fires_and_one_error_more_fires(quick: Watch) -> None:
    quick.requests(995, 5)
    assert quick.run().fired == []
    quick.requests(0, 1)
    assert quick.run().fired == [API]


def test_latency_fires_on_its_p95_and_says_it(watch: Watch) -> None:
    watch.data = only("API Latency (p95)")
    watch.requests(94, 0, ms=400)
    watch.requests(6, 0, ms=500)
    assert watch.run().fired == ["api-latency-p95-threshold"]
    alert = watch.alert("api-latency-p95-threshold")
    assert (alert["good"], alert["total"], alert["threshold"], alert["unit"]) == (94, 100, 400, "ms")
    assert alert["value"] == pytest.approx(500, rel=0.01)


def test_a_cleared_latency_says_its_value_even_if_another_run_folded_it(quick: Watch) -> None:
    policy = {"severity": "warning", "channels": ["slack"]}  # whatever is shipped
    quick.data = only("API Latency (p95)", target=300, threshold=400, window="24h", alert=policy)
    quick.requests(100, 0, ms=900)
    assert quick.run().fired == ["api-latency-p95-threshold"]
    quick.requests(100, 0, MARK + timedelta(minutes=1), ms=50)
    folded = alerting.fold(quick.store, registry(), config_of(quick.data).definitions, NOW + SLOT)
    assert (folded.complete, folded.segments) == (True, 1)
    result = quick.run(NOW + SLOT)
    assert (result.overtaken, result.folded.complete, result.folded.segments) == (False, True, 0)
    assert quick.reported("api-latency-p95")["reason"] == "back_within_threshold"
    assert result.cleared == ["api-latency-p95-threshold"]
    assert quick.alert("api-latency-p95-threshold")["value"] == pytest.approx(50, rel=0.01)


def test_agent_success_fires_below_its_threshold(quick: Watch) -> None:
    metrics = [metric(n >= 6, "agent_success_rate", at=IN_SLOT) for n in range(100)]
    append(quick.store, [{**m, "value": int(m["value"])} for m in metrics], "batch-0001", IN_SLOT)
    assert quick.run().fired == ["agent-success-rate-threshold"]
    alert = quick.alert("agent-success-rate-threshold")
    assert (alert["value"], alert["comparison"], alert["component"]) == (94.0, "below", "AI_Providers")
    assert set(alert["channels"]) == {"slack", "email", "pagerduty"}


@pytest.mark.parametrize(("good", "bad", "reason"), [(0, 0, "no_data"), (0, 9, "too_few_events")])
def test_no_data_and_too_few_events_neither_fire_nor_clear(quick: Watch, good: int, bad: int, reason: str) -> None:
    if good + bad:
        quick.requests(good, bad)
    assert quick.run().fired == []
    assert quick.reported()["reason"] == (reason if good + bad else "no_data_yet")
    quick.requests(90, 10, IN_SLOT + SLOT)
    quick.run(NOW + SLOT)
    if good + bad:
        quick.requests(good, bad, IN_SLOT + 2 * SLOT)
    assert quick.run(NOW + 2 * SLOT).cleared == []
    # What fires is judged by a wider window where few events come: nine bad ones are no recovery.
    assert quick.reported()["alertState"] == "firing"
    assert quick.reported()["reason"] == ("still_exceeded" if good + bad else reason)


def test_without_data_compliance_reads_no_data_and_there_is_no_budget(quick: Watch) -> None:
    quick.run()
    for slo in quick.doc(RUN)["slos"]:
        assert (slo["compliance"], slo["value"], slo["budgetLeft"], slo["total"]) == ("no_data", None, None, 0)


def test_a_fresh_deployment_pages_nobody_for_silence_until_something_has_come(watch: Watch) -> None:
    watch.data = only(window="1h", alert={**only()["slos"][0]["alert"], "no_data": "alert"})
    for n in range(3):
        assert watch.run(NOW + n * SLOT).fired == []
        assert (watch.reported()["alertState"], watch.reported()["reason"]) == ("ok", "no_data_yet")
    watch.requests(100, 0, IN_SLOT + 3 * SLOT)
    assert watch.run(NOW + 3 * SLOT).fired == []
    assert watch.run(NOW + 4 * SLOT).fired == [API]
    assert watch.alert()["reason"] == "no_data_alert"


def test_silence_is_known_for_silence_after_all_windows_have_passed(quick: Watch) -> None:
    """By the document of the runs: what is loaded reaches back hours, and `for` may be a week."""
    quick.data = only(window="1h", alert={**only()["slos"][0]["alert"], "no_data": "keep"})
    quick.requests(100, 0)
    assert quick.run().fired == []
    for n in range(1, 40):
        quick.run(NOW + n * timedelta(hours=1))
    assert quick.reported()["reason"] == "no_data"
    quick.data = only(window="1h", alert={**only()["slos"][0]["alert"], "no_data": "alert"})
    assert quick.run(NOW + timedelta(hours=41)).fired == [API]


def test_who_counts_something_else_from_now_on_has_not_heard_of_it_yet(quick: Watch) -> None:
    alert = {**only()["slos"][0]["alert"], "no_data": "alert"}
    quick.data = only(window="1h", alert=alert)
    quick.requests(100, 0)
    quick.run()
    quick.data = only(window="1h", alert=alert, labels={"endpoint": "/api/new"})
    for n in (1, 2, 3):
        assert quick.run(NOW + n * SLOT).fired == []
    assert quick.reported()["reason"] == "no_data_yet"


def test_a_run_that_comes_late_takes_no_slot_before_the_first_event_for_silence(quick: Watch) -> None:
    quick.data = only(alert={**only()["slos"][0]["alert"], "no_data": "alert"})
    quick.run()
    quick.requests(100, 0, IN_SLOT + 4 * SLOT)
    assert quick.run(NOW + 4 * SLOT).fired == []
    assert quick.reported()["reason"] == "within_threshold"


def test_an_app_that_falls_silent_reads_no_data_on_the_status_at_the_next_run(quick: Watch) -> None:
    def api() -> ComponentStatus:
        return derive(load_components(CONFIG), quick.doc(RUN), [], [], NOW).components[0]

    quick.requests(20, 0)
    quick.run()
    assert quick.reported()["alertTotal"] == 20
    assert (api().component.id, api().state, api().reason) == ("API", "operational", "nothing_firing")
    quick.run(NOW + SLOT)
    reported = quick.reported()
    assert (reported["total"], reported["alertTotal"], reported["reason"]) == (20, 0, "no_data")
    assert (api().state, api().reason, api().figures) == ("no_data", "no_data", {})


@pytest.mark.parametrize(("good", "bad", "recent"), [(398, 2, "met"), (397, 3, "missed"), (7, 2, "no_data")])
def test_a_run_reports_whether_the_last_minutes_met_the_objective(
    quick: Watch, good: int, bad: int, recent: str
) -> None:
    quick.requests(0, 100)
    quick.run()
    quick.requests(good, bad, IN_SLOT + SLOT)
    quick.run(NOW + SLOT)
    assert quick.reported()["recent"] == recent


def test_an_unfinished_fold_raises_an_alert_and_never_clears_one(quick: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.requests(90, 10)
    quick.run()
    quick.requests(100, 0, MARK + timedelta(minutes=1))
    alerting.fold(quick.store, registry(), config_of(quick.data).definitions, NOW + SLOT)
    quick.requests(0, 50, MARK + timedelta(minutes=1))
    result = quick.run(NOW + SLOT, may_go_on=lambda: False)
    assert (result.folded.complete, result.cleared) == (False, [])
    assert quick.reported()["reason"] == "facts_incomplete"


def test_a_new_definition_is_counted_over_the_past_before_it_alerts(quick: Watch) -> None:
    quick.data = only()
    quick.requests(100, 0, ms=900)
    quick.run()
    quick.data = SHIPPED
    pages = [True]
    result = quick.run(NOW, may_go_on=lambda: bool(pages and pages.pop()))  # enough for the fold, not for the backfill
    assert result.fired == []
    assert quick.reported("api-latency-p95")["reason"] == "backfilling"
    assert quick.run(NOW).fired == ["api-latency-p95-threshold"]


# --- the report


def test_the_report_has_the_window_of_the_slo_and_its_budget(quick: Watch) -> None:
    quick.requests(997, 3, NOW - timedelta(hours=40))
    quick.run()
    quick.requests(500, 0)
    quick.run()
    reported = quick.reported()
    assert (reported["good"], reported["total"], reported["compliance"]) == (1497, 1500, "met")
    assert reported["budgetLeft"] == pytest.approx(1 - 3 / 7.5)
    assert reported["windowSeconds"] == 30 * 86_400
    run = quick.doc(RUN)
    assert (run["factsAt"], run["finishedAt"]) == (MARK, NOW)


def test_events_of_the_slot_that_is_not_over_are_not_judged(quick: Watch) -> None:
    quick.requests(0, 100, MARK + timedelta(minutes=1))
    assert quick.run().fired == []
    assert quick.run(NOW + SLOT).fired == [API]


# --- kill switches


def test_with_slos_not_enforced_it_evaluates_and_reports_only(watch: Watch) -> None:
    watch.flags["ops.slo_enforced"] = False
    watch.requests(90, 10)
    assert watch.run().fired == []
    for collection in ("alerts", "incidents", "notifications"):
        assert watch.documents(collection) == {}
    assert watch.reported()["reason"] == "not_enforced"
    assert watch.reported()["value"] == 10.0


def test_with_alerts_off_states_move_and_what_was_withheld_is_recorded(watch: Watch) -> None:
    watch.flags["alerts.enabled"] = False
    watch.requests(90, 10)
    assert watch.run().fired == [API]
    told = watch.documents("notifications")
    assert {(n["state"], n["reason"]) for n in told.values()} == {("withheld", "alerts_disabled")}
    assert watch.alert()["state"] == "firing"


def test_on_again_what_still_fires_is_told_once(watch: Watch) -> None:
    watch.flags["alerts.enabled"] = False
    watch.requests(90, 10)
    watch.run()
    watch.flags["alerts.enabled"] = True
    watch.requests(90, 10, IN_SLOT + SLOT)
    assert watch.run(NOW + SLOT).told_again == [API]
    assert watch.documents("notifications")[f"{API}-2-slack"]["state"] == "pending"
    assert (watch.alert()["seq"], watch.alert()["firedAt"], watch.alert()["since"]) == (2, NOW, NOW)
    assert watch.alert()["channels"]["slack"] == {"seq": 2, "state": "announced", "reason": None}
    for n in (2, 3):
        watch.requests(90, 10, IN_SLOT + n * SLOT)
        assert watch.run(NOW + n * SLOT).told_again == []
    assert len(watch.documents("notifications")) == 3
    assert len(watch.documents("incidents")) == 1


def test_what_cleared_while_alerts_were_off_is_not_told_afterwards(quick: Watch) -> None:
    quick.flags["alerts.enabled"] = False
    quick.requests(90, 10)
    quick.run()
    quick.requests(100, 0, IN_SLOT + SLOT)
    assert quick.run(NOW + SLOT).cleared == [API]
    quick.flags["alerts.enabled"] = True
    result = quick.run(NOW + 2 * SLOT)
    assert (result.fired, result.told_again) == ([], [])
    assert {n["state"] for n in quick.documents("notifications").values()} == {"withheld"}


def test_a_record_that_has_expired_is_no_reason_to_tell_again(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    quick.store.commit([Delete(f"notifications/{name}") for name in quick.documents("notifications")])
    quick.requests(90, 10, IN_SLOT + SLOT)
    assert quick.run(NOW + SLOT).told_again == []
    assert quick.documents("notifications") == {}


def test_a_channel_that_becomes_available_is_told_what_still_fires(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    quick.channels["email"] = True
    quick.requests(90, 10, IN_SLOT + SLOT)
    quick.run(NOW + SLOT)
    assert quick.documents("notifications")[f"{API}-2-email"]["state"] == "pending"
    assert f"{API}-2-slack" not in quick.documents("notifications")


# --- changed configurations


def test_a_channel_that_left_the_configuration_hears_the_end_and_nothing_new(quick: Watch) -> None:
    quick.data = only()
    quick.requests(90, 10)
    quick.run()
    quick.data = only(alert={"severity": "critical", "channels": ["slack"]})
    quick.requests(100, 0, IN_SLOT + SLOT)
    quick.run(NOW + SLOT)
    assert f"{API}-2-email" in quick.documents("notifications")
    quick.requests(90, 10, IN_SLOT + 2 * SLOT)
    quick.run(NOW + 2 * SLOT)
    assert f"{API}-3-slack" in quick.documents("notifications")
    assert f"{API}-3-email" not in quick.documents("notifications")


def test_an_alert_whose_slo_was_removed_ends(watch: Watch) -> None:
    watch.requests(90, 10)
    watch.run()
    watch.data = only("API Latency (p95)")
    watch.requests(90, 10, IN_SLOT + SLOT)
    assert watch.run(NOW + SLOT).cleared == [API]
    alert = watch.alert()
    assert (alert["state"], alert["reason"], alert["seq"]) == ("resolved", "slo_removed", 2)
    assert watch.doc(f"incidents/{alert['incidentId']}")["status"] == "resolved"
    assert watch.documents("notifications")[f"{API}-2-slack"]["kind"] == "resolve"
    assert watch.doc(RUN)["openAlerts"] == []


def test_with_no_slos_left_every_alert_ends(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    quick.data = {"slos": []}
    assert quick.run(NOW + SLOT).cleared == [API]


def test_an_alert_that_was_deleted_by_hand_fires_anew_past_its_old_notifications(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    run = quick.doc(RUN)
    quick.store.commit([Delete(f"alerts/{API}"), Put(RUN, {**run, "openAlerts": []})])
    quick.requests(90, 10, IN_SLOT + SLOT)
    assert quick.run(NOW + SLOT).fired == [API]
    assert quick.alert()["seq"] == 2


def test_an_incident_that_people_work_on_is_not_resolved_over_their_heads(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    path = f"incidents/{quick.alert()['incidentId']}"
    incident = quick.doc(path)
    mine = {"timestamp": NOW, "status": "identified", "message": "The new release.", "author": "ada"}
    incident |= {"status": "identified", "updates": [*incident["updates"], mine]}
    quick.store.commit([Put(path, incident)])
    quick.requests(100, 0, IN_SLOT + SLOT)
    quick.run(NOW + SLOT)
    found = quick.doc(path)
    assert (found["status"], found["resolvedAt"]) == ("identified", None)
    assert found["updates"][-1]["message"].startswith("The alert cleared after 5 min")


# --- until when everything is folded


def test_an_unfinished_fold_does_not_move_until_when_everything_is_folded(watch: Watch) -> None:
    def folded_until() -> tuple[datetime | None, int | None]:
        return watch.doc(RUN).get("foldedUntil"), read_stored(watch.store, NOW).complete_until

    def block(moment: datetime) -> int:
        return int(moment.timestamp()) // 300

    watch.requests(10, 0)
    watch.run(NOW, lambda: False)
    assert folded_until() == (None, None)
    watch.run(NOW)
    assert folded_until() == (MARK, block(MARK))

    watch.requests(10, 0, IN_SLOT + SLOT)
    watch.run(NOW + SLOT, lambda: False)
    assert watch.doc(RUN)["factsAt"] == MARK + SLOT
    assert folded_until() == (MARK, block(MARK))
    watch.run(NOW + SLOT)
    assert folded_until() == (MARK + SLOT, block(MARK + SLOT))


def test_a_run_that_was_overtaken_does_not_move_it_back(quick: Watch) -> None:
    late = quick.make(NOW)
    quick.run(NOW + SLOT)
    assert late(lambda: True).overtaken
    assert quick.doc(RUN)["foldedUntil"] == MARK + SLOT


# --- the run guard


def test_a_run_that_was_overtaken_by_newer_facts_does_nothing(watch: Watch) -> None:
    watch.requests(90, 10)
    late = watch.make(NOW)
    watch.requests(100, 0, IN_SLOT + SLOT)
    watch.run(NOW + SLOT)
    result = late(lambda: True)
    assert (result.overtaken, result.fired) == (True, [])
    assert watch.documents("alerts") == {}
    assert watch.doc(RUN)["factsAt"] == MARK + SLOT


def test_a_run_that_was_overtaken_before_its_first_commit_stops_there(quick: Watch) -> None:
    quick.requests(90, 10)
    late = quick.make(NOW)
    settle = late.settling.settle

    def interrupted(*given: Any) -> None:
        quick.requests(100, 0, IN_SLOT + SLOT)
        quick.run(NOW + SLOT)
        settle(*given)

    late.settling.settle = interrupted  # type: ignore[method-assign]
    assert late(lambda: True).overtaken
    assert quick.documents("alerts") == {}


def test_a_run_on_an_older_configuration_stops_once_a_newer_one_has_run(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run(NOW - SLOT)
    late = quick.make(NOW)
    quick.data = only(threshold=50)
    quick.run(NOW)
    assert late(lambda: True).overtaken
    assert quick.documents("alerts") == {}
    assert quick.doc(RUN)["configHash"] == config_of(quick.data).hash


def test_the_run_after_a_change_of_configuration_is_not_stopped_by_the_old_one(quick: Watch) -> None:
    quick.run(NOW - SLOT)
    quick.data = only()
    quick.requests(90, 10)
    result = quick.run(NOW)
    assert (result.overtaken, result.fired) == (False, [API])


def test_a_run_on_equal_facts_finds_all_done(watch: Watch) -> None:
    watch.requests(90, 10)
    first, second = watch.make(NOW), watch.make(NOW)
    assert first(lambda: True).fired == [API]
    result = second(lambda: True)
    assert (result.overtaken, result.fired) == (False, [])
    assert watch.alert()["seq"] == 1
    assert watch.doc(RUN)["openAlerts"] == [API]


@pytest.mark.parametrize("what", ["fire", "clear", "tell again", "orphan"])
def test_runs_that_race_make_each_change_once(watch: Watch, what: str) -> None:
    if what != "fire":
        watch.flags["alerts.enabled"] = what != "tell again"
        watch.requests(90, 10, IN_SLOT - SLOT)
        watch.run(NOW - SLOT)
        watch.flags["alerts.enabled"] = True
    watch.requests(*((100, 0) if what == "clear" else (90, 10)))
    if what == "orphan":
        watch.data = only("API Latency (p95)")
    results: list[Any] = []
    barrier = threading.Barrier(4)

    def race() -> None:
        other = Watch(watch.store, watch.data, watch.flags)
        run = other.make(NOW)
        barrier.wait(timeout=20)
        try:
            results.append(run(lambda: True))
        except BaseException as error:  # noqa: BLE001 - a thread's error must reach the test
            results.append(error)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(r, RunResult) for r in results), results
    changes = sum(len(r.fired) + len(r.cleared) + len(r.told_again) for r in results)
    seq = 1 if what == "fire" else 2
    assert changes == 1
    assert watch.alert()["seq"] == seq
    assert watch.alert()["state"] == ("firing" if what in ("fire", "tell again") else "resolved")
    names = [name for name in watch.documents("notifications") if name.startswith(f"{API}-{seq}-")]
    assert names == ([f"{API}-2-slack"] if what == "tell again" else [f"{API}-{seq}-email", f"{API}-{seq}-slack"])
    assert len(watch.documents("incidents")) == 1
    assert watch.doc(RUN)["openAlerts"] == ([API] if watch.alert()["state"] == "firing" else [])


# --- commits whose reply is lost, or that fail


class Losing:
    """Loses the reply of the n-th commit, before or after it takes effect, or delays its effect to the next one."""

    def __init__(self, inner: Store, at: int, how: str) -> None:
        self.inner, self.at, self.how = inner, at, how
        self.commits = 0
        self.late: list[Sequence[Write]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, writes: Sequence[Write]) -> None:
        for held in self.late:
            with suppress(Conflict):
                self.inner.commit(held)
        self.late = []
        self.commits += 1
        if self.commits != self.at:
            return self.inner.commit(writes)
        if self.how == "after":
            self.inner.commit(writes)
        if self.how == "late":
            self.late.append(writes)
        raise Unavailable(self.how)


@pytest.mark.parametrize("how", ["before", "after", "late"])
def test_a_lost_reply_at_any_commit_changes_nothing_in_the_end(tmp_path: Any, how: str) -> None:
    reached, at = 0, 1
    while True:
        inner = SqliteStore(tmp_path / f"{how}-{at}.db")
        Watch(inner).requests(90, 10)
        losing = Losing(inner, at, how)
        watch = Watch(losing)
        for _ in range(3):  # the scheduler tries again, as functions.yaml says
            try:
                watch.run()
                break
            except Unavailable:
                continue
        lost = losing.commits >= at
        assert watch.run().fired == []
        assert (watch.alert()["seq"], watch.alert()["state"]) == (1, "firing")
        assert sorted(watch.documents("notifications")) == [f"{API}-1-email", f"{API}-1-slack"]
        assert len(watch.documents("incidents")) == 1
        assert watch.doc(RUN)["openAlerts"] == [API]
        assert watch.reported()["total"] == 100
        inner.close()
        if not lost or at > 40:
            break
        reached, at = at, at + 1
    assert 8 <= reached <= 40


# --- what an evaluation costs


@pytest.mark.parametrize("label_sets", [1, 1000])
def test_an_evaluation_reads_40_documents_at_most_cold_and_4_warm_for_all_slos(quick: Watch, label_sets: int) -> None:
    routes = [f"/{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"][:label_sets]
    append(
        quick.store,
        [metric(100, at=IN_SLOT, labels={"endpoint": r, "status": "200"}) for r in routes] * (1000 // label_sets),
        "batch-0001",
        IN_SLOT,
    )
    quick.run()
    history = SloHistory(quick.store)
    reads = []
    for _ in range(2):
        quick.history = history
        before = quick.store.meter.snapshot()
        assert quick.make(fresh=False).evaluate()
        reads.append(quick.store.meter.since(before).reads)
    assert reads == [32, 4]


@pytest.mark.parametrize("label_sets", [1, 1000])
def test_a_whole_warm_run_with_nothing_new_reads_8_documents_and_writes_one(quick: Watch, label_sets: int) -> None:
    """Guard, state of the fold, segments, state of the backfill, three days, and its own commit read back."""
    routes = [f"/{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"][:label_sets]
    metrics = [metric(100, at=IN_SLOT, labels={"endpoint": r, "status": "200"}) for r in routes] * (1000 // label_sets)
    append(quick.store, metrics, "batch-0001", IN_SLOT)
    quick.run()
    before = quick.store.meter.snapshot()
    quick.run()
    used = quick.store.meter.since(before)
    assert (used.reads, used.writes, used.deletes) == (8, 1, 0)


def test_the_configuration_is_read_after_the_guard(quick: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a run could act on a configuration older than the one that the guard names."""
    from tests.core import make_app

    app = make_app(quick.store)
    order: list[str] = []
    get_many, current = quick.store.get_many, SloLoader.current
    monkeypatch.setattr(quick.store, "get_many", lambda paths: (order.extend(paths), get_many(paths))[1])
    monkeypatch.setattr(SloLoader, "current", lambda self, **more: (order.append("config"), current(self, **more))[1])
    alerting.run_alert_rules(app, NOW, lambda: True)
    assert order.index(RUN) < order.index("config")


def test_flags_are_those_of_the_document(quick: Watch) -> None:
    from tests.core import make_app

    quick.store.commit([Merge("config/flags", {"ops": {"slo_enforced": False}})])
    quick.requests(90, 10)
    assert alerting.run_alert_rules(make_app(quick.store), NOW, lambda: True).fired == []
    assert quick.documents("alerts") == {}


# --- records that are there already


def test_an_alert_that_was_deleted_by_hand_fires_again_over_its_old_records(quick: Watch) -> None:
    def slot(number: int, bad: int) -> RunResult:
        quick.requests(90, bad, at=IN_SLOT + 5 * number * SLOT)  # 25 minutes apart: oftener would be damped
        return quick.run(NOW + 5 * number * SLOT)

    for n in range(6):  # three times broken and well again: six notifications a channel, three incidents
        slot(n, 10 if n % 2 == 0 else 0)
    assert quick.alert()["seq"] == 6
    quick.store.commit([Delete(f"alerts/{API}")])
    assert slot(6, 10).fired == [API]
    fired = quick.alert()["seq"]
    assert fired > 6
    assert slot(7, 0).cleared == [API]
    assert quick.alert()["seq"] > fired


def test_an_alert_that_cannot_be_settled_keeps_no_other_back(
    quick: Watch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle = Settling.settle

    def stuck(self: Settling, evaluator: Any, evaluation: Any, *rest: Any) -> None:
        if evaluation.slo.id == "api-availability":
            raise Conflict("alerts/x kept changing")
        settle(self, evaluator, evaluation, *rest)

    monkeypatch.setattr(Settling, "settle", stuck)
    quick.requests(90, 10, ms=900)
    assert quick.run().fired == ["api-latency-p95-threshold"]
    assert "could not be settled" in capsys.readouterr().out
    assert quick.doc(RUN)["finishedAt"] == NOW

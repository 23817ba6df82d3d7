"""A run of alertRules: what it commits, what it leaves to another run, and what stays right when things go wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared import alerting
from shared.alerting import RUN, AlertRun, RunResult, last_mark
from shared.components import load_components
from shared.domain.slo import SloConfig
from shared.domain.status import ComponentStatus, derive
from shared.flags import flatten, load_defaults
from shared.slo_history import SloHistory
from shared.slo_loader import SloLoader, digest_of
from shared.store.protocol import Conflict, Delete, Merge, Put, Query, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, metric, registry
from tests.unit.test_fold import append

MARK = last_mark(NOW)  # 12:00
IN_SLOT = MARK - timedelta(minutes=2)
SLOT = timedelta(minutes=5)
API = "api-availability-threshold"
FLAGS = flatten(load_defaults(CONFIG))
CONFIGURED = {"slack": True}
SHIPPED = json.loads((CONFIG / "slo.json").read_text())


def config_of(data: dict[str, Any]) -> SloConfig:
    from shared.domain.slo import parse_slos

    return parse_slos(data, registry(), source="test", digest=digest_of(data))


def only(name: str = "API Availability", **changes: Any) -> dict[str, Any]:
    (slo,) = [s for s in SHIPPED["slos"] if s["name"] == name]
    return {"slos": [{**slo, **changes}]}


@dataclass
class Watch:
    """Runs over one store; flags, channels and configuration can be changed between them."""

    store: Any
    data: dict[str, Any] = field(default_factory=lambda: SHIPPED)
    flags: dict[str, Any] = field(default_factory=lambda: dict(FLAGS))
    channels: dict[str, bool] = field(default_factory=lambda: dict(CONFIGURED))
    sent: int = 0

    def __post_init__(self) -> None:
        self.history = SloHistory(self.store)

    def make(self, now: datetime = NOW, *, fresh: bool = True) -> AlertRun:
        return AlertRun(
            self.store, config_of(self.data), registry(), load_components(CONFIG), self.history, self.flags,
            self.channels, now, self.store.get(RUN) if fresh else None,
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
    for n in range(3):
        quick.requests(90, 10, IN_SLOT + 2 * n * SLOT)
        quick.run(NOW + 2 * n * SLOT)
        quick.requests(100, 0, IN_SLOT + (2 * n + 1) * SLOT)
        quick.run(NOW + (2 * n + 1) * SLOT)
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
    quick.data = only("API Latency (p95)")
    quick.requests(100, 0, ms=900)
    quick.run()
    quick.requests(100, 0, MARK + timedelta(minutes=1), ms=50)
    alerting.fold(quick.store, registry(), config_of(quick.data).definitions, NOW + SLOT)
    assert quick.run(NOW + SLOT).cleared == ["api-latency-p95-threshold"]
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
    assert quick.reported()["reason"] == reason
    quick.requests(90, 10, IN_SLOT + SLOT)
    quick.run(NOW + SLOT)
    if good + bad:
        quick.requests(good, bad, IN_SLOT + 2 * SLOT)
    assert quick.run(NOW + 2 * SLOT).cleared == []
    assert (quick.reported()["alertState"], quick.reported()["reason"]) == ("firing", reason)


def test_without_data_compliance_reads_no_data_and_there_is_no_budget(quick: Watch) -> None:
    quick.run()
    for slo in quick.doc(RUN)["slos"]:
        assert (slo["compliance"], slo["value"], slo["budgetLeft"], slo["total"]) == ("no_data", None, None, 0)


def test_an_app_that_falls_silent_reads_no_data_on_the_status_at_the_next_run(quick: Watch) -> None:
    def api() -> ComponentStatus:
        return derive(load_components(CONFIG), quick.doc(RUN), [], [], NOW).components[0]

    quick.requests(20, 0)
    quick.run()
    assert quick.reported()["alertTotal"] == 20
    assert (api().component.id, api().state, api().figures["uptime"]) == ("API", "operational", 100.0)
    quick.run(NOW + SLOT)
    reported = quick.reported()
    assert (reported["total"], reported["alertTotal"], reported["reason"]) == (20, 0, "no_data")
    assert (api().state, api().reason, api().figures) == ("no_data", "no_data", {})


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


def test_an_alert_that_was_deleted_by_hand_fires_again_over_its_old_records(quick: Watch) -> None:
    def slot(number: int, bad: int) -> RunResult:
        quick.requests(90, bad, at=IN_SLOT + number * SLOT)
        return quick.run(NOW + number * SLOT)

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
    settle = AlertRun._settle

    def stuck(self: AlertRun, evaluator: Any, evaluation: Any, *rest: Any) -> None:
        if evaluation.slo.id == "api-availability":
            raise Conflict("alerts/x kept changing")
        settle(self, evaluator, evaluation, *rest)

    monkeypatch.setattr(AlertRun, "_settle", stuck)
    quick.requests(90, 10, ms=900)
    assert quick.run().fired == ["api-latency-p95-threshold"]
    assert "could not be settled" in capsys.readouterr().out
    assert quick.doc(RUN)["finishedAt"] == NOW

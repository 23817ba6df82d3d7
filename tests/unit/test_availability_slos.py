"""SLOs on availability: what probes found, and what heartbeats say, also where nothing came at all."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.alerts.alerting import AlertRun
from shared.components import load_components
from shared.domain.heartbeat import Agents
from shared.domain.metric import Registry
from shared.domain.slo import SloConfig
from shared.domain.slo_file import parse_slos
from shared.notify import wording
from shared.run_guard import RUN
from shared.store.protocol import Store
from tests.core import CONFIG, NOW, Clock, make_app, metric, registry, serving
from tests.unit.test_alerting import MARK, SLOT, Watch
from tests.unit.test_fold import append

ALERT = {"severity": "critical", "channels": ["slack"], "window": "10m", "min_events": 4}
PROBES = {
    "slos": [
        {
            "name": "Billing answers", "target": 99, "window": "1d", "metric": "probe_success", "threshold": 50,
            "labels": {"component": "Billing"}, "alert": ALERT,
        }
    ]
}  # fmt: skip
AGENTS = {
    "slos": [
        {
            "name": "Support is there", "target": 99, "window": "1d", "metric": "agent_uptime", "threshold": 95,
            "labels": {"agent": "support"}, "alert": {**ALERT, "window": "5m"},
        }
    ]
}  # fmt: skip
BILLING = "billing-answers-threshold"
SUPPORT = "support-is-there-threshold"


@pytest.fixture
def watch(store: Store) -> Watch:
    return Watch(store, PROBES)


def probed(watch: Watch, results: str, slot: datetime = MARK, component: str = "Billing") -> None:
    """A probe every 30 s of the slot that ends then; `.` was answered and `x` was not."""
    watch.sent += 1
    labels = {"component": component, "probe": "http"}
    metrics = [
        metric(int(result == "."), "probe_success", at=slot - SLOT + timedelta(seconds=30 * n), labels=labels)
        for n, result in enumerate(results)
    ]
    append(watch.store, metrics, f"probe-{watch.sent:06}", slot - timedelta(seconds=1))


def test_probes_that_fail_fire_and_clear_with_the_component_that_they_are_of(watch: Watch) -> None:
    probed(watch, "..........", MARK - SLOT)
    probed(watch, "..........", component="API")
    probed(watch, "xxxxxxxxxx")
    assert watch.run(NOW).fired == []  # exactly half
    probed(watch, "xxxxxxxxxx", MARK + SLOT)
    assert watch.run(NOW + SLOT).fired == [BILLING]
    alert = watch.alert(BILLING)
    assert (alert["good"], alert["total"], alert["value"], alert["component"]) == (0, 20, 0.0, "Billing")
    (told,) = watch.documents("notifications").values()
    assert wording.sentence(told["facts"], resolved=False) == (
        "At least 50 % of probes should be answered (component Billing); in the last 10 minutes 0 % were answered."
    )
    reported = watch.reported("billing-answers")
    assert (reported["good"], reported["total"], reported["compliance"], reported["component"]) == (
        10, 30, "missed", "Billing",
    )  # fmt: skip
    for n in (2, 3):
        probed(watch, "..........", MARK + n * SLOT)
    watch.run(NOW + 2 * SLOT)
    assert watch.run(NOW + 3 * SLOT).cleared == [BILLING] or watch.alert(BILLING)["state"] == "resolved"


@pytest.mark.parametrize(
    ("results", "reason"), [("", "no_data"), ("xxx", "too_few_events"), ("..xx", "within_threshold")]
)
def test_windows_without_probes_or_with_few_page_nobody(watch: Watch, results: str, reason: str) -> None:
    probed(watch, "....", MARK - 5 * SLOT)
    watch.run(NOW - 4 * SLOT)
    if results:
        probed(watch, results)
    assert watch.run(NOW).fired == []
    reported = watch.reported("billing-answers")
    assert (reported["alertState"], reported["reason"]) == ("ok", reason)
    assert reported["alertTotal"] == len(results)
    assert reported["value"] == (None if not results else 100 * results.count(".") / len(results))


def test_without_a_single_probe_there_is_no_data_and_no_budget(watch: Watch) -> None:
    watch.run(NOW)
    reported = watch.reported("billing-answers")
    assert (reported["compliance"], reported["value"], reported["budgetLeft"], reported["total"]) == (
        "no_data", None, None, 0,
    )  # fmt: skip


def test_a_probe_that_falls_silent_may_page_where_the_slo_says_so(watch: Watch) -> None:
    watch.data = {"slos": [{**PROBES["slos"][0], "alert": {**ALERT, "no_data": "alert"}}]}  # type: ignore[dict-item]
    probed(watch, "..........")
    assert watch.run(NOW).fired == []
    assert watch.run(NOW + 2 * SLOT).fired == [BILLING]
    assert watch.alert(BILLING)["reason"] == "no_data_alert"


# --- heartbeats


def beating(store: Store, moments: list[datetime]) -> None:
    """Beats of the agent `support`, over the door of ingest."""
    clock = Clock()
    with serving(make_app(store, clock)) as client:
        for at in moments:
            clock.now = at
            assert client.send({}, path="/api/metrics/heartbeat/support")[0] == 202


def agents_run(store: Store, watch: Watch, now: datetime) -> Any:
    config: SloConfig = parse_slos(AGENTS, kept(), source="test", digest="agents")
    run = AlertRun(
        store, config, kept(), load_components(CONFIG), watch.history, watch.flags, watch.channels, now,
        store.get(RUN), Agents(),
    )  # fmt: skip
    return run(lambda: True)


def kept() -> Registry:
    return registry()


def test_an_agent_whose_beats_stop_is_down_and_up_again_when_they_come_back(store: Store) -> None:
    watch = Watch(store, AGENTS)
    minute = timedelta(minutes=1)
    assert agents_run(store, watch, NOW - 2 * SLOT).fired == []  # no agent was ever seen: nothing to judge
    assert watch.reported("support-is-there")["reason"] == "no_data_yet"
    beating(store, [MARK - 5 * minute + n * minute for n in range(5)])
    assert agents_run(store, watch, NOW).fired == []
    reported = watch.reported("support-is-there")
    assert (reported["good"], reported["total"], reported["alertTotal"], reported["value"]) == (300, 300, 300, 100.0)
    # a slot in which nothing comes at all is downtime and not silence
    assert agents_run(store, watch, NOW + SLOT).fired == [SUPPORT]
    alert = watch.alert(SUPPORT)
    assert (alert["good"], alert["total"], alert["reason"]) == (30, 300, "threshold_exceeded")
    beating(store, [MARK + SLOT + n * minute for n in range(5)])
    assert agents_run(store, watch, NOW + 2 * SLOT).cleared == [SUPPORT]
    reported = watch.reported("support-is-there")
    assert (reported["good"], reported["total"], reported["compliance"]) == (630, 900, "missed")

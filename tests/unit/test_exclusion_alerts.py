"""Alerts and reports while something is excluded: nothing fires by it, and nothing clears by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.alerts.alerting import AlertRun, run_alert_rules
from shared.components import load_components
from shared.domain.exclusion import Exclusion, Span
from shared.run_guard import RUN
from shared.slo.exclusions import EXCLUSIONS, add, cancel, exclusions_of
from shared.store.protocol import Store
from tests.core import CONFIG, NOW, Clock, make_app, registry
from tests.unit.test_alerting import API, IN_SLOT, MARK, SLOT, Watch, config_of, only

PAGE = "api-availability-page"
LATENCY = "api-latency-p95-threshold"


@dataclass
class Excluding(Watch):
    """A watch whose runs know the exclusions of the store."""

    def make(self, now: datetime = NOW, *, fresh: bool = True) -> AlertRun:
        before, excluded = self.store.get_many([RUN, EXCLUSIONS])
        return AlertRun(
            self.store, config_of(self.data), registry(), load_components(CONFIG), self.history, self.flags,
            self.channels, now, before if fresh else None, exclusions=exclusions_of(excluded),
        )  # fmt: skip

    def exclude(self, first: int, end: int = 0, **changes: Any) -> str:
        """Slots before `MARK`."""
        name = f"e{first}-{end}"
        given = {"id": name, "span": Span(MARK - first * SLOT, MARK - end * SLOT), "reason": "r", "created_by": "ada"}
        add(self.store, Exclusion(**{**given, "created_at": NOW, **changes}), NOW)
        return name


@pytest.fixture
def watch(store: Store) -> Excluding:
    return Excluding(store, only())


def with_alert(**changes: Any) -> dict[str, Any]:
    return only(alert={"severity": "critical", "channels": ["slack"], **changes})


def test_an_outage_in_an_excluded_time_tells_nobody(watch: Excluding) -> None:
    watch.requests(0, 100)
    watch.exclude(1)
    assert watch.run().fired == []
    found = watch.reported()
    assert (found["alertState"], found["reason"], found["compliance"]) == ("ok", "excluded", "no_data")
    assert (found["good"], found["total"], found["alertTotal"], found["excludedSeconds"]) == (0, 0, 0, 300)
    assert watch.documents("notifications") == watch.documents("incidents") == {}


def test_what_is_excluded_afterwards_has_not_held(watch: Excluding) -> None:
    """Slots 0 to 2, with 20 % failed, are excluded once they are over; from slot 3 on it is an outage of its own."""
    watch.data = with_alert(**{"for": "20m"})
    for n in range(8):
        watch.requests(80, 20, IN_SLOT + n * SLOT)
        if n == 3:
            watch.exclude(1, -2)
        assert watch.run(NOW + n * SLOT).fired == ([API] if n == 7 else [])
        assert watch.alert()["state"] == ("firing" if n == 7 else "pending")
        assert n < 3 or n == 7 or watch.alert()["since"] == MARK + 3 * SLOT


def test_what_is_excluded_elsewhere_does_not_begin_the_waiting_anew(watch: Excluding) -> None:
    watch.data = with_alert(**{"for": "20m"})
    for n in range(5):
        watch.requests(80, 20, IN_SLOT + n * SLOT)
        if n == 3:
            watch.exclude(1, -2, slos=("another",))
        assert watch.run(NOW + n * SLOT).fired == ([API] if n == 4 else [])


def test_a_breach_must_have_held_by_the_threshold_that_is_new(watch: Excluding) -> None:
    watch.data = with_alert(**{"for": "15m"})
    for n, bad in enumerate((2, 2, 20, 20, 20, 20)):
        watch.requests(100 - bad, bad, IN_SLOT + n * SLOT)
        if n == 3:
            watch.data["slos"][0]["threshold"] = 10
        assert watch.run(NOW + n * SLOT).fired == ([API] if n == 5 else [])


def test_one_that_is_cancelled_counts_again(watch: Excluding) -> None:
    watch.requests(0, 100)
    name = watch.exclude(1)
    watch.run()
    cancel(watch.store, name, NOW)
    assert watch.run(NOW).fired == [API]
    assert watch.reported()["excludedSeconds"] == 0


def test_an_alert_that_fires_goes_on_while_its_window_is_excluded(watch: Excluding) -> None:
    watch.requests(0, 100)
    assert watch.run().fired == [API]
    watch.exclude(0, -2)
    watch.requests(100, 0, IN_SLOT + SLOT)
    for n in (1, 2):
        assert watch.run(NOW + n * SLOT).cleared == []
        assert (watch.reported()["alertState"], watch.reported()["reason"]) == ("firing", "excluded")
    watch.requests(100, 0, IN_SLOT + 3 * SLOT)
    assert watch.run(NOW + 3 * SLOT).cleared == [API]


@pytest.mark.parametrize("policy", ["keep", "ok", "alert"])
def test_no_policy_of_silence_is_for_a_window_of_which_nothing_is_left(store: Store, policy: str) -> None:
    watch = Excluding(store, with_alert(no_data=policy, window="10m"))
    watch.requests(100, 0, IN_SLOT - 3 * SLOT)
    watch.exclude(2)
    assert (watch.run().fired, watch.reported()["reason"]) == ([], "excluded")
    assert (watch.run(NOW + SLOT).fired, watch.reported()["reason"]) == ([], "excluded")  # half of it is silence
    assert watch.run(NOW + 2 * SLOT).fired == ([API] if policy == "alert" else [])  # and now all of it


def test_what_is_left_of_a_window_decides(store: Store) -> None:
    watch = Excluding(store, with_alert(window="10m"))
    watch.requests(0, 100, IN_SLOT - SLOT)
    watch.requests(90, 10)
    watch.exclude(2, 1)
    assert watch.run().fired == [API]
    alert = watch.alert()
    assert (alert["good"], alert["total"], alert["value"]) == (90, 100, 10.0)


def test_the_quantile_that_is_told_is_of_what_counts(store: Store) -> None:
    latency = only("API Latency (p95)")
    latency["slos"][0]["alert"]["window"] = "10m"
    watch = Excluding(store, latency)
    watch.requests(100, 0, IN_SLOT - SLOT, ms=9000)
    watch.requests(100, 0, ms=500)
    watch.exclude(2, 1)
    assert watch.run().fired == [LATENCY]
    alert = watch.alert(LATENCY)
    assert alert["total"] == 100
    assert alert["value"] == pytest.approx(500, rel=0.01)


def test_a_page_neither_fires_nor_clears_by_an_excluded_time(store: Store) -> None:
    watch = Excluding(store, with_alert(burn_rates=True))
    for n in range(1, 13):
        watch.requests(100, 0, IN_SLOT - n * SLOT)
    watch.requests(0, 1000)
    name = watch.exclude(1)
    assert PAGE not in watch.run().fired
    cancel(store, name, NOW)
    assert PAGE in watch.run().fired
    watch.exclude(0, -7, slos=("api-availability",))
    for n in range(1, 8):
        watch.requests(100, 0, IN_SLOT + n * SLOT)
        assert watch.run(NOW + n * SLOT).cleared == []
    assert watch.alert(PAGE)["state"] == "firing"
    for n in range(8, 16):
        watch.requests(100, 0, IN_SLOT + n * SLOT)
        if PAGE in watch.run(NOW + n * SLOT).cleared:
            break
    assert watch.alert(PAGE)["reason"] == "back_within_burn_rate"


def test_another_slo_or_component_is_not_touched(watch: Excluding) -> None:
    watch.requests(0, 100)
    watch.exclude(1, slos=("api-latency-p95",))
    watch.exclude(2, components=("Database",))
    assert watch.run().fired == [API]
    assert watch.reported()["excludedSeconds"] == 0


def test_a_run_goes_by_the_exclusions_of_the_store_and_reads_no_more_for_them(store: Store) -> None:
    watch = Excluding(store)
    watch.requests(0, 100)
    watch.exclude(12)
    app = make_app(store, Clock(NOW))
    assert run_alert_rules(app, NOW, lambda: True).fired == []
    assert watch.reported()["excludedSeconds"] == 3600
    reads = []
    for n in (1, 2):
        before = store.meter.snapshot()
        run_alert_rules(app, NOW + timedelta(seconds=n), lambda: True)
        reads.append(store.meter.since(before).reads)
        for m in range(100 * (n == 1)):
            watch.exclude(13 + m)
    assert reads[0] == reads[1]

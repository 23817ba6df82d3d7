"""Runs of alertRules that come late or not at all, data that comes late, and rules that change while they fire."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain.alert import rules_of
from shared.domain.catch_up import CATCH_UP, SLOT
from shared.domain.replay import Slots, transitions
from shared.store.protocol import Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.unit.test_alerting import API, IN_SLOT, MARK, RUN, Watch, config_of, only

PAGER = {"slack": True, "email": True, "pagerduty": True}


def with_alert(**policy: Any) -> dict[str, Any]:
    return only(alert={"severity": "critical", "channels": ["slack"], **policy})


@pytest.fixture
def watch(store: Store) -> Watch:
    return Watch(store, with_alert())


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Watch:
    return Watch(sqlite_store, with_alert())


def fill(watch: Watch, bads: Sequence[int], first: int = 0) -> None:
    """Slots of 100 requests each, so many of them bad; slot 0 is the one that a run at NOW judges last."""
    for n, bad in enumerate(bads, start=first):
        watch.requests(100 - bad, bad, IN_SLOT + n * SLOT)


def told(watch: Watch) -> list[tuple[str, str]]:
    return sorted((name, n["kind"]) for name, n in watch.documents("notifications").items())


# --- runs that come late


def test_a_late_run_counts_only_what_has_held(watch: Watch) -> None:
    watch.data = with_alert(**{"for": "15m"})
    fill(watch, [20, 0, 0, 20])
    watch.run(NOW)
    assert watch.alert()["state"] == "pending"
    assert watch.run(NOW + 3 * SLOT).fired == []
    assert (watch.alert()["state"], watch.alert()["since"]) == ("pending", MARK + 3 * SLOT)
    fill(watch, [20, 20, 20], first=4)
    assert watch.run(NOW + 6 * SLOT).fired == [API]
    assert watch.alert()["fired"] == [MARK + 6 * SLOT]


def test_what_was_over_before_a_late_run_is_told_by_it_and_ends_with_the_next(watch: Watch) -> None:
    fill(watch, [0, 20, 20, 0, 0])
    watch.run(NOW)
    late = NOW + 4 * SLOT
    assert watch.run(late).fired == [API]
    alert = watch.alert()
    assert (alert["state"], alert["reason"], alert["judgedAt"]) == ("firing", "over_already", MARK + SLOT)
    assert (alert["good"], alert["total"], alert["value"]) == (80, 100, 20.0)
    again = watch.run(late)
    assert (again.fired, again.cleared, watch.reported()["reason"]) == ([], [], "over_already")
    assert watch.run(late + SLOT).cleared == [API]
    assert watch.alert()["judgedAt"] == MARK + 3 * SLOT
    assert told(watch) == [(f"{API}-1-slack", "trigger"), (f"{API}-2-slack", "resolve")]
    (incident,) = watch.documents("incidents").values()
    assert incident["status"] == "resolved"
    assert "until 2026-03-10 12:05 UTC" in incident["updates"][0]["message"]
    assert watch.run(late + 2 * SLOT).fired == []


def test_the_value_of_a_quantile_is_that_of_the_time_that_is_told(quick: Watch) -> None:
    quick.data = only("API Latency (p95)")
    for n, ms in enumerate([100, 900, 100, 100]):
        quick.requests(100, 0, IN_SLOT + n * SLOT, ms=ms)
    quick.run(NOW)
    assert quick.run(NOW + 3 * SLOT).fired == ["api-latency-p95-threshold"]
    assert quick.alert("api-latency-p95-threshold")["value"] == pytest.approx(900, rel=0.01)


def test_after_a_very_long_time_without_runs_only_the_last_hours_are_judged(quick: Watch) -> None:
    fill(quick, [0, 20, 20, 0])
    quick.run(NOW)
    slots = CATCH_UP // SLOT
    quick.requests(100, 0, IN_SLOT + (slots + 3) * SLOT)
    assert quick.run(NOW + (slots + 3) * SLOT).fired == []


def test_while_alerts_are_not_enforced_no_slot_is_left_to_be_judged_later(quick: Watch) -> None:
    fill(quick, [0, 20, 20, 0])
    quick.run(NOW)
    quick.flags["ops.slo_enforced"] = False
    quick.run(NOW + 2 * SLOT)
    quick.flags["ops.slo_enforced"] = True
    assert quick.run(NOW + 3 * SLOT).fired == []


def test_slots_that_were_judged_stay_so_under_a_new_configuration(quick: Watch) -> None:
    fill(quick, [0, 20, 0, 0])
    quick.data = with_alert(min_failures=50)
    quick.run(NOW)
    quick.run(NOW + 2 * SLOT)
    quick.data = with_alert()
    assert quick.run(NOW + 3 * SLOT).fired == []
    assert quick.run(NOW + 4 * SLOT).fired == []


def test_a_run_that_died_before_its_end_leaves_nothing_judged_twice_or_not_at_all(quick: Watch) -> None:
    fill(quick, [0, 20, 0, 20])
    quick.run(NOW)
    dying = quick.make(NOW + SLOT)
    dying._finish = lambda *_: None  # type: ignore[method-assign, assignment]
    assert dying(lambda: True).fired == [API]
    assert quick.run(NOW + 2 * SLOT).cleared == [API]
    assert quick.run(NOW + 3 * SLOT).fired == [API]
    assert quick.alert()["fired"] == [MARK + SLOT, MARK + 3 * SLOT]


# --- data that comes late


def test_an_outage_reported_by_a_client_that_sends_a_minute_later_fires(watch: Watch) -> None:
    """Every slot is empty when its run comes."""
    for n in range(6):
        watch.run(NOW + n * SLOT)
        bad = 20 if n in (1, 2) else 0
        watch.requests(100 - bad, bad, IN_SLOT + n * SLOT)
    assert told(watch) == [(f"{API}-1-slack", "trigger"), (f"{API}-2-slack", "resolve")]
    assert watch.alert()["fired"] == [MARK + SLOT]


def test_a_slot_that_becomes_bad_after_its_run_is_told_once(quick: Watch) -> None:
    fill(quick, [0, 0])
    quick.run(NOW)
    quick.run(NOW + SLOT)
    quick.requests(0, 20, IN_SLOT + SLOT)
    for n in range(2, 6):
        fill(quick, [0], first=n)
        quick.run(NOW + n * SLOT)
    assert told(quick) == [(f"{API}-1-slack", "trigger"), (f"{API}-2-slack", "resolve")]


# --- the path that runs is the one that is replayed


@pytest.mark.parametrize("seed", range(4))
def test_runs_over_any_history_tell_what_a_replay_of_it_tells(quick: Watch, seed: int) -> None:
    source = random.Random(seed)
    policy = {"for": source.choice(["0m", "10m"]), "keep_firing_for": source.choice(["0m", "10m"]), "min_events": 10}
    quick.data = with_alert(burn_rates=True, no_data=source.choice(["keep", "ok", "alert"]), **policy)
    config = config_of(quick.data)
    kinds = [(100, 0), (80, 20), (95, 5), (3, 0), (1, 2), (0, 0)]
    slots = [kind for _ in range(14) for kind in [source.choice(kinds)] * source.randint(1, 4)]
    for n, (good, bad) in enumerate(slots):
        if good + bad:
            quick.requests(good, bad, IN_SLOT + n * SLOT)
        quick.run(NOW + n * SLOT)
    history = Slots(MARK - SLOT, [good for good, _ in slots], [good + bad for good, bad in slots])
    for rule in rules_of(config.slos[0], config):
        moments = [(at, taken.transition) for at, taken in transitions(rule, history)]
        fired: list[datetime] = [at for at, transition in moments if transition == "fire"]
        cleared = [at for at, transition in moments if transition == "clear"]
        records = quick.documents("alert_firings")
        own = sorted((r["firedAt"], r["resolvedAt"]) for r in records.values() if r["alertId"] == rule.alert_id)
        late = NOW - MARK
        assert own == [(at + late, cleared[n] + late if n < len(cleared) else None) for n, at in enumerate(fired)], (
            rule.name
        )


# --- rules that change while they fire


def test_a_channel_that_is_added_hears_what_still_fires(watch: Watch) -> None:
    watch.channels = dict(PAGER)
    fill(watch, [20, 20, 20])
    watch.run(NOW)
    watch.data = with_alert(channels=["slack", "email"])
    assert watch.run(NOW + SLOT).told_again == [API]
    assert watch.run(NOW + 2 * SLOT).told_again == []
    assert told(watch) == [(f"{API}-1-slack", "trigger"), (f"{API}-2-email", "trigger")]
    assert set(watch.alert()["channels"]) == {"slack", "email"}


def test_what_becomes_more_severe_is_told_to_all_and_what_becomes_less_so_to_nobody(quick: Watch) -> None:
    quick.channels = dict(PAGER)
    fill(quick, [20] * 6)
    quick.data = with_alert(severity="warning", channels=["slack", "email"])
    quick.run(NOW)
    quick.data = with_alert(severity="critical", channels=["slack", "email"])
    assert quick.run(NOW + SLOT).told_again == [API]
    assert (quick.alert()["severity"], quick.alert()["seq"]) == ("critical", 2)
    assert quick.documents("notifications")[f"{API}-2-slack"]["facts"]["severity"] == "critical"
    quick.data = with_alert(severity="high", channels=["slack", "email"])
    for n in (2, 3):
        assert quick.run(NOW + n * SLOT).told_again == []
    assert len(quick.documents("incidents")) == 1


def test_a_pending_alert_whose_slo_was_removed_ends_without_touching_its_last_firing(quick: Watch) -> None:
    fill(quick, [20, 0])
    quick.run(NOW)
    quick.run(NOW + SLOT)
    quick.data = with_alert(**{"for": "30m"})
    fill(quick, [20, 20, 20], first=2)
    quick.run(NOW + 2 * SLOT)
    assert quick.alert()["state"] == "pending"
    before = (quick.documents("alert_firings"), quick.documents("incidents"), quick.documents("notifications"))
    quick.data = {"slos": []}
    assert quick.run(NOW + 3 * SLOT).cleared == []
    alert = quick.alert()
    assert (alert["state"], alert["reason"], alert["resolvedAt"], alert["seq"]) == ("ok", "slo_removed", None, 2)
    assert before == (
        quick.documents("alert_firings"), quick.documents("incidents"), quick.documents("notifications")
    )  # fmt: skip
    assert quick.doc(RUN)["openAlerts"] == []


def test_silence_that_is_no_trouble_ends_an_alert_in_its_own_words(quick: Watch) -> None:
    quick.data = with_alert(no_data="ok")
    fill(quick, [20])
    quick.run(NOW)
    assert quick.run(NOW + SLOT).cleared == [API]
    assert (quick.alert()["reason"], quick.alert()["value"]) == ("no_data_ok", None)


def test_what_fired_by_day_clears_at_night(quick: Watch) -> None:
    fill(quick, [20])
    quick.run(NOW)
    for n in range(1, 5):
        quick.requests(3, 0, IN_SLOT + n * SLOT)
        assert quick.run(NOW + n * SLOT).cleared == ([API] if n == 4 else [])
    alert = quick.alert()
    assert (alert["good"], alert["total"], alert["windowSeconds"]) == (12, 12, 4 * 300)
    assert timedelta(seconds=alert["windowSeconds"]) == 4 * SLOT

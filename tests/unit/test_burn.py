"""Burn rates: the arithmetic, windows scaled to an SLO's own, and the alerts from counts to the message."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.budget import burn_rate
from shared.domain.burn import Burning, Pair, burns, can_fire, scaled
from shared.domain.definition import Counts
from shared.domain.faults import ConfigError
from shared.notify.wording import sentence
from shared.slo_loader import load_burn_windows
from shared.store.protocol import Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW
from tests.unit.test_alerting import IN_SLOT, SLOT, Watch, config_of, only

OBJECTIVES = st.integers(0, 10_000).map(lambda n: Fraction(n, 10_000))
FACTORS = st.sampled_from([Fraction(Decimal("14.4")), Fraction(6), Fraction(3), Fraction(1)])
HOUR, DAY = 3600, 86_400


@given(st.integers(0, 10**9), st.integers(1, 10**9), OBJECTIVES, FACTORS)
def test_a_burn_rate_is_compared_exactly(bad: int, total: int, objective: Fraction, factor: Fraction) -> None:
    counts = Counts(total - min(bad, total), total)
    rate = burn_rate(counts, objective)
    assert rate is not None
    assert burns(counts, objective, factor) == (rate == "infinite" or rate > factor)


@pytest.mark.parametrize(("bad", "fires"), [(143, False), (144, False), (145, True)])
def test_at_equality_it_does_not_burn_too_fast_and_one_event_more_does(bad: int, fires: bool) -> None:
    """14.4 times of 0.1 % are 144 of 10,000 events: rounded first, as a float, it would be beyond."""
    assert burns(Counts(10_000 - bad, 10_000), Fraction(999, 1000), Fraction(Decimal("14.4"))) == fires


def test_without_events_there_is_no_rate_and_nothing_burns() -> None:
    assert not burns(Counts(0, 0), Fraction(99, 100), Fraction(1))
    assert not burns(Counts(0, 0), Fraction(1), Fraction(1))
    silent = Burning(Pair(Fraction(6), HOUR, 300), Counts(0, 0), Counts(0, 0))
    assert silent.ratio(Fraction(99, 100)) == 0


@given(OBJECTIVES, FACTORS)
def test_a_factor_can_fire_just_if_an_outage_burns_faster(objective: Fraction, factor: Fraction) -> None:
    assert can_fire(factor, objective) == burns(Counts(0, 1000), objective, factor)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (30 * DAY, [(HOUR, 300), (6 * HOUR, 1800), (DAY, 2 * HOUR), (3 * DAY, 6 * HOUR)]),
        (7 * DAY, [(900, 300), (5100, 600), (20_400, 1800), (60_600, 5100)]),
        (90 * DAY, [(3 * HOUR, 900), (18 * HOUR, 5400), (3 * DAY, 6 * HOUR), (9 * DAY, 18 * HOUR)]),
        (DAY, [(300, 300), (900, 300), (3000, 300), (8700, 900)]),
    ],
)
def test_windows_are_scaled_with_the_slos_and_are_whole_slots(window: int, expected: list[tuple[int, int]]) -> None:
    config = load_burn_windows(CONFIG)
    pairs = [pair for rule in config.rules for pair in scaled(rule.windows, config.period, window)]
    assert [(pair.long, pair.short) for pair in pairs] == expected


@pytest.mark.parametrize(
    ("long", "short", "verdict"),
    [
        (Counts(0, 0), Counts(0, 0), "no_data"),
        (Counts(900, 1000), Counts(0, 0), "no_data"),  # silence is no recovery
        (Counts(0, 9), Counts(0, 9), "too_few_events"),
        (Counts(0, 10), Counts(0, 10), "breach"),
        (Counts(96, 100), Counts(96, 100), "too_few_failures"),
        (Counts(95, 100), Counts(95, 100), "breach"),
        (Counts(950, 1000), Counts(9, 10), "breach"),
        (Counts(950, 1000), Counts(100, 100), "within"),  # it is over
        (Counts(999, 1000), Counts(0, 10), "within"),  # it has only begun
    ],
)
def test_both_windows_must_burn_with_enough_events_and_failures(long: Counts, short: Counts, verdict: str) -> None:
    one = Burning(Pair(Fraction(Decimal("14.4")), HOUR, 300), long, short)
    assert one.verdict(Fraction(999, 1000), 10, 5) == verdict


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"period": "30d", "rules": [{"name": "threshold", "windows": []}]}', "rules[0].windows"),
        ('{"period": "30d", "rules": [{"name": "a", "windows": [{"factor": 0}]}]}', "rules[0].windows[0].factor"),
        ('{"period": "1y", "rules": []}', "period: a duration is a number with m, h, d or w"),
    ],
)  # fmt: skip
def test_a_broken_file_of_windows_is_told_with_its_places(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "burn_windows.json").write_text(text)
    with pytest.raises(ConfigError, match=r"burn_windows\.json") as caught:
        load_burn_windows(tmp_path)
    assert any(fault in told for told in caught.value.faults)


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    rule = '{"name": "a", "windows": [{"factor": 2, "long": "1h", "short": "5m"}]}'
    (tmp_path / "burn_windows.json").write_text(f'{{"period": "30d", "rules": [{rule}, {rule}]}}')
    with pytest.raises(ConfigError, match="names of their own"):
        load_burn_windows(tmp_path)


# --- in a run


def burning(**policy: Any) -> dict[str, Any]:
    """API Availability 99.5 % with a threshold that never fires, so that burn rates alone do."""
    data = only(threshold=100)
    alert = {"severity": "critical", "channels": ["slack", "pagerduty"], "burn_rates": True, **policy}
    data["slos"][0]["alert"] = alert
    return data


ALERT = {"severity": "high", "channels": ["slack"]}
PAGE, TICKET = "api-availability-page", "api-availability-ticket"


def test_an_outage_pages_and_clears_with_its_short_windows(store: Store) -> None:
    watch = Watch(store, burning())
    for n in range(12):
        watch.requests(100, 0, IN_SLOT - (n + 1) * SLOT)
    watch.requests(0, 100)
    assert PAGE in watch.run().fired
    alert = watch.alert(PAGE)
    assert (alert["rule"], alert["severity"], alert["reason"]) == ("page", "critical", "burn_rate_exceeded")
    assert (alert["good"], alert["total"], alert["windowSeconds"]) == (1100, 1200, HOUR)
    assert sentence(alert, resolved=False) == (
        "In the last hour 8.3 % of requests failed, and at most 0.5 % may. "
        "That burns the error budget of 30 days 16.7 × as fast as it may, and 15.4 × the whole budget is spent."
    )
    assert watch.doc(f"incidents/{alert['incidentId']}")["impact"] == "critical"
    for n in range(1, 8):
        watch.requests(100, 0, IN_SLOT + n * SLOT)
        cleared = watch.run(NOW + n * SLOT).cleared
        assert (PAGE in cleared) == (n == 6)  # once the outage has left the half hour of the slower pair
    cleared_by = watch.alert(PAGE)
    assert (cleared_by["reason"], cleared_by["windowSeconds"]) == ("back_within_burn_rate", 300)
    assert (cleared_by["good"], cleared_by["total"]) == (100, 100), "what was counted is of the window that is told"
    assert "in the last 5 minutes it burned 0 × as fast" in sentence(cleared_by, resolved=True)


def test_the_pair_of_windows_that_fires_is_told_and_not_one_with_too_few_failures(sqlite_store: SqliteStore) -> None:
    watch = Watch(sqlite_store, burning())
    for hours in (2, 3, 4, 5):
        watch.requests(36, 4, IN_SLOT - timedelta(hours=hours))
    watch.requests(13, 7)  # 70 times as fast, with one failure too few for the first pair
    assert PAGE in watch.run().fired
    alert = watch.alert(PAGE)
    assert (alert["threshold"], alert["windowSeconds"]) == (6, 6 * HOUR)
    assert (alert["good"], alert["total"]) == (157, 180)


def test_a_ticket_is_a_warning_that_wakes_nobody(store: Store) -> None:
    watch = Watch(store, burning())
    for hours in range(0, 24, 2):
        watch.requests(970, 30, IN_SLOT - timedelta(hours=hours))  # six times as fast as it may: no page
    assert watch.run().fired == [TICKET]
    alert = watch.alert(TICKET)
    assert (alert["severity"], sorted(alert["channels"])) == ("warning", ["slack"])
    assert (alert["incidentId"], watch.documents("incidents")) == (None, {})


def test_a_breach_that_must_hold_is_pending_and_seen_by_nobody(store: Store) -> None:
    data = only()
    data["slos"][0]["alert"] = {"severity": "critical", "channels": ["slack"], "for": "10m"}
    name = "api-availability-threshold"
    watch = Watch(store, data)
    for n, fired in enumerate(([], [], [name])):
        watch.requests(90, 10, IN_SLOT + n * SLOT)
        assert watch.run(NOW + n * SLOT).fired == fired
        assert watch.alert()["state"] == ("firing" if fired else "pending")
        assert watch.doc("runs/alertRules")["openAlerts"] == [name]
        assert len(watch.documents("notifications")) == len(watch.documents("incidents")) == len(fired)
    assert watch.alert()["seq"] == 1


def test_what_was_pending_and_recovers_was_never_told(store: Store) -> None:
    data = only()
    data["slos"][0]["alert"] = {"severity": "critical", "channels": ["slack"], "for": "10m"}
    watch = Watch(store, data)
    watch.requests(90, 10)
    watch.run()
    watch.requests(100, 0, IN_SLOT + SLOT)
    result = watch.run(NOW + SLOT)
    assert (result.fired, result.cleared) == ([], [])
    assert (watch.alert()["state"], watch.alert()["reason"]) == ("ok", "back_within_threshold")
    assert watch.doc("runs/alertRules")["openAlerts"] == []
    assert watch.documents("notifications") == {}


def test_what_keeps_firing_clears_once_it_was_calm_for_long_enough(store: Store) -> None:
    data = only()
    data["slos"][0]["alert"] = {"severity": "critical", "channels": ["slack"], "keep_firing_for": "10m"}
    watch = Watch(store, data)
    watch.requests(90, 10)
    watch.run()
    for n, cleared in ((1, []), (2, []), (3, ["api-availability-threshold"])):
        watch.requests(100, 0, IN_SLOT + n * SLOT)
        assert watch.run(NOW + n * SLOT).cleared == cleared
    assert len(watch.documents("notifications")) == 2


def test_an_slo_may_fire_without_an_incident_or_with_another_impact(store: Store) -> None:
    data = only()
    data["slos"][0]["alert"] = {"severity": "critical", "channels": ["slack"], "incident": False}
    watch = Watch(store, data)
    watch.requests(90, 10)
    watch.run()
    assert (watch.alert()["incidentId"], watch.documents("incidents")) == (None, {})
    watch.requests(100, 0, IN_SLOT + SLOT)
    watch.run(NOW + SLOT)
    data["slos"][0]["alert"] = {"severity": "critical", "channels": ["slack"], "impact": "low"}
    watch.requests(90, 10, IN_SLOT + 2 * SLOT)
    watch.run(NOW + 2 * SLOT)
    assert watch.doc(f"incidents/{watch.alert()['incidentId']}")["impact"] == "low"


def test_a_burn_rule_whose_slo_no_longer_wants_it_ends(store: Store) -> None:
    watch = Watch(store, burning())
    watch.requests(0, 100)
    assert PAGE in watch.run().fired
    watch.data = only(threshold=100)
    assert PAGE in watch.run(NOW + SLOT).cleared
    assert watch.alert(PAGE)["reason"] == "slo_removed"
    assert sentence(watch.alert(PAGE), resolved=True).endswith("no longer configured, so the alert is closed.")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"window": "1h"}, "slos[0].alert.burn_rates: for a window of a day at least"),
        ({"target": 100}, "slos[0].alert.burn_rates: an objective of 100 % leaves no budget to burn"),
        ({"window": "401d"}, "slos[0].window: at most 400d, since counts are kept no longer"),
        ({"alert": {**ALERT, "for": "7m"}}, "slos[0].alert.for: a duration must be a multiple of 5 minutes"),
        ({"alert": {**ALERT, "no_data": "page"}}, "slos[0].alert.no_data: must be 'keep', 'ok' or 'alert'"),
    ],
)
def test_faults_of_the_policy_are_told(changes: dict[str, Any], fault: str) -> None:
    data = burning()
    data["slos"][0] |= changes
    with pytest.raises(ConfigError) as caught:
        config_of(data)
    assert caught.value.faults == [fault]


def burning_of(**facts: Any) -> str:
    burn = {"objective": "95 %", "budgetSeconds": 30 * 24 * HOUR, "shortSeconds": 300, "budgetLeft": 0.5}
    known = {
        "metric": "api_latency_p95", "labels": {}, "unit": "×", "under": "400 ms", "aggregation": "burn", "value": 14.5,
        "threshold": 14.4, "comparison": "above", "good": 11, "total": 40, "windowSeconds": HOUR, "burn": burn,
    }  # fmt: skip
    return sentence({**known, **facts}, resolved=False)


def test_what_burns_a_budget_is_told_by_what_users_feel() -> None:
    burns = ". That burns the error budget of 30 days 14.5 × as fast as it may, and 50 % of it is left."
    assert burning_of() == (
        "In the last hour 72.5 % of requests did not stay within 400 ms, and at most 5 % may" + burns
    )
    assert burning_of(metric="checkout", under=None, labels={"shop": "one"}) == (
        "In the last hour 72.5 % of checkout was bad (shop one), and at most 5 % may" + burns
    )
    assert burning_of(good=None, total=None).startswith("The error budget of api_latency over 30 days (95 % good)")

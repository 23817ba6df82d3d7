"""The step of an alert: a table of every state and every kind of facts, and what time does to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alert import (
    DAMPED_FOR,
    Facts,
    Memory,
    Rule,
    State,
    Step,
    judge,
    rules_of,
    step,
    warnings_of,
    widened,
)
from shared.domain.alert_policy import AlertPolicy
from shared.domain.definition import Counts
from shared.domain.slo import Slo
from shared.slo_loader import load_burn_windows, load_file
from tests.core import CONFIG, NOW, registry, shipped
from tests.unit.test_alerting import config_of, only

SLOT = timedelta(minutes=5)
BREACH = Counts(good=8, total=10)
AT_THE_THRESHOLD = Counts(good=9, total=10)
WITHIN = Counts(good=10, total=10)
TOO_FEW = Counts(good=0, total=9)
NOTHING = Counts(good=0, total=0)


def rule(**policy: Any) -> Rule:
    """More than 10 % of at least 10 events."""
    alert = AlertPolicy.model_validate({"severity": "high", "channels": ["slack"], "min_events": 10, **policy})
    slo = Slo("x", "X", "error_rate", "%", "avg", None, True, Decimal(99), Decimal(10), 3600, alert)
    return Rule(slo, "threshold", "high", ("slack",), alert.min_failures)


def stepped(state: State, counts: Counts, complete: bool = True, memory: Memory | None = None, **policy: Any) -> Step:
    return step(state, rule(**policy), Facts(counts, complete), memory or Memory(), NOW)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        (BREACH, "breach"),
        (AT_THE_THRESHOLD, "within"),
        (WITHIN, "within"),
        (TOO_FEW, "too_few_events"),
        (NOTHING, "no_data"),
    ],
)
def test_the_verdict_on_a_window(counts: Counts, verdict: str) -> None:
    assert judge(rule(), Facts(counts)) == verdict


@pytest.mark.parametrize(("bad", "verdict"), [(1, "within"), (2, "too_few_failures"), (3, "breach")])
def test_fewer_failures_than_asked_for_decide_nothing(bad: int, verdict: str) -> None:
    assert judge(rule(min_failures=3), Facts(Counts(10 - bad, 10))) == verdict


@pytest.mark.parametrize(
    ("state", "counts", "complete", "expected"),
    [
        ("ok", BREACH, True, Step("firing", "threshold_exceeded", "fire")),
        ("ok", BREACH, False, Step("ok", "facts_incomplete")),
        ("ok", AT_THE_THRESHOLD, True, Step("ok", "within_threshold")),
        ("ok", WITHIN, True, Step("ok", "within_threshold")),
        ("ok", WITHIN, False, Step("ok", "facts_incomplete")),
        ("ok", TOO_FEW, True, Step("ok", "too_few_events")),
        ("ok", TOO_FEW, False, Step("ok", "facts_incomplete")),
        ("ok", NOTHING, True, Step("ok", "no_data")),
        ("ok", NOTHING, False, Step("ok", "facts_incomplete")),
        ("firing", BREACH, True, Step("firing", "still_exceeded")),
        ("firing", BREACH, False, Step("firing", "facts_incomplete")),
        ("firing", AT_THE_THRESHOLD, True, Step("resolved", "back_within_threshold", "clear")),
        ("firing", WITHIN, True, Step("resolved", "back_within_threshold", "clear")),
        ("firing", WITHIN, False, Step("firing", "facts_incomplete")),
        ("firing", TOO_FEW, True, Step("firing", "too_few_events")),
        ("firing", TOO_FEW, False, Step("firing", "facts_incomplete")),
        ("firing", NOTHING, True, Step("firing", "no_data")),
        ("firing", NOTHING, False, Step("firing", "facts_incomplete")),
    ],
)
def test_the_step_from_every_state_on_every_kind_of_facts(
    state: State, counts: Counts, complete: bool, expected: Step
) -> None:
    assert stepped(state, counts, complete) == expected


# --- `for`: a breach must hold


def test_with_for_a_breach_is_pending_until_it_has_held_so_long() -> None:
    assert stepped("ok", BREACH, **{"for": "10m"}) == Step("pending", "pending", "wait")
    for ago, expected in (
        (SLOT, Step("pending", "still_pending")),
        (2 * SLOT - timedelta(microseconds=1), Step("pending", "still_pending")),
        (2 * SLOT, Step("firing", "threshold_exceeded", "fire")),
    ):
        assert stepped("pending", BREACH, memory=Memory(since=NOW - ago), **{"for": "10m"}) == expected


@pytest.mark.parametrize(
    ("counts", "complete", "expected"),
    [
        (WITHIN, True, Step("ok", "back_within_threshold", "give_up")),
        (WITHIN, False, Step("pending", "facts_incomplete")),
        (TOO_FEW, True, Step("ok", "too_few_events", "give_up")),
        (TOO_FEW, False, Step("pending", "facts_incomplete")),
        (NOTHING, True, Step("ok", "no_data", "give_up")),
    ],
)
def test_what_is_pending_ends_with_any_facts_that_are_no_breach(counts: Counts, complete: bool, expected: Step) -> None:
    assert stepped("pending", counts, complete, Memory(since=NOW), **{"for": "10m"}) == expected


# --- keep_firing_for, and flapping


def test_with_keep_firing_for_it_must_have_been_calm_so_long() -> None:
    keep = {"keep_firing_for": "10m"}
    assert stepped("firing", WITHIN, **keep) == Step("firing", "kept_firing", "calm_down")
    assert stepped("firing", WITHIN, memory=Memory(calm_since=NOW - SLOT), **keep) == Step("firing", "kept_firing")
    assert stepped("firing", WITHIN, memory=Memory(calm_since=NOW - 2 * SLOT), **keep) == Step(
        "resolved", "back_within_threshold", "clear"
    )
    assert stepped("firing", BREACH, memory=Memory(calm_since=NOW - SLOT), **keep) == Step(
        "firing", "still_exceeded", "burn_again"
    )


def test_failures_that_are_too_few_to_fire_are_no_calm() -> None:
    policy = {"keep_firing_for": "10m", "min_failures": 3}
    few = Counts(good=8, total=10)  # beyond the limit
    assert stepped("firing", few, memory=Memory(calm_since=NOW - SLOT), **policy) == Step(
        "firing", "too_few_failures", "burn_again"
    )
    assert stepped("firing", few, **policy) == Step("firing", "too_few_failures")


def test_what_fired_three_times_within_an_hour_is_damped() -> None:
    twice = tuple(NOW - n * timedelta(minutes=20) for n in (2, 1))
    thrice = (NOW - timedelta(minutes=60), *twice)
    assert stepped("firing", WITHIN, memory=Memory(fired=twice)).transition == "clear"
    assert stepped("firing", WITHIN, memory=Memory(fired=thrice)) == Step("firing", "flapping", "calm_down")
    calm = Memory(fired=thrice, calm_since=NOW - DAMPED_FOR + SLOT)
    assert stepped("firing", WITHIN, memory=calm) == Step("firing", "flapping")
    assert stepped("firing", WITHIN, memory=Memory(None, NOW - DAMPED_FOR, thrice)).transition == "clear"
    long_ago = (NOW - timedelta(minutes=60, microseconds=1), *twice)
    assert stepped("firing", WITHIN, memory=Memory(fired=long_ago)).transition == "clear"


# --- a threshold that fires while few events come


@pytest.mark.parametrize(
    ("slots", "counts", "seconds"),
    [
        ([(8, 10)], (8, 10), None),  # enough
        ([(8, 10), (0, 0)], (0, 0), None),  # silence stays silence
        ([(8, 10), (3, 3)], (11, 13), 600),  # what fired is in it still
        ([(8, 10), (3, 3), (3, 3), (3, 3)], (17, 19), 1200),
        ([(8, 10), (3, 3), (3, 3), (3, 3), (3, 3)], (12, 12), 1200),  # and now it is not
        ([(8, 10), (9, 9), (0, 0), (1, 1)], (10, 10), 900),  # no wider than it must be
        ([(8, 10), *[(0, 0)] * 70, (1, 1)], (9, 11), 6 * 3600),
        ([(8, 10), *[(0, 0)] * 71, (1, 1)], (1, 1), None),  # six hours at most
    ],
)
def test_the_window_of_a_threshold_that_fires_widens_to_as_many_events_as_it_needs(
    slots: list[tuple[int, int]], counts: tuple[int, int], seconds: int | None
) -> None:
    def last(seconds: int) -> Counts:
        part = slots[-(seconds // 300) :]
        return Counts(sum(good for good, _ in part), sum(total for _, total in part))

    assert widened(rule(), last(300), last) == (Counts(*counts), seconds)


# --- no data


@pytest.mark.parametrize("policy", ["keep", "ok", "alert"])
@pytest.mark.parametrize("wait", ["0m", "10m"])
def test_before_the_first_event_there_is_no_silence_whatever_it_would_mean(policy: str, wait: str) -> None:
    unheard = Facts(NOTHING, heard=False)
    rule_ = rule(no_data=policy, **{"for": wait})
    assert step("ok", rule_, unheard, Memory(), NOW) == Step("ok", "no_data_yet")
    assert step("ok", rule_, Facts(NOTHING, complete=False, heard=False), Memory(), NOW).reason == "facts_incomplete"
    assert step("ok", rule_, Facts(NOTHING, excluded=True, heard=False), Memory(), NOW).reason == "excluded"


@pytest.mark.parametrize(
    ("policy", "state", "expected"),
    [
        ("keep", "pending", Step("ok", "no_data", "give_up")),
        ("keep", "firing", Step("firing", "no_data")),
        ("ok", "pending", Step("ok", "no_data_ok", "give_up")),
        ("ok", "firing", Step("resolved", "no_data_ok", "clear")),
        ("alert", "pending", Step("ok", "no_data", "give_up")),
        ("alert", "firing", Step("firing", "no_data")),
    ],
)
def test_what_fires_or_waits_already_is_not_left_stuck_by_it(policy: str, state: State, expected: Step) -> None:
    """As after a change of what the SLO counts."""
    assert step(state, rule(no_data=policy), Facts(NOTHING, heard=False), Memory(), NOW) == expected


@pytest.mark.parametrize(
    ("policy", "state", "expected"),
    [
        ("keep", "ok", Step("ok", "no_data")),
        ("keep", "firing", Step("firing", "no_data")),
        ("ok", "ok", Step("ok", "no_data_ok")),
        ("ok", "firing", Step("resolved", "no_data_ok", "clear")),
        ("alert", "ok", Step("firing", "no_data_alert", "fire")),
        ("alert", "firing", Step("firing", "still_exceeded")),
    ],
)
def test_what_no_data_means_is_the_slos_policy(policy: str, state: State, expected: Step) -> None:
    assert stepped(state, NOTHING, no_data=policy) == expected
    assert stepped(state, NOTHING, False, no_data=policy) == Step(state, "facts_incomplete")
    assert stepped(state, TOO_FEW, no_data=policy) == Step(state, "too_few_events")


# --- any history

COUNTS = st.integers(0, 40).flatmap(lambda total: st.builds(Counts, st.integers(0, total), st.just(total)))
POLICIES = st.fixed_dictionaries(
    {
        "for": st.sampled_from(["0m", "5m", "15m"]),
        "keep_firing_for": st.sampled_from(["0m", "5m", "15m"]),
        "no_data": st.sampled_from(["keep", "ok", "alert"]),
        "min_failures": st.integers(0, 5),
    }
)


@given(st.lists(st.tuples(COUNTS, st.booleans()), max_size=40), POLICIES)
def test_over_any_history_fire_and_clear_take_turns_and_every_step_has_a_reason(
    history: list[tuple[Counts, bool]], policy: dict[str, Any]
) -> None:
    one = rule(**policy)
    state: State = "ok"
    memory = Memory()
    told: list[str] = []
    breaches: list[datetime] = []
    for n, (counts, complete) in enumerate(history):
        at = NOW + n * SLOT
        taken = step(state, one, Facts(counts, complete), memory, at)
        assert taken.reason
        assert (taken.state != state) <= (taken.transition is not None)
        silence = not counts.total and complete
        breaches = [*breaches, at] if judge(one, Facts(counts)) == "breach" or silence else breaches
        if taken.transition == "fire":
            told.append("fire")
            assert complete
            assert breaches[-1] == at
            waited = at - (memory.since or at)
            assert waited >= timedelta(seconds=one.slo.alert.pending_for)
            memory = Memory(fired=(*memory.fired, at))
        elif taken.transition == "clear":
            told.append("clear")
            assert complete
            memory = Memory(fired=memory.fired)
        elif taken.transition == "wait":
            memory = Memory(since=at, fired=memory.fired)
        elif taken.transition == "calm_down":
            memory = Memory(calm_since=at, fired=memory.fired)
        elif taken.transition in ("burn_again", "give_up"):
            memory = Memory(fired=memory.fired)
        state = "ok" if taken.state == "resolved" else taken.state
    assert told == ["fire", "clear"] * (len(told) // 2) + ["fire"] * (len(told) % 2)


# --- the alerts of an SLO


def test_an_alert_is_named_after_its_slo_and_rule() -> None:
    config = shipped()
    assert [r.alert_id for r in rules_of(config.slos[0], config)] == ["api-availability-threshold"]


def test_an_slo_that_opens_no_incident_opens_none_by_its_burn_rates_either() -> None:
    data = only()
    data["slos"][0]["alert"] = {"severity": "high", "channels": ["slack"], "burn_rates": True, "incident": False}
    config = config_of(data)
    assert {r.name: r.incident for r in rules_of(config.slos[0], config)} == dict.fromkeys(
        ("threshold", "page", "ticket"), False
    )


def test_with_burn_rates_an_slo_has_the_rules_of_the_file_besides() -> None:
    data = only()
    data["slos"][0]["alert"] = {"severity": "critical", "channels": ["slack", "pagerduty"], "burn_rates": True}
    config = config_of(data)
    rules = {r.name: r for r in rules_of(config.slos[0], config)}
    assert list(rules) == ["threshold", "page", "ticket"]
    assert (rules["page"].severity, rules["page"].channels) == ("critical", ("slack", "pagerduty"))
    assert (rules["ticket"].severity, rules["ticket"].channels) == ("warning", ("slack",))
    assert [r.incident for r in rules.values()] == [True, True, False]
    assert [(p.long, p.short) for p in rules["page"].pairs] == [(3600, 300), (6 * 3600, 1800)]
    assert warnings_of(config) == []


def test_a_factor_that_no_outage_can_reach_is_warned_of() -> None:
    data = only(target=93)
    data["slos"][0]["alert"] = {"severity": "critical", "channels": ["slack"], "burn_rates": True}
    (warning,) = warnings_of(config_of(data))
    assert warning == (
        "API Availability: page at 14.4 times can never fire: with an objective of 93 % a complete outage burns only "
        "14.2857 times as fast"
    )


@pytest.mark.parametrize(
    ("endpoint", "warned"),
    [("/api/orders", False), ("/api/v2/orders/:id", False), ("/orders/8341", True), ("/users/ada", True)],
)
def test_a_label_that_is_never_stored_like_that_is_warned_of(endpoint: str, warned: bool) -> None:
    warnings = warnings_of(config_of(only(labels={"endpoint": endpoint})))
    stored = endpoint.replace("8341", ":id").replace("ada", ":id")
    told = f"no series has endpoint {endpoint!r}: it is stored as {stored!r}, as it may tell of a person"
    assert warnings == ([f"API Availability: {told}"] if warned else [])


def test_the_shipped_files_of_slos_and_burn_windows_are_sound() -> None:
    config = load_file(CONFIG / "slo.json", registry())
    assert config.burn == load_burn_windows(CONFIG)
    assert warnings_of(config) == []

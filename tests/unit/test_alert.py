"""The step of an alert: a table of every state and every kind of facts."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alert import Facts, State, Step, alert_id, judge, step
from shared.domain.slo import AlertPolicy, Counts, Slo
from tests.core import shipped

POLICY = AlertPolicy.model_validate({"severity": "high", "channels": ["slack"], "min_events": 10})
SLO = Slo("x", "X", "error_rate", "%", "avg", None, True, Decimal(99), Decimal(10), 3600, POLICY)

BREACH = Counts(good=8, total=10)
AT_THE_THRESHOLD = Counts(good=9, total=10)
WITHIN = Counts(good=10, total=10)
TOO_FEW = Counts(good=0, total=9)
NOTHING = Counts(good=0, total=0)


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
    assert judge(SLO, counts) == verdict


@pytest.mark.parametrize(
    ("state", "counts", "complete", "expected"),
    [
        ("ok", BREACH, True, Step("firing", "threshold_exceeded", "fire")),
        ("ok", BREACH, False, Step("firing", "threshold_exceeded", "fire")),
        ("ok", AT_THE_THRESHOLD, True, Step("ok", "within_threshold")),
        ("ok", WITHIN, True, Step("ok", "within_threshold")),
        ("ok", WITHIN, False, Step("ok", "within_threshold")),
        ("ok", TOO_FEW, True, Step("ok", "too_few_events")),
        ("ok", TOO_FEW, False, Step("ok", "facts_incomplete")),
        ("ok", NOTHING, True, Step("ok", "no_data")),
        ("ok", NOTHING, False, Step("ok", "facts_incomplete")),
        ("firing", BREACH, True, Step("firing", "still_exceeded")),
        ("firing", BREACH, False, Step("firing", "still_exceeded")),
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
    assert step(state, SLO, Facts(counts, complete)) == expected


COUNTS = st.integers(0, 40).flatmap(lambda total: st.builds(Counts, st.integers(0, total), st.just(total)))


@given(st.lists(st.tuples(COUNTS, st.booleans()), max_size=30))
def test_over_any_history_fire_and_clear_take_turns_and_every_step_has_a_reason(
    history: list[tuple[Counts, bool]],
) -> None:
    state: State = "ok"
    told: list[str] = []
    for counts, complete in history:
        taken = step(state, SLO, Facts(counts, complete))
        assert taken.reason
        if taken.transition:
            told.append(taken.transition)
            assert counts.total >= POLICY.min_events
            assert complete or taken.transition == "fire"
        state = "ok" if taken.state == "resolved" else taken.state
    assert told == ["fire", "clear"] * (len(told) // 2) + ["fire"] * (len(told) % 2)


def test_an_alert_is_named_after_its_slo() -> None:
    assert alert_id(shipped().slos[0]) == "api-availability-threshold"

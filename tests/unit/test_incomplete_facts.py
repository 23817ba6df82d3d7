"""A fold that did not get through: nothing is decided on a part of what was sent, and somebody hears of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.alerts import alerting
from shared.alerts.alerting import RUN
from shared.alerts.run_result import RunResult
from shared.components import load_components
from shared.domain import counting
from shared.domain.alert import Facts, State, Step, step
from shared.domain.counting import LATE_AFTER, step_counting
from shared.domain.status import derive
from shared.metrics import fold as folding
from shared.notify import wording
from shared.store.protocol import Conflict, Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW
from tests.unit.test_alert import COUNTS, POLICIES, rule
from tests.unit.test_alerting import API, IN_SLOT, MARK, SLOT, Watch, only

COUNTING = counting.ALERT


@pytest.fixture
def watch(store: Store) -> Watch:
    return Watch(store)


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Watch:
    return Watch(sqlite_store)


def pages(count: int) -> Callable[[], bool]:
    """Lets a run fold so many pages."""
    left = [count]

    def may_go_on() -> bool:
        left[0] -= 1
        return left[0] >= 0

    return may_go_on


def never() -> bool:
    return False


@pytest.fixture
def one_segment_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "PAGE_SEGMENTS", 1)
    monkeypatch.setattr(folding, "PAGE_BYTES", 1)


# --- what is missing may turn every verdict


@given(COUNTS, POLICIES, st.sampled_from(["ok", "pending", "firing"]))
def test_of_a_part_of_the_facts_nothing_is_decided(counts: Any, policy: dict[str, Any], state: State) -> None:
    from shared.domain.alert import Memory

    taken = step(state, rule(**policy), Facts(counts, complete=False), Memory(since=NOW - SLOT), NOW)
    assert taken == Step(state, "facts_incomplete")


@pytest.mark.usefixtures("one_segment_a_page")
@pytest.mark.parametrize("first", [1, 2])
def test_a_page_of_errors_that_comes_before_the_page_of_successes_is_no_outage(quick: Watch, first: int) -> None:
    """Whichever of the two segments is folded first: 20 errors of 10,019 requests are within 0.5 %."""
    quick.data = only()
    quick.requests(1, 0, IN_SLOT - SLOT)
    quick.run(NOW - SLOT)
    quick.requests(0, 20)
    quick.requests(9_999, 0)
    result = quick.run(NOW, pages(first))
    assert (result.folded.complete, result.fired) == (False, [])
    assert quick.reported()["reason"] == "facts_incomplete"
    result = quick.run(NOW)
    assert (result.folded.complete, result.fired) == (True, [])
    assert (quick.reported()["good"], quick.reported()["total"]) == (10_000, 10_020)


@pytest.mark.usefixtures("one_segment_a_page")
def test_an_outage_is_paged_as_soon_as_all_is_counted(quick: Watch) -> None:
    quick.data = only()
    quick.requests(0, 50)
    quick.requests(0, 50)
    assert quick.run(NOW, pages(1)).fired == []
    assert quick.run(NOW).fired == [API]


def test_what_fires_goes_on_and_does_not_clear_on_a_part(quick: Watch) -> None:
    quick.data = only()
    quick.requests(90, 10)
    assert quick.run(NOW).fired == [API]
    quick.requests(100, 0, IN_SLOT + SLOT)
    assert quick.run(NOW + SLOT, never).cleared == []
    assert quick.alert()["state"] == "firing"
    assert quick.run(NOW + SLOT).cleared == [API]


@pytest.mark.usefixtures("one_segment_a_page")
def test_the_report_and_the_page_keep_the_last_figures_that_were_whole(quick: Watch) -> None:
    quick.data = only()
    quick.requests(1000, 0)
    quick.run(NOW)
    whole = quick.reported()
    quick.requests(0, 30, IN_SLOT + SLOT)
    quick.requests(0, 30, IN_SLOT + SLOT)
    quick.run(NOW + SLOT, pages(1))
    assert quick.reported() == {**whole, "alertState": "ok", "reason": "facts_incomplete"}
    shown = derive(load_components(CONFIG), quick.doc(RUN), [], [], NOW + SLOT).components[0]
    assert (shown.state, shown.reason, shown.last_check) == ("operational", "nothing_firing", MARK)
    late = derive(load_components(CONFIG), quick.doc(RUN), [], [], NOW + 5 * SLOT).components[0]
    assert (late.state, late.reason) == ("no_data", "evaluation_stale")


def test_an_slo_without_whole_figures_reads_no_data(quick: Watch) -> None:
    quick.data = only()
    quick.requests(0, 30)
    quick.run(NOW, never)
    reported = quick.reported()
    assert (reported["compliance"], reported["value"], reported["total"]) == ("no_data", None, 0)


# --- an operator is told


def behind(watch: Watch, runs: int, start: datetime = NOW) -> list[RunResult]:
    return [watch.run(start + n * SLOT, never) for n in range(runs)]


def test_after_three_runs_in_a_row_everybody_who_hears_of_an_slo_hears_that_none_is_judged(watch: Watch) -> None:
    watch.requests(100, 0, IN_SLOT - SLOT)
    watch.run(NOW - SLOT)
    assert [result.fired for result in behind(watch, 4)] == [[], [], [COUNTING], []]
    alert = watch.alert(COUNTING)
    assert (alert["state"], alert["rule"], alert["severity"]) == ("firing", "behind", "high")
    assert alert["reason"] == "counting_behind"
    assert (alert["incidentId"], alert["component"], alert["value"]) == (None, None, 15.0)
    told = watch.documents("notifications")
    assert {n["channel"] for n in told.values()} == {"slack", "email", "pagerduty"}
    assert wording.sentence(told[f"{COUNTING}-1-slack"]["facts"], resolved=False) == (
        "What is sent should be counted within 10 min; what came in the last 15 min is not all counted, "
        "so no SLO can be judged."
    )
    assert watch.doc(RUN)["openAlerts"] == [COUNTING]

    assert watch.run(NOW + 4 * SLOT).cleared == [COUNTING]
    assert watch.alert(COUNTING)["reason"] == "counted_again"
    assert watch.doc(RUN)["openAlerts"] == []
    resolved = watch.documents("notifications")[f"{COUNTING}-2-slack"]
    assert wording.sentence(resolved["facts"], resolved=True) == (
        "What is sent should be counted within 10 min, and that holds again: all of it is counted."
    )
    assert watch.doc(f"alert_firings/{COUNTING}-1")["resolvedAt"] == NOW + 4 * SLOT


def test_a_run_that_got_through_begins_the_wait_anew(quick: Watch) -> None:
    behind(quick, 2)
    quick.run(NOW + 2 * SLOT)
    assert quick.doc(RUN)["incompleteSince"] is None
    assert [result.fired for result in behind(quick, 3, NOW + 3 * SLOT)] == [[], [], [COUNTING]]


def test_it_fires_and_clears_anew_with_numbers_that_go_on(quick: Watch) -> None:
    for start in (NOW, NOW + 10 * SLOT):
        behind(quick, 3, start)
        quick.run(start + 3 * SLOT)
    assert (quick.alert(COUNTING)["seq"], quick.alert(COUNTING)["state"]) == (4, "resolved")


def test_where_slos_are_not_enforced_nobody_is_told(quick: Watch) -> None:
    quick.flags["ops.slo_enforced"] = False
    assert [result.fired for result in behind(quick, 4)] == [[], [], [], []]


def test_without_slos_what_fired_still_ends(quick: Watch) -> None:
    behind(quick, 3)
    quick.data = {"slos": []}
    assert quick.run(NOW + 3 * SLOT).cleared == [COUNTING]


def test_runs_that_meet_tell_it_once(quick: Watch) -> None:
    behind(quick, 2)
    first, second = quick.make(NOW + 2 * SLOT), quick.make(NOW + 2 * SLOT)
    assert [first(never).fired, second(never).fired] == [[COUNTING], []]
    assert quick.alert(COUNTING)["seq"] == 1


def test_an_alert_of_counting_that_keeps_changing_keeps_no_other_back(
    quick: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = quick.make()

    def busy(*_: Any) -> None:
        raise Conflict("busy")

    monkeypatch.setattr(alerting, "tell_of_counting", busy)
    quick.requests(90, 10)
    assert run(lambda: True).fired == [API]
    assert quick.doc(RUN)["finishedAt"] == NOW


@pytest.mark.parametrize(
    ("state", "late", "expected"),
    [
        ("ok", None, Step("ok", "counted")),
        ("firing", None, Step("resolved", "counted_again", "clear")),
        ("ok", LATE_AFTER - timedelta(microseconds=1), Step("ok", "facts_incomplete")),
        ("ok", LATE_AFTER, Step("firing", "counting_behind", "fire")),
        ("firing", timedelta(), Step("firing", "still_behind")),
        ("firing", LATE_AFTER, Step("firing", "still_behind")),
    ],
)
def test_every_step_of_the_alert_of_counting(state: State, late: timedelta | None, expected: Step) -> None:
    assert step_counting(state, None if late is None else NOW - late, NOW) == expected

"""Runs that come late, and data that comes late: what is decided is what runs in time would have decided."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alert import Facts, Memory, Rule, State, Step
from shared.domain.catch_up import CATCH_UP, LATE, Decided, Judged, catch_up, seconds_seen
from shared.domain.definition import Counts
from shared.domain.replay import SLOT, Slots, facts, transitions
from tests.unit.test_replay import BROKEN, EMPTY, FINE, START, rule_of, rules, stretches

Counted = tuple[int, int]


@dataclass
class Alert:
    """An alert and its runs; `told` has the end of the slot, what was told, and why."""

    rule: Rule
    slots: list[Counted]
    state: State = "ok"
    memory: Memory = field(default_factory=Memory)
    judged: Judged | None = None
    told: list[tuple[int, str | None, str]] = field(default_factory=list)
    forgets: bool = False  # what it has seen, so that it judges the last few slots again in any case
    steps: int = 0

    def run(self, end: int, complete: bool = True) -> Decided:
        """A run that knows the first `end` slots."""
        slots = Slots(START, [good for good, _ in self.slots[:end]], [total for _, total in self.slots[:end]])

        def seen_of(at: datetime) -> Counts:
            return slots.last((at - START) // SLOT, seconds_seen([self.rule]))

        def facts_of(at: datetime, firing: bool) -> Facts:
            self.steps += 1
            found = facts(self.rule, slots, (at - START) // SLOT - 1, firing=firing)
            return replace(found, complete=complete)

        found = catch_up(self.state, self.rule, self.memory, self.judged, slots.at(end), facts_of, seen_of)
        if found.step.transition in ("fire", "clear"):
            self.told.append(((found.at - START) // SLOT, found.step.transition, found.step.reason))
        if found.step.transition is not None:
            self.state = "ok" if found.step.state == "resolved" else found.step.state
            self.memory = found.memory
        self.judged = found.judged._replace(seen=None) if self.forgets else found.judged
        return found


def as_replayed(rule: Rule, history: list[Counted]) -> tuple[State, list[tuple[int, str | None, str]]]:
    """The state after all of it, and what is told, by the replay."""
    slots = Slots(START, [good for good, _ in history], [total for _, total in history])
    state: State = "ok"
    told: list[tuple[int, str | None, str]] = []
    for at, taken in transitions(rule, slots):
        state = "ok" if taken.state == "resolved" else taken.state
        if taken.transition in ("fire", "clear"):
            told.append(((at - START) // SLOT, taken.transition, taken.reason))
    return state, told


def history_of(stretches: list[tuple[Counted, int]]) -> list[Counted]:
    return [counts for counts, times in stretches for _ in range(times)]


@given(rules, stretches)
def test_runs_in_time_tell_what_a_replay_tells(rule: Rule, stretches: list[tuple[Counted, int]]) -> None:
    history = history_of(stretches)
    alert = Alert(rule, history)
    for end in range(1, len(history) + 1):
        alert.run(end)
    assert (alert.state, alert.told) == as_replayed(rule, history)


@given(rules, stretches, st.lists(st.integers(1, 30), max_size=20))
def test_late_runs_end_in_the_state_that_runs_in_time_end_in(
    rule: Rule, stretches: list[tuple[Counted, int]], gaps: list[int]
) -> None:
    history = history_of(stretches)
    alert = Alert(rule, history)
    end = 0
    for end in [1, *(sum(gaps[:n]) + 1 for n in range(1, len(gaps) + 1))]:
        if end <= len(history):
            before = alert.state == "firing"
            alert.run(end)
            state, told = as_replayed(rule, history[:end])
            over_already = alert.judged is not None and alert.judged.held is not None
            assert (alert.state == "firing") == ((state == "firing") or over_already)
            assert set(alert.told) <= {(at, what, why) for at, what, why in told} | {
                (at, what, "over_already") for at, what, _ in told
            }
            if before == (alert.state == "firing") == (state == "firing") and not before:
                assert alert.state == state
    assert [what for _, what, _ in alert.told] == ["fire", "clear"] * (len(alert.told) // 2) + ["fire"] * (
        len(alert.told) % 2
    )


@given(rules, stretches, st.integers(2, 30))
def test_a_late_run_is_followed_by_runs_that_decide_as_if_it_had_not_been_late(
    rule: Rule, stretches: list[tuple[Counted, int]], late: int
) -> None:
    history = [FINE, *history_of(stretches), *[FINE] * 3]
    alert = Alert(rule, history)
    alert.run(1)
    first = min(1 + late, len(history))
    for end in range(first, len(history) + 1):
        alert.run(end)
    state, told = as_replayed(rule, history)
    assert alert.state == state or (first >= len(history) and alert.judged is not None and alert.judged.held)
    assert [one for one in alert.told if one[0] > first] == [one for one in told if one[0] > first]


# --- by example


def waiting(how_long: str, **policy: Any) -> Rule:
    return rule_of("10", "errors", (), "90", **{"for": how_long, **policy})


def runs(rule: Rule, slots: list[Counted], ends: list[int]) -> list[tuple[int, str | None, str]]:
    alert = Alert(rule, slots)
    for end in ends:
        alert.run(end)
    return alert.told


def test_the_time_that_a_run_is_late_is_not_held() -> None:
    one_bad = [FINE, BROKEN, FINE, FINE, FINE, BROKEN]
    waits = waiting("15m")
    assert runs(waits, one_bad, [1, 2, 6]) == []
    assert runs(waits, [FINE, *[BROKEN] * 5], [1, 2, 6]) == [(5, "fire", "threshold_exceeded")]


def test_calm_must_have_lasted_in_the_missed_time_too() -> None:
    keeps = rule_of(keep_firing_for="15m")
    assert runs(keeps, [BROKEN, FINE, BROKEN, FINE, FINE], [1, 2, 5]) == [(1, "fire", "threshold_exceeded")]
    assert runs(keeps, [BROKEN, *[FINE] * 4], [1, 2, 5])[1:] == [(5, "clear", "back_within_threshold")]


def test_what_fired_and_cleared_in_the_missed_time_is_told_by_this_run_and_the_next() -> None:
    slots = [FINE, FINE, BROKEN, BROKEN, FINE, FINE, FINE]
    alert = Alert(rule_of(), slots)
    alert.run(1)
    assert alert.run(6).step == Step("firing", "over_already", "fire")
    assert alert.run(6).step == Step("firing", "over_already")  # a second run on the same facts ends nothing
    assert alert.run(7).step == Step("resolved", "back_within_threshold", "clear")
    assert alert.told == [(3, "fire", "over_already"), (5, "clear", "back_within_threshold")]


def test_what_was_over_and_fires_again_meanwhile_is_not_told_to_be_over() -> None:
    slots = [FINE, BROKEN, FINE, FINE, BROKEN, BROKEN]
    assert runs(rule_of(), slots, [1, 4, 5, 6]) == [(2, "fire", "over_already")]


def test_what_cleared_and_fired_again_in_the_missed_time_goes_on_firing_and_counts_as_flapping() -> None:
    alert = Alert(rule_of(), [BROKEN, FINE, BROKEN, FINE, BROKEN, FINE, *[FINE] * 5])
    alert.run(1)
    alert.run(5)
    assert len(alert.memory.fired) == 3
    assert alert.run(6).step.reason == "flapping"
    assert alert.run(11).step.transition is None
    assert alert.told == [(1, "fire", "threshold_exceeded")]


def test_beyond_the_most_that_is_caught_up_nothing_is_known_to_have_held() -> None:
    slots = CATCH_UP // SLOT
    waits, keeps = waiting("1h"), rule_of(keep_firing_for="1h", no_data="keep")
    late = slots + 10
    silent = [BROKEN, BROKEN, *[EMPTY] * late]
    alert = Alert(waits, [*silent, BROKEN])
    alert.run(1)
    alert.run(len(alert.slots))
    assert (alert.state, alert.memory.since, alert.told) == ("pending", START + len(alert.slots) * SLOT, [])
    alert = Alert(keeps, [BROKEN, FINE, *[EMPTY] * late, FINE])
    for end in (1, 2, len(alert.slots)):
        alert.run(end)
    assert (alert.state, alert.memory.calm_since) == ("firing", START + len(alert.slots) * SLOT)
    outage = [FINE, *[BROKEN] * 3, *[FINE] * slots]
    assert runs(rule_of(), outage, [1, len(outage)]) == []  # more than six hours ago: nobody is told any more


def test_one_that_was_never_judged_is_judged_by_the_last_slot_alone() -> None:
    assert runs(rule_of(), [BROKEN, BROKEN, FINE], [3]) == []


# --- data that comes late


@pytest.mark.parametrize("slots_late", [1, 2, 3])
def test_an_outage_of_a_client_that_sends_late_is_told_once(slots_late: int) -> None:
    """All of a slot comes so many slots after it has ended."""
    whole = [*[FINE] * 5, *[BROKEN] * 6, *[FINE] * 8]
    alert = Alert(rule_of(), [])
    for end in range(1, len(whole) + 1):
        alert.slots = [*whole[: max(0, end - slots_late)], *[EMPTY] * min(end, slots_late)]
        alert.run(end)
    found = [(what, why) for _, what, why in alert.told]
    if slots_late * SLOT <= LATE:
        assert found == [("fire", "threshold_exceeded"), ("clear", "back_within_threshold")]
    else:
        assert found == []


def test_a_slot_that_a_late_batch_makes_bad_is_told_once_and_then_is_over() -> None:
    alert = Alert(rule_of(), [FINE, FINE, FINE])
    for end in (1, 2, 3):
        alert.run(end)
    alert.slots = [FINE, FINE, BROKEN, FINE, FINE, FINE, FINE]
    for end in (4, 5, 6, 7):
        alert.run(end)
    assert alert.told == [(3, "fire", "over_already"), (4, "clear", "back_within_threshold")]


def test_late_data_takes_nothing_back_that_was_told_and_tells_nothing_twice() -> None:
    alert = Alert(rule_of(), [FINE, BROKEN])
    alert.run(1)
    alert.run(2)
    alert.slots = [FINE, (9900, 10_000), BROKEN]  # within its 10 % after all
    alert.run(3)
    alert.slots = [FINE, (9900, 10_000), BROKEN, FINE]
    alert.run(4)
    alert.slots = [BROKEN, BROKEN, BROKEN, BROKEN, FINE]  # the slot by which it cleared, and those before it
    alert.run(5)
    assert [one[:2] for one in alert.told] == [(2, "fire"), (4, "clear")]


def test_silence_that_was_only_late_does_not_fire_where_it_must_hold() -> None:
    waits = waiting("5m", no_data="alert")
    alert = Alert(waits, [])
    for end in range(1, 12):
        alert.slots = [*[FINE] * (end - 1), EMPTY]
        alert.run(end)
    assert alert.told == []


def test_an_unfinished_fold_leaves_its_slots_to_be_judged_again() -> None:
    alert = Alert(rule_of(), [FINE, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY])
    alert.run(1)
    for end in range(2, 7):
        alert.run(end, complete=False)
    alert.slots = [FINE, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN, BROKEN]
    alert.run(7)
    assert [one[:2] for one in alert.told] == [(2, "fire")]


counted = st.integers(0, 12).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(rules, st.lists(st.tuples(counted, counted), min_size=1, max_size=40))
def test_whatever_comes_late_fire_and_clear_take_turns(rule: Rule, parts: list[tuple[Counted, Counted]]) -> None:
    """Of each slot a part comes in time, the rest one slot later."""
    alert: Any = Alert(rule, [])
    for end in range(1, len(parts) + 1):
        whole = [(a[0] + b[0], a[1] + b[1]) for a, b in parts[: end - 1]]
        alert.slots = [*whole, parts[end - 1][0]]
        alert.run(end)
    assert [what for _, what, _ in alert.told] == ["fire", "clear"] * (len(alert.told) // 2) + ["fire"] * (
        len(alert.told) % 2
    )
    ends = [at for at, _, _ in alert.told]
    assert all(a < b for a, b in pairwise(ends))
    assert timedelta(0) < LATE < CATCH_UP


@given(rules, st.lists(st.tuples(counted, counted), min_size=1, max_size=40), st.sets(st.integers(1, 40)))
def test_slots_for_which_nothing_came_need_not_be_judged_again(
    rule: Rule, parts: list[tuple[Counted, Counted]], missed: set[int]
) -> None:
    """Alerts that remember what they have seen, and that do not, tell the same. Of each slot a part comes later."""
    alerts = [Alert(rule, []), Alert(rule, [], forgets=True)]
    for end in sorted({*range(1, len(parts) + 1)} - missed):
        whole = [(a[0] + b[0], a[1] + b[1]) for a, b in parts[: end - 1]]
        decided = []
        for alert in alerts:
            alert.slots = [*whole, parts[end - 1][0]]
            decided.append(alert.run(end))
        mine, theirs = decided
        assert (mine.step, mine.at, mine.facts, mine.memory) == (theirs.step, theirs.at, theirs.facts, theirs.memory)
    assert alerts[0].told == alerts[1].told


def test_where_nothing_comes_late_each_slot_is_judged_once() -> None:
    alert = Alert(rule_of(), [FINE] * 50)
    for end in range(1, 51):
        alert.run(end)
    assert alert.steps == 50

"""A replay decides what `judge` and `step` decide, slot by slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alert import Facts, Memory, Rule, State, Step, judge, rules_of, step
from shared.domain.alert_policy import AlertPolicy
from shared.domain.burn import Burning, Pair
from shared.domain.definition import Counts
from shared.domain.exclusion import Span, merged, seconds_within
from shared.domain.replay import SLOT, VERDICTS, Firing, Slots, facts, replay, transitions, verdicts
from shared.domain.slo import Slo
from shared.slo_loader import load_burn_windows
from tests.core import CONFIG, shipped

START = datetime(2026, 3, 1, tzinfo=UTC)
FINE, BROKEN, EMPTY = (100, 100), (0, 100), (0, 0)


def rule_of(
    threshold: str = "10", kind: str = "errors", pairs: tuple[Pair, ...] = (), target: str = "90", **policy: Any
) -> Rule:
    alert = AlertPolicy.model_validate({"severity": "high", "channels": ["slack"], "window": "5m", **policy})
    quantile = 95 if kind == "quantile" else None
    slo = Slo("x", "X", "m", "%", "avg", quantile, kind == "errors", Decimal(target), Decimal(threshold), 86_400, alert)
    return Rule(slo, "page" if pairs else "threshold", "high", ("slack",), alert.min_failures, pairs)


def slots_of(*counts: tuple[int, int], excluded: Sequence[Span] = ()) -> Slots:
    return Slots(START, [good for good, _ in counts], [total for _, total in counts], excluded)


def minutes(fired: int, cleared: int | None) -> Firing:
    """Of slots counted from 1, at whose end it fires and clears."""
    return Firing(START + fired * SLOT, None if cleared is None else START + cleared * SLOT)


# Every slot by itself, as alertRules has it: the state and what it remembers go from one to the next.


def slot_by_slot(
    rule: Rule, counts: Sequence[tuple[int, int]], first: int, excluded: Sequence[Span]
) -> Iterator[tuple[datetime, State, Step]]:
    state: State = "ok"
    since: datetime | None = None
    calm: datetime | None = None
    fired: list[datetime] = []

    def last(end: int, seconds: int) -> Counts:
        window = [
            counts[n]
            for n in range(max(0, end - seconds // 300), end)
            if not seconds_within(START + n * SLOT, START + (n + 1) * SLOT, excluded)
        ]
        return Counts(sum(good for good, _ in window), sum(total for _, total in window))

    def gone(end: int, seconds: int) -> bool:
        begins = max(START, START + end * SLOT - timedelta(seconds=seconds))
        return seconds_within(begins, START + end * SLOT, excluded) >= seconds / 2

    def wide(end: int, seconds: int) -> Counts:
        """While it fires: as much more as it needs for its least number of events, up to 6 hours."""
        few = last(end, seconds)
        if not 0 < few.total < rule.slo.alert.min_events:
            return few
        wider = (last(end, more) for more in range(seconds, 6 * 3600 + 1, 300))
        return next((found for found in wider if found.total >= rule.slo.alert.min_events), few)

    def nothing_left(end: int, seconds: int) -> bool:
        return last(end, seconds).total == 0 and gone(end, seconds)

    for end in range(first + 1, len(counts) + 1):
        at = START + end * timedelta(minutes=5)
        burning = tuple(
            Burning(
                pair,
                last(end, pair.long),
                last(end, pair.short),
                nothing_left(end, pair.long) or nothing_left(end, pair.short),
            )
            for pair in rule.pairs
        )
        window = rule.slo.alert.window
        seen = wide(end, window) if state == "firing" else last(end, window)
        heard = any(total for _, total in counts[:end])
        judged = Facts(seen, burning=burning, excluded=gone(end, window), heard=heard)
        taken = step(state, rule, judged, Memory(since, calm, tuple(fired[-5:])), at)
        if taken.transition is not None:
            since = at if taken.transition == "wait" else None
            calm = at if taken.transition == "calm_down" else None
            if taken.transition == "fire":
                fired.append(at)
        state = "ok" if taken.state == "resolved" else taken.state
        yield at, state, taken


counts = st.integers(0, 12).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
stretches = st.lists(
    st.tuples(st.sampled_from([(9, 10), (10, 10), (0, 10), (0, 0), (8, 10)]) | counts, st.integers(1, 9))
)
durations = st.sampled_from(["0m", "5m", "10m", "30m"])
pairs = st.builds(
    Pair,
    st.sampled_from([Fraction(1), Fraction(2), Fraction(72, 5), Fraction(1, 3)]),
    st.sampled_from([300, 900, 3600]),
    st.sampled_from([300, 600]),
)
rules = st.builds(
    rule_of,
    threshold=st.sampled_from(["0", "10", "20", "33.3", "90"]),
    kind=st.sampled_from(["errors", "success", "quantile"]),
    pairs=st.lists(pairs, max_size=3).map(tuple),
    target=st.sampled_from(["90", "99.9", "50"]),
    window=st.sampled_from(["5m", "15m", "1h", "6h"]),
    min_events=st.integers(1, 15),
    min_failures=st.integers(0, 4),
    keep_firing_for=durations,
    no_data=st.sampled_from(["keep", "ok", "alert"]),
    **{"for": durations},
)


spans = st.builds(
    lambda first, length: Span(START + first * SLOT, START + (first + length) * SLOT),
    st.integers(-5, 40),
    st.integers(1, 9),
)


@given(rules, stretches, st.integers(0, 20), st.lists(spans, max_size=2).map(merged))
def test_a_replay_decides_every_slot_as_judge_and_step_do(
    rule: Rule, stretches: list[tuple[tuple[int, int], int]], first: int, excluded: tuple[Span, ...]
) -> None:
    history = [counts for counts, times in stretches for _ in range(times)]
    slots = slots_of(*history, excluded=excluded)
    expected = list(slot_by_slot(rule, history, first, excluded))
    assert list(transitions(rule, slots, first)) == [(at, taken) for at, _, taken in expected if taken.transition]
    assert [VERDICTS[code] for code in verdicts(rule, slots)] == [
        judge(rule, facts(rule, slots, slot)) for slot in range(len(history))
    ]
    firing = {at for at, state, _ in expected if state == "firing"}
    last = START + (len(history) + 1) * SLOT
    found = replay(rule, slots, first)
    assert {at for at, _, _ in expected for f in found if f.fired <= at < (f.cleared or last)} == firing


def test_an_outage_is_found_at_its_times() -> None:
    slots = slots_of(*[FINE] * 5, *[BROKEN] * 3, *[FINE] * 4)
    assert replay(rule_of(), slots) == [minutes(6, 9)]


def test_one_that_lasts_to_the_end_has_not_cleared() -> None:
    assert replay(rule_of(), slots_of(FINE, BROKEN, BROKEN)) == [minutes(2, None)]


def test_it_fires_strictly_beyond_the_threshold() -> None:
    assert replay(rule_of("10"), slots_of((90, 100))) == []
    assert replay(rule_of("10"), slots_of((89, 100))) == [minutes(1, None)]


def test_with_for_and_keep_firing_for_it_waits_and_holds_on() -> None:
    slots = slots_of(FINE, *[BROKEN] * 4, *[FINE] * 6)
    assert replay(rule_of(**{"for": "10m", "keep_firing_for": "15m"}), slots) == [minutes(4, 9)]


def test_what_fired_by_day_clears_at_night_although_few_requests_come() -> None:
    slots = slots_of(FINE, BROKEN, (3, 3), (2, 3), (3, 3), (3, 3), (3, 3), (3, 3))
    assert replay(rule_of("9"), slots) == [minutes(2, 6)]  # 1 of 12 is within; before it the outage was needed


def test_a_slot_that_is_excluded_does_not_hide_an_hour_of_silence() -> None:
    one = [Span(START + 6 * SLOT, START + 7 * SLOT)]
    slots = slots_of(FINE, *[EMPTY] * 20, excluded=one)
    assert replay(rule_of(window="1h", no_data="alert"), slots) == [minutes(13, None)]
    half = [Span(START + 6 * SLOT, START + 12 * SLOT)]
    slots = slots_of(FINE, *[EMPTY] * 20, excluded=half)
    assert replay(rule_of(window="1h", no_data="alert"), slots) == [minutes(19, None)]


def test_silence_is_what_the_policy_says() -> None:
    slots = slots_of(FINE, BROKEN, EMPTY, EMPTY)
    assert replay(rule_of(), slots) == [minutes(2, None)]
    assert replay(rule_of(no_data="ok"), slots) == [minutes(2, 3)]
    assert replay(rule_of(no_data="alert"), slots_of(FINE, EMPTY, FINE)) == [minutes(2, 3)]


def test_what_lies_before_the_first_slot_is_counted_and_not_judged() -> None:
    slots = slots_of(*[BROKEN] * 3, *[FINE] * 30)
    assert replay(rule_of(window="1h"), slots, first=6) == [minutes(7, 14)]  # one of twelve is within


def test_the_rules_of_the_book_page_for_an_outage_and_clear_soon_after_it() -> None:
    burn = load_burn_windows(CONFIG)
    slo = shipped().slos[0]
    slo = replace(slo, alert=slo.alert.model_copy(update={"burn_rates": True}))
    slots = slots_of(*[FINE] * 288, *[BROKEN] * 12, *[FINE] * 288)
    found = {rule.name: replay(rule, slots) for rule in rules_of(slo, replace(shipped(), burn=burn))}
    assert found["threshold"] == [minutes(289, 301)]
    assert found["page"][0].fired == START + 289 * SLOT  # 100 of 1,200 failed within the hour: 16.7 times
    assert found["ticket"][0].fired < START + 300 * SLOT


def test_what_flaps_goes_on_firing_until_it_was_calm_for_half_an_hour() -> None:
    history = [*[BROKEN, FINE] * 3, *[FINE] * 12]
    assert replay(rule_of(), slots_of(*history)) == [minutes(1, 2), minutes(3, 4), minutes(5, 12)]


def test_a_long_window_at_its_limit_does_not_fire() -> None:
    pair = (Pair(Fraction(1), 600, 300),)
    assert replay(rule_of(pairs=pair), slots_of((100, 100), (80, 100))) == []
    assert replay(rule_of(pairs=pair), slots_of((100, 100), (79, 100))) == [minutes(2, None)]


def test_no_history_at_all_fires_nothing() -> None:
    assert replay(rule_of(), slots_of()) == []


def test_an_outage_that_is_excluded_fires_nothing_and_an_exclusion_does_not_clear() -> None:
    slots = [*[FINE] * 3, *[BROKEN] * 3, *[FINE] * 3]
    all_of_it = [Span(START + 3 * SLOT, START + 6 * SLOT)]
    the_rest = [Span(START + 4 * SLOT, START + 8 * SLOT)]
    assert replay(rule_of(), slots_of(*slots, excluded=all_of_it)) == []
    assert replay(rule_of(), slots_of(*slots, excluded=the_rest)) == [minutes(4, 9)]

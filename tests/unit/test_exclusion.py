"""Times that do not count: whole slots, put together, and taken out of any window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.definition import Counts
from shared.domain.exclusion import Exclusion, Span, in_force, merged, outward, remaining, seconds_within, within
from shared.domain.slots import SlotRow
from shared.slo.history import Window
from tests.unit.test_slo_history import ERRORS, ROWS, SINGLE, SLOT, START, STARTS

SLOTS = st.integers(-20, 4 * 288 + 20)
FEW = st.lists(st.tuples(SLOTS, st.integers(0, 400)), max_size=8)


def span(first: int, length: int) -> Span:
    return Span(START + first * SLOT, START + (first + length) * SLOT)


def exclusion(**changes: object) -> Exclusion:
    given = {"id": "a", "span": span(0, 1), "reason": "move", "created_by": "ada", "created_at": START}
    return Exclusion(**{**given, **changes})  # type: ignore[arg-type]


@settings(max_examples=150)
@given(SLOTS, SLOTS, FEW)
def test_what_is_excluded_is_taken_out_slot_by_slot(first: int, last: int, given_spans: list[tuple[int, int]]) -> None:
    spans = [span(*one) for one in given_spans]
    start, end = START + first * SLOT, START + last * SLOT
    inside = [
        counts
        for at, counts in SINGLE.items()
        if start <= at < end and not any(one.start <= at < one.end for one in spans)
    ]
    expected = Counts(sum(c.good for c in inside), sum(c.total for c in inside))
    assert Window(STARTS, ROWS).count(ERRORS, start, end, merged(spans)) == expected


@settings(max_examples=150)
@given(st.integers(-20, 60), st.integers(-20, 60), st.lists(st.tuples(st.integers(-20, 60), st.integers(0, 30))))
def test_a_window_is_what_remains_and_what_is_excluded_each_slot_once(
    first: int, last: int, given_spans: list[tuple[int, int]]
) -> None:
    spans = [span(*one) for one in given_spans]
    start, end = START + first * SLOT, START + last * SLOT

    def slots(found: list[Span]) -> list[datetime]:
        return [one.start + n * SLOT for one in found for n in range((one.end - one.start) // SLOT)]

    every = [start + n * SLOT for n in range(max(0, last - first))]
    out = [at for at in every if any(one.start <= at < one.end for one in spans)]
    whole = merged(spans)
    assert slots(list(within(start, end, whole))) == out
    assert slots(list(remaining(start, end, whole))) == [at for at in every if at not in out]
    assert seconds_within(start, end, whole) == 300 * len(out)
    assert all(before.end < after.start for before, after in pairwise(whole))


@pytest.mark.parametrize(
    ("start", "end", "slots"),
    [
        ("10:05", "10:10", (121, 1)),
        ("10:05:00.000001", "10:10", (121, 1)),
        ("10:04:59.999999", "10:10:00.000001", (120, 3)),
        ("10:07", "10:08", (121, 1)),
        ("23:59", "23:59:30", (287, 1)),
        ("00:00", "00:00:01", (0, 1)),
    ],
)
def test_a_time_is_widened_to_whole_slots(start: str, end: str, slots: tuple[int, int]) -> None:
    times = [datetime.fromisoformat(f"2026-02-01T{text}").replace(tzinfo=UTC) for text in (start, end)]
    assert outward(*times) == span(*slots)


def test_a_time_over_midnight_is_widened_too() -> None:
    late = START + timedelta(hours=23, minutes=58)
    assert outward(late, late + timedelta(days=2, minutes=4)) == span(287, 2 * 288 + 2)


def test_an_exclusion_means_an_slo_by_its_id_or_its_component_and_every_one_if_it_names_none() -> None:
    assert exclusion().means("api", None)
    assert exclusion(slos=("api",)).means("api", "API")
    assert not exclusion(slos=("api",)).means("db", "API")
    assert exclusion(components=("API",)).means("db", "API")
    assert not exclusion(components=("API",)).means("db", None)
    both = exclusion(slos=("db",), components=("API",))
    assert [both.means(*one) for one in (("db", "Database"), ("api", "API"), ("x", "Cache"))] == [True, True, False]


def test_what_is_cancelled_is_not_in_force() -> None:
    assert in_force([exclusion(), exclusion(id="b", cancelled_at=START)], "api", None) == [exclusion()]


def test_a_day_that_is_only_a_sum_counts_not_at_all_if_a_part_of_it_is_excluded() -> None:
    window = Window(STARTS[:2], [{ERRORS.hash: SlotRow.of_a_day(Counts(9, 10))}, ROWS[1]])
    end = STARTS[1]
    assert window.count(ERRORS, START, end, [span(-5, 5)]) == Counts(9, 10)
    assert window.count(ERRORS, START, end, [span(100, 1)]) == Counts(0, 0)

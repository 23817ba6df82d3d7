"""SLO slots: what a block means for each definition, and sums over any part of a day."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.rollup import Gathered, Stats
from shared.domain.series import key_of
from shared.domain.slo import Counts, Definition
from shared.domain.slots import SLOTS_A_DAY, SlotRow, add_up, count_definitions
from shared.rollup_codec import decode_slots, encode_slots
from tests.core import registry

ERRORS = Definition("error_rate", None)
SUCCESS = Definition("agent_success_rate", None)


def stats(values: list[float], bounds: tuple[float, ...] = ()) -> Stats:
    gathered = Gathered(bounds)
    gathered.values = list(values)
    return gathered.stats()


def count(definition: Definition, block: dict[str, Stats]) -> Counts:
    return count_definitions(block, [definition], registry())[definition.hash]


def requests(**by_status: int) -> dict[str, Stats]:
    return {key_of("api_latency", {"status": s.strip("_")}): stats([100.0] * n) for s, n in by_status.items()}


def test_errors_are_the_requests_with_status_500_to_599_over_all() -> None:
    block = requests(_200=90, _404=3, _499=1, _500=2, _503=1, _599=1, _600=2)
    assert count(ERRORS, block) == Counts(good=96, total=100)


@pytest.mark.parametrize("label", ["", "ok", "5xx", "-500", "500.0"])
def test_a_request_whose_status_is_no_number_counts_neither_way(label: str) -> None:
    assert count(ERRORS, {key_of("api_latency", {"status": label}): stats([1.0])}) == Counts(0, 0)
    assert count(ERRORS, {key_of("api_latency", {}): stats([1.0])}) == Counts(0, 0)


def test_recorded_samples_of_error_rate_count_beside_derived_ones() -> None:
    block = {**requests(_200=5, _500=1), "error_rate{}": stats([0, 0, 1])}
    assert count(ERRORS, block) == Counts(good=7, total=9)


def test_of_a_success_rate_the_ones_are_good() -> None:
    assert count(SUCCESS, {"agent_success_rate{}": stats([1, 1, 0])}) == Counts(good=2, total=3)


def test_no_events_are_no_events() -> None:
    assert count(ERRORS, {}) == count(SUCCESS, {}) == Counts(0, 0)


SLOTS = st.dictionaries(
    st.integers(0, SLOTS_A_DAY - 1), st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=40
)


@given(SLOTS, SLOTS, st.integers(-5, 300), st.integers(-5, 300))
def test_any_part_of_a_day_adds_up_after_any_corrections(
    first: dict[int, tuple[int, int]], corrected: dict[int, tuple[int, int]], start: int, end: int
) -> None:
    row = SlotRow()
    for slots in (first, corrected):
        for slot, (good, bad) in slots.items():
            row.set(slot, Counts(good, good + bad))
    expected = {**first, **corrected}
    again = decode_slots(encode_slots({"h": row}))["h"]
    low, high = max(0, start), min(SLOTS_A_DAY, end)
    if low < high:
        inside = [expected[slot] for slot in expected if low <= slot < high]
        assert again.between(low, high) == Counts(sum(g for g, _ in inside), sum(g + b for g, b in inside))
    assert again.between(0, SLOTS_A_DAY) == Counts(row.good, row.total)


@given(SLOTS, st.lists(st.integers(0, SLOTS_A_DAY), min_size=2, max_size=6))
def test_the_parts_of_a_day_add_up_to_the_whole(slots: dict[int, tuple[int, int]], cuts: list[int]) -> None:
    row = SlotRow()
    for slot, (good, bad) in slots.items():
        row.set(slot, Counts(good, good + bad))
    edges = [0, *sorted(cuts), SLOTS_A_DAY]
    assert add_up(row.between(a, b) for a, b in pairwise(edges) if a < b) == row.between(0, SLOTS_A_DAY)

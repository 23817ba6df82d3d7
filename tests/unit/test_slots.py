"""SLO slots: what a block means for each definition, and sums over any part of a day."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.cumulative import Histogram, histogram_stats
from shared.domain.definition import Counts, Definition
from shared.domain.rollup import Gathered, Stats, stats_of
from shared.domain.series import key_of
from shared.domain.slots import MOST_EVENTS, SLOTS_A_DAY, SlotRow, add_up, count_definitions
from shared.metrics.layout import month_path, slots_path
from shared.metrics.rollup_codec import decode_slots, encode_slots
from shared.metrics.rollups import decode_month, encode_month, sum_day
from shared.slo.history import SloHistory
from shared.store.protocol import Put
from shared.store.sqlite import SqliteStore
from tests.core import NOW, metric, registry
from tests.unit.test_alerting import RUN, Watch
from tests.unit.test_fold import append

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


def test_weights_and_bounds_that_no_edge_shows_mark_what_is_counted() -> None:
    latency = Definition("api_latency", 300.0)
    ok = key_of("api_latency", {"status": "200"})
    histogram = Histogram(2, 300.0, (100.0, 500.0), (1, 1, 0))
    between = histogram_stats(histogram, None, None, (300.0,))
    at_an_edge = histogram_stats(histogram, None, None, (500.0,))
    assert between is not None
    assert at_an_edge is not None
    assert count(latency, {ok: stats([1.0, 400.0], (300.0,))}) == Counts(1, 2, estimated=False)
    assert count(latency, {ok: stats_of([1.0, 400.0], (300.0,), 10)}) == Counts(10, 20, estimated=True)
    assert count(latency, {ok: between}).estimated
    assert count(latency, {ok: stats([1.0]), key_of("api_latency", {"a": "b"}): between}).estimated
    assert not count(Definition("api_latency", 500.0), {ok: at_an_edge}).estimated
    assert not count(ERRORS, {ok: between}).estimated  # how many there were is exact
    assert count(ERRORS, {ok: stats_of([1.0], (), 10)}) == Counts(10, 10, estimated=True)
    assert count(SUCCESS, {"agent_success_rate{}": stats_of([1.0, 0.0], (), 10)}) == Counts(10, 20, estimated=True)


@given(
    st.lists(st.tuples(st.integers(0, SLOTS_A_DAY - 1), st.booleans()), max_size=20),
    st.integers(0, SLOTS_A_DAY - 1),
    st.integers(1, SLOTS_A_DAY),
)
def test_the_mark_of_an_estimate_is_kept_by_slot_and_goes_when_it_is_corrected(
    marks: list[tuple[int, bool]], first: int, length: int
) -> None:
    row = SlotRow()
    for slot, estimated in marks:
        row.set(slot, Counts(1, 2, estimated))
    again = decode_slots(encode_slots({"h": row}))["h"]
    last = dict(marks)
    end = min(SLOTS_A_DAY, first + length)
    assert again.between(first, end).estimated == any(last.get(slot, False) for slot in range(first, end))
    assert again.between(0, SLOTS_A_DAY).estimated == any(last.values())


def test_the_mark_goes_from_slots_to_a_window_a_day_and_its_month(sqlite_store: SqliteStore) -> None:
    definition, day = Definition("api_latency", 300.0), datetime(2026, 3, 9, tzinfo=UTC)
    rows = {definition.hash: SlotRow()}
    rows[definition.hash].set(5, Counts(1, 2, estimated=True))
    rows[definition.hash].set(9, Counts(3, 4))
    sqlite_store.commit([Put(slots_path("2026-03-09"), {"payload": encode_slots(rows)})])
    now = day + timedelta(days=1)
    window = SloHistory(sqlite_store).load(day, now, now)
    assert window.count(definition, day, now) == Counts(4, 6, estimated=True)
    assert window.count(definition, day + timedelta(minutes=30), now) == Counts(3, 4, estimated=False)
    sum_day(sqlite_store, "2026-03-09")
    month = sqlite_store.get(month_path("2026-03-09"))
    assert month is not None
    assert decode_month(month.data["payload"]) == {"2026-03-09": {definition.hash: Counts(4, 6, estimated=True)}}


def test_slots_and_months_stored_without_the_mark_are_read() -> None:
    arrays = array("I", range(SLOTS_A_DAY)).tobytes()
    old = b"m" + msgspec.msgpack.encode({"h": (1, 2, arrays, arrays)})
    row = decode_slots(old)["h"]
    assert (row.good, row.total, row.goods[7], row.estimates) == (1, 2, 7, 0)
    assert encode_slots({"h": row}) == old
    month = msgspec.msgpack.encode({"2026-03-09": {"h": (1, 2)}})
    assert decode_month(month) == {"2026-03-09": {"h": Counts(1, 2)}}
    assert encode_month(decode_month(month)) == month


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


def test_a_slot_of_more_events_than_four_bytes_hold_counts_and_its_day_is_read_again() -> None:
    row, most = SlotRow(), (1 << 32) - 1
    row.set(1, Counts(most, most))
    assert len(row.goods.tobytes()) == 4 * SLOTS_A_DAY
    row.set(2, Counts(most, most + 1))
    again = decode_slots(encode_slots({"h": row}))["h"]
    assert [again.between(n, n + 1) for n in (1, 2)] == [Counts(most, most), Counts(most, most + 1)]
    assert again.between(0, SLOTS_A_DAY) == Counts(2 * most, 2 * most + 1)


def test_a_slot_has_a_bound_beyond_which_the_share_is_kept() -> None:
    row = SlotRow()
    row.set(7, Counts(3 * 10**29, 10**30))
    assert row.between(7, 8) == row.between(0, SLOTS_A_DAY) == Counts(3 * MOST_EVENTS // 10, MOST_EVENTS, True)
    assert 400 * SLOTS_A_DAY * MOST_EVENTS < 1 << 63


def test_what_an_evaluation_reports_says_whether_it_is_an_estimate(sqlite_store: SqliteStore) -> None:
    at, watch = NOW - timedelta(minutes=5), Watch(sqlite_store)
    watch.requests(20, 0, at)
    watch.run()
    assert [slo["estimated"] for slo in watch.doc(RUN)["slos"]] == [False] * 4
    append(sqlite_store, [metric(100, at=at, labels={"status": "200"}, weight=10)], "sampled-1", at)
    watch.run()
    marked = {slo["id"] for slo in watch.doc(RUN)["slos"] if slo["estimated"]}
    assert marked == {"api-availability", "api-latency-p95"}

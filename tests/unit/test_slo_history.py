"""Counts over any window from one document a day, and how few documents that takes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.definition import Counts, Definition
from shared.domain.slots import SlotRow
from shared.metrics.layout import slots_path
from shared.metrics.rollup_codec import encode_slots
from shared.slo.history import SloHistory, Window
from shared.store.protocol import Put, Store
from shared.store.sqlite import SqliteStore

START = datetime(2026, 2, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
ERRORS = Definition("error_rate", None)
SLOT = timedelta(minutes=5)


def filled(days: int, seed: int = 1) -> tuple[list[datetime], list[dict[str, SlotRow]], dict[datetime, Counts]]:
    rng = random.Random(seed)
    starts, rows, single = [], [], {}
    for n in range(days):
        row = SlotRow()
        for slot in range(288):
            if rng.random() < 0.8:
                counts = Counts(rng.randint(0, 50), 50)
                row.set(slot, counts)
                single[START + timedelta(days=n) + slot * SLOT] = counts
        starts.append(START + timedelta(days=n))
        rows.append({ERRORS.hash: row})
    return starts, rows, single


STARTS, ROWS, SINGLE = filled(4)


@settings(max_examples=60)
@given(st.integers(-300, 4 * 288 + 300), st.integers(-300, 4 * 288 + 300))
def test_any_window_is_the_sum_of_its_slots(first: int, last: int) -> None:
    start, end = START + first * SLOT, START + last * SLOT
    inside = [counts for at, counts in SINGLE.items() if start <= at < end]
    expected = Counts(sum(c.good for c in inside), sum(c.total for c in inside))
    assert Window(STARTS, ROWS).count(ERRORS, start, end) == expected


def test_an_unknown_definition_has_no_events() -> None:
    assert Window(STARTS, ROWS).count(Definition("x", 1.0), STARTS[0], STARTS[-1]) == Counts(0, 0)


def fill(store: Store, days: int, definitions: int, before: datetime) -> None:
    """One event a slot for each definition, on the days before and the day itself."""
    row = SlotRow()
    for slot in range(288):
        row.set(slot, Counts(1, 1))
    payload = encode_slots({Definition("m", float(n)).hash: row for n in range(definitions)})
    for n in range(days):
        store.commit([Put(slots_path((before - timedelta(days=n)).strftime("%Y-%m-%d")), {"payload": payload})])


@pytest.mark.parametrize("definitions", [1, 100])
def test_thirty_days_take_31_reads_cold_and_3_warm_for_all_definitions(
    sqlite_store: SqliteStore, definitions: int
) -> None:
    fill(sqlite_store, 35, definitions, NOON)
    history = SloHistory(sqlite_store)
    reads = []
    for n in range(3):
        end = NOON + n * SLOT
        before = sqlite_store.meter.snapshot()
        window = history.load(end - timedelta(days=30), end, end + timedelta(minutes=2))
        reads.append(sqlite_store.meter.since(before).reads)
        for m in range(definitions):
            assert window.count(Definition("m", float(m)), end - timedelta(days=30), end).total == 30 * 288
    assert reads == [31, 3, 3]


@pytest.mark.parametrize("hour", [0, 1, 12, 23])
def test_at_any_hour_a_warm_instance_reads_four_documents_at_most(sqlite_store: SqliteStore, hour: int) -> None:
    fill(sqlite_store, 35, 1, NOON)
    history = SloHistory(sqlite_store)
    now = NOON.replace(hour=hour, minute=30)
    for expected in (40, 4):
        before = sqlite_store.meter.snapshot()
        history.load(now - timedelta(days=30), now, now)
        assert sqlite_store.meter.since(before).reads <= expected


def test_a_day_that_may_still_change_is_read_again(store: Store) -> None:
    fill(store, 35, 1, NOON)
    history = SloHistory(store)
    definition = Definition("m", 0.0)
    load = (NOON - timedelta(days=30), NOON)
    history.load(*load, NOON)
    row = SlotRow()
    row.set(0, Counts(7, 7))
    for n in (1, 2, 10):
        day = (NOON - timedelta(days=n)).strftime("%Y-%m-%d")
        store.commit([Put(slots_path(day), {"payload": encode_slots({definition.hash: row})})])
    assert history.load(*load, NOON).count(definition, *load).total == 28 * 288 + 14
    history.forget(["2026-02-28"])
    assert history.load(*load, NOON).count(definition, *load).total == 27 * 288 + 21
    history.forget()
    assert history.load(*load, NOON).count(definition, *load).total == 27 * 288 + 21


def test_days_without_a_document_have_no_events(store: Store) -> None:
    load = (NOON - timedelta(days=30), NOON)
    assert SloHistory(store).load(*load, NOON).count(ERRORS, *load) == Counts(0, 0)

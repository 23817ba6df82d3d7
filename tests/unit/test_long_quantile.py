"""The value of a quantile over a long alert window: what it reads, and that it is the value."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.components import load_components
from shared.domain.exclusion import Span, merged
from shared.domain.query_range import HOUR, MAX_FINE_SPANS, without
from shared.metrics.fold import Folded, fold
from shared.slo.evaluation import Evaluator
from shared.slo.exclusions import exclusions_of
from shared.slo.history import SloHistory
from shared.store.protocol import Delete, Query, Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, metric, registry
from tests.unit.test_alerting import IN_SLOT, MARK, SLOT, Watch, config_of, only
from tests.unit.test_exclusion_alerts import Excluding
from tests.unit.test_fold import append

LATENCY = "api-latency-p95-threshold"
DAY = timedelta(days=1)


def slow(window: str) -> dict[str, Any]:
    return only("API Latency (p95)", alert={"severity": "warning", "channels": ["slack"], "window": window})


def sent(store: Any, data: dict[str, Any], days: int, every: timedelta = timedelta(hours=3)) -> list[float]:
    """Requests over so many days, folded day by day as they came, so that each day is closed; their latencies."""
    rng = random.Random(days)
    values: list[float] = []
    at = NOW - timedelta(days=days) + timedelta(minutes=7)
    number = 0
    definitions = config_of(data).definitions
    while at <= IN_SLOT:
        ms = round(rng.uniform(10, 2000), 1)
        append(store, [metric(ms, at=at, labels={"status": "200"})] * 5, f"long-{number:06}", at)
        values.append(ms)
        number += 1
        fold(store, registry(), definitions, at + timedelta(minutes=3))
        at += every
    return values


def p95(values: list[float]) -> float:
    return sorted(values)[-(-len(values) * 95 // 100) - 1]


def asked(watch: Watch, store: Any, exclusions: Any = ()) -> tuple[float | None, int]:
    config = config_of(watch.data)
    evaluator = Evaluator(
        store, config, registry(), load_components(CONFIG), SloHistory(store), Folded(), NOW, exclusions_of(exclusions)
    )
    before = store.meter.snapshot()
    value = evaluator.quantile(config.slos[0], required=True)
    return value, store.meter.since(before).reads


def test_over_thirty_days_it_reads_about_a_hundred_documents_and_has_the_value(sqlite_store: SqliteStore) -> None:
    watch = Watch(sqlite_store, slow("30d"))
    values = sent(sqlite_store, watch.data, 31, every=timedelta(hours=6))
    value, reads = asked(watch, sqlite_store)
    # runs/fold; hours of the first day, 29 whole days, hours of the last, blocks at the ragged ends
    assert reads <= 1 + 23 + 29 + 23 + 22
    assert value == pytest.approx(p95(values[-120:]), rel=0.02)


def test_days_that_have_no_document_of_their_own_are_read_from_their_hours(sqlite_store: SqliteStore) -> None:
    watch = Watch(sqlite_store, slow("30d"))
    sent(sqlite_store, watch.data, 31, every=timedelta(hours=12))
    value, _ = asked(watch, sqlite_store)
    for doc in sqlite_store.query(Query("d1", group=True)):
        sqlite_store.commit([Delete(doc.path)])
    again, reads = asked(watch, sqlite_store)
    assert reads <= 1 + 29 + 30 * 24 + 22
    assert again == value


def test_over_six_hours_on_both_stores_an_alert_says_the_value_of_all_of_them(store: Store) -> None:
    watch = Watch(store, slow("6h"))
    values = [500.0 + n for n in range(72)]
    for n, ms in enumerate(values):
        append(store, [metric(ms, at=IN_SLOT - n * SLOT, labels={"status": "200"})], f"six-{n:06}", IN_SLOT)
    assert watch.run().fired == [LATENCY]
    assert watch.alert(LATENCY)["value"] == pytest.approx(p95(values), rel=0.01)


def test_while_it_goes_on_firing_nothing_is_read_for_it(sqlite_store: SqliteStore) -> None:
    watch = Watch(sqlite_store, slow("6h"))
    watch.requests(100, 0, ms=900)
    assert watch.run().fired == [LATENCY]
    before = sqlite_store.meter.snapshot()
    watch.run(NOW + SLOT)
    # the guard three times, the fold's state, segments, two days, the alert and its notification
    assert sqlite_store.meter.since(before).reads == 9


def test_what_is_excluded_is_not_in_it_and_an_hour_that_is_excluded_in_part_is_left_out(
    sqlite_store: SqliteStore,
) -> None:
    watch = Excluding(sqlite_store, slow("6h"))
    for n in range(72):
        ms = 5000 if 30 <= n < 36 else 900  # half an hour of maintenance
        append(sqlite_store, [metric(ms, at=IN_SLOT - n * SLOT, labels={"status": "200"})] * 5, f"e-{n:06}", IN_SLOT)
    watch.run(NOW - SLOT)
    watch.exclude(36, 30)
    excluded = sqlite_store.get("slo_exclusions/all")
    value, reads = asked(watch, sqlite_store, excluded)
    assert value == pytest.approx(900, rel=0.01)
    assert reads <= 1 + 6 + 22


BLOCK = int(MARK.timestamp()) // 300
SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=40).map(
    lambda drawn: merged(Span(MARK + n * SLOT, MARK + (n + length) * SLOT) for n, length in drawn)
)


@given(SPANS, st.integers(0, 300), st.integers(-5, 320))
def test_what_is_left_has_nothing_excluded_and_all_else_but_parts_of_hours(
    excluded: tuple[Span, ...], length: int, fine_from: int
) -> None:
    first, end, fine = BLOCK, BLOCK + length, BLOCK + fine_from
    left = {n for start, stop in without(first, end, excluded, fine) for n in range(start, stop)}
    out = {n for n in range(first, end) if any(s.start <= MARK + (n - BLOCK) * SLOT < s.end for s in excluded)}
    assert left.isdisjoint(out)
    touched = {n // HOUR for n in out}
    for n in set(range(first, end)) - out - left:
        assert n // HOUR in touched
    if len(excluded) < MAX_FINE_SPANS and fine <= first:
        assert left == set(range(first, end)) - out

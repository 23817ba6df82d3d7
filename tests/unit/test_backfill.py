"""A definition that is new is counted over the history before it may alert."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.definition import Definition
from shared.metrics.fold import fold
from shared.metrics.layout import FOLD_RUN, block_path, month_path, slots_path
from shared.metrics.rollup_codec import decode_slots
from shared.metrics.rollups import decode_month
from shared.slo.backfill import backfill
from shared.store.protocol import Delete, Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW, metric, registry, shipped
from tests.simulation.model import Model
from tests.unit.test_fold import append, some

OLD = Definition("api_latency", 300.0)
NEW = Definition("api_latency", 200.0)  # a bound of the registry: counted exactly before anybody asked
ODD = Definition("api_latency", 250.0)  # never counted: estimated
ERRORS = Definition("error_rate", None)
DAY = timedelta(days=1)


def filled(store: Store, seed: int = 1, days: int = 2) -> Model:
    model = Model([OLD, NEW, ERRORS])
    rng = random.Random(seed)
    for n in range(days):
        at = NOW - n * DAY
        metrics = some(rng, at, hours=5)
        model.add(metrics)
        append(store, metrics, f"batch-{n:04}", at)
    fold(store, registry(), [OLD], NOW)
    return model


def run(store: Store, *definitions: Definition, now: Any = NOW, steps: int = 10**6) -> tuple[set[str], bool]:
    left = [steps]

    def may_go_on() -> bool:
        left[0] -= 1
        return left[0] >= 0

    return backfill(store, registry(), definitions, now, may_go_on)


def test_with_no_data_at_all_every_definition_is_ready(sqlite_store: SqliteStore) -> None:
    assert run(sqlite_store, OLD, NEW) == ({OLD.hash, NEW.hash}, False)


def test_a_new_definition_is_counted_over_every_day_exactly(store: Store) -> None:
    model = filled(store)
    ready, written = run(store, OLD, NEW, ERRORS)
    assert (ready, written) == ({OLD.hash, NEW.hash, ERRORS.hash}, True)
    assert list(model._slots(store)) == []
    assert run(store, OLD, NEW, ERRORS) == (ready, False)


def test_it_goes_on_where_it_was_stopped(sqlite_store: SqliteStore) -> None:
    model = filled(sqlite_store, days=2)
    assert len(model.days) == 2
    assert run(sqlite_store, OLD, NEW, ERRORS, steps=1) == (set(), True)
    ready, _ = run(sqlite_store, OLD, NEW, ERRORS, steps=1)  # one day was left
    assert NEW.hash in ready
    assert list(model._slots(sqlite_store)) == []


def test_if_other_definitions_are_asked_for_meanwhile_it_begins_anew(sqlite_store: SqliteStore) -> None:
    model = filled(sqlite_store)
    run(sqlite_store, OLD, NEW, steps=1)
    ready, _ = run(sqlite_store, OLD, NEW, ERRORS)
    assert ERRORS.hash in ready
    assert list(model._slots(sqlite_store)) == []


def test_one_that_was_away_for_a_while_is_counted_anew(sqlite_store: SqliteStore) -> None:
    model = filled(sqlite_store)
    run(sqlite_store, OLD, NEW, ERRORS)
    run(sqlite_store, OLD)  # an evening with another configuration
    more = [metric(150, at=NOW, labels={"status": "500"})]
    append(sqlite_store, more, "batch-more")
    fold(sqlite_store, registry(), [OLD], NOW)
    model.add(more)
    ready, written = run(sqlite_store, OLD, NEW, ERRORS)
    assert (NEW.hash in ready, written) == (True, True)
    assert list(model._slots(sqlite_store)) == []


def test_days_without_their_blocks_are_counted_from_the_hours(sqlite_store: SqliteStore) -> None:
    model = filled(sqlite_store, days=1)
    for number in model.blocks:
        sqlite_store.commit([Delete(block_path(number, shard)) for shard in (0, 1)])
    run(sqlite_store, OLD, NEW, ERRORS, now=NOW + 8 * DAY)
    for day in model.days:
        doc = sqlite_store.get(slots_path(day))
        assert doc is not None
        rows = decode_slots(doc.data["payload"])
        for definition in (NEW, ERRORS):
            expected = model.counts(definition, model.gathered("day")[day])
            assert (rows[definition.hash].good, rows[definition.hash].total) == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_bound_that_was_never_counted_is_estimated_within_the_values_near_it(
    sqlite_store: SqliteStore, seed: int
) -> None:
    model = filled(sqlite_store, seed)
    run(sqlite_store, ODD)
    for day, series in model.gathered("day").items():
        doc = sqlite_store.get(slots_path(day))
        assert doc is not None
        row = decode_slots(doc.data["payload"])[ODD.hash]
        good, total = model.counts(ODD, series)
        near = sum(abs(v - 250) < 6 for own, values in series.items() if own.startswith("api_") for v in values)
        assert row.total == total
        assert abs(row.good - good) <= near


def test_closed_days_have_the_new_definition_in_their_month(sqlite_store: SqliteStore) -> None:
    model = filled(sqlite_store)
    fold(sqlite_store, registry(), [OLD], NOW)  # closes yesterday
    run(sqlite_store, OLD, NEW, ERRORS)
    month = sqlite_store.get(month_path("2026-03-09"))
    assert month is not None
    sums = decode_month(month.data["payload"])["2026-03-09"]
    for definition in (OLD, NEW, ERRORS):
        assert (sums[definition.hash].good, sums[definition.hash].total) == model.counts(
            definition, model.gathered("day")["2026-03-09"]
        )


def test_it_reads_nothing_once_all_are_ready(sqlite_store: SqliteStore) -> None:
    filled(sqlite_store)
    run(sqlite_store, *shipped().definitions)
    before = sqlite_store.meter.snapshot()
    run(sqlite_store, *shipped().definitions)
    used = sqlite_store.meter.since(before)
    assert (used.reads, used.writes) == (1, 0)


def test_definitions_no_longer_in_force_are_forgotten(sqlite_store: SqliteStore) -> None:
    filled(sqlite_store)
    run(sqlite_store, OLD, NEW)
    run(sqlite_store, OLD)
    state = sqlite_store.get(FOLD_RUN)
    assert state is not None
    assert state.data["backfilled"] == [OLD.hash]

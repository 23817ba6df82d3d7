"""How long the store takes: every call is measured, and what was measured is counted once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from shared.bootstrap import App
from shared.domain.rollup import Stats
from shared.domain.series import key_of
from shared.metrics.fold import fold
from shared.metrics.rollups import read_blocks
from shared.metrics.store_latency import MOST, READ, WRITE, TimedStore, latency_batch
from shared.outbound import HttpOutbound
from shared.store.protocol import Conflict, Create, Put, Query, Store
from tests.core import NOW, Clock, body, make_app, metric, ms, new_table, registry, serving, shipped


def ticking(step: float = 0.005) -> Callable[[], float]:
    """A clock that goes on by `step` seconds each time it is read, so that each call takes that long."""
    return itertools.count(0.0, step).__next__


def test_each_call_is_a_sample_of_its_operation_and_its_time(store: Store) -> None:
    timed = TimedStore(store, "sqlite", ticking(0.25))
    timed.commit([Create("things/a", {"n": 1})])
    timed.get("things/a")
    timed.get_many(["things/a", "things/b"])
    timed.query(Query("things"))
    assert timed.count(Query("things")) == 1
    assert timed.take() == {
        (WRITE, "commit"): [250.0],
        (READ, "get"): [250.0],
        (READ, "get_many"): [250.0],
        (READ, "query"): [250.0],
        (READ, "count"): [250.0],
    }
    assert timed.take() == {}


def test_a_call_that_fails_has_taken_its_time_too(store: Store) -> None:
    timed = TimedStore(store, "sqlite", ticking())
    timed.commit([Create("things/a", {})])
    with pytest.raises(Conflict):
        timed.commit([Create("things/a", {})])
    assert len(timed.take()[WRITE, "commit"]) == 2


def test_what_waits_is_bounded(store: Store) -> None:
    timed = TimedStore(store, "sqlite", ticking())
    for _ in range(MOST + 10):
        timed.get("things/a")
    assert len(timed.take()[READ, "get"]) == MOST


def test_the_samples_come_to_what_was_called(store: Store) -> None:
    timed = TimedStore(store, "firestore", ticking(0.010))
    for n in range(7):
        timed.commit([Put(f"things/{n}", {"n": n})])
        timed.get(f"things/{n}")
        timed.get(f"things/{n}")
    batch = latency_batch(timed, new_table(), NOW)
    assert batch is not None
    app = make_app(store)
    app.group_commit.append(batch, NOW)
    fold(store, registry(), shipped().definitions, NOW)
    block = read_blocks(store, [ms(NOW) // 300_000])[ms(NOW) // 300_000]
    writes: Stats = block[key_of(WRITE, {"operation": "commit", "store": "firestore"})]
    reads: Stats = block[key_of(READ, {"operation": "get", "store": "firestore"})]
    assert (writes.count, reads.count) == (7, 14)
    assert (writes.total, reads.total) == (pytest.approx(70), pytest.approx(140))
    assert latency_batch(timed, new_table(), NOW) is None


def test_ingest_sends_them_along_with_a_segment_that_it_writes_anyway(store: Store) -> None:
    clock, seconds = Clock(), [0.0]
    base = make_app(store, clock)
    timed = TimedStore(store, "sqlite", ticking())
    app = App(base.settings, timed, HttpOutbound(), clock, lambda: seconds[0])
    with serving(app) as client:
        for n in range(4):
            assert client.send(body([metric()], f"batch-000{n}"))[0] == 202
            seconds[0] += 10
    assert len(store.query(Query("segments", group=True))) == 4
    fold(store, registry(), shipped().definitions, NOW + timedelta(minutes=1))
    block = read_blocks(store, [ms(NOW) // 300_000])[ms(NOW) // 300_000]
    assert block["api_latency{}"].count == 4
    commits = block[key_of(WRITE, {"operation": "commit", "store": "sqlite"})]
    assert commits.count + len(timed.take()[WRITE, "commit"]) == 4


def test_a_store_that_is_not_measured_has_none(store: Store) -> None:
    assert latency_batch(store, new_table(), NOW) is None

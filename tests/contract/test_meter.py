"""Each store counts operations as Firestore bills them."""

from __future__ import annotations

import pytest

from shared.store.protocol import Conflict, Create, Delete, Merge, Meter, Put, Query, Store


def test_a_read_costs_one_found_or_not(store: Store) -> None:
    store.commit([Put("contract/a", {})])
    before = store.meter.snapshot()
    store.get("contract/a")
    store.get("contract/none")
    assert store.meter.since(before) == Meter(reads=2)


def test_reads_together_cost_one_each_and_a_repeated_one_nothing(store: Store) -> None:
    store.get_many(["contract/a", "contract/b", "contract/a"])
    store.get_many([])
    assert store.meter == Meter(reads=2)


def test_a_commit_costs_one_each_write_and_each_delete(store: Store) -> None:
    store.commit([Create("contract/a", {}), Put("contract/b", {}), Merge("contract/c", {"x": 1}, {"n": 1})])
    store.commit([Delete("contract/a"), Delete("contract/none"), Put("contract/b", {})])
    assert store.meter == Meter(writes=4, deletes=2)


def test_a_refused_commit_costs_nothing(store: Store) -> None:
    store.commit([Create("contract/a", {})])
    before = store.meter.snapshot()
    with pytest.raises(Conflict):
        store.commit([Put("contract/b", {}), Create("contract/a", {})])
    assert store.meter.since(before) == Meter()


def test_a_query_costs_what_it_returns_and_one_at_least(store: Store) -> None:
    store.commit([Put(f"contract/{n}", {"n": n}) for n in range(5)])
    before = store.meter.snapshot()
    store.query(Query("contract", limit=3))
    store.query(Query("contract", (("n", "==", 99),)))
    assert store.meter.since(before) == Meter(reads=4)


def test_a_count_costs_one_for_each_thousand_begun(store: Store) -> None:
    for start in range(0, 1001, 500):
        store.commit([Put(f"contract/{n}", {"x": 1}) for n in range(start, min(start + 500, 1001))])
    before = store.meter.snapshot()
    assert store.count(Query("contract")) == 1001
    assert store.count(Query("contract", (("x", "==", 2),))) == 0
    assert store.meter.since(before) == Meter(reads=3)

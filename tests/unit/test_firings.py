"""The records of firings: one for each time that an alert fired, in the commits that change it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.alerts.marks import mark_false
from shared.store.protocol import Delete, Merge, Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.unit.test_alerting import API, IN_SLOT, SLOT, Watch


@pytest.fixture
def watch(store: Store) -> Watch:
    return Watch(store)


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Watch:
    return Watch(sqlite_store)


def test_each_firing_leaves_a_record_that_later_ones_do_not_overwrite(watch: Watch) -> None:
    watch.requests(90, 10)
    watch.run()
    begun = watch.documents("alert_firings")[f"{API}-1"]
    assert begun == {
        "alertId": API,
        "sloId": "api-availability",
        "rule": "threshold",
        "severity": "critical",
        "firedAt": NOW,
        "resolvedAt": None,
        "markedFalse": None,
        "expireAt": NOW + timedelta(days=400),
        "rev": begun["rev"],
    }
    watch.requests(100, 0, IN_SLOT + SLOT)
    watch.run(NOW + SLOT)
    watch.requests(90, 10, IN_SLOT + 2 * SLOT)
    watch.run(NOW + 2 * SLOT)
    found = watch.documents("alert_firings")
    assert {name: (f["firedAt"], f["resolvedAt"]) for name, f in found.items()} == {
        f"{API}-1": (NOW, NOW + SLOT),
        f"{API}-3": (NOW + 2 * SLOT, None),
    }
    assert watch.alert()["firingSeq"] == 3


def test_a_mark_stays_while_the_alert_clears_and_goes_when_it_fires_again(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    mark_false(quick.store, API, "ada", "a load test", NOW)
    mark = {"by": "ada", "at": NOW, "note": "a load test"}
    quick.requests(100, 0, IN_SLOT + SLOT)
    assert quick.run(NOW + SLOT).cleared == [API]
    assert quick.alert()["markedFalse"] == mark
    quick.requests(90, 10, IN_SLOT + 2 * SLOT)
    assert quick.run(NOW + 2 * SLOT).fired == [API]
    assert quick.alert()["markedFalse"] is None
    found = quick.documents("alert_firings")
    assert [found[f"{API}-{n}"]["markedFalse"] for n in (1, 3)] == [mark, None]
    assert found[f"{API}-1"]["resolvedAt"] == NOW + SLOT


def test_what_is_told_again_is_no_new_firing(quick: Watch) -> None:
    quick.channels = {}
    quick.requests(90, 10)
    quick.run()
    quick.channels = {"slack": True}
    assert quick.run(NOW + timedelta(seconds=1)).told_again == [API]
    assert list(quick.documents("alert_firings")) == [f"{API}-1"]
    assert (quick.alert()["seq"], quick.alert()["firingSeq"]) == (2, 1)


def test_an_alert_of_an_earlier_release_clears_without_a_record(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    quick.store.commit([Delete(f"alert_firings/{API}-1"), Merge(f"alerts/{API}", {"firingSeq": None})])
    quick.requests(100, 0, IN_SLOT + SLOT)
    assert quick.run(NOW + SLOT).cleared == [API]
    assert quick.documents("alert_firings") == {}


def test_the_firing_of_an_slo_that_was_removed_ends_too(quick: Watch) -> None:
    quick.requests(90, 10)
    quick.run()
    quick.data = {"slos": []}
    quick.run(NOW + SLOT)
    assert quick.documents("alert_firings")[f"{API}-1"]["resolvedAt"] == NOW + SLOT

"""The snapshot in memory: few reads, never back, and the last known view while the store is down."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from shared.status.cache import SnapshotCache
from shared.status.publish import SNAPSHOT, publish_status
from shared.store.protocol import Data, Delete, Doc, Meter, Put, Unavailable
from shared.store.sqlite import SqliteStore
from tests.unit.status_scenes import COMPONENTS, NOW, SCENES, app_on, fill

OFF: Data = {"ops": {"public_status_page": False}, "rev": "r1"}
ON: Data = {"ops": {"public_status_page": True}, "rev": "r2"}


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Gate:
    """A real store that can be down, and that can be held in the middle of a read."""

    def __init__(self, store: SqliteStore) -> None:
        self.meter: Meter = store.meter
        self.store = store
        self.down = False
        self.calls = 0
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self.calls += 1
        if self.down:
            raise Unavailable("down")
        self.reading.set()
        assert self.go_on.wait(20)
        return self.store.get_many(paths)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "store.db")
        self.flags = app_on(self.store).flags
        self.gate = Gate(self.store)
        self.time = Time()
        self.cache = SnapshotCache(self.gate, self.flags, self.time)  # type: ignore[arg-type]

    def publish(self) -> int:
        return publish_status(self.store, COMPONENTS, self.flags, NOW)

    def after(self, seconds: float) -> None:
        self.time.seconds += seconds


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    fill(made.store, SCENES["operational"])
    yield made
    made.store.close()


def test_within_five_seconds_nothing_is_read_again(bench: Bench) -> None:
    bench.publish()
    first = bench.cache.served()
    bench.publish()
    bench.after(4.9)
    assert bench.cache.served() is first
    assert bench.gate.calls == 1
    bench.after(0.1)
    assert bench.cache.served().seq == 2
    assert bench.gate.calls == 2


def test_the_same_object_is_served_while_nothing_changes(bench: Bench) -> None:
    bench.publish()
    first = bench.cache.served()
    bench.after(5)
    assert bench.cache.served() is first
    assert bench.gate.calls == 2


def test_before_any_snapshot_there_is_none_and_it_is_reachable(bench: Bench) -> None:
    served = bench.cache.served()
    assert (served.snapshot, served.enabled, served.reachable, served.seq) == (None, True, True, 0)


def test_one_request_reads_while_the_others_are_served_what_is_known(bench: Bench) -> None:
    bench.publish()
    first = bench.cache.served()
    bench.publish()
    bench.after(5)
    bench.gate.reading.clear()
    bench.gate.go_on.clear()
    reader = threading.Thread(target=bench.cache.served)
    reader.start()
    assert bench.gate.reading.wait(20)
    assert bench.cache.served() is first
    assert bench.gate.calls == 2
    bench.gate.go_on.set()
    reader.join()
    assert bench.cache.served().seq == 2


def test_first_requests_wait_for_one_read(bench: Bench) -> None:
    bench.publish()
    bench.gate.go_on.clear()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(bench.cache.served().seq)) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert bench.gate.reading.wait(20)
    bench.gate.go_on.set()
    for thread in threads:
        thread.join()
    assert found == [1] * 8
    assert bench.gate.calls == 1


def test_a_lower_seq_is_never_served(bench: Bench) -> None:
    bench.publish()
    old = bench.store.get(SNAPSHOT)
    bench.publish()
    assert old is not None
    assert bench.cache.served().seq == 2
    bench.store.commit([Put(SNAPSHOT, old.data)])
    bench.after(5)
    assert bench.cache.served().seq == 2
    bench.store.commit([Delete(SNAPSHOT)])
    bench.after(5)
    assert bench.cache.served().seq == 2


def test_while_the_store_is_down_the_last_view_is_served_and_marked(bench: Bench) -> None:
    bench.publish()
    bench.cache.served()
    bench.gate.down = True
    bench.after(5)
    served = bench.cache.served()
    assert (served.seq, served.enabled, served.reachable) == (1, True, False)
    bench.after(5)
    assert bench.cache.served() is served
    bench.gate.down = False
    bench.after(5)
    assert bench.cache.served().reachable


def test_a_store_that_is_down_is_asked_once_in_five_seconds(bench: Bench) -> None:
    bench.gate.down = True
    for _ in range(10):
        assert bench.cache.served().snapshot is None
        bench.after(0.5)
    assert bench.gate.calls == 1


def test_the_flag_is_obeyed_at_the_next_read_though_the_snapshot_is_not_blank(bench: Bench) -> None:
    bench.publish()
    assert bench.cache.served().enabled
    fill(bench.store, {"config/flags": OFF})
    bench.after(5)
    assert not bench.cache.served().enabled
    fill(bench.store, {"config/flags": ON})
    bench.after(5)
    assert bench.cache.served().enabled


def test_a_page_that_was_switched_off_stays_off_while_the_store_is_down(bench: Bench) -> None:
    fill(bench.store, {"config/flags": OFF})
    bench.publish()
    assert not bench.cache.served().enabled
    bench.gate.down = True
    bench.after(5)
    assert not bench.cache.served().enabled


def test_a_blank_snapshot_is_not_shown_as_a_page_without_components(bench: Bench) -> None:
    fill(bench.store, {"config/flags": OFF})
    bench.publish()
    fill(bench.store, {"config/flags": ON})
    assert not bench.cache.served().enabled
    bench.publish()
    bench.after(5)
    assert bench.cache.served().enabled


def test_where_the_clock_runs_fast_the_view_is_as_young_by_that_clock(tmp_path: Path) -> None:
    """Else the page of a demonstration would lag minutes behind what it tells."""
    app, time = app_on(SqliteStore(tmp_path / "store.db")), Time()
    app.monotonic, app.pace = time, 60.0
    fill(app.store, SCENES["operational"])
    publish_status(app.store, COMPONENTS, app.flags, NOW)
    assert app.snapshot_cache.served().seq == 1
    publish_status(app.store, COMPONENTS, app.flags, NOW)
    assert app.snapshot_cache.served().seq == 1
    time.seconds += 0.1
    assert app.snapshot_cache.served().seq == 2
    app.store.close()

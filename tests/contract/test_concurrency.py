"""Many at once: no update is lost, one winner each, and a forked process goes its own way."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from shared.store.protocol import Conflict, Create, Delete, Merge, Put, Store, compare_and_set
from shared.store.sqlite import SqliteStore

A = "contract/a"
THREADS = 8
ROOT = Path(__file__).parents[2]


def together(work: Callable[[int], Any]) -> list[Any]:
    """The results of `work(n)` in 8 threads that begin at the same moment."""
    start = Barrier(THREADS)

    def begin(n: int) -> Any:
        start.wait()
        return work(n)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_eight_threads_of_fifty_compare_and_sets_lose_none(store: Store) -> None:
    def fifty(n: int) -> None:
        for _ in range(50):
            compare_and_set(store, A, lambda doc: {"n": (doc.data["n"] if doc else 0) + 1}, attempts=1000)

    together(fifty)
    doc = store.get(A)
    assert doc is not None
    assert doc.data["n"] == THREADS * 50


def test_each_document_is_created_by_one_thread(store: Store) -> None:
    def create_thirty(n: int) -> list[int]:
        won = []
        for item in range(30):
            try:
                store.commit([Create(f"contract/{item}", {"by": n})])
                won.append(item)
            except Conflict:
                pass
        return won

    wins = together(create_thirty)
    assert sorted(item for won in wins for item in won) == list(range(30))
    for n, won in enumerate(wins):
        assert all(doc and doc.data == {"by": n} for doc in store.get_many([f"contract/{item}" for item in won]))


def test_increments_of_eight_threads_add_up(store: Store) -> None:
    def add(n: int) -> None:
        for _ in range(10):
            store.commit([Merge(A, {}, {"hits": 1, f"of{n}": 2})])

    together(add)
    doc = store.get(A)
    assert doc is not None
    assert doc.data == {"hits": 80, **{f"of{n}": 20 for n in range(THREADS)}}


def test_who_sees_one_write_of_a_commit_sees_the_others(store: Store) -> None:
    store.commit([Put(A, {"n": 0}), Put("contract/b", {"n": 0})])

    def read_or_write(n: int) -> None:
        for round_ in range(20):
            if n == 0:
                store.commit([Put(A, {"n": round_}), Put("contract/b", {"n": round_})])
            else:
                first, second = store.get(A), store.get("contract/b")
                assert first is not None
                assert second is not None
                assert first.data["n"] <= second.data["n"]

    together(read_or_write)


AFTER_FORK = """
import os, sys, threading, traceback
from pathlib import Path
from shared.store.protocol import Put, Merge

kind, place, used = sys.argv[1], sys.argv[2], sys.argv[3] == "used"
if kind == "sqlite":
    from shared.store.sqlite import SqliteStore
    store = SqliteStore(Path(place))
else:
    from shared.store.firestore import FirestoreStore
    store = FirestoreStore(place)
assert threading.active_count() == 1, "a store starts no thread before its first call"
if used:
    store.commit([Merge("contract/a", {}, {"n": 1})])
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        code = 1
        try:
            store.commit([Merge("contract/a", {}, {"n": 1})])
            code = 0 if store.get("contract/a") else 2
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    children.append(child)
ends = [os.waitpid(child, 0)[1] for child in children]
assert ends == [0, 0], ends
store.commit([Merge("contract/a", {}, {"n": 1})])
print(store.get("contract/a").data["n"])
store.close()
"""


@pytest.mark.parametrize(("used", "expected"), [("unused", "3\n"), ("used", "4\n")])
@pytest.mark.parametrize("kind", ["sqlite", "firestore"])
def test_a_store_works_on_both_sides_of_a_fork(
    kind: str, used: str, expected: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    place = str(tmp_path / "store.db")
    if kind == "firestore":
        environment["FIRESTORE_EMULATOR_HOST"] = request.getfixturevalue("emulator")
        place = f"test-fork-{used}"
    done = subprocess.run(
        [sys.executable, "-c", AFTER_FORK, kind, place, used],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.stdout, done.returncode) == (expected, 0), done.stderr


def test_sqlite_keeps_documents_and_versions_when_opened_again(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "store.db")
    first.commit([Put(A, {"n": 1, "b": b"\x00"})])
    doc = first.get(A)
    first.close()
    second = SqliteStore(tmp_path / "store.db")
    assert second.get(A) == doc
    assert doc is not None
    second.commit([Put(A, {"n": 2}, doc.version)])
    second.close()


def test_sqlite_never_gives_a_version_twice(tmp_path: Path) -> None:
    versions = set()
    for _ in range(5):
        store = SqliteStore(tmp_path / "store.db")
        store.commit([Create(A, {"n": 1})])
        doc = store.get(A)
        assert doc is not None
        versions.add(doc.version)
        store.commit([Delete(A)])
        store.close()
    assert len(versions) == 5


def test_sqlite_can_be_used_again_after_close(sqlite_store: SqliteStore) -> None:
    sqlite_store.commit([Put(A, {"n": 1})])
    sqlite_store.close()
    assert sqlite_store.get(A) is not None


def test_threads_that_end_leave_no_connection(sqlite_store: SqliteStore) -> None:
    for _ in range(20):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(sqlite_store.get, A).result()
    gc.collect()
    assert len(sqlite_store._opened) <= 1

"""A server that is down or hangs, and replies that get lost: an error within the deadline, and no write twice."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.firestore_v1.types import firestore

from shared.store.firestore import FirestoreStore
from shared.store.protocol import (
    Conflict,
    Create,
    Delete,
    Doc,
    InvalidWrite,
    Merge,
    Put,
    Query,
    Store,
    StoreError,
    Unavailable,
    Write,
    compare_and_set,
)
from shared.store.sqlite import SqliteStore
from tests.contract.tcp import LossyProxy, silent_server
from tests.emulator import free_port
from tests.grpc_fake import Fail, Fake, serve

A = "contract/a"
DEADLINE = 0.3
FAR_BEYOND = 20.0  # what a hidden retry or a lost deadline would take, and a slow machine would not

CALLS: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: store.get(A),
    "get_many": lambda store: store.get_many([A, "contract/b"]),
    "query": lambda store: store.query(Query("contract")),
    "count": lambda store: store.count(Query("contract")),
    "create": lambda store: store.commit([Create(A, {"n": 1})]),
    "put": lambda store: store.commit([Put(A, {"n": 1})]),
    "merge": lambda store: store.commit([Merge(A, {}, {"n": 1})]),
    "delete": lambda store: store.commit([Delete(A)]),
    "compare_and_set": lambda store: compare_and_set(store, A, lambda doc: {"n": 1}),
}
COMMITS = ("create", "put", "merge", "delete")


def in_time(call: Callable[[Store], Any], store: Store) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, store).result(timeout=FAR_BEYOND)


@pytest.fixture
def proxied(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FirestoreStore, LossyProxy]]:
    """A store that reaches the emulator through a proxy."""
    with closing(LossyProxy(emulator)) as proxy:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", proxy.address)
        with closing(FirestoreStore(f"test-{secrets.token_hex(6)}")) as store:
            yield store, proxy


@pytest.mark.parametrize("name", CALLS)
def test_firestore_down_is_unavailable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    store = FirestoreStore("test-down", deadline=DEADLINE)
    with pytest.raises(Unavailable):
        in_time(CALLS[name], store)
    store.close()


@pytest.mark.parametrize("name", CALLS)
def test_firestore_hanging_is_unavailable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_server() as address:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
        store = FirestoreStore("test-hang", deadline=DEADLINE)
        with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
            in_time(CALLS[name], store)
        store.close()


def test_firestore_asks_a_read_again_when_the_connection_breaks(proxied: tuple[FirestoreStore, LossyProxy]) -> None:
    store, proxy = proxied
    store.commit([Put(A, {"n": 1})])
    proxy.lose_next_reply()
    assert store.get(A) is not None
    assert proxy.lost == 1
    assert store.meter.reads == 1


def test_firestore_asks_a_read_again_until_the_connection_stands(proxied: tuple[FirestoreStore, LossyProxy]) -> None:
    store, proxy = proxied
    store.commit([Put(A, {"n": 1})])
    proxy.lose_next_reply()
    proxy.cut_next = 2
    doc = store.get(A)
    assert doc is not None
    assert doc.data == {"n": 1}
    assert (proxy.lost, proxy.cut_next, store.meter.reads) == (1, 0, 1)


def test_firestore_sends_a_commit_once(proxied: tuple[FirestoreStore, LossyProxy]) -> None:
    store, proxy = proxied
    store.commit([Put(A, {"n": 0})])
    proxy.lose_next_reply()
    with pytest.raises(Unavailable):
        store.commit([Merge(A, {}, {"n": 1})])
    assert proxy.lost == 1
    doc = store.get(A)
    assert doc is not None
    assert doc.data == {"n": 1}


@contextmanager
def firestore_failing(code: grpc.StatusCode, times: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store, and a Firestore without documents whose first calls end with this status."""

    def answer(fake: Fake, method: str, request: Any) -> Any:
        if len(fake.calls) <= times:
            raise Fail(code)
        if method == "Commit":
            return firestore.CommitResponse()
        return firestore.BatchGetDocumentsResponse(missing=request.documents[0])

    methods = {
        "BatchGetDocuments": (firestore.BatchGetDocumentsRequest, firestore.BatchGetDocumentsResponse),
        "Commit": (firestore.CommitRequest, firestore.CommitResponse),
    }
    with serve("google.firestore.v1.Firestore", methods, answer) as fake:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", fake.address)
        with closing(FirestoreStore("test-broken")) as store:
            yield store, fake


BROKEN = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL]


@pytest.mark.parametrize("code", BROKEN, ids=str)
def test_a_read_is_asked_again_however_grpc_calls_a_broken_connection(
    code: grpc.StatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that meets a closed socket, for one, is told as UNKNOWN, "Stream removed"."""
    with firestore_failing(code, 1, monkeypatch) as (store, fake):
        assert store.get(A) is None
        assert (len(fake.calls), store.meter.reads) == (2, 1)


@pytest.mark.parametrize("code", BROKEN, ids=str)
def test_a_read_is_asked_four_times_at_most_and_a_commit_once(
    code: grpc.StatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with firestore_failing(code, 9, monkeypatch) as (store, fake):
        with pytest.raises(Unavailable, match=code.name):
            store.get(A)
        with pytest.raises(Unavailable, match=code.name):
            store.commit([Put(A, {"n": 1})])
        assert [method for method, _ in fake.calls] == ["BatchGetDocuments"] * 4 + ["Commit"]


HOLD_WRITE_LOCK = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A database file on which another process holds the write lock."""
    path = tmp_path / "store.db"
    SqliteStore(path).commit([Put(A, {"n": 1})])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_WRITE_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield path


@pytest.mark.parametrize("name", COMMITS)
def test_sqlite_locked_by_another_process_is_unavailable(locked: Path, name: str) -> None:
    store = SqliteStore(locked, deadline=DEADLINE)
    with pytest.raises(Unavailable, match="locked"):
        in_time(CALLS[name], store)
    assert store.meter.writes + store.meter.deletes == 0


@pytest.mark.parametrize("name", ["get", "get_many", "query", "count"])
def test_sqlite_reads_while_another_process_writes(locked: Path, name: str) -> None:
    assert in_time(CALLS[name], SqliteStore(locked, deadline=DEADLINE))


def test_sqlite_in_a_folder_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        SqliteStore(tmp_path / "file" / "store.db").get(A)


def test_sqlite_on_a_file_that_is_no_database_is_a_permanent_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("This is no database, and yet it is long enough to be read as one.\n" * 99)
    with pytest.raises(StoreError) as failure:
        SqliteStore(tmp_path / "store.db").get(A)
    assert not failure.value.retryable


def test_firestore_tells_a_permanent_fault_from_a_passing_one(firestore_store: FirestoreStore) -> None:
    with pytest.raises(InvalidWrite, match="INVALID_ARGUMENT"):
        firestore_store.commit([Put(A, {}, "-99999999999999.000000000")])


class SqliteThatLosesReplies(SqliteStore):
    """Commits, and then says that no answer came."""

    lose = 0

    def commit(self, writes: Sequence[Write]) -> None:
        super().commit(writes)
        if self.lose:
            self.lose -= 1
            raise Unavailable("the reply is lost")


Losing = tuple[Store, Callable[[], None]]


@pytest.fixture
def losing_sqlite(tmp_path: Path) -> Iterator[Losing]:
    store = SqliteThatLosesReplies(tmp_path / "store.db")

    def lose() -> None:
        store.lose += 1

    yield store, lose
    assert store.lose == 0, "no commit was made after the loss was ordered"
    store.close()


@pytest.fixture
def losing_firestore(proxied: tuple[FirestoreStore, LossyProxy]) -> Iterator[Losing]:
    store, proxy = proxied
    yield store, proxy.lose_next_reply
    assert proxy.lost == 1


@pytest.fixture(params=["sqlite", "firestore"])
def losing(request: pytest.FixtureRequest) -> Losing:
    pair: Losing = request.getfixturevalue(f"losing_{request.param}")
    return pair


def test_a_lost_reply_of_compare_and_set_is_recognised_as_success(losing: Losing) -> None:
    store, lose = losing
    compare_and_set(store, A, lambda doc: {"n": 1})
    decided: list[Doc | None] = []
    lost = False

    def add_one(doc: Doc | None) -> dict[str, int]:
        nonlocal lost
        decided.append(doc)
        if not lost:
            lost = True
            lose()
        assert doc is not None
        return {"n": doc.data["n"] + 1}

    written = compare_and_set(store, A, add_one)
    doc = store.get(A)
    assert doc is not None
    assert doc.data == written
    assert doc.data["n"] == 2
    assert len(decided) == 1


def test_a_lost_reply_of_create_is_recognised_by_reading_again(losing: Losing) -> None:
    store, lose = losing
    assert store.get(A) is None
    lose()
    with pytest.raises(Unavailable):
        store.commit([Create(A, {"owner": "me", "n": 1})])
    doc = store.get(A)
    assert doc is not None
    assert doc.data == {"owner": "me", "n": 1}


def test_compare_and_set_meets_a_write_of_its_own_that_came_late(sqlite_store: SqliteStore) -> None:
    """The commit lands only after the re-read found nothing: the next round must not apply the change again."""
    compare_and_set(sqlite_store, A, lambda doc: {"n": 1})
    held: list[Sequence[Write]] = []

    class Late(SqliteStore):
        def commit(self, writes: Sequence[Write]) -> None:
            if not held:
                held.append(writes)
                raise Unavailable("still under way")
            super().commit(held[0])
            super().commit(writes)

    late = Late(sqlite_store._path)
    compare_and_set(late, A, lambda doc: {"n": (doc.data["n"] if doc else 0) + 1})
    doc = late.get(A)
    assert doc is not None
    assert doc.data["n"] == 2
    late.close()


class Deaf(SqliteStore):
    """Its commits answer by a plan: True goes through, an error is raised instead; the last one holds from then on."""

    plan: list[StoreError | bool]
    commits = 0

    def commit(self, writes: Sequence[Write]) -> None:
        self.commits += 1
        answer = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        if isinstance(answer, StoreError):
            raise answer
        super().commit(writes)


@pytest.mark.parametrize(
    ("plan", "commits"),
    [([Unavailable("no answer")], 3), ([Unavailable("no answer"), Conflict("moved"), Unavailable("no answer")], 5)],
)
def test_compare_and_set_gives_up_as_unavailable_after_three_commits_without_answer(
    sqlite_store: SqliteStore, plan: list[StoreError | bool], commits: int
) -> None:
    with closing(Deaf(sqlite_store._path)) as deaf:
        deaf.plan = list(plan)
        with pytest.raises(Unavailable, match="no answer"):
            compare_and_set(deaf, A, lambda doc: {"n": 1}, pause=lambda seconds: None)
        assert deaf.commits == commits
        assert deaf.get(A) is None


def test_compare_and_set_outlives_two_commits_without_answer(sqlite_store: SqliteStore) -> None:
    with closing(Deaf(sqlite_store._path)) as deaf:
        deaf.plan = [Unavailable("no answer"), Unavailable("no answer"), True]
        compare_and_set(deaf, A, lambda doc: {"n": 1}, pause=lambda seconds: None)
        doc = deaf.get(A)
        assert doc is not None
        assert doc.data["n"] == 1


def test_a_full_disk_is_unavailable_and_changes_nothing(sqlite_store: SqliteStore) -> None:
    sqlite_store.commit([Put(A, {"n": 1})])
    pages: sqlite3.Connection = sqlite_store._connection()
    pages.execute("PRAGMA max_page_count = 1")  # no page more than there are
    with pytest.raises(Unavailable, match="full"):
        sqlite_store.commit([Put(f"contract/{n}", {"v": bytes(10_000)}) for n in range(9)])
    pages.execute("PRAGMA max_page_count = 1000000")
    assert [doc.path for doc in sqlite_store.query(Query("contract"))] == [A]
    sqlite_store.commit([Put("contract/b", {})])

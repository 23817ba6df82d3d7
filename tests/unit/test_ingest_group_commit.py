"""Group commit: one segment for all that wait, and each hears what became of its own batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shared.domain.building import Batch
from shared.metrics import group_commit
from shared.metrics.group_commit import GroupCommit, TooVaried
from shared.metrics.segment import decode_segment
from shared.store.protocol import Conflict, Query, Store, StoreError, Unavailable, Write
from shared.store.sqlite import SqliteStore
from tests.core import NOW, batch_of, metric, new_table

TABLE = new_table()


class Slow:
    """Commits wait until they are let through; each one may fail in its own way."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.commits: list[int] = []
        self.arrived = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.behave: Callable[[Callable[[], None]], None] = lambda commit: commit()

    def get(self, path: str) -> Any:
        return self.inner.get(path)

    def commit(self, writes: Sequence[Write]) -> None:
        self.arrived.release()
        assert self.gate.acquire(timeout=20)
        self.commits.append(len(writes))
        self.behave(lambda: self.inner.commit(writes))


def batches(count: int, of: int = 3) -> list[Batch]:
    return [batch_of([metric()] * of, f"batch-{n:05}", table=TABLE) for n in range(count)]


class Requests:
    """Threads that each append one batch, and what they heard."""

    def __init__(self, commits: GroupCommit, given: Sequence[Batch]) -> None:
        self.heard: dict[bytes, BaseException | None] = {}
        self.threads = [threading.Thread(target=self._append, args=(commits, batch)) for batch in given]

    def _append(self, commits: GroupCommit, batch: Batch) -> None:
        try:
            commits.append(batch, NOW)
            self.heard[batch.hash] = None
        except BaseException as error:  # noqa: BLE001 - to be looked at by the test
            self.heard[batch.hash] = error

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(timeout=20)
            assert not thread.is_alive()


def first_and_waiting(store: Slow, commits: GroupCommit, count: int) -> Requests:
    """One request in its commit, and all the others waiting behind it."""
    requests = Requests(commits, batches(count))
    requests.threads[0].start()
    assert store.arrived.acquire(timeout=20)
    for thread in requests.threads[1:]:
        thread.start()
    while len(commits._waiting) < count - 1:
        threading.Event().wait(0.001)
    return requests


def stored(store: Store) -> list[list[bytes]]:
    found = [decode_segment(d.data["payload"]) for d in store.query(Query("segments", group=True, limit=500))]
    return sorted([b.hash for b in segment] for segment in found)


@pytest.fixture
def slow(sqlite_store: SqliteStore) -> Slow:
    return Slow(sqlite_store)


def test_all_that_wait_while_one_commits_are_written_as_one_segment(slow: Slow, sqlite_store: SqliteStore) -> None:
    requests = first_and_waiting(slow, GroupCommit(slow), 40)  # type: ignore[arg-type]
    slow.gate.release(99)
    requests.join()
    assert set(requests.heard.values()) == {None}
    assert slow.commits == [1, 1]
    assert sorted(map(len, stored(sqlite_store))) == [1, 39]


def test_nobody_is_answered_before_the_commit(slow: Slow) -> None:
    requests = first_and_waiting(slow, GroupCommit(slow), 8)  # type: ignore[arg-type]
    assert requests.heard == {}
    slow.gate.release()
    assert slow.arrived.acquire(timeout=20)  # the second commit has begun, so the first is over
    requests.threads[0].join(timeout=20)
    assert len(requests.heard) == 1
    slow.gate.release()
    requests.join()


def test_a_failing_commit_reaches_every_request_that_waited_for_it(slow: Slow, sqlite_store: SqliteStore) -> None:
    commits = GroupCommit(slow)  # type: ignore[arg-type]
    requests = first_and_waiting(slow, commits, 20)
    slow.gate.release()
    assert slow.arrived.acquire(timeout=20)

    def fail(_: Callable[[], None]) -> None:
        raise Unavailable("no answer")

    slow.behave = fail
    slow.gate.release()
    requests.join()
    assert sum(isinstance(e, Unavailable) for e in requests.heard.values()) == 19
    assert list(map(len, stored(sqlite_store))) == [1]
    slow.behave = lambda commit: commit()
    slow.gate.release(9)
    commits.append(batches(1)[0], NOW)  # and the next one is served again


def test_a_lost_reply_is_a_success_for_all(slow: Slow, sqlite_store: SqliteStore) -> None:
    def lose(commit: Callable[[], None]) -> None:
        commit()
        raise Unavailable("the reply was lost")

    slow.behave = lose
    requests = first_and_waiting(slow, GroupCommit(slow), 10)  # type: ignore[arg-type]
    slow.gate.release(9)
    requests.join()
    assert set(requests.heard.values()) == {None}
    assert sum(map(len, stored(sqlite_store))) == 10


def test_a_writer_that_is_stopped_leaves_nobody_waiting(slow: Slow) -> None:
    class Stopped(BaseException):
        pass

    def stop(_: Callable[[], None]) -> None:
        slow.behave = lambda commit: commit()
        raise Stopped

    commits = GroupCommit(slow)  # type: ignore[arg-type]
    requests = first_and_waiting(slow, commits, 10)
    slow.gate.release()
    assert slow.arrived.acquire(timeout=20)
    slow.behave = stop
    slow.gate.release(99)
    requests.join()
    kinds = sorted(type(e).__name__ for e in requests.heard.values())
    assert kinds == ["NoneType", "Stopped", *["Unavailable"] * 8]
    commits.append(batches(1)[0], NOW)


def test_batches_too_large_for_one_segment_are_split_and_never_need_more_writes_than_batches(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = batches(12)
    monkeypatch.setattr(group_commit, "MAX_BYTES", 600)
    before = sqlite_store.meter.snapshot()
    GroupCommit(sqlite_store).write(given, "2026-03-10")
    found = stored(sqlite_store)
    assert 1 < len(found) <= 12
    assert sorted(h for segment in found for h in segment) == sorted(b.hash for b in given)
    assert sqlite_store.meter.since(before).writes == len(found)


def test_a_batch_that_fits_nowhere_fails_alone(
    slow: Slow, sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = GroupCommit(slow)  # type: ignore[arg-type]
    requests = first_and_waiting(slow, commits, 6)
    varied = batch_of(
        [metric(labels={"endpoint": "/" + "abcdefghij"[n] * 9}) for n in range(10)], "varied-00", table=TABLE
    )
    more = Requests(commits, [varied])
    more.start()
    while len(commits._waiting) < 6:
        threading.Event().wait(0.001)
    monkeypatch.setattr(group_commit, "MAX_BYTES", 600)
    slow.gate.release(99)
    requests.join()
    more.join()
    assert isinstance(more.heard[varied.hash], TooVaried)
    assert set(requests.heard.values()) == {None}
    assert sum(map(len, stored(sqlite_store))) == 6


@pytest.mark.parametrize(("limit", "value"), [("MAX_BATCHES", 4), ("MAX_METRICS", 12)])
def test_a_segment_is_bounded_by_batches_and_by_metrics(
    slow: Slow, sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(group_commit, limit, value)
    requests = first_and_waiting(slow, GroupCommit(slow), 11)  # type: ignore[arg-type]
    slow.gate.release(99)
    requests.join()
    assert sorted(map(len, stored(sqlite_store))) == [1, 2, 4, 4]


def test_one_batch_larger_than_the_bound_still_goes(sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_METRICS", 1)
    GroupCommit(sqlite_store).append(batches(1)[0], NOW)
    assert list(map(len, stored(sqlite_store))) == [1]


def test_many_threads_over_a_real_store_store_each_batch_exactly_once(store: Store) -> None:
    commits = GroupCommit(store)
    given = batches(160)
    requests = Requests(commits, given)
    before = store.meter.snapshot()
    requests.start()
    requests.join()
    assert set(requests.heard.values()) == {None}
    found = stored(store)
    assert sorted(h for segment in found for h in segment) == sorted(b.hash for b in given)
    assert store.meter.since(before).writes == len(found) <= 160


def test_what_is_raised_says_whether_to_try_again(slow: Slow) -> None:
    def refuse(_: Callable[[], None]) -> None:
        raise Conflict("exists")

    slow.behave = refuse
    slow.gate.release()
    with pytest.raises(StoreError) as caught:
        GroupCommit(slow).append(batches(1)[0], NOW)  # type: ignore[arg-type]
    assert caught.value.retryable

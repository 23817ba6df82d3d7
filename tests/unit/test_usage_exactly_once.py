"""Usage counts once whatever fails: a fault at every store call in turn, two instances at once, both ways in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.accounts import accounts_for
from shared.bootstrap import App
from shared.cost_rollup import run
from shared.domain.account_work import Reserve, SetOverride, Settle
from shared.domain.building import BLOCK_MS
from shared.domain.ledger import INLINE_RECEIPTS, Amount
from shared.domain.plans import Override
from shared.domain.usage import Usage, parse_usage
from shared.flags import FlagsUnknown
from shared.fold import fold
from shared.rollups import read_blocks
from shared.store.protocol import Conflict, Data, Doc, Query, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from shared.usage_record import record, usage_log_for
from shared.user_usage import erase_usage
from tests.core import Clock, make_app, registry
from tests.usage_api import NOW, event

MODES = ("killed after", "lost before", "lost after", "conflict")


class Killed(BaseException):
    """The process is gone."""


class Faulty:
    """A store whose call number `at` goes wrong by `mode`; reads are calls too."""

    def __init__(self, store: Store, at: int, mode: str) -> None:
        self._store = store
        self.at = at
        self.mode = mode
        self.calls = 0
        self.meter = store.meter

    def _faulty(self, act: Callable[[], Any], *, writes: bool) -> Any:
        self.calls += 1
        if self.calls != self.at:
            return act()
        if self.mode.endswith("after"):
            act()
        if self.mode.startswith("killed"):
            raise Killed
        if self.mode == "conflict" and not writes:
            return act()
        raise Conflict("planted") if self.mode == "conflict" else Unavailable("planted")

    def get(self, path: str) -> Doc | None:
        found: Doc | None = self._faulty(lambda: self._store.get(path), writes=False)
        return found

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        found: list[Doc | None] = self._faulty(lambda: self._store.get_many(paths), writes=False)
        return found

    def commit(self, writes: Sequence[Write]) -> None:
        self._faulty(lambda: self._store.commit(writes), writes=True)

    def query(self, query: Query) -> list[Doc]:
        found: list[Doc] = self._faulty(lambda: self._store.query(query), writes=False)
        return found

    def count(self, query: Query) -> int:
        return self._store.count(query)

    def purge(self, now_us: int, limit: int = 1000) -> int:
        return 0

    def close(self) -> None:
        """The real one is closed by its owner."""


def usages(*numbers: int, uid: str = "ada", **changes: Any) -> list[Usage]:
    found = [parse_usage(event(f"request-{n:05}", uid=uid, **changes), NOW) for n in numbers]
    assert all(isinstance(one, Usage) for one in found)
    return found  # type: ignore[return-value]


def story(app: App) -> list[Callable[[], object]]:
    """Steps that a sender or a scheduler takes, each of them again until it is answered."""
    accounts = app.part(accounts_for)
    (settled,) = usages(9)

    return [
        lambda: record(app, usages(1, 2) + usages(1, uid="bob"), NOW),
        lambda: accounts.do("ada", Reserve("request-00009", Amount(1, 100), "pro", timedelta(minutes=15)), NOW),
        lambda: run(app, NOW, lambda: True),
        lambda: accounts.do("ada", Settle("request-00009", settled), NOW),
        lambda: _append(app, usages(2, 3) + usages(4, uid="bob")),
        lambda: run(app, NOW + timedelta(minutes=15), lambda: True),
        lambda: run(app, NOW + timedelta(minutes=30), lambda: True),
    ]


def _append(app: App, told: list[Usage]) -> None:
    app.part(usage_log_for).append(told)


def play(store: Store, at: int = 0, mode: str = "lost before") -> int:
    """How many calls of the store the story took."""
    faulty = Faulty(store, at, mode)
    app = make_app(faulty, Clock(NOW))
    for number in range(7):
        for _ in range(5):
            try:
                story(app)[number]()
                break
            except (Killed, FlagsUnknown):
                app = make_app(faulty, Clock(NOW))  # another instance takes over
            except (Unavailable, Conflict):
                continue
        else:
            raise AssertionError(f"step {number} never ended")
    return faulty.calls


def figures(store: Store) -> Data:
    """All that counts, without marks and times."""
    found: Data = {}
    for uid in ("ada", "bob"):
        for path in (f"usage_summary/{uid}/daily/2026-11-20", f"usage_summary/{uid}/monthly/2026-11", f"quota/{uid}"):
            doc = store.get(path)
            assert doc is not None, path
            left_out = ("rev", "updatedAt", "receipts", "pending", "dirty")
            found[path] = {name: value for name, value in doc.data.items() if name not in left_out}
    day = store.get("costs/2026-11-20")
    assert day is not None
    found["costs"] = day.data["shards"]
    found["left"] = [doc.path for doc in store.query(Query("usage_segments"))]
    return found


def test_the_story_counts_each_call_once(sqlite_store: SqliteStore) -> None:
    play(sqlite_store)
    told = figures(sqlite_store)
    assert told["usage_summary/ada/daily/2026-11-20"]["calls"] == 4
    assert told["usage_summary/bob/monthly/2026-11"]["calls"] == 2
    assert told["quota/ada"]["days"]["2026-11-20"]["calls"] == 4
    assert told["quota/ada"]["holds"] == {}
    assert told["left"] == []


def test_a_fault_at_any_call_of_the_store_changes_no_figure(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "first.db")
    calls = play(first)
    expected = figures(first)
    first.close()
    assert calls > 40
    wrong = []
    for at in range(1, calls + 1):
        for mode in MODES[at % 2 :: 2]:  # each mode at every second call
            store = SqliteStore(tmp_path / f"{mode}-{at}.db".replace(" ", "-"))
            play(store, at, mode)
            if figures(store) != expected:
                wrong.append((mode, at))
            store.close()
    assert wrong == []


def test_two_instances_that_are_told_the_same_calls_at_once_count_each_once(store: Store) -> None:
    apps = [make_app(store, Clock(NOW)) for _ in range(2)]
    faults: list[BaseException] = []

    def send(worker: int) -> None:
        try:
            for start in range(0, 20, 4):
                record(apps[worker % 2], usages(*range(start, start + 5)), NOW)
        except BaseException as fault:  # noqa: BLE001 - told below
            faults.append(fault)

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    doc = store.get("usage_summary/ada/daily/2026-11-20")
    assert doc is not None
    assert doc.data["calls"] == 21
    account = store.get("quota/ada")
    assert account is not None
    assert account.data["days"]["2026-11-20"]["calls"] == 21


def test_a_crowd_on_two_instances_gets_exactly_what_the_limit_allows(store: Store) -> None:
    apps = [make_app(store, Clock(NOW)) for _ in range(2)]
    override = Override.model_validate({"plan": "internal", "day": {"calls": 30}})
    apps[0].part(accounts_for).do("ada", SetOverride(override), NOW)
    reasons: list[str] = []

    def ask(worker: int) -> None:
        for n in range(20):
            step = Reserve(f"crowd-{worker}-{n:04}", Amount(1, 10), None, timedelta(minutes=15))
            apps[worker % 2].part(accounts_for).do("ada", step, NOW)
            reasons.append(step.reason)

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (reasons.count("granted"), reasons.count("quota_exceeded")) == (30, 130)


def test_a_day_with_more_calls_than_a_page_of_receipts_still_knows_each(sqlite_store: SqliteStore) -> None:
    app = make_app(sqlite_store, Clock(NOW))
    numbers = range(2 * INLINE_RECEIPTS + 10)
    for start in range(0, len(numbers), 500):
        record(app, usages(*numbers[start : start + 500]), NOW)
    doc = sqlite_store.get("usage_summary/ada/daily/2026-11-20")
    assert doc is not None
    assert (doc.data["calls"], doc.data["pages"]) == (len(numbers), 2)
    other = make_app(sqlite_store, Clock(NOW))
    assert record(other, usages(0, 5000, len(numbers) - 1, len(numbers)), NOW).booked == 1


def test_the_metric_has_each_priced_call_once_and_no_user(sqlite_store: SqliteStore) -> None:
    app = make_app(sqlite_store, Clock(NOW))
    record(app, usages(1, 2), NOW)
    record(app, usages(2, 3) + usages(4, model="nobody-knows-it"), NOW)
    fold(sqlite_store, registry(), [], NOW)
    block = int(NOW.timestamp() * 1000) // BLOCK_MS
    (series,) = [
        (key, stats)
        for found in read_blocks(sqlite_store, [block]).values()
        for key, stats in found.items()
        if key.startswith("token_cost")
    ]
    assert series[1].count == 3
    assert series[1].total == pytest.approx(0.018)
    assert "ada" not in series[0]


def test_an_erased_user_leaves_no_trace_and_the_totals_stay(store: Store) -> None:
    app = make_app(store, Clock(NOW))
    uid = "canary-uid-5150"
    record(app, usages(1, 2, uid=uid) + usages(3), NOW)
    run(app, NOW, lambda: True)
    record(app, usages(4, uid=uid), NOW)
    _append(app, usages(5, uid=uid))
    before = Amount(5, 6000)
    assert erase_usage(app, uid, NOW)["totals"] == "kept"
    for path in (f"quota/{uid}", f"usage_summary/{uid}/daily/2026-11-20", f"usage_summary/{uid}/monthly/2026-11"):
        assert store.get(path) is None, path
    day = store.get("costs/2026-11-20")
    assert day is not None
    parts = [part for listed in day.data["shards"].values() for part in listed]
    assert (sum(p["calls"] for p in parts), sum(p["tokens"] for p in parts)) == (before.calls, before.tokens)
    assert erase_usage(app, uid, NOW)["erased"] == 0


def test_an_erasure_that_is_killed_anywhere_ends_when_it_is_asked_for_again(tmp_path: Path) -> None:
    uid, calls, at = "canary-uid-5151", 100, 0
    while at < calls:
        at += 1
        store = SqliteStore(tmp_path / f"{at}.db")
        record(make_app(store, Clock(NOW)), usages(1, 2, uid=uid) + usages(3), NOW)
        faulty = Faulty(store, at, "killed after")
        try:
            erase_usage(make_app(faulty, Clock(NOW)), uid, NOW)
        except Killed:
            pass
        else:
            calls = faulty.calls
        erase_usage(make_app(store, Clock(NOW)), uid, NOW)
        day = store.get("costs/2026-11-20")
        assert day is not None
        parts = [part for listed in day.data["shards"].values() for part in listed]
        assert sum(p["calls"] for p in parts) == 3, at
        assert store.get(f"quota/{uid}") is None
        assert store.get(f"usage_summary/{uid}/daily/2026-11-20") is None
        store.close()
    assert at > 5

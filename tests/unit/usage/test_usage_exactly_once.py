"""Usage counts once whatever fails: a fault at every store call in turn, two instances at once, both ways in."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.bootstrap import App
from shared.domain.account_work import Reprice, Reserve, SetOverride, Settle
from shared.domain.building import BLOCK_MS
from shared.domain.cost import plain
from shared.domain.ledger import INLINE_RECEIPTS, Amount
from shared.domain.plans import Override
from shared.domain.rollup import Stats
from shared.domain.usage import Usage, parse_usage, receipt_of
from shared.flags import FlagsUnknown
from shared.metrics.fold import fold
from shared.metrics.rollups import read_blocks
from shared.store.protocol import Conflict, Create, Data, Delete, Doc, Query, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from shared.usage.accounts import accounts_for
from shared.usage.cost_days import PENDING, parts_in, roll_up, rows_of
from shared.usage.cost_rollup import run
from shared.usage.quarantine import without
from shared.usage.record import record, tell_metric, usage_log_for
from shared.usage.segments import decode, encode
from shared.usage.user_usage import erase_usage, export_usage
from tests.core import CONFIG, Clock, make_app, registry
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
        lambda: _settle(app, settled),
        lambda: _append(app, usages(2, 3) + usages(4, uid="bob")),
        lambda: run(app, NOW + timedelta(minutes=15), lambda: True),
        lambda: run(app, NOW + timedelta(minutes=30), lambda: True),
    ]


def _settle(app: App, settled: Usage) -> None:
    """As the handler does it."""
    app.part(accounts_for).do("ada", Settle(settled.request_id, settled), NOW)
    tell_metric(app, [settled], NOW)


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
    found["metric"] = {series: stats.count for series, stats in token_cost(store).items()}
    found["left"] = [doc.path for doc in store.query(Query("usage_segments"))]
    return found


def token_cost(store: Store) -> dict[str, Stats]:
    """The metric, once all that came is folded."""
    fold(store, registry(), [], NOW)
    found = read_blocks(store, [int(NOW.timestamp() * 1000) // BLOCK_MS])
    return {key: stats for block in found.values() for key, stats in block.items() if key.startswith("token_cost")}


def test_the_story_counts_each_call_once(sqlite_store: SqliteStore) -> None:
    play(sqlite_store)
    told = figures(sqlite_store)
    assert told["usage_summary/ada/daily/2026-11-20"]["calls"] == 4
    assert told["usage_summary/bob/monthly/2026-11"]["calls"] == 2
    assert list(told["metric"].values()) == [6]
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
    ((series, stats),) = token_cost(sqlite_store).items()
    assert stats.count == 3
    assert stats.total == pytest.approx(0.018)
    assert "ada" not in series


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


def test_an_erasure_that_is_killed_anywhere_ends_when_it_is_asked_for_again(store: Store) -> None:
    calls, at = 100, 0
    while at < calls:
        at += 1
        uid, first = f"canary-uid-{at:04}", 10 * at
        told = usages(first, uid=uid) + usages(first + 1, uid=uid, model=UNPRICED) + usages(first + 2)
        record(make_app(store, Clock(NOW)), told, NOW)
        quarantine(store, usages(first + 3, uid=uid) + usages(first + 4), torn=False)
        quarantine(store, usages(first + 5, uid=uid), torn=True)
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
        assert (sum(p["calls"] for p in parts), sum(p["unpricedCalls"] for p in parts)) == (3 * at, at)
        assert store.get(f"quota/{uid}") is None
        assert store.get(f"usage_summary/{uid}/daily/2026-11-20") is None
        assert [doc.path for doc in everything(store) if uid in repr(doc)] == []
        assert [one.uid for one in quarantined(store)] == ["(erased)", "ada"]
        store.commit([Delete(doc.path) for doc in store.query(Query("usage_quarantine"))])
    assert at > 10


def test_what_an_erased_user_has_in_quarantine_is_scrubbed_and_that_of_others_stays(store: Store) -> None:
    uid = "canary-uid-5152"
    app = make_app(store, Clock(NOW))
    record(app, usages(1, uid=uid), NOW)
    mine, others = usages(6, uid=uid, plan="pro"), usages(7) + usages(8, uid=f"{uid}-of-another")
    quarantine(store, mine + others, torn=False)
    quarantine(store, others, torn=False)
    quarantine(store, mine, torn=True)
    assert [one["requestId"] for one in export_usage(store, uid)["notBooked"]] == ["request-00006"]
    erase_usage(app, uid, NOW)
    assert [doc.path for doc in everything(store) if uid in repr(doc).replace(f"{uid}-of-another", "")] == []
    kept = quarantined(store)
    assert [one.uid for one in kept if one.uid != "(erased)"] == [
        "ada",
        "ada",
        f"{uid}-of-another",
        f"{uid}-of-another",
    ]
    (erased,) = [one for one in kept if one.uid == "(erased)"]
    assert (erased.tokens, erased.at, erased.model) == (mine[0].tokens, mine[0].at, mine[0].model)
    assert "request-00006" not in repr(kept)
    before = everything(store)
    erase_usage(app, uid, NOW)
    assert everything(store) == before


def test_a_short_name_does_not_ruin_what_is_quarantined_of_others() -> None:
    torn = encode(usages(1, uid="ad") + usages(2, uid="ada"))[:-3]
    scrubbed = without(torn, "ad")
    assert encode(usages(1, uid="ad"))[1:40] not in scrubbed
    assert b"\xa3ada" in scrubbed
    assert without(scrubbed, "ad") == scrubbed
    assert len(scrubbed) == len(torn)


def test_erased_usage_that_had_no_price_is_priced_once_there_is_one(store: Store, tmp_path: Path) -> None:
    """Exactly, by its cells: tiers and sizes of prompts are in them. And the alert clears, which asks all rows."""
    app = make_app(store, Clock(NOW))
    told = [
        *usages(1, uid="one", model=UNPRICED, tokens={"input": 1000, "output": 200}),
        *usages(2, uid="two", model=UNPRICED, tier="batch", tokens={"input": 250_000, "output": 100}),
        *usages(3, uid="two"),
    ]
    record(app, told, NOW)
    run(app, NOW, lambda: True)
    for uid in ("one", "two"):
        erase_usage(app, uid, NOW)
    assert total(store) == (3, 252_500, "0.006", 2)
    shutil.copytree(CONFIG, tmp_path / "config")
    written = json.loads((CONFIG / "pricing.json").read_text())
    rates = {"input": {"base": "1", "above": {"200000": "2"}}, "output": "4"}
    written["models"] = {f"anthropic/{UNPRICED}": rates}
    (tmp_path / "config/pricing.json").write_text(json.dumps(written))
    app = make_app(store, Clock(NOW), tmp_path / "config")
    done = run(app, NOW, lambda: True)
    assert done["repriced"] >= 1
    assert done["cleared"] == [f"cost-unpriced-{UNPRICED}"]
    # 0.006, and 1,000 × 1 + 200 × 4 = 1,800, and half of 250,000 × 2 + 100 × 4 = 250,200 millionths
    assert total(store) == (3, 252_500, "0.258", 0)
    assert run(app, NOW, lambda: True)["repriced"] == 0
    assert total(store) == (3, 252_500, "0.258", 0)


def test_erasing_after_a_price_has_changed_leaves_the_totals_as_they_were_counted(store: Store, tmp_path: Path) -> None:
    app = make_app(store, Clock(NOW))
    record(app, usages(1, 2, uid="one") + usages(3, uid="two") + usages(4, uid="two", model=UNPRICED), NOW)
    run(app, NOW, lambda: True)
    before = total(store)
    shutil.copytree(CONFIG, tmp_path / "config")
    written = json.loads((CONFIG / "pricing.json").read_text())
    written["models"] = {"anthropic/claude-sonnet-4-5": {"input": "100", "output": "200"}}
    (tmp_path / "config/pricing.json").write_text(json.dumps(written))
    app = make_app(store, Clock(NOW), tmp_path / "config")
    for uid in ("one", "two"):
        erase_usage(app, uid, NOW)
        assert total(store) == before


class Between:
    """A store that does something else before its call number `at`."""

    def __init__(self, store: Store, at: int, act: Callable[[], Any]) -> None:
        self._store = store
        self._at = at
        self._act = act
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._between(found) if callable(found) else found

    def _between(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                self._act()
            return call(*given)

        return counted


class Behind:
    """A store as a rollup sees it that has asked for the accounts some time ago."""

    def __init__(self, store: Store, page: list[Doc]) -> None:
        self._store = store
        self._page = page

    def query(self, query: Query) -> list[Doc]:
        page, self._page = self._page, []
        return page or self._store.query(query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_rollup_under_way_does_not_bring_back_who_is_being_erased(sqlite_store: SqliteStore) -> None:
    store: Any = sqlite_store
    calls, at = 100, 0
    while at < calls:
        at += 1
        uid = f"canary-uid-{at:04}"
        app = make_app(store, Clock(NOW))
        record(app, usages(10 * at, uid=uid) + usages(10 * at + 1, uid=uid, model=UNPRICED), NOW)
        behind: Any = Behind(store, store.query(PENDING))

        def rolls_up(behind: Any = behind) -> None:
            roll_up(behind, make_app(behind, Clock(NOW)).part(accounts_for), NOW, lambda: True)

        between: Any = Between(store, at, rolls_up)
        erase_usage(make_app(between, Clock(NOW)), uid, NOW)
        calls = between.calls
        assert total(store)[0] == 2 * at
        assert [doc.path for doc in everything(store) if uid in repr(doc)] == []
    assert at > 10


def test_usage_that_comes_at_any_moment_of_a_rollup_is_counted_by_it_or_by_the_next_one(
    sqlite_store: SqliteStore,
) -> None:
    store: Any = sqlite_store
    app = make_app(store, Clock(NOW))
    calls, at = 100, 0
    while at < calls:
        at += 1
        uid = f"user-{at:04}"
        record(app, usages(10 * at, uid=uid), NOW)

        def comes_late(uid: str = uid, number: int = 10 * at + 1) -> None:
            record(app, usages(number, uid=uid), NOW)

        between: Any = Between(store, at, comes_late)
        roll_up(between, make_app(between, Clock(NOW)).part(accounts_for), NOW, lambda: True)
        calls = between.calls
        roll_up(store, app.part(accounts_for), NOW, lambda: True)
        assert total(store)[0] == 2 * at
        month = store.get(f"usage_summary/{uid}/monthly/2026-11")
        assert month.data["calls"] == 2
    assert at >= 5  # the accounts, the rows and what they are made of, the commit, the mark


def test_who_was_erased_while_prices_were_renewed_is_not_there_again(sqlite_store: SqliteStore) -> None:
    app = make_app(sqlite_store, Clock(NOW))
    app.part(accounts_for).do("gone", Reprice("2026-11-20"), NOW)
    assert everything(sqlite_store) == []


UNPRICED = "nobody-knows-it"


def quarantine(store: Store, told: list[Usage], *, torn: bool) -> None:
    payload = encode(told)
    name = f"{'torn' if torn else 'whole'}-{receipt_of(repr(told)).hex()}"
    data = {"payload": payload[:-2] if torn else payload, "at": NOW, "expireAt": NOW + timedelta(days=90)}
    store.commit([Create(f"usage_quarantine/{name}", data)])


def quarantined(store: Store) -> list[Usage]:
    """What of it can be read."""
    docs = store.query(Query("usage_quarantine"))
    return sorted((u for doc in docs if "whole" in doc.id for u in decode(doc.data["payload"])), key=repr)


def everything(store: Store) -> list[Doc]:
    """All documents that usage has, without their times. Rows are packed, so they are read."""
    collections = ["quota", "usage_quarantine", "usage_segments", "costs"]
    for uid in ("gone", "canary-uid-5151", "canary-uid-5152"):
        collections += [f"usage_summary/{uid}/{name}" for name in ("daily", "monthly", "receipts")]
    found = [doc for name in collections for doc in store.query(Query(name))]
    rows = [repr(rows_of(doc)) for doc in store.query(Query("costs/2026-11-20/users"))]
    assert not any("canary" in row for row in rows if "another" not in row)
    return found


def total(store: Store) -> tuple[int, int, str, int]:
    """Calls, tokens, USD, and calls without a price."""
    parts = parts_in(store.get("costs/2026-11-20"))
    usd = plain(sum((part.cost for part in parts), Decimal(0)))
    return sum(p.calls for p in parts), sum(p.tokens for p in parts), usd, sum(p.unpriced_calls for p in parts)

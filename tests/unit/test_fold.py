"""The fold: each batch exactly once at every level, for any interleaving, late data, repetition and concurrency."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.domain.rollup import SHARDS, merge_all, shard_of
from shared.domain.series import key_of
from shared.metrics import blocks, rollup_codec
from shared.metrics import days as closing
from shared.metrics import fold as folding
from shared.metrics.fold import Folded, fold
from shared.metrics.group_commit import GroupCommit
from shared.metrics.layout import FOLD_RUN, block_path, hour_path, month_path, slots_path
from shared.metrics.rollup_codec import decode_rollup, decode_slots, encode_rollup
from shared.metrics.rollups import decode_month, read_blocks
from shared.store.protocol import Create, Put, Query, Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW, batch_of, metric, ms, new_table, registry, shipped
from tests.simulation.model import Model

DEFINITIONS = shipped().definitions
DAY = timedelta(days=1)
YESTERDAY = "2026-03-09"
BLOCK = ms(NOW) // 300_000


def run(store: Store, now: datetime = NOW, **more: Any) -> Folded:
    return fold(store, registry(), DEFINITIONS, now, **more)


def append(store: Store, metrics: Sequence[dict[str, Any]], name: str, now: datetime = NOW, table: Any = None) -> None:
    GroupCommit(store).append(batch_of(metrics, name, table=table, now=now), now)


def new_model(*batches: Sequence[dict[str, Any]]) -> Model:
    model = Model(DEFINITIONS)
    for metrics in batches:
        model.add(metrics)
    return model


def some(rng: random.Random, now: datetime = NOW, count: int = 30, hours: float = 47.9) -> list[dict[str, Any]]:
    """Metrics of several names and labels, over the last `hours`; values are whole, so that sums are exact."""
    metrics = []
    for _ in range(count):
        at = now - timedelta(seconds=rng.choice([rng.uniform(0, 600), rng.uniform(0, hours * 3600)]))
        status = {"endpoint": rng.choice(["/a", "/b"]), "status": rng.choice(["200", "404", "500", "503"])}
        metrics.append(
            rng.choice(
                [
                    metric(rng.choice([100, 300, 400, rng.randint(0, 3000)]), at=at, labels=status),
                    metric(rng.randint(0, 1), rng.choice(["error_rate", "agent_success_rate", "agent_uptime"]), at=at),
                    metric(rng.choice([100, 200, rng.randint(0, 900)]), "firestore_write_latency", at=at),
                ]
            )
        )
    return metrics


# --- exactly once


@pytest.mark.parametrize("seed", range(3))
def test_instances_segments_retries_and_double_runs_add_up_exactly(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    tables = [new_table() for _ in range(3)]  # one an instance: the same series has another number in each
    batches = {f"batch-{n:04}": some(rng) for n in range(12)}
    sends = [*batches, *rng.choices(list(batches), k=8)]
    rng.shuffle(sends)
    for n, name in enumerate(sends):
        append(store, batches[name], name, table=rng.choice(tables))
        if n % 5 == 4:
            run(store)
    run(store)
    run(store)
    assert new_model(*batches.values()).differences(store, [YESTERDAY]) == []
    assert store.query(Query("segments", group=True)) == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), order=st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_any_order_of_sending_and_folding_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int, order: list[int]
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("fold") / "x.db")
    rng = random.Random(seed)
    batches = [some(rng, count=8) for _ in range(5)]
    for turn in order:
        if turn == 5:
            run(store)
        else:
            append(store, batches[turn], f"batch-{turn:04}")
    run(store)
    run(store)
    model = new_model(*(batches[n] for n in set(order) - {5}))
    closed = [day for day in model.days if day <= YESTERDAY]
    assert model.differences(store, closed) == []
    store.close()


def test_the_same_batch_in_one_segment_twice_counts_once(sqlite_store: SqliteStore) -> None:
    batch = batch_of([metric()])
    GroupCommit(sqlite_store).write([batch, batch], "2026-03-10")
    run(sqlite_store)
    assert new_model([metric()]).differences(sqlite_store) == []


@pytest.mark.parametrize("hours", [0.1, 1, 24, 47])
def test_a_retry_long_after_its_block_was_folded_counts_nothing(sqlite_store: SqliteStore, hours: float) -> None:
    append(sqlite_store, [metric()], "batch-0001")
    run(sqlite_store)
    later = NOW + timedelta(hours=hours)
    append(sqlite_store, [metric()], "batch-0001", later)
    run(sqlite_store, later)
    assert new_model([metric()]).differences(sqlite_store) == []
    assert sqlite_store.query(Query("segments", group=True)) == []


def test_a_retry_beside_new_batches_of_the_same_block_counts_only_those(sqlite_store: SqliteStore) -> None:
    append(sqlite_store, [metric(1)], "batch-0001")
    run(sqlite_store)
    append(sqlite_store, [metric(1)], "batch-0001")
    append(sqlite_store, [metric(2), metric(1, "error_rate")], "batch-0002")
    run(sqlite_store)
    assert new_model([metric(1)], [metric(2), metric(1, "error_rate")]).differences(sqlite_store) == []


@pytest.mark.parametrize("times", [2, 4])
def test_folds_at_the_same_time_come_to_the_same(store: Store, times: int) -> None:
    rng = random.Random(times)
    batches = [some(rng, hours=25) for _ in range(6)]
    for n, metrics in enumerate(batches):
        append(store, metrics, f"batch-{n:04}")
    failures: list[BaseException] = []

    def fold_once() -> None:
        try:
            run(store)
        except BaseException as error:  # noqa: BLE001 - a thread's error must reach the test
            failures.append(error)

    threads = [threading.Thread(target=fold_once) for _ in range(times)]
    for thread in threads:
        thread.start()
    for n, metrics in enumerate(batches):  # and the clients send all of it again meanwhile
        append(store, metrics, f"batch-{n:04}")
    for thread in threads:
        thread.join()
    assert failures == []
    run(store)
    run(store)
    model = new_model(*batches)
    assert model.differences(store, [day for day in model.days if day <= YESTERDAY]) == []


# --- when it cannot do all at once


def test_a_fold_that_may_not_go_on_says_that_it_is_incomplete_and_the_next_ends_it(sqlite_store: SqliteStore) -> None:
    append(sqlite_store, [metric()], "batch-0001")
    assert not run(sqlite_store, may_go_on=lambda: False).complete
    found = run(sqlite_store)
    assert (found.complete, found.segments, found.batches) == (True, 1, 1)


def test_more_segments_than_fit_into_memory_are_folded_page_by_page(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PAGE_SEGMENTS", 3)
    monkeypatch.setattr(folding, "PAGE_BYTES", 10)
    for n in range(10):
        append(sqlite_store, [metric(n)], f"batch-{n:04}")
    pages = [True, True]
    assert not run(sqlite_store, may_go_on=lambda: bool(pages and pages.pop())).complete
    assert len(sqlite_store.query(Query("segments", group=True))) == 4
    assert run(sqlite_store).complete
    assert new_model([metric(n) for n in range(10)]).differences(sqlite_store) == []


@pytest.mark.parametrize("payload", [b"", b"junk", b"m\0\0\0\0", b"z\0\0\0\0broken", None])
def test_a_segment_that_cannot_be_read_is_set_aside_and_stops_nothing(
    store: Store, capsys: pytest.CaptureFixture[str], payload: bytes | None
) -> None:
    append(store, [metric()], "batch-0001")
    data = {} if payload is None else {"payload": payload}
    store.commit([Create("ops_metrics/2026-03-10/segments/odd", data)])
    assert run(store).complete
    assert new_model([metric()]).differences(store) == []
    assert store.query(Query("segments", group=True)) == []
    aside = store.get("ops_metrics/2026-03-10/quarantine/odd")
    assert aside is not None
    assert aside.data == {**data, "expireAt": datetime(2026, 6, 9, tzinfo=UTC)}
    assert "quarantine" in capsys.readouterr().out


def test_a_segment_met_twice_under_quarantine_is_fine(sqlite_store: SqliteStore) -> None:
    for _ in range(2):
        sqlite_store.commit([Create("ops_metrics/2026-03-10/segments/odd", {"payload": b"junk"})])
        assert run(sqlite_store).complete
    assert len(sqlite_store.query(Query("ops_metrics/2026-03-10/quarantine"))) == 1


# --- days


def test_a_day_is_closed_ten_minutes_after_its_end(sqlite_store: SqliteStore) -> None:
    late_at_night = datetime(2026, 3, 10, 23, 50, tzinfo=UTC)
    metrics = [metric(n, at=late_at_night - timedelta(hours=n)) for n in range(20)]
    append(sqlite_store, metrics, "batch-0001", late_at_night)
    midnight = datetime(2026, 3, 11, tzinfo=UTC)
    for now, closed in (
        (midnight, False),
        (midnight + timedelta(minutes=9), False),
        (midnight + timedelta(minutes=10), True),
    ):
        run(sqlite_store, now)
        found = sqlite_store.query(Query("ops_metrics/2026-03-10/metrics"))
        assert bool(found) == closed
    assert new_model(metrics).differences(sqlite_store, ["2026-03-10"]) == []


def test_a_day_document_has_the_shape_of_the_plan(sqlite_store: SqliteStore) -> None:
    metrics = [metric(v, at=NOW, labels={"endpoint": "/a", "method": "GET", "status": "200"}) for v in range(1, 101)]
    append(sqlite_store, metrics, "batch-0001")
    run(sqlite_store)
    run(sqlite_store, NOW + DAY)
    (doc,) = sqlite_store.query(Query("ops_metrics/2026-03-10/metrics"))
    data = dict(doc.data)
    quantiles = {name: data.pop(name) for name in ("p50", "p95", "p99")}
    value = data.pop("value")
    assert data == {
        "name": "api_latency",
        "labels": {"endpoint": "/a", "method": "GET", "status": "200"},
        "timestamp": ms(datetime(2026, 3, 10, tzinfo=UTC)),
        "aggregation": "p95",
        "count": 100,
        "sum": 5050.0,
        "min": 1.0,
        "max": 100.0,
        "expireAt": datetime(2026, 6, 9, tzinfo=UTC),
    }
    assert value == quantiles["p95"]
    assert quantiles == pytest.approx({"p50": 50, "p95": 95, "p99": 99}, rel=0.01)


@pytest.mark.parametrize(("name", "value"), [("token_cost", 6.0), ("agent_uptime", 2 / 3), ("storage_usage", 2.0)])
def test_the_value_of_a_day_is_read_as_the_registry_says(sqlite_store: SqliteStore, name: str, value: float) -> None:
    values = [1, 1, 0] if name == "agent_uptime" else [1, 2, 3]
    append(sqlite_store, [metric(v, name) for v in values], "batch-0001")
    run(sqlite_store)
    run(sqlite_store, NOW + DAY)
    (doc,) = sqlite_store.query(Query("ops_metrics/2026-03-10/metrics"))
    assert doc.data["value"] == value


def test_what_comes_late_changes_the_closed_day_its_series_and_its_month(store: Store) -> None:
    first = [metric(100, at=NOW), metric(7, "token_cost")]
    append(store, first, "batch-0001")
    run(store)
    run(store, NOW + DAY)
    late = [metric(900, at=NOW), metric(100, at=NOW, labels={"status": "500"})]
    append(store, late, "batch-0002", NOW + DAY)
    run(store, NOW + DAY)
    assert new_model(first, late).differences(store, ["2026-03-10"]) == []


def test_a_day_that_closes_while_late_data_comes_has_it_in_the_end(store: Store) -> None:
    rng = random.Random(5)
    batches = [some(rng, hours=30) for _ in range(8)]
    for n, metrics in enumerate(batches[:4]):
        append(store, metrics, f"batch-{n:04}")
    run(store, NOW - timedelta(hours=13))  # before yesterday's end
    threads = [threading.Thread(target=run, args=(store,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n, metrics in enumerate(batches[4:], 4):
        append(store, metrics, f"batch-{n:04}")
    for thread in threads:
        thread.join()
    run(store)
    assert new_model(*batches).differences(store, [YESTERDAY]) == []


def test_several_days_that_were_missed_are_closed_together(sqlite_store: SqliteStore) -> None:
    days = [NOW - DAY, NOW]
    for n, day in enumerate(days):
        append(sqlite_store, [metric(n, at=day)], f"batch-{n:04}", day)
    run(sqlite_store, NOW)
    run(sqlite_store, NOW + 3 * DAY)
    model = new_model([metric(n, at=day) for n, day in enumerate(days)])
    assert model.differences(sqlite_store, ["2026-03-09", "2026-03-10"]) == []
    state = sqlite_store.get(FOLD_RUN)
    assert state is not None
    assert (state.data["closedThrough"], state.data["closing"]) == ("2026-03-10", [])


def test_a_close_that_was_interrupted_is_ended_by_the_next_fold(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(sqlite_store, [metric()], "batch-0001")
    run(sqlite_store)
    with monkeypatch.context() as broken:
        broken.setattr(closing, "close_day", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(sqlite_store, NOW + DAY)
    run(sqlite_store, NOW + DAY)
    assert new_model([metric()]).differences(sqlite_store, ["2026-03-10"]) == []


def test_the_days_that_have_data_are_written_down_before_the_data(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(sqlite_store, [metric(), metric(at=NOW - DAY)], "batch-0001")
    with monkeypatch.context() as broken:
        broken.setattr(folding, "fold_block", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(sqlite_store)
    state = sqlite_store.get(FOLD_RUN)
    assert state is not None
    assert state.data["days"] == ["2026-03-09", "2026-03-10"]


def test_a_month_lives_as_long_as_its_latest_day(sqlite_store: SqliteStore) -> None:
    append(sqlite_store, [metric(at=NOW - DAY)], "batch-0001")
    append(sqlite_store, [metric(at=NOW)], "batch-0002")
    run(sqlite_store)
    run(sqlite_store, NOW + DAY)
    append(sqlite_store, [metric(at=NOW - timedelta(hours=23))], "batch-0003", NOW + DAY)  # of the earlier day
    run(sqlite_store, NOW + DAY)
    month = sqlite_store.get(month_path("2026-03-10"))
    assert month is not None
    assert set(decode_month(month.data["payload"])) == {"2026-03-09", "2026-03-10"}
    assert month.data["expireAt"] == datetime(2026, 3, 11, tzinfo=UTC) + timedelta(days=400)


def test_every_level_expires_after_its_time_and_no_segment_ever(sqlite_store: SqliteStore) -> None:
    append(sqlite_store, [metric()], "batch-0001")
    (segment,) = sqlite_store.query(Query("segments", group=True))
    assert "expireAt" not in segment.data
    run(sqlite_store)
    end = datetime(2026, 3, 11, tzinfo=UTC)
    shard = 0 if sqlite_store.get(block_path(BLOCK, 0)) else 1
    for path, days in (
        (block_path(BLOCK, shard), 8),
        (hour_path("2026-03-10", 12, shard), 90),
        (slots_path("2026-03-10"), 90),
    ):
        doc = sqlite_store.get(path)
        assert doc is not None
        assert doc.data["expireAt"] == end + timedelta(days=days)


def test_once_purged_nothing_older_than_its_time_is_left(sqlite_store: SqliteStore) -> None:
    append(sqlite_store, [metric()], "batch-0001")
    run(sqlite_store)
    run(sqlite_store, NOW + DAY)
    end = datetime(2026, 3, 11, tzinfo=UTC)

    def left(after: timedelta) -> set[str]:
        while sqlite_store.purge(ms(end + after) * 1000):
            pass
        return {
            level
            for level in ("m5", "h1", "metrics", "slo")
            if sqlite_store.query(Query(f"ops_metrics/2026-03-10/{level}"))
        }

    assert left(timedelta(days=8) - timedelta(seconds=1)) == {"m5", "h1", "metrics", "slo"}
    assert left(timedelta(days=8)) == {"h1", "metrics", "slo"}
    assert left(timedelta(days=90)) == set()
    assert sqlite_store.get(month_path("2026-03-10")) is not None


# --- many series


def test_five_thousand_series_that_do_not_fit_keep_every_sum(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_codec, "MAX_PAYLOAD", 10_000)
    monkeypatch.setattr(blocks, "MAX_PAYLOAD", 10_000)
    monkeypatch.setattr(rollup_codec.encode_fitted, "__defaults__", (10_000,))
    letters = "abcdefghijklmnopqrst"
    names = [f"/{a}{b}{c}" for a in letters for b in letters for c in letters[:13]][:5000]
    metrics = [
        metric(n % 700, labels={"endpoint": name, "status": ("200", "500", "503")[n % 3]})
        for n, name in enumerate(names)
    ]
    for n in range(0, 5000, 1000):
        append(sqlite_store, metrics[n : n + 1000], f"batch-{n:04}")
        if n % 2000:
            run(sqlite_store)
    run(sqlite_store)
    run(sqlite_store, NOW + DAY)
    model = new_model(metrics)
    merged = read_blocks(sqlite_store, [BLOCK])[BLOCK]
    hour = merge_all(
        decode_rollup(doc.data["payload"])
        for doc in sqlite_store.get_many([hour_path("2026-03-10", 12, shard) for shard in range(SHARDS)])
        if doc
    )
    for rollup in (merged, hour):
        assert len(encode_rollup(rollup)) < 12_000
        assert sum(s.count for s in rollup.values()) == 5000
        assert sum(s.total for s in rollup.values()) == sum(m["value"] for m in metrics)
        errors = {key_of("api_latency", {"other": "true", "status": status}) for status in ("200", "500", "503")}
        assert errors <= rollup.keys()
    assert list(model._slots(sqlite_store)) == []
    docs = sqlite_store.query(Query("ops_metrics/2026-03-10/metrics", limit=1000))
    assert sum(doc.data["count"] for doc in docs) == 5000


def test_late_data_that_moves_series_together_leaves_no_day_document_behind(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [metric(n, labels={"endpoint": f"/{'abcdefghij'[n]}"}) for n in range(10)]
    append(sqlite_store, first, "batch-0001")
    run(sqlite_store)
    run(sqlite_store, NOW + DAY)
    assert new_model(first).differences(sqlite_store, ["2026-03-10"]) == []
    monkeypatch.setattr(blocks, "MAX_PAYLOAD", 600)
    late = [metric(n, labels={"endpoint": f"/x{'abcdefghij'[n % 10]}{'abcdefghij'[n // 10]}"}) for n in range(100)]
    append(sqlite_store, late, "batch-0002", NOW + DAY)
    run(sqlite_store, NOW + DAY)
    docs = sqlite_store.query(Query("ops_metrics/2026-03-10/metrics", limit=1000))
    assert sum(doc.data["count"] for doc in docs) == 110
    assert any(doc.data["labels"].get("other") == "true" for doc in docs)


@pytest.mark.parametrize("batches", [100_000, 130_000])
def test_a_block_with_very_many_batches_still_fits_its_document(sqlite_store: SqliteStore, batches: int) -> None:
    """130,000 receipts are more than a document may hold: they move to pages, and nothing sticks."""
    shard = shard_of("api_latency{}")
    append(sqlite_store, [metric()], "batch-0001")
    run(sqlite_store)
    doc = sqlite_store.get(block_path(BLOCK, shard))
    assert doc is not None
    many = b"".join(n.to_bytes(8, "big") for n in range(batches - 1))[: 1_000_000 - len(doc.data["payload"])]
    sqlite_store.commit([Put(doc.path, {**doc.data, "receipts": doc.data["receipts"] + many[: len(many) // 8 * 8]})])
    for n in (2, 3):
        append(sqlite_store, [metric(n)], f"batch-{n:04}")
        run(sqlite_store)
    append(sqlite_store, [metric()], "batch-0001")  # its receipt is on a page now
    run(sqlite_store)
    assert new_model([metric(), metric(2), metric(3)]).differences(sqlite_store) == []


def test_receipts_on_pages_are_heeded_whatever_was_folded_when(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "RECEIPTS_PAGE", 3 * 8)
    monkeypatch.setattr(folding, "ENTRIES_AT_ONCE", 2)
    sent = [[metric(n)] for n in range(20)]
    for first in range(0, 20, 5):
        for n in range(first, first + 5):
            append(store, sent[n], f"batch-{n:04}")
        run(store)
        for n in range(0, first + 5, 3):  # retries of old and new ones
            append(store, sent[n], f"batch-{n:04}")
        run(store)
    doc = store.get(block_path(BLOCK, shard_of("api_latency{}")))
    assert doc is not None
    assert doc.data["pages"] > 3
    assert new_model(*sent).differences(store) == []


# --- what it costs, and what it hands on


def test_a_fold_with_nothing_to_do_costs_two_reads_and_no_write(sqlite_store: SqliteStore) -> None:
    append(sqlite_store, [metric()], "batch-0001")
    run(sqlite_store)
    before = sqlite_store.meter.snapshot()
    run(sqlite_store)
    used = sqlite_store.meter.since(before)
    assert (used.reads, used.writes, used.deletes) == (2, 0, 0)


def test_what_a_fold_writes_does_not_grow_with_the_traffic(sqlite_store: SqliteStore) -> None:
    writes = []
    for count in (1, 1000):
        table = new_table()
        for n in range(4):
            append(sqlite_store, [metric(n)] * count, f"batch-{count}-{n}xx", table=table)
        before = sqlite_store.meter.snapshot()
        run(sqlite_store)
        writes.append(sqlite_store.meter.since(before).writes)
    assert writes[1] <= writes[0]


def test_the_latest_blocks_are_handed_on_as_they_are_now(sqlite_store: SqliteStore) -> None:
    metrics = [metric(n, at=NOW - timedelta(minutes=5 * n)) for n in range(30)]
    append(sqlite_store, metrics, "batch-0001")
    append(sqlite_store, metrics, "batch-0002")
    found = run(sqlite_store)
    assert sorted(found.blocks) == list(range(BLOCK - 11, BLOCK + 1))
    assert all(found.blocks[n]["api_latency{}"].count == 2 for n in found.blocks)
    assert found.days == {"2026-03-10"}


def test_slots_of_a_definition_that_is_not_asked_for_stay_as_they_are(sqlite_store: SqliteStore) -> None:
    append(sqlite_store, [metric()], "batch-0001")
    run(sqlite_store)
    append(sqlite_store, [metric()], "batch-0002")
    fold(sqlite_store, registry(), [], NOW)
    doc = sqlite_store.get(slots_path("2026-03-10"))
    assert doc is not None
    assert set(decode_slots(doc.data["payload"])) == {d.hash for d in DEFINITIONS}

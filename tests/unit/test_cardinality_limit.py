"""A metric's `max_series`: beyond it label sets share `other`, and no total and no status is lost by it."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.metrics_ingest.decode import parse_labels
from shared.domain.fit import is_other, limit_series
from shared.domain.metric import STATUS_WORDS, Registry
from shared.domain.rollup import Stats, merge_all, stats_of
from shared.domain.series import Series, SeriesTable, key_of, split_key
from shared.domain.slots import count_definitions
from shared.metrics.fold import fold
from shared.metrics.group_commit import GroupCommit
from shared.metrics.layout import hour_path, whole_day_path
from shared.metrics.rollup_codec import decode_rollup
from shared.metrics.rollups import read_blocks
from shared.store.protocol import Query, Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, batch_of, metric, ms, shipped

STATUSES = ["200", "404", "500", "503", "timeout"]
DEFINITIONS = shipped().definitions
DAY = timedelta(days=1)


def limited(limit: int) -> Registry:
    data = json.loads((CONFIG / "metrics.json").read_text())
    for declared in data["metrics"].values():
        declared["max_series"] = limit
    return Registry.model_validate(data)


def table(registry: Registry) -> SeriesTable:
    return SeriesTable(registry, shipped().bounds(registry), parse_labels)


def totals(rollup: dict[str, Stats]) -> tuple[Counter[tuple[str, str | None]], Counter[str]]:
    """Events by metric and status, and sums by metric."""
    counts: Counter[tuple[str, str | None]] = Counter()
    sums: Counter[str] = Counter()
    for key, stats in rollup.items():
        name, labels = split_key(key)
        counts[name, labels.get("status")] += stats.count
        sums[name] += round(stats.total)
    return counts, sums


def letters(n: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[n // 26] + "abcdefghijklmnopqrstuvwxyz"[n % 26]


# --- at ingest


def test_beyond_the_limit_new_label_sets_go_into_other_and_known_ones_stay() -> None:
    series = table(limited(3))
    keys = []
    for n in range(6):
        found = series.resolve("api_latency", json.dumps({"endpoint": f"/{letters(n)}", "status": "500"}).encode())
        assert isinstance(found, Series)
        keys.append(found.key)
    assert [is_other(key) for key in keys] == [False] * 3 + [True] * 3
    assert keys[3] == key_of("api_latency", {"other": "true", "status": "500"})
    again = series.resolve("api_latency", b'{"endpoint": "/aa","status":"500"}')
    assert isinstance(again, Series)
    assert again.key == keys[0]


def test_other_keeps_apart_the_statuses_that_metrics_are_derived_from() -> None:
    series = table(limited(1))
    series.resolve("agent_latency", b'{"agent":"first"}')
    found = set()
    for status in [*sorted(STATUS_WORDS), "200", "503", "odd", "1000"]:
        other = series.resolve("agent_latency", json.dumps({"agent": "second", "status": status}).encode())
        assert isinstance(other, Series)
        found.add(split_key(other.key)[1].get("status"))
    assert found == {*STATUS_WORDS, "200", "503", None}


def test_each_metric_has_a_limit_of_its_own() -> None:
    series = table(limited(1))
    for name in ("api_latency", "token_cost", "agent_latency"):
        found = series.resolve(name, b'{"service":"a","model":"m"}')
        assert isinstance(found, Series)
        assert not is_other(found.key)


# --- at the fold


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 60), st.sampled_from([*STATUSES, "1000", "odd", "7"])), st.integers(1, 40), max_size=60
    ),
    st.integers(1, 20),
)
def test_folding_into_other_keeps_totals_by_status_and_what_is_derived(
    sizes: dict[tuple[int, str], int], limit: int
) -> None:
    registry = limited(limit)
    rollup = {
        key_of(name, {"endpoint": f"/{n}", "status": status}): stats_of([float(n)] * size, ())
        for (n, status), size in sizes.items()
        for name in ("api_latency", "agent_latency")
    }
    found = limit_series(dict(rollup), registry.series_limits)
    assert sum(s.count for s in found.values()) == sum(s.count for s in rollup.values())
    assert totals(found)[1] == totals(rollup)[1]
    assert count_definitions(found, DEFINITIONS, registry) == count_definitions(rollup, DEFINITIONS, registry)
    for name in ("api_latency", "agent_latency"):
        alone = [key for key in found if key.startswith(f"{name}{{") and not is_other(key)]
        assert len(alone) <= limit
        left = [s.count for key, s in rollup.items() if key.startswith(f"{name}{{") and key not in found]
        assert not left or min(found[key].count for key in alone) >= max(left)
    assert limit_series(dict(found), registry.series_limits) == found


def test_blocks_hours_and_days_keep_within_the_limit_and_every_total(store: Store) -> None:
    registry = limited(10)
    wide = limited(1000)
    metrics = [
        metric(
            n % 90,
            at=NOW - timedelta(minutes=7 * (n % 5)),
            labels={"endpoint": f"/{letters(n)}", "status": STATUSES[n % 5]},
        )
        for n in range(200)
    ]
    for n in range(0, 200, 50):  # each from an instance that has seen few series yet
        own = table(wide)
        GroupCommit(store).append(batch_of(metrics[n : n + 50], f"batch-{n:04}", table=own), NOW)
        fold(store, registry, DEFINITIONS, NOW)
    fold(store, registry, DEFINITIONS, NOW + DAY)
    blocks = read_blocks(store, sorted({m["timestamp"] // 300_000 for m in metrics}))
    hours = [
        decode_rollup(doc.data["payload"])
        for doc in store.get_many([hour_path("2026-03-10", hour, shard) for hour in (11, 12) for shard in (0, 1)])
        if doc
    ]
    day = [
        decode_rollup(doc.data["payload"])
        for doc in store.get_many([whole_day_path("2026-03-10", shard) for shard in (0, 1)])
        if doc
    ]
    true = Counter((m["name"], m["labels"]["status"]) for m in metrics)
    for level in ([*blocks.values()], hours, day):
        assert all(sum(not is_other(key) for key in rollup) <= 10 for rollup in level)
        counts, sums = totals(merge_all(level))
        assert counts == true
        assert sums["api_latency"] == sum(m["value"] for m in metrics)
    docs = store.query(Query("ops_metrics/2026-03-10/metrics", limit=1000))
    assert sum(doc.data["count"] for doc in docs) == 200
    assert len(docs) <= 10 + len(STATUSES)


def test_at_ingest_and_at_the_fold_the_error_rate_is_the_same_as_without_a_limit(sqlite_store: SqliteStore) -> None:
    metrics = [metric(5, labels={"endpoint": f"/{letters(n)}", "status": STATUSES[n % 4]}) for n in range(40)]
    counts = []
    for limit in (3, 1000):
        registry = limited(limit)
        GroupCommit(sqlite_store).append(batch_of(metrics, f"batch-{limit:04}", table=table(registry)), NOW)
        fold(sqlite_store, registry, DEFINITIONS, NOW)
        rollup = read_blocks(sqlite_store, [ms(NOW) // 300_000])[ms(NOW) // 300_000]
        counts.append(count_definitions(rollup, DEFINITIONS, registry))
    for digest, first in counts[0].items():
        assert (first.good * 2, first.total * 2) == (counts[1][digest].good, counts[1][digest].total)


@pytest.mark.parametrize("text", ["1000", "20000"])
def test_a_number_that_is_no_status_counts_neither_way_alone_or_in_other(text: str) -> None:
    registry = limited(1)
    for key in (key_of("api_latency", {"status": text}), key_of("api_latency", {"other": "true"})):
        counted = count_definitions({key: stats_of([1.0], ())}, DEFINITIONS, registry)
        assert all(
            c.total == 0 for d, c in counted.items() if d in {x.hash for x in DEFINITIONS if x.metric == "error_rate"}
        )

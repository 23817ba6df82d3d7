"""Ingest: CPU from body to commit against orjson, and billed writes with many requests in flight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import orjson

from bench.data import CONFIG, NOW_MS, bodies, compact, fresh_store
from bench.report import heading, median_ratio, row
from functions.metrics_ingest.decode import parse_labels, read_batch
from shared.domain.series import SeriesTable
from shared.metrics.group_commit import GroupCommit
from shared.slo_loader import SloLoader
from shared.store.protocol import Store, Write
from shared.store.sqlite import SqliteStore

DAY = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def table_for(store: Store) -> SeriesTable:
    loader = SloLoader(store, CONFIG, time.monotonic)
    return SeriesTable(loader.registry, loader.current().bounds(loader.registry), parse_labels)


def append_all(store: Store, batches: Sequence[bytes], table: SeriesTable, group: int) -> None:
    """Body to commit, `group` requests a commit."""
    commits = GroupCommit(store)
    waiting = []
    for body in batches:
        waiting.append(read_batch(body, table, NOW_MS)[0])
        if len(waiting) == group:
            commits.write(waiting, "2027-01-15")
            waiting = []


def cpu() -> None:
    heading("Ingest: CPU of the whole path from body to commit (SQLite, synchronous=FULL), HTTP aside")
    sample = bodies(200, 20)
    for group, limit in ((10, 1.7), (1, 2.2)):
        store = fresh_store()
        table = table_for(store)
        append_all(store, sample, table, group)

        def path(store: SqliteStore = store, table: SeriesTable = table, group: int = group) -> None:
            append_all(store, sample, table, group)

        def parse() -> None:
            for body in sample:
                orjson.loads(body)

        ratio, ours, base = median_ratio(path, parse)
        per = 1e9 / (len(sample) * 500)
        row(
            f"{group} request(s) a commit: {ours * per:.0f} ns a metric, orjson.loads {base * per:.0f}",
            f"{ratio:.2f} ×",
            f"≤ {limit} × orjson.loads",
            ratio <= limit,
        )


def compact_form() -> None:
    heading("Ingest: the compact form against the plain one, body to commit, 10 requests a commit, same metrics")
    for series in (20, 500):
        plain = bodies(200, series)
        short = [compact(body) for body in plain]
        store = fresh_store()
        table = table_for(store)
        append_all(store, plain, table, 10)
        append_all(store, short, table, 10)
        ratio, ours, base = median_ratio(
            lambda s=short, st=store, t=table: append_all(st, s, t, 10),  # type: ignore[misc]
            lambda s=plain, st=store, t=table: append_all(st, s, t, 10),  # type: ignore[misc]
        )
        per = 1e9 / (len(plain) * 500)
        sizes = f"{len(short[0]) / 500:.0f} and {len(plain[0]) / 500:.0f} bytes a metric"
        text = f"{series} series: {ours * per:.0f} ns a metric, plain {base * per:.0f}; {sizes}"
        limit = 0.6 if series == 20 else None
        row(text, f"{ratio:.2f} ×", f"≤ {limit} × plain" if limit else "", ratio <= limit if limit else None)


class _SlowCommits:
    """A store whose commits take as long as Firestore's over the network; it shows how requests gather meanwhile."""

    def __init__(self, store: SqliteStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self.meter = store.meter
        self.get = store.get

    def commit(self, writes: Sequence[Write]) -> None:
        time.sleep(self._seconds)
        self._store.commit(writes)


def billed_writes() -> None:
    heading("Ingest: billed writes for 1,000,000 metrics (2,000 batches of 500, 20 series), commits of 10 ms")
    sample = bodies(2000, 20)
    for in_flight, limit in ((1, 2000), (16, 2000), (80, 500)):
        store = fresh_store()
        table = table_for(store)
        slow = _SlowCommits(store, 0.010)
        commits = GroupCommit(slow)  # type: ignore[arg-type]  # the parts of a store that it uses

        def one(body: bytes, commits: GroupCommit = commits, table: SeriesTable = table) -> None:
            commits.append(read_batch(body, table, NOW_MS)[0], DAY)

        before = store.meter.snapshot()
        with ThreadPoolExecutor(in_flight) as pool:
            list(pool.map(one, sample))
        writes = store.meter.since(before).writes
        sign = "<" if in_flight == 80 else "≤"
        good = writes < limit if in_flight == 80 else writes <= limit
        row(f"{in_flight} in flight", f"{writes} writes", f"{sign} {limit}", good)

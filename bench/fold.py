"""The fold and the evaluation: CPU and billed reads."""

from __future__ import annotations

import time
from array import array
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.data import CONFIG, NOW_MS, bodies, fresh_store
from bench.ingest import append_all, table_for
from bench.report import cpu_seconds, heading, median, row
from shared.alerts.alerting import AlertRun
from shared.components import load_components
from shared.domain.definition import Definition
from shared.domain.slo import SloConfig
from shared.domain.slots import SLOTS_A_DAY, SlotRow
from shared.flags import load_defaults
from shared.metrics.fold import fold
from shared.metrics.layout import slots_path
from shared.metrics.rollup_codec import encode_slots
from shared.slo.evaluation import Evaluator
from shared.slo.history import SloHistory
from shared.slo_loader import SloLoader
from shared.store.protocol import Put
from shared.store.sqlite import SqliteStore

NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def folds() -> None:
    heading("Fold of 1,000,000 values into blocks, hours and slots (40 batches a segment), CPU")
    for series, limit in ((20, 200), (1000, 500)):
        sample = bodies(2000, series)
        times, meter = [], None
        for _ in range(5):
            store = fresh_store()
            append_all(store, sample, table_for(store), 40)
            loader = SloLoader(store, CONFIG, time.monotonic)
            config = loader.current()
            before = store.meter.snapshot()
            times.append(
                cpu_seconds(lambda s=store, c=config, r=loader.registry: fold(s, r, c.definitions, NOW)) * 1000  # type: ignore[misc]
            )
            meter = store.meter.since(before)
            store.close()
        ms = median(times)
        row(f"{series} series; {meter}", f"{ms:.0f} ms", f"≤ {limit} ms", ms <= limit)


def many_slos(count: int, loader: SloLoader) -> SloConfig:
    """The shipped SLOs, and as many more with other objectives."""
    shipped = loader.current().slos
    slos = [
        replace(shipped[n % 4], id=f"{shipped[n % 4].id}-{n}", name=f"SLO {n}", window=30 * 86_400)
        for n in range(count)
    ]
    slos = [s if s.quantile is None else replace(s, target=s.target + n // 4) for n, s in enumerate(slos)]
    return SloConfig(tuple(slos), f"bench-{count}")


def fill(store: SqliteStore, definitions: tuple[Definition, ...], days: int) -> None:
    """Days of full slots, as a fold leaves them: their size depends on the SLOs, not on the label sets of a metric."""
    for back in range(days + 1):
        day = (NOW - timedelta(days=back)).strftime("%Y-%m-%d")
        totals = array("I", [1000] * SLOTS_A_DAY)
        goods = array("I", [999] * SLOTS_A_DAY)
        rows = {d.hash: SlotRow(sum(goods), sum(totals), goods, totals) for d in definitions}
        store.commit([Put(slots_path(day), {"payload": encode_slots(rows)})])


def evaluations() -> None:
    heading("Evaluation over 30 days of data: billed reads for all SLOs together, CPU without I/O")
    for count in (4, 100):
        for label_sets in (1, 1000):
            store = SqliteStore(Path(mkdtemp(prefix="f0-bench-")) / "store.db")
            loader = SloLoader(store, CONFIG, time.monotonic)
            config = many_slos(count, loader)
            fill(store, config.definitions, 31)
            append_all(store, bodies(4, label_sets), table_for(store), 4)
            flags = load_defaults(CONFIG)
            components = load_components(CONFIG)
            fold(store, loader.registry, config.definitions, NOW)
            history = SloHistory(store)

            reads = []
            for _ in range(2):
                before = store.meter.snapshot()
                AlertRun(store, config, loader.registry, components, history, flags, {"slack": True}, NOW).evaluate()
                reads.append(store.meter.since(before).reads)
            cold, warm = reads
            row(
                f"{count} SLOs, {label_sets} label sets: cold, warm",
                f"{cold}, {warm} reads",
                "≤ 40, ≤ 4",
                cold <= 40 and warm <= 4,
            )
    for count in (4, 100):
        for label_sets in (1, 1000):
            row_cpu(count, label_sets)


class _Read:
    """Documents as they lie in memory after the read."""

    def __init__(self, store: SqliteStore, paths: list[str]) -> None:
        self.docs = dict(zip(paths, store.get_many(paths), strict=True))

    def get_many(self, paths: list[str]) -> list[object]:
        return [self.docs[path] for path in paths]


def row_cpu(count: int, label_sets: int) -> None:
    """The evaluation itself, cold, over documents that were read before: decoding, counting, quantiles."""
    store = fresh_store()
    loader = SloLoader(store, CONFIG, time.monotonic)
    config = many_slos(count, loader)
    at = NOW + timedelta(minutes=5)
    append_all(store, bodies(4, label_sets), table_for(store), 4)
    folded = fold(store, loader.registry, config.definitions, at)
    fill(store, config.definitions, 31)
    read: Any = _Read(store, [slots_path((at - timedelta(days=n)).strftime("%Y-%m-%d")) for n in range(33)])
    components, ready = load_components(CONFIG), {d.hash for d in config.definitions}

    def evaluate() -> None:
        found = Evaluator(read, config, loader.registry, components, SloHistory(read), folded, at).evaluate(ready)
        for evaluation in found:
            evaluation.slo.compliance(evaluation.window)
            evaluation.slo.budget_left(evaluation.window)

    per = median([cpu_seconds(evaluate) for _ in range(9)]) * 1000 / count
    row(f"{count} SLOs cold, {label_sets} label sets, CPU a SLO", f"{per:.3f} ms", "≤ 0.5 ms", per <= 0.5)

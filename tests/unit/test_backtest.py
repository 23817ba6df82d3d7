"""History replayed through configurations, on both stores: a planted outage is found at its times."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.alerts.alerting import run_alert_rules
from shared.components import load_components
from shared.domain.definition import Definition
from shared.domain.exclusion import Exclusion, Span
from shared.domain.replay import Firing
from shared.domain.slo import Slo, SloConfig
from shared.metrics.fold import fold
from shared.metrics.layout import FOLD_RUN, slots_path
from shared.metrics.rollup_codec import decode_slots
from shared.metrics.rollups import sum_day
from shared.run_guard import RUN
from shared.slo.backfill import backfill
from shared.slo.backtest import Backtest, RuleRun, backtest, count_day
from shared.slo.exclusions import add
from shared.slo_loader import load_burn_windows
from shared.store.protocol import Delete, Put, Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, Clock, batch_of, every_byte, make_app, metric, new_table, registry, shipped
from tests.unit.test_fold import append, some

SLOT = timedelta(minutes=5)
COMPONENTS = load_components(CONFIG)
END = datetime(2026, 3, 10, 12, tzinfo=UTC)
OUTAGE = END - timedelta(days=2, hours=3)


def feed(store: Store, days: int = 4, outage: timedelta = timedelta(minutes=20)) -> None:
    """20 requests of 100 ms each 5 minutes; while the outage lasts half of them fail, and take 450 ms."""
    clock = Clock()
    app = make_app(store, clock)
    table = new_table(app.slos.current())
    for n in range(days, 0, -1):
        begin = END - timedelta(days=n)
        sent = []
        for slot in range(288):
            at = begin + slot * SLOT
            bad = OUTAGE <= at < OUTAGE + outage
            for half in (0, 1):
                status = "503" if bad and half else "200"
                value = 450 if bad and half else 100
                sent += [
                    metric(value, at=at + timedelta(seconds=7 * k + half), labels={"status": status}) for k in range(10)
                ]
        clock.now = min(begin + timedelta(days=1), NOW)
        for start in range(0, len(sent), 5000):
            app.group_commit.append(
                batch_of(sent[start : start + 5000], f"batch-{n}-{start}", table=table, now=clock.now), clock.now
            )
        run_alert_rules(app, clock.now, lambda: True)
    run_alert_rules(app, NOW, lambda: True)


def config(*slos: Slo) -> SloConfig:
    return replace(shipped(), slos=slos or shipped().slos, burn=load_burn_windows(CONFIG))


def changed(slo: Slo, alert: dict[str, Any] | None = None, **fields: Any) -> Slo:
    return replace(slo, alert=slo.alert.model_copy(update=alert or {}), **fields)


def rules(found: Backtest, of: int = 0, slo: int = 0) -> dict[str, RuleRun]:
    return {run.rule.name: run for run in found.runs[of][slo].rules}


def test_a_planted_outage_is_found_at_its_times_and_a_slacker_threshold_sleeps(store: Store) -> None:
    feed(store)
    today = changed(shipped().slos[0], {"burn_rates": False})
    slack = changed(today, {"burn_rates": True}, threshold=Decimal(50))
    before = store.get(FOLD_RUN)
    found = backtest(store, registry(), [config(today), config(slack)], COMPONENTS, 30, NOW)
    assert store.get(FOLD_RUN) == before
    fired = Firing(OUTAGE + SLOT, OUTAGE + timedelta(minutes=25))
    (now,), proposed = rules(found).values(), rules(found, of=1)
    assert now.firings == (fired,)
    assert (now.start, now.end) == (END - timedelta(days=4), END)
    assert (now.longest, now.total) == (timedelta(minutes=20), timedelta(minutes=20))
    assert now.pages_a_week == pytest.approx(7 / 4)
    assert proposed["threshold"].firings == ()  # exactly 50 % are not above 50 %
    (page,) = proposed["page"].firings  # 5 failures are needed, and 10 of 240 are 8.3 times 0.5 %
    assert page.fired == OUTAGE + 2 * SLOT
    assert proposed["ticket"].is_page is False
    assert proposed["ticket"].pages_a_week == 0
    assert [run.counted_anew for (run,) in found.runs] == [False, False]


def test_what_is_not_counted_yet_is_counted_without_a_write(store: Store) -> None:
    feed(store, days=3)
    latency = shipped().slos[1]
    tighter = changed(latency, threshold=Decimal(250))
    told: list[str] = []
    runs = [config(latency), config(tighter)]
    before = {path: store.get(path) for path in (FOLD_RUN, slots_path("2026-03-08"), slots_path("2026-03-10"))}
    found = backtest(store, registry(), runs, COMPONENTS, 2 + 1, NOW, told.append)
    assert rules(found)["threshold"].firings == rules(found, of=1)["threshold"].firings
    assert len(rules(found)["threshold"].firings) == 1
    assert [run.counted_anew for (run,) in found.runs] == [False, True]
    assert told[0] == "counting 2026-03-07, 1 of 4 days: not in the store for what is proposed"
    assert {path: store.get(path) for path in before} == before


def test_nothing_at_all_is_written(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    feed(sqlite_store, days=1)
    before = every_byte(tmp_path / "store.db")
    backtest(sqlite_store, registry(), [config(changed(shipped().slos[1], threshold=Decimal(7)))], COMPONENTS, 30, NOW)
    assert every_byte(tmp_path / "store.db") == before


@pytest.mark.parametrize("age", [timedelta(), timedelta(days=9)])
def test_a_day_is_counted_as_the_backfill_counts_it(sqlite_store: SqliteStore, age: timedelta) -> None:
    """From blocks while they are there, later from hours."""
    new = [Definition("api_latency", 200.0), Definition("error_rate", None), Definition("api_latency", 77.0)]
    rng = random.Random(3)
    append(sqlite_store, some(rng, NOW, count=300, hours=20), "batch-0001")
    fold(sqlite_store, registry(), [], NOW)
    counted = {
        day: count_day(sqlite_store, day, new, registry(), exact=not age) for day in ("2026-03-09", "2026-03-10")
    }
    backfill(sqlite_store, registry(), new, NOW + age, lambda: True)
    for day, rows in counted.items():
        doc = sqlite_store.get(slots_path(day))
        assert doc
        stored = decode_slots(doc.data["payload"])
        assert rows == {d.hash: stored[d.hash] for d in new}
        assert sum(row.total for row in rows.values()) > 0


def test_days_of_which_only_sums_are_kept_are_left_out_and_windows_do_not_reach_there(
    sqlite_store: SqliteStore,
) -> None:
    feed(sqlite_store, days=4)
    later = NOW + timedelta(days=91)  # of 9 March on there are slots still
    for day in ("2026-03-06", "2026-03-07", "2026-03-08"):
        sum_day(sqlite_store, day)
        sqlite_store.commit([Delete(slots_path(day))])
    run = sqlite_store.get(RUN)
    assert run
    sqlite_store.commit([Put(RUN, run.data | {"foldedUntil": later.replace(minute=0, second=0)})])
    slo = changed(shipped().slos[0], {"window": 3600, "no_data": "keep"})
    found = rules(backtest(sqlite_store, registry(), [config(slo)], COMPONENTS, 95, later))
    assert found["threshold"].start == datetime(2026, 3, 9, 1, tzinfo=UTC)
    assert found["threshold"].firings == ()


def test_where_nothing_was_ever_sent_nothing_is_replayed(sqlite_store: SqliteStore) -> None:
    found = rules(
        backtest(
            sqlite_store, registry(), [config(changed(shipped().slos[0], {"no_data": "alert"}))], COMPONENTS, 30, NOW
        )
    )
    assert (found["threshold"].start, found["threshold"].firings) == (END, ())
    assert found["threshold"].pages_a_week is None


def test_what_is_excluded_is_left_out_of_the_history_too(store: Store) -> None:
    feed(store, days=3)
    maintenance = Span(OUTAGE, OUTAGE + timedelta(minutes=20))
    add(store, Exclusion("m", maintenance, "a new disk", "ada", NOW, components=("API",)), NOW)
    assert rules(backtest(store, registry(), [config()], COMPONENTS, 30, NOW))["threshold"].firings == ()

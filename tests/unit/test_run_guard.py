"""The guard of alertRules: who is behind counts nothing, and whatever decides is part of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.alerts import alerting
from shared.alerts.alerting import RUN, AlertRun
from shared.alerts.decides import decision_hash
from shared.components import load_components
from shared.domain.burn import BurnWindows
from shared.domain.exclusion import Exclusion, Span
from shared.domain.heartbeat import Agents, Pace
from shared.metrics import fold as folding
from shared.metrics.layout import FOLD_RUN
from shared.store.protocol import Query, Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, registry, shipped
from tests.unit.test_alerting import IN_SLOT, SLOT, Watch, config_of, only


@pytest.fixture
def watch(store: Store) -> Watch:
    return Watch(store)


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Watch:
    return Watch(sqlite_store)


def segments(watch: Watch) -> int:
    return len(watch.store.query(Query("segments", group=True)))


# --- first of all


def test_a_run_that_is_behind_from_the_beginning_folds_nothing(watch: Watch) -> None:
    watch.run(NOW + SLOT)
    watch.requests(90, 10)
    late = watch.make(NOW)
    assert late(lambda: True).overtaken
    assert segments(watch) == 1
    assert watch.run(NOW + SLOT).folded.segments == 1


def test_a_run_that_is_overtaken_while_it_folds_stops_at_the_next_page(
    quick: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PAGE_SEGMENTS", 1)
    monkeypatch.setattr(folding, "PAGE_BYTES", 1)
    quick.requests(10, 0)
    late = quick.make(NOW)
    asked: list[int] = []

    def meanwhile() -> bool:
        asked.append(1)
        if len(asked) == 1:
            quick.run(NOW + SLOT)  # another run, on newer facts
            for _ in range(3):
                quick.requests(10, 0)
        return True

    assert late(meanwhile).overtaken
    assert len(asked) == 1
    assert segments(quick) == 2


def test_a_run_that_is_overtaken_by_the_end_of_its_fold_backfills_nothing(
    quick: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run on the configuration of before would forget what the newer one has counted."""
    quick.requests(90, 10)
    quick.run(NOW - SLOT)
    late = quick.make(NOW)
    fold = folding.fold

    def folding_long(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(alerting, "fold", fold)
        found = fold(*given, **more)
        quick.data = only("API Latency (p95)", threshold=777)
        assert quick.run(NOW).overtaken is False
        return found

    monkeypatch.setattr(alerting, "fold", folding_long)
    assert late(lambda: True).overtaken
    wanted = {definition.hash for definition in config_of(quick.data).definitions}
    assert wanted == set(quick.doc(FOLD_RUN)["backfilled"])


def test_a_run_that_is_overtaken_while_it_backfills_stops_at_the_next_day(quick: Watch) -> None:
    for n in range(3):
        quick.requests(10, 0, IN_SLOT - timedelta(days=n))
    quick.data = only("API Latency (p95)", threshold=900)
    quick.run(NOW - SLOT)
    quick.data = only("API Latency (p95)", threshold=901)
    late = quick.make(NOW)
    asked: list[int] = []

    def meanwhile() -> bool:
        asked.append(1)
        if len(asked) == 2:  # the first page of the fold, the first day of the backfill
            quick.data = only("API Latency (p95)", threshold=902)
            quick.run(NOW)
        return True

    assert late(meanwhile).overtaken
    assert len(asked) == 2


# --- whatever decides


def hashed(**changes: Any) -> str:
    given: dict[str, Any] = {
        "config": replace(shipped(), burn=burn_windows()), "registry": registry(),
        "components": load_components(CONFIG), "agents": Agents(), "exclusions": (),
    }  # fmt: skip
    return decision_hash(**(given | changes))


def burn_windows(change: Callable[[Any], object] = lambda data: None) -> BurnWindows:
    data = json.loads((CONFIG / "burn_windows.json").read_text())
    change(data)
    return BurnWindows.model_validate(data)


EXCLUDED = Exclusion("a", Span(NOW, NOW + SLOT), "why", "ada", NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": replace(shipped(), hash="another", burn=burn_windows())},
        {"config": replace(shipped(), burn=burn_windows(lambda d: d["rules"][0]["windows"][0].update(factor=14.5)))},
        {"config": replace(shipped(), burn=burn_windows(lambda d: d["rules"][1].update(incident=True)))},
        {"registry": registry().model_copy(update={"metrics": {}})},
        {"components": load_components(CONFIG).model_copy(update={"components": ()})},
        {"agents": Agents(agents={"support": Pace(intervalSeconds=600, graceSeconds=60)})},
        {"exclusions": (EXCLUDED,)},
        {"exclusions": (replace(EXCLUDED, slos=("x",)),)},
    ],
    ids=["slos", "burn windows", "burn incident", "metrics", "components", "agents", "exclusion", "exclusion of one"],
)
def test_each_thing_that_decides_is_in_the_hash(changes: dict[str, Any]) -> None:
    assert hashed(**changes) != hashed()


def test_what_decides_nothing_is_not_in_it() -> None:
    other = replace(EXCLUDED, id="b", span=Span(NOW + SLOT, NOW + 2 * SLOT))
    assert hashed(config=replace(shipped(), version=7, burn=burn_windows())) == hashed()
    assert hashed(exclusions=(EXCLUDED, other)) == hashed(exclusions=(other, EXCLUDED))
    assert hashed(exclusions=(replace(EXCLUDED, cancelled_at=NOW),)) == hashed()


def test_a_run_on_older_burn_windows_stops_once_one_on_newer_ones_has_run(quick: Watch) -> None:
    quick.data = only(alert={"severity": "high", "channels": ["slack"], "burn_rates": True})
    quick.requests(90, 10)
    quick.run(NOW - SLOT)
    late = quick.make(NOW)
    newer = replace(config_of(quick.data), burn=burn_windows(lambda d: d["rules"][0]["windows"][0].update(factor=99)))
    assert newer.hash == late.config.hash
    run = AlertRun(
        quick.store, newer, registry(), load_components(CONFIG), quick.history, quick.flags, quick.channels, NOW,
        quick.store.get(RUN),
    )  # fmt: skip
    assert not run(lambda: True).overtaken
    assert quick.doc(RUN)["configHash"] == newer.hash
    assert late(lambda: True).overtaken


def test_a_document_of_a_release_without_the_hash_stops_nobody(quick: Watch) -> None:
    quick.run(NOW - SLOT)
    run = quick.doc(RUN)
    del run["decisionHash"]
    from shared.store.protocol import Put

    quick.store.commit([Put(RUN, run)])
    assert not quick.run(NOW).overtaken
    assert quick.doc(RUN)["decisionHash"]

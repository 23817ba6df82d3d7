"""What a query costs in document reads, as docs/design.md says, and how much of the store it holds in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from scripts.manifest import ROOT
from shared.domain.metric_query import parse_query
from shared.domain.rollup import shard_of, stats_of
from shared.domain.series import key_of
from shared.metrics.layout import FOLD_RUN, block_path, day_of, first_block, hour_path, whole_day_path
from shared.metrics.query import CHUNK, read_stored, run_query
from shared.metrics.rollup_codec import encode_rollup
from shared.run_guard import RUN
from shared.store.protocol import Create, Doc, Put
from shared.store.sqlite import SqliteStore
from tests.core import NOW, registry

DESIGN = (ROOT / "docs" / "design.md").read_text()
SPANS = {"6 hours in 5 minutes": ("-6h", "5m"), "7 days in hours": ("-7d", "1h"), "90 days in days": ("-90d", "1d")}


class Watched(SqliteStore):
    """Remembers how many documents were asked for at once."""

    most = 0

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self.most = max(self.most, len(paths))
        return super().get_many(paths)


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Every block, hour and closed day of ninety days has the same few requests in it."""
    store = Watched(tmp_path_factory.mktemp("cost") / "store.db")
    shard = shard_of("api_latency")
    data = {"payload": encode_rollup({key_of("api_latency", {}): stats_of([100.0, 200.0], ())})}
    noon = NOW.replace(minute=0, second=0)
    days = [(NOW - timedelta(days=n)).strftime("%Y-%m-%d") for n in range(91)][::-1]
    store.commit([Create(RUN, {"foldedUntil": noon}), Create(FOLD_RUN, {"days": days, "closedThrough": days[-2]})])
    for day in days:
        paths = [hour_path(day, hour, shard) for hour in range(24)]
        paths += [] if day == days[-1] else [whole_day_path(day, shard)]
        paths += [block_path(first_block(day) + n, shard) for n in range(288)] if day in days[-9:] else []
        store.commit([Create(path, data) for path in paths])
    yield store
    store.close()


def test_the_reads_of_the_page_are_those_of_the_code(store: Watched) -> None:
    told = {what: int(reads) for what, reads in re.findall(r"^\| ([\w -]+) \| (\d+) \|$", DESIGN, re.MULTILINE)}
    for what, (start, step) in SPANS.items():
        before = store.meter.snapshot()
        stored = read_stored(store, NOW)
        query = parse_query({"metric": ["api_latency"], "from": [start], "step": [step]}, registry(), stored, NOW)
        answer = run_query(store, query, registry(), stored)
        assert (what, store.meter.since(before).reads) == (what, told[what])
        assert answer.reads + 2 == told[what]
        assert all(point.count for point in answer.points[()])
    assert store.most == CHUNK


def test_each_step_is_read_from_its_own_level(store: Watched) -> None:
    """Each document holds two requests here, whatever its level, so the figures tell which ones were read."""
    stored = read_stored(store, NOW)
    counts = []
    for step in ("1d", "1h", "5m"):
        args = {
            "metric": ["api_latency"],
            "agg": ["count"],
            "from": ["2026-03-09"],
            "to": ["2026-03-10"],
            "step": [step],
        }
        answer = run_query(store, parse_query(args, registry(), stored, NOW), registry(), stored)
        counts.append(sum(point.count for point in answer.points[()]))
    assert counts == [2, 48, 576]


def test_days_on_which_nothing_came_cost_nothing(store: Watched) -> None:
    fold = store.get(FOLD_RUN)
    assert fold is not None
    yesterday = day_of(first_block(NOW.strftime("%Y-%m-%d")) - 1)
    days = [day for day in fold.data["days"] if day >= yesterday]
    assert len(days) == 2
    store.commit([Put(FOLD_RUN, {**fold.data, "days": days})])
    stored = read_stored(store, NOW)
    query = parse_query({"metric": ["api_latency"], "from": ["-90d"], "step": ["1d"]}, registry(), stored, NOW)
    assert run_query(store, query, registry(), stored).reads == 1 + 12 + 1

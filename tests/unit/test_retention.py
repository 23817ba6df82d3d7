"""How long things stay: the product itself over a hundred simulated days, purged daily as the local server does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.metrics_ingest.decode import parse_labels
from scripts.manifest import ROOT
from shared.alerts.alerting import run_alert_rules
from shared.bootstrap import App
from shared.domain.series import SeriesTable
from shared.domain.storage import Object, StorageConfig
from shared.metrics import blocks
from shared.metrics.layout import KEEP
from shared.metrics.storage_usage import Totals, measure
from shared.store.protocol import Create
from shared.store.sqlite import SqliteStore
from tests.core import Client, Clock, body, make_app, metric, ms, registry, serving, shipped

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 100
SLOW_DAY = 3
HALFWAY, LATE = 50, 95  # days after which it is looked at once more
BEATS_FROM = 97
BUCKETS = StorageConfig.model_validate({"buckets": [{"name": "uploads", "userPattern": "users/{uid}/**"}]})
OF_BLOCKS = {"m5", "points", "receipts"}
OF_DAYS = {"d1", "metrics", "ops_metrics"}  # written once their day is over
DAILY = {"h1", "slo", "quarantine", "storage"}


class TwoObjects:
    """A bucket with something of a user and of nobody."""

    def pages(self, bucket: str, after: str) -> Iterator[Sequence[Object]]:
        yield [("static/logo.svg", 1000), ("users/bo/photo.jpg", 2000)]


@dataclass(frozen=True, slots=True)
class Kept:
    """A document: its size in bytes, and whether it has an end."""

    size: int
    expires: bool


Documents = dict[str, Kept]


class World:
    """The whole product on one store, and a clock that is moved by hand."""

    def __init__(self, store: SqliteStore, path: Path, app: App, clock: Clock, client: Client) -> None:
        self.store, self.path, self.app, self.clock, self.client = store, path, app, clock, client
        self.totals = Totals(app.group_commit, SeriesTable(registry(), shipped().bounds(registry()), parse_labels))

    def day(self, n: int) -> None:
        """Values, a counter, a beat, a broken segment, late on what closes the day before, and the buckets."""
        self.clock.now = FIRST + timedelta(days=n, minutes=15)
        self.judge()
        self.clock.now = FIRST + timedelta(days=n, hours=3, minutes=10)
        assert measure(self.store, self.totals, BUCKETS, TwoObjects(), self.clock.now, lambda: None).finished
        for minute in (1, 3):  # twice into one block, each folded by itself
            self.clock.now = FIRST + timedelta(days=n, hours=10, minutes=minute)
            self.send(n)
            self.judge()
        self.clock.now = FIRST + timedelta(days=n, hours=10, minutes=6)
        self.judge()
        self.clock.now = FIRST + timedelta(days=n, hours=12)
        while self.store.purge(ms(self.clock.now) * 1000):
            pass

    def send(self, n: int) -> None:
        now = self.clock.now
        value = 5000.0 if n == SLOW_DAY else 50.0
        metrics = [metric(value, at=now, labels={"endpoint": "/a", "status": "200"}) for _ in range(20)]
        assert self.client.send(body(metrics, f"batch-{ms(now)}"))[0] == 202
        status, answer, _ = self.client.send(spent(FIRST, now, 1.0 + n), path="/v1/metrics", headers=AS_JSON)
        assert (status, answer) == (200, {})
        if n >= BEATS_FROM:
            assert self.client.send(b"", path="/api/metrics/heartbeat/support")[0] == 202
        broken = f"ops_metrics/{now:%Y-%m-%d}/segments/broken-{now:%H%M}"
        self.store.commit([Create(broken, {"payload": b"no segment"})])

    def judge(self) -> None:
        assert run_alert_rules(self.app, self.clock.now, lambda: True).folded.complete

    def documents(self) -> Documents:
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT path, length(data), expire_us FROM docs").fetchall()
        return {path: Kept(size, expire is not None) for path, size, expire in rows}


AS_JSON = {"Content-Type": "application/json"}


def spent(start: datetime, now: datetime, value: float) -> Any:
    """A counter that only grows, as an SDK reports it."""
    point = {"startTimeUnixNano": str(ms(start) * 10**6), "timeUnixNano": str(ms(now) * 10**6), "asDouble": value}
    counter = {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}
    metrics = [{"name": "token_cost", "unit": "USD", "sum": counter}]
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Documents]:
    """What there was after some of the days, by number of the day."""
    path = tmp_path_factory.mktemp("retention") / "store.db"
    store, clock = SqliteStore(path), Clock(FIRST)
    app = make_app(store, clock)
    found = {}
    with pytest.MonkeyPatch.context() as patched, serving(app) as client:
        patched.setattr(blocks, "RECEIPTS_PAGE", blocks.RECEIPT)  # so that few batches make a page of receipts
        world = World(store, path, app, clock, client)
        for n in range(DAYS):
            world.day(n)
            if n in (SLOW_DAY, HALFWAY, LATE, DAYS - 1):
                found[n] = world.documents()
    store.close()
    return found


def collection(path: str) -> str:
    return path.split("/")[-2]


def day_numbers(documents: Documents, name: str) -> list[int]:
    """Of which days, counted from the first, a collection has documents."""
    days = {
        next(part for part in path.split("/") if len(part) == 10 and part[4] == part[7] == "-")
        for path in documents
        if collection(path) == name
    }
    return sorted((datetime.fromisoformat(day).replace(tzinfo=UTC) - FIRST).days for day in days)


def last(days: int, until: int) -> list[int]:
    return list(range(max(0, DAYS - 1 - days), until))


@pytest.mark.parametrize("name", sorted(OF_BLOCKS))
def test_of_blocks_and_their_points_eight_days_are_left(name: str, after: dict[int, Documents]) -> None:
    assert KEEP["m5"] == timedelta(days=8)
    assert day_numbers(after[DAYS - 1], name) == last(8, DAYS)


@pytest.mark.parametrize("name", sorted(DAILY))
def test_of_hours_slots_and_storage_ninety_days_are_left(name: str, after: dict[int, Documents]) -> None:
    assert KEEP["h1"] == KEEP["day"] == timedelta(days=90)
    assert day_numbers(after[DAYS - 1], name) == last(90, DAYS)


@pytest.mark.parametrize("name", sorted(OF_DAYS))
def test_of_whole_days_ninety_are_left_and_today_is_none_yet(name: str, after: dict[int, Documents]) -> None:
    assert day_numbers(after[DAYS - 1], name) == last(90, DAYS - 1)


def test_the_daily_counts_of_slos_are_all_left(after: dict[int, Documents]) -> None:
    months = sorted(path for path in after[DAYS - 1] if collection(path) == "slo_days")
    assert months == [f"slo_days/2026-0{n}" for n in (1, 2, 3, 4)]
    assert all(after[DAYS - 1][month].expires for month in months)


def test_a_notification_is_left_for_ninety_days(after: dict[int, Documents]) -> None:
    counts = [sum(collection(path) == "notifications" for path in after[n]) for n in (HALFWAY, DAYS - 1)]
    assert counts[0] > 0
    assert counts[1] == 0


def test_no_segment_is_left(after: dict[int, Documents]) -> None:
    assert [path for path in after[DAYS - 1] if collection(path) == "segments"] == []


def test_what_never_expires_does_not_grow(after: dict[int, Documents]) -> None:
    """From LATE on, since the fold knows the days of three months."""
    early, late, end = (
        {path: kept.size for path, kept in after[n].items() if not kept.expires} for n in (SLOW_DAY, LATE, DAYS - 1)
    )
    assert late.keys() == end.keys()
    resolved = {"incidents/api-latency-p95-threshold-1/audit/00000002"}  # the slow day's alert clears after `early`
    assert early.keys() ^ late.keys() == resolved
    assert {path: end[path] for path in end if end[path] > late[path] + ROOM} == {}


ROOM = 64  # bytes: the agent that beats, numbers with a digit more


OF_PEOPLE = {  # what nobody does in this world → where it is written, with its end
    "admin_notifications": "shared/notify/inapp.py",
    "first_messages": "shared/domain/first_message.py",
    "idempotency": "shared/audited.py",
    "inbox_readers": "shared/delivery/inbox.py",
    "silences": "shared/alerts/silences.py",
    "usage_quarantine": "shared/usage/segments.py",
}


def test_everything_that_expires_has_a_ttl_policy_and_every_policy_is_used(after: dict[int, Documents]) -> None:
    written = {collection(path) for documents in after.values() for path, kept in documents.items() if kept.expires}
    overrides = json.loads((ROOT / "firestore.indexes.json").read_text())["fieldOverrides"]
    policies = {o["collectionGroup"] for o in overrides if o.get("ttl") and o["fieldPath"] == "expireAt"}
    assert written.isdisjoint(OF_PEOPLE)
    assert written | OF_PEOPLE.keys() == policies
    for name, module in OF_PEOPLE.items():
        text = (ROOT / module).read_text()
        assert name in text, module
        assert '"expireAt"' in text, module

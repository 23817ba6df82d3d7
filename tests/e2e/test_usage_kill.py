"""What was acknowledged of usage counts once, however often the process dies under its clients; on both stores.

A real process serves usageApi and costRollup to a crowd at the same time, and kills itself by SIGKILL at a call of the
store that is drawn by lot, while the other requests are anywhere; another one goes on over what is left. By turns
usage is booked at once, and appended for costRollup to book.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.domain.quota import PERIODS
from shared.metrics.fold import fold
from shared.metrics.rollup_codec import decode_rollup
from shared.store.protocol import Put, Store, Unavailable
from shared.usage.cost_days import parts_in
from tests.core import registry
from tests.e2e.kill_worker import Order, SharedClock, open_store
from tests.e2e.reality import Worker, worker
from tests.e2e.support import Scheduler, changed_config, collection, environment, everywhere, write_json
from tests.e2e.usage_crowd import (
    DAYS_AGO,
    LIMITED,
    OF_THE_HASTY,
    PLAN,
    TIGHT,
    UNPRICED,
    USERS,
    Crowd,
    Deployment,
    RollsUp,
    Told,
)
from tests.emulator import forget
from tests.usage_api import NOW, USAGE_KEY

HELD_FOR = timedelta(hours=2)
CALLS, COST = 9, Decimal("0.15")  # what the plan of those who reserve allows in a day
MOST_CALLS = 40  # of the store in a life
USD = {"claude-sonnet-4-5": (3, 15), "gpt-4": (30, 60), OF_THE_HASTY: (15, 75), UNPRICED: (0, 0)}  # of a million tokens


@cache
def configuration() -> Path:
    def change(folder: Path) -> None:
        plans = json.loads((folder / "plans.json").read_text())
        plans["plans"] |= {PLAN: {}, TIGHT: {"day": {"calls": CALLS, "costUsd": str(COST)}}}
        plans["reservationSeconds"] = int(HELD_FOR.total_seconds())
        write_json(folder / "plans.json", plans)

    return changed_config("usage-kill", change)


@pytest.fixture(params=["sqlite", "firestore"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Where an empty store is, for several processes."""
    if request.param == "sqlite":
        yield {"sqlite": str(tmp_path / "store.db")}
        return
    address = request.getfixturevalue("emulator")
    project = f"kill-{secrets.token_hex(6)}"
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
    yield {"project": project, "emulator": address}
    forget(address, project)


class World:
    """The store, seen by nobody's connection; the clock of all; and the process whose instances die."""

    def __init__(self, place: dict[str, str], worker: Worker, scheduler: Scheduler) -> None:
        self.worker, self.scheduler = worker, scheduler
        self.store = open_store(place)
        file = worker.folder / "clock"
        self.clock = SharedClock(file)
        self.clock.set(NOW)
        keys = {"USAGE_KEYS": hashlib.sha256(USAGE_KEY.encode()).hexdigest(), "CONFIG_DIR": str(configuration())}
        self.order: Order = {
            "store": place,
            "env": environment(worker.slack.url, scheduler.keys_url) | keys,
            "clock": str(file),
            "kill": None,
            "record": False,
            "fault": None,
            "threaded": True,
        }
        self.deployment = Deployment()

    def live_and_die(self, rng: random.Random, life: int) -> None:
        until_answered(
            lambda: self.store.commit([Put("config/flags", {"costs": {"realtime_tracking": life % 2 == 0}})])
        )
        self.start((rng.randint(1, MOST_CALLS), rng.choice(["before", "after"])))
        assert list(self.worker.rest())  # what it died of
        self.clock.set(self.clock() + timedelta(seconds=10))

    def start(self, kill: tuple[int, str] | None = None) -> None:
        self.deployment.publish(self.worker.start({**self.order, "kill": kill}))

    def roll_up(self) -> Mapping[str, Any]:
        for _ in range(10):
            answer = self.scheduler.call(self.deployment.seen()[1], "costRollup", self.clock())
            if answer.status == 200 and not answer.json["left"]:
                return dict(answer.json)
        raise AssertionError(answer.body)

    def close(self) -> None:
        self.worker.stop()
        self.clock.close()
        self.store.close()


def until_answered(request: Callable[[], Any]) -> Any:
    """On a machine with much to do an emulator may not answer in time."""
    for _ in range(10):
        with suppress(Unavailable):
            return request()
    return request()


@pytest.fixture
def world(place: dict[str, str], tmp_path: Path) -> Iterator[World]:
    scheduler = Scheduler()
    with worker(tmp_path / "worker", scheduler) as started:
        world = World(place, started, scheduler)
        yield world
        world.close()
    scheduler.close()


def test_what_was_acknowledged_counts_once_and_no_quota_is_passed_wherever_the_process_is_killed(world: World) -> None:
    rng = random.Random(8)
    crowd = Crowd(world.deployment, NOW, seed=8)
    scheduler = RollsUp(world.deployment, world.scheduler, world.clock)
    lives = 0
    while crowd.busy:
        lives += 1
        world.live_and_die(rng, lives)
        for uid in LIMITED:
            assert until_answered(lambda uid=uid: over_the_limit(world.store, uid)) == []
        if lives % 5 == 0:
            until_answered(lambda: fold(world.store, registry(), [], world.clock()))
    scheduler.stop()
    told = crowd.join()
    assert lives > 5
    assert told.refused
    world.start()
    late = told.open[::2]
    world.clock.set(world.clock() + HELD_FOR)
    world.roll_up()
    assert held(world.store) == {}
    assert [crowd.finish(id_, "settle", used) for id_, used in late] == ["settled_late"] * len(late)
    world.roll_up()
    assert held(world.store) == {}
    check_days(world.store, told)
    check_totals(world.store)
    check_metric(world.store, told, world.clock())
    print(f"{lives} lives; {len(told.counted)} calls, {len(told.perhaps)} of unknown fate, {len(told.refused)} refused")


def account(store: Store, uid: str) -> Mapping[str, Any]:
    doc = store.get(f"quota/{uid}")
    return doc.data if doc else {}


def over_the_limit(store: Store, uid: str) -> list[str]:
    """What used and held together exceed."""
    found = account(store, uid)
    taken = [*(found.get("holds") or {}).values(), (found.get("days") or {}).get(day_of(NOW), {"calls": 0, "cost": 0})]
    calls, cost = sum(one["calls"] for one in taken), sum(Decimal(one["cost"]) for one in taken)
    return [f"{calls} calls"] * (calls > CALLS) + [f"{cost} USD"] * (cost > COST)


def held(store: Store) -> dict[str, Any]:
    return {uid: d["holds"] for uid, d in collection(store, "quota").items() if d["holds"] or d["holdsUntil"]}


Sums = tuple[int, int, Decimal]  # calls, tokens, USD


def sums_of(events: list[dict[str, Any]]) -> Sums:
    tokens = [(USD[one["model"]], one["tokens"]["input"], one["tokens"]["output"]) for one in events]
    millionths = sum(given * usd[0] + made * usd[1] for usd, given, made in tokens)
    return len(events), sum(given + made for _, given, made in tokens), Decimal(millionths) / 1_000_000


def stored(doc: Mapping[str, Any] | None) -> Sums:
    """Of a summary. What has no price at all is told by its own sums."""
    if doc is None:
        return 0, 0, Decimal(0)
    cost = doc["estimated_cost_usd"]
    return doc["calls"], doc["tokens"], Decimal(0 if cost == "unpriced" else cost)


def added(sums: list[Sums]) -> Sums:
    return sum(s[0] for s in sums), sum(s[1] for s in sums), sum((s[2] for s in sums), Decimal(0))


def check_days(store: Store, told: Told) -> None:
    """Users' days, months and accounts, to the last call, token and digit."""
    counted: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in told.counted:
        counted.setdefault((one["uid"], day_of(datetime.fromisoformat(one["time"]))), []).append(one)
    for uid in (*USERS, *LIMITED):
        days = collection(store, f"usage_summary/{uid}/daily")
        expected = {day: sums_of(events) for (whose, day), events in counted.items() if whose == uid}
        assert {day: stored(doc) for day, doc in days.items()} == expected
        months = collection(store, f"usage_summary/{uid}/monthly")
        by_month = {month: added([s for day, s in expected.items() if day[:7] == month]) for month in months}
        assert {month: stored(doc) for month, doc in months.items()} == by_month
        assert {day[:7] for day in days} == set(months)
        for period in PERIODS:
            known = account(store, uid)[f"{period}s"]
            sums = expected if period == "day" else by_month
            assert {n: (a["calls"], a["tokens"], Decimal(a["cost"])) for n, a in known.items()} == sums
    sure, perhaps = (
        sum(one["tokens"]["output"] for one in events if one["uid"] == "hasty")
        for events in (told.counted, told.perhaps)
    )
    calls, tokens, _ = stored(collection(store, "usage_summary/hasty/daily").get(day_of(NOW)))
    assert tokens & sure == sure  # each has a bit of its own
    assert tokens | sure | perhaps == sure | perhaps
    assert calls == tokens.bit_count()


def check_totals(store: Store) -> None:
    """Each of the organisation's days is the sum of the users' days."""
    for days_ago in DAYS_AGO:
        day = day_of(NOW - timedelta(days=days_ago))
        users = [collection(store, f"usage_summary/{uid}/daily").get(day) for uid in (*USERS, *LIMITED, "hasty")]
        parts = parts_in(store.get(f"costs/{day}"))
        assert added([(p.calls, p.tokens, p.cost) for p in parts]) == added([stored(doc) for doc in users])
        assert len(parts) > 1


def check_metric(store: Store, told: Told, now: datetime) -> None:
    """token_cost has a sample of each priced call of the last two days."""
    fold(store, registry(), [], now)
    found: Counter[str] = Counter()
    for block in everywhere(store, "m5"):
        for series, stats in decode_rollup(block.data["payload"]).items():
            name, _, labels = series.partition("{")
            if name == "token_cost":
                found[json.loads("{" + labels)["model"]] += stats.count
    since = day_of(NOW - timedelta(days=2))
    recent = Counter(one["model"] for one in told.counted if one["time"] >= since and one["model"] != UNPRICED)
    of_the_hasty, sure = found.pop(OF_THE_HASTY), recent.pop(OF_THE_HASTY)
    assert sure <= of_the_hasty <= sure + len(told.perhaps)
    assert found == recent


def day_of(moment: datetime) -> str:
    return moment.date().isoformat()

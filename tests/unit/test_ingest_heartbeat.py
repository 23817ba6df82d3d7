"""POST /api/metrics/heartbeat/{agent}, and the uptime that comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from functions.metrics_ingest import heartbeat
from functions.metrics_ingest.ingest import Ingest
from shared.bootstrap import App
from shared.domain.building import BLOCK_MS
from shared.domain.faults import ConfigError
from shared.domain.heartbeat import METRIC
from shared.domain.rollup import Stats
from shared.domain.series import MAX_LABELS, SeriesTable, key_of
from shared.flags import DOCUMENT as FLAGS
from shared.metrics.agents import load_agents
from shared.metrics.fold import fold
from shared.metrics.rollups import read_blocks
from shared.store.protocol import Put, Query, Store
from tests.core import CONFIG, NOW, Client, Clock, make_app, ms, registry, serving, shipped

START = NOW.replace(minute=0, second=0)  # of a block
BLOCK = ms(START) // BLOCK_MS
PATH = "/api/metrics/heartbeat/"


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def app(store: Store, clock: Clock) -> App:
    return make_app(store, clock)


@pytest.fixture
def client(app: App) -> Iterator[Client]:
    with serving(app) as client:
        yield client


def beat(client: Client, agent: str = "support", body: bytes = b"", **more: Any) -> tuple[int, Any]:
    status, answer, _ = client.send(body, path=PATH + agent, **more)
    return status, answer


def uptime(store: Store, block: int = BLOCK, agent: str = "support") -> tuple[int, int] | None:
    """Seconds up, and seconds in which it was expected."""
    fold(store, registry(), shipped().definitions, START + timedelta(minutes=15))
    stats: Stats | None = read_blocks(store, [block])[block].get(key_of(METRIC, {"agent": agent}))
    return None if stats is None else (round(stats.total), stats.count)


def test_an_agent_that_beats_in_time_is_up(client: Client, store: Store, clock: Clock) -> None:
    for minute in range(6):
        clock.now = START + timedelta(minutes=minute)
        assert beat(client) == (202, {"agent": "support", "intervalSeconds": 60, "graceSeconds": 30})
    assert uptime(store) == (300, 300)


def test_a_missing_beat_is_downtime_from_the_grace_on(client: Client, store: Store, clock: Clock) -> None:
    beat(client)
    clock.now = START + timedelta(minutes=4)
    beat(client)  # three are missing: up until 90 s, down for 150 s
    assert uptime(store) == (150, 300)
    assert uptime(store, BLOCK + 1) == (30, 300)  # the last beat reaches into the next block
    assert uptime(store, BLOCK + 2) == (0, 300)  # without any segment


def test_a_beat_that_is_sent_again_or_late_changes_nothing_twice(client: Client, store: Store) -> None:
    at = str(ms(START + timedelta(seconds=-100))).encode()
    for _ in range(3):
        assert beat(client, body=b'{"timestamp": %s}' % at)[0] == 202
    beat(client)
    assert uptime(store, BLOCK - 1) == (90, 100)  # expected from its first beat on
    assert uptime(store) == (90, 300)
    assert beat(client, body=b'{"timestamp": %d}' % ms(START + timedelta(seconds=90)))[0] == 202  # after the fold
    assert uptime(store) == (180, 300)


def test_agents_named_in_the_configuration_have_a_pace_of_their_own(store: Store, clock: Clock, tmp_path: Path) -> None:
    folder = shutil.copytree(CONFIG, tmp_path / "config")
    (folder / "agents.json").write_text('{"agents": {"slow": {"intervalSeconds": 200, "graceSeconds": 20}}}')
    with serving(make_app(store, clock, folder)) as client:
        assert beat(client, "slow")[1] == {"agent": "slow", "intervalSeconds": 200, "graceSeconds": 20}
        assert beat(client, "other")[1]["intervalSeconds"] == 60
    fold(store, registry(), [], START + timedelta(minutes=15), agents=load_agents(folder))
    block = read_blocks(store, [BLOCK])[BLOCK]
    assert block[key_of(METRIC, {"agent": "slow"})].total == 220
    assert block[key_of(METRIC, {"agent": "other"})].total == 90


@pytest.mark.parametrize(
    "agent", ["", "a b", "a/b", "x" * 64, "5f0c8a1e-7b1d-4c1a-9b57-0d7a3b1c2d4e", "bob%40example.com", ".."]
)
def test_a_name_that_is_none_or_a_persons_is_refused(client: Client, store: Store, agent: str) -> None:
    status, answer = beat(client, agent.replace(" ", "%20"))
    assert (status, answer["code"]) == (400, "invalid_agent")
    assert store.query(Query("segments", group=True)) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "unreadable_body"),
        (b"[]", "unreadable_body"),
        (b'{"timestamp": "now"}', "unreadable_body"),
        (b'{"timestamp": 5}', "invalid_body"),
        (b'{"timestamp": 99999999999999}', "invalid_body"),
    ],
)
def test_a_body_that_tells_no_time_is_refused(client: Client, body: bytes, code: str) -> None:
    status, answer = beat(client, body=body)
    assert (status, answer["code"]) == (400, code)


def test_a_beat_needs_a_key_and_post(client: Client) -> None:
    assert beat(client, key=None)[0] == 401
    assert beat(client, method="GET")[0] == 405


def test_while_collection_is_off_a_beat_is_not_stored_and_told_so(client: Client, store: Store) -> None:
    store.commit([Put(FLAGS, {"ops": {"metrics_collection": False}})])
    status, answer = beat(client)
    assert (status, answer["stored"]) == (202, False)
    assert store.query(Query("segments", group=True)) == []


def test_a_new_agent_beyond_the_limit_is_refused_and_others_are_not(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "MAX_AGENTS", 3)
    folder = shutil.copytree(CONFIG, tmp_path / "config")
    (folder / "agents.json").write_text('{"agents": {"named": {}}}')
    with serving(make_app(store, clock, folder)) as client:
        assert [beat(client, agent)[0] for agent in ("a", "b", "a")] == [202, 202, 202]
        status, answer = beat(client, "c")
        assert (status, answer["code"]) == (429, "too_many_agents")
        assert [beat(client, agent)[0] for agent in ("a", "b", "named")] == [202, 202, 202]
        clock.now += timedelta(days=6)
        beat(client, "b")
        assert beat(client, "c")[0] == 429
        clock.now += timedelta(days=2)
        assert beat(client, "c")[0] == 202  # `a` was silent for a week, and is forgotten
        assert beat(client, "a")[0] == 429


def test_agents_that_beat_while_collection_is_off_take_nobodys_place(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "MAX_AGENTS", 1)
    store.commit([Put(FLAGS, {"ops": {"metrics_collection": False}})])
    assert [beat(client, agent)[0] for agent in ("a", "b")] == [202, 202]


def test_a_beat_goes_by_one_configuration_even_if_it_changes_meanwhile(app: App) -> None:
    class Reloading(Ingest):
        """Its configuration is another one each time that it is asked for."""

        tables: ClassVar[list[SeriesTable]] = []

        def table(self, parse: Any, max_labels: int = MAX_LABELS) -> SeriesTable:
            self._tables_hash = ""
            self.tables.append(super().table(parse, max_labels))
            return self.tables[-1]

    assert heartbeat.beat("support", b"", app, Reloading(app), START)["agent"] == "support"
    assert len(Reloading.tables) == 1


def test_a_broken_configuration_of_agents_is_told_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "agents.json").write_text('{"default": {"intervalSeconds": 0}, "agents": {"a": {"grace": 1}}}')
    with pytest.raises(ConfigError) as caught:
        load_agents(tmp_path)
    assert sorted(fault.partition(":")[0] for fault in caught.value.faults) == [
        "agents.a.grace",
        "default.intervalSeconds",
    ]

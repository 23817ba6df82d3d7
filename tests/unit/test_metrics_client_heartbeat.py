"""Heartbeats of the metrics client over real sockets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import metrics_client
from tests.capturing_ingest import CapturingIngest, Exchange, closing, failing, hanging, taking
from tests.sending import LONG, client_of, wait_until


@pytest.fixture
def server() -> Iterator[CapturingIngest]:
    with CapturingIngest() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_client, "SHORTEST_BEAT", 0.001)


def test_a_beat_arrives_by_itself(server: CapturingIngest) -> None:
    client = client_of(server)
    client.beat("support")
    wait_until(lambda: client.stats.beats == 1)
    client.close()
    (request,) = server.requests
    assert (request.path, request.authorization, request.body) == (
        "/api/metrics/heartbeat/support",
        "Bearer a-key",
        b"",
    )


def test_an_agent_kept_alive_beats_at_once_and_again_until_close(server: CapturingIngest) -> None:
    client = client_of(server)
    client.keep_alive("support", every=0.01)
    client.keep_alive("sales-2.eu", every=LONG)
    wait_until(lambda: server.beats.count("support") > 3)
    client.close()
    assert server.beats.count("sales-2.eu") == 1
    told = len(server.beats)
    assert client.stats.beats == told
    client.beat("support")
    assert (len(server.beats), client.stats.beats_failed) == (told, 1)


def test_an_interval_below_a_second_becomes_one(server: CapturingIngest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_client, "SHORTEST_BEAT", LONG)
    client = client_of(server)
    client.keep_alive("support", every=0.001)
    client.record("x", 1)
    wait_until(lambda: bool(server.beats))
    assert client.flush(30)
    client.close()
    assert server.beats == ["support"]


def test_keeping_an_agent_alive_anew_changes_its_interval_and_a_beat_between_does_not(server: CapturingIngest) -> None:
    client = client_of(server)
    client.keep_alive("support", every=LONG)
    wait_until(lambda: len(server.beats) == 1)
    client.keep_alive("support", every=0.01)
    wait_until(lambda: len(server.beats) > 3)
    client.beat("support")
    told = len(server.beats)
    wait_until(lambda: len(server.beats) > told + 3)
    client.close()


@pytest.mark.parametrize("trouble", [failing(503), failing(401), failing(200), closing, hanging])
def test_a_beat_that_fails_is_counted_and_the_next_one_comes(trouble: Any) -> None:
    with CapturingIngest([trouble]) as server:
        client = client_of(server, timeout=0.2)
        client.keep_alive("support", every=0.01)
        wait_until(lambda: client.stats.beats > 2)
        assert client.stats.beats_failed == 1
        assert client.stats.reasons[0].startswith("heartbeat: ")
        client.close()


def test_why_a_beat_fails_is_told_in_the_apps_log(server: CapturingIngest, caplog: pytest.LogCaptureFixture) -> None:
    server.then = failing(401, "send a valid ingest key")
    client = client_of(server)
    client.beat("support")
    client.close()
    assert "a heartbeat of support failed: 401 send a valid ingest key" in caplog.text
    assert client.stats.reasons == ("heartbeat: 401 send a valid ingest key",)


def test_a_beat_does_not_wait_for_metrics_that_the_server_is_slow_to_take(server: CapturingIngest) -> None:
    def only_beats(exchange: Exchange) -> None:
        (taking if "/heartbeat/" in exchange.path else hanging)(exchange)

    server.then = only_beats
    client = client_of(server, timeout=LONG, max_batch=1)
    client.record("x", 1)
    wait_until(lambda: len(server.requests) == 1)
    client.keep_alive("support", every=0.01)
    wait_until(lambda: client.stats.beats > 3)
    server.stopping.set()
    client.close()


@pytest.mark.parametrize("agent", ["", "a/b", "-a", "ü", "a" * 64, "a b", "a\n", None, 7, ["a"]])
def test_a_name_that_no_agent_has_is_counted_and_never_sent(server: CapturingIngest, agent: Any) -> None:
    client = client_of(server)
    client.beat(agent)
    client.keep_alive(agent)
    client.close()
    assert client.stats.beats_failed == 2
    assert server.requests == []


@pytest.mark.parametrize("every", [float("nan"), 0, -1, "often", object()])
def test_an_interval_that_is_none_is_counted(server: CapturingIngest, every: Any) -> None:
    client = client_of(server)
    client.keep_alive("support", every=every)
    client.close()
    assert client.stats.beats_failed == 1
    assert server.requests == []


def test_agents_that_beat_are_bounded() -> None:
    with CapturingIngest(then=hanging) as server:
        client = client_of(server, timeout=LONG)
        for n in range(metrics_client.MAX_NAMES + 10):
            client.keep_alive(f"agent{n}", every=LONG)
        assert client.stats.beats_failed == 10
        client.close(0.1)


APP = """
import os, sys, time
from metrics_client import MetricsClient
client = MetricsClient(sys.argv[1], "key", flush_seconds=1000)
"""


def run_app(folder: Path, server: CapturingIngest, code: str) -> int:
    (folder / "metrics_client.py").write_bytes(Path(metrics_client.__file__).read_bytes())
    (folder / "app.py").write_text(APP + code)
    return subprocess.run([sys.executable, "app.py", server.url], cwd=folder, timeout=60, check=False).returncode


def test_a_job_that_ends_at_once_has_beaten(server: CapturingIngest, tmp_path: Path) -> None:
    assert run_app(tmp_path, server, "client.beat('nightly')\n") == 0
    assert server.beats == ["nightly"]


def test_a_forked_child_does_not_beat_for_its_parent(server: CapturingIngest, tmp_path: Path) -> None:
    code = """
client.keep_alive("parent", every=1000)
while not client.stats.beats:
    time.sleep(0.01)
if os.fork() == 0:
    client.beat("child")
    sys.exit()
os.wait()
"""
    assert run_app(tmp_path, server, code) == 0
    assert server.beats == ["parent", "child"]

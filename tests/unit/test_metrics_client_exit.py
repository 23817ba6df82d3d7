"""How the metrics client ends: flush, close, exit, SIGTERM and fork, in real processes and real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import metrics_client
from tests.capturing_ingest import CapturingIngest, failing, hanging, taking
from tests.sending import LONG, client_of, wait_until

CLIENT_FILE = Path(metrics_client.__file__)


@pytest.fixture
def server() -> Iterator[CapturingIngest]:
    with CapturingIngest() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(metrics_client, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(metrics_client, "PAUSE_WHEN_CLOSING", 0.01)


# Flush, close, exit, fork


def test_flush_of_nothing_is_done_at_once(server: CapturingIngest) -> None:
    client = client_of(server)
    assert client.flush(0)
    client.close()
    assert server.requests == []


def test_flush_gives_up_after_its_time() -> None:
    with CapturingIngest(then=hanging) as server:
        client = client_of(server)
        client.record("x", 1)
        assert not client.flush(0.05)
        client.close(0.1)


def test_close_sends_what_waits_and_what_comes_later_is_dropped(server: CapturingIngest) -> None:
    client = client_of(server)
    client.record("x", 1)
    client.close()
    client.record("x", 2)
    client.close()
    assert [metric["value"] for metric in server.metrics] == [1]
    assert (client.stats.accepted, client.stats.dropped) == (1, 1)


def test_close_ends_in_time_though_the_server_never_answers() -> None:
    with CapturingIngest(then=hanging) as server:
        client = client_of(server, max_batch=1, timeout=LONG)
        for n in range(5):
            client.record("x", n)
        client.close(0.3)
        wait_until(lambda: client.stats.lost == 5)


def test_close_cuts_a_long_pause_short(server: CapturingIngest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_client, "FIRST_PAUSE", LONG)
    monkeypatch.setattr(metrics_client, "LONGEST_PAUSE", LONG)
    server.then = failing(503)
    client = client_of(server)
    client.record("x", 1)
    assert not client.flush(0.1)
    server.then = taking
    client.close()
    assert client.stats.accepted == 1


APP = """
import os, sys, time
from metrics_client import MetricsClient
client = MetricsClient(sys.argv[1], "key", flush_seconds=1000)
"""


def start_app(folder: Path, server: CapturingIngest, code: str) -> subprocess.Popen[str]:
    """A process that has only the one file and the standard library."""
    (folder / "metrics_client.py").write_bytes(CLIENT_FILE.read_bytes())
    (folder / "app.py").write_text(APP + code)
    return subprocess.Popen([sys.executable, "-S", "-E", "app.py", server.url], cwd=folder, text=True)


def test_what_waits_is_sent_when_the_interpreter_exits(server: CapturingIngest, tmp_path: Path) -> None:
    code = "for n in range(1234): client.record('x', n)\n"
    assert start_app(tmp_path, server, code).wait(60) == 0
    assert [metric["value"] for metric in server.metrics] == list(range(1234))


def test_it_is_also_sent_when_the_app_ends_by_an_error(server: CapturingIngest, tmp_path: Path) -> None:
    assert start_app(tmp_path, server, "client.record('x', 1)\nsys.exit('the app failed')\n").wait(60) == 1
    assert len(server.metrics) == 1


def test_exit_does_not_wait_for_ever_on_a_server_that_hangs(tmp_path: Path) -> None:
    with CapturingIngest(then=hanging) as server:
        assert start_app(tmp_path, server, "client.record('x', 1)\n").wait(60) == 0


def test_children_send_their_own_metrics_and_the_parents_only_once(server: CapturingIngest, tmp_path: Path) -> None:
    code = """
client.record("parent", 1)             # waits in the queue, and the thread runs, while the children are made
for child in range(3):
    if os.fork() == 0:
        for n in range(100):
            client.record(f"child{child}", n)
        sys.exit()
for child in range(3):
    os.wait()
client.record("parent", 2)
"""
    assert start_app(tmp_path, server, code).wait(60) == 0
    values: dict[str, list[float]] = {}
    for metric in server.metrics:
        values.setdefault(metric["name"], []).append(metric["value"])
    hundred = list(range(100))
    assert values == {"parent": [1, 2], "child0": hundred, "child1": hundred, "child2": hundred}


GUNICORN_APP = """
import os
from metrics_client import MetricsClient
client = MetricsClient(os.environ["URL"], "key", flush_seconds=1000)
client.record("loaded", 1)

def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]

app = client.wsgi(hello)
"""


def test_under_gunicorn_with_preload_every_request_of_every_worker_is_counted(
    server: CapturingIngest, tmp_path: Path
) -> None:
    (tmp_path / "metrics_client.py").write_bytes(CLIENT_FILE.read_bytes())
    (tmp_path / "shop.py").write_text(GUNICORN_APP)
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "2"]
    command += ["--bind", "127.0.0.1:0", "--log-level", "info", "--no-control-socket", "shop:app"]
    environment = {**os.environ, "URL": server.url}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        url = next(line.split("Listening at: ")[1].split()[0] for line in process.stderr if "Listening" in line)
        for _ in range(60):
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert answer.read() == b"hello"
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        process.stderr.close()
        assert process.wait(60) == 0
    names = [metric["name"] for metric in server.metrics]
    assert names.count("api_latency") == 60
    assert names.count("loaded") == 1


def test_the_file_needs_nothing_but_the_standard_library(tmp_path: Path, server: CapturingIngest) -> None:
    code = """
foreign = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__", "metrics_client"}
assert not foreign, foreign
"""
    assert start_app(tmp_path, server, code).wait(60) == 0

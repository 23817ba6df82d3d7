"""The shop and its metrics client for real, and `.venv/bin/python -m demo` as a user runs it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.load import Load
from demo.processes import ROOT, Process, clean_environment, start_shop
from demo.story import Shop
from tests.capturing_ingest import CapturingIngest, closing, failing, losing_the_reply


class RunningShop:
    """The shop in a process of its own, and what its visitors saw of it."""

    def __init__(self, process: Process, port: int, token: str) -> None:
        self.process = process
        self.port = port
        self.token = token
        self.seen: Counter[tuple[str, str, str]] = Counter()

    def visit(self, method: str, path: str, body: object = None, *, endpoint: str | None = None) -> int:
        status = self.ask(method, path, body)
        self.seen[endpoint or path, method, str(status)] += 1
        return status

    def ask(self, method: str, path: str, body: object = None, token: str | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


@pytest.fixture
def ingest() -> Iterator[CapturingIngest]:
    with CapturingIngest() as server:
        yield server


@pytest.fixture
def shop(ingest: CapturingIngest, tmp_path: Path) -> Iterator[RunningShop]:
    port = free_ports()
    process, token = start_shop(port, ingest.url, "the-key", tmp_path)
    with process:
        running = RunningShop(process, port, token)
        end = time.monotonic() + 60
        while not Shop(port, token).answers():
            assert not process.ended, process.last_words()
            assert time.monotonic() < end, process.last_words()
            time.sleep(0.05)
        wait_until_taken(ingest, "/api/health")  # the question above is a request too; the tests count from here
        yield running


def free_ports() -> int:
    """A port that is free, and so is the next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def wait_until_taken(ingest: CapturingIngest, endpoint: str) -> None:
    end = time.monotonic() + 30
    while not any(metric["labels"].get("endpoint") == endpoint for metric in ingest.metrics):
        assert time.monotonic() < end, f"no metric of {endpoint} came"
        time.sleep(0.02)
    with ingest.lock:
        ingest.batches.clear()


def recorded(ingest: CapturingIngest) -> Counter[tuple[str, str, str]]:
    return Counter(
        (m["labels"]["endpoint"], m["labels"]["method"], m["labels"]["status"])
        for m in ingest.metrics
        if m["name"] == "api_latency"
    )


def values(ingest: CapturingIngest, name: str) -> list[float]:
    return [metric["value"] for metric in ingest.metrics if metric["name"] == name]


def visit_everything(shop: RunningShop) -> None:
    for n in range(20):
        assert shop.visit("GET", "/api/orders") == 200
        assert shop.visit("POST", "/api/orders", {"user": n, "item": "lamp"}) == 201
        assert shop.visit("GET", f"/api/users/{n}", endpoint="/api/users/:user_id") == 200
        assert shop.visit("POST", "/api/agent", {"question": "Where is my lamp?"}) == 200
    for _ in range(3):
        assert shop.visit("POST", "/api/agent", {"question": " "}) == 422
        assert shop.visit("GET", "/api/nothing/of/this/kind", endpoint="unknown") == 404
        assert shop.visit("DELETE", "/api/orders", endpoint="unknown") == 405
        assert shop.visit("POST", "/api/orders", {"user": "nobody"}) == 400
    assert shop.visit("GET", "/api/health") == 200


def test_every_request_is_one_metric_with_its_route_method_and_status(
    ingest: CapturingIngest, shop: RunningShop
) -> None:
    visit_everything(shop)
    shop.process.stop()
    assert recorded(ingest) == shop.seen
    assert Counter(values(ingest, "agent_success_rate")) == {1: 20, 0: 3}
    assert len(values(ingest, "firestore_write_latency")) == 20
    assert {metric["name"] for metric in ingest.metrics} == {
        "api_latency",
        "agent_success_rate",
        "firestore_write_latency",
    }


def test_the_count_is_exact_though_the_ingest_server_fails_now_and_then(
    ingest: CapturingIngest, shop: RunningShop
) -> None:
    ingest.script[:] = [losing_the_reply, failing(503), closing, losing_the_reply]
    visit_everything(shop)
    shop.process.stop()
    assert ingest.script == []
    assert recorded(ingest) == shop.seen
    assert Counter(values(ingest, "agent_success_rate")) == {1: 20, 0: 3}


def test_under_the_demos_load_no_request_is_missed_and_none_counted_twice(
    ingest: CapturingIngest, shop: RunningShop
) -> None:
    load = Load(shop.port, rate=80, threads=16)
    load.start()
    end = time.monotonic() + 60
    while load.sent < 200:
        assert time.monotonic() < end, "the visitors do not come"
        time.sleep(0.05)
    load.stop()
    shop.process.stop()
    assert sum(recorded(ingest).values()) == load.sent
    assert {status for _, _, status in recorded(ingest)} == {"200", "201"}


def test_the_shop_can_be_slowed(ingest: CapturingIngest, shop: RunningShop) -> None:
    Shop(shop.port, shop.token).trouble(slow_ms=300)
    shop.visit("GET", "/api/orders")
    shop.process.stop()
    assert recorded(ingest) == shop.seen
    assert min(values(ingest, "api_latency")) >= 300


def test_the_shop_can_be_broken_and_repaired(ingest: CapturingIngest, shop: RunningShop) -> None:
    Shop(shop.port, shop.token).trouble(broken=True)
    assert shop.visit("GET", "/api/orders") == 500
    assert shop.visit("GET", "/api/users/7", endpoint="/api/users/:user_id") == 500
    assert shop.visit("POST", "/api/agent", {"question": "Why?"}) == 200
    assert shop.visit("GET", "/api/health") == 503
    Shop(shop.port, shop.token).trouble()
    assert shop.visit("GET", "/api/orders") == 200
    shop.process.stop()
    assert recorded(ingest) == shop.seen


def test_nobody_without_the_token_can_trouble_the_shop(shop: RunningShop) -> None:
    trouble = {"slow_ms": 0, "broken": True}
    assert shop.ask("POST", "/_demo", trouble) == 403
    assert shop.ask("POST", "/_demo", trouble, token="guessed") == 403
    assert shop.ask("POST", "/_demo", {"broken": 1}, token=shop.token) == 400
    assert shop.ask("GET", "/api/orders") == 200


# The demo as a whole


def start_demo(folder: Path, port: int) -> subprocess.Popen[str]:
    """With a home for its throw-away folder, in a session by which everything it leaves can be found."""
    environment = {**clean_environment(os.environ), "TMPDIR": str(folder), "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/"}
    command = [sys.executable, "-u", "-m", "demo", "--fast", "--port", str(port)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )


def read_until(process: subprocess.Popen[str], sentence: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if sentence in text:
            return text
    raise AssertionError(f"the demo ended without: {sentence}\n{text}")


def processes_of(folder: Path) -> list[int]:
    """Processes that were given the folder, by their environment or arguments."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdecimal():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue  # it ended, or is not ours
            if bytes(folder) in told:
                found.append(int(entry.name))
    return found


def nothing_is_left(folder: Path, port: int) -> bool:
    for used in (port, port + 1):
        with socket.socket() as probe:
            probe.settimeout(5)
            if probe.connect_ex(("127.0.0.1", used)) == 0:
                return False
    return processes_of(folder) == []


def test_one_command_shows_the_whole_story(tmp_path: Path) -> None:
    port = free_ports()
    demo = start_demo(tmp_path, port)
    output, _ = demo.communicate(timeout=400)
    assert demo.returncode == 0, output
    places = [output.find(sentence) for sentence in STORY]
    assert -1 not in places, (STORY[places.index(-1)], output)
    assert places == sorted(places), output
    assert "Slack also heard" not in output
    assert "\033" not in output  # no colours where nobody looks
    assert nothing_is_left(tmp_path, port)
    assert list(tmp_path.iterdir()) == []


STORY = [
    "The status page says: operational",
    "I slow the shop by 500 ms",
    "“API Latency (p95)” fires, a warning",
    "🟡 API Latency (p95): firing",
    "The status page shows the API: degraded",
    "🟢 API Latency (p95): resolved",
    "The incident is resolved",
    "I break it: 5xx",
    "“API Availability (page)” fires, critical",
    "🔴 API Availability (page): firing",
    "The status page shows the API: outage",
    "The whole page says: operational",
    "🟢 API Availability (page): resolved",
    "🟡 API Availability (ticket): firing",
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["The shop", "1  All is well"])
def test_whoever_ends_it_finds_nothing_left(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    port = free_ports()
    demo = start_demo(tmp_path, port)
    try:
        read_until(demo, moment)
        demo.send_signal(number)
        demo.communicate(timeout=60)
        assert demo.returncode == 130
        assert nothing_is_left(tmp_path, port)
        assert list(tmp_path.iterdir()) == []
    finally:
        demo.kill()
        demo.wait()


def test_a_server_that_dies_is_told_with_its_log(tmp_path: Path) -> None:
    demo = start_demo(tmp_path, free_ports())
    try:
        read_until(demo, "1  All is well")
        (folder,) = tmp_path.iterdir()
        holder = json.loads((folder / "data" / "server.lock").read_text())
        os.kill(holder["process"], signal.SIGKILL)
        output, _ = demo.communicate(timeout=60)
        assert demo.returncode == 1
        assert "F0 Ops has ended" in output
        assert (folder / "server.log").exists()
        assert processes_of(tmp_path) == []
    finally:
        demo.kill()
        demo.wait()


@pytest.mark.parametrize("taken", [0, 1])
def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path, taken: int) -> None:
    port = free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + taken))
        other.listen()
        demo = start_demo(tmp_path, port)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert f"Port {port + taken} is in use" in output
    assert list(tmp_path.iterdir()) == []

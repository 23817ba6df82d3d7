"""How the metrics client ends: flush, close, exit, SIGTERM and fork, in real processes and real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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


def start_app(folder: Path, server: CapturingIngest, code: str, stdout: int | None = None) -> subprocess.Popen[str]:
    """A process that has only the one file and the standard library."""
    (folder / "metrics_client.py").write_bytes(CLIENT_FILE.read_bytes())
    (folder / "app.py").write_text(APP + code)
    return subprocess.Popen([sys.executable, "-S", "-E", "app.py", server.url], cwd=folder, stdout=stdout, text=True)


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


def test_forked_children_do_not_draw_the_same_samples(server: CapturingIngest, tmp_path: Path) -> None:
    code = """
client = MetricsClient(sys.argv[1], "key", flush_seconds=1000, sample_one_in={"x": 2})
for child in "one", "two":
    if os.fork() == 0:
        for n in range(200):
            client.record("x", n, child=child)
        sys.exit()
    os.wait()
"""
    assert start_app(tmp_path, server, code).wait(60) == 0
    one, two = ({m["value"] for m in server.metrics if m["labels"]["child"] == child} for child in ("one", "two"))
    assert one != two


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


# SIGTERM


def wait_for(text: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any(line.strip() == text for line in process.stdout), "the app has ended"


def start_and_tell(folder: Path, server: CapturingIngest, code: str) -> subprocess.Popen[str]:
    """The app, once it has said that it is ready. To be ended with `end`."""
    process = start_app(folder, server, code, stdout=subprocess.PIPE)
    wait_for("ready", process)
    return process


def end(process: subprocess.Popen[str]) -> int:
    """The return code: minus the number of the signal that ended it."""
    assert process.stdout is not None
    with process.stdout:
        return process.wait(60)


WAIT = """
print("ready", flush=True)
time.sleep(1000)
"""
LOOP = """
print("ready", flush=True)
n = 0
while True:
    n += 1
    client.record("loop", n)
    if n % 100 == 0:
        time.sleep(0.001)
"""


@pytest.mark.parametrize(
    "doing", [WAIT, LOOP, "import threading\nprint('ready', flush=True)\nthreading.Event().wait()\n"]
)
def test_sigterm_sends_what_waits_and_ends_the_process_as_ever(
    server: CapturingIngest, tmp_path: Path, doing: str
) -> None:
    process = start_and_tell(tmp_path, server, "client.record('x', 1)\nclient.keep_alive('support')\n" + doing)
    process.terminate()
    assert end(process) == -signal.SIGTERM
    assert server.metrics[0]["name"] == "x"
    values = [metric["value"] for metric in server.metrics if metric["name"] == "loop"]
    assert values == list(range(1, len(values) + 1))


def test_sigterm_ends_the_process_soon_though_several_servers_hang(tmp_path: Path) -> None:
    with CapturingIngest(then=hanging) as server:
        code = "others = [MetricsClient(sys.argv[1], 'key') for _ in range(19)]\n"
        code += "for one in [client, *others]: one.record('x', 1)\n"
        process = start_and_tell(tmp_path, server, code + WAIT)
        process.terminate()
        assert end(process) == -signal.SIGTERM  # one after the other they would outlast its patience


def test_a_second_sigterm_ends_the_process_at_once(tmp_path: Path) -> None:
    with CapturingIngest(then=hanging) as server:
        process = start_and_tell(tmp_path, server, "client.record('x', 1)\n" + WAIT)
        process.terminate()
        wait_until(lambda: len(server.requests) == 1)  # it is closing, and waits for an answer
        process.terminate()
        assert end(process) == -signal.SIGTERM


def test_without_it_sigterm_is_left_as_it_was(server: CapturingIngest, tmp_path: Path) -> None:
    code = "client.close()\nimport signal\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
    code += "client = MetricsClient(sys.argv[1], 'key', flush_seconds=1000, flush_on_sigterm=False)\n"
    process = start_and_tell(tmp_path, server, code + "client.record('x', 1)\n" + WAIT)
    process.terminate()
    assert end(process) == -signal.SIGTERM
    assert server.metrics == []


def test_a_client_made_in_another_thread_leaves_sigterm_alone(server: CapturingIngest) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        thread = threading.Thread(target=lambda: client_of(server).close())
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


OWN_HANDLER = r"""
import signal
def own(number, frame):
    os.write(1, b"own\n")  # print may not be interrupted by itself
    sys.exit(7)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_apps_own_handler_alone_decides(server: CapturingIngest, tmp_path: Path, when: str) -> None:
    make = "client = MetricsClient(sys.argv[1], 'key', flush_seconds=1000)\n"
    install = "signal.signal(signal.SIGTERM, own)\n"
    code = OWN_HANDLER + (install + make if when == "before" else make + install)
    process = start_and_tell(tmp_path, server, code + "client.record('x', 1)\n" + WAIT)
    process.terminate()
    wait_for("own", process)
    assert end(process) == 7
    assert len(server.metrics) == 1  # at exit


def test_an_app_that_ignores_sigterm_goes_on_and_so_does_its_client(server: CapturingIngest, tmp_path: Path) -> None:
    code = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
client = MetricsClient(sys.argv[1], "key", flush_seconds=1000)
os.kill(os.getpid(), signal.SIGTERM)
client.record("x", 1)
print("ready", flush=True)
"""
    assert end(start_and_tell(tmp_path, server, code)) == 0
    assert len(server.metrics) == 1


def test_an_app_that_calls_the_handler_before_its_own_lives_on_with_everything_sent(
    server: CapturingIngest, tmp_path: Path
) -> None:
    code = r"""
import signal
called = []
def own(number, frame):
    before(number, frame)
    os.write(1, b"flushed\n")
    called.append(number)
before = signal.signal(signal.SIGTERM, own)
client.record("x", 1)
print("ready", flush=True)
while not called:
    time.sleep(0.01)
client.record("x", 2)
"""
    process = start_and_tell(tmp_path, server, code)
    process.terminate()
    wait_for("flushed", process)
    assert server.metrics[0]["value"] == 1
    assert end(process) == 0
    assert [metric["value"] for metric in server.metrics] == [1, 2]


def test_a_terminated_child_of_multiprocessing_sends_what_it_has(server: CapturingIngest, tmp_path: Path) -> None:
    code = """
import multiprocessing
def work(ready):
    client.record("child", 1)
    ready.set()
    time.sleep(1000)
fork = multiprocessing.get_context("fork")
ready = fork.Event()
child = fork.Process(target=work, args=(ready,))
child.start()
ready.wait()
child.terminate()
child.join()
print("ready", flush=True)
sys.exit(child.exitcode != -15)
"""
    assert end(start_and_tell(tmp_path, server, code)) == 0
    assert [metric["name"] for metric in server.metrics] == ["child"]


WHO = """
import os
from metrics_client import MetricsClient
client = MetricsClient(os.environ["URL"], "key", flush_seconds=1000)
"""
GUNICORN_PID_APP = (
    WHO
    + """
def who(environ, start_response):
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

app = client.wsgi(who)
"""
)


@contextmanager
def gunicorn(folder: Path, server: CapturingIngest, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    (folder / "metrics_client.py").write_bytes(CLIENT_FILE.read_bytes())
    (folder / "who.py").write_text(GUNICORN_PID_APP)
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", *options, "who:app"]
    environment = {**os.environ, "URL": server.url}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield process, next(line.split("at: ")[1].split()[0] for line in process.stderr if "Listening" in line)
    finally:
        process.terminate()
        process.stderr.read()
        process.stderr.close()
        assert process.wait(60) == 0


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("kind", ["sync", "gthread"])
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_a_gunicorn_worker_that_is_terminated_sends_its_last_samples_and_is_replaced(
    server: CapturingIngest, tmp_path: Path, kind: str, preload: list[str]
) -> None:
    with gunicorn(tmp_path, server, "--worker-class", kind, *preload) as (_, url):
        worker = read(url)
        assert {read(url) for _ in range(9)} == {worker}
        os.kill(int(worker), signal.SIGTERM)
        wait_until(lambda: len(server.metrics) == 10)
        assert read(url) != worker
    assert len(server.metrics) == 11


UVICORN_APP = (
    WHO
    + """
import uvicorn

async def hello(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

uvicorn.run(client.asgi(hello), port=0, lifespan="off", log_level="info")
"""
)


def test_uvicorn_ends_gracefully_on_sigterm_and_the_last_samples_arrive(
    server: CapturingIngest, tmp_path: Path
) -> None:
    (tmp_path / "metrics_client.py").write_bytes(CLIENT_FILE.read_bytes())
    (tmp_path / "app.py").write_text(UVICORN_APP)
    environment = {**os.environ, "URL": server.url}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr:
        url = next(line.split("running on ")[1].split()[0] for line in process.stderr if "running on" in line)
        assert [read(url) for _ in range(5)] == ["ok"] * 5
        process.terminate()
        assert "Finished server process" in process.stderr.read()
    assert process.wait(60) == -signal.SIGTERM
    assert len(server.metrics) == 5

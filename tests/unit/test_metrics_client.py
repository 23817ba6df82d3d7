"""The metrics client against real servers that fail, hang, drip, lie and lose the reply; exit and fork for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from shared import metrics_client
from shared.domain.series import scrub_labels
from shared.metrics_client import MAX_BODY_BYTES, MetricsClient
from tests.capturing_ingest import (
    Behaviour,
    CapturingIngest,
    answering,
    closing,
    dripping,
    failing,
    garbage,
    half_an_answer,
    hanging,
    late,
    losing_the_reply,
    taking,
)

CLIENT_FILE = Path(metrics_client.__file__)
LONG = 1000.0  # seconds: what should not be waited for, is not


@pytest.fixture
def server() -> Iterator[CapturingIngest]:
    with CapturingIngest() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(metrics_client, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(metrics_client, "PAUSE_WHEN_CLOSING", 0.01)


def client_of(server: CapturingIngest, **options: Any) -> MetricsClient:
    return MetricsClient(server.url, "a-key", **{"flush_seconds": LONG, **options})


def calls_accounted_for(client: MetricsClient) -> int:
    s = client.stats
    return s.accepted + s.rejected + s.lost + s.dropped + s.queued + s.sending


# What is sent


def test_a_metric_arrives_as_it_was_recorded(server: CapturingIngest) -> None:
    client = client_of(server, clock=lambda: 1_700_000_000.1234)
    client.record("api_latency", 123.4, endpoint="/api/orders", method="GET", status=200)
    client.record("token_cost", 2, aggregation="sum", name="a label may be called name")
    client.close()
    (request,) = server.requests
    assert (request.path, request.authorization) == ("/api/metrics", "Bearer a-key")
    assert request.payload["metrics"] == [
        {
            "name": "api_latency",
            "value": 123.4,
            "labels": {"endpoint": "/api/orders", "method": "GET", "status": "200"},
            "timestamp": 1_700_000_000_123,
        },
        {
            "name": "token_cost",
            "value": 2,
            "labels": {"name": "a label may be called name"},
            "timestamp": 1_700_000_000_123,
            "aggregation": "sum",
        },
    ]


def test_a_url_may_have_a_path_of_its_own(server: CapturingIngest) -> None:
    client = MetricsClient(server.url + "/ops/", "key")
    client.record("x", 1)
    client.close()
    assert server.requests[0].path == "/ops/api/metrics"


def test_a_full_batch_is_sent_without_waiting_for_the_interval(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=10)
    for n in range(25):
        client.record("x", n)
    wait_until(lambda: client.stats.accepted == 20)
    assert [len(batch) for batch in server.batches.values()] == [10, 10]
    assert client.stats.queued == 5
    client.close()


def test_a_batch_of_one_needs_no_interval(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=1)
    client.record("x", 1)
    wait_until(lambda: client.stats.accepted == 1)
    client.close()


def test_what_waits_is_sent_at_the_interval(server: CapturingIngest) -> None:
    client = client_of(server, flush_seconds=0.01)
    client.record("x", 1)
    wait_until(lambda: client.stats.accepted == 1)
    client.record("x", 2)
    wait_until(lambda: client.stats.accepted == 2)
    client.close()


def test_no_body_exceeds_a_mebibyte_and_each_has_an_id_of_its_own(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=10_000)
    for n in range(3000):
        client.record("x", n, text="ü" * 500)
    client.close(timeout=30)
    assert len(server.batches) == len(server.requests) > 1
    assert max(len(request.body) for request in server.requests) <= MAX_BODY_BYTES
    assert [metric["value"] for metric in server.metrics] == list(range(3000))


def test_a_metric_too_large_for_any_body_is_rejected_alone(server: CapturingIngest) -> None:
    client = client_of(server)
    client.record("x", 1)
    client.record("x", 2, **{f"label{n}": "x" * 1000 for n in range(6000)})
    client.record("x", 3)
    client.close()
    assert [metric["value"] for metric in server.metrics] == [1, 3]
    assert client.stats.rejected == 1


def test_a_long_label_is_cut_to_what_the_server_takes_so_that_the_sample_counts(server: CapturingIngest) -> None:
    client = client_of(server)
    client.record("api_latency", 1, endpoint="x" * 5000, **{"n" * 100: "y" * 200})
    client.record("api_latency", 2, endpoint="/a/" + "b" * 190 + "/ada.lovelace@example.com")
    client.close()
    first, second = (metric["labels"] for metric in server.metrics)
    assert first == {"endpoint": "x" * 200, "n" * 63: "y" * 200}
    assert second == {"endpoint": "/a/" + "b" * 190 + "/"}  # not `ada.lo`, which nobody would know for an address
    assert [scrub_labels(labels)[1] for labels in (first, second)] == [[], []]


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "twelve", None, object()])
def test_what_is_no_finite_number_is_refused_and_spoils_nothing(server: CapturingIngest, value: Any) -> None:
    client = client_of(server)
    client.record("x", value)
    client.record("x", 1)
    client.close()
    assert [metric["value"] for metric in server.metrics] == [1]
    assert (client.stats.accepted, client.stats.rejected) == (1, 1)


def test_a_label_without_a_text_or_with_a_broken_one_spoils_nothing(server: CapturingIngest) -> None:
    client = client_of(server)
    client.record("x", 1, label=Unspeakable())  # type: ignore[arg-type]
    client.record("x", 2, label="half a pair: \ud83d")
    client.record("x", 3, aggregation=object())  # type: ignore[arg-type]
    client.record("x", 4)
    client.close()
    assert [metric["value"] for metric in server.metrics] == [2, 4]
    assert (client.stats.accepted, client.stats.rejected) == (2, 2)


# Failures


@pytest.mark.parametrize(
    "trouble",
    [
        failing(500),
        failing(503),
        failing(429, headers={"Retry-After": "0"}),
        failing(408),
        closing,
        losing_the_reply,
        half_an_answer,
        garbage,
        hanging,
        dripping,
        late(0.5),
        answering("not what an ingest server says"),
        answering({"accepted": "many"}),
    ],
)
def test_after_trouble_the_same_batch_comes_again_and_counts_once(trouble: Behaviour) -> None:
    with CapturingIngest([trouble, trouble]) as server:
        client = client_of(server, timeout=0.2)
        for n in range(7):
            client.record("x", n)
        assert client.flush(30)
        assert [metric["value"] for metric in server.metrics] == list(range(7))
        assert len({request.body for request in server.requests}) == 1
        assert len(server.requests) == 3
        assert client.stats.accepted == 7
        client.close()


def test_a_server_that_is_not_there_yet_is_tried_again() -> None:
    with CapturingIngest() as server:
        port = server.port
    client = MetricsClient(server.url, "key", flush_seconds=LONG)
    client.record("x", 1)
    with CapturingIngest([failing(503)] * 2, port=port) as server:
        assert client.flush(30)
        assert len(server.metrics) == 1
    client.close()


def test_after_the_last_attempt_a_batch_is_lost_and_the_next_has_its_turn() -> None:
    with CapturingIngest([failing(500, "broken")] * metrics_client.ATTEMPTS) as server:
        client = client_of(server, max_batch=2)
        for n in range(4):
            client.record("x", n)
        assert client.flush(30)
        assert (client.stats.lost, client.stats.accepted) == (2, 2)
        assert client.stats.reasons == ("500 broken",)
        assert [metric["value"] for metric in server.metrics] == [2, 3]
        client.close()


def test_retry_after_rules_over_the_clients_own_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_client, "FIRST_PAUSE", LONG)
    monkeypatch.setattr(metrics_client, "LONGEST_PAUSE", LONG)
    with CapturingIngest([failing(429, headers={"Retry-After": "0"})]) as server:
        client = client_of(server)
        client.record("x", 1)
        assert client.flush(30)
        client.close()


def test_a_pause_that_the_server_asks_for_is_kept(server: CapturingIngest) -> None:
    server.then = failing(429, headers={"Retry-After": "1000"})
    client = client_of(server)
    client.record("x", 1)
    assert not client.flush(0.3)  # with the short pauses of these tests all attempts would be over by now
    assert len(server.requests) == 1
    server.then = taking
    client.close()
    assert client.stats.accepted == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302, 200])
def test_a_refused_batch_is_rejected_and_never_sent_again(server: CapturingIngest, status: int) -> None:
    server.then = failing(status, "because", {"Location": server.url})
    client = client_of(server)
    client.record("x", 1)
    client.record("x", 2)
    assert client.flush(30)
    assert (client.stats.rejected, len(server.requests)) == (2, 1)
    assert client.stats.reasons == (f"{status} because",)
    client.close()


def test_what_a_202_rejects_is_counted_and_its_reasons_kept(server: CapturingIngest) -> None:
    reasons = [{"index": n, "reasons": [f"name {n}: is not known", "value: bad"]} for n in range(7)]
    server.then = answering({"accepted": 3, "rejected": reasons, "duplicate": False})
    client = client_of(server)
    for n in range(10):
        client.record("x", n)
    assert client.flush(30)
    assert (client.stats.accepted, client.stats.rejected) == (3, 7)
    assert client.stats.reasons == tuple(f"name {n}: is not known, value: bad" for n in range(2, 7))
    client.close()


def test_a_server_that_collects_nothing_is_believed(server: CapturingIngest) -> None:
    server.then = answering({"accepted": 0, "rejected": [], "stored": False, "notice": "switched off"})
    client = client_of(server)
    client.record("x", 1)
    assert client.flush(30)
    assert (client.stats.rejected, client.stats.reasons) == (1, ("switched off",))
    client.close()


def test_a_nonsensical_list_of_rejections_harms_nothing(server: CapturingIngest) -> None:
    server.then = answering({"accepted": 10**30, "rejected": [7, {"reasons": 3}, None]})
    client = client_of(server)
    client.record("x", 1)
    assert client.flush(30)
    assert client.stats.accepted == 1
    client.close()


def test_losses_are_told_in_the_apps_log_without_the_key(
    server: CapturingIngest, caplog: pytest.LogCaptureFixture
) -> None:
    server.then = failing(401, "send a valid ingest key")
    client = client_of(server)
    client.record("x", 1)
    assert client.flush(30)
    wait_until(lambda: bool(caplog.text))  # it is written just after it is counted
    assert "1 metrics rejected, 0 lost: 401 send a valid ingest key" in caplog.text
    assert "a-key" not in caplog.text
    client.close()


# Bounds, threads


def test_beyond_the_bound_the_newest_are_dropped_and_counted() -> None:
    with CapturingIngest([hanging]) as server:
        client = client_of(server, max_queue=100, max_batch=10)
        client.record("x", 0)
        client.flush(0.01)
        wait_until(lambda: len(server.requests) == 1)
        for n in range(1, 1000):
            client.record("x", n)
        assert client.stats.queued == 100
        assert client.stats.dropped == 899
        server.stopping.set()
        assert client.flush(30)
        assert [metric["value"] for metric in server.metrics] == list(range(101))
        client.close()


def test_what_waits_takes_bounded_memory_however_long_the_labels() -> None:
    with CapturingIngest() as server:
        client = client_of(server, max_queue=1000, max_batch=10_000)
        tracemalloc.start()
        for n in range(5000):
            client.record("x" * 100_000, n, label=chr(65 + n % 26) * 100_000)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 4_000_000
        client.close()


def test_recording_from_many_threads_loses_nothing(server: CapturingIngest) -> None:
    client = client_of(server, max_queue=100_000, flush_seconds=0.01)
    threads = [threading.Thread(target=record_many, args=(client, t)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close(30)
    assert sorted(metric["value"] for metric in server.metrics) == list(range(16_000))
    assert client.stats.accepted == 16_000


def test_every_call_is_accounted_for_when_threads_meet_a_full_queue(server: CapturingIngest) -> None:
    client = client_of(server, max_queue=50, max_batch=10)
    threads = [threading.Thread(target=record_many, args=(client, t)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls_accounted_for(client) == 16_000
    client.close(30)
    assert calls_accounted_for(client) == 16_000
    assert client.stats.accepted == len(server.metrics) == 16_000 - client.stats.dropped


def record_many(client: MetricsClient, thread: int) -> None:
    for n in range(2000):
        client.record("x", thread * 2000 + n)


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


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    return cert, key


def test_a_trusted_server_is_spoken_to_over_tls(certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with CapturingIngest([dripping], tls=certificate) as server:
        client = client_of(server, timeout=0.5)
        client.record("x", 1)
        assert client.flush(30)
        assert len(server.metrics) == 1
        client.close()


def test_a_server_that_nobody_vouches_for_gets_nothing(certificate: tuple[str, str]) -> None:
    with CapturingIngest(tls=certificate) as server:
        client = client_of(server)
        client.record("x", 1)
        assert client.flush(30)
        client.close()
        assert client.stats.lost == 1
        assert client.stats.reasons == ("no answer: SSLCertVerificationError",)
        assert server.requests == []


# Timer and WSGI


def test_the_timer_records_milliseconds_also_when_the_block_fails(server: CapturingIngest) -> None:
    client = client_of(server)
    with client.time("db_latency", table="orders") as timer:
        timer.labels["rows"] = 3
        time.sleep(0.02)
    with suppress(KeyError), client.time("db_latency", table="users"):
        raise KeyError
    client.close()
    slow, failed = server.metrics
    assert slow["labels"] == {"table": "orders", "rows": "3"}
    assert slow["value"] >= 20
    assert failed["labels"] == {"table": "users"}


def call(app: Any, path: str = "/api/orders") -> tuple[str, bytes]:
    """Status and body of an app, called as a strict server calls it."""
    environ: dict[str, Any] = {"PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    seen: list[str] = []

    def start_response(status: str, headers: Any, error: Any = None) -> Callable[[bytes], None]:
        seen.append(status)
        return lambda data: None

    parts = app(environ, start_response)
    try:
        body = b"".join(parts)
    finally:
        parts.close()
    return seen[-1], body


def plain(status: str) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("Content-Type", "text/plain")])
        return [b"one ", b"two"]

    return app


def test_the_middleware_records_each_request_once(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=1)
    app = validator(client.wsgi(validator(plain("404 Not Found")), endpoint=lambda environ: "/api/:kind"))
    assert call(app) == ("404 Not Found", b"one two")
    client.close()
    (metric,) = server.metrics
    assert metric["name"] == "api_latency"
    assert metric["value"] >= 0
    assert metric["labels"] == {"endpoint": "/api/:kind", "method": "GET", "status": "404"}


def test_without_an_endpoint_the_path_is_taken_and_so_if_the_apps_function_fails(server: CapturingIngest) -> None:
    client = client_of(server)
    call(client.wsgi(plain("200 OK")), "/plain")
    call(client.wsgi(plain("200 OK"), endpoint=lambda environ: str(environ["missing"])), "/failed")
    client.close()
    assert [metric["labels"]["endpoint"] for metric in server.metrics] == ["/plain", "/failed"]


def failing_at_once(environ: Any, start_response: Any) -> list[bytes]:
    raise LookupError


def failing_midway(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one"
    raise LookupError


@pytest.mark.parametrize("app", [failing_at_once, failing_midway])
def test_an_app_that_raises_counts_as_500_and_the_error_goes_on(server: CapturingIngest, app: Any) -> None:
    client = client_of(server)
    with pytest.raises(LookupError):
        call(client.wsgi(app))
    client.close()
    assert [metric["labels"]["status"] for metric in server.metrics] == ["500"]


def test_a_visitor_who_leaves_early_is_counted_and_the_app_is_closed(server: CapturingIngest) -> None:
    closed: list[bool] = []

    class Parts(Iterator[bytes]):
        def __next__(self) -> bytes:
            return b"more"

        def close(self) -> None:
            closed.append(True)

    def endless(environ: Any, start_response: Any) -> Parts:
        start_response("200 OK", [])
        return Parts()

    client = client_of(server)
    parts: Any = client.wsgi(endless)({}, lambda *_: lambda data: None)
    next(parts)
    parts.close()
    client.close()
    assert closed == [True]
    assert [metric["labels"]["status"] for metric in server.metrics] == ["200"]


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/users/8341/orders", "/users/:id/orders"),
        ("/s/f47ac10b-58cc-4372-a567-0e02b2c3d479/x", "/s/:id/x"),
        ("/s/f47ac10b58cc4372a5670e02b2c3d479", "/s/:id"),
        ("/orders/ord_19283/a8f3c0/", "/orders/:id/:id/"),
        ("/t/xK3dPqNLmNvRtYwZbCfGhJk", "/t/:id"),
        ("/mail/ada@example.com", "/mail/:id"),
        ("/call/+49 151 23456789", "/call/:id"),
        ("/", "/"),
        ("", ""),
        ("/api/v1/oauth2/token", "/api/v1/oauth2/token"),
        ("/v1beta1/regions/us-central1", "/v1beta1/regions/us-central1"),
        ("/models/claude-sonnet-4-5-20250929", "/models/claude-sonnet-4-5-20250929"),
        ("/users/:id/orders", "/users/:id/orders"),
    ],
)
def test_ids_in_the_path_of_a_request_do_not_leave_the_process(server: CapturingIngest, path: str, route: str) -> None:
    client = client_of(server)
    call(client.wsgi(plain("200 OK")), path)
    client.close()
    assert [metric["labels"]["endpoint"] for metric in server.metrics] == [route]


def test_a_request_with_a_very_long_path_is_counted_when_it_fails(server: CapturingIngest) -> None:
    client = client_of(server)
    call(client.wsgi(plain("500 Oops")), "/search/" + "word-" * 500)
    client.close()
    (metric,) = server.metrics
    assert metric["labels"]["status"] == "500"
    assert scrub_labels(metric["labels"])[1] == []


# Settings


@pytest.mark.parametrize(
    ("url", "key", "options"),
    [
        ("ops.example.com", "key", {}),
        ("ftp://ops.example.com", "key", {}),
        ("https://", "key", {}),
        ("https://ops.example.com", "", {}),
        ("https://ops.example.com", "a\nkey", {}),
        ("https://ops.example.com", "key", {"max_batch": 0}),
        ("https://ops.example.com", "key", {"max_batch": 10_001}),
        ("https://ops.example.com", "key", {"flush_seconds": 0}),
        ("https://ops.example.com", "key", {"timeout": -1}),
    ],
)
def test_a_client_that_could_never_send_is_not_made(url: str, key: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|max_batch"):
        MetricsClient(url, key, **options)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)

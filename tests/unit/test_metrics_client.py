"""The metrics client against real servers that fail, hang, drip, lie and lose the reply."""

from __future__ import annotations

import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

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
from tests.sending import LONG, client_of, wait_until


@pytest.fixture
def server() -> Iterator[CapturingIngest]:
    with CapturingIngest() as running:
        yield running


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(metrics_client, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(metrics_client, "PAUSE_WHEN_CLOSING", 0.01)


def calls_accounted_for(client: MetricsClient) -> int:
    s = client.stats
    return s.accepted + s.rejected + s.lost + s.dropped + s.queued + s.sending + s.sampled_out


# What is sent


def test_metrics_arrive_grouped_by_name_and_labels(server: CapturingIngest) -> None:
    seconds = iter([1_700_000_000.1234, 1_700_000_001, 1_700_000_002, 1_700_000_003])
    client = client_of(server, clock=lambda: next(seconds))
    client.record("api_latency", 123.4, endpoint="/api/orders", method="GET", status=200)
    client.record("token_cost", 2, name="a label may be called name", aggregation="or so")
    client.record("api_latency", 1e-7, status=200, method="GET", endpoint="/api/orders")
    client.record("api_latency", 5)
    client.close()
    (request,) = server.requests
    assert (request.path, request.authorization) == ("/api/metrics", "Bearer a-key")
    assert request.payload["series"] == [
        {
            "name": "api_latency",
            "labels": {"endpoint": "/api/orders", "method": "GET", "status": "200"},
            "times": [1_700_000_000_123, 1_700_000_002_000],
            "values": [123.4, 1e-7],
        },
        {
            "name": "token_cost",
            "labels": {"name": "a label may be called name", "aggregation": "or so"},
            "times": [1_700_000_001_000],
            "values": [2],
        },
        {"name": "api_latency", "times": [1_700_000_003_000], "values": [5]},
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
        client.record("x", n, text=f"{n}-" + "ü" * 500)
    client.close(timeout=30)
    assert len(server.batches) == len(server.requests) > 1
    assert max(len(request.body) for request in server.requests) <= MAX_BODY_BYTES
    assert [metric["value"] for metric in server.metrics] == list(range(3000))


def test_a_series_goes_on_in_the_next_body_where_one_is_full(server: CapturingIngest) -> None:
    values = [n + 1 / 3 for n in range(10_000)]
    client = client_of(server, max_batch=10_000, clock=lambda: 1e90)  # timestamps of 90 digits fill bodies fast
    for n, value in enumerate(values):
        client.record("x", value, series=n % 2)
    client.close(timeout=30)
    assert max(len(request.body) for request in server.requests) <= MAX_BODY_BYTES
    assert [len(request.payload["series"]) for request in server.requests] == [2, 2]
    for parity in (0, 1):
        sent = [metric["value"] for metric in server.metrics if metric["labels"] == {"series": str(parity)}]
        assert sent == values[parity::2]


def test_bodies_are_filled_but_not_beyond_their_limit(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=10_000)
    for n in range(1000):
        client.record("x", n, **{f"label{m}": f"{n} " + "y" * 190 for m in range(40)})
    client.close(timeout=30)
    sizes = [len(request.body) for request in server.requests]
    assert max(sizes) <= MAX_BODY_BYTES
    assert min(sizes[:-1]) > MAX_BODY_BYTES - 10_000
    assert len(sizes) > 5
    assert (client.stats.accepted, client.stats.rejected) == (1000, 0)


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
    client.record("x", 4)
    client.close()
    assert [metric["value"] for metric in server.metrics] == [2, 4]
    assert (client.stats.accepted, client.stats.rejected) == (2, 1)


@pytest.mark.parametrize("clock", [lambda: float("nan"), lambda: "noon", lambda: None, lambda: 1 / 0])
def test_a_broken_clock_of_the_app_breaks_only_its_metrics(server: CapturingIngest, clock: Any) -> None:
    client = client_of(server, clock=clock, high_volume=5)
    client.record("x", 1)
    client.close()
    assert server.requests == []
    assert client.stats.rejected == 1


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


def test_each_label_that_the_server_leaves_out_is_told_once(
    server: CapturingIngest, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(server)
    for dropped in ({"colour": 1}, {"colour": 1, "size": 3, ":personal": 2}, {"size": 1}, "nonsense", {}):
        server.then = answering({"accepted": 1, "rejected": [], "duplicate": False, "droppedLabels": dropped})
        client.record("x", 1)
        assert client.flush(30)
    client.close()
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == ["colour", ":personal, size"]
    assert client.stats.accepted == 5


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
    client = client_of(server, max_queue=50, max_batch=10, sample_one_in={"x": 2})
    threads = [threading.Thread(target=record_many, args=(client, t)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls_accounted_for(client) == 16_000
    client.close(30)
    assert calls_accounted_for(client) == 16_000
    assert client.stats.accepted == len(server.metrics) == 16_000 - client.stats.dropped - client.stats.sampled_out
    assert client.stats.sampled_out > 0


def record_many(client: MetricsClient, thread: int) -> None:
    for n in range(2000):
        client.record("x", thread * 2000 + n)


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
        ("https://ops.example.com", "key", {"sample_one_in": {"x": 0}}),
        ("https://ops.example.com", "key", {"sample_one_in": {"x": 1001}}),
        ("https://ops.example.com", "key", {"sample_one_in": {"x": 2.5}}),
        ("https://ops.example.com", "key", {"high_volume": 0}),
        ("https://ops.example.com", "key", {"high_volume": float("nan")}),
    ],
)
def test_a_client_that_could_never_send_is_not_made(url: str, key: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|max_batch"):
        MetricsClient(url, key, **options)

"""Calls to other servers hold their deadline and say whether the request can have arrived, whatever the server does."""

from __future__ import annotations

import gzip
import socket
import threading
import traceback
from collections.abc import Callable

import pytest

from shared.outbound import MAX_ANSWER_BYTES, HttpOutbound, OutboundError, Reply
from tests.certificates import self_signed
from tests.fake_servers import (
    SECRET_PATH,
    Behaviour,
    Exchange,
    FakeSlack,
    closing,
    dripping,
    failing,
    garbage,
    half_an_answer,
    hanging,
)

HEADERS = {"Content-Type": "application/json"}


def post(url: str, deadline: float = 5.0, outbound: HttpOutbound | None = None, body: bytes = b"{}") -> Reply:
    return (outbound or HttpOutbound()).post(url, body, HEADERS, deadline)


def failure_of(behave: Behaviour, deadline: float = 5.0) -> OutboundError:
    with FakeSlack(behave) as server, pytest.raises(OutboundError) as failure:
        post(server.url, deadline)
    return failure.value


def test_the_answer_comes_back_with_status_headers_and_body() -> None:
    with FakeSlack(failing(418, "short and stout", {"Retry-After": "7"})) as server:
        reply = HttpOutbound().post(server.url + "?a=1&b=2", b'{"x": 1}', HEADERS, 5.0)
        assert (reply.status, reply.body, reply.headers["retry-after"]) == (418, b"short and stout", "7")
        (received,) = server.received
    assert (received.method, received.path, received.body) == ("POST", SECRET_PATH + "?a=1&b=2", b'{"x": 1}')
    assert received.headers["content-type"] == "application/json"
    assert received.headers["content-length"] == "8"
    assert received.headers["host"] == f"127.0.0.1:{server.port}"


def test_a_host_without_a_path_gets_the_root() -> None:
    with FakeSlack(failing(200, "ok")) as server:
        post(f"http://127.0.0.1:{server.port}?q=1")
        assert server.received[0].path == "/?q=1"


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with FakeSlack() as elsewhere, FakeSlack(failing(307, "", {"Location": elsewhere.url})) as server:
        assert post(server.url).status == 307
        assert elsewhere.received == []


def test_a_server_that_never_answers_is_left_at_the_deadline_and_may_have_got_the_request() -> None:
    failure = failure_of(hanging, deadline=0.3)
    assert (failure.reason, failure.sent) == ("timeout", True)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Slow: header\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"." * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n" * 1000,
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["headers", "body", "chunks", "endless 100 Continue"],
)
def test_dripped_bytes_gain_no_time(text: bytes) -> None:
    failure = failure_of(dripping(text, 0.02), deadline=0.5)
    assert (failure.reason, failure.sent) == ("timeout", True)


def test_a_server_that_does_not_read_cannot_hold_a_large_request() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf, pytest.raises(OutboundError) as failure:
        post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", 0.3, body=b"x" * 50_000_000)
    assert (failure.value.reason, failure.value.sent) == ("timeout", True)


def test_a_refused_connection_was_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(OutboundError) as failure:
        post(f"http://127.0.0.1:{port}/")
    assert (failure.value.reason, failure.value.sent) == ("connection_refused", False)


def test_a_host_that_does_not_exist_was_not_sent() -> None:
    with pytest.raises(OutboundError) as failure:
        post("http://no-such-host.invalid/")
    assert (failure.value.reason, failure.value.sent) == ("connect_failed", False)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "http://", "http://u:p@127.0.0.1/", "http://127.0.0.1:99999/", "http://[::1/", "x"]
)
def test_what_is_no_usable_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(OutboundError) as failure:
        post(url)
    assert (failure.value.reason, failure.value.sent) == ("bad_url", False)


def test_control_characters_in_an_address_cannot_add_headers() -> None:
    with FakeSlack() as server, pytest.raises(OutboundError) as failure:
        post(f"http://127.0.0.1:{server.port}/a b")
    assert (failure.value.reason, failure.value.sent, server.received) == ("bad_url", False, [])


def test_a_connection_closed_without_an_answer_may_have_carried_the_request() -> None:
    failure = failure_of(closing)
    assert (failure.reason, failure.sent) == ("connection_lost", True)


def test_half_an_answer_is_no_answer() -> None:
    failure = failure_of(half_an_answer)
    assert (failure.reason, failure.sent) == ("incomplete_answer", True)


def test_chunks_that_break_off_are_no_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    failure = failure_of(lambda exchange: exchange.write(head + b"ff\r\nok"))
    assert (failure.reason, failure.sent) == ("incomplete_answer", True)


def test_what_is_no_http_is_unreadable() -> None:
    failure = failure_of(garbage)
    assert (failure.reason, failure.sent) == ("unreadable_answer", True)


def test_headers_without_end_are_refused() -> None:
    failure = failure_of(lambda exchange: exchange.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n"))
    assert (failure.reason, failure.sent) == ("unreadable_answer", True)


def test_a_huge_answer_is_cut_and_not_read_to_its_end() -> None:
    written = []

    def flood(exchange: Exchange) -> None:
        exchange.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            exchange.write(b"x" * 1_000_000)
            written.append(1)

    with FakeSlack(flood) as server:
        assert len(post(server.url).body) == MAX_ANSWER_BYTES
    assert len(written) < 1000


def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 100_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with FakeSlack(lambda exchange: exchange.write(head + bomb)) as server:
        assert post(server.url).body == bomb[:MAX_ANSWER_BYTES]
        assert server.received[0].headers["accept-encoding"] == "identity"


def test_no_connection_is_kept_for_the_next_call() -> None:
    outbound = HttpOutbound()
    with FakeSlack(failing(200, "ok")) as server:
        post(server.url, outbound=outbound)
        post(server.url, outbound=outbound)
        assert [r.headers["connection"] for r in server.received] == ["close", "close"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_tls_with_a_trusted_certificate_works(certificate: tuple[str, str]) -> None:
    with FakeSlack(failing(200, "ok"), tls=certificate) as server:
        assert post(server.url, outbound=HttpOutbound(certificate[0])).body == b"ok"
        assert server.received[0].headers["host"] == f"localhost:{server.port}"


def test_a_certificate_that_nobody_vouches_for_gets_nothing(certificate: tuple[str, str]) -> None:
    with FakeSlack(failing(200, "ok"), tls=certificate) as server, pytest.raises(OutboundError) as failure:
        post(server.url)
    assert (failure.value.reason, failure.value.sent, server.received) == ("certificate_refused", False, [])


def test_a_certificate_for_another_name_gets_nothing(certificate: tuple[str, str]) -> None:
    with FakeSlack(failing(200, "ok"), tls=certificate) as server, pytest.raises(OutboundError) as failure:
        post(server.url.replace("localhost", "127.0.0.1"), outbound=HttpOutbound(certificate[0]))
    assert (failure.value.reason, failure.value.sent, server.received) == ("certificate_refused", False, [])


def test_a_server_that_speaks_no_tls_gets_nothing() -> None:
    with FakeSlack(failing(200, "ok")) as server, pytest.raises(OutboundError) as failure:
        post(server.url.replace("http:", "https:"))
    assert (failure.value.reason, failure.value.sent, server.received) == ("tls_failed", False, [])


def test_a_tls_handshake_that_hangs_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OutboundError) as failure:
        post(f"https://127.0.0.1:{silent.getsockname()[1]}/", 0.3)
    assert (failure.value.reason, failure.value.sent) == ("connect_timeout", False)


@pytest.mark.parametrize(
    "make_url",
    [
        lambda port: f"http://127.0.0.1:{port}/canary",
        lambda port: f"http://127.0.0.1:{port}/canary with a space",
        lambda port: f"http://127.0.0.1:{port}/cänary-canary",
        lambda port: f"ftp://127.0.0.1:{port}/canary",
        lambda port: "http://[canary/",
        lambda port: "http://canary.invalid/",
    ],
)
def test_no_error_shows_the_address(make_url: Callable[[int], str]) -> None:
    with FakeSlack(garbage) as server, pytest.raises(OutboundError) as failure:
        post(make_url(server.port))
    shown = "".join(traceback.format_exception(failure.value)) + repr(failure.value)
    assert "canary" not in shown


def test_many_threads_share_one_outbound() -> None:
    outbound = HttpOutbound()
    answers: list[bytes] = []
    with FakeSlack(lambda exchange: exchange.reply(200, exchange.received.body.decode())) as server:
        threads = [
            threading.Thread(target=lambda n=n: answers.append(post(server.url, 5.0, outbound, b"%d" % n).body))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == sorted(b"%d" % n for n in range(16))

"""Requests of probes over real sockets: no redirect to a private address, and nothing that outlasts its deadline."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address

import pytest

from shared.outbound import MAX_ANSWER_BYTES, HttpOutbound, OutboundError, Reply, is_public
from shared.probes.fetch import fetch
from tests.fake_servers import Exchange, FakeSlack, dripping, failing, hanging

SECRET = {"Authorization": "Bearer canary"}


def get(url: str, redirects: int = 3, *, private: bool = False, deadline: float = 5.0, method: str = "GET") -> Reply:
    return fetch(
        HttpOutbound(), time.monotonic, method, url, None, SECRET, deadline,
        redirects=redirects, private_redirects=private,
    )  # fmt: skip


def reason_of(url: str, redirects: int = 3, *, private: bool = False, deadline: float = 5.0) -> str:
    with pytest.raises(OutboundError) as failure:
        get(url, redirects, private=private, deadline=deadline)
    return failure.value.reason


def to(url: str, status: int = 302) -> FakeSlack:
    return FakeSlack(failing(status, "", {"Location": url}))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_private_address_is_refused(status: int) -> None:
    with FakeSlack(failing(200, "internal")) as inside, to(inside.url, status) as outside:
        assert reason_of(outside.url) == "address_refused"
        assert inside.received == []


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/computeMetadata/v1/",
        "http://[::1]/",
        "http://localhost/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f.1/",
    ],
)
def test_however_a_private_address_is_written_it_is_refused(target: str) -> None:
    with to(target) as outside:
        assert reason_of(outside.url) == "address_refused"


def test_a_private_redirect_is_followed_where_it_is_configured() -> None:
    with FakeSlack(failing(200, "here")) as inside, to(inside.url) as outside:
        assert get(outside.url, private=True).body == b"here"


def test_a_link_local_address_is_refused_even_as_the_first() -> None:
    assert reason_of("http://169.254.169.254/computeMetadata/v1/") == "address_refused"


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has a public address when it is judged, and a private one when it is looked up again."""
    looked_up = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, **more: int) -> object:
        if host != "rebinding.test":
            return real(host, port, **more)  # type: ignore[arg-type]
        looked_up.append(host)
        address = "8.8.8.8" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected: list[str] = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError

    with FakeSlack(failing(302, "", {"Location": "http://rebinding.test/"})) as outside:
        url = outside.url
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        first = get(url, 0)
        assert first.status == 302
        monkeypatch.setattr("shared.outbound.socket.socket.connect", connect, raising=False)
        with pytest.raises(OutboundError):
            HttpOutbound().call("GET", "http://rebinding.test/", None, {}, 2.0, is_public)
    assert (connected, len(looked_up)) == (["8.8.8.8"], 1)


def test_our_headers_do_not_follow_to_another_origin() -> None:
    with FakeSlack(failing(200)) as inside, to(inside.url) as outside:
        get(outside.url, private=True)
        assert outside.received[0].headers["authorization"] == "Bearer canary"
        assert "authorization" not in inside.received[0].headers


def test_they_do_within_the_same_one() -> None:
    def twice(exchange: Exchange) -> None:
        first = exchange.received.path == "/start"
        exchange.reply(302 if first else 200, "", {"Location": "/end"} if first else {})

    with FakeSlack(twice) as server:
        assert get(f"http://127.0.0.1:{server.port}/start", private=True).status == 200
        assert [r.headers.get("authorization") for r in server.received] == ["Bearer canary"] * 2


def test_redirects_are_limited() -> None:
    def round_and_round(exchange: Exchange) -> None:
        exchange.reply(302, "", {"Location": "/again"})

    with FakeSlack(round_and_round) as server:
        assert reason_of(server.url, 3, private=True) == "too_many_redirects"
        assert len(server.received) == 4


NOWHERE = ["file:///etc/passwd", "gopher://127.0.0.1/", "http://a b/", "http://u:p@h/", "http://:80/"]


@pytest.mark.parametrize("location", NOWHERE)
def test_a_redirect_to_nowhere_is_refused(location: str) -> None:
    with to(location) as outside:
        assert reason_of(outside.url, private=True) == "bad_redirect"


def test_without_redirects_one_is_an_answer_and_so_it_is_for_a_post() -> None:
    with to("http://127.0.0.1:1/") as outside:
        assert get(outside.url, 0).status == 302
        assert get(outside.url, 3, method="POST").status == 302


def test_all_hops_share_the_deadline() -> None:
    with FakeSlack(hanging) as inside, to(inside.url) as outside:
        assert reason_of(outside.url, private=True, deadline=0.3) == "timeout"
    with FakeSlack(dripping(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, 0.02)) as server:
        assert reason_of(server.url, deadline=0.3) == "timeout"


def test_a_body_without_end_is_cut() -> None:
    with FakeSlack(failing(200, "x" * (4 * MAX_ANSWER_BYTES))) as server:
        assert len(get(server.url).body) == MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("fd00:ec2::254", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
    ],
)
def test_an_address_that_stands_for_another_is_judged_by_that_one(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public

"""What measures by itself: timer, decorator, WSGI and ASGI middleware."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from shared.domain.series import scrub_labels
from tests.capturing_ingest import CapturingIngest
from tests.sending import client_of


@pytest.fixture
def server() -> Iterator[CapturingIngest]:
    with CapturingIngest() as running:
        yield running


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

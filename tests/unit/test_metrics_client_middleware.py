"""What measures by itself: timer, decorator, WSGI and ASGI middleware."""

from __future__ import annotations

import asyncio
import http.client
import inspect
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import uvicorn
from flask import Flask
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from shared.domain.series import scrub_labels
from tests.capturing_ingest import CapturingIngest
from tests.sending import client_of, wait_until


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


# Flask's routes


def requests_of(server: CapturingIngest) -> list[tuple[str, str, str]]:
    """Endpoint, method and status of each request, in order if each was a batch of its own."""
    labels = [metric["labels"] for metric in server.metrics]
    return [(of["endpoint"], of["method"], of["status"]) for of in labels]


def test_the_route_of_a_flask_app_is_found_by_itself(server: CapturingIngest) -> None:
    app = Flask("shop")

    @app.get("/users/<int:user_id>/orders")
    def orders(user_id: int) -> str:
        return str(user_id)

    client = client_of(server, max_batch=1)
    app.wsgi_app = client.wsgi(app.wsgi_app)  # type: ignore[method-assign]
    assert app.test_client().get("/users/8341/orders").text == "8341"
    assert "Not Found" in app.test_client().get("/nothing/8341").text
    client.close()
    assert requests_of(server) == [
        ("/users/<int:user_id>/orders", "GET", "200"),
        ("/nothing/:id", "GET", "404"),
    ]


# ASGI, under uvicorn


@contextmanager
def served(app: Any, **options: Any) -> Iterator[str]:
    """The app's URL, under a real uvicorn."""
    config = uvicorn.Config(app, port=0, log_level="critical", **options)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        wait_until(lambda: running.started or not thread.is_alive())
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()


def fetch(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def hang_up(url: str, path: str, until: Callable[[], bool]) -> None:
    """Ask, and leave when it is time."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as asking:
        asking.sendall(f"POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\n".encode())
        wait_until(until)


async def show_user(request: Request) -> Response:
    return PlainTextResponse(request.path_params["user_id"])


async def fail(request: Request) -> Response:
    raise LookupError


def fail_midway(request: Request) -> Response:
    def parts() -> Iterator[str]:
        yield "one"
        raise LookupError

    return StreamingResponse(parts())


def shop() -> Starlette:
    inner = [Route("/{item}", show_item), Mount("/files", plain_file)]
    return Starlette(
        routes=[
            Route("/users/{user_id}/orders", show_user),
            Route("/fail", fail),
            Route("/midway", fail_midway),
            Mount("/teams/{team}/shelf", routes=inner),
        ]
    )


async def show_item(request: Request) -> Response:
    return PlainTextResponse(request.path_params["item"], status_code=201)


async def plain_file(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("a file")(scope, receive, send)


def test_each_request_of_a_starlette_app_is_recorded_with_its_route(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=1)
    with served(client.asgi(shop())) as url:
        assert fetch(url + "/users/8341/orders") == (200, "8341")
        assert fetch(url + "/users/8341/orders", "POST")[0] == 405
        assert fetch(url + "/teams/8341/shelf/tea") == (201, "tea")
        assert fetch(url + "/teams/red/shelf/files/a/b.txt") == (200, "a file")
        assert fetch(url + "/nothing/8341") == (404, "Not Found")
        assert fetch(url + "/fail") == (500, "Internal Server Error")
    client.close()
    assert requests_of(server) == [
        ("/users/{user_id}/orders", "GET", "200"),
        ("/users/{user_id}/orders", "POST", "405"),
        ("/teams/:id/shelf/{item}", "GET", "201"),
        ("/teams/red/shelf/files", "GET", "200"),
        ("/nothing/:id", "GET", "404"),
        ("/fail", "GET", "500"),
    ]
    assert {metric["name"] for metric in server.metrics} == {"api_latency"}
    assert all(metric["value"] > 0 for metric in server.metrics)


def test_an_answer_that_breaks_in_the_middle_counts_as_500(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=1)
    with served(client.asgi(shop())) as url, pytest.raises(http.client.IncompleteRead):
        fetch(url + "/midway")
    client.close()
    assert requests_of(server) == [("/midway", "GET", "500")]


def test_a_path_in_front_of_the_app_is_not_part_of_the_endpoint(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=1)
    with served(client.asgi(shop()), root_path="/shop") as url:
        assert fetch(url + "/users/8341/orders") == (200, "8341")
        assert fetch(url + "/nothing")[0] == 404
    client.close()
    assert [endpoint for endpoint, _, _ in requests_of(server)] == ["/users/{user_id}/orders", "/nothing"]


def test_the_apps_own_function_names_the_endpoint_and_where_it_fails_the_path_is_taken(server: CapturingIngest) -> None:
    client = client_of(server, max_batch=1)
    with served(client.asgi(shop(), endpoint=lambda scope: scope["path_params"]["user_id"])) as url:
        fetch(url + "/users/ada/orders")
        fetch(url + "/fail")
    client.close()
    assert [endpoint for endpoint, _, _ in requests_of(server)] == ["ada", "/fail"]


def test_the_time_goes_to_the_end_of_the_answer_but_not_of_what_follows_it(server: CapturingIngest) -> None:
    followed = threading.Event()

    async def streamed(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            yield "one"
            await asyncio.sleep(0.05)
            yield "two"

        return StreamingResponse(parts(), background=BackgroundTask(after))

    async def after() -> None:
        while not server.metrics:  # the request is recorded while this still runs
            await asyncio.sleep(0.005)
        followed.set()
        raise LookupError

    client = client_of(server, max_batch=1)
    with served(client.asgi(Starlette(routes=[Route("/", streamed)]))) as url:
        assert fetch(url) == (200, "onetwo")
        assert followed.wait(30)
    client.close()
    (metric,) = server.metrics
    assert metric["value"] >= 50
    assert metric["labels"]["status"] == "200"


def test_a_visitor_who_leaves_before_the_answer_is_counted_once_as_499(server: CapturingIngest) -> None:
    asked = threading.Event()

    async def read_it_all(request: Request) -> Response:
        asked.set()
        await request.body()  # raises ClientDisconnect
        return PlainTextResponse("never")

    client = client_of(server, max_batch=1)
    with served(client.asgi(Starlette(routes=[Route("/", read_it_all, methods=["POST"])]))) as url:
        hang_up(url, "/", asked.is_set)
        wait_until(lambda: bool(server.metrics))
    client.close()
    assert requests_of(server) == [("/", "POST", "499")]


def test_an_app_that_raises_because_the_visitor_has_left_has_not_failed(server: CapturingIngest) -> None:
    asked = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        raise OSError

    client = client_of(server, max_batch=1)
    with served(client.asgi(app), lifespan="off") as url:
        hang_up(url, "/", asked.is_set)
        wait_until(lambda: bool(server.metrics))
    client.close()
    assert requests_of(server) == [("/", "POST", "499")]


def test_a_visitor_who_leaves_during_the_answer_is_counted_once_with_its_status(server: CapturingIngest) -> None:
    sent = threading.Event()

    async def endless(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            while True:
                yield "more"
                sent.set()
                await asyncio.sleep(0.005)

        return StreamingResponse(parts(), status_code=203)

    client = client_of(server, max_batch=1)
    with served(client.asgi(Starlette(routes=[Route("/", endless, methods=["POST"])]))) as url:
        hang_up(url, "/", sent.is_set)
        wait_until(lambda: bool(server.metrics))
    client.close()
    assert requests_of(server) == [("/", "POST", "203")]


def test_a_request_that_the_server_cancels_is_counted_once(server: CapturingIngest) -> None:
    async def forever(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def cancel(app: Any) -> None:
        task = asyncio.create_task(app({"type": "http", "path": "/slow", "method": "GET"}, None, None))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    client = client_of(server, max_batch=1)
    asyncio.run(cancel(client.asgi(forever)))
    client.close()
    assert requests_of(server) == [("/slow", "GET", "499")]


def test_an_app_that_never_answers_counts_as_500(server: CapturingIngest) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    client = client_of(server, max_batch=1)
    with served(client.asgi(silent)) as url:
        assert fetch(url)[0] == 500
    client.close()
    assert requests_of(server) == [("/", "GET", "500")]


def test_lifespan_and_websockets_pass_through_untouched(server: CapturingIngest) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], receive, send))

    client = client_of(server, max_batch=1)
    receive, send = object(), object()
    for kind in ("websocket", "lifespan"):
        asyncio.run(client.asgi(app)({"type": kind}, receive, send))  # type: ignore[arg-type]
    client.close()
    assert seen == [("websocket", receive, send), ("lifespan", receive, send)]
    assert server.requests == []


def test_an_apps_lifespan_runs_under_uvicorn(server: CapturingIngest) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    client = client_of(server, max_batch=1)
    with served(client.asgi(Starlette(lifespan=lifespan)), lifespan="on"):
        assert seen == ["up"]
    assert seen == ["up", "down"]
    client.close()


# The decorator


def outcomes(server: CapturingIngest) -> list[tuple[str, str]]:
    return [(metric["labels"]["agent"], metric["labels"].get("status", "")) for metric in server.metrics]


def test_a_function_is_timed_also_when_it_raises_and_stays_what_it_was(server: CapturingIngest) -> None:
    client = client_of(server)

    @client.timed("agent_latency", agent="support", with_status=True)
    def answer(question: str, *, loud: bool = False) -> str:
        """Answers."""
        time.sleep(0.01)
        return question.upper() if loud else str(int(question))

    assert (answer.__name__, answer.__doc__) == ("answer", "Answers.")
    assert answer("why", loud=True) == "WHY"
    with pytest.raises(ValueError, match="why"):
        answer("why")
    client.close()
    assert outcomes(server) == [("support", "ok"), ("support", "error")]
    assert all(metric["name"] == "agent_latency" and metric["value"] >= 10 for metric in server.metrics)


def test_a_coroutine_function_is_timed_to_its_end(server: CapturingIngest) -> None:
    client = client_of(server)

    @client.timed("agent_latency", agent="support", with_status=True)
    async def answer(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def use() -> None:
        assert await answer(0.02) == 0.02
        with pytest.raises(ZeroDivisionError):
            await fail_at_once()
        task = asyncio.create_task(answer(1000))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    @client.timed("agent_latency", agent="sales", with_status=True)
    async def fail_at_once() -> float:
        return 1 / 0

    assert inspect.iscoroutinefunction(answer)
    asyncio.run(use())
    client.close()
    assert sorted(outcomes(server)) == [("sales", "error"), ("support", "cancelled"), ("support", "ok")]
    (took,) = (m["value"] for m in server.metrics if m["labels"]["status"] == "ok")
    assert took >= 20


def test_a_generator_is_timed_to_its_end_and_still_takes_what_is_sent(server: CapturingIngest) -> None:
    client = client_of(server)

    @client.timed("agent_latency", agent="support", with_status=True)
    def talk() -> Generator[int, int, str]:
        told = yield 1
        time.sleep(0.01)
        yield told * 2
        return "done"

    talking = talk()
    assert next(talking) == 1
    assert talking.send(21) == 42
    with pytest.raises(StopIteration, match="done"):
        next(talking)
    left = talk()
    next(left)
    left.close()
    client.close()
    assert sorted(outcomes(server)) == [("support", "cancelled"), ("support", "ok")]
    assert max(metric["value"] for metric in server.metrics) >= 10


def test_an_async_generator_is_timed_to_its_end(server: CapturingIngest) -> None:
    client = client_of(server)
    closed: list[bool] = []

    @client.timed("agent_latency", agent="support", with_status=True)
    async def words() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.sleep(0.01)
            yield "two"
        finally:
            closed.append(True)

    async def use() -> None:
        assert [word async for word in words()] == ["one", "two"]
        async with aclosing(words()) as left:  # type: ignore[type-var]
            async for _ in left:
                break
        assert closed == [True, True]

    asyncio.run(use())
    client.close()
    assert sorted(outcomes(server)) == [("support", "cancelled"), ("support", "ok")]
    assert max(metric["value"] for metric in server.metrics) >= 10


def test_calls_at_the_same_time_are_timed_apart(server: CapturingIngest) -> None:
    client = client_of(server)

    @client.timed("agent_latency", agent="support")
    async def answer(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def use() -> None:
        await asyncio.gather(answer(0.03), answer(0), answer(0.01))

    asyncio.run(use())
    client.close()
    first, second, third = sorted(metric["value"] for metric in server.metrics)
    assert second >= 10
    assert third >= 30
    assert first < third
    assert outcomes(server) == [("support", "")] * 3


def test_the_timer_tells_how_a_block_ended_unless_the_app_says_so_and_works_with_async_with(
    server: CapturingIngest,
) -> None:
    client = client_of(server)

    async def use() -> None:
        async with client.time("agent_latency", with_status=True, agent="one"):
            await asyncio.sleep(0.01)
        with suppress(LookupError):
            async with client.time("agent_latency", with_status=True, agent="two"):
                raise LookupError
        async with client.time("agent_latency", with_status=True, agent="three") as timer:
            timer.labels["status"] = "failed"

    asyncio.run(use())
    client.close()
    assert outcomes(server) == [("one", "ok"), ("two", "error"), ("three", "failed")]
    assert server.metrics[0]["value"] >= 10

"""A real ingest server for tests: keeps what arrives, counts each batchId once, and misbehaves as its script says.

with CapturingIngest(script=[failing(503), losing_the_reply]) as server:
    client = MetricsClient(server.url, "key")  # the first request fails, the reply to the second is lost
    ...
    server.metrics                             # of all batches taken, each once, whatever form they came in
    server.beats                               # the agents whose heartbeats were taken
"""

from __future__ import annotations

import json
import math
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Exchange:
    """One request, its body read, and the means to answer it."""

    def __init__(self, server: CapturingIngest, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.server = server
        self.handler = handler
        self.body = body
        self.path = handler.path
        self.authorization = handler.headers.get("Authorization")

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    def take(self) -> dict[str, Any]:
        """What the commit is to a real server: from here on the batch counts, once. The answer to it."""
        if "/heartbeat/" in self.path:
            assert not self.body
            agent = self.path.rpartition("/")[2]
            with self.server.lock:
                self.server.beats.append(agent)
            return {"agent": agent, "intervalSeconds": 60, "graceSeconds": 30}
        metrics = metrics_of(self.payload)
        with self.server.lock:
            known = self.server.batches.setdefault(self.payload["batchId"], metrics)
            assert known == metrics, "one batchId names one body"
        return {"accepted": len(metrics), "rejected": [], "duplicate": False}

    def answer(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.write(content)

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()


def metrics_of(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics of a body as the plain form has them: name, value, labels, timestamp, and a weight other than 1.

    As strict as the real server: for what that would refuse it raises, which the client sees as no answer.
    """
    assert payload.keys() in ({"batchId", "metrics"}, {"batchId", "series"})
    if "metrics" in payload:
        return list(payload["metrics"])
    metrics = []
    for series in payload["series"]:
        assert {"name", "times", "values"} <= series.keys() <= {"name", "labels", "weight", "times", "values"}
        weight = series.get("weight", 1)
        assert type(series["name"]) is str
        assert type(weight) is int
        assert 1 <= weight <= 1000
        assert series["times"]
        for timestamp, value in zip(series["times"], series["values"], strict=True):
            assert type(timestamp) is int
            assert math.isfinite(value)
            metric = {
                "name": series["name"],
                "value": value,
                "labels": series.get("labels", {}),
                "timestamp": timestamp,
            }
            metrics.append(metric if weight == 1 else {**metric, "weight": weight})
    assert len(metrics) <= 10_000
    return metrics


Behaviour = Callable[[Exchange], None]


def taking(exchange: Exchange) -> None:
    exchange.answer(202, exchange.take())


def failing(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Behaviour:
    """Refuse with this answer; nothing is taken."""
    return lambda exchange: exchange.answer(status, {"detail": detail}, headers)


def answering(body: object) -> Behaviour:
    """Take nothing, say 202 with this body."""
    return lambda exchange: exchange.answer(202, body)


def closing(exchange: Exchange) -> None:
    """Close without an answer; nothing is taken."""


def losing_the_reply(exchange: Exchange) -> None:
    """Take the batch, close without an answer."""
    exchange.take()


def half_an_answer(exchange: Exchange) -> None:
    """Take the batch, close in the middle of the answer."""
    exchange.take()
    exchange.answer(202, {"accepted": 1}, {"Content-Length": "100"})


def garbage(exchange: Exchange) -> None:
    """Take the batch, answer with what is no HTTP."""
    exchange.take()
    exchange.write(b"\x00\xff\x13 SSH-2.0-OpenSSH_9.6\r\n\r\n")


def hanging(exchange: Exchange) -> None:
    """Take the batch and never answer."""
    exchange.take()
    exchange.server.stopping.wait()


def late(seconds: float) -> Behaviour:
    """Take the batch at once, answer after a while."""

    def behave(exchange: Exchange) -> None:
        exchange.take()
        exchange.server.stopping.wait(seconds)
        taking(exchange)

    return behave


def dripping(exchange: Exchange) -> None:
    """Take the batch, answer a header that never ends, a byte at a time."""
    exchange.take()
    exchange.write(b"HTTP/1.1 202 Accepted\r\nX-Slow: ")
    while not exchange.server.stopping.wait(0.02):
        exchange.write(b"x")


class CapturingIngest:
    """Starts on a free port of 127.0.0.1 (or on `port`) with `with`.

    `script` gives the behaviour of each request in turn; after it, `then`. `tls`: certificate and key files.
    """

    def __init__(
        self,
        script: Iterable[Behaviour] = (),
        *,
        then: Behaviour = taking,
        port: int = 0,
        tls: tuple[str, str] | None = None,
    ) -> None:
        self.requests: list[Exchange] = []
        self.batches: dict[str, list[dict[str, Any]]] = {}
        self.beats: list[str] = []
        self.then = then
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.script = list(script)
        self._port = port
        self._tls = tls

    @property
    def metrics(self) -> list[dict[str, Any]]:
        with self.lock:
            return [metric for batch in self.batches.values() for metric in batch]

    @property
    def url(self) -> str:
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}"

    def __enter__(self) -> Self:
        ingest = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ingest._serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = _Server(("127.0.0.1", self._port), Handler)
        self.port = self._server.server_address[1]
        if self._tls:
            self._server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.context.load_cert_chain(*self._tls)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()  # waits for the threads of running requests
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.close_connection = True
        exchange = Exchange(self, handler, body)
        with self.lock:
            self.requests.append(exchange)
            behave = self.script.pop(0) if self.script else self.then
        behave(exchange)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            if self.context is not None:
                request = self.context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)
        except OSError:
            return  # the client has left, which is what many of these tests are about
        finally:
            if self.context is not None:
                request.close()

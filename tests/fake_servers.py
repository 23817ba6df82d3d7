"""Real HTTP servers for tests: one that judges like Slack's incoming webhook, and that can misbehave in every way.

with FakeSlack() as slack:
    slack.behave = failing(503)        # or a function that chooses a behaviour for each request
    ... post to slack.url ...
    slack.received                     # every request, in order of arrival
    slack.shown                        # the messages that people would see
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

SECRET_PATH = "/services/T00CANARY/B00CANARY/aVerySecretCanary"
_ID = re.compile(r"Notification `([^`]+)`")


@dataclass(frozen=True)
class Received:
    """A request as it came in; `number` counts from 0."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    @property
    def notification_id(self) -> str | None:
        """The id that the message bears in its context block."""
        found = _ID.search(json.dumps(self.payload, ensure_ascii=False))
        return found[1] if found else None


class Exchange:
    """One request and the means to answer it, well or badly."""

    def __init__(self, server: FakeSlack, handler: BaseHTTPRequestHandler, received: Received) -> None:
        self.server = server
        self.handler = handler
        self.received = received

    def verdict(self) -> tuple[int, str]:
        """What the real one would say to this request."""
        return self.server.judge(self.received)

    def show(self) -> None:
        """Take the message: people see it from now on."""
        self.server.take(self.received)

    def reply(self, status: int, text: str = "", headers: Mapping[str, str] | None = None) -> None:
        body = text.encode()
        self.handler.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def write(self, data: bytes) -> None:
        self.handler.wfile.write(data)
        self.handler.wfile.flush()


Behaviour = Callable[[Exchange], None]


def normal(exchange: Exchange) -> None:
    status, word = exchange.verdict()
    if status // 100 == 2 and '"ok": false' not in word:
        exchange.show()
    exchange.reply(status, word)


def failing(status: int, text: str = "", headers: Mapping[str, str] | None = None) -> Behaviour:
    """Refuse with this answer."""
    return lambda exchange: exchange.reply(status, text, headers)


def throttled(retry_after: str = "1") -> Behaviour:
    return failing(429, "rate_limited", {"Retry-After": retry_after})


def hanging(exchange: Exchange) -> None:
    """Read the request and never answer."""
    exchange.server.stopping.wait()


def closing(exchange: Exchange) -> None:
    """Close without an answer; nobody sees the message."""


def losing_the_reply(exchange: Exchange) -> None:
    """Show the message, then close without an answer."""
    exchange.show()


def late(seconds: float) -> Behaviour:
    """Show the message at once, answer after a while."""

    def behave(exchange: Exchange) -> None:
        exchange.show()
        exchange.server.stopping.wait(seconds)
        exchange.reply(200, "ok")

    return behave


def half_an_answer(exchange: Exchange) -> None:
    """Show the message, close in the middle of the answer's body."""
    exchange.show()
    exchange.reply(200, "ok", {"Content-Length": "100"})


def garbage(exchange: Exchange) -> None:
    """Answer with what is no HTTP."""
    exchange.write(b"\x00\xff\x13 SSH-2.0-OpenSSH_9.6\r\n\r\n")


def dripping(text: bytes, interval: float) -> Behaviour:
    """Answer a byte at a time, over and over."""

    def behave(exchange: Exchange) -> None:
        while True:
            for n in range(len(text)):
                exchange.write(text[n : n + 1])
                if exchange.server.stopping.wait(interval):
                    return

    return behave


def slack_verdict(received: Received) -> tuple[int, str]:
    """Status and text of Slack's incoming webhooks for a request, by its published error words and block limits."""
    if received.method != "POST":
        return 400, "invalid_request"
    if received.path != SECRET_PATH:
        return 404, "no_service"
    if received.headers.get("content-type", "").partition(";")[0] != "application/json":
        return 400, "invalid_payload"
    try:
        payload = received.payload
    except ValueError:
        return 400, "invalid_payload"
    if not isinstance(payload, dict):
        return 400, "invalid_payload"
    if not payload.get("text") and not payload.get("blocks"):
        return 400, "no_text"
    return (200, "ok") if blocks_are_valid(payload.get("blocks", [])) else (400, "invalid_blocks")


def blocks_are_valid(blocks: Any) -> bool:
    if not isinstance(blocks, list) or len(blocks) > 50:
        return False
    try:
        for block in blocks:
            parsed = Block.parse(block)
            if parsed is None:
                return False
            parsed.validate_json()
    except SlackObjectFormationError:
        return False
    return all(_text_fits(block) for block in blocks) and len(json.dumps(blocks, ensure_ascii=False)) <= 13_200


def _text_fits(block: Mapping[str, Any]) -> bool:
    """The limits that the library does not check."""
    text = block.get("text")
    limit = 150 if block["type"] == "header" else 3000
    if text is not None and not 1 <= len(text["text"]) <= limit:
        return False
    parts = [*block.get("fields", []), *(e for e in block.get("elements", []) if "text" in e)]
    return len(parts) <= 10 and all(1 <= len(part["text"]) <= 2000 for part in parts)


class FakeSlack:
    """A server on a free port of 127.0.0.1, started and stopped by `with`. `tls`: certificate and key files."""

    def __init__(self, behave: Behaviour = normal, *, tls: tuple[str, str] | None = None) -> None:
        self.behave = behave
        self.received: list[Received] = []
        self.shown: list[Received] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._tls = tls

    path = SECRET_PATH

    def judge(self, received: Received) -> tuple[int, str]:
        return slack_verdict(received)

    def take(self, received: Received) -> None:
        with self.lock:
            self.shown.append(received)

    @property
    def url(self) -> str:
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}{self.path}"

    @property
    def shown_ids(self) -> list[str]:
        with self.lock:
            return [message.notification_id or "" for message in self.shown]

    def __enter__(self) -> Self:
        slack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                slack._serve(self)

            do_GET = do_HEAD = do_PUT = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()  # waits for the threads of running requests
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self.lock:
            received = Received(len(self.received), handler.command, handler.path, headers, body)
            self.received.append(received)
        handler.close_connection = True
        try:
            self.behave(Exchange(self, handler, received))
        except OSError:
            return  # the client has left, which is what many of these tests are about


BOT_TOKEN = "xoxb-0-aVerySecretCanary"


UPDATE = "/api/chat.update"


class FakeSlackApi(FakeSlack):
    """Judges like chat.postMessage and chat.update. `threads`: the messages that can be answered and changed.

    `screen`: what people see of each message now, by its ts; `updates`: every change that was made.
    """

    path = "/api/chat.postMessage"

    def __init__(self, behave: Behaviour = normal) -> None:
        super().__init__(behave)
        self.threads: set[str] = set()
        self.screen: dict[str, Any] = {}
        self.updates: list[Received] = []

    @property
    def api(self) -> str:
        return self.url.removesuffix("/chat.postMessage")

    def judge(self, received: Received) -> tuple[int, str]:
        return 200, json.dumps(self._answer(received))

    def take(self, received: Received) -> None:
        if received.path == UPDATE:
            with self.lock:
                self.updates.append(received)
                self.screen[received.payload["ts"]] = received.payload
            return
        super().take(received)
        with self.lock:
            self.screen[_ts(received)] = received.payload

    def _answer(self, received: Received) -> dict[str, Any]:
        if received.headers.get("authorization") != f"Bearer {BOT_TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if received.headers.get("content-type") != "application/json; charset=utf-8":
            return {"ok": False, "error": "invalid_post_type"}
        changes = received.path == UPDATE
        if not changes and received.path != self.path:
            return {"ok": False, "error": "unknown_method"}
        payload = received.payload
        if payload.get("channel") not in (("C0FAKE",) if changes else ("#ops-alerts", "C0FAKE")):
            return {"ok": False, "error": "channel_not_found"}  # a change takes no name of a channel
        if not blocks_are_valid(payload.get("blocks", [])) or not payload.get("text"):
            return {"ok": False, "error": "invalid_blocks"}
        if changes:
            return self._changed(payload)
        if "thread_ts" in payload and payload["thread_ts"] not in self.threads:
            return {"ok": False, "error": "thread_not_found"}
        self.threads.add(_ts(received))
        return {"ok": True, "channel": "C0FAKE", "ts": _ts(received)}

    def _changed(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        if not set(payload) <= {"channel", "ts", "text", "blocks"}:
            return {"ok": False, "error": "invalid_arguments"}
        if payload.get("ts") not in self.threads:
            return {"ok": False, "error": "message_not_found"}
        return {"ok": True, "channel": "C0FAKE", "ts": payload["ts"], "text": payload["text"]}


def _ts(received: Received) -> str:
    return f"{received.number + 1}.000000"


ROUTING_KEY = "R0canary0123456789abcdef01234567"


class FakePagerDuty(FakeSlack):
    """Judges like the Events API v2. `states`: dedup key → triggered, acknowledged or resolved."""

    path = "/v2/enqueue"

    def __init__(self, behave: Behaviour = normal) -> None:
        super().__init__(behave)
        self.states: dict[str, str] = {}

    def judge(self, received: Received) -> tuple[int, str]:
        faults = pagerduty_faults(received)
        if faults:
            answer = {"status": "invalid event", "message": "Event object is invalid", "errors": faults}
            return 400, json.dumps(answer)
        event = received.payload
        key, action = event.get("dedup_key", f"made-{received.number}"), event["event_action"]
        if action == "trigger" or self.states.get(key) not in (None, "resolved"):  # else it is dropped
            self.states[key] = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}[action]
        return 202, json.dumps({"status": "success", "message": "Event processed", "dedup_key": key})


def pagerduty_faults(received: Received) -> list[str]:
    """What Events API v2 would say against a request, by its documented fields and limits."""
    if received.method != "POST" or received.path != FakePagerDuty.path or len(received.body) > 524_288:
        return ["bad request"]
    try:
        event = received.payload
    except ValueError:
        return ["not JSON"]
    action, payload = event.get("event_action"), event.get("payload", {})
    known = {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}
    fields = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}
    links = event.get("links", [])
    checks = {
        "routing_key": event.get("routing_key") == ROUTING_KEY,
        "event_action": action in ("trigger", "acknowledge", "resolve"),
        "dedup_key": len(event.get("dedup_key", "")) <= 255 and (action == "trigger" or bool(event.get("dedup_key"))),
        "unknown fields": set(event) <= known and set(payload) <= fields,
        "links": all(set(link) <= {"href", "text"} and link["href"].startswith("http") for link in links),
    }
    if action == "trigger":
        checks |= {
            "summary": 0 < len(payload.get("summary", "")) <= 1024,
            "source": bool(payload.get("source")),
            "severity": payload.get("severity") in ("critical", "error", "warning", "info"),
            "timestamp": bool(datetime.fromisoformat(payload.get("timestamp", "2026-01-01T00:00:00Z")).tzinfo),
        }
    return [f"'{name}' is invalid" for name, holds in checks.items() if not holds]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128  # the default of 5 turns away who comes with many others: that is a fault of its own
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the request's own thread: the TLS handshake, if any, then the request."""
        if self.context is not None:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return  # the client did not like the certificate
        try:
            super().finish_request(request, client_address)
        except OSError:
            return
        finally:
            if self.context is not None:
                request.close()

"""Records what calls of the official anthropic and openai clients use, without changing what they do.

Copy this file into your app; it needs Python 3.10 and the client that you use anyway.

    usage = UsageClient("https://my-project.web.app", os.environ["USAGE_KEY"])
    client = usage.watch(anthropic.Anthropic())       # or AsyncAnthropic, OpenAI, AsyncOpenAI
    with usage.user("ada", plan="pro"):
        client.messages.create(...)                   # as ever: create, stream, raw responses, errors

The bytes of each answer go to your code as they come; a copy is looked at once the answer is over, in a thread of its
own. Only the model, the counts and the id are sent: what was said stays in your app. Recording never raises into your
code and never waits for the network; what cannot be sent is tried again, and counted in `stats` once it is given up.
Before a process freezes (Cloud Functions, between requests) call `flush()`.

OpenAI's chat tells the usage of a stream only if it is asked for: `stream_options={"include_usage": True}`.
"""

from __future__ import annotations

import atexit
import contextvars
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
import uuid
import weakref
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

PATHS = ("/messages", "/chat/completions", "/responses")
MOST_BYTES = 32 * 1024 * 1024  # of an answer that is kept until it is over
BATCH = 100
Client = TypeVar("Client")

_clients: weakref.WeakSet[UsageClient] = weakref.WeakSet()
_user: contextvars.ContextVar[tuple[str, str | None, str | None] | None] = contextvars.ContextVar("user", default=None)


@dataclass
class Stats:
    """`without_usage`: answers that told none; `lost`: events that were given up; `rejected`: the server refused."""

    recorded: int = 0
    accepted: int = 0
    rejected: int = 0
    lost: int = 0
    without_usage: int = 0
    without_user: int = 0


class UsageClient:
    """`default_user`: whose calls are those made outside of `user(…)`; without one they are not recorded."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        default_user: str | None = None,
        max_queue: int = 10_000,
        timeout: float = 5.0,
        give_up_after: float = 600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url.rstrip("/") + "/api/usage/events"
        self._key = key
        self._default = default_user
        self._max_queue = max_queue
        self._timeout = timeout
        self._give_up_after = give_up_after
        self._clock = clock
        self._stopping = False
        self._begin()
        _clients.add(self)
        atexit.register(self.close)

    def _begin(self) -> None:
        """The state of a process; anew in a forked child, which lacks the parent's thread but may have its lock, held.

        What waited is the parent's to send.
        """
        self.stats = Stats()
        self._lock = threading.Condition()
        self._queue: deque[Callable[[], dict[str, Any] | None]] = deque()
        self._busy = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def user(self, uid: str, *, plan: str | None = None, tier: str | None = None) -> Iterator[None]:
        """Whose the calls are that are made inside, in this thread or task."""
        token = _user.set((uid, plan, tier))
        try:
            yield
        finally:
            _user.reset(token)

    def watch(self, client: Client) -> Client:
        """The same client, whose answers are looked at from now on. Once is enough for all copies of it."""
        http = client._client  # type: ignore[attr-defined]
        asynchronous = type(http).__mro__ and hasattr(http, "aclose")
        hooks = http.event_hooks
        hooks["request"] = [*hooks["request"], self._on_request_async if asynchronous else self._on_request]
        hooks["response"] = [*hooks["response"], self._on_response_async if asynchronous else self._on_response]
        http.event_hooks = hooks
        return client

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was recorded is sent or given up; False if that takes longer."""
        end = time.monotonic() + timeout
        with self._lock:
            self._start()
            while self._queue or self._busy:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._lock.wait(left)
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Send what there is, and stop."""
        if self._thread is not None:
            self.flush(timeout)
        with self._lock:
            self._stopping = True
            self._lock.notify_all()

    # --- in the caller's thread: never raises, never waits

    def _on_request(self, request: Any) -> None:
        request.extensions["f0_started"] = self._clock()

    async def _on_request_async(self, request: Any) -> None:
        self._on_request(request)

    def _on_response(self, response: Any) -> None:
        try:
            if response.status_code == 200 and response.request.url.path.endswith(PATHS):
                response.stream = _tee(response.stream, self._heard(response))
        except Exception:  # noqa: BLE001 - recording is never worth an error of the app's
            self.stats.lost += 1

    async def _on_response_async(self, response: Any) -> None:
        self._on_response(response)

    def _heard(self, response: Any) -> Callable[[list[bytes]], None]:
        """What is to be done with the answer's bytes once it is over."""
        user = _user.get() or ((self._default, None, None) if self._default else None)
        encoding = response.headers.get("content-encoding", "")
        started = response.request.extensions.get("f0_started", self._clock())

        def over(pieces: list[bytes]) -> None:
            duration = max(0, int((self._clock() - started) * 1000))
            if user is None:
                self.stats.without_user += 1
                return
            self._put(lambda: self._event(pieces, encoding, user, started, duration))

        return over

    def _put(self, make: Callable[[], dict[str, Any] | None]) -> None:
        with self._lock:
            if len(self._queue) >= self._max_queue:
                self.stats.lost += 1
                return
            self._queue.append(make)
            self._start()
            self._lock.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="usage")
            self._thread.start()

    # --- in the thread of its own

    def _event(
        self,
        pieces: list[bytes],
        encoding: str,
        user: tuple[str | None, str | None, str | None],
        started: float,
        duration: int,
    ) -> dict[str, Any] | None:
        told = usage_of(_decoded(b"".join(pieces), encoding))
        if told is None:
            self.stats.without_usage += 1
            return None
        uid, plan, tier = user
        request_id = told.get("id")
        event = {
            "requestId": request_id if isinstance(request_id, str) and len(request_id) >= 8 else uuid.uuid4().hex,
            "uid": uid,
            "time": int(started * 1000),
            "durationMs": duration,
            "response": told,
        }
        self.stats.recorded += 1
        return event | ({"plan": plan} if plan else {}) | ({"tier": tier} if tier else {})

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    if self._stopping:
                        return
                    self._lock.wait(1.0)
                taken = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                self._busy = True
            try:
                self._send([event for make in taken if (event := _quietly(make)) is not None])
            finally:
                with self._lock:
                    self._busy = False
                    self._lock.notify_all()

    def _send(self, events: list[dict[str, Any]]) -> None:
        """Again and again until it is answered for good; the same events count once."""
        end = time.monotonic() + self._give_up_after
        wait = 0.2
        while events:
            try:
                body = json.dumps({"events": events}).encode()
                headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
                request = urllib.request.Request(self._url, body, headers, method="POST")
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    result = json.load(answer)
                self.stats.accepted += result["accepted"]
                self.stats.rejected += len(result["rejected"])
                return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500 and error.code not in (408, 429):
                    break
            except Exception:  # noqa: BLE001,S110 - no answer, or none that can be read: sent again
                pass
            if time.monotonic() + wait > end or self._stopping:
                break
            time.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(30.0, wait * 2)
        self.stats.lost += len(events)


def usage_of(text: str) -> dict[str, Any] | None:
    """What an answer tells of its usage, without what was said: as `response` of an event. None if it tells none."""
    if text.lstrip().startswith("{"):
        body = json.loads(text)
        return _kept(body) if isinstance(body.get("usage"), dict) else None
    start: dict[str, Any] | None = None
    found: dict[str, Any] | None = None
    for line in text.splitlines():
        if not line.startswith("data:") or '"usage"' not in line:
            continue
        event = json.loads(line[5:])
        if event.get("type") == "message_start":
            start = _kept(event["message"])
        elif event.get("type") == "message_delta" and start is not None:
            start["usage"] |= {name: value for name, value in event["usage"].items() if value is not None}
        else:
            answer = event["response"] if isinstance(event.get("response"), dict) else event
            if isinstance(answer.get("usage"), dict):
                found = _kept(answer)
    return start or found


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    """Of a response's output only which searches were made, without what was looked for or found."""
    kept: dict[str, Any] = {n: body[n] for n in ("id", "type", "object", "model", "service_tier", "usage") if n in body}
    output = body.get("output")
    listed = [one for one in output if isinstance(one, dict)] if isinstance(output, list) else []
    tools = [one for one in listed if one.get("type") in ("web_search_call", "file_search_call")]
    if tools:
        kept["output"] = [{"type": one["type"], "action": {"type": _action(one)}} for one in tools]
    return kept


def _action(tool: dict[str, Any]) -> Any:
    action = tool.get("action")
    return action.get("type", "search") if isinstance(action, dict) else "search"


def _quietly(make: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
    try:
        return make()
    except Exception:  # noqa: BLE001 - an answer that cannot be read is the provider's business
        return None


def _decoded(body: bytes, encoding: str) -> str:
    if encoding in ("gzip", "x-gzip"):
        body = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(body)
    elif encoding == "deflate":
        body = zlib.decompress(body)
    return body.decode("utf-8", "replace")


def _tee(stream: Any, over: Callable[[list[bytes]], None]) -> Any:
    """A stream that gives what `stream` gives, and tells `over` of it once it is closed."""
    base = next(c for c in type(stream).__mro__ if c.__name__ in ("SyncByteStream", "AsyncByteStream"))
    pieces: list[bytes] = []
    size = 0
    told = False

    def hear(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size <= MOST_BYTES:
            pieces.append(piece)

    def close() -> None:
        nonlocal told
        if not told:
            told = True
            over(pieces if size <= MOST_BYTES else [])

    if base.__name__ == "SyncByteStream":

        class Tee(base):  # type: ignore[misc,valid-type]
            def __iter__(self) -> Iterator[bytes]:
                for piece in stream:
                    hear(piece)
                    yield piece

            def close(self) -> None:
                try:
                    stream.close()
                finally:
                    close()

        return Tee()

    class AsyncTee(base):  # type: ignore[misc,valid-type]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in stream:
                hear(piece)
                yield piece

        async def aclose(self) -> None:
            try:
                await stream.aclose()
            finally:
                close()

    return AsyncTee()


def _begin_all() -> None:
    for client in list(_clients):
        client._begin()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_all)

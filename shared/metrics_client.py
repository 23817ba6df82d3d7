"""Send an app's metrics to F0 Ops. One file, standard library only: copy it into your app.

    client = MetricsClient("https://ops.example.com", key)
    client.record("api_latency", 123.4, endpoint="/api/orders", method="GET", status=200)
    with client.time("firestore_read_latency", collection="orders"):
        ...
    application = client.wsgi(application)  # every request becomes one api_latency sample; for ASGI client.asgi
    client.keep_alive("support")            # a heartbeat a minute: the agent is up

    @client.timed("agent_latency", with_status=True, agent="support")
    async def answer(question): ...

`record` costs a microsecond or two, raises nothing and never waits for the network. A daemon thread sends what has
gathered every `flush_seconds`, or sooner when `max_batch` metrics wait. At most `max_queue` metrics wait (a few more if
many threads record at that very moment): beyond that the newest are dropped, and counted. What waits is sent when the
interpreter exits and, unless the app handles SIGTERM itself, on SIGTERM; an app that leaves by `os._exit` should call
`close` before.

Give routes as templates (`/users/:id/orders`), not as the path that was asked for. A label is cut to 200 characters and
its name to 63, so that a long one does not cost the sample.

A batch that gets no clear answer is sent again with the same batchId and the same body, so it counts once however
often it arrives.
"""

from __future__ import annotations

import atexit
import inspect
import io
import json
import logging
import math
import os
import random
import re
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import wraps
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    import socket
    import ssl
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MAX_BODY_BYTES = 1024 * 1024
MAX_BATCH = 10_000
MAX_TEXT = 1000  # characters of a text that wait in the queue; the next two are what the server takes
MAX_LABEL = 200
MAX_LABEL_NAME = 63
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_RETRY_AFTER = 60.0
ATTEMPTS = 8  # with the pauses below: about a minute in all
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
PAUSE_WHEN_CLOSING = 0.25
MAX_WEIGHT = 1000
HIGH_VOLUME_ONE_IN = 10
MAX_NAMES = 1000  # names counted for `high_volume`, and agents that beat
SHORTEST_BEAT = 1.0
FRAME = 100  # bytes of a body besides its series, and of a series besides its head and points
FRAME_OF_SERIES = 16

Label: TypeAlias = str | int | float
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_Item: TypeAlias = tuple[str, float, dict[str, Any], float, int]  # name, value, labels, seconds since 1970, weight
_Point: TypeAlias = tuple[bytes, bytes, bytes]  # head of its series, timestamp, value, as JSON
_log = logging.getLogger("f0ops.metrics")
_ID = re.compile(
    r"""(?xs)(?!v\d+(?:(?:alpha|beta|rc)\d*)?$)(?:
    (?=.*\d)[\d\W_]+                              # 8341
    | .*@.*
    | (?=.*\d)[0-9a-fA-F-]{8,}                      # a UUID, a hash
    | .*\d[A-Za-z]+\d.*                             # a8f3c0
    | .*(?<!\d)(?!20\d{6}(?!\d))\d{3,}.*            # ord_19283, but not the date of a release
    | (?=.*\d)(?=.*[a-z])(?=.*[A-Z])[\w=-]{16,}     # a token
    )"""
)
_AGENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_FAILURES = {"error", "failure", "failed", "timeout"}
_FAILED_AT = {"error_rate": 1.0} | dict.fromkeys(  # of samples that are 0 or 1
    ("availability", "agent_success_rate", "agent_uptime", "probe_success"), 0.0
)


@dataclass(frozen=True)
class Stats:
    """What has become of every call of `record`; the seven numbers up to `sampled_out` add up to the calls made.

    accepted: the server has it · rejected: refused by the server, or not a finite number · lost: given up after all
    attempts · dropped: there was no room, or the client was closed · queued · sending · sampled_out: another sample
    stands for it. beats: heartbeats that the server has · beats_failed: those that it has not. `reasons` holds the last
    few causes of rejection, loss and failed heartbeats, oldest first.
    """

    accepted: int
    rejected: int
    lost: int
    dropped: int
    queued: int
    sending: int
    sampled_out: int
    beats: int
    beats_failed: int
    reasons: tuple[str, ...]


class MetricsClient:
    """`url`: where F0 Ops is, without /api/metrics. `clock`: seconds since 1970. `timeout`: seconds for one attempt.

    `sample_one_in`, as {"api_latency": 10}: of that metric's samples one in 10 is kept, at random, with the weight 10.
    `high_volume`, in samples a second: each other metric is so sampled, one in 10, as soon as it has been recorded more
    often than that in the running second, until the second ends. Kept always, with the weight 1: samples whose `status`
    is 500 to 599, error, failure, failed or timeout, and those of the metrics of 0 and 1 that say a failure.

    That is unbiased: a sample that is kept with the probability 1/N counts N times, so its expected share in every sum
    and in every count (also in that of the values up to some bound, from which quantiles are read) is exactly its own.
    N depends on the sample itself and on how many came before it, never on which of them were drawn.

    `flush_on_sigterm`: send what waits before SIGTERM ends the process. It needs the main thread, and an app that has
    no handler of its own: one that it has, or sets later, is left alone.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        flush_seconds: float = 5.0,
        max_batch: int = 500,
        max_queue: int = 20_000,
        clock: Callable[[], float] = time.time,
        timeout: float = 5.0,
        sample_one_in: Mapping[str, int] | None = None,
        high_volume: float | None = None,
        flush_on_sigterm: bool = True,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must begin with http:// or https:// and name a host")
        if not 1 <= max_batch <= MAX_BATCH or max_queue < 1 or flush_seconds <= 0 or timeout <= 0:
            raise ValueError(f"max_batch is 1 to {MAX_BATCH}; max_queue, flush_seconds and timeout are above 0")
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError("key must be printable ASCII text")
        one_in = dict(sample_one_in or {})
        if any(type(n) is not int or not 1 <= n <= MAX_WEIGHT for n in one_in.values()):
            raise ValueError(f"sample_one_in must hold whole numbers from 1 to {MAX_WEIGHT}")
        if high_volume is not None and not high_volume > 0:
            raise ValueError("high_volume must be above 0 samples a second")
        self._secure = parts.scheme == "https"
        self._address = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/") + "/api/metrics"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Connection": "close"}
        self._flush_seconds = flush_seconds
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._clock = clock
        self._timeout = timeout
        self._sampling = _Sampling(one_in, high_volume) if one_in or high_volume is not None else None
        self._tls: ssl.SSLContext | None = None
        self._closed = False
        self._begin()
        _clients.add(self)
        if flush_on_sigterm:
            _handle_sigterm()

    def _begin(self) -> None:
        """The state of a process: made at the start, and anew in a forked child, where the parent's thread is not."""
        self._queue: deque[_Item] = deque()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # guards the numbers below; a signal handler may take it again
        self._changed = threading.Condition(self._lock)  # told when one changes
        self._taken = self._accepted = self._rejected = self._lost = 0  # of what the sender took from the queue
        self._dropped = self._refused = self._sampled_out = 0  # of what never came into the queue
        self._chance = random.Random().random  # its own, so that forked children do not draw the same numbers
        self._reasons: deque[str] = deque(maxlen=5)
        self._told_at = -math.inf
        self._told_labels: set[str] = set()  # of those that the server leaves out
        self._flush_asked = False
        self._give_up_at = math.inf
        self._wake = _Wake()
        self._beat_thread: threading.Thread | None = None
        self._beat_wake = _Wake()
        self._agents: dict[str, tuple[float, float | None]] = {}  # agent → when its next beat is due, seconds between
        self._beats = self._beats_failed = 0

    # Recording

    def record(self, name: str, value: float, /, **labels: Label) -> None:
        """Take one observation, in the metric's unit."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._max_queue or self._closed:
            with self._lock:
                self._dropped += 1
            return
        try:
            value = float(value)
            if not math.isfinite(value):
                raise ValueError
            if type(name) is not str or len(name) > MAX_TEXT:
                name = str(name)[:MAX_TEXT]
            at = self._clock()
            weight = 1
            if self._sampling is not None:
                weight = self._sampling.one_in(name, at)
                if weight > 1:
                    if _is_failure(name, value, labels.get("status")):
                        weight = 1
                    elif self._chance() * weight >= 1:
                        with self._lock:
                            self._sampled_out += 1
                        return
            for label, given in labels.items():
                if type(given) is not str or len(given) > MAX_TEXT:
                    labels[label] = str(given)[:MAX_TEXT]  # now, so that the queue keeps no object of the app alive
        except Exception:  # noqa: BLE001 - whatever a value's own methods raise: measuring must not break the app
            with self._lock:
                self._refused += 1
                self._reasons.append("a value that is no finite number, or a label without a text")
            return
        queue.append((name, value, labels, at, weight))
        if self._thread is None:
            self._start()
        if waiting + 1 >= self._max_batch:
            self._wake.set()

    def time(self, name: str, /, *, with_status: bool = False, **labels: Label) -> Timer:
        """`with client.time("db_latency", table="orders"):` records the block's milliseconds, also if it raises.

        `async with` does the same. `with_status` adds the label `status`: ok, error if the block raised, or cancelled
        if it was ended from outside (a cancelled task, Ctrl-C).
        """
        return Timer(self, name, labels, with_status)

    def timed(self, name: str, /, *, with_status: bool = False, **labels: Label) -> Callable[[_Function], _Function]:
        """`@client.timed("agent_latency", agent="support")` records each call as `time` does.

        For functions and coroutine functions; of generators and async generators the time from the first value asked
        for to the end, the caller's pauses included. What is sent into an async generator is not passed on.
        """

        def timer() -> Timer:
            return self.time(name, with_status=with_status, **labels)

        def decorate(function: _Function) -> _Function:
            return cast("_Function", wraps(function)(_timed(function, timer)))

        return decorate

    def wsgi(self, app: WSGIApplication, endpoint: Callable[[WSGIEnvironment], str] | None = None) -> WSGIApplication:
        """`app`, recording api_latency with endpoint, method and status for every request.

        `endpoint` is called when the answer is complete, so the app may have left the route's pattern in the
        environment. That is the better way: without it the path is taken, and of the ids in it only those that look
        like one (`8341`, a UUID, `ord_19283`) become `:id`. Flask's route is found without it, as `/users/<int:id>`.
        """

        def measured(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return _Answer(self, app, environ, start_response, endpoint)

        return cast("WSGIApplication", measured)

    def asgi(self, app: ASGIApp, endpoint: Callable[[Scope], str] | None = None) -> ASGIApp:
        """`app`, recording api_latency with endpoint, method and status for every HTTP request.

        The time ends with the response, before background tasks. A visitor who leaves before the response has begun
        counts as status 499. `endpoint` is called when the answer is complete; without it the route's pattern is taken
        that Starlette and FastAPI leave in the scope, as `/users/{id}`, else the path as `wsgi` does.
        """

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await _AsgiAnswer(self, scope, receive, send, endpoint).run(app)
            else:
                await app(scope, receive, send)

        return measured

    # Heartbeats, from a thread of their own: a server that is slow to take metrics must not make an agent look dead

    def beat(self, agent: str) -> None:
        """Say once, in the background, that `agent` is up. A beat that fails is counted in `stats`, not repeated."""
        self._add_beat(agent, None)

    def keep_alive(self, agent: str, every: float = 60.0) -> None:
        """Beat for `agent` now and every so many seconds (1 at least) until `close`. A forked child has to ask anew."""
        self._add_beat(agent, every)

    def _add_beat(self, agent: str, every: float | None) -> None:
        reason = ""
        try:
            if every is not None:
                every = float(every)
            if not _AGENT.fullmatch(agent) or (every is not None and not every > 0):
                reason = "an agent is named by up to 63 of A-Z a-z 0-9 . _ - and beats every so many seconds"
        except Exception:  # noqa: BLE001 - measuring must not break the app
            reason = "an agent is a text, its interval a number"
        with self._lock:
            if not reason and agent not in self._agents and len(self._agents) >= MAX_NAMES:
                reason = f"more than {MAX_NAMES} agents"
            if self._closed:
                reason = "closed before it could be sent"
            if reason:
                self._beats_failed += 1
                self._reasons.append(reason)
                return
            before = self._agents.get(agent, (0.0, None))[1]
            self._agents[agent] = (time.monotonic(), before if every is None else max(SHORTEST_BEAT, every))
        self._beat_wake.set()
        self._start()

    # Ending

    def flush(self, timeout: float = 5.0) -> bool:
        """Send what waits now. True once everything recorded before the call is settled, False after `timeout` s."""
        with self._changed:
            goal = self._taken + len(self._queue)
            if self._settled() >= goal:
                return True
            self._flush_asked = True
            self._wake.set()
            return self._changed.wait_for(lambda: self._settled() >= goal, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most about `timeout` seconds, and end. What is recorded afterwards is dropped."""
        self._begin_closing(timeout)
        for thread, work in ((self._thread, self._run), (self._beat_thread, self._run_beats)):
            if thread is None:
                work()
            else:
                thread.join(max(0.0, self._give_up_at - time.monotonic()))

    def _begin_closing(self, timeout: float) -> None:
        with self._changed:
            self._closed = True
            self._give_up_at = min(self._give_up_at, time.monotonic() + timeout)
            self._changed.notify_all()
        self._wake.set()
        self._beat_wake.set()

    @property
    def stats(self) -> Stats:
        with self._changed:
            return Stats(
                accepted=self._accepted,
                rejected=self._rejected + self._refused,
                lost=self._lost,
                dropped=self._dropped,
                queued=len(self._queue),
                sending=self._taken - self._settled(),
                sampled_out=self._sampled_out,
                beats=self._beats,
                beats_failed=self._beats_failed,
                reasons=tuple(self._reasons),
            )

    # Sending, in the client's own thread

    def _start(self) -> None:
        """Start the threads that have something to do.

        Where none is to be had now, the next call tries again, and `close` does without.
        """
        with self._lock, suppress(RuntimeError):
            if self._thread is None and self._queue:
                self._thread = _running(self._run, "f0ops-metrics")
            if self._beat_thread is None and self._agents:
                self._beat_thread = _running(self._run_beats, "f0ops-heartbeats")

    def _run(self) -> None:
        due = time.monotonic() + self._flush_seconds
        while True:
            if not self._closed:
                self._wake.wait(due - time.monotonic())
            closing = self._closed
            goal = 0  # woken by a full batch: full batches only
            with self._changed:
                if closing or self._flush_asked or time.monotonic() >= due:
                    goal = self._taken + len(self._queue)
                    due = time.monotonic() + self._flush_seconds
                    self._flush_asked = False
            while len(self._queue) >= self._max_batch or self._taken < goal:
                self._deliver()
            if closing:
                return

    def _deliver(self) -> None:
        """Take up to a batch from the queue and settle it: in one body, or in several if it is large."""
        with self._changed:
            items = [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]
            self._taken += len(items)
        goal = self._settled() + len(items)
        try:
            points = _points(items)
            if len(points) < len(items):
                self._settle(rejected=len(items) - len(points), reasons=["a metric that cannot be written as JSON"])
            for body, count in _bodies(points):
                self._send(body, count)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the next batch must have its turn
            self._settle(lost=goal - self._settled(), reasons=[type(error).__name__])

    def _send(self, body: bytes, count: int) -> None:
        reason = "closed before it could be sent"
        for attempt in range(ATTEMPTS):
            if time.monotonic() >= self._give_up_at:
                break
            try:
                answer = _read(*self._post(self._path, body))
                accepted, reasons = _outcome(answer)
            except _Refused as refused:
                return self._settle(rejected=count, reasons=[str(refused)])
            except _NoAnswer as failure:
                reason = str(failure)
                if attempt + 1 < ATTEMPTS:
                    self._pause(attempt, failure.retry_after)
            else:
                self._tell_of_labels(answer.get("droppedLabels"))
                accepted = max(0, min(count, accepted))
                return self._settle(accepted=accepted, rejected=count - accepted, reasons=reasons)
        return self._settle(lost=count, reasons=[reason])

    def _pause(self, attempt: int, retry_after: float | None) -> None:
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0)
        if retry_after is not None:
            seconds = min(retry_after, MAX_RETRY_AFTER)
        if self._closed:
            time.sleep(min(seconds, PAUSE_WHEN_CLOSING))
        else:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, seconds)

    def _post(self, path: str, body: bytes) -> tuple[int, str | None, bytes]:
        """One attempt: status, Retry-After and content of the answer. Raises `_NoAnswer`."""
        end = min(time.monotonic() + self._timeout, self._give_up_at)
        connection = self._connection(max(0.001, end - time.monotonic()))
        try:
            connection.connect()
            connection.sock = cast("socket.socket", _Deadlined(connection.sock, end))
            connection.request("POST", path, body, self._headers)
            response = connection.getresponse()
            content = response.read(MAX_ANSWER_BYTES)
            if response.length:
                raise IncompleteRead(content, response.length)
        except (OSError, HTTPException, ValueError) as error:
            raise _NoAnswer(f"no answer: {type(error).__name__}") from error
        finally:
            connection.close()
        return response.status, response.headers.get("Retry-After"), content

    def _run_beats(self) -> None:
        while True:
            closing = self._closed
            for agent in self._due_agents(time.monotonic()):
                self._send_beat(agent)
            if closing:
                return
            with self._lock:
                due = min((at for at, _ in self._agents.values()), default=math.inf)
            self._beat_wake.wait(due - time.monotonic())

    def _due_agents(self, now: float) -> list[str]:
        with self._lock:
            due = [agent for agent, (at, _) in self._agents.items() if at <= now]
            for agent in due:
                every = self._agents[agent][1]
                if every is None:
                    del self._agents[agent]
                else:
                    self._agents[agent] = (now + every, every)
        return due

    def _send_beat(self, agent: str) -> None:
        try:
            _read(*self._post(f"{self._path}/heartbeat/{agent}", b""))  # no body: now, by the server's clock
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the next beat must have its turn
            with self._lock:
                self._beats_failed += 1
                self._reasons.append(f"heartbeat: {error}")
            self._warn("a heartbeat of %s failed: %s", agent, error)
        else:
            with self._lock:
                self._beats += 1

    def _connection(self, timeout: float) -> HTTPConnection:
        host, port = self._address
        if not self._secure:
            return HTTPConnection(host, port, timeout=timeout)
        if self._tls is None:
            import ssl  # an app may live without it

            self._tls = ssl.create_default_context()
        return HTTPSConnection(host, port, timeout=timeout, context=self._tls)

    def _settled(self) -> int:
        return self._accepted + self._rejected + self._lost

    def _settle(self, *, accepted: int = 0, rejected: int = 0, lost: int = 0, reasons: Iterable[str] = ()) -> None:
        with self._changed:
            self._accepted += accepted
            self._rejected += rejected
            self._lost += lost
            self._reasons.extend(reasons)
            self._changed.notify_all()
        if rejected or lost:
            self._warn("%d metrics rejected, %d lost: %s", rejected, lost, "; ".join(self._reasons))

    def _warn(self, message: str, *of: object) -> None:
        """In the app's log, at most once a minute."""
        if time.monotonic() - self._told_at > 60:
            self._told_at = time.monotonic()
            _log.warning(message, *of)

    def _tell_of_labels(self, dropped: object) -> None:
        """The samples counted all the same, so each label is told once."""
        if isinstance(dropped, dict) and len(self._told_labels) < MAX_NAMES:
            labels = sorted(dropped.keys() - self._told_labels)
            self._told_labels.update(labels)
            if labels:
                _log.warning("labels left out, as no metric of theirs has them: %s", ", ".join(labels))


class Timer:
    """Made by `MetricsClient.time`. `labels` may be added to inside the block; a `status` given there is kept."""

    def __init__(self, client: MetricsClient, name: str, labels: dict[str, Label], with_status: bool) -> None:
        self.labels = labels
        self._client = client
        self._name = name
        self._with_status = with_status

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        milliseconds = (time.perf_counter() - self._began) * 1000
        if self._with_status:
            status = "ok" if raised is None else "error" if issubclass(raised, Exception) else "cancelled"
            self.labels.setdefault("status", status)
        self._client.record(self._name, milliseconds, **self.labels)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *raised: Any) -> None:
        self.__exit__(*raised)


def _timed(function: Callable[..., Any], timer: Callable[[], Timer]) -> Callable[..., Any]:
    """`function` with a timer around each call, of the same kind as it is."""

    def plain(*args: Any, **kwargs: Any) -> Any:
        with timer():
            return function(*args, **kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        with timer():
            return await function(*args, **kwargs)

    def generator(*args: Any, **kwargs: Any) -> Any:
        with timer():
            return (yield from function(*args, **kwargs))

    async def async_generator(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with timer():
            async with aclosing(function(*args, **kwargs)) as parts:
                async for part in parts:
                    yield part

    if inspect.isasyncgenfunction(function):
        return async_generator
    if inspect.iscoroutinefunction(function):
        return coroutine
    return generator if inspect.isgeneratorfunction(function) else plain


class _Answer:
    """A WSGI answer that records itself once: when its last part is read, when it is closed, or when it breaks."""

    def __init__(
        self,
        client: MetricsClient,
        app: WSGIApplication,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        endpoint: Callable[[WSGIEnvironment], str] | None,
    ) -> None:
        self._client = client
        self._environ = environ
        self._start_response = start_response
        self._endpoint = endpoint
        self._route: str | None = None
        self._began = time.perf_counter()
        self._status = "500"
        self._recorded = False
        try:
            self._answer = app(environ, self._start)
            self._parts = iter(self._answer)
        except BaseException:
            self._broken()
            raise

    def _start(self, status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
        self._status = status[:3]
        rule = getattr(self._environ.get("werkzeug.request"), "url_rule", None)  # Flask takes it away before the end
        self._route = getattr(rule, "rule", None)
        return self._start_response(status, headers, *error)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except StopIteration:
            self._record()
            raise
        except BaseException:
            self._broken()
            raise

    def close(self) -> None:
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._record()

    def _broken(self) -> None:
        self._status = "500"
        self._record()

    def _record(self) -> None:
        if self._recorded:
            return
        self._recorded = True
        milliseconds = (time.perf_counter() - self._began) * 1000
        try:
            endpoint = self._route if self._endpoint is None else self._endpoint(self._environ)
        except Exception:  # noqa: BLE001 - the app's own function, and its answer is already given
            endpoint = None
        if endpoint is None:
            endpoint = _without_ids(self._environ.get("PATH_INFO", ""))
        method = self._environ.get("REQUEST_METHOD", "")
        self._client.record("api_latency", milliseconds, endpoint=endpoint, method=method, status=self._status)


class _AsgiAnswer:
    """An HTTP request of an ASGI app that records itself once: with its response's last part, or when the app ends."""

    def __init__(
        self,
        client: MetricsClient,
        scope: Scope,
        receive: Receive,
        send: Send,
        endpoint: Callable[[Scope], str] | None,
    ) -> None:
        self._client = client
        self._scope = scope
        self._receive = receive
        self._send = send
        self._endpoint = endpoint
        self._root = str(scope.get("root_path", ""))  # where the app is mounted; the app's own mounts add to it
        self._began = time.perf_counter()
        self._status = ""  # until the response has begun
        self._left = False
        self._recorded = False

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receiving, self._sending)
        except Exception:
            if not self._left:  # else it is often only the news that nobody listens
                self._status = "500"
            raise
        except BaseException:  # the server has cancelled the request
            self._left = True
            raise
        finally:
            self._record()

    async def _receiving(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._left = self._left or message["type"] == "http.disconnect"
        return message

    async def _sending(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and not self._left:
            self._status = str(message["status"])
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._record()

    def _record(self) -> None:
        if self._recorded:
            return
        self._recorded = True
        milliseconds = (time.perf_counter() - self._began) * 1000
        try:
            given = self._endpoint
            endpoint = given(self._scope) if given is not None else _asgi_endpoint(self._scope, self._root)
        except Exception:  # noqa: BLE001 - the app's own function, and its answer is already given
            endpoint = _asgi_path(self._scope, self._root)
        status = self._status or ("499" if self._left else "500")
        method = self._scope.get("method", "")
        self._client.record("api_latency", milliseconds, endpoint=endpoint, method=method, status=status)


def _asgi_endpoint(scope: Scope, root: str) -> str:
    """The pattern of the route, after the paths under which sub-applications are mounted."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return _asgi_path(scope, root)
    mounts = _without_ids(str(scope.get("root_path", "")).removeprefix(root))
    return mounts + path if hasattr(route, "methods") else mounts  # what has no methods is a mount, so already in there


def _asgi_path(scope: Scope, root: str) -> str:
    return _without_ids(str(scope.get("path", "")).removeprefix(root))


def _without_ids(path: object) -> str:
    segments = str(path)[:MAX_TEXT].split("/")
    return "/".join(":id" if _ID.fullmatch(segment) else segment for segment in segments)


class _Sampling:
    """How many samples of a metric one that is kept stands for. Threads may miscount a little: N stays known."""

    def __init__(self, one_in: Mapping[str, int], high_volume: float | None) -> None:
        self._fixed = one_in
        self._high_volume = high_volume
        self._second = 0
        self._seen: dict[str, int] = {}

    def one_in(self, name: str, at: float) -> int:
        fixed = self._fixed.get(name)
        if fixed is not None or self._high_volume is None:
            return fixed or 1
        second = int(at)
        if second != self._second or len(self._seen) > MAX_NAMES:
            self._second = second
            self._seen = {}
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        return HIGH_VOLUME_ONE_IN if seen > self._high_volume else 1


def _is_failure(name: str, value: float, status: object) -> bool:
    if _FAILED_AT.get(name) == value:
        return True
    if type(status) is int:
        return 500 <= status <= 599
    text = str(status).lower()
    return text in _FAILURES or (len(text) == 3 and text[0] == "5" and text.isdecimal())


class _Refused(Exception):
    """The server understood and said no: the same request would be refused again."""


class _NoAnswer(Exception):
    """It is not known, or not true, that the batch arrived: the same request may be sent again."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def _read(status: int, retry_after: str | None, content: bytes) -> Mapping[str, Any]:
    """The answer of a 202. Raises `_Refused` or `_NoAnswer`."""
    answer: Mapping[str, Any] = {}
    try:
        parsed = json.loads(content)
        answer = parsed if isinstance(parsed, dict) else {}
    except ValueError:
        pass
    if status == 202:
        return answer
    reason = f"{status} {answer.get('detail', '')}".strip()
    if status in (408, 429) or status >= 500:
        asked = retry_after or ""
        raise _NoAnswer(reason, float(asked) if asked.isdecimal() else None)
    raise _Refused(reason)


def _outcome(answer: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many metrics were accepted, and why others were not. Raises `_NoAnswer`."""
    if type(answer.get("accepted")) is not int:
        raise _NoAnswer("202, but the answer cannot be read")
    reasons = [str(answer["notice"])] if "notice" in answer else []
    rejected = answer.get("rejected")
    for one in rejected if isinstance(rejected, list) else ():
        why = one.get("reasons") if isinstance(one, dict) else None
        reasons.append(", ".join(map(str, why)) if isinstance(why, list) else "no reason given")
    return answer["accepted"], reasons


def _points(items: Iterable[_Item]) -> list[_Point]:
    """Each in JSON, without those that cannot be: a strange clock, too much for one body."""
    heads: dict[tuple[object, ...], bytes] = {}
    points = []
    for name, value, labels, at, weight in items:
        key = (name, weight, *labels.items())
        head = heads.get(key)
        if head is None:
            head = heads[key] = _head(name, labels, weight)
        try:
            timestamp = b"%d" % int(at * 1000)
        except (TypeError, ValueError, OverflowError):
            continue
        point = (head, timestamp, repr(value).encode())
        if _size(point) + len(head) + FRAME <= MAX_BODY_BYTES:
            points.append(point)
    return points


def _size(point: _Point) -> int:
    """Its share of a body, two commas included, where the head of its series is there already."""
    return len(point[1]) + len(point[2]) + 2


def _head(name: str, labels: Mapping[str, str], weight: int) -> bytes:
    """A series up to its times. The same for the same labels in any order: the server knows series by their text."""
    series: dict[str, object] = {"name": name}
    if labels:
        series["labels"] = {label[:MAX_LABEL_NAME]: _cut(labels[label]) for label in sorted(labels)}
    if weight > 1:
        series["weight"] = weight
    text = json.dumps(series, ensure_ascii=False, separators=(",", ":"))
    return text[:-1].encode(errors="replace") + b',"times":['


def _cut(text: str) -> str:
    """At most MAX_LABEL characters, without a broken last word: the server would not know half an address for one."""
    if len(text) <= MAX_LABEL:
        return text
    kept = text[:MAX_LABEL]
    return re.sub(r"(?<=[/\s])[^/\s]+$", "", kept) if text[MAX_LABEL] not in "/ " else kept


def _bodies(points: Iterable[_Point]) -> Iterator[tuple[bytes, int]]:
    """Bodies of at most 1 MiB, each with an id of its own and the number of its points, grouped by series."""
    series: dict[bytes, list[_Point]] = {}
    size = FRAME
    count = 0
    for point in points:
        head = point[0]
        if series and size + _size(point) + (0 if head in series else len(head) + FRAME_OF_SERIES) > MAX_BODY_BYTES:
            yield _body(series), count
            series, size, count = {}, FRAME, 0
        if head not in series:
            series[head] = []
            size += len(head) + FRAME_OF_SERIES
        series[head].append(point)
        size += _size(point)
        count += 1
    if series:
        yield _body(series), count


def _body(series: Mapping[bytes, list[_Point]]) -> bytes:
    texts = []
    for head, points in series.items():
        _, times, values = zip(*points, strict=True)
        texts.append(head + b",".join(times) + b'],"values":[' + b",".join(values) + b"]}")
    return b'{"batchId":"%s","series":[%s]}' % (str(uuid4()).encode(), b",".join(texts))


class _Wake:
    """Wakes a thread; unlike an Event it is safe inside a signal handler."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        with suppress(RuntimeError):  # another thread was faster
            if self._lock.locked():
                self._lock.release()

    def wait(self, seconds: float) -> None:
        self._lock.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))


def _running(work: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


class _Deadlined:
    """A socket whose every step ends at `end` (of `time.monotonic`): a byte now and then would hold us for ever."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock = sock
        self._end = end

    def arm(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)

    def sendall(self, data: bytes) -> None:
        self.arm()
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Deadlined.Reader(self, self._sock.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._sock.close()

    class Reader(io.RawIOBase):
        def __init__(self, deadlined: _Deadlined, raw: io.RawIOBase) -> None:
            self._deadlined = deadlined
            self._raw = raw

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int | None:
            self._deadlined.arm()
            return self._raw.readinto(buffer)

        def close(self) -> None:
            self._raw.close()
            super().close()


_clients: weakref.WeakSet[MetricsClient] = weakref.WeakSet()


def _close_all(timeout: float = 5.0) -> None:
    clients = list(_clients)
    for client in clients:  # all at once, so that several with a dead server do not wait one after the other
        client._begin_closing(timeout)
    for client in clients:
        client.close(timeout)


def _begin_all() -> None:
    for client in list(_clients):
        client._begin()


def _handle_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with suppress(ValueError):  # only the main thread of the main interpreter may
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, frame: object) -> None:
    if signal.getsignal(number) is not _on_sigterm:  # called by the app's own handler, which says what comes next
        for client in list(_clients):
            client.flush()
        return
    signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once
    _close_all()
    signal.raise_signal(number)


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_all)

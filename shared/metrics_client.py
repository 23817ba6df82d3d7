"""Send an app's metrics to F0 Ops. One file, standard library only: copy it into your app.

    client = MetricsClient("https://ops.example.com", key)
    client.record("api_latency", 123.4, endpoint="/api/orders", method="GET", status=200)
    with client.time("firestore_read_latency", collection="orders"):
        ...
    application = client.wsgi(application)  # every request becomes one api_latency sample

`record` costs a microsecond or two, raises nothing and never waits for the network. A daemon thread sends what has
gathered every `flush_seconds`, or sooner when `max_batch` metrics wait. At most `max_queue` metrics wait (a few more if
many threads record at that very moment): beyond that the newest are dropped, and counted. What waits is sent when the
interpreter exits; a process that is killed, or left by `os._exit`, should call `close` before.

Give routes as templates (`/users/:id/orders`), not as the path that was asked for. A label is cut to 200 characters and
its name to 63, so that a long one does not cost the sample.

A batch that gets no clear answer is sent again with the same batchId and the same body, so it counts once however
often it arrives.
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import math
import os
import random
import re
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast
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

Label: TypeAlias = str | int | float
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


@dataclass(frozen=True)
class Stats:
    """What has become of every call of `record`; the six numbers add up to the calls made.

    accepted: the server has it · rejected: refused by the server, or not a finite number · lost: given up after all
    attempts · dropped: there was no room, or the client was closed · queued · sending. `reasons` holds the last few
    causes of rejection and loss, oldest first.
    """

    accepted: int
    rejected: int
    lost: int
    dropped: int
    queued: int
    sending: int
    reasons: tuple[str, ...]


class MetricsClient:
    """`url`: where F0 Ops is, without /api/metrics. `clock`: seconds since 1970. `timeout`: seconds for one attempt."""

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
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must begin with http:// or https:// and name a host")
        if not 1 <= max_batch <= MAX_BATCH or max_queue < 1 or flush_seconds <= 0 or timeout <= 0:
            raise ValueError(f"max_batch is 1 to {MAX_BATCH}; max_queue, flush_seconds and timeout are above 0")
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError("key must be printable ASCII text")
        self._secure = parts.scheme == "https"
        self._address = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/") + "/api/metrics"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Connection": "close"}
        self._flush_seconds = flush_seconds
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._clock = clock
        self._timeout = timeout
        self._tls: ssl.SSLContext | None = None
        self._closed = False
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        """The state of a process: made at the start, and anew in a forked child, where the parent's thread is not."""
        self._queue: deque[tuple[str, float, dict[str, Any], float, str | None]] = deque()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # guards the numbers below, told when one changes
        self._taken = self._accepted = self._rejected = self._lost = 0  # of what the sender took from the queue
        self._dropped = self._refused = 0  # of what never came into the queue
        self._reasons: deque[str] = deque(maxlen=5)
        self._told_at = -math.inf
        self._flush_asked = False
        self._closing = threading.Event()
        self._give_up_at = math.inf
        self._wake = threading.Lock()  # released to wake the sender: unlike an Event, safe inside a signal handler
        self._wake.acquire()

    # Recording

    def record(self, name: str, value: float, /, *, aggregation: str | None = None, **labels: Label) -> None:
        """Take one observation, in the metric's unit. `aggregation`: sum, avg, p95 or count, where not the default."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= self._max_queue or self._closed:
            with self._changed:
                self._dropped += 1
            return
        try:
            value = float(value)
            if not math.isfinite(value):
                raise ValueError
            if type(name) is not str or len(name) > MAX_TEXT:
                name = str(name)[:MAX_TEXT]
            for label, given in labels.items():
                if type(given) is not str or len(given) > MAX_TEXT:
                    labels[label] = str(given)[:MAX_TEXT]  # now, so that the queue keeps no object of the app alive
        except Exception:  # noqa: BLE001 - whatever a value's own methods raise: measuring must not break the app
            with self._changed:
                self._refused += 1
                self._reasons.append("a value that is no finite number, or a label without a text")
            return
        queue.append((name, value, labels, self._clock(), aggregation))
        if self._thread is None:
            self._start()
        if waiting + 1 >= self._max_batch:
            self._nudge()

    def time(self, name: str, /, **labels: Label) -> Timer:
        """`with client.time("db_latency", table="orders"):` records the block's milliseconds, also if it raises."""
        return Timer(self, name, labels)

    def wsgi(self, app: WSGIApplication, endpoint: Callable[[WSGIEnvironment], str] | None = None) -> WSGIApplication:
        """`app`, recording api_latency with endpoint, method and status for every request.

        `endpoint` is called when the answer is complete, so the app may have left the route's pattern in the
        environment. That is the better way: without it the path is taken, and of the ids in it only those that look
        like one (`8341`, a UUID, `ord_19283`) become `:id`.
        """

        def measured(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return _Answer(self, app, environ, start_response, endpoint or _path)

        return cast("WSGIApplication", measured)

    # Ending

    def flush(self, timeout: float = 5.0) -> bool:
        """Send what waits now. True once everything recorded before the call is settled, False after `timeout` s."""
        with self._changed:
            goal = self._taken + len(self._queue)
            if self._settled() >= goal:
                return True
            self._flush_asked = True
            self._nudge()
            return self._changed.wait_for(lambda: self._settled() >= goal, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most about `timeout` seconds, and end. What is recorded afterwards is dropped."""
        self._closed = True
        self._give_up_at = min(self._give_up_at, time.monotonic() + timeout)
        self._closing.set()
        self._nudge()
        thread = self._thread
        if thread is None:
            self._run()
        else:
            thread.join(timeout)

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
                reasons=tuple(self._reasons),
            )

    # Sending, in the client's own thread

    def _start(self) -> None:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="f0ops-metrics", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # no thread to be had now; what is recorded next tries again, and `close` sends without one
                self._thread = thread

    def _nudge(self) -> None:
        try:
            if self._wake.locked():
                self._wake.release()
        except RuntimeError:
            pass  # another thread was faster

    def _run(self) -> None:
        due = time.monotonic() + self._flush_seconds
        while True:
            if not self._closing.is_set():
                self._wake.acquire(timeout=max(0.0, due - time.monotonic()))
            closing = self._closing.is_set()
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
            pieces = [_encode(item) for item in items]
            fitting = [piece for piece in pieces if piece]
            if len(fitting) < len(items):
                self._settle(rejected=len(items) - len(fitting), reasons=["a metric that cannot be written as JSON"])
            for body, count in _bodies(fitting):
                self._send(body, count)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the next batch must have its turn
            self._settle(lost=goal - self._settled(), reasons=[type(error).__name__])

    def _send(self, body: bytes, count: int) -> None:
        reason = "closed before it could be sent"
        for attempt in range(ATTEMPTS):
            if time.monotonic() >= self._give_up_at:
                break
            try:
                accepted, reasons = self._post(body)
            except _Refused as refused:
                return self._settle(rejected=count, reasons=[str(refused)])
            except _NoAnswer as failure:
                reason = str(failure)
                if attempt + 1 < ATTEMPTS:
                    self._pause(attempt, failure.retry_after)
            else:
                accepted = max(0, min(count, accepted))
                return self._settle(accepted=accepted, rejected=count - accepted, reasons=reasons)
        return self._settle(lost=count, reasons=[reason])

    def _pause(self, attempt: int, retry_after: float | None) -> None:
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0)
        if retry_after is not None:
            seconds = min(retry_after, MAX_RETRY_AFTER)
        if self._closing.is_set():
            time.sleep(min(seconds, PAUSE_WHEN_CLOSING))
        else:
            self._closing.wait(seconds)

    def _post(self, body: bytes) -> tuple[int, list[str]]:
        """One attempt: how many were accepted, and why others were not. Raises `_Refused` or `_NoAnswer`."""
        end = min(time.monotonic() + self._timeout, self._give_up_at)
        connection = self._connection(max(0.001, end - time.monotonic()))
        try:
            connection.connect()
            connection.sock = cast("socket.socket", _Deadlined(connection.sock, end))
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            content = response.read(MAX_ANSWER_BYTES)
            if response.length:
                raise IncompleteRead(content, response.length)
        except (OSError, HTTPException, ValueError) as error:
            raise _NoAnswer(f"no answer: {type(error).__name__}") from error
        finally:
            connection.close()
        return _read(response.status, response.headers.get("Retry-After"), content)

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
        if (rejected or lost) and time.monotonic() - self._told_at > 60:
            self._told_at = time.monotonic()
            _log.warning("%d metrics rejected, %d lost: %s", rejected, lost, "; ".join(self._reasons))


class Timer:
    """Made by `MetricsClient.time`. `labels` may be added to inside the block."""

    def __init__(self, client: MetricsClient, name: str, labels: dict[str, Label]) -> None:
        self.labels = labels
        self._client = client
        self._name = name

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.record(self._name, (time.perf_counter() - self._began) * 1000, **self.labels)  # type: ignore[arg-type]


class _Answer:
    """A WSGI answer that records itself once: when its last part is read, when it is closed, or when it breaks."""

    def __init__(
        self,
        client: MetricsClient,
        app: WSGIApplication,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        endpoint: Callable[[WSGIEnvironment], str],
    ) -> None:
        self._client = client
        self._environ = environ
        self._start_response = start_response
        self._endpoint = endpoint
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
            endpoint = self._endpoint(self._environ)
        except Exception:  # noqa: BLE001 - the app's own function, and its answer is already given
            endpoint = _path(self._environ)
        method = self._environ.get("REQUEST_METHOD", "")
        self._client.record("api_latency", milliseconds, endpoint=endpoint, method=method, status=self._status)


def _path(environ: WSGIEnvironment) -> str:
    segments = str(environ.get("PATH_INFO", ""))[:MAX_TEXT].split("/")
    return "/".join(":id" if _ID.fullmatch(segment) else segment for segment in segments)


class _Refused(Exception):
    """The server understood and said no: the same request would be refused again."""


class _NoAnswer(Exception):
    """It is not known, or not true, that the batch arrived: the same request may be sent again."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def _read(status: int, retry_after: str | None, content: bytes) -> tuple[int, list[str]]:
    answer: Mapping[str, Any] = {}
    try:
        parsed = json.loads(content)
        answer = parsed if isinstance(parsed, dict) else {}
    except ValueError:
        pass
    if status == 202:
        if type(answer.get("accepted")) is not int:
            raise _NoAnswer("202, but the answer cannot be read")
        reasons = [str(answer["notice"])] if "notice" in answer else []
        rejected = answer.get("rejected")
        for one in rejected if isinstance(rejected, list) else ():
            why = one.get("reasons") if isinstance(one, dict) else None
            reasons.append(", ".join(map(str, why)) if isinstance(why, list) else "no reason given")
        return answer["accepted"], reasons
    reason = f"{status} {answer.get('detail', '')}".strip()
    if status in (408, 429) or status >= 500:
        asked = retry_after or ""
        raise _NoAnswer(reason, float(asked) if asked.isdecimal() else None)
    raise _Refused(reason)


def _encode(item: tuple[str, float, dict[str, Any], float, str | None]) -> bytes | None:
    """A metric as JSON, or None where that cannot be: a strange clock, or too much for one body."""
    name, value, labels, at, aggregation = item
    labels = {label[:MAX_LABEL_NAME]: _cut(text) for label, text in labels.items()}
    try:
        metric = {"name": name, "value": value, "labels": labels, "timestamp": int(at * 1000)}
        if aggregation is not None:
            metric["aggregation"] = aggregation
        encoded = json.dumps(metric, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    except (TypeError, ValueError, OverflowError):
        return None
    return encoded if len(encoded) < MAX_BODY_BYTES - 100 else None


def _cut(text: str) -> str:
    """At most MAX_LABEL characters, without a broken last word: the server would not know half an address for one."""
    if len(text) <= MAX_LABEL:
        return text
    kept = text[:MAX_LABEL]
    return re.sub(r"(?<=[/\s])[^/\s]+$", "", kept) if text[MAX_LABEL] not in "/ " else kept


def _bodies(metrics: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Bodies of at most 1 MiB, each with an id of its own and the number of its metrics."""
    gathered: list[bytes] = []
    size = 100  # the frame
    for metric in metrics:
        if gathered and size + len(metric) + 1 > MAX_BODY_BYTES:
            yield _body(gathered), len(gathered)
            gathered, size = [], 100
        gathered.append(metric)
        size += len(metric) + 1
    if gathered:
        yield _body(gathered), len(gathered)


def _body(metrics: list[bytes]) -> bytes:
    return b'{"batchId":"%s","metrics":[%s]}' % (str(uuid4()).encode(), b",".join(metrics))


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


def _close_all() -> None:
    for client in list(_clients):
        client.close()


def _begin_all() -> None:
    for client in list(_clients):
        client._begin()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_all)

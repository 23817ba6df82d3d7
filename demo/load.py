"""Visitors of the shop: threads with kept connections, so many requests a second and no more in flight than threads."""

from __future__ import annotations

import http.client
import json
import math
import random
import threading
import time
from collections import deque
from dataclasses import dataclass

WINDOW = 3.0  # seconds that the figures look back
JSON = {"Content-Type": "application/json"}
ITEMS = ("teapot", "lamp", "kettle", "umbrella", "globe")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the last seconds: requests a second, 95th percentile in ms (None without a request), share of errors in %."""

    rate: float
    p95: float | None
    errors: float

    def __str__(self) -> str:
        p95 = "      " if self.p95 is None else f"{self.p95:3.0f} ms"
        return f"{self.rate:4.0f} requests/s   p95 {p95:>7}   errors {self.errors:3.0f} %"


class Load:
    """`rate` requests a second to 127.0.0.1:`port` from `threads` threads. When all are busy, requests are left out."""

    def __init__(self, port: int, rate: float = 40.0, threads: int = 32) -> None:
        self.sent = 0
        self._port = port
        self._interval = 1 / rate
        self._next = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._seen: deque[tuple[float, float, bool]] = deque()  # when it ended, ms, whether it failed
        self._threads = [threading.Thread(target=self._visit, daemon=True, name="visitor") for _ in range(threads)]

    def start(self) -> None:
        self._next = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """On return no request is under way."""
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(15)

    def figures(self) -> Figures:
        now = time.monotonic()
        with self._lock:
            while self._seen and self._seen[0][0] < now - WINDOW:
                self._seen.popleft()
            seen = list(self._seen)
        if not seen:
            return Figures(0, None, 0)
        times = sorted(ms for _, ms, _ in seen)
        failed = sum(failed for _, _, failed in seen)
        return Figures(len(seen) / WINDOW, times[math.ceil(0.95 * len(times)) - 1], 100 * failed / len(seen))

    def _visit(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._ended.wait(self._wait_for_turn()):
            method, path, body = _choose()
            began = time.monotonic()
            try:
                connection.request(method, path, body, JSON if body else {})
                response = connection.getresponse()
                response.read()
                failed = response.status >= 500
            except (OSError, http.client.HTTPException):
                connection.close()
                failed = True
            ended = time.monotonic()
            with self._lock:
                self.sent += 1
                self._seen.append((ended, 1000 * (ended - began), failed))
        connection.close()

    def _wait_for_turn(self) -> float:
        """Take the next place in the schedule: how many seconds it is away."""
        now = time.monotonic()
        with self._lock:
            turn = max(self._next, now - self._interval)  # what could not be sent in time is not made up for
            self._next = turn + self._interval
        return max(0.0, turn - now)


def _choose() -> tuple[str, str, bytes | None]:
    """What a visitor does next: half look at orders, a fifth place one."""
    dice = random.random()
    if dice < 0.5:
        return "GET", "/api/orders", None
    if dice < 0.7:
        order = {"user": random.randrange(1, 500), "item": random.choice(ITEMS)}
        return "POST", "/api/orders", json.dumps(order).encode()
    if dice < 0.9:
        return "GET", f"/api/users/{random.randrange(1, 500)}", None
    return "POST", "/api/agent", json.dumps({"question": f"Where is my {random.choice(ITEMS)}?"}).encode()

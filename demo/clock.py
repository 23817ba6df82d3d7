"""The demo's time: a local server may let its clock run fast, and what is sent to it must bear its time."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class ServerClock:
    """The server's clock showed `start` (seconds since 1970) at `anchor` (of `time.monotonic`) and runs at `speed`."""

    start: float
    anchor: float
    speed: float

    def __call__(self) -> float:
        """Seconds since 1970 by the server's clock."""
        return self.start + (time.monotonic() - self.anchor) * self.speed


def read_clock(url: str, timeout: float = 5.0) -> ServerClock:
    """The clock of a local server, or the real one where `url` has none. Raises OSError if nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    asked = time.monotonic()
    try:
        connection.request("GET", "/dev/clock")
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url} does not speak HTTP") from error
    finally:
        connection.close()
    answered = time.monotonic()
    if response.status != 200:
        return ServerClock(time.time(), time.monotonic(), 1.0)
    told = json.loads(body)
    return ServerClock(told["now_ms"] / 1000, (asked + answered) / 2, float(told["speed"]))

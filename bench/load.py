"""A load generator in a process of its own: keep-alive connections, one request after the other on each.

    .venv/bin/python -m bench.load PORT CONNECTIONS SECONDS FILE    (FILE: JSON list of requests, base64)

Prints {requests, seconds, p99_ms, failures}.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import sys
import time
from itertools import cycle
from pathlib import Path


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.buffer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """The status once the answer is whole."""
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("the server closed the connection")
        self.buffer += part
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if len(rest) < int(lengths[0] if lengths else 0):
            return None
        return int(head[9:12])


def run(port: int, connections: int, seconds: float, requests: list[bytes]) -> dict[str, float]:
    source = cycle(requests)
    selector = selectors.DefaultSelector()
    times: list[float] = []
    failures = 0
    for _ in range(connections):
        connection = Connection(port)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(next(source))
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for key, _ in selector.select(1.0):
            status = key.data.receive()
            if status is not None:
                times.append(time.perf_counter() - key.data.sent_at)
                failures += status >= 400
                key.data.send(next(source))
    taken = time.perf_counter() - start
    times.sort()
    p99 = times[int(len(times) * 0.99)] * 1000 if times else 0.0
    return {"requests": len(times), "seconds": taken, "p99_ms": p99, "failures": failures}


if __name__ == "__main__":
    port, connections, seconds, file = sys.argv[1:]
    encoded = json.loads(Path(file).read_text())
    print(json.dumps(run(int(port), int(connections), float(seconds), [base64.b64decode(e) for e in encoded])))

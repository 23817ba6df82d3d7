"""Servers and proxies that misbehave, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_HEADERS_FRAME = 1
_END_STREAM = 1


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a listener that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


class LossyProxy:
    """Passes HTTP/2 through to `target` until `lose_next_reply`: then one call reaches the server, but its reply is
    swallowed and the connection cut. `lost` counts such replies. The next `cut_next` connections are cut as well."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.lost = 0
        self.cut_next = 0
        self._armed = threading.Event()
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def lose_next_reply(self) -> None:
        self._armed.set()

    def close(self) -> None:
        for end in list(self._sockets):
            _cut(end)
        for thread in list(self._threads):
            thread.join()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.cut_next:
                self.cut_next -= 1
                _cut(client)
                continue
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            self._start(self._requests, client, server)
            self._start(self._replies, client, server)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        _cut(server)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError), server.makefile("rb") as stream:
            while header := stream.read(9):
                body = stream.read(int.from_bytes(header[:3], "big"))
                if self._armed.is_set():
                    if header[3] == _HEADERS_FRAME and header[4] & _END_STREAM:  # the trailers: the reply is complete
                        self._armed.clear()
                        self.lost += 1
                        break
                else:
                    client.sendall(header + body)
        _cut(client)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()

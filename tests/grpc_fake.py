"""A real gRPC server on a port of its own that answers as a test says, for Google's own clients to talk to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc


class Fail(Exception):
    """Raised by a method of a fake: the client gets this status code."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code.name)
        self.code = code


class Fake:
    """`address` to connect to, `calls` as (method, request) in the order of their arrival."""

    def __init__(self) -> None:
        self.address = ""
        self.calls: list[tuple[str, Any]] = []
        self.released = threading.Event()

    def hang(self) -> None:
        """Give no answer for as long as the test lasts."""
        self.released.wait(30)


@contextmanager
def serve(
    service: str, methods: Mapping[str, tuple[Any, Any]], answer: Callable[[Fake, str, Any], Any]
) -> Iterator[Fake]:
    """`methods` maps a name to its request and response type; `answer` gives the response or raises `Fail`."""
    fake = Fake()

    def handler(method: str, request_type: Any, response_type: Any) -> Any:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            fake.calls.append((method, request))
            try:
                return answer(fake, method, request)
            except Fail as failure:
                context.abort(failure.code, "as the test says: do-not-log-me")

        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=request_type.deserialize, response_serializer=response_type.serialize
        )

    handlers = {name: handler(name, *types) for name, types in methods.items()}
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        fake.released.set()
        server.stop(None).wait()

"""The store in Firestore: one deadline a call, a commit sent once, every error translated."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import grpc
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud.firestore_v1.services.firestore.transports.grpc import FirestoreGrpcTransport
from google.cloud.firestore_v1.types import firestore

from shared.store import check
from shared.store.firestore_values import decode_document, encode_query, encode_write
from shared.store.protocol import (
    Conflict,
    Delete,
    Doc,
    InvalidWrite,
    Meter,
    Put,
    Query,
    StoreError,
    Unavailable,
    Write,
)

_CommitRequest = firestore.CommitRequest.pb()
_CommitResponse = firestore.CommitResponse.pb()
_GetRequest = firestore.BatchGetDocumentsRequest.pb()
_GetResponse = firestore.BatchGetDocumentsResponse.pb()
_QueryRequest = firestore.RunQueryRequest.pb()
_QueryResponse = firestore.RunQueryResponse.pb()
_CountRequest = firestore.RunAggregationQueryRequest.pb()
_CountResponse = firestore.RunAggregationQueryResponse.pb()

_SERVICE = "/google.firestore.v1.Firestore/"
_OPTIONS = [
    ("grpc.enable_retries", 0),  # the caller re-reads and decides; a resend behind its back would hide what happened
    ("SingleThreadedUnaryStream", 1),  # no thread for each read
    ("grpc.use_local_subchannel_pool", 1),  # else a forked process would meet its parent's connection again
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
_CONFLICT = {grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED}
_UNAVAILABLE = {
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
# A broken connection says one of these, and may say it again until the next one stands.
_BROKEN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
_READ_PAUSES = (0.05, 0.2, 0.5)  # seconds before a read is asked again; a reconnect waits for 0.1
_MAX_REQUEST_BYTES = 10 * 1024 * 1024  # a larger one would be refused for ever


@dataclass(frozen=True, slots=True)
class _Calls:
    """A channel and its calls. Requests go as bytes: they are serialised once, and measured."""

    channel: grpc.Channel
    commit: Callable[..., Any]
    get: Callable[..., Iterable[Any]]
    query: Callable[..., Iterable[Any]]
    count: Callable[..., Iterable[Any]]

    @staticmethod
    def over(channel: grpc.Channel) -> _Calls:
        return _Calls(
            channel,
            channel.unary_unary(_SERVICE + "Commit", None, _CommitResponse.FromString),
            channel.unary_stream(_SERVICE + "BatchGetDocuments", None, _GetResponse.FromString),
            channel.unary_stream(_SERVICE + "RunQuery", None, _QueryResponse.FromString),
            channel.unary_stream(_SERVICE + "RunAggregationQuery", None, _CountResponse.FromString),
        )


class FirestoreStore:
    """`project` and `database` name the database; `deadline` bounds each call, in seconds.

    Nothing is opened before the first call, and a process that was forked opens its own channel. With
    FIRESTORE_EMULATOR_HOST set it talks to that emulator, else to Google with the default credentials.
    """

    def __init__(self, project: str, database: str = "(default)", *, deadline: float = 5.0) -> None:
        self.meter = Meter()
        self._deadline = deadline
        self._database = f"projects/{project}/databases/{database}"
        self._documents = self._database + "/documents"
        self._root = self._documents + "/"
        self._emulator = os.environ.get("FIRESTORE_EMULATOR_HOST")
        self._calls: _Calls | None = None
        self._inherited: list[_Calls] = []
        self._pid = -1
        self._lock = threading.Lock()

    def get(self, path: str) -> Doc | None:
        return self.get_many([path])[0]

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        wanted = dict.fromkeys(paths)
        for path in wanted:
            check.check_path(path)
        if not wanted:
            return []
        request = _GetRequest(database=self._database, documents=[self._root + path for path in wanted])
        found: dict[str, Doc] = {}
        for answer in self._stream(lambda calls: calls.get, request, "database", self._database):
            if answer.HasField("found"):
                doc = decode_document(answer.found, self._root)
                found[doc.path] = doc
        self.meter.reads += len(wanted)
        return [found.get(path) for path in paths]

    def commit(self, writes: Sequence[Write]) -> None:
        check.check_writes(writes)
        request = _CommitRequest(database=self._database)
        for item in writes:
            encode_write(request.writes.add(), item, self._root)
        body = _body(request)
        try:
            self._connected().commit(body, timeout=self._deadline, metadata=self._metadata("database", self._database))
        except grpc.RpcError as error:
            versioned = any(isinstance(w, Put | Delete) and w.version is not None for w in writes)
            raise _translated(error, missing_is_conflict=versioned) from error
        deletes = sum(isinstance(w, Delete) for w in writes)
        self.meter.deletes += deletes
        self.meter.writes += len(writes) - deletes

    def query(self, query: Query) -> list[Doc]:
        check.check_query(query)
        parent = self._parent(query)
        request = _QueryRequest(parent=parent, structured_query=encode_query(query, self._root, query.limit))
        answers = self._stream(lambda calls: calls.query, request, "parent", parent)
        docs = [decode_document(answer.document, self._root) for answer in answers if answer.HasField("document")]
        self.meter.reads += max(1, len(docs))
        return docs

    def count(self, query: Query) -> int:
        check.check_query(query)
        parent = self._parent(query)
        request = _CountRequest(parent=parent)
        request.structured_aggregation_query.structured_query.CopyFrom(encode_query(query, self._root, None))
        request.structured_aggregation_query.aggregations.add(alias="n").count.SetInParent()
        found = 0
        for answer in self._stream(lambda calls: calls.count, request, "parent", parent):
            if answer.HasField("result"):
                found = answer.result.aggregate_fields["n"].integer_value
        self.meter.reads += max(1, -(-found // 1000))
        return found

    def purge(self, now_us: int, limit: int = 1000) -> int:
        return 0  # the TTL policies in firestore.indexes.json do it

    def close(self) -> None:
        with self._lock:
            if self._calls is not None and self._pid == os.getpid():
                self._calls.channel.close()
            self._calls = None

    def _parent(self, query: Query) -> str:
        return f"{self._documents}/{query.collection.rpartition('/')[0]}".rstrip("/")

    def _stream(
        self, call: Callable[[_Calls], Callable[..., Iterable[Any]]], request: Any, routed_by: str, name: str
    ) -> list[Any]:
        """All answers to a read; if the connection breaks it is asked again, on what is left of the deadline."""
        body = _body(request)
        metadata = self._metadata(routed_by, name)
        end = time.monotonic() + self._deadline
        pauses = iter(_READ_PAUSES)
        while True:
            try:
                return list(call(self._connected())(body, timeout=end - time.monotonic(), metadata=metadata))
            except grpc.RpcError as error:
                pause = next(pauses, None)
                if error.code() not in _BROKEN or pause is None or time.monotonic() + pause >= end:
                    raise _translated(error) from error
            time.sleep(pause)

    def _metadata(self, routed_by: str, name: str) -> list[tuple[str, str]]:
        routing = f"{routed_by}={quote(name)}"
        metadata = [("google-cloud-resource-prefix", self._database), ("x-goog-request-params", routing)]
        if self._emulator:
            metadata.append(("authorization", "Bearer owner"))
        return metadata

    def _connected(self) -> _Calls:
        """This process's calls. A channel that came through a fork is kept but never touched: its threads are gone."""
        calls = self._calls
        if calls is not None and self._pid == os.getpid():
            return calls
        with self._lock:
            if self._calls is None or self._pid != os.getpid():
                if self._calls is not None:
                    self._inherited.append(self._calls)
                self._calls = _Calls.over(self._channel())
                self._pid = os.getpid()
            return self._calls

    def _channel(self) -> grpc.Channel:
        if self._emulator:
            return grpc.insecure_channel(self._emulator, options=_OPTIONS)
        try:
            return FirestoreGrpcTransport.create_channel(options=_OPTIONS)
        except DefaultCredentialsError as error:
            raise StoreError(f"no credentials for Firestore: {error}") from error
        except GoogleAuthError as error:
            raise Unavailable(f"no credentials for Firestore yet: {error}") from error


def _body(request: Any) -> bytes:
    body: bytes = request.SerializeToString()
    if len(body) > _MAX_REQUEST_BYTES:
        raise InvalidWrite(f"a request of {len(body)} bytes, at most {_MAX_REQUEST_BYTES}")
    return body


def _translated(error: grpc.RpcError, *, missing_is_conflict: bool = False) -> StoreError:
    code = error.code()
    text = f"{code.name}: {error.details()}"
    if code in _CONFLICT or (code is grpc.StatusCode.NOT_FOUND and missing_is_conflict):
        return Conflict(text)
    if code in _UNAVAILABLE:
        return Unavailable(text)
    return InvalidWrite(text) if code is grpc.StatusCode.INVALID_ARGUMENT else StoreError(text)

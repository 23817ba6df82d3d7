"""What the tests of ingest, fold and alerting share: an App over a given store, batches, and every stored byte."""

from __future__ import annotations

import hashlib
import http.client
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import functions_framework
from werkzeug.serving import make_server

from functions.metrics_ingest.decode import parse_labels, read_batch
from shared import bootstrap
from shared.bootstrap import App
from shared.domain.building import Batch
from shared.domain.metric import Registry
from shared.domain.series import SeriesTable
from shared.domain.slo import SloConfig
from shared.domain.slo_file import parse_slos
from shared.outbound import HttpOutbound
from shared.settings import Settings
from shared.slo_loader import load_registry
from shared.store.protocol import Store

CONFIG = Path(__file__).parent.parent / "config"
NOW = datetime(2026, 3, 10, 12, 2, 30, tzinfo=UTC)
KEY = "f0_a-key-for-tests"


def ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def make_app(store: Store, clock: Clock | None = None, config_dir: Path = CONFIG, **env: str) -> App:
    settings = Settings.load(
        {"F0_STORE": "sqlite", "INGEST_KEYS": hashlib.sha256(KEY.encode()).hexdigest(), "CONFIG_DIR": str(config_dir)}
        | env
    )
    return App(settings, store, HttpOutbound(), clock or Clock(), time.monotonic)


@cache
def flask_app(target: str) -> Any:
    return functions_framework.create_app(target, str(CONFIG.parent / "main.py"))


@contextmanager
def serving(app: App, target: str = "metricsIngest") -> Iterator[Client]:
    """The function behind a real socket, as functions-framework serves it."""
    bootstrap.install(app)
    server = make_server("127.0.0.1", 0, flask_app(target), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Client(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        bootstrap.install(None)


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def send(
        self,
        body: Any,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        key: str | None = KEY,
        path: str = "/",
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, decoded answer, headers. `body`: bytes, an iterable of bytes (sent chunked), or what becomes JSON."""
        given = {"Authorization": f"Bearer {key}"} if key else {}
        chunked = isinstance(body, Iterator)
        data = body if isinstance(body, bytes | Iterator) else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, data, {**given, **(headers or {})}, encode_chunked=chunked)
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content else None, response.headers


def metric(
    value: float = 120,
    name: str = "api_latency",
    at: datetime | int = NOW,
    labels: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    timestamp = ms(at) if isinstance(at, datetime) else at
    return {"name": name, "value": value, "timestamp": timestamp, "labels": dict(labels or {}), **more}


def body(metrics: Sequence[Any], batch_id: str = "batch-0001") -> dict[str, Any]:
    return {"batchId": batch_id, "metrics": list(metrics)}


@cache
def registry() -> Registry:
    return load_registry(CONFIG)


@cache
def shipped() -> SloConfig:
    from decimal import Decimal

    data = json.loads((CONFIG / "slo.json").read_text(), parse_float=Decimal)
    return parse_slos(data, registry(), source="slo.json", digest="shipped")


def new_table(config: SloConfig | None = None) -> SeriesTable:
    return SeriesTable(registry(), (config or shipped()).bounds(registry()), parse_labels)


def batch_of(
    metrics: Sequence[Any], batch_id: str = "batch-0001", *, table: SeriesTable | None = None, now: datetime = NOW
) -> Batch:
    """The batch as ingest would have it; every metric must be acceptable."""
    batch, rejected = read_batch(json.dumps(body(metrics, batch_id)).encode(), table or new_table(), ms(now))
    assert rejected == []
    return batch


def every_byte(path: Path) -> bytes:
    """All that a SQLite store holds, with compressed payloads unpacked beside."""
    parts = []
    with closing(sqlite3.connect(path)) as connection:
        for name, data in connection.execute("SELECT path, data FROM docs"):
            parts += [name.encode(), data, *_unpacked(data)]
    for file in path.parent.glob(path.name + "*"):
        parts.append(file.read_bytes())
    return b"\n".join(parts)


def _unpacked(data: bytes) -> Iterator[bytes]:
    start = data.find(b"\x78\x01")  # zlib's header at level 1
    while start >= 0:
        unpacker = zlib.decompressobj()
        with suppress(zlib.error):
            yield unpacker.decompress(data[start:])
        start = data.find(b"\x78\x01", start + 1)

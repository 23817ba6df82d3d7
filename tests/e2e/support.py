"""What the tests of the whole path share: the functions behind one address, the scheduler that calls them, and time."""

from __future__ import annotations

import atexit
import hashlib
import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import urlsplit

import functions_framework
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from werkzeug.serving import WSGIRequestHandler, make_server

from scripts.dev import manifest, rewrites
from shared.api import auth
from shared.metrics.rollup_codec import decode_rollup
from shared.store.protocol import Doc, Query, Store
from tests.unit.test_auth import ACCOUNT, KeyServer, token

ROOT = Path(__file__).parents[2]
START = datetime(2026, 11, 23, 12, 1, tzinfo=UTC)
INGEST_KEY = "the-key-of-the-shop-0123456789"
SLOT = timedelta(minutes=5)


class Clock:
    """The time that handlers are given. It stands still until it is moved; the machine's seconds move with it."""

    def __init__(self) -> None:
        self.now = START
        self._skipped = 0.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self._skipped += seconds

    def to_next_mark(self) -> None:
        """To ten seconds after the end of the running 5-minute slot."""
        self.advance(next_mark(self.now).timestamp() - self.now.timestamp())


def next_mark(now: datetime) -> datetime:
    return datetime.fromtimestamp((now.timestamp() // 300 + 1) * 300 + 10, UTC)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One HTTP request over a connection of its own. Raises OSError or HTTPException where no answer comes."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


class Functions:
    """All functions of the manifest through functions-framework, routed as firebase.json says; `/{id}` calls one."""

    def __init__(self) -> None:
        source = str(ROOT / "main.py")
        entries = manifest.load(ROOT / "functions.yaml")
        self._functions = {f.id: functions_framework.create_app(f.entry_point, source) for f in entries}  # type: ignore[no-untyped-call]
        self._hosting = rewrites.load(ROOT / "firebase.json")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        rewrite = self._hosting.rewrite(path)
        name = rewrite.function_id if rewrite else path.removeprefix("/")
        if name not in self._functions:
            start_response("404 Not Found", [])
            return [b""]
        if rewrite is None:
            environ["PATH_INFO"] = "/"
        return self._functions[name](environ, start_response)


class QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served(application: Any) -> Iterator[str]:
    """The URL of an HTTP server, with a thread for each request, that serves `application`."""
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@cache
def _signing_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


class Scheduler:
    """Cloud Scheduler with its signing key, and the server that publishes it. `key`: another one than all share."""

    def __init__(self, key: RSAPrivateKey | None = None) -> None:
        self._key = key or _signing_key()
        self._keys = KeyServer()
        self._keys.publish(one=self._key)

    @property
    def keys_url(self) -> str:
        return self._keys.url

    def call(self, url: str, function_id: str, now: datetime) -> Answer:
        """Call a scheduled function of the deployment at `url`, with a token that is signed at `now`."""
        seconds = int(now.timestamp())
        bearer = token(self._key, aud=f"{url}/{function_id}", iat=seconds, exp=seconds + 3600)
        return call("POST", f"{url}/{function_id}", b"", {"Authorization": f"Bearer {bearer}"})

    def close(self) -> None:
        self._keys.close()
        auth._key_set.cache_clear()  # the next server may get the same port


def environment(slack_url: str, keys_url: str) -> dict[str, str]:
    """The environment of a deployment."""
    return {
        "F0_STORE": "sqlite",  # the App of a test is given its store
        "SLACK_WEBHOOK_URL": slack_url,
        "INGEST_KEYS": hashlib.sha256(INGEST_KEY.encode()).hexdigest(),
        "SCHEDULER_SERVICE_ACCOUNT": ACCOUNT,
        "DEV_SCHEDULER_JWKS_URL": keys_url,
    }


def changed_config(name: str, change: Callable[[Path], None]) -> Path:
    """A copy of the shipped configuration, changed; it is gone when the tests are over."""
    folder = Path(mkdtemp(prefix=f"f0-{name}-"))
    atexit.register(shutil.rmtree, folder)
    shutil.copytree(ROOT / "config", folder, dirs_exist_ok=True)
    change(folder)
    return folder


@cache
def each_alone() -> Path:
    """A configuration that tells each alert in a message of its own, and holds nothing back."""
    policy = {"grouping": {"by": ["alertId"], "interval": "0s"}, "storm": {"messages": 0}, "inhibit": []}
    return changed_config("each-alone", lambda folder: write_json(folder / "notifications.json", policy))


def write_json(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data))


# What the store holds, read document by document.


def collection(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """All documents of a collection by id."""
    return {doc.id: doc.data for doc in store.query(Query(name, limit=1000))}


def everywhere(store: Store, name: str) -> list[Doc]:
    """All documents of all collections of that name."""
    return store.query(Query(name, group=True, limit=1000))


def blocks(store: Store) -> dict[str, dict[str, int]]:
    """How many values each series has in each 5-minute block: `12:05` → series → count."""
    found: dict[str, dict[str, int]] = {}
    for doc in everywhere(store, "m5"):
        time_of_day = f"{doc.id[:2]}:{doc.id[2:4]}"
        for series, stats in decode_rollup(doc.data["payload"]).items():
            assert series not in found.setdefault(time_of_day, {})  # a series lives in one shard
            found[time_of_day][series] = stats.count
    return found


def values_in(store: Store, metric: str) -> dict[str, int]:
    """How many values of a metric each 5-minute block has."""
    return {
        at: sum(count for series, count in by_series.items() if series.partition("{")[0] == metric)
        for at, by_series in sorted(blocks(store).items())
    }

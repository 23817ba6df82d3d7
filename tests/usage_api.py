"""usageApi over a real socket, with a usage key for senders and an admin's token for readers."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from scripts.dev.issuer import AdminIssuer
from shared.api import auth
from shared.bootstrap import App
from shared.store.protocol import Put, Store, Unavailable
from shared.usage.cost_rollup import run
from tests.core import CONFIG, Clock, make_app, serving
from tests.key_server import KeyServer
from tests.ops_api import ISSUER, PROJECT, Reply, admin_issuer

USAGE_KEY = "f0_a-usage-key-for-tests"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Watch:
    """Seconds that a test moves, for the caches of flags."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped


class Failing:
    """A store that cannot be reached while it is `down`. `failed` is set once somebody has tried."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.down = False
        self.failed = threading.Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if callable(found) and self.down:

            def fail(*args: Any, **more: Any) -> Any:
                self.failed.set()
                raise Unavailable("planted")

            return fail
        return found


@dataclass
class UsageApi:
    app: App
    port: int
    admins: AdminIssuer
    clock: Clock
    watch: Watch

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        bearer: str | None = None,
    ) -> Reply:
        token = bearer if bearer is not None else self.admins.token(self.clock.now)[0]
        given = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        address = path + ("?" + urlencode(query, doseq=True) if query else "")
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, address, raw, headers=given)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read().decode())

    def get(self, path: str, **query: Any) -> Any:
        reply = self.call("GET", path, query={name.rstrip("_"): value for name, value in query.items()})
        assert reply.status == 200, reply.text
        return reply.json

    def send(self, *events: Mapping[str, Any]) -> Any:
        """The answer to events that must be taken."""
        reply = self.call("POST", "/api/usage/events", {"events": list(events)}, bearer=USAGE_KEY)
        assert reply.status == 202, reply.text
        return reply.json

    def reserve(self, **changes: Any) -> Reply:
        body = {
            "requestId": "reserve-0001", "uid": "ada", "provider": "anthropic", "model": "claude-sonnet-4-5",
            "maxInputTokens": 1000, "maxOutputTokens": 1000, **changes,
        }  # fmt: skip
        return self.call("POST", "/api/usage/reservations", body, bearer=USAGE_KEY)

    def settle(self, id_: str, **changes: Any) -> Reply:
        body = {
            "uid": "ada", "provider": "anthropic", "model": "claude-sonnet-4-5",
            "tokens": {"input": 1000, "output": 200}, **changes,
        }  # fmt: skip
        return self.call("POST", f"/api/usage/reservations/{id_}/settle", body, bearer=USAGE_KEY)

    def release(self, id_: str, uid: str = "ada") -> Reply:
        return self.call("POST", f"/api/usage/reservations/{id_}/release", {"uid": uid}, bearer=USAGE_KEY)

    def flags(self, **flags: Any) -> None:
        """Throw switches as an admin would, and let the cache of flags pass."""
        self.app.store.commit([Put("config/flags", flags)])
        self.watch.skipped += 60

    def roll(self) -> dict[str, Any]:
        """What Cloud Scheduler's call does."""
        return run(self.app, self.clock.now, lambda: True)


def event(request_id: str = "request-0001", at: datetime = NOW, **changes: Any) -> dict[str, Any]:
    return {
        "requestId": request_id, "uid": "ada", "plan": "pro", "provider": "anthropic", "model": "claude-sonnet-4-5",
        "time": at.isoformat(), "durationMs": 900, "tokens": {"input": 1000, "output": 200}, **changes,
    }  # fmt: skip


@contextmanager
def usage_api(store: Any, now: datetime = NOW, config_dir: Path = CONFIG, **env: str) -> Iterator[UsageApi]:
    keys = KeyServer()
    admins = admin_issuer()
    keys.body = json.dumps(admins.jwks()).encode()
    clock, watch = Clock(now), Watch()
    settings = {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "DEV_ADMIN_ISSUER": f"{ISSUER}/dev/admins",
        "DEV_ADMIN_JWKS_URL": keys.url,
        "USAGE_KEYS": hashlib.sha256(USAGE_KEY.encode()).hexdigest(),
    }
    app = replace(make_app(store, clock, config_dir, **settings, **env), monotonic=watch)
    try:
        with serving(app, "usageApi") as client:
            yield UsageApi(app, client.port, admins, clock, watch)
    finally:
        keys.close()
        auth._key_set.cache_clear()

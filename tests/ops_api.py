"""opsApi over a real socket, called by an admin whose token a real key server vouches for."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from scripts.dev.issuer import AdminIssuer, new_key
from shared.api import auth
from shared.bootstrap import App
from tests.core import Clock, make_app, serving
from tests.key_server import KeyServer

ISSUER = "http://127.0.0.1:1"
PROJECT = "ops-test"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Ops:
    """`app` has the store; `get` calls as an admin unless it is given another token, or None for none."""

    app: App
    port: int
    admins: AdminIssuer

    def token(self) -> str:
        return self.admins.token(self.app.clock())[0]

    def get(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        method: str = "GET",
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        bearer = self.token() if token == "" else token
        given = {**({"Authorization": f"Bearer {bearer}"} if bearer else {}), **(headers or {})}
        address = path + ("?" + urlencode(query, doseq=True) if query else "")
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, address, body, headers=given)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read().decode())

    def query(self, **args: Any) -> Any:
        """The JSON of a query that must be answered. `from_` is `from`."""
        reply = self.get("/api/ops/metrics/query", {name.rstrip("_"): value for name, value in args.items()})
        assert reply.status == 200, reply.text
        return reply.json


def admin_issuer() -> AdminIssuer:
    """The one that the servers of the tests trust; a copy, which a test may make sign something else."""
    return copy(_issuer())


@cache
def _issuer() -> AdminIssuer:
    """Making an RSA key takes longer than most tests."""
    return AdminIssuer(new_key(), ISSUER, PROJECT)


@contextmanager
def ops_api(store: Any, now: datetime, target: str = "opsApi", **env: str) -> Iterator[Ops]:
    keys = KeyServer()
    admins = admin_issuer()
    keys.body = json.dumps(admins.jwks()).encode()
    clock = Clock(now)
    settings = {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "DEV_ADMIN_ISSUER": f"{ISSUER}/dev/admins",
        "DEV_ADMIN_JWKS_URL": keys.url,
    }
    app = make_app(store, clock, **settings, **env)
    try:
        with serving(app, target) as client:
            yield Ops(app, client.port, admins)
    finally:
        keys.close()
        auth._key_set.cache_clear()

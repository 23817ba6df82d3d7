"""incidentsApi over a real socket: calls by an admin, with bodies, keys and versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.core import NOW, Clock
from tests.ops_api import Ops, Reply, ops_api

OUTAGE = {"title": "Billing Outage", "impact": "critical", "components": ["Billing"]}


@dataclass
class Desk:
    """Somebody on call. Whatever is expected to be answered otherwise than with success says so by `expect`."""

    ops: Ops

    @property
    def store(self) -> Any:
        return self.ops.app.store

    @property
    def now(self) -> datetime:
        return self.ops.app.clock()

    def wait(self, **span: float) -> datetime:
        clock = self.ops.app.clock
        assert isinstance(clock, Clock)
        clock.now += timedelta(**span)
        return clock.now

    def call(self, method: str, path: str, body: Any = None, expect: int | None = None, **headers: str) -> Reply:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        reply = self.ops.get(path, method=method, headers=given, body=raw)
        assert reply.status == expect if expect else reply.status in (200, 201), (reply.status, reply.text)
        return reply

    def post(self, path: str, body: Any = None, expect: int | None = None, **headers: str) -> Any:
        return self.call("POST", path, body, expect, **headers).json

    def read(self, path: str, expect: int | None = None, **query: Any) -> Any:
        reply = self.ops.get(path, {name.rstrip("_"): value for name, value in query.items()})
        assert reply.status == (expect or 200), reply.text
        return reply.json

    def open(self, **changes: Any) -> str:
        return str(self.post("/api/incidents", {**OUTAGE, **changes}, 201)["id"])

    def update(self, incident: str, message: str, status: str | None = None, **more: Any) -> Any:
        body = {"message": message, **({"status": status} if status else {}), **more}
        return self.post(f"/api/incidents/{incident}/updates", body, 201)

    def incident(self, incident: str) -> Any:
        return self.read(f"/api/incidents/{incident}")

    def edit(self, incident: str, expect: int | None = None, match: str = "*", **changes: Any) -> Any:
        return self.call("PATCH", f"/api/incidents/{incident}", changes, expect, If_Match=match).json

    def public(self) -> Any:
        doc = self.store.get("status/public")
        return doc.data if doc else None


@contextmanager
def desk(store: Any, now: datetime = NOW, **env: str) -> Iterator[Desk]:
    with ops_api(store, now, "incidentsApi", **env) as ops:
        yield Desk(ops)

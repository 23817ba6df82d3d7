"""A small web shop, as a user of F0 Ops would write one: a Flask application that sends its own metrics.

    OPS_URL=http://127.0.0.1:8080 OPS_KEY=… .venv/bin/python -m gunicorn --threads 8 'demo.shop:create_app()'

GET /api/orders · POST /api/orders · GET /api/users/<id> · POST /api/agent · GET /api/health

It records `api_latency` for every request (the middleware does), `firestore_write_latency` for every order written,
and `agent_success_rate` for every answer of the agent: 1 if it had one, else 0. The error rate is F0 Ops' own reading
of api_latency's `status`; nobody records it.
"""

from __future__ import annotations

import hmac
import json
import os
import random
import re
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, jsonify, request

from demo.clock import read_clock
from shared.metrics_client import MetricsClient

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


class Orders:
    """Orders in a SQLite file, a connection a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        with self._connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, user INTEGER, item TEXT)")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = sqlite3.connect(self._path, timeout=5)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def add(self, user: int, item: str) -> int:
        with self._connection() as connection:
            added = connection.execute("INSERT INTO orders (user, item) VALUES (?, ?)", (user, item))
            return int(added.lastrowid or 0)

    def latest(self, limit: int) -> list[dict[str, Any]]:
        rows = self._connection().execute("SELECT id, user, item FROM orders ORDER BY id DESC LIMIT ?", (limit,))
        return [{"id": row[0], "user": row[1], "item": row[2]} for row in rows]

    def count_of(self, user: int) -> int:
        row = self._connection().execute("SELECT count(*) FROM orders WHERE user = ?", (user,)).fetchone()
        return int(row[0])


class Trouble:
    """What the demo does to the shop: every request waits `slow_ms`, orders and users fail while `broken`."""

    def __init__(self) -> None:
        self.slow_ms = 0
        self.broken = False


def build(client: MetricsClient, database: Path, trouble: Trouble | None = None) -> Flask:
    """The application, sending its metrics through `client`."""
    app = Flask("shop")
    orders = Orders(database)
    trouble = trouble or Trouble()

    @app.before_request
    def note_the_route() -> None:
        rule = request.url_rule.rule if request.url_rule else "unknown"
        request.environ["shop.endpoint"] = _PARAMETER.sub(r":\1", rule)
        time.sleep(trouble.slow_ms / 1000)

    def depends_on_the_database() -> None:
        if trouble.broken:
            abort(500, "the database refuses connections")

    @app.get("/api/orders")
    def list_orders() -> Response:
        depends_on_the_database()
        work(0.005, 0.025)
        return jsonify(orders.latest(20))

    @app.post("/api/orders")
    def place_order() -> tuple[Response, int]:
        depends_on_the_database()
        given = request.get_json()
        try:
            user, item = int(given["user"]), str(given["item"])
        except (KeyError, TypeError, ValueError):
            abort(400, "an order is {user, item}")
        work(0.005, 0.020)
        with client.time("firestore_write_latency", collection="orders"):
            order_id = orders.add(user, item)
        return jsonify(id=order_id), 201

    @app.get("/api/users/<int:user_id>")
    def show_user(user_id: int) -> Response:
        depends_on_the_database()
        work(0.002, 0.010)
        return jsonify(id=user_id, orders=orders.count_of(user_id))

    @app.post("/api/agent")
    def agent() -> tuple[Response, int]:
        """Answers a question about the shop; a question without words is one that it fails on."""
        question = str((request.get_json(silent=True) or {}).get("question", "")).strip()
        work(0.030, 0.080)
        client.record("agent_success_rate", 1 if question else 0, agent="shop-assistant")
        if not question:
            return jsonify(error="the agent found nothing to answer"), 422
        return jsonify(answer=f"You asked about {question.split()[-1].strip('?')}: it is on its way."), 200

    @app.get("/api/health")
    def health() -> tuple[Response, int]:
        return jsonify(status="failing" if trouble.broken else "ok"), 503 if trouble.broken else 200

    measured: Any = client.wsgi(app.wsgi_app, endpoint=lambda environ: str(environ["shop.endpoint"]))
    app.wsgi_app = measured  # type: ignore[method-assign]  # Flask's documented way to add a middleware
    return app


def work(least: float, most: float) -> None:
    """What a real handler would wait for, in seconds."""
    time.sleep(random.uniform(least, most))


def with_control(app: WSGIApplication, trouble: Trouble, token: str) -> WSGIApplication:
    """`app`, and outside of its metrics `POST /_demo` with `{"slow_ms": 500, "broken": false}`.

    Only for this machine, and only with `Authorization: Bearer token`.
    """

    def controlled(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/_demo":
            return app(environ, start_response)
        allowed = environ.get("REMOTE_ADDR") == "127.0.0.1" and hmac.compare_digest(
            environ.get("HTTP_AUTHORIZATION", "").encode(), f"Bearer {token}".encode()
        )
        status = HTTPStatus.NO_CONTENT
        if not allowed:
            status = HTTPStatus.FORBIDDEN
        else:
            try:
                wanted = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
                trouble.slow_ms = min(5000, max(0, int(wanted["slow_ms"])))
                trouble.broken = wanted["broken"] is True
            except (ValueError, TypeError, KeyError):
                status = HTTPStatus.BAD_REQUEST
        start_response(f"{status.value} {status.phrase}", [])
        return []

    return controlled


def create_app() -> WSGIApplication:
    """For a WSGI server. OPS_URL, OPS_KEY: where metrics go. SHOP_DB: the file. DEMO_TOKEN: enables `POST /_demo`."""
    url = os.environ["OPS_URL"]
    flush = float(os.environ.get("OPS_FLUSH_SECONDS", "5"))
    client = MetricsClient(url, os.environ["OPS_KEY"], flush_seconds=flush, clock=read_clock(url))
    folder = os.environ.get("SHOP_DB") or os.path.join(tempfile.mkdtemp(prefix="shop-"), "shop.db")
    trouble = Trouble()
    app: WSGIApplication = build(client, Path(folder), trouble)
    token = os.environ.get("DEMO_TOKEN")
    return with_control(app, trouble, token) if token else app

"""A Flask app that OpenTelemetry instruments, with its own SDK and exporter: what it served is what we count."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.alerts.alerting import run_alert_rules
from shared.domain.metric_query import parse_query
from shared.domain.rollup import Stats, merge
from shared.domain.series import split_key
from shared.metrics.fold import fold
from shared.metrics.query import read_stored, run_query
from shared.metrics.rollups import read_blocks
from shared.store.protocol import Store, Write
from shared.store.sqlite import SqliteStore
from tests.core import KEY, make_app, registry, serving, shipped
from tests.unit.test_ingest import Fragile

APP = Path(__file__).parent / "otel_app.py"
Requests = Counter[tuple[str, str, str]]  # endpoint, method, status


def now() -> datetime:
    return datetime.now(UTC)


class OtelApp:
    """The app in a process of its own, and what was asked of it, counted here."""

    def __init__(self, process: subprocess.Popen[str], served: Requests) -> None:
        self._process = process
        self._served = served
        assert process.stdout is not None
        self._port = int(process.stdout.readline())

    def visit(self, times: int) -> None:
        chance = random.Random(times)
        calls = [
            chance.choice([("GET", f"/orders/{n}"), ("GET", f"/orders/{n}"), ("POST", "/orders"), ("GET", "/broken")])
            for n in range(times)
        ]
        with ThreadPoolExecutor(4) as pool:
            for (method, path), status in zip(calls, pool.map(self._call, calls), strict=True):
                route = "/orders/<int:number>" if path.startswith("/orders/") else path
                self._served[route, method, str(status)] += 1

    def _call(self, call: tuple[str, str]) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            connection.request(*call)
            response = connection.getresponse()
            response.read()
            return response.status

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0


@contextmanager
def otel_app(port: int, served: Requests, **env: str) -> Iterator[OtelApp]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{port}/v1/metrics",
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{KEY}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        **env,
    }
    command = [sys.executable, str(APP)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield OtelApp(process, served)
        finally:
            process.kill()


@contextmanager
def ingest(store: Any) -> Iterator[int]:
    """The port of metricsIngest over that store, by a clock that goes."""
    app = make_app(store)
    app.clock = now
    with serving(app) as client:
        yield client.port


def counted(store: Store, since: datetime) -> dict[str, Stats]:
    """The series of all blocks since then, after a fold."""
    fold(store, registry(), shipped().definitions, now())
    first, last = (int(at.timestamp()) // 300 for at in (since, now()))
    blocks = read_blocks(store, list(range(first, last + 1)))
    parts: dict[str, list[Stats]] = {}
    for block in blocks.values():
        for key, stats in block.items():
            parts.setdefault(key, []).append(stats)
    return {key: merge(of) for key, of in parts.items()}


def requests_in(series: dict[str, Stats]) -> Requests:
    found: Requests = Counter()
    for key, stats in series.items():
        metric, labels = split_key(key)
        if metric == "api_latency":
            assert labels["service"] == "shop"
            found[labels["endpoint"], labels["method"], labels["status"]] += stats.count
    return found


def errors(store: Store) -> tuple[int, int]:
    """How many requests of the last hour the query of error_rate calls errors, of how many."""
    run_alert_rules(make_app(store), now(), lambda: True)
    stored = read_stored(store, now())
    args = {"metric": ["error_rate"], "from": ["-1h"], "step": ["5m"]}
    answer = run_query(store, parse_query(args, registry(), stored, now()), registry(), stored)
    points = [p for p in answer.points[()] if p.value is not None]
    return round(sum(p.value * p.count / 100 for p in points if p.value)), sum(p.count for p in points)


def is_error(call: tuple[str, str, str]) -> bool:
    return call[2] >= "500"


TEMPORALITIES = {
    "cumulative": {},
    "delta": {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"},
}
EXPONENTIAL = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"}


@pytest.mark.parametrize("temporality", TEMPORALITIES)
def test_each_request_of_an_app_is_counted_once_over_a_restart(store: Store, temporality: str) -> None:
    since, served = now(), Requests()
    with ingest(store) as port:
        for _ in range(2):
            with otel_app(port, served, **TEMPORALITIES[temporality]) as app:
                app.visit(60)
                threading.Event().wait(1.5)  # an export in between, on its own
                app.visit(37)
                app.stop()
    series = counted(store, since)
    assert requests_in(series) == served
    assert errors(store) == (sum(n for call, n in served.items() if is_error(call)), 2 * 97)
    orders = sum(n for (endpoint, _, _), n in served.items() if endpoint.startswith("/orders/"))
    assert series['token_cost{"model":"small"}'].total == 0.25 * orders
    assert series['storage_usage{"bucket":"gauge"}'].high == 3
    posted = sum(n for (_, method, _), n in served.items() if method == "POST")
    assert 0 < series['storage_usage{"bucket":"up and down"}'].high <= posted


@pytest.mark.parametrize("temporality", TEMPORALITIES)
def test_exponential_histograms_count_the_same(sqlite_store: SqliteStore, temporality: str) -> None:
    since, served = now(), Requests()
    with ingest(sqlite_store) as port, otel_app(port, served, **EXPONENTIAL, **TEMPORALITIES[temporality]) as app:
        app.visit(60)
        threading.Event().wait(1.5)
        app.visit(20)
        app.stop()
    series = counted(sqlite_store, since)
    assert requests_in(series) == served
    for key, stats in series.items():
        if key.startswith("api_latency"):
            assert 0 < stats.total / stats.count < 5000  # ms; in seconds it would be far less than 0.1
            low, high = stats.quantile_bounds(0.5)
            assert high is not None
            assert low <= high <= 5000


def test_the_older_names_of_the_conventions_count_the_same(sqlite_store: SqliteStore) -> None:
    since, served = now(), Requests()
    with ingest(sqlite_store) as port, otel_app(port, served, OTEL_SEMCONV_STABILITY_OPT_IN="") as app:
        app.visit(50)
        app.stop()
    assert requests_in(counted(sqlite_store, since)) == served


class AwayAtFirst(Fragile):
    """A store that is away at the first commit; of the second, which it takes, the reply is lost."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.commits = 0

    def commit(self, writes: list[Write]) -> None:
        self.commits += 1
        self.failing = {1: "before", 2: "after"}.get(self.commits)
        super().commit(writes)


@pytest.mark.parametrize("temporality", TEMPORALITIES)
def test_what_the_exporter_sends_again_after_a_503_counts_once(sqlite_store: SqliteStore, temporality: str) -> None:
    since, served = now(), Requests()
    away = AwayAtFirst(sqlite_store)
    with ingest(away) as port, otel_app(port, served, **TEMPORALITIES[temporality]) as app:
        app.visit(40)
        while away.commits < 2:
            threading.Event().wait(0.05)
        app.visit(17)
        app.stop()
    assert requests_in(counted(sqlite_store, since)) == served

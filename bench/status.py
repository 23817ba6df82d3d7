"""The public status as it is deployed: requests a second beside hello world, bytes of a first view, billed reads."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from urllib.request import urlopen

from bench.report import heading, row
from bench.serving import ROOT, compare, environment, first_answer, http, serving
from shared.components import load_components
from shared.flags import Flags, load_defaults
from shared.status.cache import SnapshotCache
from shared.status.publish import HISTORY, publish_status
from shared.status_page.page import MAX_BYTES
from shared.store.protocol import Put
from shared.store.sqlite import SqliteStore

CLIENTS = 5_000  # each asks less than it may
CONFIG = ROOT / "config"


def publish(folder: Path) -> None:
    """A view with 90 days of every component and two incidents, published by the code that does so."""
    now = datetime.now(UTC)
    store = SqliteStore(folder / "store.db")
    components = load_components(CONFIG)
    days = {
        (now - timedelta(days=n)).date().isoformat(): {"operational": 86_000, "degraded": 400}
        if n % 20 == 0
        else {"operational": 86_400}
        for n in range(1, 90)
    }
    known = {
        c.id: {"state": "operational", "since": now - timedelta(hours=1), "days": days} for c in components.components
    }
    store.commit([Put(HISTORY, {"components": known, "rev": "r1"})])
    for n in range(2):
        began = now - timedelta(days=n, hours=2)
        told = {"timestamp": began, "status": "investigating", "message": "Some requests fail. We are looking into it."}
        data = {"title": "Some requests fail", "impact": "medium", "components": ["API"], "updates": [told]}
        ended = (
            {"status": "resolved", "resolvedAt": began + timedelta(minutes=30)} if n else {"status": "investigating"}
        )
        store.commit([Put(f"incidents/i{n}", {**data, **ended, "startedAt": began, "publicVisible": True})])
    publish_status(store, components, Flags(store, load_defaults(CONFIG), time.monotonic), now)
    store.close()


def _requests(path: str, **headers: str) -> list[bytes]:
    """The same request from many clients."""
    return [
        http("GET", path, headers={**headers, "X-Forwarded-For": f"198.18.{n // 250}.{n % 250}"})
        for n in range(CLIENTS)
    ]


def healthz() -> None:
    heading("statusApi through functions-framework, one worker, 80 threads as deployed; 5,000 clients")
    hello = ("hello", [http("GET", "/")])
    compare("healthz", ("statusApi", _requests("/api/status/healthz")), hello, 0.8, 8, "80", publish)


def page() -> None:
    hello = ("hello", [http("GET", "/")])
    packed = _requests("/status", **{"Accept-Encoding": "gzip"})
    compare("page, gzip", ("statusApi", packed), hello, 0.7, 8, "80", publish)
    compare("summary.json", ("statusApi", _requests("/api/v2/summary.json")), hello, 0.7, 8, "80", publish)


def first_view() -> None:
    heading("A first view of the page: one request")
    folder = Path(mkdtemp(prefix="f0-bench-"))
    publish(folder)
    with serving("statusApi", "main.py", environment(folder)) as (port, _):
        first_answer(port, http("GET", "/api/status/healthz"))
        html = _whole(port)
    row("bytes", f"{len(html):,}", f"≤ {MAX_BYTES:,}", len(html) <= MAX_BYTES)
    row("bytes with gzip", f"{len(gzip.compress(html)):,}")


def _whole(port: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/status", timeout=30) as response:
        html: bytes = response.read()
        return html


def reads() -> None:
    heading("Billed reads of one instance for 100,000 views, with no cache before it")
    folder = Path(mkdtemp(prefix="f0-bench-"))
    publish(folder)
    store = SqliteStore(folder / "store.db")
    now = [0.0]
    for what, seconds in (("100 views a second", 1_000.0), ("spread over a day", 86_400.0)):
        cache = SnapshotCache(store, Flags(store, load_defaults(CONFIG), lambda: now[0]), lambda: now[0])
        before = store.meter.snapshot()
        for n in range(100_000):
            now[0] = n * seconds / 100_000
            cache.served()
        most = 2 * (int(seconds / 5) + 1)  # two documents in 5 seconds, however many views
        read = store.meter.since(before).reads
        row(what, f"{read:,}", f"≤ {most:,}", read <= most)
    store.close()

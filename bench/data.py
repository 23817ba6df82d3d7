"""Bodies as a user's servers send them: 500 metrics of about 150 bytes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from shared.store.sqlite import SqliteStore

PER_BATCH = 500
NOW_MS = 1_800_000_000_000 // 300_000 * 300_000 + 250_000
CONFIG = Path(__file__).parent.parent / "config"


def labels(series: int) -> dict[str, str]:
    """The labels of the n-th series: a route and a status."""
    letters = "".join(chr(97 + series // 26**n % 26) for n in range(3))
    return {"endpoint": f"/api/route-{letters}", "method": "GET", "status": "500" if series % 20 == 19 else "200"}


def bodies(batches: int, series: int, now_ms: int = NOW_MS, seed: int = 1) -> list[bytes]:
    source = random.Random(seed)
    known = [labels(n) for n in range(series)]
    made = []
    for batch in range(batches):
        metrics = [
            {
                "name": "api_latency",
                "value": round(source.lognormvariate(4.5, 0.5), 3),
                "labels": known[(batch * PER_BATCH + n) % series],
                "timestamp": now_ms - source.randrange(10_000),
                "aggregation": "p95",
            }
            for n in range(PER_BATCH)
        ]
        body = {"batchId": f"{seed:04}-{batch:012}", "metrics": metrics}
        made.append(json.dumps(body, separators=(",", ":")).encode())
    return made


def compact(body: bytes) -> bytes:
    """The same batch with series apart from points, as our own client sends it."""
    sent = json.loads(body)
    series: dict[str, dict[str, Any]] = {}
    for metric in sent["metrics"]:
        new = {"name": "api_latency", "labels": metric["labels"], "times": [], "values": []}
        own = series.setdefault(json.dumps(metric["labels"]), new)
        own["times"].append(metric["timestamp"])
        own["values"].append(metric["value"])
    return json.dumps({"batchId": sent["batchId"], "series": list(series.values())}, separators=(",", ":")).encode()


def fresh_store() -> SqliteStore:
    """A SQLite store in a new folder; the disk is the machine's own, so commits really reach it."""
    return SqliteStore(Path(mkdtemp(prefix="f0-bench-")) / "store.db")

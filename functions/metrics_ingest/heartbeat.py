"""POST /api/metrics/heartbeat/{agent}: an agent says that it is there. Sent again it changes nothing."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b

import msgspec

from functions.metrics_ingest.decode import parse_labels
from functions.metrics_ingest.ingest import COLLECTION_IS_OFF, Ingest
from shared.agents import AgentsLoader
from shared.bootstrap import App
from shared.domain.aggregate import time_faults
from shared.domain.building import BLOCK_MS, BatchBuilder
from shared.domain.cumulative import Point
from shared.domain.heartbeat import METRIC, NAME
from shared.domain.scrub import scrub_value
from shared.http import Problem


class _Body(msgspec.Struct):
    timestamp: int | None = None


def beat(agent: str, body: bytes, app: App, ingest: Ingest, now: datetime) -> dict[str, object]:
    """The answer: agent, intervalSeconds, graceSeconds. Raises `Problem`, `StoreError`."""
    if not NAME.fullmatch(agent) or scrub_value(agent) != agent:
        detail = "an agent's name is 1 to 63 letters, digits, . _ and -, and neither an id nor a person's"
        raise Problem(400, "invalid_agent", detail)
    now_ms = int(now.timestamp() * 1000)
    try:
        sent = msgspec.json.decode(body or b"{}", type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "unreadable_body", 'the body must be empty, or {"timestamp": milliseconds}') from None
    timestamp = now_ms if sent.timestamp is None else sent.timestamp
    faults = time_faults(timestamp, now_ms)
    if faults:
        raise Problem(400, "invalid_body", faults[0], errors=[{"path": "timestamp", "message": faults[0]}])
    pace = app.part(AgentsLoader).agents.pace_of(agent)
    result: dict[str, object] = {
        "agent": agent,
        "intervalSeconds": pace.intervalSeconds,
        "graceSeconds": pace.graceSeconds,
    }
    if not ingest.is_on:
        return {**result, "stored": False, "notice": COLLECTION_IS_OFF}
    builder = BatchBuilder(ingest.table(parse_labels))
    series = ingest.table(parse_labels).own(METRIC, {"agent": agent})
    if series is None:
        raise Problem(404, "not_found", f"config/metrics.json does not have {METRIC}")
    builder.point(series, timestamp // BLOCK_MS, Point(b"", 0, timestamp, None))
    ingest.store(builder.batch(blake2b(f"{agent}@{timestamp}".encode(), digest_size=8).digest(), 1), now)
    return result

"""POST /api/metrics/heartbeat/{agent}: an agent says that it is there. Sent again it changes nothing."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from threading import Lock

import msgspec

from functions.metrics_ingest.decode import parse_labels
from functions.metrics_ingest.ingest import COLLECTION_IS_OFF, Ingest
from shared.api.http import Problem
from shared.bootstrap import App
from shared.domain.aggregate import time_faults
from shared.domain.building import BLOCK_MS, BatchBuilder
from shared.domain.cumulative import Point
from shared.domain.heartbeat import FORGOTTEN_AFTER_MS, MAX_AGENTS, METRIC, NAME, Agents
from shared.domain.scrub import scrub_value
from shared.metrics.agents import AgentsLoader


class _Body(msgspec.Struct):
    timestamp: int | None = None


class Met:
    """The agents that this instance has met. Others may have met more; the fold, which sees all, has the last word."""

    def __init__(self, app: App | None = None) -> None:
        self._last_beats: dict[str, int] = {}  # of those that the configuration does not name
        self._lock = Lock()

    def meet(self, agent: str, agents: Agents, now_ms: int) -> None:
        """Raises `Problem` 429 for an agent beyond MAX_AGENTS, among which those of the configuration always are."""
        if agent in agents.agents:
            return
        with self._lock:
            most = MAX_AGENTS - len(agents.agents)
            if agent not in self._last_beats and len(self._last_beats) >= most:
                present = now_ms - FORGOTTEN_AFTER_MS
                self._last_beats = {name: last for name, last in self._last_beats.items() if last > present}
                if len(self._last_beats) >= most:
                    detail = f"at most {MAX_AGENTS} agents, and this one is new: its beats would not be counted"
                    raise Problem(429, "too_many_agents", detail)
            self._last_beats[agent] = now_ms


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
    agents = app.part(AgentsLoader).agents
    pace = agents.pace_of(agent)
    result: dict[str, object] = {
        "agent": agent,
        "intervalSeconds": pace.intervalSeconds,
        "graceSeconds": pace.graceSeconds,
    }
    if not ingest.is_on:
        return {**result, "stored": False, "notice": COLLECTION_IS_OFF}
    table = ingest.table(parse_labels)  # once: it may be another one after the configuration has changed
    builder = BatchBuilder(table)
    series = table.own(METRIC, {"agent": agent})
    if series is None:
        raise Problem(404, "not_found", f"config/metrics.json does not have {METRIC}")
    app.part(Met).meet(agent, agents, now_ms)
    builder.point(series, timestamp // BLOCK_MS, Point(b"", 0, timestamp, None))
    ingest.store(builder.batch(blake2b(f"{agent}@{timestamp}".encode(), digest_size=8).digest(), 1), now)
    return result

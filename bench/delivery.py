"""Delivery of alerts: with a third of all sends failing, in a storm, from fault to Slack, and what a message costs.

The other side stands at the edge of the process: it takes a message, refuses it, or takes it and loses the reply.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from bench.data import CONFIG, NOW_MS, bodies
from bench.ingest import append_all, table_for
from bench.report import heading, median, row
from shared.alerts.alerting import run_alert_rules
from shared.bootstrap import App
from shared.delivery.deliver import COLLECTION, deliver_due
from shared.domain.notification import new_notification
from shared.outbound import OutboundError, Reply
from shared.settings import Settings
from shared.store.protocol import Create, Doc, Put, Query, Write
from shared.store.sqlite import SqliteStore

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EACH_ALONE = {"grouping": {"by": ["alertId"], "interval": "0s"}, "storm": {"messages": 0}, "inhibit": []}
FAILING = 0.3
TODAY = (4.0, 2.0)  # billed reads and writes of a message before there were groups and silences


class Other:
    """Slack. `fails`: of all sends, how many; of those a third is refused, and a third shown and the reply lost."""

    def __init__(self, fails: float = 0.0, seed: int = 1) -> None:
        self.fails, self.dice = fails, random.Random(seed)
        self.shown: list[str] = []
        self.lost: Counter[str] = Counter()
        self.sends = 0
        self.at: list[float] = []

    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        self.sends += 1
        name = json.loads(body)["blocks"][-1]["elements"][0]["text"].split("`")[1]
        if self.dice.random() < self.fails:
            kind = self.dice.randrange(3)
            if kind == 0:
                return Reply(503, {}, b"")
            if kind == 1:
                raise OutboundError("connection_refused", sent=False)
            self.shown.append(name)
            self.lost[name] += 1
            raise OutboundError("timeout", sent=True)
        self.shown.append(name)
        self.at.append(time.perf_counter())
        return Reply(200, {}, b"ok")


class CountingStore(SqliteStore):
    """Counts its calls: to Firestore each is a way there and back."""

    calls = 0

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self.calls += 1
        return super().get_many(paths)

    def query(self, query: Query) -> list[Doc]:
        self.calls += 1
        return super().query(query)

    def commit(self, writes: Sequence[Write]) -> None:
        self.calls += 1
        super().commit(writes)


class Deployment:
    def __init__(self, other: Any, policy: Mapping[str, Any] | None = None, now: datetime = START) -> None:
        self.folder = TemporaryDirectory(prefix="f0-bench-config-")
        for file in CONFIG.iterdir():
            (Path(self.folder.name) / file.name).write_bytes(file.read_bytes())
        if policy is not None:
            (Path(self.folder.name) / "notifications.json").write_text(json.dumps(policy))
        env = {"F0_STORE": "sqlite", "SLACK_WEBHOOK_URL": "https://slack.example/x", "CONFIG_DIR": self.folder.name}
        self.store = CountingStore(Path(mkdtemp(prefix="f0-bench-")) / "store.db")
        self.other, self.now, self.skipped = other, now, 0.0
        self.app = App(Settings.load(env), self.store, other, lambda: self.now, self.monotonic)

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.skipped += seconds

    def add(self, alerts: Sequence[tuple[str, str]], seq: int, kind: Any, tried: bool = False) -> None:
        """A notification for each of (alert, component)."""
        attempt = {"at": self.now, "durationMs": 1, "outcome": "retry", "status": 503, "detail": "http_503"}
        made = []
        for alert, component in alerts:
            said = facts(alert, component, self.now) | {"firingSeq": seq - (kind == "resolve")}
            path, data = new_notification(alert, seq, "slack", kind, said, self.now)
            made.append(Create(path, {**data, "attempts": [attempt] if tried else []}))
        for n in range(0, len(made), 400):
            self.store.commit(made[n : n + 400])

    def fire(self, alerts: Sequence[tuple[str, str]]) -> None:
        """The alerts themselves, which may hold each other back."""
        made = [
            Put(f"alerts/{alert}", {**facts(alert, component, self.now), "state": "firing"})
            for alert, component in alerts
        ]
        for n in range(0, len(made), 400):
            self.store.commit(made[n : n + 400])

    def deliver(self, budget: float = 1e6) -> int:
        return deliver_due(self.app, self.now, budget_seconds=budget, limit=10**9).delivered

    def open(self) -> int:
        return self.store.count(Query(COLLECTION, (("open", "==", True),)))


def facts(alert: str, component: str, now: datetime) -> dict[str, Any]:
    return {
        "sloId": alert, "sloName": alert, "severity": "high", "metric": "error_rate", "labels": {}, "unit": "%",
        "under": None, "aggregation": "avg", "value": 3.2, "threshold": 0.5, "comparison": "above", "good": 484,
        "total": 500, "windowSeconds": 300, "burn": None, "component": component, "firedAt": now, "resolvedAt": None,
        "incidentId": None, "reason": "threshold_exceeded", "rule": "threshold", "judgedAt": now,
    }  # fmt: skip


def quietly() -> redirect_stdout[StringIO]:
    """Without the log: it would be most of what is printed."""
    return redirect_stdout(StringIO())


def failing() -> None:
    heading(f"10,000 notifications of 2,000 alerts, of all sends {FAILING:.0%} fail")
    for name, policy in (("each in a message of its own", EACH_ALONE), ("as shipped: 50 components, grouped", None)):
        other = Other(FAILING)
        on = Deployment(other, policy)
        alerts = [(f"a{n:04}", f"C{n % 50:02}") for n in range(2000)]
        started = time.perf_counter()
        with quietly():
            for seq in range(1, 6):
                on.add(alerts, seq, "trigger" if seq % 2 else "resolve", tried=True)
                on.deliver()
                on.advance(60)
            for _ in range(400):
                if not on.open():
                    break
                on.deliver()
                on.advance(60)
        taken = time.perf_counter() - started
        docs = everything(on)
        delivered = sum(data["state"] == "delivered" for data in docs.values())
        led = {data.get("groupId") or name for name, data in docs.items()}
        row(f"{name}: delivered", f"{delivered:,}", "10,000", delivered == 10_000 == len(docs))
        doubled = Counter(other.shown) - Counter(led)
        copies = f"{len(led):,}; {doubled.total():,}"
        row("  messages; second copies, one for each lost reply", copies, "", doubled == other.lost)
        wrong = disordered(docs, other.shown)
        row("  lanes whose messages came in another order", str(wrong), "0", not wrong)
        row("  seconds of the machine; minutes of the clock", f"{taken:.0f}; {(on.now - START).seconds // 60}")


def everything(on: Deployment) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    query = Query(COLLECTION, order=(("createdAt", "asc"),), limit=1000)
    while page := on.store.query(query):
        found |= {doc.id: doc.data for doc in page}
        query = Query(COLLECTION, order=query.order, limit=1000, after=(page[-1].data["createdAt"], page[-1].path))
    return found


def disordered(docs: Mapping[str, Mapping[str, Any]], shown: Sequence[str]) -> int:
    """Lanes of which a later notification was first seen in an earlier message."""
    first = {name: n for n, name in reversed(list(enumerate(shown)))}
    lanes: dict[str, list[tuple[int, int]]] = {}
    for name, data in docs.items():
        lanes.setdefault(data["lane"], []).append((data["seq"], first[data.get("groupId") or name]))
    return sum(sorted(lane) != sorted(lane, key=lambda item: item[1]) for lane in lanes.values())


def storm() -> None:
    heading("5,000 alerts at once")
    for name, components in (("of 6 components", 6), ("each of a component of its own", 5000)):
        other = Other()
        on = Deployment(other)
        alerts = [(f"a{n:04}", f"C{n % components:04}") for n in range(5000)]
        on.fire(alerts)
        for seq, kind, what in ((1, "trigger", "that fire"), (2, "resolve", "that clear at once, later")):
            on.add(alerts, seq, kind)
            on.store.calls = other.sends = 0
            before, started = on.store.meter.snapshot(), time.perf_counter()
            with quietly():
                delivered = on.deliver()
            taken = time.perf_counter() - started
            used = on.store.meter.since(before)
            row(f"{name}: messages of {delivered:,} {what}", str(other.sends), "≤ 21", other.sends <= 21)
            each = f"{used.reads / 5000:.2f}, {used.writes / 5000:.2f}"
            row("  seconds; calls of the store", f"{taken:.1f}; {on.store.calls}")
            row("  billed reads and writes a notification", each)
            on.advance(900)


def receipt() -> None:
    heading("From the evaluation to Slack's receipt: seconds from the call of alertRules, 4 SLOs, one of them broken")
    waits = []
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    for seed in range(9):
        other = Other()
        on = Deployment(other, now=now)
        append_all(on.store, bodies(20, 20, seed=seed), table_for(on.store), 10)
        on.now = now + timedelta(seconds=60)  # the slot is over
        with quietly():
            started = time.perf_counter()
            run_alert_rules(on.app, on.now, lambda: True)
            on.deliver()
        waits.append(other.at[0] - started)
    figures = f"{median(waits):.2f}, {max(waits):.2f} s"
    row("10,000 metrics to fold first: median, worst of 9", figures, "≤ 10 s", max(waits) <= 10)


def billed() -> None:
    heading("What a notification costs: billed reads and writes")
    cases: tuple[tuple[str, int, Callable[[int], str]], ...] = (
        ("one alone", 1, lambda n: "API"),
        ("ten of one component", 10, lambda n: "API"),
        ("ten of ten components", 10, lambda n: f"C{n}"),
    )
    row("before groups and silences: one alone", f"{TODAY[0]:.1f}, {TODAY[1]:.1f}")
    for name, count, component in cases:
        on = Deployment(Other())
        on.add([(f"a{n}", component(n)) for n in range(count)], 1, "trigger")
        before = on.store.meter.snapshot()
        on.deliver()
        used = on.store.meter.since(before)
        row(name, f"{used.reads / count:.1f}, {used.writes / count:.1f}")
    on = Deployment(Other())
    before = on.store.meter.snapshot()
    on.deliver()
    row("nothing due", f"{on.store.meter.since(before).reads}, {on.store.meter.since(before).writes}")

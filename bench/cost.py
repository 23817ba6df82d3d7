"""What a million metrics costs on Firestore, against one document a metric; and how exact the quantiles stay.

The real path in simulated time: the body, the group commit, alertRules every 5 minutes, the close of the day. The
store's meter counts what Firestore would bill. The notifier and the status page cost the same without any metric, and
are left out; so are storage, CPU and network.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.data import CONFIG, fresh_store
from bench.report import heading, row
from functions.metrics_ingest.handler import take
from functions.metrics_ingest.heartbeat import beat
from functions.metrics_ingest.ingest import Ingest
from shared.alerts.alerting import run_alert_rules
from shared.bootstrap import App
from shared.domain.cumulative import Histogram, histogram_stats
from shared.domain.rollup import Stats, stats_of
from shared.metrics.store_latency import TimedStore
from shared.outbound import HttpOutbound
from shared.settings import Settings
from shared.store.protocol import Query, Store

PRICES = json.loads((Path(__file__).parent / "firestore_prices.json").read_text())
KINDS = ("reads", "writes", "deletes", "ttl_deletes")
Operations = dict[str, float]  # by kind

MIDNIGHT = datetime(2027, 1, 15, tzinfo=UTC)
WARM_UP = timedelta(minutes=10)
RULES_EVERY = timedelta(minutes=5)
MOST_IN_A_BATCH, LONGEST_WAIT = 500, 5.0  # as the client sends them
EACH_HOUR, EACH_DAY = ("m5", "receipts", "points", "h1"), ("d1", "metrics", "slo", "ops_metrics")  # with a TTL

# One document a metric, at its best: written once, read by one evaluation only, deleted by TTL.
ONE_EACH: Operations = {"reads": 1e6, "writes": 1e6, "deletes": 0, "ttl_deletes": 1e6}


@dataclass(frozen=True, slots=True)
class Shape:
    """`hours` are simulated; a day is 24 / hours times them, and one close. `agents` beat every `beat_seconds`."""

    series: int
    per_second: int
    hours: int
    agents: int = 0
    beat_seconds: int = 60

    @property
    def per_day(self) -> int:
        return self.per_second * 86_400


SHAPES = (Shape(20, 1000, 1), Shape(1000, 100, 6), Shape(5, 1, 24))


def dollars(operations: Operations) -> float:
    return sum(float(PRICES["dollars_per_100000"][kind]) * n / 100_000 for kind, n in operations.items())


def beyond_free(a_day: Operations) -> Operations:
    return {kind: max(0.0, n - PRICES["free_a_day"][kind]) for kind, n in a_day.items()}


def cost() -> None:
    heading("Firestore: operations and dollars per million metrics, the whole path, against one document a metric")
    print(f"Prices: {PRICES['source']}, {PRICES['noted']}; per 100,000: {PRICES['dollars_per_100000']}")
    print(f"Free a day: {PRICES['free_a_day']}\n")
    for line in table(SHAPES):
        print(line, flush=True)


def table(shapes: tuple[Shape, ...]) -> list[str]:
    """In Markdown, as the guide has it."""
    lines = [
        "| metrics | reads | writes | deletes | by TTL | a million | one document each | a day | with the free quota |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shape in shapes:
        day = operations_a_day(shape)
        million = {kind: n * 1e6 / shape.per_day for kind, n in day.items()}
        cells = [
            f"{shape.series:,} series, {shape.per_second:,} a second",
            *(f"{million[kind]:,.0f}" for kind in KINDS),
            f"${dollars(million):.4f}",
            f"${dollars(ONE_EACH):.2f}, {dollars(ONE_EACH) / dollars(million):,.0f} ×",
            f"${dollars(day):.3f}",
            f"${dollars(beyond_free(day)):.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def heartbeats() -> None:
    heading("Firestore: operations and dollars a day for agents that beat, beside no agent at all")
    print("| heartbeats | reads | writes | deletes | by TTL | a day |\n|---|---|---|---|---|---|")
    nothing = operations_a_day(Shape(0, 0, 2))
    for agents, seconds in ((1, 60), (1, 300), (20, 60)):
        day = operations_a_day(Shape(0, 0, 2, agents, seconds))
        more = {kind: day[kind] - nothing[kind] for kind in KINDS}
        what = f"{agents} agent{'s' if agents > 1 else ''}, every {seconds} s"
        cells = [what, *(f"{more[kind]:,.0f}" for kind in KINDS), f"${dollars(more):.4f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def operations_a_day(shape: Shape) -> Operations:
    """What a day of such metrics and beats is billed, in steady state."""
    world = _World(shape)
    world.run(WARM_UP)
    warm = world.documents(EACH_HOUR)
    hours = world.billed(lambda: world.run(timedelta(hours=shape.hours)))
    kept = world.documents(EACH_HOUR) - warm
    quiet = world.billed(lambda: world.judge(RULES_EVERY))
    close = world.billed(lambda: world.judge(RULES_EVERY))
    times = 24 / shape.hours
    day = {kind: hours[kind] * times + close[kind] - quiet[kind] for kind in ("reads", "writes", "deletes")}
    return {**day, "ttl_deletes": kept * times + world.documents(EACH_DAY)}


class _World:
    """One sender of that shape, one instance of each function, and a clock that is moved by hand."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.now = MIDNIGHT - timedelta(hours=shape.hours) - WARM_UP
        self.store: Store = TimedStore(fresh_store(), "sqlite", lambda: self.now.timestamp())
        keys = {"F0_STORE": "sqlite", "INGEST_KEYS": hashlib.sha256(b"bench").hexdigest(), "CONFIG_DIR": str(CONFIG)}
        self.ingesting, self.judging = (self._instance(keys) for _ in range(2))
        self.values = random.Random(1)
        self.sent = 0

    def _instance(self, env: dict[str, str]) -> App:
        settings = Settings.load(env)
        return App(settings, self.store, HttpOutbound(), lambda: self.now, lambda: self.now.timestamp())

    def run(self, length: timedelta) -> None:
        """Send, and judge at every fifth minute, the end included."""
        start, seconds = self.now, int(length.total_seconds())
        due = [(float(second), 2, self.judge) for second in range(300, seconds + 1, 300)]
        if self.shape.per_second:
            size = min(MOST_IN_A_BATCH, math.ceil(self.shape.per_second * LONGEST_WAIT))
            step = size / self.shape.per_second
            send = partial(self._send, size, timedelta(seconds=step))
            due += [(step * n, 1, send) for n in range(1, int(seconds / step) + 1)]
        for n in range(self.shape.agents):  # each at a time of its own, as they were started
            first = self.shape.beat_seconds * (n + 0.5) / self.shape.agents
            beats = int(seconds / self.shape.beat_seconds)
            due += [(first + self.shape.beat_seconds * i, 0, partial(self._beat, _letters(n))) for i in range(beats)]
        for second, _, work in sorted(due, key=lambda entry: entry[:2]):
            self.now = start + timedelta(seconds=second)
            work()
        self.now = start + length

    def _send(self, size: int, step: timedelta) -> None:
        answer = take(self._body(size, step), self.ingesting.part(Ingest), self.now)
        assert answer["accepted"] == size, answer

    def _beat(self, agent: str) -> None:
        beat(agent, b"", self.ingesting, self.ingesting.part(Ingest), self.now)

    def judge(self, later: timedelta = timedelta()) -> None:
        self.now += later
        result = run_alert_rules(self.judging, self.now, lambda: True)
        assert result.folded.complete

    def _body(self, size: int, step: timedelta) -> bytes:
        """The compact form, as the client sends it: the metrics of the last `step`, the series in turn."""
        start, each = (self.now - step).timestamp() * 1000, step.total_seconds() * 1000 / size
        count = min(size, self.shape.series)
        series = [
            {
                "name": "api_latency",
                "labels": {"endpoint": f"/api/{_letters((self.sent + n) % self.shape.series)}", "status": "200"},
                "times": [int(start + i * each) for i in range(n, size, count)],
                "values": [self.values.lognormvariate(4.5, 0.5) for _ in range(n, size, count)],
            }
            for n in range(count)
        ]
        self.sent += size
        return msgspec.json.encode({"batchId": f"bench-{self.sent:012}", "series": series})

    def billed(self, work: Callable[[], None]) -> Operations:
        before = self.store.meter.snapshot()
        work()
        meter = self.store.meter.since(before)
        return {"reads": meter.reads, "writes": meter.writes, "deletes": meter.deletes}

    def documents(self, collections: tuple[str, ...]) -> int:
        return sum(self.store.count(Query(name, group=name != "ops_metrics")) for name in collections)


def _letters(n: int) -> str:
    """A word without digits, which would be taken for an id."""
    return "".join(chr(97 + n // 26**place % 26) for place in range(3))


# The same values through the sketch, and through a histogram with OpenTelemetry's default bounds

VALUES = 100_000
OTEL_BOUNDS = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0)
DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "lognormal": lambda source: source.lognormvariate(4.5, 0.8),
    "uniform": lambda source: source.uniform(1, 2000),
    "bimodal": lambda source: source.gauss(40, 5) if source.random() < 0.7 else source.gauss(900, 60),
}


class Measured(NamedTuple):
    """A quantile of the same values: exact, relative errors of the estimates, and what the histogram is certain of."""

    exact: float
    sketch: float
    histogram: float
    low: float
    high: float


def measured(name: str, q: float) -> Measured:
    values, sketch, histogram = _prepared(name)
    exact = values[math.ceil(q * VALUES) - 1]
    low, high = histogram.quantile_bounds(q) or (0.0, None)
    errors = (abs((sketch.quantile(q) or 0) / exact - 1), (histogram.quantile(q) or 0) / exact - 1)
    return Measured(exact, *errors, low, math.inf if high is None else high)


@cache
def _prepared(name: str) -> tuple[list[float], Stats, Stats]:
    source = random.Random(7)
    values = sorted(max(1.0, DISTRIBUTIONS[name](source)) for _ in range(VALUES))
    return values, stats_of(list(values), ()), in_histogram(values)


def quantiles() -> None:
    heading(f"Quantiles of {VALUES:,} values against the exact ones: the sketch, and a histogram with default bounds")
    for name in DISTRIBUTIONS:
        for q in (0.5, 0.95, 0.99):
            m = measured(name, q)
            row(f"{name}, p{q * 100:.0f} = {m.exact:.1f}: sketch", f"{m.sketch:.2%}", "≤ 1 %", m.sketch <= 0.01)
            surely = m.low <= m.exact <= m.high
            row("    explicit histogram", f"{m.histogram:+.1%}", f"said to be {m.low:.0f} to {m.high:.0f}", surely)


def in_histogram(values: list[float]) -> Stats:
    """Rising values as an OpenTelemetry SDK counts them."""
    counts = [0] * (len(OTEL_BOUNDS) + 1)
    for value in values:
        counts[next((n for n, bound in enumerate(OTEL_BOUNDS) if value <= bound), len(OTEL_BOUNDS))] += 1
    stats = histogram_stats(Histogram(len(values), sum(values), OTEL_BOUNDS, tuple(counts)), values[0], values[-1], ())
    assert stats is not None
    return stats

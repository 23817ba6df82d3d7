"""What healthProbe costs a day in billed operations, and how long a round takes when targets hang."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta

from bench.cost import MIDNIGHT, PRICES, Operations, beyond_free, dollars
from bench.data import CONFIG, fresh_store
from bench.report import heading, median, row
from shared.bootstrap import App
from shared.domain.probe import LONGEST_SECONDS
from shared.domain.probing import Finding
from shared.metrics.fold import fold
from shared.metrics.store_latency import TimedStore
from shared.outbound import OutboundError, Permit, Reply
from shared.probes.rounds import Rounds
from shared.probes.run import run_health_probe
from shared.settings import Settings
from shared.store.protocol import Meter

MINUTES = 120
SET_UP = {
    "APP_BASE_URL": "https://app.example.com",
    "FIREBASE_API_KEY": "x",
    "STRIPE_API_KEY": "x",
    "ANTHROPIC_API_KEY": "x",
    "OPENAI_API_KEY": "x",
    "PROBE_FEEDS": "on",
}
_ANSWERS = b'{"status": {"indicator": "none"}, "data": [1], "object": "balance", "sessionId": "x"}'
HUNG, SECONDS = 20, 0.5


class _Answering:
    """Everybody out there answers at once, but for the app itself while it is `failing`."""

    def __init__(self) -> None:
        self.failing = False

    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        return self.call("POST", url, body, headers, deadline)

    def call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        permit: Permit | None = None,
        most: int = 0,
    ) -> Reply:
        if self.failing and "app.example.com" in url:
            raise OutboundError("timeout", sent=True)
        return Reply(200, {}, _ANSWERS)


def operations() -> None:
    heading("healthProbe as shipped, all set up but the bucket: billed operations a day on Firestore")
    for what, every in (("every probe is answered", 0), ("the API fails for 3 of 30 minutes", 30)):
        probes, folded = measured(every)
        both = {kind: probes[kind] + folded[kind] for kind in probes}
        told = f"{probes['reads']:,.0f} reads, {probes['writes']:,.0f} writes"
        print(f"  {what}: {told}; the fold of their metrics besides: {folded['reads']:,.0f} reads, "
              f"{folded['writes']:,.0f} writes, {folded['deletes']:,.0f} deletes")  # fmt: skip
        row(f"dollars a day ({PRICES['noted']}); beyond the free quota", f"{dollars(both):.4f}")
        row("", f"{dollars(beyond_free(both)):.4f}")
        row("writes a day", f"{both['writes']:,.0f}", "≤ 20,000, the free quota", both["writes"] <= 20_000)


def measured(fails_every: int) -> tuple[Operations, Operations]:
    """Of a day, from two hours in simulated time: healthProbe's own operations, and those of folding its metrics."""
    store = TimedStore(fresh_store(), "sqlite", time.monotonic)
    settings = Settings.load({"F0_STORE": "sqlite", "CONFIG_DIR": str(CONFIG), **SET_UP})
    now = MIDNIGHT + timedelta(hours=6)
    out = _Answering()
    app = App(settings, store, out, lambda: now, time.monotonic, lambda seconds: None)
    probes, folded = Meter(), Meter()
    for minute in range(MINUTES):
        out.failing = bool(fails_every) and minute % fails_every < 3
        before = store.meter.snapshot()
        run_health_probe(app, now)
        _add(probes, store.meter.since(before))
        now += timedelta(minutes=1)
        if minute % 5 == 4:
            _add(folded, _fold(app, store, now))
    return _a_day(probes), _a_day(folded)


def _fold(app: App, store: TimedStore, now: datetime) -> Meter:
    before = store.meter.snapshot()
    fold(store, app.slos.registry, app.slos.current().definitions, now)
    return store.meter.since(before)


def _add(to: Meter, more: Meter) -> None:
    to.reads += more.reads
    to.writes += more.writes
    to.deletes += more.deletes


def _a_day(meter: Meter) -> Operations:
    times = 1440 / MINUTES
    return {"reads": meter.reads * times, "writes": meter.writes * times, "deletes": meter.deletes * times,
            "ttl_deletes": 0.0}  # fmt: skip


def hung() -> None:
    heading(
        f"A round with {HUNG} targets that never answer, cut at {SECONDS:g} s (a real one at {LONGEST_SECONDS:g} s)"
    )
    taken = []
    for _ in range(5):
        rounds = Rounds(time.monotonic)
        well: list[float] = []
        begin = time.monotonic()

        def answered(begin: float = begin, well: list[float] = well) -> Finding:
            well.append(time.monotonic() - begin)
            return Finding("good", "answered")

        def hangs() -> Finding:
            time.sleep(5 * SECONDS)
            return Finding("good", "answered")

        rounds.all({**{("x", str(n)): hangs for n in range(HUNG)}, ("x", "well"): answered}, SECONDS)
        taken.append((time.monotonic() - begin, well[0]))
    whole, well_ms = median([w for w, _ in taken]), median([w for _, w in taken]) * 1000
    row("the round", f"{whole:.3f} s", f"≤ {SECONDS * 1.1:g} s", whole <= SECONDS * 1.1)
    row("the one that answers, asked last, was answered after", f"{well_ms:.1f} ms", "≤ 50 ms", well_ms <= 50)

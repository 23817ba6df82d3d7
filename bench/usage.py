"""What usage costs: operations for 1,000 calls, reservations a second on one hot user, latency that recording adds."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bench.data import CONFIG, fresh_store
from bench.report import heading, median, row
from shared.bootstrap import App
from shared.domain.account_work import Reserve
from shared.domain.ledger import Amount
from shared.domain.plans import Limits, Plan, Plans
from shared.domain.quota import Thresholds
from shared.domain.usage import Tokens, Usage
from shared.outbound import HttpOutbound
from shared.settings import Settings
from shared.store.protocol import Meter, Put, Store
from shared.usage.accounts import Accounts
from shared.usage.cost_rollup import run
from shared.usage.prices import PublishedPrices, load_pricing
from shared.usage.record import record

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
CALLS = 1000
ATTEMPTS, LIMIT, CALLERS, INSTANCES = 10_000, 1500, 64, 2
ADDED_MS = 1.0
PAIRS = 400


def _app(store: Store) -> App:
    settings = Settings.load({"F0_STORE": "sqlite", "CONFIG_DIR": str(CONFIG)})
    return App(settings, store, HttpOutbound(), lambda: NOW)


def _usage(number: int, users: int) -> Usage:
    tokens = Tokens(input=1000, output=200)
    uid = f"user-{number % users}"
    return Usage(f"request-{number:06}", uid, "anthropic", "claude-sonnet-4-5", NOW, tokens, "pro")


def operations() -> None:
    """One body after the other, so that nothing shares a commit: the most that it can be."""
    heading(f"usage: billed operations for {CALLS} calls, one body after the other")
    shapes = (
        ("one call a body, 10 users", 1, 10, True),
        ("10 calls of one user a body", 10, 1, True),
        ("100 calls of 10 users a body", 100, 10, True),
        ("100 calls of 10 users a body, batch path", 100, 10, False),
    )
    for what, size, users, realtime in shapes:
        with closing(fresh_store()) as store:
            store.commit([Put("config/flags", {"costs": {"realtime_tracking": realtime}})])
            app = _app(store)
            app.flags.all()
            before = store.meter.snapshot()
            for start in range(0, CALLS, size):
                record(app, [_usage(n, users) for n in range(start, start + size)], NOW)
            told = _operations(store.meter.since(before))
            before = store.meter.snapshot()
            run(app, NOW, lambda: True)
            row(what, f"{told}; the rollup after it {_operations(store.meter.since(before))}")


def _operations(meter: Meter) -> str:
    return f"{meter.reads} reads, {meter.writes} writes, {meter.deletes} deletes"


def hot_user() -> None:
    heading(f"reservations on one hot user: {ATTEMPTS} attempts of {CALLERS} callers, {INSTANCES} instances")
    with closing(fresh_store()) as store:
        _attempts("SQLite", store)
    with _emulated() as firestore:
        if firestore is None:
            row("Firestore's emulator", "is not installed: not measured")
        else:
            _attempts("Firestore's emulator", firestore)


def _attempts(name: str, store: Store) -> None:
    plans = Plans(default="hot", plans={"hot": Plan(day=Limits(calls=LIMIT))})
    prices = PublishedPrices(load_pricing(CONFIG))
    instances = [Accounts(store, prices, plans, Thresholds) for _ in range(INSTANCES)]
    reasons: list[str] = []
    faults: list[BaseException] = []

    def call(caller: int) -> None:
        for n in range(caller, ATTEMPTS, CALLERS):
            step = Reserve(f"attempt-{n:06}", Amount(1, 100, Decimal("0.01")), None, timedelta(minutes=15))
            try:
                instances[caller % INSTANCES].do("hot", step, NOW)
            except BaseException as fault:  # noqa: BLE001 - told below
                faults.append(fault)
                return
            reasons.append(step.reason)

    before, started = store.meter.snapshot(), time.monotonic()
    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - started
    granted = reasons.count("granted")
    right = not faults and granted == LIMIT and len(reasons) == ATTEMPTS
    told = f"{len(reasons) / seconds:,.0f} a second, {granted} granted, {_operations(store.meter.since(before))}"
    row(name, told + (f", {len(faults)} faults" if faults else ""), f"exactly {LIMIT}", right)


@contextmanager
def _emulated() -> Iterator[Store | None]:
    from shared.store.firestore import FirestoreStore
    from tests.emulator import EmulatorMissing, running

    try:
        with running() as address:
            os.environ["FIRESTORE_EMULATOR_HOST"] = address
            store = FirestoreStore(f"bench-{secrets.token_hex(4)}")
            try:
                yield store
            finally:
                store.close()
                del os.environ["FIRESTORE_EMULATOR_HOST"]
    except EmulatorMissing:
        yield None


def added_latency() -> None:
    """Each call once watched and once not, in turn, against a server of the same machine."""
    import anthropic

    from shared.usage_client import UsageClient
    from tests.provider_servers import provider

    heading(f"what recording adds to a call: medians of {PAIRS} pairs")
    with provider() as server:
        usage = UsageClient("http://127.0.0.1:9", "key", default_user="ada", give_up_after=0.0)
        plain = anthropic.Anthropic(base_url=server.url, api_key="sk-bench")
        watched = usage.watch(anthropic.Anthropic(base_url=server.url, api_key="sk-bench"))
        for what, call in (("a whole answer", _whole), ("a stream", _stream)):
            wall, cpu = _added(lambda call=call: call(plain), lambda call=call: call(watched))  # type: ignore[misc]
            row(what, f"{wall * 1e3:+.3f} ms, of it CPU {cpu * 1e3:.3f} ms", f"≤ {ADDED_MS} ms", cpu * 1e3 <= ADDED_MS)
        plain.close()
        watched.close()
        usage.close(0)


def _added(plain: Callable[[], None], watched: Callable[[], None]) -> tuple[float, float]:
    """Medians of the differences of pairs, in turn either first: of time, and of this thread's CPU."""
    times, cpus = [], []
    for pair in range(PAIRS):
        taken: dict[bool, tuple[float, float]] = {}
        for is_watched in (False, True) if pair % 2 else (True, False):
            started, used = time.perf_counter(), time.thread_time()
            (watched if is_watched else plain)()
            taken[is_watched] = (time.perf_counter() - started, time.thread_time() - used)
        times.append(taken[True][0] - taken[False][0])
        cpus.append(taken[True][1] - taken[False][1])
    return median(times), median(cpus)


_ASK: Any = [{"role": "user", "content": "sing"}]


def _whole(client: Any) -> None:
    client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=_ASK)


def _stream(client: Any) -> None:
    list(client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=_ASK, stream=True))


def imports() -> None:
    heading("the first price that is asked for: importing genai-prices")
    code = (
        "import pydantic, re, time\n"
        "def held(): return int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before, start = held(), time.perf_counter()\n"
        "import genai_prices.data\n"
        "print(time.perf_counter() - start, held() - before)\n"
    )
    command = [sys.executable, "-c", code]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(5)]
    seconds, kilobytes = zip(*((float(a), int(b)) for a, b in (o.stdout.split() for o in outputs)), strict=True)
    row("seconds, and memory", f"{median(list(seconds)) * 1000:.0f} ms, {median(list(kilobytes)) / 1024:.0f} MiB")

"""What `record` of the metrics client costs the app that calls it. Nothing is sent: the sender's work is apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import repeat

from bench.report import cpu_seconds, heading, median, row
from shared.metrics_client import Label, MetricsClient

CALLS = 9_000  # below a batch, so that the sender sleeps
ROUNDS = 41
LIMIT = 2000


def _client(max_queue: int = 2 * CALLS, sample_one_in: dict[str, int] | None = None) -> MetricsClient:
    nowhere = "http://127.0.0.1:9"
    return MetricsClient(
        nowhere,
        "key",
        flush_seconds=1e6,
        max_batch=10_000,
        max_queue=max_queue,
        sample_one_in=sample_one_in,
        flush_on_sigterm=False,
    )


def _empty(name: str, value: float, /, **labels: Label) -> None:
    """What a call with these arguments costs at least."""


def _calls(record: Callable[..., None]) -> Callable[[], None]:
    def work() -> None:
        for _ in repeat(None, CALLS):
            record("api_latency", 123.4, endpoint="/api/orders", method="GET", status=200)

    return work


def _appends(waiting: deque[float]) -> Callable[[], None]:
    def work() -> None:
        for _ in repeat(None, CALLS):
            waiting.append(123.4)

    return work


def record() -> None:
    heading(f"record: CPU of a call, median of {ROUNDS} rounds of {CALLS} calls, taken in turn")
    plain, sampled, full = _client(), _client(sample_one_in={"api_latency": 10}), _client(max_queue=1)
    full.record("api_latency", 1)
    waiting: deque[float] = deque()
    works = {
        "baseline: an empty function with the same arguments": _calls(_empty),
        "baseline: deque.append": _appends(waiting),
        "record with 3 labels": _calls(plain.record),
        "record with 3 labels, one in 10 kept": _calls(sampled.record),
        "record with 3 labels, queue full": _calls(full.record),
    }
    seconds: dict[str, list[float]] = {what: [] for what in works}
    for _ in range(ROUNDS):
        for what, work in works.items():
            seconds[what].append(cpu_seconds(work))
            for queue in (waiting, plain._queue, sampled._queue):
                queue.clear()
    for what, taken in seconds.items():
        nanoseconds = median(taken) / CALLS * 1e9
        if what.startswith("baseline"):
            row(what, f"{nanoseconds:.0f} ns")
        else:
            row(what, f"{nanoseconds:.0f} ns", f"≤ {LIMIT} ns", nanoseconds <= LIMIT)
    full._queue.clear()

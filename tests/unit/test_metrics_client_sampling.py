"""Sampling is unbiased and loses no error: what arrives over the wire, against what was recorded, with fixed seeds.

An estimate from sampling has a known variance: a sample x that is kept once in N adds (N - 1) x² to that of the sum.
Each test allows four standard errors of its mean over all runs; with N = 10 a weight of 9 would be fifteen away.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pytest

from tests.capturing_ingest import CapturingIngest
from tests.sending import client_of

RUNS = 400
CALLS = 500  # a run
QUANTILES = (0.5, 0.95, 0.99)


@pytest.fixture
def server() -> Iterator[CapturingIngest]:
    with CapturingIngest() as running:
        yield running


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def seeded(server: CapturingIngest, seed: int, **options: Any) -> Any:
    client = client_of(server, max_queue=RUNS * CALLS, max_batch=10_000, **options)
    client._chance = random.Random(seed).random  # the draws, in the same order each time
    return client


def by_run(metrics: list[dict[str, Any]]) -> dict[str, list[tuple[float, int]]]:
    """Run → (value, weight) of what arrived."""
    runs = defaultdict(list)
    for metric in metrics:
        runs[metric["labels"]["run"]].append((metric["value"], metric.get("weight", 1)))
    return runs


def latencies(seed: int) -> list[float]:
    source = random.Random(seed)
    return [source.lognormvariate(4, 0.7) for _ in range(CALLS)]


def close_to(estimates: list[float], truth: float, variance: float) -> bool:
    """Whether the mean is within four standard errors; `variance` is that of one estimate."""
    mean = sum(estimates) / len(estimates)
    return abs(mean - truth) <= 4 * math.sqrt(variance / len(estimates))


@pytest.mark.parametrize("one_in", [2, 10, 100])
def test_sums_and_counts_are_unbiased(server: CapturingIngest, one_in: int) -> None:
    values = latencies(1)
    client = seeded(server, 2, sample_one_in={"api_latency": one_in})
    for run in range(RUNS):
        for value in values:
            client.record("api_latency", value, run=run)
    client.close(30)
    runs = by_run(server.metrics)
    sums = [sum(value * weight for value, weight in runs[str(run)]) for run in range(RUNS)]
    counts = [sum(weight for _, weight in runs[str(run)]) for run in range(RUNS)]
    assert close_to(sums, sum(values), (one_in - 1) * sum(v * v for v in values))
    assert close_to([float(count) for count in counts], CALLS, (one_in - 1) * CALLS)
    assert client.stats.accepted + client.stats.sampled_out == RUNS * CALLS
    assert client.stats.accepted == len(server.metrics) < RUNS * CALLS / one_in * 1.1


def test_the_counts_that_quantiles_are_read_from_are_unbiased(server: CapturingIngest) -> None:
    values = sorted(latencies(3))
    client = seeded(server, 4, sample_one_in={"api_latency": 10})
    for run in range(RUNS):
        for value in values:
            client.record("api_latency", value, run=run)
    client.close(30)
    runs = by_run(server.metrics)
    for q in QUANTILES:
        bound = values[int(q * CALLS)]
        up_to = sum(value <= bound for value in values)
        counts = [sum(w for v, w in runs[str(run)] if v <= bound) for run in range(RUNS)]
        assert close_to([float(count) for count in counts], up_to, 9 * up_to), q


def test_quantiles_of_many_samples_are_those_of_all_values(server: CapturingIngest) -> None:
    source = random.Random(5)
    values = sorted(source.lognormvariate(4, 0.7) for _ in range(100_000))
    client = seeded(server, 6, sample_one_in={"api_latency": 10})
    for value in source.sample(values, len(values)):
        client.record("api_latency", value, run=0)
    client.close(30)
    kept = sorted(by_run(server.metrics)["0"])
    total = sum(weight for _, weight in kept)
    for q in QUANTILES:
        seen = accumulate(weight for _, weight in kept)
        value = next(value for (value, _), up_to in zip(kept, seen, strict=True) if up_to >= q * total)
        error = 4 * math.sqrt(9 * q * (1 - q) / len(values))  # of a share, in standard errors
        assert values[int((q - error) * len(values))] <= value <= values[min(99_999, int((q + error) * len(values)))], q


def test_high_volume_is_unbiased_though_the_late_samples_of_a_second_differ(server: CapturingIngest) -> None:
    """Values grow within each second, so a rule that weighed early samples for late ones would show."""
    clock = Seconds()
    client = seeded(server, 7, high_volume=50, clock=clock)
    rates = (20, 50, 51, 379)
    assert sum(rates) == CALLS
    for run in range(RUNS):
        for rate in rates:
            clock.now += 1
            for n in range(rate):
                client.record("api_latency", n, run=run)
    client.close(30)
    runs = by_run(server.metrics)
    sampled = [n for rate in rates for n in range(50, rate)]
    sums = [sum(value * weight for value, weight in runs[str(run)]) for run in range(RUNS)]
    counts = [float(sum(weight for _, weight in runs[str(run)])) for run in range(RUNS)]
    assert close_to(sums, sum(n for rate in rates for n in range(rate)), 9 * sum(n * n for n in sampled))
    assert close_to(counts, CALLS, 9 * len(sampled))
    assert all(weight == (1 if value < 50 else 10) for kept in runs.values() for value, weight in kept)


def test_below_the_high_volume_nothing_is_sampled_and_each_second_and_metric_begins_anew(
    server: CapturingIngest,
) -> None:
    clock = Seconds()
    client = seeded(server, 8, high_volume=100, clock=clock)
    for _ in range(50):
        clock.now += 1
        for n in range(100):
            client.record("api_latency", n)
            client.record("firestore_read_latency", n)
    client.close(30)
    assert (client.stats.accepted, client.stats.sampled_out) == (10_000, 0)


def test_a_metric_with_a_rate_of_its_own_keeps_it_at_any_volume(server: CapturingIngest) -> None:
    client = seeded(server, 9, sample_one_in={"api_latency": 1, "token_cost": 4}, high_volume=5, clock=Seconds())
    for n in range(200):
        client.record("api_latency", n)
        client.record("token_cost", n)
    client.close(30)
    kept = defaultdict(set)
    for metric in server.metrics:
        kept[metric["name"]].add(metric.get("weight", 1))
    assert kept == {"api_latency": {1}, "token_cost": {4}}
    assert sum(metric["name"] == "api_latency" for metric in server.metrics) == 200


@pytest.mark.parametrize("options", [{"sample_one_in": {"api_latency": 1000}}, {"high_volume": 1, "clock": Seconds()}])
@pytest.mark.parametrize("status", [500, "503", 599, "error", "Failure", "failed", "timeout"])
def test_errors_are_never_sampled_out(server: CapturingIngest, options: dict[str, Any], status: Any) -> None:
    client = seeded(server, 10, **options)
    for n in range(2000):
        client.record("api_latency", n, status=status if n % 10 == 0 else 200)
    client.close(30)
    failed = [metric for metric in server.metrics if metric["labels"]["status"] == str(status)]
    assert [metric["value"] for metric in failed] == list(range(0, 2000, 10))
    assert all("weight" not in metric for metric in failed)
    assert client.stats.sampled_out > 1000


@pytest.mark.parametrize(
    ("name", "failed"),
    [("error_rate", 1), ("availability", 0), ("agent_success_rate", 0), ("agent_uptime", 0), ("probe_success", 0)],
)
def test_a_failure_recorded_as_0_or_1_is_never_sampled_out(server: CapturingIngest, name: str, failed: int) -> None:
    client = seeded(server, 11, sample_one_in={name: 1000})
    for n in range(2000):
        client.record(name, failed if n % 10 == 0 else 1 - failed)
    client.close(30)
    assert sum(metric["value"] == failed and "weight" not in metric for metric in server.metrics) == 200
    assert client.stats.sampled_out > 1700


@pytest.mark.parametrize("status", [499, 600, "5xx", "5000", "ok", "50", "５００"])
def test_what_is_no_error_is_sampled(server: CapturingIngest, status: Any) -> None:
    client = seeded(server, 12, sample_one_in={"api_latency": 1000})
    for n in range(200):
        client.record("api_latency", n, status=status)
    client.close(30)
    assert client.stats.sampled_out > 190


def test_a_name_that_differs_each_time_takes_no_memory(server: CapturingIngest) -> None:
    client = seeded(server, 13, high_volume=10, clock=Seconds())
    for n in range(50_000):
        client.record(f"name{n}", 1)
    assert len(client._sampling._seen) < 2000
    client.close(30)


def test_what_is_no_number_is_rejected_even_where_most_are_sampled_out(server: CapturingIngest) -> None:
    client = seeded(server, 14, sample_one_in={"api_latency": 1000})
    for _ in range(100):
        client.record("api_latency", float("nan"))
    client.close(30)
    assert client.stats.rejected == 100

"""Quantiles by log buckets: within 1 %, whatever the values, and in whatever order they are merged."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.sketch import SMALLEST, ZERO, count_sorted, count_up_to, indices, quantile, representative

SLACK = 1e-9
RANDOM = random.Random(20260310)
DISTRIBUTIONS: dict[str, Callable[[], float]] = {
    "uniform": lambda: RANDOM.uniform(0, 1000),
    "lognormal": lambda: RANDOM.lognormvariate(5, 1),
    "exponential": lambda: RANDOM.expovariate(1 / 200),
    "pareto": lambda: RANDOM.paretovariate(1.2) * 50,
    "one value": lambda: 123.456,
    "zeros only": lambda: 0.0,
    "half zeros": lambda: RANDOM.choice([0.0, RANDOM.uniform(1, 2)]),
    "tiny": lambda: RANDOM.uniform(1e-280, 1e-279),
    "huge": lambda: RANDOM.uniform(1e14, 1e15),
    "all magnitudes": lambda: 10 ** RANDOM.uniform(-280, 15),
    "two far peaks": lambda: RANDOM.choice([RANDOM.gauss(20, 1), RANDOM.gauss(2000, 10)]),
    "whole numbers": lambda: float(RANDOM.randint(0, 500)),
    "powers of gamma": lambda: (1.01 / 0.99) ** RANDOM.randint(-500, 500),
}
VALUES = st.one_of(st.just(0.0), st.floats(SMALLEST, 1e15))


def buckets_of(values: list[float]) -> dict[int, int]:
    return dict(Counter(indices(values)))


def rank_value(values: list[float], q: float) -> float:
    """The exact quantile: the value at rank ceil(q·n), counted from 1."""
    hundredths = round(q * 100)
    return sorted(values)[max(1, -(-hundredths * len(values) // 100)) - 1]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100, 5000])
def test_p50_p95_and_p99_are_within_one_percent(name: str, count: int) -> None:
    values = [DISTRIBUTIONS[name]() for _ in range(count)]
    for q in (0.5, 0.95, 0.99):
        exact = rank_value(values, q)
        found = quantile(buckets_of(values), q)
        assert found is not None
        assert abs(found - exact) <= exact * (0.01 + SLACK)


@given(st.lists(VALUES, min_size=1, max_size=50), st.sampled_from([0.5, 0.75, 0.9, 0.95, 0.99]))
def test_any_quantile_of_any_values_is_within_one_percent(values: list[float], q: float) -> None:
    exact = rank_value(values, q)
    found = quantile(buckets_of(values), q)
    assert found is not None
    assert abs(found - exact) <= exact * (0.01 + SLACK)


@given(st.lists(VALUES, max_size=60))
def test_counting_sorted_values_gives_the_same_quantiles_as_an_index_each(values: list[float]) -> None:
    values.sort()
    together, each = count_sorted(values), buckets_of(values)
    assert sum(together.values()) == sum(each.values()) == len(values)
    for bucket in together.keys() ^ each.keys():  # only at the very edge of a bucket
        assert any(math.isclose(v, representative(bucket), rel_tol=0.01 + SLACK) for v in values)


@given(st.floats(SMALLEST, 1e15))
def test_what_stands_for_a_value_is_within_one_percent_of_it(value: float) -> None:
    (index,) = indices([value])
    assert abs(representative(index) - value) <= value * (0.01 + SLACK)


def test_every_index_fits_into_16_bits() -> None:
    assert indices([SMALLEST, 1.0, 1e15, 0.0]) == array("h", [*indices([SMALLEST]), 0, *indices([1e15]), ZERO])
    assert indices([SMALLEST])[0] > ZERO


def test_zero_is_zero_and_nothing_is_none() -> None:
    assert quantile({ZERO: 3}, 0.95) == 0.0
    assert quantile({}, 0.95) is None


@given(st.lists(VALUES, min_size=1, max_size=60), st.integers(2, 6), st.randoms(use_true_random=False))
def test_merging_is_free_of_order(values: list[float], pieces: int, rng: random.Random) -> None:
    shuffled = values[:]
    rng.shuffle(shuffled)
    merged: Counter[int] = Counter()
    for n in range(pieces):
        merged.update(buckets_of(shuffled[n::pieces]))
    assert dict(merged) == buckets_of(values)


@given(st.lists(VALUES, min_size=1, max_size=60), VALUES)
def test_a_count_up_to_a_bound_is_off_by_the_bucket_that_the_bound_cuts_at_most(
    values: list[float], bound: float
) -> None:
    exact = sum(v <= bound for v in values)
    near = sum(abs(v - bound) <= bound * 0.0203 for v in values)
    assert abs(count_up_to(buckets_of(values), bound) - exact) <= near


def test_all_zeros_are_at_or_below_zero() -> None:
    assert count_up_to(buckets_of([0.0, 0.0, 0.0, 1.0]), 0.0) == 3

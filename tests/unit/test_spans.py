"""Spans: values of which only two buckets are known lose no mass when spread, and say what is certain."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.sketch import UNBOUNDED, ZERO, edges, index_of
from shared.domain.spans import Span, at_an_end, spread, up_to

INDEX = st.one_of(st.just(ZERO), st.integers(-3000, 3000))
SPANS = st.dictionaries(
    st.tuples(INDEX, st.one_of(INDEX, st.just(UNBOUNDED))).map(lambda s: (min(s), max(s))),
    st.integers(1, 10**6),
    max_size=6,
)
BUCKETS = st.dictionaries(INDEX, st.integers(1, 10**6), max_size=6)


@given(BUCKETS, SPANS)
def test_spreading_keeps_every_value_and_stays_between_the_ends(
    buckets: dict[int, int], spans: dict[Span, int]
) -> None:
    shares = spread(buckets, spans)
    assert math.fsum(shares.values()) == pytest.approx(sum(buckets.values()) + sum(spans.values()), rel=1e-9)
    assert all(share > 0 for share in shares.values())
    first = min([*buckets, *(span[0] for span in spans)], default=0)
    last = max([*buckets, *(span[0] if span[1] == UNBOUNDED else span[1] for span in spans)], default=0)
    assert all(first <= index <= last for index in shares)


@given(BUCKETS, SPANS)
def test_the_extremes_keep_every_value(buckets: dict[int, int], spans: dict[Span, int]) -> None:
    for end in (0, 1):
        assert sum(at_an_end(buckets, spans, end).values()) == sum(buckets.values()) + sum(spans.values())


@given(SPANS, st.floats(0, 1e9), st.floats(0, 1e9))
def test_counts_up_to_a_bound_rise_with_it_and_never_pass_the_whole(spans: dict[Span, int], a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert 0 <= up_to(spans, low) <= up_to(spans, high) <= sum(spans.values())


def test_values_without_an_upper_edge_stand_at_their_lower_one() -> None:
    first = index_of(100.0)
    assert spread({}, {(first, UNBOUNDED): 7}) == {first: 7.0}
    assert up_to({(first, UNBOUNDED): 7}, 1e15) == 0


def test_values_lie_evenly_between_the_edges() -> None:
    first, last = index_of(100.0), index_of(200.0)
    shares = spread({}, {(first, last): 100})
    below = math.fsum(share for index, share in shares.items() if edges(index)[1] <= 150)
    assert below == pytest.approx(50, abs=3)


def test_a_span_from_zero_takes_a_bounded_number_of_buckets() -> None:
    shares = spread({}, {(ZERO, index_of(1e9)): 10})
    assert len(shares) < 1000
    assert math.fsum(shares.values()) == pytest.approx(10)

"""The fast path over a whole batch and the look at each metric agree, for any mix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.metrics_ingest.decode import _decode, read_batch
from functions.metrics_ingest.one_by_one import read_one_by_one
from shared.domain.aggregate import AHEAD_MS, OLDEST_MS, aggregate
from shared.domain.building import BLOCK_MS, Batch, Suspect
from shared.domain.rollup import Stats, merge_all
from shared.domain.sketch import SMALLEST
from shared.metrics.gather import gather
from shared.metrics.segment import CorruptSegment, decode_segment, encode_segment
from tests.core import NOW, batch_of, body, metric, ms, new_table

NOW_MS = ms(NOW)
TABLE = new_table()

VALUES = st.one_of(
    st.sampled_from(
        [0, 1, -1, 0.0, -0.0, 1.0, 0.5, 100, 300, 400, 1e15, 1.1e15, 1e16, SMALLEST, 1e-283, 1e-290, 1e-320]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2000),
)
TIMES = st.one_of(
    st.sampled_from(
        [NOW_MS - OLDEST_MS, NOW_MS - OLDEST_MS - 1, NOW_MS + AHEAD_MS, NOW_MS + AHEAD_MS + 1, 0, 10**30, -1]
    ),
    st.integers(NOW_MS - OLDEST_MS - BLOCK_MS, NOW_MS + AHEAD_MS + BLOCK_MS),
    st.just(NOW_MS),
)
LABELS = st.one_of(
    st.sampled_from(
        [{}, {"status": "500"}, {"status": 200}, {"uid": "ada"}, {"not ok": 1}, {"region": None}, [], None]
    ),
    st.dictionaries(st.sampled_from(["endpoint", "method", "a b"]), st.text(max_size=5), max_size=3),
)
NAMES = st.sampled_from(["api_latency", "req_latency_ms", "error_rate", "token_cost", "agent_success_rate", "nope"])
TYPED = st.builds(
    lambda n, v, t, ls: {"name": n, "value": v, "timestamp": t, "labels": ls}, NAMES, VALUES, TIMES, LABELS
)
SOUND = st.builds(
    lambda v, t, ls: {"name": "api_latency", "value": v, "timestamp": t, "labels": ls},
    st.one_of(st.integers(0, 2000), st.floats(1e-9, 1e9)),
    st.integers(NOW_MS - OLDEST_MS, NOW_MS + AHEAD_MS),
    st.sampled_from([{}, {"status": "500"}, {"status": 500}, {"uid": "ada", "status": "500"}]),
)
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["name", "value", "timestamp", "labels", "aggregation", "more"])
BROKEN = st.builds(lambda m, k, v: {**m, k: v}, TYPED, FIELDS, JUNK)
METRICS = st.lists(st.one_of(SOUND, SOUND, TYPED, BROKEN, JUNK), max_size=12)


def rollups(batch: Batch) -> dict[int, dict[str, Stats]]:
    """What the batch comes to once it is stored and folded, block by block."""
    (stored,) = decode_segment(encode_segment([batch]))
    found = {}
    for block in stored.blocks:
        fresh, _ = gather([(stored, block)], [set(), set()])
        found[block.number] = merge_all({key: g.stats()} for shard in fresh for (key, _), g in shard.items())
    return found


def encoded(metrics: Sequence[Any]) -> bytes:
    return json.dumps(body(metrics)).encode()


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(METRICS)
def test_both_paths_accept_the_same_and_come_to_the_same_rollup(metrics: list[Any]) -> None:
    sent = encoded(metrics)
    batch, rejected = read_batch(sent, TABLE, NOW_MS)
    slow, slow_rejected = read_one_by_one(sent, TABLE, NOW_MS)
    assert rejected == slow_rejected
    assert (batch.count, batch.hash) == (slow.count, slow.hash)
    assert rollups(batch) == rollups(slow)
    assert batch.count + len(rejected) == len(metrics)
    assert all(r["reasons"] for r in rejected)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(METRICS)
def test_each_metric_fares_in_company_as_it_fares_alone(metrics: list[Any]) -> None:
    _, rejected = read_batch(encoded(metrics), TABLE, NOW_MS)
    alone = []
    for index, one in enumerate(metrics):
        _, refused = read_batch(encoded([one]), TABLE, NOW_MS)
        alone += [{"index": index, "reasons": r["reasons"]} for r in refused]
    assert rejected == alone


@settings(max_examples=300)
@given(st.lists(st.one_of(SOUND, TYPED), min_size=1, max_size=12))
def test_the_fast_path_gives_up_exactly_when_a_metric_must_be_refused(metrics: list[Any]) -> None:
    parsed = _decode(encoded(metrics))
    try:
        aggregate(parsed.metrics, b"12345678", TABLE, NOW_MS)  # type: ignore[arg-type]
        suspect = False
    except Suspect:
        suspect = True
    _, rejected = read_one_by_one(encoded(metrics), TABLE, NOW_MS)
    assert suspect == bool(rejected)


@pytest.mark.parametrize("value", [1e-283, 1e-290, -1e-9, 1.1e15])
@pytest.mark.parametrize("beside", [0, 1, 5])
def test_one_value_that_cannot_be_is_found_among_many_of_its_series(value: float, beside: float) -> None:
    _, rejected = read_batch(encoded([metric(beside)] * 5 + [metric(value)] + [metric(beside)] * 5), TABLE, NOW_MS)
    assert [r["index"] for r in rejected] == [5]


@settings(max_examples=200)
@given(st.lists(st.builds(lambda v, n: (v, n), st.floats(0, 1e6), st.integers(-3, 0)), min_size=1, max_size=60))
def test_a_batch_comes_to_what_its_values_come_to(values: list[tuple[float, int]]) -> None:
    values = [(0.0 if v < SMALLEST else v, n) for v, n in values]
    batch = batch_of([metric(v, at=NOW_MS + n * BLOCK_MS) for v, n in values], table=TABLE)
    found = rollups(batch)
    for n in {n for _, n in values}:
        own = [v for v, m in values if m == n]
        stats = found[NOW_MS // BLOCK_MS + n]["api_latency{}"]
        assert stats.count == len(own)
        assert stats.total == pytest.approx(sum(own), rel=1e-12)
        assert (stats.low, stats.high) == (min(own), max(own))
        assert stats.up_to == {b: sum(v <= b for v in own) for b in (100, 200, 300, 400, 500, 1000, 2000)}


@pytest.mark.parametrize("position", range(0, 400, 7))
def test_any_damaged_byte_of_a_segment_is_noticed(position: int) -> None:
    payload = bytearray(encode_segment([batch_of([metric(n, labels={"status": n}) for n in range(30)], table=TABLE)]))
    payload[position % len(payload)] ^= 1
    with pytest.raises(CorruptSegment):
        decode_segment(bytes(payload))


def test_a_segment_of_another_version_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.metrics import segment

    with monkeypatch.context() as newer:
        newer.setattr(segment, "VERSION", 99)
        payload = encode_segment([batch_of([metric()], table=TABLE)])
    with pytest.raises(CorruptSegment):
        decode_segment(payload)


def test_a_large_segment_is_compressed_and_comes_back_as_it_was() -> None:
    batch = batch_of(
        [metric(n, labels={"endpoint": f"/r-{'abcdefghij'[n % 10]}{'abcdefghij'[n // 1000]}"}) for n in range(10_000)]
    )
    payload = encode_segment([batch] * 60)
    assert payload[:1] == b"z"
    assert [b.hash for b in decode_segment(payload)] == [batch.hash] * 60
    assert rollups(batch)[NOW_MS // BLOCK_MS]

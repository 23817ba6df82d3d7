"""POST /api/metrics: the compact form, samples that stand for several events, gzip, and labels that are not kept."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.metrics_ingest.decode import read_batch
from functions.metrics_ingest.forms import MAX_METRICS, MAX_WEIGHT
from functions.metrics_ingest.one_by_one import MOST_TOLD
from shared.domain.building import BLOCK_MS
from shared.domain.rollup import Stats
from shared.domain.series import PERSONAL, key_of
from shared.metrics.fold import fold
from shared.metrics.rollups import read_blocks
from shared.metrics.segment import decode_segment, encode_segment
from shared.metrics_client import MetricsClient
from shared.store.protocol import Query, Store
from tests.core import KEY, NOW, Client, body, make_app, metric, ms, new_table, registry, serving, shipped

AT = ms(NOW)
GET = {"endpoint": "/api/orders", "method": "GET", "status": "200"}


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    with serving(make_app(store)) as client:
        yield client


def compact(*series: Any, batch_id: str = "batch-0001") -> dict[str, Any]:
    return {"batchId": batch_id, "series": list(series)}


def one(values: list[Any], times: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    times = [AT] * len(values) if times is None else times
    return {"name": "api_latency", "labels": GET, "times": times, "values": values, **more}


def stored(store: Store) -> dict[str, Stats]:
    """Fold, and read what the last hour holds."""
    fold(store, registry(), shipped().definitions, NOW)
    blocks = read_blocks(store, range(AT // BLOCK_MS - 11, AT // BLOCK_MS + 2))
    return {key: stats for block in blocks.values() for key, stats in block.items()}


# --- the compact form


def test_the_compact_form_comes_to_the_same_as_the_plain_one(client: Client, store: Store) -> None:
    status, answer, _ = client.send(compact(one([120, 80.5]), {"name": "error_rate", "times": [AT], "values": [1]}))
    assert (status, answer) == (202, {"accepted": 3, "rejected": [], "duplicate": False})
    kept = stored(store)
    assert (kept[key_of("api_latency", GET)].count, kept[key_of("api_latency", GET)].total) == (2, 200.5)
    assert kept["error_rate{}"].total == 1


@given(st.integers(0, 10_000))
def test_both_forms_of_a_batch_have_the_same_bytes_in_a_segment(seed: int) -> None:
    rng = random.Random(seed)
    metrics = [
        metric(round(rng.uniform(0, 900), 2), at=AT - rng.choice([0, 1, BLOCK_MS]), labels={"status": rng.choice("25")})
        for _ in range(rng.randint(1, 30))
    ]
    metrics.sort(key=lambda m: str(m["labels"]))
    series: dict[str, dict[str, Any]] = {}
    for m in metrics:
        own = series.setdefault(str(m["labels"]), {"name": m["name"], "labels": m["labels"], "times": [], "values": []})
        own["times"].append(m["timestamp"])
        own["values"].append(m["value"])

    def rollup(sent: dict[str, Any]) -> dict[tuple[int, str], Any]:
        batch, rejected = read_batch(json.dumps(sent).encode(), new_table(), AT)
        assert (batch.count, rejected) == (len(metrics), [])
        (again,) = decode_segment(encode_segment([batch]))
        found: dict[tuple[int, str], Any] = {}
        for block in again.blocks:
            for number, value in zip(block.raw_series, block.raw_values, strict=True):
                found.setdefault((block.number, again.series[number][0]), []).append(value)
            for part in block.parts:
                found[block.number, again.series[part[0]][0]] = part[1:]
        return {where: sorted(got) if isinstance(got, list) else got for where, got in found.items()}

    assert rollup(compact(*series.values())) == rollup(body(metrics))


def test_a_refused_point_is_named_by_its_place_over_all_series(client: Client, store: Store) -> None:
    old = ms(NOW - timedelta(hours=49))
    unknown = {"name": "nobody_knows", "times": [AT], "values": [1]}
    _, answer, _ = client.send(compact(one([1, -1, 3], [AT, AT, old]), unknown, one([4, "x"], [AT, 1.5])))
    assert answer["accepted"] == 2
    assert {r["index"]: r["reasons"] for r in answer["rejected"]} == {
        1: ["value: must not be negative"],
        2: ["timestamp: older than 48 hours"],
        3: ["name: unknown metric; declare it in config/metrics.json"],
        5: [
            "value: must be a finite number",
            "timestamp: must be a whole number of milliseconds since 1970",
        ],
    }
    assert stored(store)[key_of("api_latency", GET)].total == 5


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        (compact(one([1, 2], [AT])), {"series[0]": "1 times for 2 values"}),
        (compact(5, one([1])), {"series[0]": "must be an object with name, labels, and the lists times and values"}),
        (compact({"name": "x"}), {"series[0]": "must be an object with name, labels, and the lists times and values"}),
        ({"batchId": "batch-0001", "series": 7}, {"series": "must be a list"}),
        ({**compact(one([1])), "metrics": []}, {"series": "either metrics or series, not both"}),
        ({"batchId": "batch-0001"}, {"metrics": "must be a list"}),
    ],
)
def test_a_compact_body_without_points_to_count_is_refused_whole(
    client: Client, store: Store, sent: Any, errors: dict[str, str]
) -> None:
    status, answer, _ = client.send(sent)
    assert (status, answer["code"]) == (400, "invalid_body")
    assert {e["path"]: e["message"] for e in answer["errors"]} == errors
    assert store.query(Query("segments", group=True)) == []


def test_points_of_all_series_together_are_limited(client: Client) -> None:
    half = one([1] * (MAX_METRICS // 2))
    assert client.send(compact(half, half))[1]["accepted"] == MAX_METRICS
    status, answer, _ = client.send(compact(half, half, one([1]), batch_id="batch-0002"))
    assert (status, answer["code"]) == (413, "too_many_metrics")


def test_more_series_than_are_looked_at_are_refused_whole(client: Client) -> None:
    empty = {"name": "api_latency", "times": [], "values": []}
    assert client.send(compact(*[empty] * MAX_METRICS))[0] == 202
    for item in (empty, 0):
        status, answer, _ = client.send(compact(*[item] * (MAX_METRICS + 1)))
        assert (status, answer["code"], "errors" in answer) == (413, "too_many_metrics", False)


def test_of_many_faults_the_first_are_told_and_how_many_there_are_more(client: Client) -> None:
    status, answer, _ = client.send(compact(*[0] * MAX_METRICS, batch_id="odd!"))
    assert (status, answer["code"], len(answer["errors"])) == (400, "invalid_body", MOST_TOLD + 1)
    assert [e["path"] for e in answer["errors"][:3]] == ["batchId", "series[0]", "series[1]"]
    assert answer["errors"][-1] == {"path": "series", "message": f"and {MAX_METRICS + 1 - MOST_TOLD} more"}
    assert answer["detail"].endswith(f"; and {MAX_METRICS - 2} more")
    assert len(answer["detail"]) < 400
    assert len(client.send(compact(*[0] * MOST_TOLD))[1]["errors"]) == MOST_TOLD


# --- samples that stand for several events


def test_a_weighted_sample_counts_as_many_events_as_it_stands_for(client: Client, store: Store) -> None:
    plain = [metric(100, labels=GET, weight=10), metric(100, labels=GET), metric(1, "error_rate", weight=3)]
    assert client.send(body(plain))[1]["accepted"] == 3
    assert client.send(compact(one([300.0, 500.0], weight=4), batch_id="batch-0002"))[1]["accepted"] == 2
    kept = stored(store)
    latency = kept[key_of("api_latency", GET)]
    assert (latency.count, latency.total, latency.weighted) == (19, 1100 + 3200, 18)
    assert (latency.count_up_to(100), latency.count_up_to(300), latency.count_up_to(400)) == (11, 15, 15)
    assert latency.quantile(0.5) == pytest.approx(100, rel=0.01)
    assert (kept["error_rate{}"].count, kept["error_rate{}"].total) == (3, 3)


@pytest.mark.parametrize("weight", [0, -1, 1.5, "2", None, True, MAX_WEIGHT + 1])
def test_a_weight_is_a_whole_number_from_1_to_1000(client: Client, weight: Any) -> None:
    reason = [f"weight: must be a whole number from 1 to {MAX_WEIGHT}"]
    _, answer, _ = client.send(body([metric(weight=weight), metric(weight=MAX_WEIGHT), metric()]))
    assert answer["rejected"] == [{"index": 0, "reasons": reason}]
    _, answer, _ = client.send(compact(one([1, 2], weight=weight), one([3]), batch_id="batch-0002"))
    assert answer["rejected"] == [{"index": 0, "reasons": reason}, {"index": 1, "reasons": reason}]


def test_a_weighted_sample_is_refused_for_what_a_plain_one_is_refused_for(client: Client) -> None:
    bad = [metric(0.5, "error_rate", weight=2), metric(-1, weight=2), metric(1e-300, weight=2), metric(1e16, weight=2)]
    _, answer, _ = client.send(body([*bad, metric(weight=2)]))
    assert (answer["accepted"], [r["index"] for r in answer["rejected"]]) == (1, [0, 1, 2, 3])


# --- gzip


def test_a_gzip_body_is_taken_like_any_other(client: Client, store: Store) -> None:
    sent = gzip.compress(json.dumps(compact(one([120]))).encode())
    status, answer, _ = client.send(sent, headers={"Content-Encoding": "gzip"})
    assert (status, answer["accepted"]) == (202, 1)
    assert stored(store)[key_of("api_latency", GET)].count == 1


def test_a_gzip_body_counts_by_what_it_unpacks_to(client: Client, store: Store) -> None:
    bomb = gzip.compress(b" " * 30_000_000)
    status, answer, _ = client.send(bomb, headers={"Content-Encoding": "gzip"})
    assert (status, answer["code"]) == (413, "body_too_large")
    assert store.query(Query("segments", group=True)) == []


# --- labels


def test_labels_that_a_metric_does_not_keep_are_left_out_and_counted(client: Client, store: Store) -> None:
    sent = [metric(labels={"status": "200", "pod": "a"}), metric(labels={"status": "200", "pod": "b", "uid": "x"})]
    _, answer, _ = client.send(body([*sent, metric(labels={"status": "500"})]))
    assert answer["droppedLabels"] == {"pod": 2, PERSONAL: 1}
    kept = stored(store)
    assert kept['api_latency{"status":"200"}'].count == 2
    assert kept[key_of("dropped_labels", {"metric": "api_latency", "label": "pod"})].total == 2
    assert kept[key_of("dropped_labels", {"metric": "api_latency", "label": PERSONAL})].total == 1


def test_dropped_labels_count_once_however_often_the_batch_is_sent(client: Client, store: Store) -> None:
    sent = body([metric(labels={"pod": "a"})] * 5)
    assert [client.send(sent)[0] for _ in range(3)] == [202, 202, 202]
    assert stored(store)[key_of("dropped_labels", {"metric": "api_latency", "label": "pod"})].total == 5


def test_beyond_a_metrics_limit_new_label_sets_go_into_other_with_their_status(client: Client, store: Store) -> None:
    limit = registry().metrics["storage_usage"].max_series
    sent = [
        metric(1, "storage_usage", labels={"bucket": f"b-{'abcdefghij'[n % 10]}{chr(97 + n // 10)}"})
        for n in range(150)
    ]
    assert client.send(body(sent))[1]["accepted"] == 150
    kept = {key: stats for key, stats in stored(store).items() if key.startswith("storage_usage")}
    assert len(kept) == limit + 1
    assert kept['storage_usage{"other":"true"}'].count == 150 - limit
    assert sum(stats.count for stats in kept.values()) == 150


def test_hostile_label_names_cannot_make_the_count_of_dropped_ones_grow(client: Client, store: Store) -> None:
    names = [f"x_{a}{b}" for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"][:400]
    client.send(body([metric(labels={name: "y"}) for name in names]))
    kept = stored(store)
    counted = Counter({key: stats.total for key, stats in kept.items() if key.startswith("dropped_labels")})
    assert counted.total() == 400
    assert len(counted) == registry().metrics["dropped_labels"].max_series + 1


def test_control_characters_in_a_label_become_a_space_in_every_form(client: Client, store: Store) -> None:
    odd, clean = {"endpoint": "/a\nb", "region": "eu\x1b[2J\x00west"}, {"endpoint": "/a b", "region": "eu [2J west"}
    assert client.send(body([metric(labels=odd)], "batch-0001"))[1]["accepted"] == 1
    assert client.send(compact(one([1], labels=odd), batch_id="batch-0002"))[1]["accepted"] == 1
    with_client = MetricsClient(f"http://127.0.0.1:{client.port}", KEY, clock=lambda: NOW.timestamp())
    with_client.record("api_latency", 1, **odd)
    assert with_client.flush()
    with_client.close()
    assert {key: stats.count for key, stats in stored(store).items()} == {key_of("api_latency", clean): 3}


# --- where it is


def test_an_address_that_does_not_exist_is_not_found(client: Client) -> None:
    status, answer, _ = client.send(body([metric()]), path="/api/metric")
    assert (status, answer["code"]) == (404, "not_found")
    assert client.send(body([metric()]), path="/api/metrics")[0] == 202

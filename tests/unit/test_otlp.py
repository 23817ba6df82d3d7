"""POST /v1/metrics over a real socket: what is taken from OpenTelemetry, what is refused and why, and how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest

from shared.alerts.alerting import run_alert_rules
from shared.bootstrap import App
from shared.components import load_components
from shared.domain.rollup import Stats
from shared.metrics import group_commit
from shared.metrics.fold import fold
from shared.slo.backtest import backtest
from shared.store.protocol import Put, Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW, Client, Clock, every_byte, make_app, ms, registry, serving, shipped
from tests.otlp import CUMULATIVE, DELTA, PROTOBUF, Export, attributes, nanos, post, zipped
from tests.unit.test_ingest import Fragile

BLOCK = ms(NOW) // 300_000
ROUTE = {"http.route": "/orders/{id}", "http.request.method": "GET", "http.response.status_code": 200}
ORDERS = 'api_latency{"endpoint":"/orders/{id}","method":"GET","status":"200"}'


@pytest.fixture
def app(sqlite_store: SqliteStore) -> App:
    return make_app(sqlite_store, Clock())


@pytest.fixture
def served(app: App) -> Iterator[Client]:
    with serving(app) as client:
        yield client


def folded(store: Store, at: Any = NOW) -> dict[str, Stats]:
    """The series of the block of NOW."""
    return fold(store, registry(), shipped().definitions, at).blocks[BLOCK]


def test_a_gauge_becomes_observations_under_our_names(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export(service_name="shop", host_name="h")
    for value in (12.5, 300, 299.9):
        export.gauge(value, labels=ROUTE)
    assert post(served.port, export.request).accepted == (0, "")
    stats = folded(sqlite_store)[
        'api_latency{"endpoint":"/orders/{id}","method":"GET","service":"shop","status":"200"}'
    ]
    assert (stats.count, stats.total, stats.low, stats.high) == (3, 612.4, 12.5, 300)
    assert stats.up_to[300] == 3


def test_the_same_body_sent_again_counts_once(served: Client, sqlite_store: SqliteStore) -> None:
    body = Export().gauge(12.5, labels=ROUTE).sum(2, "token_cost", "USD").request.SerializeToString()
    for sent in (body, zipped(body), body):
        headers = {"Content-Encoding": "gzip"} if sent != body else {}
        assert post(served.port, sent, headers=headers).accepted == (0, "")
    found = folded(sqlite_store)
    assert (found[ORDERS].count, found["token_cost{}"].count) == (1, 1)


@pytest.mark.parametrize(
    ("unit", "value", "own"),
    [("s", 1.001, 1001), ("ms", 7, 7), ("us", 1500, 1.5), ("ns", 2_000_000, 2), ("", 7, 7), ("1", 7, 7), ("{x}", 7, 7)],
)
def test_times_are_converted_to_milliseconds(
    served: Client, sqlite_store: SqliteStore, unit: str, value: float, own: float
) -> None:
    assert post(served.port, Export().gauge(value, unit=unit).request).accepted == (0, "")
    assert folded(sqlite_store)["api_latency{}"].high == own


@pytest.mark.parametrize(("unit", "own"), [("By", 5e-9), ("KiBy", 5.12e-6), ("MiBy", 5.24288e-3), ("GBy", 5)])
def test_sizes_are_converted_to_gigabytes(served: Client, sqlite_store: SqliteStore, unit: str, own: float) -> None:
    assert post(served.port, Export().gauge(5, "storage_usage", unit).request).accepted == (0, "")
    assert folded(sqlite_store)["storage_usage{}"].high == pytest.approx(own, rel=1e-12)


def test_a_unit_of_another_kind_is_refused(served: Client) -> None:
    rejected, message = post(served.port, Export().gauge(5, unit="By").request).accepted
    assert (rejected, message) == (1, "api_latency: 1 × unit: cannot be converted to ms")


def test_names_of_the_semantic_conventions_and_aliases_are_ours(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export().gauge(0.5, "http.server.request.duration", "s").gauge(600, "http.server.duration")
    export.gauge(700, "req_latency_ms")
    assert post(served.port, export.request).accepted == (0, "")
    assert folded(sqlite_store)["api_latency{}"].total == 1800


def test_metrics_that_sdks_send_unasked_are_dropped_without_a_word(served: Client, sqlite_store: SqliteStore) -> None:
    ignored = Export().sum(1, "http.server.active_requests", "{request}", CUMULATIVE, monotonic=False)
    assert post(served.port, ignored.request).accepted == (0, "")
    assert not every_metric(sqlite_store)


def test_an_unknown_metric_is_refused_by_its_name_and_the_others_are_stored(
    served: Client, sqlite_store: SqliteStore
) -> None:
    export = Export().gauge(1, "my.metric").gauge(1, "my.metric").gauge(2)
    rejected, message = post(served.port, export.request).accepted
    assert (rejected, message) == (2, "my.metric: 2 × name: unknown metric; declare it in config/metrics.json")
    assert folded(sqlite_store)["api_latency{}"].count == 1


def test_a_hostile_name_is_shown_short_printable_and_without_what_tells_a_person(served: Client) -> None:
    export = Export().gauge(1, "evil\r\nSet-Cookie: a\x00\u202e" + "n" * 5000).gauge(1, "of ada@example.com")
    _, message = post(served.port, export.request).accepted
    assert len(message) < 400
    assert all(c.isprintable() or c == "\n" for c in message)
    assert len(message.splitlines()) == 2
    assert "ada" not in message


def test_labels_outside_of_the_list_are_left_out_and_said_once(
    served: Client, sqlite_store: SqliteStore, tmp_path: Path
) -> None:
    export = Export().gauge(1, labels={**ROUTE, "url.scheme": "https", "user.id": "ada.lovelace", "list": [1]})
    rejected, message = post(served.port, export.request).accepted
    assert rejected == 0
    assert message.startswith("labels left out")
    assert "url.scheme" in message
    assert "user.id" not in message
    assert post(served.port, Export().gauge(2, labels={"url.scheme": "http"}).request).accepted == (0, "")
    assert folded(sqlite_store)[ORDERS].count == 1
    assert b"lovelace" not in every_byte(tmp_path / "store.db")


def test_texts_numbers_and_booleans_become_labels(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export()
    for status in (200, 200.0, "200", True):
        export.gauge(1, labels={"http.response.status_code": status})
    assert post(served.port, export.request).accepted == (0, "")
    found = folded(sqlite_store)
    assert found['api_latency{"status":"200"}'].count == 3
    assert found['api_latency{"status":"true"}'].count == 1


def test_a_route_wins_over_a_target_and_a_point_over_its_resource(served: Client, sqlite_store: SqliteStore) -> None:
    labels = {"http.target": "/orders/8341?x=1", "http.route": "/orders/{id}", "service.name": "of the point"}
    assert post(served.port, Export(service_name="shop").gauge(1, labels=labels).request).accepted == (0, "")
    assert 'api_latency{"endpoint":"/orders/{id}","service":"of the point"}' in folded(sqlite_store)


def test_a_long_target_is_cut_and_scrubbed_and_costs_nothing(served: Client, sqlite_store: SqliteStore) -> None:
    target = "/users/ada/" + "x/" * 3000
    assert post(served.port, Export().gauge(1, labels={"http.target": target}).request).accepted == (0, "")
    (key,) = folded(sqlite_store)
    assert len(key) < 250
    assert "ada" not in key


def test_increments_of_a_delta_sum_are_events_and_zeros_are_none(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export()
    for value in (3, 0, 2.5):
        export.sum(value, "token_cost", "USD")
    assert post(served.port, export.request).accepted == (0, "")
    stats = folded(sqlite_store)["token_cost{}"]
    assert (stats.count, stats.total) == (2, 5.5)


def test_a_request_of_nothing_but_zeros_is_accepted_and_stores_nothing(served: Client, app: App) -> None:
    before = app.store.meter.snapshot()
    assert post(served.port, Export().sum(0, "token_cost", "USD").request).accepted == (0, "")
    assert post(served.port, b"").accepted == (0, "")
    assert app.store.meter.since(before).writes == 0


def test_a_cumulative_sum_counts_what_was_added_over_resets_and_in_any_order(
    served: Client, sqlite_store: SqliteStore
) -> None:
    start = nanos() - 60 * 10**9
    readings = [(5, 0, start), (12, 1, start), (20, 3, start), (20, 4, start), (2, 6, start), (7, 8, start + 7 * 10**9)]
    for value, seconds, begun in [readings[n] for n in (3, 0, 5, 1, 4, 2)]:
        at = nanos() - 30 * 10**9 + seconds * 10**9
        export = Export().sum(value, "token_cost", "USD", CUMULATIVE, start_time_unix_nano=begun, time_unix_nano=at)
        assert post(served.port, export.request).accepted == (0, "")
    stats = folded(sqlite_store)["token_cost{}"]
    assert stats.total == 5 + 7 + 8 + 2 + 7  # from zero, two increments, a fall to 2, and a new start
    assert stats.count == 5


def test_a_cumulative_sum_that_may_fall_is_a_level(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export().sum(5, "storage_usage", "GBy", CUMULATIVE, monotonic=False)
    assert post(served.port, export.request).accepted == (0, "")
    assert folded(sqlite_store)["storage_usage{}"].high == 5


@pytest.mark.parametrize(("unit", "by"), [("ms", 1), ("s", 1000)])
def test_a_delta_histogram_is_counted_exactly_at_its_bounds(
    served: Client, sqlite_store: SqliteStore, unit: str, by: float
) -> None:
    bounds = [bound / by for bound in (100, 200, 300, 400, 500)]
    export = Export().histogram([1, 2, 3, 4, 0, 5], bounds, unit=unit, sum=6000 / by, min=90 / by, max=900 / by)
    assert post(served.port, export.request).accepted == (0, "")
    stats = folded(sqlite_store)["api_latency{}"]
    assert (stats.count, stats.total, stats.low, stats.high) == (15, 6000, 90, 900)
    assert [stats.up_to[b] for b in (100, 200, 300, 400, 500)] == [1, 3, 6, 10, 10]
    assert not stats.estimated & {100, 200, 300, 400, 500}
    low, high = stats.quantile_bounds(0.5)
    assert low == pytest.approx(300, rel=0.02)  # the 8th of 15 lies in (300, 400]
    assert high == pytest.approx(400, rel=0.02)


def test_a_sender_that_counts_absurdly_many_does_not_keep_the_others_from_being_counted(
    app: App, served: Client, sqlite_store: SqliteStore
) -> None:
    export = Export().histogram([5 * 10**9, 5 * 10**9], [300], labels=ROUTE, sum=4e12, min=1, max=900)
    assert post(served.port, export.request).accepted == (0, "")
    later = NOW + timedelta(minutes=5)
    result = run_alert_rules(app, later, lambda: True)
    assert (result.folded.complete, result.folded.segments) == (True, 1)
    run = sqlite_store.get("runs/alertRules")
    assert run is not None
    told = {slo["id"]: (slo["good"], slo["total"]) for slo in run.data["slos"]}
    assert told["api-latency-p95"] == (5 * 10**9, 10**10)
    assert run_alert_rules(app, later + timedelta(minutes=5), lambda: True).folded.segments == 0
    config = app.slos.current()
    found = backtest(sqlite_store, registry(), [config], load_components(app.settings.config_dir), 1, later)
    assert [len(rule.firings) for slo in found.runs[0] for rule in slo.rules if slo.slo.id == "api-latency-p95"] == [1]


def test_delta_histograms_of_many_processes_in_one_request_are_added_up(
    served: Client, sqlite_store: SqliteStore
) -> None:
    export = Export()
    for n in range(30):
        export.histogram(
            [1, 0, n], [100, 300], min=50 + n, max=400 + n, labels={**ROUTE, "service.instance.id": str(n)}
        )
    export.histogram([0, 1], [200], labels=ROUTE, sum=250)
    export.histogram([0, 0, 0], [100, 300], labels=ROUTE, sum=0)
    assert post(served.port, export.request).accepted[0] == 0
    stats = folded(sqlite_store)[ORDERS]
    assert (stats.count, stats.total) == (30 + 435 + 1, 10 * (30 + 435) + 250)
    assert (stats.low, stats.up_to[100]) == (50, 30)


@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
@pytest.mark.parametrize("unit", ["ms", "s"])
def test_an_exponential_histogram_keeps_its_edges_in_our_unit(
    served: Client, sqlite_store: SqliteStore, unit: str, temporality: int
) -> None:
    by = 1000 if unit == "s" else 1
    fields = {"count": 7, "sum": 21.0 / by, "scale": 0, "zero_count": 2}
    positive = {"offset": 1 if by == 1 else -9, "bucket_counts": [0, 2, 3]}  # buckets 2 and 3: (4, 8] and (8, 16]
    export = Export().exponential(unit, temporality, positive=positive, **fields)
    assert post(served.port, export.request).accepted == (0, "")
    stats = folded(sqlite_store)["api_latency{}"]
    edges = (4, 8, 16) if by == 1 else tuple(1000 * 2.0**n for n in (-8, -7, -6))
    assert (stats.count, stats.total) == (7, 21)
    low, high = stats.quantile_bounds(0.99)
    assert low == pytest.approx(edges[1], rel=0.03)
    assert high == pytest.approx(edges[2], rel=0.03)


def test_a_cumulative_histogram_counts_what_was_added(served: Client, sqlite_store: SqliteStore) -> None:
    start = nanos() - 60 * 10**9
    for seconds, counts in ((0, [1, 0, 0]), (5, [1, 2, 0]), (9, [2, 2, 3])):
        export = Export().histogram(
            counts, [100, 300], temporality=CUMULATIVE, start_time_unix_nano=start,
            time_unix_nano=start + 30 * 10**9 + seconds * 10**9,
        )  # fmt: skip
        for _ in range(2):
            assert post(served.port, export.request).accepted == (0, "")
    stats = folded(sqlite_store)["api_latency{}"]
    assert (stats.count, stats.up_to[100], stats.up_to[300]) == (7, 2, 4)


def test_what_is_no_recorded_value_is_skipped_without_a_word(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export().gauge(1, flags=1).sum(5, "token_cost", "USD", CUMULATIVE, flags=1)
    export.histogram([], [], flags=1, count=7).exponential(flags=1, count=3)
    assert post(served.port, export.request).accepted == (0, "")
    assert not every_metric(sqlite_store)


def every_metric(store: Store) -> dict[str, Stats]:
    return fold(store, registry(), shipped().definitions, NOW).blocks.get(BLOCK, {})


HOUR = timedelta(hours=1)
NAN, INF = float("nan"), float("inf")
RISING = [1.0, 2.0]
REFUSED: dict[str, tuple[Export, str]] = {
    "negative": (Export().gauge(-1), "value: must not be negative"),
    "not a number": (Export().gauge(NAN), "value: must be finite"),
    "infinite": (Export().gauge(INF), "value: must be finite"),
    "tiny": (Export().gauge(1e-300), "value: must be 0, or between"),
    "huge": (Export().gauge(1e16), "value: must be 0, or between"),
    "no time": (Export().gauge(1, time_unix_nano=0), "timeUnixNano: is missing"),
    "old": (Export().gauge(1, at=NOW - 49 * HOUR), "older than 48 hours"),
    "ahead": (Export().gauge(1, at=NOW + HOUR), "more than 5 minutes ahead"),
    "milliseconds for nanoseconds": (Export().gauge(1, time_unix_nano=ms(NOW)), "older than 48 hours"),
    "half for a ratio": (Export().gauge(0.5, "error_rate", "%"), "a sample of error_rate is 0 or 1"),
    "delta that may fall": (Export().sum(1, "token_cost", "USD", monotonic=False), "its level cannot be known"),
    "no temporality": (Export().sum(1, "token_cost", "USD", 0), "aggregationTemporality"),
    "unknown temporality": (Export().histogram([1], [], temporality=7), "aggregationTemporality"),
    "negative counter": (Export().sum(-1, "token_cost", "USD", CUMULATIVE), "value: must be from 0"),
    "counter not a number": (Export().sum(NAN, "token_cost", "USD", CUMULATIVE), "value: must be from 0"),
    "started later": (
        Export().sum(1, "token_cost", "USD", CUMULATIVE, start_time_unix_nano=nanos() + 1),
        "startTimeUnixNano: after",
    ),
    "running sum of a ratio": (Export().sum(1, "error_rate", "%", CUMULATIVE), "a ratio takes"),
    "histogram of a ratio": (Export().histogram([1], [], "error_rate", "%"), "a ratio takes"),
    "bounds not rising": (Export().histogram([1, 1, 1], [2.0, 1.0]), "explicitBounds: must rise"),
    "bounds twice": (Export().histogram([1, 1, 1], [2.0, 2.0]), "explicitBounds: must rise"),
    "bound not a number": (Export().histogram([1, 1, 1], [1.0, NAN]), "explicitBounds: must rise"),
    "infinite bound": (Export().histogram([1, 1, 1], [1.0, INF]), "explicitBounds: must rise"),
    "too few counts": (Export().histogram([1, 1], RISING), "bucketCounts: must be one more"),
    "no counts": (Export().histogram([], RISING, count=3), "bucketCounts: must be one more"),
    "sum of counts": (Export().histogram([1, 1, 1], RISING, count=4), "must add up to count"),
    "values below zero": (Export().histogram([1, 1, 1], [-1.0, 2.0]), "values below 0"),
    "no sum": (Export().histogram([1, 1, 1], RISING, sum=None), "sum: is missing"),
    "negative sum": (Export().histogram([1, 1, 1], RISING, sum=-1), "sum: must be finite"),
    "sum not a number": (Export().histogram([1, 1, 1], RISING, sum=NAN), "sum: must be finite"),
    "huge count": (Export().histogram([10**15], [], sum=1), "count: more than 1e+12"),
    "negative min": (Export().histogram([1], [], min=-1), "min and max"),
    "min over max": (Export().histogram([1], [], min=2, max=1), "min and max"),
    "max not a number": (Export().histogram([1], [], max=NAN), "min and max"),
    "scale": (Export().exponential(scale=300, count=1, sum=1, zero_count=1), "scale: must be from -10 to 20"),
    "offset": (
        Export().exponential(scale=0, count=1, sum=1, positive={"offset": 2**30, "bucket_counts": [1]}),
        "offset: values above",
    ),
    "negative buckets": (
        Export().exponential(count=1, sum=1, negative={"bucket_counts": [1]}),
        "negative: values below 0",
    ),
    "exponential counts": (Export().exponential(count=2, sum=1, zero_count=1), "must add up to count"),
    "zero threshold": (
        Export().exponential(count=1, sum=1, zero_count=1, zero_threshold=NAN),
        "zeroThreshold: must be",
    ),
    "many buckets": (
        Export().exponential(scale=20, count=2, sum=1, positive={"bucket_counts": [1] + [0] * 5000 + [1]}),
        "bucketCounts: more than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_each_fault_costs_its_own_point_and_is_told(served: Client, sqlite_store: SqliteStore, fault: str) -> None:
    export, reason = REFUSED[fault]
    sound = Export().gauge(7, "firestore_read_latency").request
    sound.MergeFrom(export.request)
    rejected, message = post(served.port, sound).accepted
    assert rejected == 1
    assert reason in message
    found = every_metric(sqlite_store)
    assert {key: stats.count for key, stats in found.items()} == {"firestore_read_latency{}": 1}


def test_a_value_that_was_not_sent_and_a_summary_are_refused(served: Client) -> None:
    export = Export().gauge(1)
    metrics = export.request.resource_metrics[0].scope_metrics[0].metrics
    metrics[0].gauge.data_points.add(time_unix_nano=nanos())
    metrics.add(name="api_latency").summary.data_points.add(time_unix_nano=nanos(), count=3)
    metrics.add(name="api_latency")  # without data: no point, so none to refuse
    rejected, message = post(served.port, export.request).accepted
    assert rejected == 2
    assert "value: is missing" in message
    assert "quantiles cannot be merged" in message


def test_sound_values_beside_refused_ones_in_the_same_series_count_once(
    served: Client, sqlite_store: SqliteStore
) -> None:
    export = Export()
    for value in (1, 2, NAN, 3, -1, 4, 5, INF):
        export.gauge(value)
    assert post(served.port, export.request).accepted[0] == 3
    assert folded(sqlite_store)["api_latency{}"].total == 15


def test_json_is_taken_and_answered_in_json(served: Client, sqlite_store: SqliteStore) -> None:
    point = {
        "timeUnixNano": str(nanos()),
        "asDouble": 12.5,
        "attributes": [{"key": "http.response.status_code", "value": {"intValue": "200"}}],
    }
    bad = {"timeUnixNano": nanos(), "asInt": "-3"}
    metric = {"name": "api_latency", "unit": "ms", "gauge": {"dataPoints": [point, bad]}}
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()
    json_type = {"Content-Type": "application/json; charset=utf-8"}
    answer = post(served.port, body, headers=json_type)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    partial = json.loads(answer.body)["partialSuccess"]
    assert partial == {"rejectedDataPoints": "1", "errorMessage": "api_latency: 1 × value: must not be negative"}
    assert post(served.port, b"{}", headers=json_type).body == b"{}"
    assert folded(sqlite_store)['api_latency{"status":"200"}'].count == 1
    failed = post(served.port, b"{", headers=json_type)
    status = json.loads(failed.body)
    assert (failed.status, failed.headers["content-type"], status["code"]) == (400, "application/json", 3)
    assert status["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_while_collection_is_off_nothing_is_stored_and_the_answer_says_so(served: Client, app: App) -> None:
    app.store.commit([Put("config/flags", {"ops": {"metrics_collection": False}})])
    rejected, message = post(served.port, Export().gauge(1).gauge(2).request).accepted
    assert rejected == 2
    assert "switched off" in message
    assert not every_metric(app.store)


def test_without_a_key_the_answer_is_a_status(served: Client) -> None:
    answer = post(served.port, Export().gauge(1).request, key=None)
    assert (answer.status, answer.error.code) == (401, 16)
    assert "ingest key" in answer.error.message


def test_a_get_is_answered_with_what_is_allowed(served: Client) -> None:
    answer = post(served.port, b"", method="GET")
    assert (answer.status, answer.headers["allow"], answer.error.code) == (405, "POST", 12)


def test_bytes_that_are_no_request_are_bad_data_and_nothing_is_half_counted(
    served: Client, sqlite_store: SqliteStore
) -> None:
    sound = Export().gauge(1).request.SerializeToString()
    answer = post(served.port, sound + b"\x0a\xff")
    assert (answer.status, answer.error.code) == (400, 3)
    detail = BadRequest()
    assert answer.error.details[0].Unpack(detail)
    assert detail.field_violations[0].field == "body"
    assert not every_metric(sqlite_store)


def test_too_many_points_are_refused_as_a_whole(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export().gauge(1)
    points = export.request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    points.extend([points[0]] * 50_000)
    sent = zipped(export.request.SerializeToString())
    answer = post(served.port, sent, headers={"Content-Encoding": "gzip"})
    assert (answer.status, "too_many_metrics" in answer.error.message) == (413, True)
    assert not every_metric(sqlite_store)


@pytest.mark.parametrize("media_type", [PROTOBUF, "application/json"])
def test_too_many_attributes_of_a_point_are_refused_in_both_forms(
    served: Client, sqlite_store: SqliteStore, media_type: str
) -> None:
    request = Export().gauge(1, labels={f"a{n}": n for n in range(1001)}).request
    sent = request.SerializeToString() if media_type == PROTOBUF else json_format.MessageToJson(request).encode()
    answer = post(served.port, zipped(sent), headers={"Content-Type": media_type, "Content-Encoding": "gzip"})
    assert (answer.status, b"too_many_metrics: " in answer.body) == (413, True)
    assert not every_metric(sqlite_store)


def test_control_characters_in_an_attribute_become_a_space(served: Client, sqlite_store: SqliteStore) -> None:
    export = Export(service_name="shop\n\x1b[31m").gauge(1, labels={"http.route": "/a\x00b"})
    assert post(served.port, export.request).accepted == (0, "")
    assert list(folded(sqlite_store)) == ['api_latency{"endpoint":"/a b","service":"shop [31m"}']


def test_what_fits_no_document_is_refused_as_a_whole(
    served: Client, sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_BYTES", 2000)
    export = Export()
    for n in range(200):
        export.histogram([n] * 4, [5.0, 50, 500], labels={"http.route": f"/r{n}"})
    answer = post(served.port, export.request)
    assert (answer.status, answer.error.message.partition(":")[0]) == (413, "batch_too_varied")
    assert not every_metric(sqlite_store)


@pytest.mark.parametrize("failing", ["before", "down"])
def test_an_export_that_meets_a_store_away_is_to_be_sent_again_and_counts_once(
    sqlite_store: SqliteStore, failing: str
) -> None:
    fragile = Fragile(sqlite_store)
    with serving(make_app(fragile, Clock())) as served:
        body = Export().gauge(1).request
        assert post(served.port, body).accepted == (0, "")  # flags and SLOs are known from here on
        body.resource_metrics[0].resource.attributes.extend(attributes({"service.name": "shop"}))
        fragile.failing = failing
        answer = post(served.port, body)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert (answer.error.code, answer.headers["content-type"]) == (14, PROTOBUF)
        fragile.failing = "after"
        assert post(served.port, body).accepted == (0, "")  # the reply was lost, yet it is stored
        fragile.failing = None
        assert post(served.port, body).accepted == (0, "")
    assert folded(sqlite_store)['api_latency{"service":"shop"}'].count == 1

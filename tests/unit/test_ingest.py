"""POST /api/metrics over a real socket: what is taken, what is refused and why, and that nothing personal gets in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.domain.rollup import Stats
from shared.domain.series import key_of
from shared.flags import DOCUMENT as FLAGS
from shared.metrics.fold import fold
from shared.metrics.rollups import read_blocks
from shared.metrics.segment import decode_segment
from shared.store.protocol import Merge, Put, Query, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from tests.core import (
    CONFIG,
    KEY,
    NOW,
    Client,
    Clock,
    body,
    every_byte,
    make_app,
    metric,
    ms,
    registry,
    serving,
    shipped,
)

BLOCK = ms(NOW) // 300_000


class Fragile:
    """A store whose commits fail on demand: before they take effect, or after it, with the reply lost."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.meter = inner.meter
        self.failing: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def get(self, path: str) -> Any:
        if self.failing == "down":
            raise Unavailable("down")
        return self.inner.get(path)

    def commit(self, writes: list[Write]) -> None:
        if self.failing in ("before", "down"):
            raise Unavailable("before")
        self.inner.commit(writes)
        if self.failing == "after":
            raise Unavailable("after")


@pytest.fixture
def fragile(sqlite_store: SqliteStore) -> Fragile:
    return Fragile(sqlite_store)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(fragile: Fragile, clock: Clock) -> Iterator[Client]:
    with serving(make_app(fragile, clock)) as client:
        yield client


def segments(store: Store) -> list[Any]:
    return [doc.data["payload"] for doc in store.query(Query("segments", group=True))]


def stored(store: Store) -> dict[str, Stats]:
    """Fold, and read the block of NOW."""
    fold(store, registry(), shipped().definitions, NOW)
    return read_blocks(store, [BLOCK])[BLOCK]


def reasons_for(client: Client, bad: Any) -> list[str]:
    """Between two good ones, so that only itself is refused."""
    raw = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    good = json.dumps(metric()).encode()
    status, answer, _ = client.send(b'{"batchId": "batch-0001", "metrics": [' + good + b"," + raw + b"," + good + b"]}")
    assert status == 202
    assert answer["accepted"] == 2
    (rejected,) = answer["rejected"]
    assert rejected["index"] == 1
    return list(rejected["reasons"])


def raw_metric(value: bytes = b"1", timestamp: bytes | None = None, labels: bytes = b"{}") -> bytes:
    at = str(ms(NOW)).encode() if timestamp is None else timestamp
    return b'{"name": "api_latency", "value": ' + value + b', "timestamp": ' + at + b', "labels": ' + labels + b"}"


# --- what is taken


def test_a_batch_is_answered_202_with_what_became_of_it(client: Client, sqlite_store: SqliteStore) -> None:
    status, answer, headers = client.send(body([metric(100), metric(200, labels={"status": "500"})]))
    assert (status, answer) == (202, {"accepted": 2, "rejected": [], "duplicate": False})
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "private, no-store"
    assert {key: s.count for key, s in stored(sqlite_store).items()} == {
        "api_latency{}": 1, 'api_latency{"status":"500"}': 1,
    }  # fmt: skip


def test_a_repeated_batch_is_hinted_at_and_counts_once(client: Client, sqlite_store: SqliteStore) -> None:
    client.send(body([metric()]))
    _, answer, _ = client.send(body([metric()]))
    assert answer == {"accepted": 1, "rejected": [], "duplicate": True}
    assert stored(sqlite_store)["api_latency{}"].count == 1


def test_the_same_metrics_in_another_batch_count_again(client: Client, sqlite_store: SqliteStore) -> None:
    client.send(body([metric()], "batch-0001"))
    client.send(body([metric()], "batch-0002"))
    assert stored(sqlite_store)["api_latency{}"].count == 2


def test_a_batch_is_one_write_and_no_read_once_the_instance_is_warm(client: Client, sqlite_store: SqliteStore) -> None:
    client.send(body([metric()]))
    before = sqlite_store.meter.snapshot()
    for n in range(10):
        client.send(body([metric()] * 50, f"batch-x{n:03}"))
    used = sqlite_store.meter.since(before)
    assert (used.reads, used.writes, used.deletes) == (0, 10, 0)


def test_a_batch_of_none_is_taken_and_stores_nothing(client: Client, sqlite_store: SqliteStore) -> None:
    assert client.send(body([]))[1] == {"accepted": 0, "rejected": [], "duplicate": False}
    assert segments(sqlite_store) == []


def test_an_alias_is_the_same_series(client: Client, sqlite_store: SqliteStore) -> None:
    client.send(body([metric(), metric(name="req_latency_ms")]))
    assert stored(sqlite_store)["api_latency{}"].count == 2


def test_labels_and_aggregation_may_be_missing(client: Client, sqlite_store: SqliteStore) -> None:
    bare = {"name": "token_cost", "value": 0.002, "timestamp": ms(NOW)}
    assert client.send(body([bare]))[1]["accepted"] == 1
    assert stored(sqlite_store)["token_cost{}"].total == 0.002


def test_numbers_and_booleans_in_labels_become_texts(client: Client, sqlite_store: SqliteStore) -> None:
    client.send(body([metric(labels={"status": 500, "version": True})]))
    assert list(stored(sqlite_store)) == ['api_latency{"status":"500","version":"true"}']


def test_of_a_repeated_json_key_the_last_one_counts(client: Client, sqlite_store: SqliteStore) -> None:
    sent = raw_metric(labels=b'{"region": "eu", "region": "us"}').replace(b'"value": 1', b'"value": 1, "value": 7')
    assert client.send(b'{"batchId": "x", "batchId": "batch-0001", "metrics": [' + sent + b"]}")[1]["accepted"] == 1
    assert stored(sqlite_store)['api_latency{"region":"us"}'].total == 7


def test_model_names_regions_and_routes_are_stored_as_sent(client: Client, sqlite_store: SqliteStore) -> None:
    labels = {"region": "northamerica-northeast1", "endpoint": "/users/:id/x"}
    model = {"model": "claude-3-5-sonnet-20241022"}
    client.send(body([metric(labels=labels), metric(name="token_cost", labels=model)]))
    assert set(stored(sqlite_store)) == {key_of("api_latency", labels), key_of("token_cost", model)}


# --- one bad metric costs only itself


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"NaN", "value: must be a finite number"),
        (b"Infinity", "value: must be a finite number"),
        (b"-Infinity", "value: must be a finite number"),
        (b"1e999", "value: must be a finite number"),
        (b"-1e999", "value: must be a finite number"),
        (b'"12"', "value: must be a finite number"),
        (b"null", "value: must be a finite number"),
        (b"true", "value: must be a finite number"),
        (b"9" * 400, "value: must be a finite number"),
        (b"-1", "value: must not be negative"),
        (b"-0.000001", "value: must not be negative"),
        (b"1e16", "value: must be 0, or between 1e-280 and 1e+15"),
        (b"1e-283", "value: must be 0, or between 1e-280 and 1e+15"),
    ],
)
def test_a_value_that_cannot_be_is_refused(client: Client, value: bytes, reason: str) -> None:
    assert reasons_for(client, raw_metric(value)) == [reason]


def test_a_sample_of_a_ratio_is_0_or_1(client: Client) -> None:
    assert reasons_for(client, metric(0.5, "error_rate")) == ["value: a sample of error_rate is 0 or 1"]


@pytest.mark.parametrize(
    ("offset_ms", "reason"),
    [
        (-48 * 3_600_000, None),
        (-48 * 3_600_000 - 1, "timestamp: older than 48 hours"),
        (300_000, None),
        (300_001, "timestamp: more than 5 minutes ahead; it is in milliseconds since 1970"),
    ],
)
@pytest.mark.parametrize(
    "clock",
    [Clock(NOW), Clock(NOW.replace(minute=5, second=0)), Clock(NOW.replace(minute=5, second=0, microsecond=1000))],
)
def test_the_window_of_timestamps_is_exact_to_the_millisecond(
    client: Client, clock: Clock, offset_ms: int, reason: str | None
) -> None:
    at = ms(clock.now) + offset_ms
    _, answer, _ = client.send(body([metric(at=clock.now), metric(at=at)]))
    assert answer["rejected"] == ([{"index": 1, "reasons": [reason]}] if reason else [])
    assert answer["accepted"] == (1 if reason else 2)


@pytest.mark.parametrize(("at", "told"), [(ms(NOW) // 1000, True), (99_999_999_999, True), (100_000_000_000, False)])
def test_a_timestamp_in_seconds_is_told_that_it_is_in_milliseconds(client: Client, at: int, told: bool) -> None:
    hint = "; it is in milliseconds since 1970" if told else ""
    assert reasons_for(client, metric(at=at)) == [f"timestamp: older than 48 hours{hint}"]


@pytest.mark.parametrize("timestamp", [b"1.5", b'"now"', b"null", b"true", b"1e3"])
def test_a_timestamp_is_a_whole_number(client: Client, timestamp: bytes) -> None:
    assert reasons_for(client, raw_metric(timestamp=timestamp)) == [
        "timestamp: must be a whole number of milliseconds since 1970"
    ]


@pytest.mark.parametrize("timestamp", [b"123456789012345678901234567890", b"-5", b"0"])
def test_a_timestamp_far_away_is_refused_like_any_other(client: Client, timestamp: bytes) -> None:
    (reason,) = reasons_for(client, raw_metric(timestamp=timestamp))
    assert reason.startswith("timestamp: ")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({f"k{n}": "v" for n in range(11)}, "labels: 11 of them, at most 10"),
        ({"endpoint": "x" * 201}, "labels.endpoint: 201 characters, at most 200"),
        ({"a" * 64: "v"}, "labels: name 1 must be letters, digits, _ and ., 63 characters at most"),
        ({"ok": "v", "not ok": "v"}, "labels: name 2 must be letters, digits, _ and ., 63 characters at most"),
        ({"": "v"}, "labels: name 1 must be letters, digits, _ and ., 63 characters at most"),
        ({"region": 1.5}, "labels.region: must be a text"),
        ({"region": None}, "labels.region: must be a text"),
        ({"region": ["eu"]}, "labels.region: must be a text"),
        ([["region", "eu"]], "labels: must be an object of texts"),
        ("eu", "labels: must be an object of texts"),
        (None, "labels: must be an object of texts"),
    ],
)  # fmt: skip
def test_labels_that_are_too_many_too_long_or_of_a_wrong_type_are_refused(
    client: Client, labels: Any, reason: str
) -> None:
    assert reasons_for(client, {**metric(), "labels": labels}) == [reason]


def test_ten_labels_of_200_characters_are_fine(client: Client) -> None:
    labels = {f"label_{chr(97 + n)}": "word " * 40 for n in range(10)}
    assert client.send(body([metric(labels=labels)]))[1]["accepted"] == 1


def test_bad_utf8_inside_labels_costs_its_own_metric_only(client: Client) -> None:
    assert reasons_for(client, raw_metric(labels=b'{"region": "\xff\xfe"}')) == ["labels: not valid JSON in UTF-8"]
    assert reasons_for(client, raw_metric().replace(b"api_latency", b"\xff")) == ["name: must be a text in UTF-8"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"cut \\ud83d", "cut \ufffd"),
        (b"cut \\uDE00 here", "cut \ufffd here"),
        (b"whole \\ud83d\\ude00", "whole \U0001f600"),
        (b"twice \\ud83d\\ud83d\\ude00", "twice \ufffd\U0001f600"),
        (b"escaped \\\\ud83d NaN", "escaped \\ud83d NaN"),
    ],
)
def test_half_an_emoji_becomes_the_replacement_character(
    client: Client, sqlite_store: SqliteStore, sent: bytes, kept: str
) -> None:
    """JavaScript writes it when a text was cut in the middle of one."""
    cut = raw_metric(labels=b'{"endpoint": "' + sent + b'"}')
    nan = raw_metric(b"NaN")
    _, answer, _ = client.send(b'{"batchId": "batch-0001", "metrics": [' + cut + b"," + nan + b"]}")
    assert [r["index"] for r in answer["rejected"]] == [1]
    assert list(stored(sqlite_store)) == [key_of("api_latency", {"endpoint": kept})]


@pytest.mark.parametrize("bad", [b"5", b"null", b'"x"', b"[]", b"true"])
def test_what_is_no_metric_at_all_is_refused(client: Client, bad: bytes) -> None:
    assert reasons_for(client, bad) == ["must be an object with name, value, timestamp and labels"]


def test_an_unknown_metric_is_refused_without_quoting_it(client: Client) -> None:
    assert reasons_for(client, metric(name="ada@example.com")) == [
        "name: unknown metric; declare it in config/metrics.json"
    ]


def test_an_unknown_aggregation_is_refused(client: Client) -> None:
    assert reasons_for(client, metric(aggregation="max")) == ["aggregation: must be sum, avg, p95 or count"]


def test_every_reason_is_told_at_once(client: Client) -> None:
    wrong_types = {"name": 5, "value": "x", "timestamp": "y", "labels": 7, "aggregation": "max"}
    assert reasons_for(client, wrong_types) == [
        "name: must be a text in UTF-8",
        "value: must be a finite number",
        "timestamp: must be a whole number of milliseconds since 1970",
        "aggregation: must be sum, avg, p95 or count",
        "labels: must be an object of texts",
    ]
    wrong_values = metric(-1, "nope", at=0, labels={"not ok": 1, "region": None})
    wrong_values_and_a_type = {**wrong_values, "aggregation": "max"}
    values = [
        "name: unknown metric; declare it in config/metrics.json",
        "labels: name 1 must be letters, digits, _ and ., 63 characters at most",
        "labels.region: must be a text",
        "value: must not be negative",
        "timestamp: older than 48 hours; it is in milliseconds since 1970",
    ]
    assert reasons_for(client, wrong_values) == values
    assert sorted(reasons_for(client, wrong_values_and_a_type)) == sorted(
        [*values, "aggregation: must be sum, avg, p95 or count"]
    )
    assert reasons_for(client, {}) == ["name: is missing", "value: is missing", "timestamp: is missing"]


def test_a_batch_of_only_bad_metrics_stores_nothing(client: Client, sqlite_store: SqliteStore) -> None:
    _, answer, _ = client.send(body([metric(-1), {}]))
    assert answer["accepted"] == 0
    assert [r["index"] for r in answer["rejected"]] == [0, 1]
    assert segments(sqlite_store) == []


# --- the body as a whole


def test_ten_thousand_metrics_are_taken_and_one_more_is_too_large(client: Client) -> None:
    small = {"name": "api_latency", "value": 1, "timestamp": ms(NOW)}
    assert client.send(body([small] * 10_000))[1]["accepted"] == 10_000
    status, answer, _ = client.send(body([small] * 10_001, "batch-0002"))
    assert (status, answer["code"]) == (413, "too_many_metrics")


@pytest.mark.parametrize("chunked", [False, True])
def test_one_mebibyte_is_taken_and_one_byte_more_is_too_large(client: Client, chunked: bool) -> None:
    sent = json.dumps(body([metric()])).encode()
    for size, status in ((1 << 20, 202), ((1 << 20) + 1, 413)):
        padded = sent + b" " * (size - len(sent))
        pieces = iter([padded[:5], padded[5:70_000], padded[70_000:]]) if chunked else padded
        try:
            answer = client.send(pieces)
        except (BrokenPipeError, ConnectionResetError):  # refused before all of it was read
            assert status == 413
            continue
        assert answer[0] == status
        if status == 413:
            assert answer[1]["code"] == "body_too_large"


@pytest.mark.parametrize(
    "sent",
    [b"", b"{", b"nonsense", b"[]", b"5", b"\xff\xfe", b'{"batchId": "batch-0001", "metrics": []} trailing',
     b'{"batchId": "batch-0001", "metrics": [1, 2}', b"[" * 100_000, b'{"metrics": ' + b"[" * 50_000, b'{"a": "NaN'],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_400(client: Client, sqlite_store: SqliteStore, sent: bytes) -> None:
    status, answer, headers = client.send(sent)
    assert (status, answer["code"]) == (400, "unreadable_body")
    assert headers["Content-Type"] == "application/problem+json"
    assert segments(sqlite_store) == []


def test_labels_nested_beyond_measure_are_400_and_no_error_of_ours(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    status, answer, _ = client.send(b'{"batchId": "batch-0001", "metrics": [' + raw_metric(labels=deep) + b"]}")
    assert (status, answer["code"]) == (400, "unreadable_body")
    assert "unexpected error" not in capsys.readouterr().out


@pytest.mark.parametrize("batch_id", [None, "", "short", "x" * 129, "has space!", 12345678, "ada@example.com"])
def test_a_missing_or_odd_batch_id_is_400_with_its_path(client: Client, batch_id: Any) -> None:
    status, answer, _ = client.send({"batchId": batch_id, "metrics": [metric()]})
    assert (status, answer["code"]) == (400, "invalid_body")
    assert [e["path"] for e in answer["errors"]] == ["batchId"]
    if batch_id:
        assert str(batch_id) not in json.dumps(answer)


def test_every_fault_of_the_frame_is_told_at_once(client: Client) -> None:
    status, answer, _ = client.send({"metrics": {"0": metric()}})
    assert status == 400
    assert [e["path"] for e in answer["errors"]] == ["batchId", "metrics"]


# --- who may send, and how


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x", KEY[:-1]])
def test_without_a_known_key_it_is_401(client: Client, sqlite_store: SqliteStore, key: str | None) -> None:
    status, answer, headers = client.send(body([metric()]), key=key)
    assert (status, answer["code"]) == (401, "unauthorized")
    assert "WWW-Authenticate" in headers
    assert segments(sqlite_store) == []


def test_the_key_may_come_in_its_own_header(client: Client) -> None:
    assert client.send(body([metric()]), key=None, headers={"X-Api-Key": KEY})[0] == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_405(client: Client, method: str) -> None:
    status, answer, headers = client.send(body([metric()]), method=method)
    assert (status, answer["code"], headers["Allow"]) == (405, "method_not_allowed", "POST")


# --- switched off, and broken


def test_with_collection_switched_off_nothing_is_stored_and_the_answer_says_so(
    client: Client, sqlite_store: SqliteStore
) -> None:
    sqlite_store.commit([Put(FLAGS, {"ops": {"metrics_collection": False}})])
    status, answer, _ = client.send(body([metric(), metric(-1)]))
    assert status == 202
    assert (answer["accepted"], answer["stored"]) == (0, False)
    assert "switched off" in answer["notice"]
    assert segments(sqlite_store) == []


@pytest.mark.parametrize("failing", ["before", "after", "down"])
def test_with_the_store_down_it_is_503_and_a_retry_counts_once(client: Client, fragile: Fragile, failing: str) -> None:
    client.send(body([metric()], "batch-warm"))
    fragile.failing = failing
    status, answer, headers = client.send(body([metric()]))
    if failing == "after":  # the reply was lost, the segment is found
        assert status == 202
    else:
        assert (status, answer["code"]) == (503, "store_unavailable")
        assert headers["Retry-After"] == "5"
    fragile.failing = None
    status, answer, _ = client.send(body([metric()]))
    assert (status, answer["accepted"]) == (202, 1)
    assert stored(fragile)["api_latency{}"].count == 2


def test_a_first_request_with_the_store_down_is_503(client: Client, fragile: Fragile) -> None:
    fragile.failing = "down"
    assert client.send(body([metric()]))[0] == 503


# --- many at once


def test_many_requests_at_once_with_many_series_are_each_counted_under_their_own(
    client: Client, sqlite_store: SqliteStore
) -> None:
    def send(n: int) -> None:
        metrics = [
            metric(n, labels={"endpoint": f"/route-{chr(97 + n)}{chr(97 + m)}"}) for m in range(26) for _ in range(2)
        ]
        assert client.send(body(metrics, f"batch-{n:04}"))[0] == 202

    threads = [threading.Thread(target=send, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stored(sqlite_store)
    assert len(found) == 16 * 26
    for n in range(16):
        for m in range(26):
            stats = found[f'api_latency{{"endpoint":"/route-{chr(97 + n)}{chr(97 + m)}"}}']
            assert (stats.count, stats.total) == (2, 2 * n)


# --- nothing personal gets in

CANARIES = {
    "email": "ada.lovelace@example.com",
    "encoded email": "ada.lovelace%40example.com",
    "IPv4": "203.0.113.77",
    "IPv6": "2001:db8:85a3::8a2e:370:7334",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI4MzQxIn0.dozjgNryP4J3jVmNHl0w5N",
    "API key": "sk_live_51HabcdefGHIjkl",
    "Google key": "AIzaSyCanary90abcdefghijklmnopqrstu",
    "uid": "xK3dPq9LmN2vRt7YwZ1bC5fGh8Jk",
    "phone": "+49 151 23456789",
    "UUID": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
}
TRACES = [
    "lovelace",
    "203.0.113",
    ":8a2e:",
    "eyJhbGci",
    "dozjgNry",
    "51Habc",
    "Canary90",
    "xK3dPq9L",
    "2345678",
    "f47ac10b",
]


def places(canary: str) -> list[Any]:
    """A metric for each place where somebody may put what identifies a person."""
    labels = [
        {"user_id": canary}, {"email": canary}, {"caller": canary}, {"error": f"user {canary} was refused: {canary}."},
        {"endpoint": f"/users/{canary}/orders"}, {"endpoint": f"https://api.example.com/u/{canary}?who={canary}"},
        {"endpoint": f"/login?who={canary}"}, {canary: "x"}, {canary: 1.5}, {f"user_{canary}": ["x"]},
        {"nested": {"uid": canary}}, {"list": [canary]}, {"endpoint": " ".join([canary] * 12)},
    ]  # fmt: skip
    metrics: list[Any] = [metric(labels=given) for given in labels]
    metrics += [metric(name=canary), metric(aggregation=canary), {**metric(), "value": canary}, canary]
    metrics += [
        {**metric(), "timestamp": canary},
        {**metric(), canary: canary},
        {**metric(), "labels": canary},
        [canary],
    ]
    return metrics


@pytest.mark.parametrize("what", CANARIES)
def test_nothing_that_identifies_a_person_is_stored_logged_or_echoed(
    client: Client, sqlite_store: SqliteStore, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    canary = CANARIES[what]
    answers = [client.send(body(places(canary)))]
    answers += [client.send(body([good], f"batch-{n:04}")) for n, good in enumerate(places(canary)[:7])]
    answers += [client.send({"batchId": canary, "metrics": places(canary)}), client.send({"batchId": [canary]})]
    answers += [client.send(canary.encode()), client.send(body([metric()]), key=canary)]
    assert sum(answer[1].get("accepted", 0) for answer in answers) > 10
    unfolded = every_byte(tmp_path / "store.db")
    fold(sqlite_store, registry(), shipped().definitions, NOW)
    fold(sqlite_store, registry(), shipped().definitions, NOW + timedelta(days=1, hours=1))
    logged = capfd.readouterr()
    seen = {
        "stored": unfolded + every_byte(tmp_path / "store.db"),
        "logged": (logged.out + logged.err).encode(),
        "echoed": repr([(status, content, str(headers)) for status, content, headers in answers]).encode(),
    }
    assert b"api_latency" in seen["stored"]
    for where, found in seen.items():
        for trace in TRACES:
            assert trace.lower().encode() not in found.lower(), f"{trace} was {where}"


def test_the_search_for_canaries_sees_into_compressed_payloads(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    import zlib

    sqlite_store.commit([Put("a/b", {"payload": zlib.compress(b"the canary sings " * 99, 1)})])
    assert b"the canary sings the canary" in every_byte(tmp_path / "store.db")


def test_a_batch_id_is_stored_as_a_hash_only(client: Client, sqlite_store: SqliteStore, tmp_path: Path) -> None:
    client.send(body([metric()], "uid-8341-ada-lovelace"))
    assert b"lovelace" not in every_byte(tmp_path / "store.db")
    ((batch,),) = [decode_segment(payload) for payload in segments(sqlite_store)]
    assert len(batch.hash) == 8


# --- configuration


def test_bounds_of_a_new_configuration_are_counted_exactly_from_then_on(
    fragile: Fragile, clock: Clock, sqlite_store: SqliteStore
) -> None:
    app = make_app(fragile, clock)
    seconds = [0.0]
    app.monotonic = lambda: seconds[0]
    with serving(app) as client:
        client.send(body([metric(250)], "batch-0001"))
        data = json.loads((CONFIG / "slo.json").read_text())
        data["slos"][1]["threshold"] = 250
        sqlite_store.commit([Put("config/slo", data)])
        seconds[0] += 61
        client.send(body([metric(250), metric(251)], "batch-0002"))
    stats = stored(sqlite_store)["api_latency{}"]
    assert 250.0 in stats.up_to
    assert stats.estimated == set()  # the first batch's one value is at or below: that is known without an estimate
    assert stats.up_to[250.0] == 2


def test_the_flags_are_obeyed_within_eight_seconds(fragile: Fragile, sqlite_store: SqliteStore, clock: Clock) -> None:
    app = make_app(fragile, clock)
    seconds = [0.0]
    app.monotonic = lambda: seconds[0]
    with serving(app) as client:
        assert client.send(body([metric()]))[1]["accepted"] == 1
        sqlite_store.commit([Merge(FLAGS, {"ops": {"metrics_collection": False}})])
        seconds[0] += 8.0
        assert client.send(body([metric()], "batch-0002"))[1]["accepted"] == 0


def test_the_day_of_arrival_names_the_segment(client: Client, clock: Clock, sqlite_store: SqliteStore) -> None:
    clock.now = datetime.fromisoformat("2026-03-11T00:00:01+00:00")
    client.send(body([metric(at=clock.now - timedelta(minutes=10))]))
    (doc,) = sqlite_store.query(Query("segments", group=True))
    assert doc.path.startswith("ops_metrics/2026-03-11/segments/")

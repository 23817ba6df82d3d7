"""Exclusions over real sockets: what is taken out of an SLO, since when, by whom, and what is refused."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain.exclusion import Exclusion, Span
from shared.slo.exclusions import EXCLUSIONS, MOST, KeyReused, TooMany, add, cancel, exclusions_of
from shared.store.protocol import Put, Store, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.ops_api import Ops, Reply, ops_api
from tests.unit.test_ops_slos import END, Event, feed, one

PATH = "/api/ops/exclusions"
HOUR = timedelta(hours=1)
MOVE = {"from": "2026-03-10T10:00:00Z", "to": "2026-03-10T11:00:00Z", "reason": "moved the database"}


def call(ops: Ops, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    given = {"Authorization": f"Bearer {ops.token()}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", ops.port, timeout=30)) as connection:
        connection.request(method, path, body=raw, headers=given)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read().decode())


def excluded(ops: Ops, **changes: Any) -> Any:
    reply = call(ops, "POST", PATH, {**MOVE, **changes})
    assert reply.status == 201, reply.text
    return reply.json


def events() -> list[Event]:
    """A request a minute for a day, all of them failed from 10 to 11 o'clock."""
    found = []
    for n in range(1440):
        at = END - timedelta(minutes=n, seconds=30)
        bad = 1 <= (END - at) / HOUR < 2
        found.append(Event(at, 100.0, "/api/orders", "500" if bad else "200"))
    return found


@pytest.fixture
def ops(store: Store) -> Iterator[Ops]:
    feed(store, events())
    with ops_api(store, NOW) as ops:
        yield ops


@pytest.fixture
def empty(sqlite_store: SqliteStore) -> Iterator[Ops]:
    with ops_api(sqlite_store, NOW) as ops:
        yield ops


def test_an_outage_that_was_maintenance_is_taken_out_afterwards_and_put_back_by_cancelling(ops: Ops) -> None:
    before = one(ops, "api-availability")
    assert (before["good"], before["total"], before["compliance"]) == (1380, 1440, "missed")
    assert before["excluded"] == {"minutes": 0, "list": []}
    made = excluded(ops)
    after = one(ops, "api-availability")
    assert (after["good"], after["total"], after["sli"], after["compliance"]) == (1380, 1380, 1.0, "met")
    assert (after["budget"]["left"], after["forecast"]["reason"]) == (1.0, "burns_slowly")
    assert after["budget"]["minutes"] == pytest.approx(before["budget"]["minutes"] * (30 * 24 - 1) / (30 * 24))
    burns = {burn["window"]: (burn["good"], burn["total"]) for burn in after["burnRates"]}
    assert (burns["1h"], burns["2h"], burns["6h"]) == ((60, 60), (60, 60), (300, 300))
    assert sum(day["total"] for day in after["history"]) == 1380
    assert after["excluded"]["minutes"] == 60
    assert [each["id"] for each in after["excluded"]["list"]] == [made["id"]]
    cancelled = call(ops, "DELETE", f"{PATH}/{made['id']}")
    assert (cancelled.status, cancelled.json["cancelledAt"]) == (200, "2026-03-10T12:02:30Z")
    assert one(ops, "api-availability") == before
    assert [each["cancelledAt"] for each in ops.get(PATH).json["exclusions"]] == ["2026-03-10T12:02:30Z"]


def test_only_the_slos_that_are_named_lose_the_time(ops: Ops) -> None:
    excluded(ops, slos=["api-availability"])
    assert one(ops, "api-availability")["excluded"]["minutes"] == 60
    latency = one(ops, "api-latency-p95")
    assert (latency["total"], latency["excluded"]) == (1440, {"minutes": 0, "list": []})
    excluded(ops, components=["API"])
    assert one(ops, "api-latency-p95")["total"] == 1380
    assert one(ops, "api-availability")["excluded"]["minutes"] == 60  # the same hour twice is an hour


def test_the_answer_says_who_excluded_what_and_that_it_was_widened(empty: Ops) -> None:
    made = excluded(empty, **{"from": "2026-03-10T11:02:00+01:00", "to": "2026-03-10T10:58:00Z", "slos": None})
    assert made == {
        "id": made["id"], "from": "2026-03-10T10:00:00Z", "to": "2026-03-10T11:00:00Z", "rounded": True, "slos": None,
        "components": None, "reason": "moved the database", "createdBy": made["createdBy"],
        "createdAt": "2026-03-10T12:02:30Z", "cancelledAt": None,
    }  # fmt: skip
    assert made["createdBy"]
    exact = excluded(empty)
    assert exact["rounded"] is False
    listed = empty.get(PATH).json["exclusions"]
    assert [each["id"] for each in listed] == [exact["id"], made["id"]]


def test_a_window_that_has_not_come_yet_may_be_excluded(empty: Ops) -> None:
    made = excluded(empty, **{"from": "+1d", "to": "+26h"})
    assert (made["from"], made["to"]) == ("2026-03-11T12:00:00Z", "2026-03-11T14:05:00Z")
    assert one(empty, "api-availability")["excluded"] == {"minutes": 0, "list": []}


def test_a_key_stands_for_one_request_however_often_it_is_sent(empty: Ops) -> None:
    first, again = (call(empty, "POST", PATH, MOVE, Idempotency_Key="k-1") for _ in range(2))
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    other = call(empty, "POST", PATH, {**MOVE, "reason": "another"}, Idempotency_Key="k-1")
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    call(empty, "POST", PATH, MOVE, Idempotency_Key="k-2")
    assert len(empty.get(PATH).json["exclusions"]) == 2
    for key in ("", "k" * 256):
        refused = call(empty, "POST", PATH, MOVE, Idempotency_Key=key)
        assert (refused.status, refused.json["code"]) == (400, "invalid_idempotency_key")


def test_cancelling_again_changes_nothing_and_what_is_unknown_is_not_there(empty: Ops) -> None:
    made = excluded(empty)
    first = call(empty, "DELETE", f"{PATH}/{made['id']}")
    version = empty.app.store.get(EXCLUSIONS)
    assert call(empty, "DELETE", f"{PATH}/{made['id']}").json == first.json
    assert empty.app.store.get(EXCLUSIONS) == version
    unknown = call(empty, "DELETE", f"{PATH}/none")
    assert (unknown.status, unknown.json["code"]) == (404, "unknown_exclusion")


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"from": None, "to": 1773136800, "slos": ["api-availability", "nope"], "components": [], "reason": " "},
            ["slos[1]", "components", "from", "to", "reason"],
        ),
        ({"from": "2025-12-10T12:01:59Z"}, ["from"]),
        ({"to": MOVE["from"]}, ["to"]),
        ({"to": "+91d"}, ["to"]),
        ({"from": "2025-01-10T12:00:00Z", "to": "soon", "reason": ""}, ["from", "to", "reason"]),
        ({"from": 5.5, "to": "+91d"}, ["from", "to"]),
        ({"from": "-10d", "to": "+22d"}, ["to"]),
        ({"from": True, "to": [1]}, ["from", "to"]),
        ({"slos": "api-availability", "components": [7]}, ["slos", "components[0]"]),
        ({"reason": "x" * 201, "why": 1}, ["reason", "why"]),
        ({"reason": "two\nlines"}, ["reason"]),
        ({"reason": "\ud800"}, ["reason"]),
    ],
)
def test_every_fault_is_named(empty: Ops, changes: dict[str, Any], faults: list[str]) -> None:
    refused = call(empty, "POST", PATH, {**MOVE, **changes})
    assert (refused.status, refused.json["code"]) == (400, "invalid_body")
    assert sorted(error["path"] for error in refused.json["errors"]) == sorted(faults)
    assert empty.app.store.get(EXCLUSIONS) is None


def test_the_oldest_time_that_may_be_excluded_is_90_days_back(empty: Ops) -> None:
    assert excluded(empty, **{"from": "-90d", "to": "-2159h"})["from"] == "2025-12-10T12:00:00Z"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_body"),
        (b"[]", 400, "invalid_body"),
        (b"[" * 16_000, 400, "invalid_body"),
        (b"\xff", 400, "invalid_body"),
        (b" " * 16_385, 413, "body_too_large"),
    ],
)
def test_a_body_that_is_no_object_is_refused(empty: Ops, body: bytes, status: int, code: str) -> None:
    refused = call(empty, "POST", PATH, body)
    assert (refused.status, refused.json["code"]) == (status, code)


def test_only_admins_exclude(empty: Ops) -> None:
    for method, path in (("GET", PATH), ("POST", PATH), ("DELETE", f"{PATH}/x")):
        assert empty.get(path, method=method, token=None).status == 401
    assert empty.get(PATH, method="PUT").status == 405


# --- the document


def made_of(name: str, end: datetime = NOW, **changes: Any) -> Exclusion:
    given = {"id": name, "span": Span(end - HOUR, end), "reason": "r", "created_by": "ada", "created_at": NOW}
    return Exclusion(**{**given, **changes})


def test_what_is_written_is_what_is_read(store: Store) -> None:
    one = made_of("a", NOW.replace(minute=0), slos=("x", "y"), request="d")
    other = made_of("b", NOW.replace(minute=0), components=("API",))
    for wanted in (one, other):
        assert add(store, wanted, NOW) == (wanted, False)
    assert exclusions_of(store.get(EXCLUSIONS)) == (one, other)
    assert add(store, one, NOW) == (one, True)
    with pytest.raises(KeyReused):
        add(store, made_of("a", request="e"), NOW)
    cancelled = cancel(store, "a", NOW)
    assert cancelled is not None
    assert exclusions_of(store.get(EXCLUSIONS)) == (cancelled, other)
    assert cancel(store, "c", NOW) is None


def test_what_ended_over_400_days_ago_is_dropped_when_another_is_written(sqlite_store: SqliteStore) -> None:
    old, kept = made_of("old", NOW - timedelta(days=399)), made_of("kept", NOW - timedelta(days=398))
    for wanted in (old, kept):
        add(sqlite_store, wanted, NOW)
    add(sqlite_store, made_of("new"), NOW + timedelta(days=1, seconds=1))
    assert [each.id for each in exclusions_of(sqlite_store.get(EXCLUSIONS))] == ["kept", "new"]


def test_there_are_500_at_most(store: Store) -> None:
    add(store, made_of("0"), NOW)
    doc = store.get(EXCLUSIONS)
    assert doc is not None
    (entry,) = doc.data["exclusions"]
    many = [{**entry, "id": str(n), "slos": [f"slo-{m:03}" for m in range(20)]} for n in range(MOST - 1)]
    store.commit([Put(EXCLUSIONS, {**doc.data, "exclusions": many})])
    add(store, made_of("last"), NOW)
    with pytest.raises(TooMany) as full:
        add(store, made_of("one too many"), NOW)
    assert (full.value.kept, full.value.room_at) == (MOST, made_of("last").span.end + timedelta(days=400))
    assert 0 < full.value.size < 900_000
    assert len(exclusions_of(store.get(EXCLUSIONS))) == MOST


def test_the_document_stays_below_what_a_document_may_hold(sqlite_store: SqliteStore) -> None:
    names = tuple(f"{n:063}" for n in range(100))

    def fill() -> None:
        for n in range(MOST):
            add(sqlite_store, made_of(str(n), slos=names), NOW)

    with pytest.raises(TooMany):
        fill()
    assert len(exclusions_of(sqlite_store.get(EXCLUSIONS))) > 100


class LosesReplies:
    """A store whose commits take effect, and whose replies are lost."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, writes: Any) -> None:
        self._store.commit(writes)
        raise Unavailable("the reply was lost")


def test_a_lost_reply_excludes_once(store: Store) -> None:
    losing: Any = LosesReplies(store)
    assert add(losing, made_of("a"), NOW)[0].id == "a"
    assert cancel(losing, "a", NOW) is not None
    (found,) = exclusions_of(store.get(EXCLUSIONS))
    assert found.cancelled_at == NOW

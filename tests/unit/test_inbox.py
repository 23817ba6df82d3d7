"""The notification centre: each message arrives once, and each person has a reading of their own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.delivery import inbox
from shared.domain.notification import Kind, new_notification
from shared.notify.inapp import InAppSender
from shared.store.protocol import InvalidWrite, Put, Store, Unavailable, Write
from tests.core import NOW, Clock
from tests.ops_api import Ops, ops_api
from tests.unit.test_slack_message import LINKS, facts_of


class Centre:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock(NOW)
        self.sender = InAppSender(store, LINKS, self.clock)

    def arrive(self, n: int, kind: Kind = "trigger") -> str:
        self.clock.now += timedelta(seconds=1)
        document = new_notification(f"slo-{n}", 1, "inapp", kind, facts_of("api-latency-p95", kind), NOW)[1]
        outcome = self.sender.send([document])
        assert (outcome.result, outcome.detail) == ("delivered", "ok")
        return str(document["notificationId"])

    def ids(self, uid: str = "ana", *, unread: bool = False) -> list[str]:
        found = inbox.page(self.store, uid, self.clock.now, unread_only=unread, limit=50, after=None)
        return [doc.id for doc, _ in found.shown]

    def unread(self, uid: str = "ana") -> int:
        return inbox.page(self.store, uid, self.clock.now, unread_only=True, limit=1, after=None).unread


@pytest.fixture
def centre(store: Store) -> Centre:
    return Centre(store)


def test_a_second_copy_is_none(centre: Centre) -> None:
    first = centre.arrive(1)
    assert centre.arrive(1) == first
    assert (centre.ids(), centre.unread()) == ([first], 1)


def test_the_latest_comes_first_and_one_person_reads_for_nobody_else(centre: Centre) -> None:
    one, two, three = (centre.arrive(n) for n in (1, 2, 3))
    assert inbox.mark_read(centre.store, "ana", two, centre.clock.now) == 2
    assert inbox.mark_read(centre.store, "ana", two, centre.clock.now) == 2
    assert (centre.ids(), centre.ids(unread=True)) == ([three, two, one], [three, one])
    assert centre.unread("bo") == 3


def test_all_up_to_one_are_read_and_what_comes_later_is_not(centre: Centre) -> None:
    one, two, three = (centre.arrive(n) for n in (1, 2, 3))
    inbox.mark_read(centre.store, "ana", three, centre.clock.now)
    assert inbox.mark_read_until(centre.store, "ana", two, centre.clock.now) == 0
    four = centre.arrive(4)
    assert (centre.ids(unread=True), centre.unread()) == ([four], 1)
    assert inbox.mark_read_until(centre.store, "ana", one, centre.clock.now) == 1


def test_after_90_days_nothing_is_left_of_it(centre: Centre) -> None:
    one = centre.arrive(1)
    centre.clock.now += timedelta(days=90)
    assert (centre.ids(), centre.unread()) == ([], 0)
    with pytest.raises(inbox.Unknown):
        inbox.mark_read(centre.store, "ana", one, centre.clock.now)


def test_the_record_of_a_person_is_bounded_and_names_nobody(centre: Centre) -> None:
    one = centre.arrive(1)
    inbox.mark_read(centre.store, "ana/../x", one, centre.clock.now)
    path = inbox._path("ana/../x")
    full = {f"n-{n}": centre.clock.now for n in range(inbox.MOST_IDS)}
    centre.store.commit([Put(path, {"readUntil": None, "read": full, "expireAt": NOW, "rev": "x"})])
    with pytest.raises(inbox.TooManyRead):
        inbox.mark_read(centre.store, "ana/../x", one, centre.clock.now)
    assert inbox.mark_read_until(centre.store, "ana/../x", one, centre.clock.now) == 0


@pytest.mark.parametrize(
    ("error", "result", "detail"),
    [(Unavailable("x"), "unknown", "store_unavailable"), (InvalidWrite("x"), "dead", "not_storable")],
)
def test_a_store_that_fails_has_its_outcome(error: Exception, result: str, detail: str) -> None:
    class Failing:
        def commit(self, writes: list[Write]) -> None:
            raise error

    sender: Any = InAppSender(Failing(), LINKS, Clock(NOW))  # type: ignore[arg-type]
    document = new_notification("slo", 1, "inapp", "trigger", facts_of("api-latency-p95", "trigger"), NOW)[1]
    outcome = sender.send([document])
    assert (outcome.result, outcome.detail) == (result, detail)


def answer(ops: Ops, path: str = "/api/ops/inbox", **query: Any) -> Any:
    reply = ops.get(path, query)
    assert reply.status == 200, reply.text
    return reply.json


def test_an_admin_reads_the_inbox_page_by_page_and_marks_it_read(sqlite_store: Store) -> None:
    centre = Centre(sqlite_store)
    ids = [centre.arrive(n) for n in range(5)]
    with ops_api(sqlite_store, centre.clock.now) as ops:
        first = answer(ops, limit=2)
        rest = answer(ops, limit=3, cursor=first["cursor"])
        assert [n["id"] for n in (*first["notifications"], *rest["notifications"])] == ids[::-1]
        assert (first["unread"], rest["cursor"]) == (5, None)
        assert first["notifications"][0]["title"] == "API Latency (p95): firing"
        assert ops.get(f"/api/ops/inbox/{ids[4]}/read", method="POST").json == {"unread": 4}
        body = f'{{"upTo": "{ids[2]}"}}'.encode()
        assert ops.get("/api/ops/inbox/read", method="POST", body=body).json == {"unread": 1}
        assert [n["id"] for n in answer(ops, unread="true")["notifications"]] == [ids[3]]
        assert [n["read"] for n in answer(ops)["notifications"]] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "status", "code"),
    [
        ("GET", "/api/ops/inbox", {"unread": "1", "cursor": "x"}, None, 400, "invalid_query"),
        ("POST", "/api/ops/inbox/no-such/read", {}, None, 404, "unknown_notification"),
        ("POST", "/api/ops/inbox/../read", {}, None, 404, "unknown_notification"),
        ("POST", "/api/ops/inbox/read", {}, b"{}", 400, "invalid_body"),
        ("POST", "/api/ops/inbox/read", {}, b'{"upTo": "../x"}', 404, "unknown_notification"),
    ],
)
def test_what_cannot_be_right_is_refused(
    sqlite_store: Store, method: str, path: str, query: dict[str, str], body: bytes | None, status: int, code: str
) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        reply = ops.get(path, query, method=method, body=body)
        assert (reply.status, reply.json["code"]) == (status, code)

"""The alert routes of opsApi over real sockets: what is listed, and the mark that a firing was false."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.alerts.marks import Changed, mark_false, unmark
from shared.store.protocol import Create, Delete, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.ops_api import Ops, Reply, ops_api
from tests.unit.test_alerting import API, IN_SLOT, SLOT, Watch

PATH = "/api/ops/alerts"
FALSE = f"{PATH}/{API}/false"


def alert(name: str, state: str, minutes_ago: int, slo: str = "shop") -> Create:
    at = NOW - timedelta(minutes=minutes_ago)
    return Create(
        f"alerts/{name}",
        {"alertId": name, "sloId": slo, "state": state, "since": at, "updatedAt": at, "rev": f"rev-{name}"},
    )


@pytest.fixture
def watch(sqlite_store: SqliteStore) -> Watch:
    """API Availability fires."""
    watch = Watch(sqlite_store)
    watch.requests(90, 10)
    assert watch.run().fired == [API]
    return watch


@pytest.fixture
def ops(watch: Watch) -> Iterator[Ops]:
    with ops_api(watch.store, NOW) as ops:
        yield ops


def listed(ops: Ops, **query: Any) -> list[str]:
    reply = ops.get(PATH, query)
    assert reply.status == 200, reply.text
    return [alert["alertId"] for alert in reply.json["alerts"]]


def mark(ops: Ops, note: str | None = None, **headers: str) -> Reply:
    body = b"" if note is None else json.dumps({"note": note}).encode()
    return ops.get(FALSE, method="POST", body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


# --- reading


def test_an_alert_is_told_with_what_it_was_judged_by(ops: Ops) -> None:
    reply = ops.get(f"{PATH}/{API}")
    body = reply.json
    assert reply.status == 200
    assert reply.headers["ETag"] == f'"{body["rev"]}"'
    assert reply.headers["Cache-Control"] == "private, no-store"
    shown = {name: body[name] for name in ("state", "reason", "severity", "good", "total", "firedAt", "resolvedAt")}
    assert shown == {
        "state": "firing",
        "reason": "threshold_exceeded",
        "severity": "critical",
        "good": 90,
        "total": 100,
        "firedAt": "2026-03-10T12:02:30Z",
        "resolvedAt": None,
    }
    assert (body["firingSeq"], body["markedFalse"]) == (1, None)
    why = {"told": body.pop("told"), "holds": body["holds"]}
    assert why["told"]["slack"]["state"] == "pending"
    assert why["holds"]["slack"] == {"reason": "not_configured", "by": None, "until": None}
    due = {"escalates": "2026-03-10T12:17:30Z", "repeats": "2026-03-10T16:02:30Z", "speaksAgain": None}
    assert body["next"] == {**due, "escalatesTo": ["pagerduty"], "escalationDue": False}  # email knows of it
    assert ops.get(PATH).json == {"alerts": [body], "cursor": None}


@pytest.mark.parametrize("name", ["nothing", "Nothing", "a.b", "__x__", "%00", "x" * 200])
def test_an_unknown_alert_is_not_found(ops: Ops, name: str) -> None:
    for path, method in (
        (f"{PATH}/{name}", "GET"),
        (f"{PATH}/{name}/false", "POST"),
        (f"{PATH}/{name}/false", "DELETE"),
    ):
        reply = ops.get(path, method=method)
        assert (reply.status, reply.json["code"]) == (404, "unknown_alert")


def test_open_alerts_come_first_and_then_the_last_resolved(sqlite_store: SqliteStore) -> None:
    sqlite_store.commit(
        [
            alert("old", "resolved", 900),
            alert("waits", "pending", 1),
            alert("long", "firing", 700),
            alert("new", "resolved", 2),
            alert("short", "firing", 3),
            alert("gave-up", "ok", 30),
        ]
    )
    with ops_api(sqlite_store, NOW) as ops:
        assert listed(ops) == ["short", "long", "waits", "new", "gave-up", "old"]
        assert listed(ops, state="firing") == ["short", "long"]
        assert listed(ops, state="pending") == ["waits"]
        assert listed(ops, state="resolved") == ["new", "old"]
        assert listed(ops, state="ok") == ["gave-up"]


def test_of_what_fires_the_worst_comes_first_however_old_it_is(sqlite_store: SqliteStore) -> None:
    pending = alert("critical-1", "pending", 1)
    fires = [alert(name, "firing", age) for name, age in (("warning-2", 2), ("critical-90", 90), ("high-5", 5))]
    sqlite_store.commit(
        [Create(one.path, {**one.data, "severity": one.data["alertId"].partition("-")[0]}) for one in (pending, *fires)]
    )
    with ops_api(sqlite_store, NOW) as ops:
        assert listed(ops) == ["critical-90", "high-5", "warning-2", "critical-1"]


def test_alerts_of_one_slo(sqlite_store: SqliteStore) -> None:
    sqlite_store.commit([alert("a", "firing", 1), alert("b", "firing", 1, "bank"), alert("c", "resolved", 1, "bank")])
    with ops_api(sqlite_store, NOW) as ops:
        assert listed(ops, slo="bank") == ["b", "c"]
        assert listed(ops, slo="bank", state="resolved") == ["c"]
        assert listed(ops, slo="none") == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 230])
def test_following_the_cursor_gives_every_alert_once(store: Store, count: int) -> None:
    """Many of the same moment, so that a time alone would be no place to go on from."""
    alerts = [alert(f"a{n:03}", "resolved", n // 40) for n in range(count)]
    for start in range(0, count, 100):
        store.commit(alerts[start : start + 100])
    store.commit([alert("open", "firing", 1)])
    with ops_api(store, NOW) as ops:
        names, query, pages = [], {"limit": "2" if count < 100 else "90"}, 0
        while True:
            body = ops.get(PATH, query).json
            names += [one["alertId"] for one in body["alerts"]]
            pages += 1
            if body["cursor"] is None:
                break
            query["cursor"] = body["cursor"]
    assert names[0] == "open"
    assert sorted(names[1:]) == [f"a{n:03}" for n in range(count)]
    assert pages == {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 230: 3}[count]


def test_many_that_are_passed_over_end_a_page_early_with_a_cursor_and_are_read_within_bounds(
    sqlite_store: SqliteStore,
) -> None:
    for start in range(0, 700, 100):
        sqlite_store.commit([alert(f"a{n:03}", "resolved", n) for n in range(start, start + 100)])
    sqlite_store.commit([alert("last", "resolved", 5000, "bank")])
    with ops_api(sqlite_store, NOW) as ops:
        before = sqlite_store.meter.snapshot()
        first = ops.get(PATH, {"slo": "bank"}).json
        assert sqlite_store.meter.since(before).reads <= 502
        assert first["alerts"] == []
        assert listed(ops, slo="bank", cursor=first["cursor"]) == ["last"]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"state": "burning"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "bnVsbA"}, "cursor"),
        ({"cursor": "WzEsMl0"}, "cursor"),
        ({"slo": ["a", "b"]}, "slo"),
        ({"since": "now"}, "since"),
    ],
)
def test_a_parameter_that_cannot_be_right_is_named(ops: Ops, query: dict[str, Any], path: str) -> None:
    reply = ops.get(PATH, query)
    assert (reply.status, reply.json["code"]) == (400, "invalid_query")
    assert [error["path"] for error in reply.json["errors"]] == [path]


# --- marking


def test_a_mark_says_who_when_and_why_in_alert_and_record(ops: Ops, watch: Watch) -> None:
    reply = mark(ops, "a load test")
    assert reply.status == 200
    by = reply.json["markedFalse"]["by"]
    assert by
    assert reply.json["markedFalse"] == {"by": by, "at": "2026-03-10T12:02:30Z", "note": "a load test"}
    stored = {"by": by, "at": NOW, "note": "a load test"}
    assert watch.alert()["markedFalse"] == watch.doc(f"alert_firings/{API}-1")["markedFalse"] == stored
    assert watch.alert()["state"] == "firing"
    assert reply.headers["ETag"] == f'"{watch.alert()["rev"]}"'


def test_marking_twice_is_one_mark(ops: Ops, watch: Watch) -> None:
    first = mark(ops, "a load test")
    watch_before = watch.alert()
    assert mark(ops, "a load test").text == first.text
    assert mark(ops, "something else").text == first.text
    assert watch.alert() == watch_before


def test_a_mark_can_be_taken_back_and_made_anew(ops: Ops, watch: Watch) -> None:
    mark(ops, "a load test")
    for _ in range(2):
        reply = ops.get(FALSE, method="DELETE")
        assert (reply.status, reply.json["markedFalse"]) == (200, None)
    assert watch.doc(f"alert_firings/{API}-1")["markedFalse"] is None
    assert mark(ops).json["markedFalse"]["note"] is None


def test_the_last_firing_of_an_alert_that_has_cleared_can_be_marked(ops: Ops, watch: Watch) -> None:
    watch.requests(100, 0, IN_SLOT + SLOT)
    assert watch.run(NOW + SLOT).cleared == [API]
    assert mark(ops).status == 200
    assert watch.doc(f"alert_firings/{API}-1")["markedFalse"] is not None


def test_an_alert_without_a_firing_on_record_cannot_be_marked(ops: Ops, watch: Watch) -> None:
    watch.store.commit([alert("never", "ok", 1), Delete(f"alert_firings/{API}-1")])
    for name in ("never", API):
        reply = ops.get(f"{PATH}/{name}/false", method="POST")
        assert (reply.status, reply.json["code"]) == (409, "alert_never_fired")


def test_who_saw_an_older_alert_is_told_the_version_of_today(ops: Ops, watch: Watch) -> None:
    seen = ops.get(f"{PATH}/{API}").headers["ETag"]
    watch.requests(100, 0, IN_SLOT + SLOT)
    watch.run(NOW + SLOT)
    for method in ("POST", "DELETE"):
        if method == "DELETE":
            mark(ops)
        reply = ops.get(FALSE, method=method, headers={"If-Match": seen})
        assert (reply.status, reply.json["code"]) == (412, "alert_changed")
        assert reply.headers["ETag"] == f'"{watch.alert()["rev"]}"' != seen
    assert ops.get(FALSE, method="DELETE", headers={"If-Match": reply.headers["ETag"]}).status == 200


def test_the_same_request_again_is_no_conflict_with_itself(ops: Ops) -> None:
    seen = ops.get(f"{PATH}/{API}").headers["ETag"]
    first = mark(ops, "a load test", If_Match=seen)
    assert (first.status, mark(ops, "a load test", If_Match=seen).text) == (200, first.text)
    assert mark(ops, "something else", If_Match=seen).status == 412
    assert mark(ops, "something else", If_Match="*").text == first.text


def test_the_note_loses_what_tells_a_person(ops: Ops) -> None:
    note = "did ada@example.com ask? see 10.1.2.3\nand /api/pay?debug=1"
    assert mark(ops, note).json["markedFalse"]["note"] == "did :email ask? see :ip and /api/pay"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b'{"note": 5}', b'{"notes": "x"}', b"\xff", b"[" * 8000, b" " * 9000 + b"{}"]
)
def test_a_body_that_cannot_be_right_changes_nothing(ops: Ops, watch: Watch, body: bytes) -> None:
    before = watch.alert()
    reply = ops.get(FALSE, method="POST", body=body)
    assert (reply.status, reply.json["code"]) == (400, "invalid_body")
    assert watch.alert() == before


def test_a_note_has_at_most_five_hundred_characters(ops: Ops) -> None:
    assert mark(ops, "ü " * 250 + "x").status == 400
    assert mark(ops, "ü " * 250).status == 200


# --- others at the same time


class Meanwhile:
    """Something happens between the read and the first commit."""

    def __init__(self, inner: Store, happens: Any, *, lost: bool = False) -> None:
        self.inner, self.happens, self.lost = inner, happens, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, writes: list[Write]) -> None:
        happens, self.happens = self.happens, None
        if happens:
            happens()
        self.inner.commit(writes)
        if self.lost:
            raise Unavailable("the reply is lost")


def test_an_alert_that_clears_meanwhile_keeps_both_the_end_and_the_mark(watch: Watch) -> None:
    watch.requests(100, 0, IN_SLOT + SLOT)
    mark_false(Meanwhile(watch.store, lambda: watch.run(NOW + SLOT)), API, "ada", None, NOW)  # type: ignore[arg-type]
    record = watch.doc(f"alert_firings/{API}-1")
    assert (record["resolvedAt"], record["markedFalse"]["by"]) == (NOW + SLOT, "ada")
    assert (watch.alert()["state"], watch.alert()["markedFalse"]["by"]) == ("resolved", "ada")


def test_a_mark_that_is_made_while_the_alert_clears_is_kept(watch: Watch) -> None:
    watch.requests(100, 0, IN_SLOT + SLOT)
    run = watch.make(NOW + SLOT)
    meanwhile = Meanwhile(watch.store, None)
    run.guard.store = meanwhile  # type: ignore[assignment]
    meanwhile.happens = lambda: mark_false(watch.store, API, "ada", None, NOW)
    assert run(lambda: True).cleared == [API]
    record = watch.doc(f"alert_firings/{API}-1")
    assert (record["resolvedAt"], record["markedFalse"]["by"]) == (NOW + SLOT, "ada")


def test_of_many_who_mark_at_once_one_has_done_it(store: Store) -> None:
    watch = Watch(store)
    watch.requests(90, 10)
    watch.run()
    found: list[str] = []

    def one(name: str) -> None:
        found.append(mark_false(store, API, name, None, NOW).data["markedFalse"]["by"])

    threads = [threading.Thread(target=one, args=(f"responder-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_after_a_lost_reply_the_same_again_finds_it_done(watch: Watch) -> None:
    rev = watch.alert()["rev"]
    with pytest.raises(Unavailable):
        mark_false(Meanwhile(watch.store, None, lost=True), API, "ada", "x", NOW, rev)  # type: ignore[arg-type]
    assert mark_false(watch.store, API, "ada", "x", NOW + SLOT, rev).data["markedFalse"]["at"] == NOW
    with pytest.raises(Unavailable):
        unmark(Meanwhile(watch.store, None, lost=True), API)  # type: ignore[arg-type]
    assert unmark(watch.store, API, rev).data["markedFalse"] is None


def test_a_firing_that_begins_meanwhile_is_not_marked_for_the_one_before(watch: Watch) -> None:
    watch.requests(100, 0, IN_SLOT + SLOT)
    watch.run(NOW + SLOT)
    seen = watch.alert()["rev"]
    watch.requests(90, 10, IN_SLOT + 2 * SLOT)
    meanwhile = Meanwhile(watch.store, lambda: watch.run(NOW + 2 * SLOT))
    with pytest.raises(Changed):
        mark_false(meanwhile, API, "ada", None, NOW, seen)  # type: ignore[arg-type]
    assert (watch.alert()["state"], watch.alert()["markedFalse"]) == ("firing", None)
    assert [f["markedFalse"] for f in watch.documents("alert_firings").values()] == [None, None]

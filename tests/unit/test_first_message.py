"""What the first message of a thread comes to show, whatever order its records are read in, and who may write it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.first_message import claimed, let_go, shown, too_late, written
from shared.domain.notification import DELIVERY_DEADLINE, LEASE, Kind, Outcome, new_notification
from tests.core import NOW
from tests.unit.test_slack_message import facts_of

MINUTE = timedelta(minutes=1)
REFERENCE = "C0FAKE:1.000000"


def told(alert: str, seq: int, kind: Kind, minutes: int, *, firing: int = 1, severity: str = "high") -> dict[str, Any]:
    facts = {**facts_of("api-latency-p95", kind), "firingSeq": firing, "severity": severity}
    data = new_notification(alert, seq, "slack", kind, facts, NOW)[1]
    return {**data, "state": "delivered", "open": False, "deliveredAt": NOW + minutes * MINUTE}


THREAD = [
    told("api", 1, "trigger", 0),
    told("db", 1, "trigger", 5, severity="critical"),
    told("web", 1, "trigger", 5),
    told("api", 2, "resolve", 9),
    told("web", 2, "repeat", 9),
]


@given(st.permutations(THREAD))
def test_in_whatever_order_it_is_read_it_shows_the_same(thread: list[dict[str, Any]]) -> None:
    found = shown(thread, ())
    assert found is not None
    names = [data["notificationId"] for data in found.latest]
    assert names == ["db-1-slack", "web-2-slack", "api-2-slack"]  # the worst first, what is over last
    assert (found.notification_id, found.at) == ("api-1-slack", NOW + 9 * MINUTE)
    first = shown(THREAD, ())
    assert first is not None
    assert found.digest == first.digest


def test_more_that_was_told_is_another_text() -> None:
    digests = {found.digest for n in range(1, 6) if (found := shown(THREAD[:n], ())) is not None}
    assert len(digests) == 5


def test_what_another_thread_tells_counts_if_it_is_of_the_same_firing() -> None:
    elsewhere = [told("db", 2, "resolve", 12, severity="critical"), told("web", 4, "trigger", 30, firing=4)]
    found = shown(THREAD, elsewhere)
    assert found is not None
    assert {data["notificationId"] for data in found.latest} == {"api-2-slack", "db-2-slack", "web-2-slack"}
    assert found.at == NOW + 12 * MINUTE


def test_without_a_record_of_any_message_nobody_knows_what_the_first_one_was() -> None:
    assert shown([], THREAD) is None
    assert shown([{**THREAD[0], "groupId": "gone-1-slack"}], ()) is None


def test_while_one_has_it_and_before_the_next_try_is_due_nobody_else_may_write() -> None:
    mine = claimed(None, REFERENCE, "slack", {}, "me", NOW)
    assert mine is not None
    assert claimed(mine, REFERENCE, "slack", {}, "you", NOW + LEASE - MINUTE / 60) is None
    assert claimed(mine, REFERENCE, "slack", {}, "you", NOW + LEASE) is not None  # who had it never came back
    assert claimed(let_go(mine), REFERENCE, "slack", {}, "you", NOW) is not None
    of = shown(THREAD, ())
    assert of is not None
    failed = written(mine, of, Outcome("retry", "http_503", 503), NOW, 0.5)
    assert failed["dueAt"] > NOW
    assert claimed(failed, REFERENCE, "slack", {}, "you", NOW) is None
    done = written(mine, of, Outcome("delivered", "ok", 200), NOW, 0.5)
    assert (done["shows"], done["failed"], done["dueAt"]) == (of.digest, 0, None)


def test_the_waits_between_tries_grow() -> None:
    of, now, waits = shown(THREAD, ()), NOW, []
    assert of is not None
    data = None
    for _ in range(4):
        mine = claimed(data, REFERENCE, "slack", {}, "me", now)
        assert mine is not None
        data = written(mine, of, Outcome("unknown", "timeout"), now, 0.0)
        waits.append((data["dueAt"] - now).total_seconds())
        now = data["dueAt"]
    assert waits == [5, 10, 20, 40]


def test_the_latest_that_was_told_elsewhere_is_kept_whatever_comes_first() -> None:
    newer, older = told("db", 3, "resolve", 12), told("db", 2, "repeat", 8)
    data = None
    for news in (older, newer, older):
        data = claimed(data and let_go(data), REFERENCE, "slack", {"db": news}, "me", NOW)
        assert data is not None
    assert data["elsewhere"] == {"db": "db-3-slack"}


def test_a_day_after_it_was_outdated_it_is_too_late() -> None:
    assert not too_late(NOW, NOW + DELIVERY_DEADLINE - MINUTE)
    assert too_late(NOW, NOW + DELIVERY_DEADLINE)

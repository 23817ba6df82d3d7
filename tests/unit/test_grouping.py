"""What is told in one message, and when: whatever is due, nothing is passed over and nothing told twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.domain import grouping
from shared.domain.grouping import EVERYTHING, LogChange, Message, Waiting, led, logged, plan, rank, taken_back
from shared.domain.notification import new_notification
from shared.domain.notification_policy import NotificationPolicy

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def one(n: int, component: str = "API", severity: str = "high", kind: Any = "trigger", age: int = 0) -> dict[str, Any]:
    facts = {"component": component, "severity": severity, "labels": {}, "rule": "threshold"}
    return new_notification(f"a{n:03}", 1, "slack", kind, facts, NOW - age * SECOND)[1]


def policy(**parts: Any) -> NotificationPolicy:
    return NotificationPolicy.model_validate(parts)


DUE = st.lists(
    st.tuples(
        st.sampled_from("ABC"), st.sampled_from(["critical", "high", "warning"]),
        st.sampled_from(["trigger", "repeat", "resolve"]), st.integers(0, 600),
    ),
    max_size=30,
)  # fmt: skip
POLICIES = st.builds(
    lambda wait, interval, most: policy(
        grouping={"wait": f"{wait}s", "interval": f"{interval}s"}, storm={"messages": most}
    ),
    st.integers(0, 300), st.integers(0, 600), st.integers(0, 4),
)  # fmt: skip


def after(
    steps: list[Message | Waiting], log: dict[str, Any], rules: NotificationPolicy, now: datetime
) -> dict[str, Any]:
    for step in steps:
        if isinstance(step, Message):
            log = logged(step, log, rules, now)
    return log


@given(DUE, DUE, POLICIES, st.integers(0, 900))
def test_everything_due_is_in_one_message_or_waits_for_a_time_to_come(
    first: list[Any], then: list[Any], rules: NotificationPolicy, seconds: int
) -> None:
    log: dict[str, Any] = {}
    for now, parts in ((NOW, first), (NOW + seconds * SECOND, then)):
        due = [one(n, *part) for n, part in enumerate(parts)]
        steps = plan(due, log, rules, True, now)
        placed = [data["notificationId"] for step in steps for data in step.members]
        assert sorted(placed) == sorted(data["notificationId"] for data in due)
        for step in steps:
            if isinstance(step, Waiting):
                assert now < step.until <= now + timedelta(seconds=900)
            elif step.key != EVERYTHING:
                keys = {(d["kind"], grouping.group_of(d, rules.grouping.by)) for d in step.members}
                assert len(keys) == 1
                assert rank(step.leader) == min(map(rank, step.members))
        log = after(steps, log, rules, now)
        if rules.storm.messages:
            recent = [at for at in log.get("sent", ()) if at > now - timedelta(seconds=rules.storm.window)]
            assert len(recent) <= rules.storm.messages


@given(DUE, POLICIES)
def test_what_a_claim_put_into_the_log_can_be_taken_back(parts: list[Any], rules: NotificationPolicy) -> None:
    log: dict[str, Any] = {"sent": [], "groups": {}}
    due = [one(n, *part) for n, part in enumerate(parts)]
    for step in plan(due, log, rules, True, NOW):
        if isinstance(step, Message):
            before, log = log, logged(step, log, rules, NOW)
            change = LogChange(step.key, before, log)
            again = taken_back(log, change)
            assert again is None or again["groups"] == before["groups"]


def test_where_nothing_can_be_told_together_each_goes_alone_and_at_once() -> None:
    due = [one(n) for n in range(50)]
    steps = plan(due, {}, policy(grouping={"wait": "5m"}), False, NOW)
    assert [len(step.members) for step in steps] == [1] * 50
    assert all(isinstance(step, Message) for step in steps)


def test_a_new_group_waits_from_its_first_notification() -> None:
    (step,) = plan([one(1, age=10), one(2)], {}, policy(grouping={"wait": "30s"}), True, NOW)
    assert isinstance(step, Waiting)
    assert (step.until, step.reason) == (NOW + 20 * SECOND, "group_wait")


def test_a_message_that_adds_says_to_what() -> None:
    rules = policy()
    first = Message("component=API", (one(1),))
    log = logged(first, {}, rules, NOW)
    (leader,) = led(Message("component=API", (one(2),)), log)
    assert leader["addsTo"] == {"groupId": "a001-1-slack", "at": NOW, "alerts": ["a001"]}
    assert leader["members"] == ["a002-1-slack"]


def test_what_is_told_once_more_adds_nothing_to_itself_and_of_many_the_last_are_named() -> None:
    rules = policy()
    log: dict[str, Any] = {}
    for n in range(12):
        log = logged(Message("component=API", (one(n),)), log, rules, NOW + n * SECOND)
    (leader,) = led(Message("component=API", (one(11),)), log)
    assert (leader["addsTo"]["alerts"], leader["addsTo"]["more"]) == ([f"a{n:03}" for n in range(1, 11)], 1)
    (alone,) = led(Message("component=API", (one(1),)), logged(Message("component=API", (one(1),)), {}, rules, NOW))
    assert "addsTo" not in alone


def test_the_log_stays_small() -> None:
    rules = policy()
    log: dict[str, Any] = {}
    for n in range(500):
        log = logged(Message("component=API", (one(n),)), log, rules, NOW + n * SECOND)
    assert len(log["sent"]) <= 20
    assert len(log["groups"]["component=API"]["alerts"]) == 50
    for n in range(500):
        log = logged(Message(f"component=C{n}", (one(n, f"C{n}"),)), log, rules, NOW + n * SECOND)
    assert len(log["groups"]) == grouping.LOGGED_GROUPS
    assert "component=C499" in log["groups"]

"""The steps of a notification, alone and in every order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.domain import notification as outbox
from shared.domain.notification import Outcome, new_notification, withhold_reason

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ON = {"alerts.enabled": True, "alerts.slack": True, "alerts.email": True, "alerts.pagerduty": True}


def pending(kind: Any = "trigger", seq: int = 1) -> dict[str, Any]:
    return new_notification("api-threshold", seq, "slack", kind, {"sloName": "API"}, NOW)[1]


def claimed(data: dict[str, Any] | None = None, owner: str = "me", now: datetime = NOW) -> dict[str, Any]:
    result = outbox.claim(data or pending(), owner, now)
    assert result is not None
    return result


def ended(result: Any, detail: str = "x", **more: Any) -> dict[str, Any]:
    return outbox.after_attempt(claimed(), Outcome(result, detail, **more), NOW + SECOND, 0.0)


def test_a_new_one_is_due_at_once_and_dies_after_a_day() -> None:
    path, data = new_notification("api-threshold", 3, "slack", "trigger", {"sloName": "API"}, NOW)
    assert path == "notifications/api-threshold-3-slack"
    assert data == {
        "notificationId": "api-threshold-3-slack",
        "alertId": "api-threshold",
        "seq": 3,
        "channel": "slack",
        "kind": "trigger",
        "state": "pending",
        "reason": None,
        "open": True,
        "lane": "api-threshold:slack",
        "dueAt": NOW,
        "createdAt": NOW,
        "deadlineAt": NOW + timedelta(hours=24),
        "deliveredAt": None,
        "expireAt": NOW + timedelta(days=90),
        "owner": None,
        "leaseUntil": None,
        "attempts": [],
        "reference": None,
        "facts": {"sloName": "API"},
    }


def test_the_other_sides_name_of_a_message_it_took_is_kept() -> None:
    assert ended("delivered", reference="C1:17.2")["reference"] == "C1:17.2"
    assert ended("delivered")["reference"] is None


def test_a_withheld_one_is_a_record_that_nobody_can_claim() -> None:
    _, data = new_notification("api-threshold", 1, "email", "trigger", {}, NOW, "not_available")
    assert (data["state"], data["open"], data["reason"]) == ("withheld", False, "not_available")
    assert outbox.claim(data, "me", NOW) is None


def test_a_claim_is_a_lease_longer_than_the_slowest_answer() -> None:
    data = claimed()
    assert (data["state"], data["owner"], data["open"]) == ("sending", "me", True)
    assert data["leaseUntil"] == data["dueAt"] == NOW + timedelta(seconds=30)
    assert outbox.may_send(data, "me", NOW)


def test_nobody_else_may_claim_while_the_lease_holds() -> None:
    assert outbox.claim(claimed(), "other", NOW + 29 * SECOND) is None
    assert outbox.held(claimed(), NOW + 29 * SECOND)


def test_the_owner_may_claim_again_without_a_trace() -> None:
    assert claimed(claimed(), "me", NOW + SECOND)["attempts"] == []


def test_a_lapsed_lease_is_taken_over_and_the_lost_attempt_recorded() -> None:
    data = claimed(claimed(), "other", NOW + 30 * SECOND)
    assert data["owner"] == "other"
    assert data["attempts"] == [
        {"at": NOW, "durationMs": None, "outcome": "unknown", "status": None, "detail": "sender_lost"}
    ]


def test_one_that_is_not_due_cannot_be_claimed() -> None:
    assert outbox.claim(pending(), "me", NOW - SECOND) is None


def test_a_lease_that_would_end_before_the_slowest_answer_does_not_allow_sending() -> None:
    assert outbox.may_send(claimed(), "me", NOW + 20 * SECOND)
    assert not outbox.may_send(claimed(), "me", NOW + 20 * SECOND + timedelta(microseconds=1))
    assert not outbox.may_send(claimed(), "other", NOW)


def test_an_accepted_one_is_delivered() -> None:
    data = ended("delivered", "ok", status=200, duration_ms=85)
    assert (data["state"], data["open"], data["reason"]) == ("delivered", False, None)
    assert (data["deliveredAt"], data["dueAt"], data["owner"]) == (NOW + SECOND, None, None)
    assert data["attempts"] == [
        {"at": NOW + SECOND, "durationMs": 85, "outcome": "delivered", "status": 200, "detail": "ok"}
    ]


def test_one_refused_for_good_is_dead_of_the_named_reason() -> None:
    data = ended("dead", "no_service", status=404)
    assert (data["state"], data["open"], data["reason"]) == ("dead", False, "no_service")


@pytest.mark.parametrize("result", ["retry", "unknown"])
def test_one_that_failed_for_now_is_due_again_in_five_seconds(result: str) -> None:
    data = ended(result, "http_503")
    assert (data["state"], data["open"], data["owner"]) == ("pending", True, None)
    assert data["dueAt"] == NOW + 6 * SECOND


def test_waits_double_up_to_ten_minutes() -> None:
    waits, data, now = [], pending(), NOW
    for _ in range(10):
        data = outbox.after_attempt(claimed(data, now=now), Outcome("retry", "http_503"), now, 0.0)
        waits.append((data["dueAt"] - now).total_seconds())
        now = data["dueAt"]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_jitter_adds_a_quarter_at_most() -> None:
    data = outbox.after_attempt(claimed(), Outcome("retry", "http_503"), NOW, 1.0)
    assert data["dueAt"] == NOW + 6.25 * SECOND


def test_what_the_other_side_asks_for_is_the_least_wait() -> None:
    assert ended("retry", retry_after=90.0)["dueAt"] == NOW + 91 * SECOND
    assert ended("retry", retry_after=1.0)["dueAt"] == NOW + 6 * SECOND


def test_one_whose_next_attempt_would_come_too_late_is_dead_of_the_deadline() -> None:
    late = NOW + timedelta(hours=24) - 5 * SECOND
    data = outbox.after_attempt(claimed(now=late - SECOND), Outcome("retry", "http_503"), late, 0.0)
    assert (data["state"], data["reason"]) == ("dead", "deadline")


def test_one_past_its_deadline_expires_and_cannot_be_claimed() -> None:
    late = NOW + timedelta(hours=24)
    data = outbox.expire(pending(), late)
    assert data is not None
    assert (data["state"], data["reason"], data["attempts"]) == ("dead", "deadline", [])
    assert outbox.claim(pending(), "me", late) is None
    assert outbox.expire(pending(), late - SECOND) is None


def test_one_in_somebodys_hands_does_not_expire() -> None:
    just_before = NOW + timedelta(hours=24) - SECOND
    data = claimed(now=just_before)
    assert outbox.expire(data, just_before + 20 * SECOND) is None
    gone = outbox.expire(data, just_before + 30 * SECOND)
    assert gone is not None
    assert [a["detail"] for a in gone["attempts"]] == ["sender_lost"]


def test_the_first_five_and_the_last_twenty_attempts_stay() -> None:
    data, now = pending(), NOW
    for n in range(40):
        data = outbox.after_attempt(claimed(data, now=now), Outcome("retry", f"n{n}"), now, 0.0)
        now = data["dueAt"]
    details = [a["detail"] for a in data["attempts"]]
    assert details == [f"n{n}" for n in [*range(5), *range(20, 40)]]


def test_withholding_what_the_owner_did_not_send_leaves_no_attempt_but_a_lost_one_does() -> None:
    assert outbox.withhold(claimed(), "alerts_disabled", "me")["attempts"] == []
    assert [a["outcome"] for a in outbox.withhold(claimed(), "alerts_disabled")["attempts"]] == ["unknown"]


def test_a_resolve_is_pointless_if_no_trigger_can_have_arrived() -> None:
    dead = ended("dead", "no_service")
    withheld = outbox.withhold(pending(), "alerts_disabled")
    delivered = ended("delivered")
    timed_out = outbox.withhold(ended("unknown", "timeout"), "alerts_disabled")
    before = outbox.cancel(pending("resolve"), "trigger_not_sent")
    assert outbox.resolve_is_pointless([dead])
    assert outbox.resolve_is_pointless([withheld, dead, before, delivered])
    assert not outbox.resolve_is_pointless([dead, delivered])
    assert not outbox.resolve_is_pointless([timed_out])
    assert not outbox.resolve_is_pointless([pending()])
    assert not outbox.resolve_is_pointless([before, dead])
    assert not outbox.resolve_is_pointless([])


@pytest.mark.parametrize(
    ("channel", "flags", "reason"),
    [
        ("slack", ON, None),
        ("slack", {**ON, "alerts.enabled": False}, "alerts_disabled"),
        ("slack", {**ON, "alerts.slack": False}, "channel_disabled"),
        ("slack", {}, "alerts_disabled"),
        ("teams", ON, "not_available"),
        ("email", ON, "not_configured"),
        ("email", {**ON, "alerts.email": False}, "channel_disabled"),
    ],
)
def test_what_may_not_go_out_has_its_reason(channel: str, flags: dict[str, bool], reason: str | None) -> None:
    assert withhold_reason(channel, flags, {"slack": True, "email": False}) == reason


def test_pagerduty_is_for_critical_alerts_unless_an_slo_names_it() -> None:
    ready = {"pagerduty": True}
    assert withhold_reason("pagerduty", ON, ready, severity="high", explicit=False) == "critical_only"
    assert withhold_reason("pagerduty", ON, ready, severity="high", explicit=True) is None
    assert withhold_reason("pagerduty", ON, ready, severity="critical", explicit=False) is None


@given(
    st.sampled_from(["delivered", "retry", "unknown", "dead"]),
    st.none() | st.floats(0, 1e12),
    st.floats(0, 1),
    st.integers(0, 86_399),
)
def test_every_outcome_leaves_a_whole_document(result: Any, retry_after: float | None, jitter: float, age: int) -> None:
    before = claimed(now=NOW + age * SECOND)
    outcome = Outcome(result, "word", retry_after=retry_after)
    data = outbox.after_attempt(before, outcome, NOW + age * SECOND, jitter)
    assert data.keys() == before.keys() | ({"untold"} if data["state"] == "dead" else set())
    assert data["open"] == (data["state"] == "pending")
    if data["open"]:
        assert data["dueAt"] >= NOW + (age + max(5.0, retry_after or 0)) * SECOND
        assert data["dueAt"] < data["deadlineAt"]


def refused(data: dict[str, Any], minutes: int) -> dict[str, Any]:
    at = NOW + minutes * 60 * SECOND
    owned = outbox.claim({**data, "dueAt": at}, "me", at)
    assert owned is not None
    return outbox.after_attempt(owned, Outcome("retry", "http_503"), at, 0.0)


def test_what_is_refused_for_a_quarter_of_an_hour_is_overdue_once() -> None:
    _, data = new_notification("api", 1, "slack", "trigger", {}, NOW)
    data = refused(refused(data, 2), 16)
    assert "untold" not in data  # 14 minutes
    data = refused(data, 17)
    assert (data["untold"], data["open"]) == (True, True)
    assert refused({**data, "untold": False}, 18)["untold"] is False  # it was announced
    assert outbox.cancel(data, "resolved_before_sent")["untold"] is False


def test_what_tells_of_dead_letters_is_never_overdue() -> None:
    _, data = new_notification(outbox.DEAD_LETTERS, 1, "slack", "trigger", {}, NOW)
    assert "untold" not in refused(refused(data, 0), 60)


class Senders(RuleBasedStateMachine):
    """Two senders with one document, that die, hang and come back whenever they like."""

    @initialize()
    def begin(self) -> None:
        self.now = NOW
        self.data = pending()
        self.sending_until: dict[str, datetime] = {}  # who may have bytes on the wire, and how long at most
        self.claims = 0

    @rule(seconds=st.integers(0, 40) | st.integers(0, 90_000))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.sending_until = {who: end for who, end in self.sending_until.items() if end > self.now}

    @rule(who=st.sampled_from("ab"))
    def claims_and_sends(self, who: str) -> None:
        before = self.data
        data = outbox.claim(self.data, who, self.now)
        if data is None:
            return
        assert before["open"]
        assert self.now < before["deadlineAt"]
        assert not (outbox.held(before, self.now) and before["owner"] != who)
        self.data = data
        self.claims += not (before["state"] == "sending" and before["owner"] == who)
        assert outbox.may_send(data, who, self.now)
        self.sending_until[who] = self.now + outbox.HTTP_TIMEOUT

    @rule(who=st.sampled_from("ab"), result=st.sampled_from(["delivered", "retry", "unknown", "dead"]))
    def records(self, who: str, result: Any) -> None:
        if self.data["state"] == "sending" and self.data["owner"] == who:
            self.data = outbox.after_attempt(self.data, Outcome(result, "word"), self.now, 0.5)
            self.sending_until.pop(who, None)

    @rule()
    def expires(self) -> None:
        self.data = outbox.expire(self.data, self.now) or self.data

    @invariant()
    def two_never_send_at_once(self) -> None:
        assert len(self.sending_until) <= 1

    @invariant()
    def it_is_open_until_it_has_a_final_state_and_a_due_time_only_then(self) -> None:
        assert self.data["open"] == (self.data["state"] in ("pending", "sending"))
        assert (self.data["dueAt"] is not None) == self.data["open"]
        assert (self.data["owner"] is not None) == (self.data["state"] == "sending")
        assert (self.data["deliveredAt"] is not None) == (self.data["state"] == "delivered")
        assert (self.data["reason"] is not None) == (self.data["state"] in ("dead", "withheld", "cancelled"))

    @invariant()
    def no_claim_is_forgotten(self) -> None:
        under_way = self.data["state"] == "sending"
        assert len(self.data["attempts"]) == min(25, self.claims - under_way)


TestSenders = Senders.TestCase

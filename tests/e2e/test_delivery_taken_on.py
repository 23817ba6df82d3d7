"""What waits in the outbox when somebody takes its alert on: whoever else it would have asked for is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.alerts.acknowledge import acknowledge, take_back
from shared.alerts.follow_up import follow_up
from shared.delivery.deliver import Delivered, deliver_due
from shared.domain.notification import new_notification, resend
from shared.store.protocol import Create, Put, Store
from tests.core import NOW, Clock, make_app
from tests.fake_servers import ROUTING_KEY, FakePagerDuty, FakeSlack, failing, losing_the_reply, normal
from tests.unit.test_slack_message import facts_of

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LATER = NOW + 15 * MINUTE  # when a critical alert is passed on to email, which is not set up here, and PagerDuty
DONE = ("cancelled", "acknowledged")


class Bench:
    """Alerts that fire and that Slack has heard of."""

    def __init__(self, store: Store, slack: FakeSlack, pages: FakePagerDuty) -> None:
        self.store, self.pages, self.clock = store, pages, Clock(NOW)
        store.commit([Put("config/flags", {"alerts": {"pagerduty": True}})])
        urls = {"SLACK_WEBHOOK_URL": slack.url, "PAGERDUTY_URL": pages.url, "PAGERDUTY_ROUTING_KEY": ROUTING_KEY}
        self.app = make_app(store, self.clock, **urls)

    def fires(self, name: str, seq: int = 1) -> None:
        facts: dict[str, Any] = {
            **facts_of("api-availability", "trigger"), "rule": "threshold", "component": name, "firedAt": NOW,
            "judgedAt": NOW, "incidentId": None, "firingSeq": seq,
        }  # fmt: skip
        told = {"slack": {"seq": seq, "state": "announced", "reason": None}}
        path, data = new_notification(name, seq, "slack", "trigger", facts, NOW)
        alert = {**facts, "alertId": name, "state": "firing", "seq": seq, "channels": told, "rev": "0" * 16}
        self.store.commit([Create(path, data), Create(f"alerts/{name}", alert)])
        self.deliver(NOW)

    def follow_up(self, at: datetime) -> list[str]:
        return follow_up(self.app, at)

    def deliver(self, at: datetime) -> Delivered:
        self.clock.now = at
        return deliver_due(self.app, at, budget_seconds=30)

    def told(self, name: str) -> tuple[str, str | None]:
        doc = self.store.get(f"notifications/{name}")
        assert doc is not None
        return doc.data["state"], doc.data["reason"]

    def take_on(self, name: str, at: datetime) -> None:
        acknowledge(self.store, name, "ada", "on it", at)


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    with FakeSlack() as slack, FakePagerDuty() as pages:
        yield Bench(store, slack, pages)


def test_an_escalation_that_waits_is_cancelled_and_its_record_says_why(bench: Bench) -> None:
    bench.fires("api")
    assert bench.follow_up(LATER) == ["api"]
    bench.take_on("api", LATER)
    assert bench.deliver(LATER) == Delivered(cancelled=2)
    assert bench.told("api-2-pagerduty") == DONE
    assert bench.told("api-3-pagerduty") == ("cancelled", "trigger_not_sent")  # that somebody has it
    assert bench.pages.received == []


def test_given_back_it_is_passed_on_after_all(bench: Bench) -> None:
    bench.fires("api")
    bench.follow_up(LATER)
    bench.take_on("api", LATER)
    bench.deliver(LATER)
    assert bench.follow_up(LATER + MINUTE) == []  # as long as somebody has it
    take_back(bench.store, "api", "ada", LATER + MINUTE)
    assert bench.follow_up(LATER + 2 * MINUTE) == ["api"]
    assert bench.follow_up(LATER + 3 * MINUTE) == []
    assert bench.deliver(LATER + 3 * MINUTE) == Delivered(delivered=1)
    assert bench.told("api-4-pagerduty") == ("delivered", None)
    assert len(bench.pages.shown) == 1
    bench.take_on("api", LATER + 4 * MINUTE)
    bench.deliver(LATER + 4 * MINUTE)
    assert [page.payload["event_action"] for page in bench.pages.shown] == ["trigger", "acknowledge"]


def test_one_that_was_refused_for_now_is_cancelled_too(bench: Bench) -> None:
    bench.fires("api")
    bench.follow_up(LATER)
    bench.pages.behave = failing(503)
    assert bench.deliver(LATER) == Delivered(retried=1)
    bench.pages.behave = normal
    bench.take_on("api", LATER)
    assert bench.deliver(LATER + MINUTE).cancelled == 2
    assert bench.told("api-2-pagerduty") == DONE


def test_one_that_may_have_arrived_is_brought_to_its_end(bench: Bench) -> None:
    bench.fires("api")
    bench.follow_up(LATER)
    bench.pages.behave = losing_the_reply
    bench.deliver(LATER)
    bench.pages.behave = normal
    bench.take_on("api", LATER)
    assert bench.deliver(LATER + MINUTE) == Delivered(delivered=2)
    assert list(bench.pages.states.values()) == ["acknowledged"]


def test_a_repetition_is_cancelled_and_not_made_up_for(bench: Bench) -> None:
    bench.fires("api")
    bench.follow_up(LATER)
    bench.deliver(LATER)
    assert bench.follow_up(NOW + 4 * HOUR) == ["api"]
    bench.take_on("api", NOW + 4 * HOUR)
    bench.deliver(NOW + 4 * HOUR)
    assert (bench.told("api-3-slack"), bench.told("api-3-pagerduty")) == (DONE, DONE)
    assert bench.told("api-4-pagerduty") == ("delivered", None)  # PagerDuty had heard of it
    take_back(bench.store, "api", "ada", NOW + 4 * HOUR)
    assert bench.follow_up(NOW + 5 * HOUR) == []


def test_who_takes_it_on_during_a_run_is_heard_by_the_rest_of_it(bench: Bench) -> None:
    for name in ("api", "database"):
        bench.fires(name)
    bench.follow_up(LATER)

    def while_the_first_is_sent(exchange: Any) -> None:
        if not exchange.received.number:
            bench.take_on("database", LATER)
        normal(exchange)

    bench.pages.behave = while_the_first_is_sent
    done = bench.deliver(LATER)
    assert done.delivered == 1
    assert (bench.told("api-2-pagerduty"), bench.told("database-2-pagerduty")) == (("delivered", None), DONE)
    assert len(bench.pages.shown) == 1


def test_what_somebody_had_of_an_earlier_firing_says_nothing_of_this_one(bench: Bench) -> None:
    bench.fires("api", seq=5)
    bench.follow_up(LATER)
    doc = bench.store.get("alerts/api")
    assert doc is not None
    bench.store.commit([Put(doc.path, {**doc.data, "firingSeq": 9, "acknowledged": {"by": "ada", "at": LATER}})])
    assert bench.deliver(LATER) == Delivered(delivered=1)


def test_what_a_person_asks_to_be_sent_again_is_sent(bench: Bench) -> None:
    bench.fires("api")
    bench.follow_up(LATER)
    bench.pages.behave = failing(403)
    assert bench.deliver(LATER) == Delivered(dead=1)
    bench.pages.behave = normal
    bench.take_on("api", LATER)
    doc = bench.store.get("notifications/api-2-pagerduty")
    assert doc is not None
    bench.store.commit([Put(doc.path, resend(doc.data, "ada", LATER))])
    assert bench.deliver(LATER + MINUTE).delivered == 2  # and that somebody has it
    assert list(bench.pages.states.values()) == ["acknowledged"]

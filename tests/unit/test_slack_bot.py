"""Slack by a bot's token: threads that follow a firing, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.domain.notification import Kind, Outcome, new_notification
from shared.notify.slack_bot import SlackBotSender
from shared.notify.threads import Threads
from shared.outbound import HttpOutbound
from shared.store.protocol import Create, Store, Unavailable
from tests.fake_servers import BOT_TOKEN, Behaviour, FakeSlackApi, closing, failing, hanging, losing_the_reply
from tests.unit.test_slack import Hasty
from tests.unit.test_slack_message import FIRED, LINKS, facts_of


def a_notification(seq: int = 1, kind: Kind = "trigger", firing: int = 1, alert: str = "api") -> dict[str, Any]:
    facts = {**facts_of("api-latency-p95", kind), "firingSeq": firing}
    return new_notification(alert, seq, "slack", kind, facts, FIRED)[1]


class Channel:
    """Sends and puts the outcome on record, as delivery does."""

    def __init__(self, store: Store, server: FakeSlackApi) -> None:
        self.store = store
        self.sender = SlackBotSender(HttpOutbound(), server.api, BOT_TOKEN, "#ops-alerts", LINKS, Threads(store))

    def send(self, *notifications: dict[str, Any]) -> Outcome:
        outcome = self.sender.send(notifications)
        for each in notifications:
            data = {**each, "state": "delivered", "reference": outcome.reference}
            self.store.commit([Create(f"notifications/{each['notificationId']}", data)])
        return outcome


def test_what_follows_a_firing_is_in_its_thread_and_its_end_is_seen_by_all(store: Store) -> None:
    with FakeSlackApi() as server:
        channel = Channel(store, server)
        first = channel.send(a_notification())
        taken = channel.send(a_notification(2, "acknowledge"))
        over = channel.send(a_notification(3, "resolve"))
        again = channel.send(a_notification(4, firing=4))
        posts = [each.payload for each in server.shown]
    assert {first.result, taken.result, over.result} == {"delivered"}
    assert first.reference == taken.reference == over.reference == "C0FAKE:1.000000"
    assert [(p["channel"], p.get("thread_ts"), p.get("reply_broadcast")) for p in posts] == [
        ("#ops-alerts", None, None),
        ("C0FAKE", "1.000000", False),
        ("C0FAKE", "1.000000", True),
        ("#ops-alerts", None, None),
    ]
    assert again.reference == "C0FAKE:4.000000"


def test_what_adds_to_a_group_is_in_the_thread_of_its_first_message_and_seen_by_all(store: Store) -> None:
    with FakeSlackApi() as server:
        channel = Channel(store, server)
        first = channel.send(a_notification(alert="api"), a_notification(alert="db"))
        adds_to = {"groupId": "api-1-slack", "at": FIRED, "alerts": ["api", "db"]}
        added = channel.send({**a_notification(alert="web"), "addsTo": adds_to}, a_notification(alert="jobs"))
        over = channel.send(a_notification(2, "resolve", alert="jobs"))
        posts = [each.payload for each in server.shown]
    assert first.reference == added.reference == over.reference == "C0FAKE:1.000000"
    assert [(p.get("thread_ts"), p.get("reply_broadcast")) for p in posts] == [(None, None), *[("1.000000", True)] * 2]


def test_a_group_whose_first_message_is_not_on_record_goes_on_in_a_new_thread(store: Store) -> None:
    with FakeSlackApi() as server:
        channel = Channel(store, server)
        adds_to = {"groupId": "api-1-slack", "at": FIRED, "alerts": ["api"]}
        assert channel.send({**a_notification(alert="web"), "addsTo": adds_to}).reference == "C0FAKE:1.000000"
        assert "thread_ts" not in server.shown[0].payload


def test_what_becomes_worse_is_in_its_thread_and_seen_by_all(store: Store) -> None:
    with FakeSlackApi() as server:
        channel = Channel(store, server)
        channel.send(a_notification())
        channel.send(a_notification(2))
        assert [server.shown[1].payload[name] for name in ("thread_ts", "reply_broadcast")] == ["1.000000", True]


def test_what_was_told_of_several_alerts_at_once_is_followed_in_that_thread(store: Store) -> None:
    with FakeSlackApi() as server:
        channel = Channel(store, server)
        channel.send(a_notification(alert="api"), a_notification(alert="db"))
        assert channel.send(a_notification(2, "resolve", alert="db")).reference == "C0FAKE:1.000000"


def test_without_a_record_a_new_thread_begins(store: Store) -> None:
    with FakeSlackApi() as server:
        assert Channel(store, server).send(a_notification(2, "resolve")).reference == "C0FAKE:1.000000"
        assert "thread_ts" not in server.shown[0].payload


def test_a_thread_that_was_deleted_costs_no_message(store: Store) -> None:
    with FakeSlackApi() as server:
        channel = Channel(store, server)
        channel.send(a_notification())
        server.threads.clear()
        assert channel.send(a_notification(2, "resolve")).result == "delivered"
        assert len(server.shown) == 2


def test_a_store_that_cannot_be_read_costs_no_message(store: Store) -> None:
    class Away(Threads):
        def _before(self, notification: Any) -> str | None:
            raise Unavailable("no answer")

    with FakeSlackApi() as server:
        sender = SlackBotSender(HttpOutbound(), server.api, BOT_TOKEN, "#ops-alerts", LINKS, Away(store))
        assert sender.send([a_notification(2, "resolve")]).result == "delivered"


def said(**answer: Any) -> Behaviour:
    return failing(200, json.dumps(answer), {"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("behave", "result", "detail", "status"),
    [
        (said(ok=False, error="channel_not_found"), "dead", "channel_not_found", 200),
        (said(ok=False, error="invalid_auth"), "dead", "invalid_auth", 200),
        (said(ok=False, error="ratelimited"), "retry", "throttled", 200),
        (said(ok=False, error="internal_error"), "retry", "internal_error", 200),
        (said(ok=False, error="service_unavailable"), "retry", "service_unavailable", 200),
        (said(ok=False, error="fatal_error"), "unknown", "fatal_error", 200),
        (said(ok=False, error="<b>"), "unknown", "unexpected_answer", 200),
        (said(ok=False, error=BOT_TOKEN.lower()), "unknown", "unexpected_answer", 200),
        (said(ok="yes"), "unknown", "unexpected_answer", 200),
        (failing(200, "<html>"), "unknown", "unexpected_answer", 200),
        (failing(200, "[" * 60_000), "unknown", "unexpected_answer", 200),
        (failing(429, "", {"Retry-After": "7"}), "retry", "throttled", 429),
        (failing(503), "retry", "http_503", 503),
        (failing(404), "dead", "http_404", 404),
        (hanging, "unknown", "timeout", None),
        (closing, "unknown", "connection_lost", None),
        (losing_the_reply, "unknown", "connection_lost", None),
    ],
)
def test_an_answer_becomes_its_outcome(
    behave: Behaviour, result: str, detail: str, status: int | None, store: Store
) -> None:
    with FakeSlackApi(behave) as server:
        sender = SlackBotSender(Hasty(), server.api, BOT_TOKEN, "#ops-alerts", LINKS, Threads(store))
        outcome = sender.send([a_notification()])
    assert (outcome.result, outcome.detail, outcome.status) == (result, detail, status)
    assert "canary" not in repr(outcome).lower()


def test_a_throttled_bot_says_how_long(store: Store) -> None:
    answer = json.dumps({"ok": False, "error": "ratelimited"})
    with FakeSlackApi(failing(200, answer, {"Retry-After": "12"})) as server:
        sender = SlackBotSender(HttpOutbound(), server.api, BOT_TOKEN, "#ops-alerts", LINKS, Threads(store))
        assert sender.send([a_notification()]).retry_after == 12.0

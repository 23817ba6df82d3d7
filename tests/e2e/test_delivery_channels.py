"""Delivery on every channel at once: failures are tried again, a second copy has the same id, secrets stay out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.delivery.deliver import deliver_due
from shared.domain.notification import new_notification
from shared.store.protocol import Create, Put, Query
from shared.store.sqlite import SqliteStore
from tests.core import NOW, Clock, every_byte, make_app
from tests.fake_mail import CLOSE, PASSWORD, FakeMail, ScriptedMail
from tests.fake_servers import (
    BOT_TOKEN,
    ROUTING_KEY,
    Behaviour,
    FakePagerDuty,
    FakeSlack,
    FakeSlackApi,
    failing,
    losing_the_reply,
)
from tests.unit.test_slack_message import facts_of

SECRET = "a-canary-of-a-webhook"
CHANNELS = ("slack", "email", "pagerduty", "webhook", "inapp")


class Bench:
    """An outbox with one notification a channel. Every secret has `canary` in it."""

    def __init__(
        self, store: SqliteStore, slack: FakeSlackApi, pages: FakePagerDuty, hook: FakeSlack, mail: int
    ) -> None:
        self.store, self.clock = store, Clock(NOW)
        env = {
            "SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_API_URL": slack.api, "PAGERDUTY_URL": pages.url,
            "PAGERDUTY_ROUTING_KEY": ROUTING_KEY, "WEBHOOK_URL": hook.url, "WEBHOOK_SECRET": SECRET,
            "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mail), "SMTP_SECURITY": "none", "EMAIL_FROM": "f0@example.com",
            "SMTP_PASSWORD": PASSWORD,
        }  # fmt: skip
        store.commit([Put("config/flags", {"alerts": {"pagerduty": True}})])
        self.app = make_app(store, self.clock, **env)

    def add(self) -> None:
        facts = {**facts_of("api-availability", "trigger"), "firingSeq": 1, "rule": "threshold"}
        made = [new_notification("api", 1, channel, "trigger", facts, self.clock()) for channel in CHANNELS]
        self.store.commit([Create(path, data) for path, data in made])

    def deliver(self) -> None:
        """Long enough for what is told together to be told, and for what failed to be due again."""
        for _ in range(3):
            deliver_due(self.app, self.clock(), budget_seconds=30)
            self.clock.now += timedelta(minutes=2)

    def outcomes(self) -> dict[str, list[str]]:
        docs = self.store.query(Query("notifications"))
        return {doc.data["channel"]: [each["outcome"] for each in doc.data["attempts"]] for doc in docs}


def once(first: Behaviour) -> Behaviour:
    """That at first, and then as it should be."""
    from tests.fake_servers import normal

    return lambda exchange: (normal if exchange.received.number else first)(exchange)


def test_every_channel_is_told_once(sqlite_store: SqliteStore) -> None:
    with FakeSlackApi() as slack, FakePagerDuty() as pages, FakeSlack(failing(204)) as hook, FakeMail() as mail:
        bench = Bench(sqlite_store, slack, pages, hook, mail.port)
        bench.add()
        bench.deliver()
        assert bench.outcomes() == {channel: ["delivered"] for channel in CHANNELS}
        assert (len(slack.shown), len(pages.shown), len(hook.received), len(mail.received)) == (1, 1, 1, 1)
    assert sqlite_store.get("admin_notifications/api-1-inapp") is not None


def test_a_lost_reply_brings_a_second_copy_that_is_the_same_incident(sqlite_store: SqliteStore) -> None:
    with (
        FakeSlackApi(once(losing_the_reply)) as slack,
        FakePagerDuty(once(losing_the_reply)) as pages,
        FakeSlack(once(losing_the_reply)) as hook,
        ScriptedMail({"text": CLOSE}) as mail,
    ):
        bench = Bench(sqlite_store, slack, pages, hook, mail.port)
        bench.add()
        bench.deliver()
        told = bench.outcomes()
        keys = [each.payload["dedup_key"] for each in pages.received]
    assert (told["slack"], told["pagerduty"]) == (["unknown", "delivered"],) * 2
    assert (told["email"][0], told["inapp"]) == ("unknown", ["delivered"])
    assert keys == ["api-1", "api-1"]


def echo(exchange: Any) -> None:
    """Refuse with all that was sent, as careless error pages do."""
    text = exchange.received.path + str(dict(exchange.received.headers)) + exchange.received.body.decode()
    exchange.reply(400, text[:2000])


def test_no_secret_is_in_a_document_or_a_log_whatever_the_other_side_says(
    sqlite_store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    mail = ScriptedMail({"MAIL": f"550 {PASSWORD}"})
    with FakeSlackApi(echo) as slack, FakePagerDuty(echo) as pages, FakeSlack(echo) as hook, mail:
        bench = Bench(sqlite_store, slack, pages, hook, mail.port)
        bench.add()
        bench.deliver()
        states = {doc.data["channel"]: doc.data["state"] for doc in sqlite_store.query(Query("notifications"))}
        assert {states[channel] for channel in CHANNELS[:4]} == {"dead"}
        assert "canary" not in repr(bench.app.settings).lower()
    shown = every_byte(sqlite_store._path) + "".join(capsys.readouterr()).encode()
    assert b"canary" not in shown.lower()

"""Notifications as admins read them; dead letters sent again in their order; and test messages with honest answers."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from shared.audited import KeyReused, key_of, once
from shared.delivery import resending
from shared.delivery.deliver import deliver_due
from shared.domain import notification as outbox
from shared.domain.notification import Kind, Outcome, new_notification
from shared.store.protocol import Create, Data, Put, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.fake_mail import FakeMail
from tests.fake_servers import ROUTING_KEY, SECRET_PATH, FakePagerDuty, FakeSlack, failing, normal
from tests.ops_api import Ops, Reply, ops_api
from tests.unit.test_slack_message import facts_of

PATH = "/api/ops/notifications"


def add(
    store: Store,
    seq: int,
    state: str,
    kind: Kind = "trigger",
    *,
    alert: str = "api",
    channel: str = "slack",
    at: int = 0,
) -> str:
    facts = {**facts_of("api-latency-p95", kind), "firingSeq": 1}
    path, data = new_notification(alert, seq, channel, kind, facts, NOW + timedelta(seconds=at))
    if state in ("dead", "delivered"):
        claimed = outbox.claim(data, "me", data["dueAt"]) or {}
        result: Any = state
        data = outbox.after_attempt(claimed, Outcome(result, "no_service", 404), NOW, 0.0)
    elif state == "sending":
        data = outbox.claim(data, "me", data["dueAt"]) or {}
    elif state == "cancelled":
        data = outbox.cancel(data, "trigger_not_sent")
    store.commit([Create(path, {**data, "rev": "0" * 16})])
    return str(data["notificationId"])


def read(store: Store, name: str) -> Data:
    doc = store.get(f"notifications/{name}")
    assert doc is not None
    return doc.data


# Reading


def ids(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.text
    return [one["notificationId"] for one in reply.json["notifications"]]


def test_they_are_listed_latest_first_and_filtered_and_paged(store: Store) -> None:
    names = [
        add(store, 1, "dead", at=0),
        add(store, 2, "pending", at=1),
        add(store, 1, "dead", alert="db", at=2),
        add(store, 1, "delivered", channel="email", at=3),
    ]
    with ops_api(store, NOW) as ops:
        assert ids(ops.get(PATH)) == names[::-1]
        assert ids(ops.get(PATH, {"state": "dead"})) == [names[2], names[0]]
        assert ids(ops.get(PATH, {"state": "dead", "alert": "api"})) == [names[0]]
        assert ids(ops.get(PATH, {"channel": "email"})) == [names[3]]
        first = ops.get(PATH, {"limit": 3})
        assert ids(first) == names[:0:-1]
        assert ids(ops.get(PATH, {"limit": 3, "cursor": first.json["cursor"]})) == [names[0]]
        told = ops.get(PATH, {"state": "dead"}).json["notifications"][0]
        assert (told["tries"], told["last"]["detail"], told["reason"]) == (1, "no_service", "no_service")
        assert "owner" not in told


def test_one_is_read_with_every_attempt(sqlite_store: SqliteStore) -> None:
    name = add(sqlite_store, 1, "dead")
    with ops_api(sqlite_store, NOW) as ops:
        told = ops.get(f"{PATH}/{name}").json
    assert [(a["outcome"], a["status"]) for a in told["attempts"]] == [("dead", 404)]
    assert told["facts"]["firedAt"] == "2026-03-01T12:05:00Z"


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "status", "code"),
    [
        ("GET", PATH, {"state": "lost", "channel": "fax", "limit": "0"}, None, 400, "invalid_query"),
        ("GET", f"{PATH}/no-such", {}, None, 404, "unknown_notification"),
        ("GET", f"{PATH}/..", {}, None, 404, "unknown_notification"),
        ("POST", f"{PATH}/no-such/resend", {}, None, 404, "unknown_notification"),
        ("POST", f"{PATH}/test", {}, b"{}", 400, "invalid_body"),
        ("POST", f"{PATH}/test", {}, b'{"channel": "fax"}', 400, "invalid_body"),
    ],
)
def test_what_cannot_be_right_is_refused(
    sqlite_store: SqliteStore,
    method: str,
    path: str,
    query: dict[str, str],
    body: bytes | None,
    status: int,
    code: str,
) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        reply = ops.get(path, query, method=method, body=body)
        assert (reply.status, reply.json["code"]) == (status, code)


def test_no_fault_of_a_test_message_hides_another(sqlite_store: SqliteStore) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        told = ops.get(f"{PATH}/test", method="POST", body=b'{"channel": "fax", "to": "ada"}').json["errors"]
    assert [one["path"] for one in told] == ["channel", "to"]
    assert told[1]["message"] == "there is no such field"


# Sending again


def resend(ops: Ops, name: str, **headers: str) -> Reply:
    return ops.get(f"{PATH}/{name}/resend", method="POST", headers=headers)


def test_a_dead_letter_is_sent_again_under_its_id_before_what_waits_behind_it(store: Store) -> None:
    with FakeSlack() as slack, ops_api(store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        first, second = add(store, 1, "dead"), add(store, 2, "pending", "repeat")
        assert resend(ops, first).status == 202
        assert deliver_due(ops.app, NOW, budget_seconds=30).delivered == 2
        assert slack.shown_ids == [first, second]
    data = read(store, first)
    assert (data["state"], [a["outcome"] for a in data["attempts"]]) == ("delivered", ["dead", "delivered"])
    ((entry),) = data["resends"]
    assert (entry["at"], entry["was"], bool(entry["by"])) == (NOW, "no_service", True)


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("delivered", "repeat", "overtaken"),
        ("sending", "repeat", "overtaken"),
        ("cancelled", "resolve", "overtaken"),
        ("dead", "resolve", "overtaken"),
    ],
)
def test_what_would_tell_of_the_past_is_not_sent_again(store: Store, state: str, kind: Kind, code: str) -> None:
    first = add(store, 1, "dead")
    add(store, 2, state, kind)
    with ops_api(store, NOW) as ops:
        reply = resend(ops, first)
    assert (reply.status, reply.json["code"], read(store, first)["state"]) == (409, code, "dead")


@pytest.mark.parametrize("state", ["pending", "sending", "delivered", "cancelled"])
def test_only_a_dead_letter_is_sent_again(sqlite_store: SqliteStore, state: str) -> None:
    name = add(sqlite_store, 1, state)
    with ops_api(sqlite_store, NOW) as ops:
        reply = resend(ops, name)
    assert (reply.status, reply.json["code"]) == (409, "not_dead")


def test_one_that_somebody_begins_to_send_meanwhile_is_not_overtaken(sqlite_store: SqliteStore) -> None:
    first, second = add(sqlite_store, 1, "dead"), add(sqlite_store, 2, "pending", "repeat")
    whole = sqlite_store.commit

    def meanwhile(writes: list[Write]) -> None:
        sqlite_store.commit = whole  # type: ignore[method-assign]
        doc = sqlite_store.get(f"notifications/{second}")
        assert doc is not None
        sqlite_store.commit([Put(doc.path, {**(outbox.claim(doc.data, "x", NOW) or {}), "rev": "1"}, doc.version)])
        sqlite_store.commit(writes)

    sqlite_store.commit = meanwhile  # type: ignore[method-assign,assignment]
    with pytest.raises(resending.Overtaken):
        resending.resend(sqlite_store, first, "ana", NOW)
    assert read(sqlite_store, first)["state"] == "dead"


def test_with_a_key_it_is_sent_again_once_however_often_that_is_asked(store: Store) -> None:
    name, key = add(store, 1, "dead"), {"Idempotency-Key": "k1"}
    with FakeSlack() as slack, ops_api(store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        slack.behave = failing(404, "no_service")
        assert resend(ops, name, **key).status == 202
        deliver_due(ops.app, NOW, budget_seconds=30)
        reply = resend(ops, name, **key)
        assert (reply.status, reply.json["state"], reply.headers["Idempotency-Replayed"]) == (200, "dead", "true")
        assert len(read(store, name)["resends"]) == 1
        assert resend(ops, name, **{"Idempotency-Key": "k2"}).status == 202  # that was another wish
        assert resend(ops, name, **{"Idempotency-Key": "k" * 256}).json["code"] == "invalid_idempotency_key"


# Testing a channel


def tried(ops: Ops, channel: str) -> dict[str, Any]:
    reply = ops.get(f"{PATH}/test", method="POST", body=json.dumps({"channel": channel}).encode())
    assert reply.status == 200, reply.text
    return {name: value for name, value in reply.json.items() if name != "durationMs"}


def told(
    channel: str, outcome: str, detail: str, status: int | None = None, needs: str | None = None
) -> dict[str, Any]:
    return {"channel": channel, "outcome": outcome, "detail": detail, "status": status, "needs": needs}


def test_a_test_message_tells_that_nothing_is_wrong_and_its_answer_is_told(sqlite_store: SqliteStore) -> None:
    with FakeSlack() as slack, ops_api(sqlite_store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        assert tried(ops, "slack") == told("slack", "delivered", "ok", 200)
        assert "Nothing is wrong" in slack.shown[0].payload["text"]
        slack.behave = failing(404, "no_service")
        assert tried(ops, "slack") == told("slack", "dead", "no_service", 404)


def test_the_incident_of_a_test_is_closed_at_once(sqlite_store: SqliteStore) -> None:
    with FakePagerDuty() as pagerduty:
        env = {"PAGERDUTY_URL": pagerduty.url, "PAGERDUTY_ROUTING_KEY": ROUTING_KEY}
        sqlite_store.commit([Put("config/flags", {"alerts": {"pagerduty": True}})])
        with ops_api(sqlite_store, NOW, **env) as ops:
            assert tried(ops, "pagerduty") == told("pagerduty", "delivered", "ok", 202)
        assert list(pagerduty.states.values()) == ["resolved"]
        assert pagerduty.received[0].payload["payload"]["severity"] == "info"


def test_mail_in_app_and_a_webhook_can_be_tested(sqlite_store: SqliteStore) -> None:
    with FakeMail() as mail, FakeSlack(failing(200)) as hook:
        env = {"SMTP_HOST": "localhost", "SMTP_PORT": str(mail.port), "SMTP_SECURITY": "none"}
        env |= {"EMAIL_FROM": "f0@example.com", "WEBHOOK_URL": hook.url, "WEBHOOK_SECRET": "x" * 16}
        with ops_api(sqlite_store, NOW, **env) as ops:
            assert tried(ops, "email") == told("email", "delivered", "ok", 250)
            assert tried(ops, "inapp") == told("inapp", "delivered", "ok")
            assert tried(ops, "webhook") == told("webhook", "delivered", "ok", 200)
            assert ops.get("/api/ops/inbox").json["notifications"][0]["title"] == "Test message: test"
        assert mail.mails[0]["Subject"] == "Test message · info"


def test_what_is_off_or_not_set_up_is_said_and_nothing_sent(sqlite_store: SqliteStore) -> None:
    with FakeSlack(normal) as slack, ops_api(sqlite_store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        assert tried(ops, "email") == told("email", "withheld", "not_configured", needs="SMTP_HOST and EMAIL_FROM")
        assert tried(ops, "pagerduty") == told(
            "pagerduty", "withheld", "channel_disabled", needs="the switch alerts.pagerduty to be on"
        )
        assert slack.received == []


def test_the_addresses_are_in_no_answer_and_no_log(
    sqlite_store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeSlack(failing(403, SECRET_PATH)) as slack, ops_api(sqlite_store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        shown = json.dumps(tried(ops, "slack"))
    assert "canary" not in (shown + "".join(capsys.readouterr())).lower()


def test_with_a_key_a_channel_is_tested_once_and_what_was_said_is_told_again(store: Store) -> None:
    def ask(channel: str) -> Reply:
        body = json.dumps({"channel": channel}).encode()
        return ops.get(f"{PATH}/test", method="POST", body=body, headers={"Idempotency-Key": "k1"})

    with FakeSlack() as slack, ops_api(store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        first, again = ask("slack"), ask("slack")
        assert (first.status, again.status, again.json) == (200, 200, first.json)
        assert (first.headers["Idempotency-Replayed"], again.headers["Idempotency-Replayed"]) == (None, "true")
        assert len(slack.shown) == 1
        assert ask("email").json["code"] == "idempotency_key_reused"


def test_of_a_test_that_was_cut_short_nobody_pretends_to_know_the_outcome(store: Store) -> None:
    key = key_of("ana", "POST", f"{PATH}/test", "k1", b"{}")
    sent: list[int] = []

    def dies() -> Data:
        sent.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once(store, key, dies, NOW)
    assert once(store, key, dies, NOW) == (None, True)
    assert len(sent) == 1
    with pytest.raises(KeyReused):
        once(store, key_of("ana", "POST", f"{PATH}/test", "k1", b"other"), dies, NOW)


def test_where_the_store_does_not_answer_a_test_is_begun_once_at_most(sqlite_store: SqliteStore) -> None:
    key, whole = key_of("ana", "POST", f"{PATH}/test", "k1", b"{}"), sqlite_store.commit
    unanswered: list[int] = []

    def commit(writes: list[Write]) -> None:
        whole(writes)
        unanswered.append(1)
        raise Unavailable("the reply was lost")

    sqlite_store.commit = commit  # type: ignore[method-assign,assignment]
    told = {"outcome": "delivered"}
    assert once(sqlite_store, key, lambda: told, NOW) == (told, False)
    assert once(sqlite_store, key, lambda: told, NOW) == (told, True)
    assert len(unanswered) == 2  # its beginning, and what came of it

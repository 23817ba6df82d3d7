"""The webhook of one's own: what is sent, that its signature can be checked as documented, and what answers mean."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.domain.notification import Kind, Outcome, new_notification
from shared.notify.webhook import ID, SIGNATURE, WebhookSender, signature
from shared.outbound import HttpOutbound
from tests.core import Clock
from tests.fake_servers import (
    Behaviour,
    FakeSlack,
    closing,
    failing,
    garbage,
    half_an_answer,
    hanging,
    losing_the_reply,
    throttled,
)
from tests.unit.test_slack import Hasty
from tests.unit.test_slack_message import FIRED, LINKS, facts_of

SECRET = "a-canary-of-a-secret"
DOCS = Path(__file__).parents[2] / "docs" / "alerts.md"


def a_notification(n: int = 1, kind: Kind = "trigger") -> dict[str, Any]:
    return new_notification("api-threshold", n, "webhook", kind, facts_of("api-latency-p95", kind), FIRED)[1]


def verify(secret: str) -> Any:
    """The function that docs/alerts.md shows."""
    code = DOCS.read_text().split("### Checking a webhook", 1)[1].split("```python\n", 1)[1].split("```", 1)[0]
    names: dict[str, Any] = {}
    exec(code, names)
    return lambda header, body, now: names["is_genuine"](header, body, secret, now)


def sent(server: FakeSlack, clock: Clock, *notifications: dict[str, Any]) -> Outcome:
    return WebhookSender(HttpOutbound(), server.url, SECRET, LINKS, clock).send(notifications)


def test_the_documented_check_takes_what_is_sent_and_nothing_else() -> None:
    clock = Clock(FIRED)
    with FakeSlack(failing(204)) as server:
        assert sent(server, clock, a_notification()).result == "delivered"
        (received,) = server.received
    now, header = FIRED.timestamp(), received.headers[SIGNATURE.lower()]
    check = verify(SECRET)
    assert check(header, received.body, now)
    assert not check(header, received.body + b" ", now)
    assert not check(header, received.body, now + 301)
    assert not check(header.replace("t=1", "t=2"), received.body, now)
    assert not check("", received.body, now)
    assert not check("v1=x,t=y", received.body, now)
    assert not verify("another-secret-of-16")(header, received.body, now)
    assert check(header.replace(",", ",v2=later,"), received.body, now)


def test_a_second_copy_has_the_same_id_and_body_and_a_signature_of_its_own_time() -> None:
    clock = Clock(FIRED)
    with FakeSlack(failing(200, "thanks")) as server:
        sent(server, clock, a_notification())
        clock.now += timedelta(minutes=1)
        sent(server, clock, a_notification())
        first, second = server.received
    assert first.headers[ID.lower()] == second.headers[ID.lower()] == "api-threshold-1-webhook"
    assert first.body == second.body
    assert first.headers[SIGNATURE.lower()] != second.headers[SIGNATURE.lower()]


def test_one_message_tells_several_notifications_and_is_named_by_the_first() -> None:
    with FakeSlack(failing(200)) as server:
        sent(server, Clock(FIRED), a_notification(3), a_notification(4, "resolve"))
        (received,) = server.received
    told = json.loads(received.body)
    assert (told["version"], told["id"]) == (1, "api-threshold-3-webhook")
    assert [(one["id"], one["kind"], one["title"]) for one in told["notifications"]] == [
        ("api-threshold-3-webhook", "trigger", "API Latency (p95): firing"),
        ("api-threshold-4-webhook", "resolve", "API Latency (p95): resolved"),
    ]
    assert told["notifications"][0]["facts"]["firedAt"] == "2026-03-01T12:05:00Z"


def test_the_signature_is_hmac_sha256_of_time_and_body_in_hex() -> None:
    # echo -n '1000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
    assert signature(b"{}", "0123456789abcdef", 1000) == (
        "t=1000,v1=bd3e8b6d13803a2406a848a68bc7a2e80b251fb9d894858564c77ce80a4aa634"
    )


@pytest.mark.parametrize(
    ("behave", "result", "detail", "status"),
    [
        (failing(201, "whatever"), "delivered", "ok", 201),
        (throttled("3"), "retry", "throttled", 429),
        (failing(500), "retry", "http_500", 500),
        (failing(307, "", {"Location": "http://127.0.0.1:1/"}), "dead", "http_307", 307),
        (failing(400, "bad_signature"), "dead", "http_400", 400),
        (failing(410), "dead", "http_410", 410),
        (hanging, "unknown", "timeout", None),
        (closing, "unknown", "connection_lost", None),
        (losing_the_reply, "unknown", "connection_lost", None),
        (half_an_answer, "unknown", "incomplete_answer", None),
        (garbage, "unknown", "unreadable_answer", None),
    ],
)
def test_an_answer_becomes_its_outcome(behave: Behaviour, result: str, detail: str, status: int | None) -> None:
    with FakeSlack(behave) as server:
        outcome = WebhookSender(Hasty(), server.url, SECRET, LINKS, Clock()).send([a_notification()])
    assert (outcome.result, outcome.detail, outcome.status) == (result, detail, status)
    assert "canary" not in repr(outcome).lower()


def test_without_an_address_or_a_secret_it_is_not_configured() -> None:
    for url, secret in ((None, SECRET), ("http://127.0.0.1:1", None)):
        off = WebhookSender(HttpOutbound(), url, secret, LINKS, Clock())
        assert not off.configured
        assert off.send([a_notification()]).detail == "not_configured"


def test_of_a_storm_a_hundred_are_told_in_full_and_the_others_by_their_ids() -> None:
    with FakeSlack(failing(200)) as server:
        sent(server, Clock(FIRED), *(a_notification(n) for n in range(1, 5001)))
        told = json.loads(server.received[0].body)
    assert (len(told["notifications"]), len(told["others"])) == (100, 4900)
    assert told["others"][0] == "api-threshold-101-webhook"
    assert len(server.received[0].body) < 1_000_000

"""Slack's answers and failures, classified; and the webhook's address stays secret through all of them."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.notification import Outcome, new_notification
from shared.notify.answers import DEFAULT_RETRY_AFTER, LONGEST_RETRY_AFTER, retry_after
from shared.notify.slack import SlackSender, classify, error_word
from shared.outbound import HttpOutbound, OutboundError, Reply
from tests.fake_servers import (
    SECRET_PATH,
    Behaviour,
    FakeSlack,
    closing,
    failing,
    garbage,
    half_an_answer,
    hanging,
    losing_the_reply,
    normal,
    throttled,
)
from tests.unit.test_slack_message import FIRED, LINKS, facts_of

DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
URL = "https://hooks.slack.com" + SECRET_PATH


def a_notification() -> dict[str, Any]:
    return new_notification("api-threshold", 1, "slack", "trigger", facts_of("api-latency-p95", "trigger"), FIRED)[1]


class Hasty(HttpOutbound):
    """The real thing with a shorter deadline, so that a server that hangs costs a test no ten seconds; and yet longer
    than a busy machine takes for an answer.
    """

    def post(self, url: str, body: bytes, headers: Any, deadline: float) -> Reply:
        assert deadline == 10.0
        return super().post(url, body, headers, 3.0)


def outcome_of(behave: Behaviour) -> Outcome:
    with FakeSlack(behave) as slack:
        return SlackSender(Hasty(), slack.url, LINKS).send([a_notification()])


def test_slack_gets_the_message_as_json_with_the_notifications_id_and_says_ok() -> None:
    with FakeSlack() as slack:
        outcome = SlackSender(HttpOutbound(), slack.url, LINKS).send([a_notification()])
        assert (outcome.result, outcome.status) == ("delivered", 200)
        assert slack.shown_ids == ["api-threshold-1-slack"]


@pytest.mark.parametrize(
    ("behave", "result", "detail", "status"),
    [
        (failing(200, "<html>Please log in</html>"), "unknown", "unexpected_answer", 200),
        (failing(204), "unknown", "unexpected_answer", 204),
        (throttled("3"), "retry", "throttled", 429),
        (failing(408), "retry", "http_408", 408),
        (failing(500, "rollup_error"), "retry", "http_500", 500),
        (failing(503), "retry", "http_503", 503),
        (failing(302, "", {"Location": "http://127.0.0.1:1/"}), "dead", "http_302", 302),
        (failing(400, "invalid_payload"), "dead", "invalid_payload", 400),
        (failing(403, "action_prohibited"), "dead", "action_prohibited", 403),
        (failing(404, "no_service"), "dead", "no_service", 404),
        (failing(410, "<h1>Gone</h1>"), "dead", "http_410", 410),
        (hanging, "unknown", "timeout", None),
        (closing, "unknown", "connection_lost", None),
        (losing_the_reply, "unknown", "connection_lost", None),
        (half_an_answer, "unknown", "incomplete_answer", None),
        (garbage, "unknown", "unreadable_answer", None),
    ],
)
def test_an_answer_becomes_its_outcome(behave: Behaviour, result: str, detail: str, status: int | None) -> None:
    outcome = outcome_of(behave)
    assert (outcome.result, outcome.detail, outcome.status) == (result, detail, status)


def test_slack_that_cannot_be_reached_has_surely_not_got_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}{SECRET_PATH}"
    outcome = SlackSender(HttpOutbound(), url, LINKS).send([a_notification()])
    assert (outcome.result, outcome.detail) == ("retry", "connection_refused")


def test_without_an_address_slack_is_not_configured() -> None:
    assert not SlackSender(HttpOutbound(), None, LINKS).configured
    assert SlackSender(HttpOutbound(), URL, LINKS).configured


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:42 GMT", "date": DATE}, 42.0),
        ({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:42 GMT"}, DEFAULT_RETRY_AFTER),
        ({"retry-after": "Mon, 02 Mar 2026 12:00:00 GMT", "date": DATE}, LONGEST_RETRY_AFTER),
        ({"retry-after": "999999999"}, LONGEST_RETRY_AFTER),
        ({"retry-after": "soon", "date": DATE}, DEFAULT_RETRY_AFTER),
        ({"retry-after": "-5"}, DEFAULT_RETRY_AFTER),
        ({"retry-after": "nan"}, DEFAULT_RETRY_AFTER),
        ({"retry-after": ""}, DEFAULT_RETRY_AFTER),
        ({}, DEFAULT_RETRY_AFTER),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_else_the_default(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds
    assert classify(Reply(429, headers, b""), URL).retry_after == seconds


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_retry_after_can_break_it(asked: str, date: str) -> None:
    assert 0 <= retry_after({"retry-after": asked, "date": date}) <= LONGEST_RETRY_AFTER


@given(st.integers(100, 599), st.binary(max_size=200))
def test_every_answer_has_an_outcome_with_a_short_plain_word(status: int, body: bytes) -> None:
    outcome = classify(Reply(status, {}, body), URL)
    assert outcome.detail.isascii()
    assert outcome.detail.replace("_", "").isalnum()
    assert len(outcome.detail) <= 60
    assert (outcome.result == "delivered") == (status == 200 and body.strip() == b"ok")


def test_an_error_word_that_echoes_the_address_is_dropped() -> None:
    assert error_word(b"no_service\n", URL) == "no_service"
    assert error_word(b"averysecretcanary", URL) is None
    assert error_word(b"no_hook_averysecretcanary", URL) is None
    assert error_word(SECRET_PATH.encode(), URL) is None


def echo(status: int) -> Behaviour:
    """Answer with the address that was asked for, as error pages do."""
    return lambda exchange: exchange.reply(status, exchange.received.path, {"X-Path": exchange.received.path})


@pytest.mark.parametrize(
    "behave", [normal, echo(200), echo(400), echo(404), echo(429), echo(500), hanging, closing, garbage]
)
def test_the_address_is_in_no_outcome_and_no_log(behave: Behaviour, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = outcome_of(behave)
    shown = repr(outcome) + json.dumps(a_notification(), default=str) + "".join(capsys.readouterr())
    assert "canary" not in shown.lower()


def test_the_address_is_in_no_error() -> None:
    with pytest.raises(OutboundError) as failure:
        HttpOutbound().post(URL + " broken", b"", {}, 1.0)
    assert "canary" not in (repr(failure.value) + str(failure.value.reason)).lower()

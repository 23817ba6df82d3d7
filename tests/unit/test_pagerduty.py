"""Events to PagerDuty: what they say, that a resolve closes its own trigger, and what each answer means."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.notification import Kind, Outcome, new_notification
from shared.notify.links import Links
from shared.notify.pagerduty import PagerDutySender, classify, dedup_key, event
from shared.outbound import HttpOutbound, Reply
from tests.fake_servers import (
    ROUTING_KEY,
    Behaviour,
    FakePagerDuty,
    closing,
    failing,
    garbage,
    half_an_answer,
    hanging,
    losing_the_reply,
    normal,
    throttled,
)
from tests.unit.test_slack import Hasty
from tests.unit.test_slack_message import FIRED, LINKS, facts_of


def a_notification(kind: Kind = "trigger", firing: int = 7, **changes: Any) -> dict[str, Any]:
    facts = {**facts_of("api-latency-p95", kind), "firingSeq": firing, **changes}
    return new_notification("api-threshold", firing, "pagerduty", kind, facts, FIRED)[1]


def sender(server: FakePagerDuty) -> PagerDutySender:
    return PagerDutySender(HttpOutbound(), server.url, ROUTING_KEY, LINKS)


def outcome_of(behave: Behaviour) -> Outcome:
    with FakePagerDuty(behave) as server:
        return PagerDutySender(Hasty(), server.url, ROUTING_KEY, LINKS).send([a_notification()])


def test_a_trigger_is_taken_and_an_acknowledge_and_the_resolve_are_of_the_same_incident() -> None:
    with FakePagerDuty() as server:
        for kind, state in (("trigger", "triggered"), ("acknowledge", "acknowledged"), ("resolve", "resolved")):
            outcome = sender(server).send([a_notification(kind)])  # type: ignore[arg-type]
            assert (outcome.result, outcome.detail, outcome.status) == ("delivered", "ok", 202)
            assert server.states == {"api-threshold-7": state}


def test_the_next_firing_is_another_incident_and_a_late_copy_of_the_resolve_does_not_close_it() -> None:
    with FakePagerDuty() as server:
        first, resolve = a_notification(firing=1), a_notification("resolve", firing=1)
        for each in (first, first, resolve, a_notification(firing=3), resolve):
            assert sender(server).send([each]).result == "delivered"
        assert server.states == {"api-threshold-1": "resolved", "api-threshold-3": "triggered"}


def test_what_still_fires_is_the_same_incident() -> None:
    assert event(a_notification("repeat"), LINKS)["event_action"] == "trigger"
    assert dedup_key(a_notification("repeat")) == dedup_key(a_notification())


def test_an_alert_of_an_earlier_release_has_its_id_as_key() -> None:
    assert dedup_key(a_notification(firingSeq=None)) == "api-threshold"


@pytest.mark.parametrize(
    ("severity", "theirs"), [("critical", "critical"), ("high", "error"), ("warning", "warning"), ("odd", "info")]
)
def test_severities_are_theirs(severity: str, theirs: str) -> None:
    assert event(a_notification(severity=severity), LINKS)["payload"]["severity"] == theirs


def test_the_incident_says_what_is_wrong_and_leads_to_it() -> None:
    told = event(a_notification(), Links("https://status.example.com", "https://console.example.com"))
    payload = told["payload"]
    assert payload["summary"] == (
        "API Latency (p95): 95 % of requests should finish within 400 ms; in the last 5 minutes p95 was 612 ms."
    )
    assert payload["timestamp"] == "2026-03-01T12:05:00.000+00:00"
    assert payload["custom_details"]["measured"] == "612 ms"
    assert told["client_url"] == "https://console.example.com/alerts/api-threshold"
    assert [link["text"] for link in told["links"]] == ["Acknowledge", "Alert", "Incident", "Status page"]


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_whatever_the_names_are_it_is_within_the_limits(name: str, component: str) -> None:
    told = event(a_notification(sloName=name, component=component), LINKS)
    assert 0 < len(told["payload"]["summary"]) <= 1024
    assert told["payload"]["source"]
    assert len(json.dumps(told)) < 524_288


@pytest.mark.parametrize(
    ("behave", "result", "detail", "status"),
    [
        (failing(200, "<html>Please log in</html>"), "unknown", "unexpected_answer", 200),
        (failing(202, "{}"), "unknown", "unexpected_answer", 202),
        (failing(202, "[" * 50_000), "unknown", "unexpected_answer", 202),
        (throttled("3"), "retry", "throttled", 429),
        (failing(500), "retry", "http_500", 500),
        (failing(503), "retry", "http_503", 503),
        (failing(302, "", {"Location": "http://127.0.0.1:1/"}), "dead", "http_302", 302),
        (failing(400, '{"status": "invalid event"}'), "dead", "invalid_event", 400),
        (failing(400, '{"status": {}}'), "dead", "http_400", 400),
        (failing(403, "<h1>No</h1>"), "dead", "http_403", 403),
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


def test_a_key_that_is_not_taken_is_a_dead_letter() -> None:
    with FakePagerDuty() as server:
        outcome = PagerDutySender(HttpOutbound(), server.url, "x" * 32, LINKS).send([a_notification()])
        assert (outcome.result, outcome.detail) == ("dead", "invalid_event")


def test_pagerduty_that_cannot_be_reached_has_surely_not_got_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/v2/enqueue"
    outcome = PagerDutySender(HttpOutbound(), url, ROUTING_KEY, LINKS).send([a_notification()])
    assert (outcome.result, outcome.detail) == ("retry", "connection_refused")


def test_without_a_key_it_is_not_configured() -> None:
    off = PagerDutySender(HttpOutbound(), "http://127.0.0.1:1", None, LINKS)
    assert (off.configured, off.groups) == (False, False)
    assert off.send([a_notification()]).detail == "not_configured"


def echo(status: int) -> Behaviour:
    """Answer with what was sent, as error pages do."""
    return lambda exchange: exchange.reply(status, json.dumps({"status": exchange.received.payload["routing_key"]}))


@pytest.mark.parametrize("behave", [normal, echo(202), echo(400), echo(429), echo(500), hanging, closing])
def test_the_key_is_in_no_outcome_and_no_log(behave: Behaviour, capsys: pytest.CaptureFixture[str]) -> None:
    shown = repr(outcome_of(behave)) + "".join(capsys.readouterr())
    assert "canary" not in shown.lower()


@given(st.integers(100, 599), st.binary(max_size=200))
def test_every_answer_has_an_outcome_with_a_short_plain_word(status: int, body: bytes) -> None:
    outcome = classify(Reply(status, {}, body), ROUTING_KEY)
    assert outcome.detail.replace("_", "").isalnum()
    assert len(outcome.detail) <= 60

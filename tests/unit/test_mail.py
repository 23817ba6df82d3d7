"""Mails to real SMTP servers, over real TLS, and to one that misbehaves at every step of the conversation."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from shared.domain.notification import Kind, Outcome, new_notification
from shared.notify.mail import MailSender, MailServer
from shared.outbound import HttpOutbound
from shared.settings import SmtpSecurity
from tests.fake_mail import CLOSE, DRIP, HANG, PASSWORD, USER, FakeMail, ScriptedMail
from tests.unit.test_outbound import certificate  # noqa: F401 - a fixture
from tests.unit.test_slack_message import FIRED, LINKS, facts_of

Certificate = tuple[str, str]
SENDER, RECIPIENT = "f0-ops@example.com", "oncall@example.com"


def a_notification(seq: int = 1, kind: Kind = "trigger", **changes: Any) -> dict[str, Any]:
    facts = {**facts_of("api-latency-p95", kind), "firingSeq": 1, **changes}
    return new_notification("api-threshold", seq, "email", kind, facts, FIRED)[1]


def send(
    port: int,
    security: SmtpSecurity = "none",
    *,
    trusted: str | None = None,
    password: str | None = None,
    host: str = "localhost",
    seconds: float = 10.0,
    notification: dict[str, Any] | None = None,
) -> Outcome:
    server = MailServer(host, port, security, USER if password else None, password)
    sender = MailSender(HttpOutbound(trusted), server, SENDER, RECIPIENT, LINKS, seconds)
    return sender.send([notification or a_notification()])


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_over_tls_after_a_login(security: SmtpSecurity, certificate: Certificate) -> None:  # noqa: F811
    with FakeMail(certificate, implicit=security == "tls", login=True) as server:
        outcome = send(server.port, security, trusted=certificate[0], password=PASSWORD)
        assert (outcome.result, outcome.detail, outcome.status) == ("delivered", "ok", 250)
        assert server.envelopes == [(SENDER, [RECIPIENT])]
        (mail,) = server.mails
    assert mail["Message-ID"] == "<api-threshold-1-email@example.com>"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_a_mail_arrives_without_tls_where_that_is_asked_for() -> None:
    with FakeMail() as server:
        assert send(server.port).result == "delivered"
        assert len(server.received) == 1


def test_lines_that_begin_with_a_dot_arrive_as_they_are() -> None:
    with FakeMail() as server:
        send(server.port, notification=a_notification(sloName=".\n..\n.hidden " + "long " * 40))
        (mail,) = server.mails
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert ". .. .hidden long long" in plain.get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_gets_no_password_and_no_mail(
    security: SmtpSecurity,
    certificate: Certificate,  # noqa: F811
) -> None:
    with FakeMail(certificate, implicit=security == "tls", login=True) as server:
        outcome = send(server.port, security, password=PASSWORD)
        assert (outcome.result, outcome.detail) == ("retry", "certificate_refused")
        other = send(server.port, security, trusted=certificate[0], password=PASSWORD, host="127.0.0.1")
        assert (other.result, other.detail) == ("retry", "certificate_refused")
        assert server.received == []


def test_a_wrong_password_is_a_dead_letter(certificate: Certificate) -> None:  # noqa: F811
    with FakeMail(certificate, login=True) as server:
        outcome = send(server.port, "starttls", trusted=certificate[0], password="a-wrong-canary")
        assert (outcome.result, outcome.detail) == ("dead", "smtp_535")
        assert "canary" not in repr(outcome)


def test_a_server_that_offers_no_starttls_gets_no_password_and_no_mail() -> None:
    with ScriptedMail() as server:
        outcome = send(server.port, "starttls", password=PASSWORD)
        assert (outcome.result, outcome.detail, server.texts) == ("retry", "starttls_not_offered", [])


def test_what_was_said_before_tls_began_is_not_believed() -> None:
    with ScriptedMail({"EHLO": "250-x\r\n250 STARTTLS", "STAR": "220 go\r\n250 ok\r\n250 ok"}) as server:
        outcome = send(server.port, "starttls")
        assert (outcome.result, outcome.detail, server.texts) == ("retry", "tls_failed", [])


@pytest.mark.parametrize(
    ("script", "result", "detail"),
    [
        ({"connect": "421 too busy"}, "retry", "smtp_421"),
        ({"connect": "554 go away"}, "dead", "smtp_554"),
        ({"connect": "SSH-2.0-OpenSSH_9.6"}, "retry", "unreadable_answer"),
        ({"connect": CLOSE}, "retry", "connection_lost"),
        ({"connect": HANG}, "retry", "timeout"),
        ({"connect": DRIP}, "retry", "timeout"),
        ({"EHLO": CLOSE}, "retry", "connection_lost"),
        ({"EHLO": "502 what?"}, "dead", "smtp_502"),
        ({"MAIL": "451 later"}, "retry", "smtp_451"),
        ({"MAIL": "x" * 10_000}, "retry", "unreadable_answer"),
        ({"RCPT": "450 greylisted"}, "retry", "smtp_450"),
        ({"RCPT": "550 no such user"}, "dead", "smtp_550"),
        ({"RCPT": HANG}, "retry", "timeout"),
        ({"DATA": "452 full"}, "retry", "smtp_452"),
        ({"DATA": CLOSE}, "retry", "connection_lost"),
        ({"text": "451 later"}, "retry", "smtp_451"),
        ({"text": "554 spam"}, "dead", "smtp_554"),
        ({"text": CLOSE}, "unknown", "connection_lost"),
        ({"text": HANG}, "unknown", "timeout"),
        ({"text": DRIP}, "unknown", "timeout"),
        ({"text": "hello"}, "unknown", "unreadable_answer"),
        ({"text": "250-half an answer"}, "unknown", "timeout"),
        ({"QUIT": CLOSE}, "delivered", "ok"),
        ({"QUIT": HANG}, "delivered", "ok"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_step_that_goes_wrong_has_its_outcome(script: dict[str, str], result: str, detail: str) -> None:
    slow = detail == "timeout"
    with ScriptedMail(script) as server:
        outcome = send(server.port, seconds=3.0 if slow else 10.0)
        assert (outcome.result, outcome.detail) == (result, detail)


def test_a_server_that_cannot_be_reached_has_surely_not_got_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    outcome = send(port, host="127.0.0.1")
    assert (outcome.result, outcome.detail) == ("retry", "connection_refused")


def test_a_server_without_a_login_is_tried_again() -> None:
    with ScriptedMail() as server:
        assert send(server.port, password=PASSWORD).detail == "login_not_offered"


def test_without_a_server_mail_is_not_configured() -> None:
    off = MailSender(HttpOutbound(), None, SENDER, RECIPIENT, LINKS)
    assert (off.configured, off.groups) == (False, True)
    assert off.send([a_notification()]).detail == "not_configured"


def test_the_password_is_in_no_outcome_no_log_and_no_repr(
    certificate: Certificate,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = repr(MailServer("localhost", 25, "none", USER, PASSWORD))
    with FakeMail(certificate, login=True) as server:
        shown += repr(send(server.port, "starttls", trusted=certificate[0], password=PASSWORD + "x"))
    with ScriptedMail({"EHLO": "250-x\r\n250 AUTH PLAIN LOGIN", "AUTH": f"535 {PASSWORD} is wrong"}) as server2:
        shown += repr(send(server2.port, password=PASSWORD))
    assert "canary" not in shown + "".join(capsys.readouterr())

"""What a mail says in its headers, so that mail programs keep a firing together and answer nothing."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.notification import Kind, new_notification
from shared.notify.links import Links
from shared.notify.mail_message import message
from tests.unit.test_slack_message import FIRED, LINKS, facts_of


def a_mail(kind: Kind = "trigger", seq: int = 1, links: Links = LINKS, **changes: Any) -> EmailMessage:
    facts = {**facts_of("api-latency-p95", kind), "firingSeq": 1, **changes}
    document = new_notification("api-threshold", seq, "email", kind, facts, FIRED)[1]
    raw = message([document], "f0-ops@example.com", "oncall@example.com", links).as_bytes()
    return cast(EmailMessage, message_from_bytes(raw, policy=default))


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_what_follows_is_in_the_thread_of_the_first_mail_and_has_its_subject() -> None:
    first, resolve = a_mail(), a_mail("resolve", 2)
    assert (first["In-Reply-To"], first["References"]) == (None, None)
    assert resolve["In-Reply-To"] == resolve["References"] == first["Message-ID"]
    assert resolve["Message-ID"] == "<api-threshold-2-email@example.com>"
    assert (first["Subject"], resolve["Subject"]) == ("API Latency (p95) · warning", "Re: API Latency (p95) · warning")


def test_a_second_copy_is_the_same_mail_to_the_byte() -> None:
    assert a_mail().as_bytes() == a_mail().as_bytes()


def test_no_holiday_note_answers_it_and_what_is_critical_is_important() -> None:
    mail = a_mail(severity="critical")
    assert (mail["Auto-Submitted"], mail["X-Auto-Response-Suppress"]) == ("auto-generated", "All")
    assert mail["Importance"] == "high"
    assert a_mail()["Importance"] is None
    assert a_mail("resolve", 2, severity="critical")["Importance"] is None


def test_it_is_text_that_every_server_takes() -> None:
    raw = message(
        [new_notification("a", 1, "email", "trigger", facts_of("api-latency-p95", "trigger"), FIRED)[1]],
        "f0-ops@example.com",
        "oncall@example.com",
        LINKS,
    ).as_bytes()
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_a_phone_shows_first_what_became_of_it() -> None:
    preview = part(a_mail("resolve", 2), "html").split('<div style="display:none', 1)[1]
    assert preview.split(">", 1)[1].startswith("Resolved. 95\u00a0% of requests should finish within 400\u00a0ms")
    assert part(a_mail("resolve", 2), "plain").splitlines()[0] == "RESOLVED: API Latency (p95)"


@pytest.mark.parametrize(
    "name", ["a\r\nBcc: all@example.com", "<script>alert(1)</script>", '"><img src=x>', "=?utf-8?q?x?="]
)
def test_a_foreign_name_adds_neither_headers_nor_elements(name: str) -> None:
    mail = a_mail(sloName=name, component=name)
    assert mail["Bcc"] is None
    assert "<script" not in part(mail, "html")
    assert "<img" not in part(mail, "html")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=400))
def test_any_name_makes_a_mail(name: str) -> None:
    mail = a_mail(sloName=name, component=name, labels={"endpoint": name})
    assert len(str(mail["Subject"])) <= 200
    assert part(mail, "plain")

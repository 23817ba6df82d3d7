"""Notifications as a mail: headers that keep the messages of a firing in one thread, plain text, and HTML. Pure.

Every mail of one firing has the same subject and refers to the same first message, since some mail programs part a
thread whose subject changes. What became of the alert is what the mail begins with, which phones show beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from shared.notify.brief import Brief, Summary, brief, summary
from shared.notify.figures import utc
from shared.notify.links import Link, Links
from shared.notify.mail_html import page

SUBJECT_CHARS = 150
NAME = "F0 Ops"


def message(notifications: Sequence[Mapping[str, Any]], sender: str, recipient: str, links: Links) -> EmailMessage:
    """The same bytes for the same notifications: a second copy has the same Message-ID, and Date is their own."""
    first = notifications[0]
    told = brief(first, links) if len(notifications) == 1 else summary(notifications, links)
    mail = EmailMessage(SMTP)
    domain = sender.rpartition("@")[2]
    own, root = f"<{first['notificationId']}@{domain}>", f"<{_first_of_thread(first)}@{domain}>"
    mail["From"] = f"{NAME} <{sender}>"
    mail["To"] = recipient
    mail["Subject"] = subject(first, told, follows=own != root)
    mail["Date"] = format_datetime(first["createdAt"])
    mail["Message-ID"] = own
    if own != root:
        mail["In-Reply-To"] = mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    if told.tone == "critical" and first["kind"] == "trigger":
        mail["Importance"] = "high"
    mail.set_content(text(told), cte="quoted-printable")
    mail.add_alternative(page(told), subtype="html", cte="quoted-printable")
    boundary = "".join(c if c.isascii() and c.isalnum() else "-" for c in str(first["notificationId"]))[-60:]
    mail.set_boundary(f"={boundary}=")  # not a random one
    return mail


def subject(first: Mapping[str, Any], told: Brief | Summary, *, follows: bool) -> str:
    """`API Latency (p95) · warning`, and `Re: …` for what follows it."""
    if isinstance(told, Summary):
        return one_line(told.title, SUBJECT_CHARS)
    severity = first["facts"]["severity"]
    return ("Re: " if follows else "") + f"{one_line(told.name, SUBJECT_CHARS - 30)} · {one_line(severity, 20)}"


def text(told: Brief | Summary) -> str:
    """The plain text. It says the same as the HTML."""
    lines = _one(told) if isinstance(told, Brief) else _many(told)
    return "\n".join([*lines, "", *(_link(link) for link in told.links), "", "-- ", _foot(told)]) + "\n"


def one_line(text: Any, limit: int) -> str:
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def _first_of_thread(notification: Mapping[str, Any]) -> str:
    firing = notification["facts"].get("firingSeq")
    alert_id, channel = notification["alertId"], notification["channel"]
    return f"{alert_id}-{firing}-{channel}" if firing is not None else str(notification["notificationId"])


def _one(told: Brief) -> list[str]:
    lines = [f"{told.state.upper()}: {one_line(told.name, 200)}", "", one_line(told.what, 2000)]
    lines += [
        part for known in (told.budget, told.adds, *told.changed) if known for part in ("", one_line(known, 1000))
    ]
    lines += ["", f"First: {one_line(told.first, 500)}"] if told.first else []
    width = max((len(name) for name, _ in told.rows), default=0) + 2
    rows = [f"{name + ':':<{width}}{_value(value)}" for name, value in told.rows]
    return [*lines, "", *rows]


def _many(told: Summary) -> list[str]:
    lines = [told.title[0].upper() + told.title[1:]]
    lines += ["", one_line(told.adds, 1000)] if told.adds else []
    lines += ["", *(f"{name}: {one_line(value, 500)}" for name, value in told.counts)] if told.counts else []
    for one in told.shown:
        lines += ["", f"{one.symbol} {one_line(one.name, 200)}: {one.state}", f"   {one_line(one.what, 1000)}"]
        if not told.more:  # of a few there is room for what a mail of one says
            lines += [f"   {one_line(one.budget, 1000)}"] if one.budget else []
            lines += [f"   First: {one_line(one.first, 500)}"] if one.first else []
            lines += [f"   {_link(link)}" for link in one.links[:-1]]
    return [*lines, "", f"and {told.more:,} more"] if told.more else lines


def _value(value: str | datetime) -> str:
    return utc(value) if isinstance(value, datetime) else one_line(value, 500)


def _link(link: Link) -> str:
    return f"{link.label}: {link.url}"


def _foot(told: Brief | Summary) -> str:
    if isinstance(told, Summary):
        return f"Notification {told.id} and {told.others:,} more"
    return " · ".join(
        part for part in (f"Notification {told.id}", told.incident and f"incident {told.incident}") if part
    )

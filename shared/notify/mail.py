"""Mail by SMTP: over TLS with the certificate checked, one deadline for the whole conversation. The password is secret.

Until the text of the message has begun to leave, whatever goes wrong leaves it surely unsent. A server that is lost
between the text and its answer may have taken it.
"""

from __future__ import annotations

import re
import smtplib
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from shared.domain.notification import HTTP_TIMEOUT, Outcome
from shared.notify.links import Links
from shared.notify.mail_message import message
from shared.outbound import OutboundError, TimedSocket
from shared.settings import SmtpSecurity

_START_OF_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in. `user` None: without a login."""

    host: str
    port: int
    security: SmtpSecurity
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port}, {self.security})"


class Connections(Protocol):
    """How a connection is made, by `end` of the monotonic clock. Both raise `OutboundError`."""

    def connect(self, host: str, port: int, secure: bool, end: float) -> socket.socket: ...

    def secured(self, raw: socket.socket, host: str, end: float) -> socket.socket: ...


class MailSender:
    """`server` or `sender` None: not configured. `sender` and `recipient` are addresses."""

    def __init__(
        self,
        connections: Connections,
        server: MailServer | None,
        sender: str | None,
        recipient: str,
        links: Links,
        seconds: float = HTTP_TIMEOUT.total_seconds(),
    ) -> None:
        self._connections = connections
        self._server = server
        self._sender = sender
        self._recipient = recipient
        self._links = links
        self._seconds = seconds

    @property
    def configured(self) -> bool:
        return self._server is not None and self._sender is not None

    @property
    def groups(self) -> bool:
        return True

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        if self._server is None or self._sender is None:
            return Outcome("dead", "not_configured")
        text = message(notifications, self._sender, self._recipient, self._links).as_bytes()
        started = time.monotonic()
        talk = _Conversation(self._connections, self._server, self._sender.rpartition("@")[2], started + self._seconds)
        outcome = talk.hand_in(self._sender, self._recipient, text)
        return replace(outcome, duration_ms=round(1000 * (time.monotonic() - started)))


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Conversation(smtplib.SMTP):
    """One connection, in which each read and write is bounded by what is left until `end` of the monotonic clock."""

    def __init__(self, connections: Connections, server: MailServer, domain: str, end: float) -> None:
        super().__init__(local_hostname=domain)  # else the name of this machine is looked up, without limit
        self._connections = connections
        self._server = server
        self._end = end
        self._raw: socket.socket | None = None
        self._begun = False  # has the text of the message begun to leave?

    def hand_in(self, sender: str, recipient: str, text: bytes) -> Outcome:
        try:
            return self._hand_in(sender, recipient, text)
        except _Refused as refused:
            return _refused(refused.code)
        except smtplib.SMTPAuthenticationError as refused:
            return _refused(refused.smtp_code)
        except OutboundError as error:
            return Outcome("retry", error.reason)
        except (smtplib.SMTPNotSupportedError, smtplib.SMTPHeloError):
            return Outcome("retry", "login_not_offered")
        except smtplib.SMTPServerDisconnected:  # which is what smtplib makes of a timeout too
            return self._lost("timeout" if time.monotonic() >= self._end else "connection_lost")
        except smtplib.SMTPException:
            return self._lost("unreadable_answer")
        except UnicodeError:
            return Outcome("dead", "bad_address")
        except (OSError, ValueError):
            return self._lost("connection_failed")
        finally:
            if self._raw is not None:
                self._raw.close()

    def _hand_in(self, sender: str, recipient: str, text: bytes) -> Outcome:
        server = self._server
        self._expect(self.connect(server.host, server.port), 220)
        self._expect(self.ehlo(), 250)
        if server.security == "starttls":
            if not self.has_extn("starttls"):
                return Outcome("retry", "starttls_not_offered")  # somebody in between may have taken it out
            self._expect(self.docmd("STARTTLS"), 220)
            self._secure()
            self._expect(self.ehlo(), 250)
        if server.user is not None:
            self.login(server.user, server.password or "")
        self._expect(self.docmd("MAIL", f"FROM:<{sender}>"), 250)
        self._expect(self.docmd("RCPT", f"TO:<{recipient}>"), 250, 251)
        self._expect(self.docmd("DATA"), 354)
        self._begun = True
        self.send(_START_OF_DOT.sub(b"..", text.removesuffix(b"\r\n")) + b"\r\n.\r\n")
        code, _ = self.getreply()
        if code != 250:
            return self._lost("unreadable_answer") if code <= 0 else _refused(code)
        with suppress(OSError, smtplib.SMTPException):
            self.send("QUIT\r\n")
        return Outcome("delivered", "ok", code)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        self._raw = self._connections.connect(host, port, self._server.security == "tls", self._end)
        return TimedSocket(self._raw, self._end)

    def _secure(self) -> None:
        """What the server has said until now, and may have said too early, is forgotten."""
        if self._raw is None:
            raise smtplib.SMTPServerDisconnected
        self._raw = self._connections.secured(self._raw, self._server.host, self._end)
        timed: Any = TimedSocket(self._raw, self._end)
        self.sock, self.file = timed, None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features, self.does_esmtp = {}, False

    @staticmethod
    def _expect(reply: tuple[int, bytes], *wanted: int) -> None:
        code = reply[0]
        if code <= 0:
            raise smtplib.SMTPException
        if code not in wanted:
            raise _Refused(code)

    def _lost(self, detail: str) -> Outcome:
        return Outcome("unknown" if self._begun else "retry", detail)


def _refused(code: int) -> Outcome:
    """5xx are refused for good, all others for now."""
    return Outcome("dead" if 500 <= code <= 599 else "retry", f"smtp_{code}", code)

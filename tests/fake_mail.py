"""Mail servers for tests: a real one (aiosmtpd) with real TLS and login, and one that follows a script of misdeeds."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = "f0-ops", "a-canary-of-a-password"

HANG, CLOSE, DRIP = "hang", "close", "drip"


class FakeMail:
    """A server on a free port of localhost, started and stopped by `with`. `tls`: certificate and key files.

    `implicit`: TLS from the first byte; else STARTTLS is required where there is a certificate. `login`: is required.
    """

    def __init__(self, tls: tuple[str, str] | None = None, *, implicit: bool = False, login: bool = False) -> None:
        self.received: list[bytes] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*tls)
        self._implicit = implicit
        self._login = login
        self._loop = asyncio.new_event_loop()
        self._sessions: list[SMTP] = []

    @property
    def mails(self) -> list[EmailMessage]:
        return [cast(EmailMessage, message_from_bytes(each, policy=default)) for each in self.received]

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.received.append(envelope.content)
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        return "250 taken"

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and (given.login, given.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=right, handled=right)

    def _session(self) -> SMTP:
        options: dict[str, Any] = {"hostname": "localhost", "loop": self._loop, "decode_data": False}
        if self._context and not self._implicit:
            options |= {"tls_context": self._context, "require_starttls": True}
        if self._login:
            options |= {
                "authenticator": self._authenticate,
                "auth_required": True,
                "auth_require_tls": not self._implicit and self._context is not None,
            }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not see that a login is within TLS from the first byte
            session = SMTP(self, **options)
        self._sessions.append(session)
        return session

    async def _end(self) -> None:
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in self._sessions:
            for transport in (session.transport, session._original_transport):
                if transport is not None:
                    transport.abort()
        await asyncio.sleep(0.01)

    def __enter__(self) -> Self:
        context = self._context if self._implicit else None
        serve = self._loop.create_server(self._session, "127.0.0.1", 0, ssl=context)
        self._server = self._loop.run_until_complete(serve)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()


USUAL: Mapping[str, str] = {
    "connect": "220 ready",
    "EHLO": "250-localhost\r\n250 SIZE 33554432",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    "text": "250 taken",
    "QUIT": "221 bye",
}


@dataclass
class ScriptedMail:
    """Says what `script` says at each step, else what is usual; HANG, CLOSE and DRIP instead of saying anything."""

    script: Mapping[str, str] = field(default_factory=dict)
    texts: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                if self._say(connection, "connect"):
                    self._talk(connection, lines)

    def _talk(self, connection: socket.socket, lines: Any) -> None:
        for line in lines:
            word = line[:4].decode("ascii", "replace").upper()
            if not self._say(connection, word):
                return
            if word == "DATA" and {**USUAL, **self.script}["DATA"].startswith("354"):
                text = []
                while (part := lines.readline()) not in (b".\r\n", b""):
                    text.append(part)
                self.texts.append(b"".join(text))
                if not self._say(connection, "text"):
                    return

    def _say(self, connection: socket.socket, step: str) -> bool:
        said = {**USUAL, **self.script}.get(step, "500 what?")
        if said == HANG:
            self._stopping.wait()
        while said == DRIP and not self._stopping.wait(0.02):
            connection.sendall(b"2")
        if said in (HANG, CLOSE, DRIP):
            return False
        connection.sendall(said.encode("latin-1") + b"\r\n")
        return True

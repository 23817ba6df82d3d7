"""A mail server for the local inbox: it takes every mail from this machine, and sends none on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, BinaryIO

MAX_BYTES = 2 * 1024 * 1024
TIMEOUT = 20.0  # seconds of silence
ANSWERS = {b"HELO": b"250 f0-ops", b"EHLO": b"250 f0-ops", b"MAIL": b"250 ok", b"RCPT": b"250 ok", b"RSET": b"250 ok"}

Take = Callable[[dict[str, Any]], None]


def listen() -> socket.socket:
    """On a free port of 127.0.0.1."""
    return socket.create_server(("127.0.0.1", 0), backlog=16)


def serve(listener: socket.socket, take: Take) -> None:
    """Until the process ends: `take` is given {from, to, subject, text, html} of each mail before it is answered."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_talk, args=(connection, take), daemon=True, name="mail").start()


def _talk(connection: socket.socket, take: Take) -> None:
    try:
        with connection, connection.makefile("rb") as lines:
            connection.settimeout(TIMEOUT)
            connection.sendall(b"220 f0-ops\r\n")
            while line := lines.readline(4096):
                word = line[:4].upper()
                if word == b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    answer = _taken(lines, take)
                elif word == b"QUIT":
                    connection.sendall(b"221 bye\r\n")
                    return
                else:
                    answer = ANSWERS.get(word, b"502 not here")
                connection.sendall(answer + b"\r\n")
    except OSError:
        return  # the client has left


def _taken(lines: BinaryIO, take: Take) -> bytes:
    text = bytearray()
    while (line := lines.readline(65_536)) != b".\r\n":
        if not line or len(text) > MAX_BYTES:
            return b"552 too large, or it broke off"
        text += line[1:] if line.startswith(b".") else line
    mail = message_from_bytes(bytes(text), policy=default)
    take({"from": str(mail["From"]), "to": str(mail["To"]), "subject": str(mail["Subject"]), **_parts(mail)})
    return b"250 taken"


def _parts(mail: EmailMessage) -> dict[str, str]:
    found = {}
    for name, kind in (("text", "plain"), ("html", "html")):
        part = mail.get_body((kind,))
        found[name] = str(part.get_content()) if part is not None else ""
    return found

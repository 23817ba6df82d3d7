"""Reads request bodies within limits: of what is sent, of what it unpacks to, and of all bodies held at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import Lock

from flask import Request

from shared.api.http import Problem
from shared.bootstrap import App

MAX_HELD = 32 * 1024 * 1024
_PIECE = 64 * 1024
_PACKED = 16 * 1024  # smaller: each of many tiny gzip members copies what is left of it
_GZIP = 16 + zlib.MAX_WBITS
_ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True}


class Held:
    """How many bytes of bodies the requests of this instance hold together."""

    def __init__(self, app: App | None = None, most: int = MAX_HELD) -> None:
        self.now = 0
        self._most = most
        self._lock = Lock()

    def take(self, size: int) -> None:
        """Raises `Problem` 503 where that would be too many."""
        with self._lock:
            if self.now + size > self._most:
                detail = "this instance holds too many bodies at the moment: send the same again"
                raise Problem(503, "too_busy", detail, headers={"Retry-After": "1"})
            self.now += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self.now -= size


@contextmanager
def read_body(request: Request, held: Held, sent_limit: int, decoded_limit: int) -> Iterator[bytes]:
    """The request's body, unpacked where it is gzip; its bytes count as held until the `with` block ends.

    Raises `Problem`: 400 for a body that breaks off or is no gzip, 413 beyond either limit (never more than that is
    unpacked), 415 for another encoding, 503 while too many bytes are held.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        detail = "Content-Encoding: gzip or none"
        raise Problem(415, "unknown_encoding", detail, headers={"Accept-Encoding": "gzip"})
    if (request.content_length or 0) > sent_limit:
        raise _too_large(sent_limit, "sent")
    pieces = _sent(request, sent_limit)
    if _ENCODINGS[encoding]:
        pieces = _unpacked(pieces)
    read = 0
    try:
        body = BytesIO()
        for piece in pieces:
            if read + len(piece) > decoded_limit:
                raise _too_large(decoded_limit, "unpacked")
            held.take(len(piece))
            read += len(piece)
            body.write(piece)
        yield body.getvalue()
    finally:
        held.give_back(read)


def require_type(request: Request, *allowed: str) -> str:
    """The body's media type, without parameters. Raises `Problem` 415 if it is none of `allowed`."""
    if request.mimetype not in allowed:
        known = ", ".join(allowed)
        raise Problem(415, "unknown_content_type", f"Content-Type: {known}", headers={"Accept": known})
    return request.mimetype


def _sent(request: Request, limit: int) -> Iterator[bytes]:
    """The body as sent, with a Content-Length or in chunks."""
    read = 0
    while True:
        try:
            piece = request.stream.read(min(_PIECE, limit + 1 - read))
        except Exception:  # noqa: BLE001 - every server has errors of its own for broken chunks and lost clients
            raise Problem(400, "incomplete_body", "the body broke off before its end") from None
        if not piece:
            return
        read += len(piece)
        if read > limit:
            raise _too_large(limit, "sent")
        yield piece


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip holds, of one member or several, in pieces of bounded size."""
    member = zlib.decompressobj(_GZIP)
    begun = False
    try:
        for piece in (sent[n : n + _PACKED] for sent in pieces for n in range(0, len(sent), _PACKED)):
            begun = True
            while True:
                if member.eof:
                    if not piece:
                        break
                    member = zlib.decompressobj(_GZIP)
                out = member.decompress(piece, _PIECE)
                if out:
                    yield out
                piece = member.unused_data if member.eof else member.unconsumed_tail
                if not piece and len(out) < _PIECE:  # a full piece may have left something behind
                    break
    except zlib.error:
        raise Problem(400, "unreadable_gzip", "the body is not gzip, or something follows its end") from None
    if begun and not member.eof:
        raise Problem(400, "unreadable_gzip", "the gzip body breaks off before its end")


def _too_large(limit: int, which: str) -> Problem:
    return Problem(413, "body_too_large", f"at most {limit} bytes {which} in one request")

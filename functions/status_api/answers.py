"""How prepared bytes are answered: cached shortly, compressed where that is wanted, not sent to who has them."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask import Request, Response
from werkzeug.datastructures import Accept
from werkzeug.datastructures import Headers as WsgiHeaders
from werkzeug.http import parse_accept_header

Headers = list[tuple[str, str]]

CACHING = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
CORS: Headers = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", "ETag, Retry-After")]
BARE: Headers = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
]
_WORTH_PACKING = 1024


class Fixed(Response):
    """An answer that shares its headers, which are all there are, with others like it: they are never changed.

    So they are checked once and not again with every answer, which would take longer than all else.
    """

    default_mimetype = None

    def __init__(self, body: bytes | None, status: int, headers: WsgiHeaders) -> None:
        super().__init__([] if body is None else [body], status, headers)

    def get_wsgi_headers(self, environ: Any) -> WsgiHeaders:
        return self.headers


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer that is made once and sent often: its bytes and headers, plain and packed, and those of a 304."""

    body: bytes
    plain: WsgiHeaders
    packed: tuple[bytes, WsgiHeaders] | None
    etag: str
    not_modified: WsgiHeaders


def prepare(
    body: bytes,
    content_type: str,
    headers: Headers,
    *,
    caching: str = CACHING,
    etag: str | None = None,
    pack: bool = True,
) -> Ready:
    """`headers` are sent with a 304 too. The tag is weak: it names the text, packed or not."""
    packed = gzip.compress(body, mtime=0) if pack and len(body) > _WORTH_PACKING else None
    etag = etag or f'W/"{hashlib.sha256(body).hexdigest()[:20]}"'
    always = [("Cache-Control", caching), *headers, ("ETag", etag)]
    if packed is not None:
        always.append(("Vary", "Accept-Encoding"))
    whole = [*always, ("Content-Type", content_type)]
    return Ready(
        body,
        WsgiHeaders([*whole, ("Content-Length", str(len(body)))]),
        (packed, WsgiHeaders([*whole, ("Content-Encoding", "gzip"), ("Content-Length", str(len(packed)))]))
        if packed is not None
        else None,
        etag,
        WsgiHeaders(always),
    )


def send(request: Request, ready: Ready, status: int = 200) -> Response:
    """The answer; of another status than 200 it is not to be kept, and has no tag."""
    if status == 200 and has_it(request, ready.etag):
        return Fixed(None, 304, ready.not_modified)
    body, headers = ready.body, ready.plain
    if ready.packed is not None and _takes_gzip(request.environ.get("HTTP_ACCEPT_ENCODING") or ""):
        body, headers = ready.packed
    if status == 200:
        return Fixed(body, 200, headers)
    answer = Response(body, status, list(headers))
    del answer.headers["ETag"]
    answer.headers["Cache-Control"] = "no-store"
    if status == 503:
        answer.headers["Retry-After"] = "5"
    return answer


@lru_cache(256)
def _takes_gzip(accepted: str) -> bool:
    return len(accepted) < 500 and parse_accept_header(accepted, Accept)["gzip"] > 0


def has_it(request: Request, etag: str) -> bool:
    sent = request.environ.get("HTTP_IF_NONE_MATCH")  # `headers` would take longer than all else here
    if not sent:
        return False
    plain = etag.removeprefix("W/")
    return sent.strip() == "*" or any(tag.strip().removeprefix("W/") == plain for tag in sent.split(","))


def preflight() -> Response:
    headers = [
        *CORS,
        ("Access-Control-Allow-Methods", "GET, HEAD"),
        ("Access-Control-Allow-Headers", "If-None-Match"),
        ("Access-Control-Max-Age", "86400"),
    ]
    return Response(None, 204, headers)

"""How prepared bytes are answered: cached shortly, compressed where that is wanted, not sent to who has them."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass

from flask import Request, Response

Headers = list[tuple[str, str]]

CACHING = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
CORS: Headers = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", "ETag, Retry-After")]
BARE: Headers = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
]
_WORTH_PACKING = 1024


@dataclass(frozen=True, slots=True)
class Ready:
    """An answer that is made once and sent often. `headers` are sent with a 304 too."""

    body: bytes
    packed: bytes | None
    etag: str
    content_type: str
    headers: Headers


def prepare(body: bytes, content_type: str, headers: Headers) -> Ready:
    packed = gzip.compress(body, mtime=0) if len(body) > _WORTH_PACKING else None
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:20]}"'  # weak: it names the text, packed or not
    return Ready(body, packed, etag, content_type, headers)


def send(request: Request, ready: Ready, status: int = 200, caching: str = CACHING) -> Response:
    headers = [("Cache-Control", caching if status == 200 else "no-store"), *ready.headers]
    if ready.packed is not None:
        headers.append(("Vary", "Accept-Encoding"))
    if status == 200:
        headers.append(("ETag", ready.etag))
        if has_it(request, ready.etag):
            return Response(None, 304, headers)
    elif status == 503:
        headers.append(("Retry-After", "5"))
    headers.append(("Content-Type", ready.content_type))
    if ready.packed is not None and request.accept_encodings["gzip"] > 0:
        return Response(ready.packed, status, [*headers, ("Content-Encoding", "gzip")])
    return Response(ready.body, status, headers)


def has_it(request: Request, etag: str) -> bool:
    sent = request.headers.get("If-None-Match")
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

"""The public status: the page, and the health answer for badges and programs. Both come from the one snapshot."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from flask import Request, Response

from shared.http import Problem, require_method
from shared.status_cache import Served
from shared.status_page import healthz

if TYPE_CHECKING:
    from shared.bootstrap import App

HEALTHZ = "/api/status/healthz"
PAGES = ("/", "/status")
_CACHING = "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
_CORS = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", "ETag")]


def handle(request: Request, app: App) -> Response:
    path = request.path.rstrip("/") or "/"
    if path == HEALTHZ:
        if request.method == "OPTIONS":
            return _preflight()
        require_method(request, "GET", "HEAD", "OPTIONS")
        return _healthz(request, app.snapshot_cache.served(), app.clock())
    if path in PAGES:
        require_method(request, "GET", "HEAD")
        return _page(request, app.snapshot_cache.served(), app.clock())
    raise Problem(404, "not_found", "there is nothing at this address")


def _healthz(request: Request, served: Served, now: datetime) -> Response:
    """200, and 503 while nothing could ever be read; with `?strict=1` also during an outage."""
    status = 200 if served.reachable or served.snapshot else 503
    if status == 200 and request.query_string and _is_strict_outage(request, served):
        status = 503
    etag = f'W/"{served.seq}"' if served.enabled else 'W/"disabled"'
    headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", _CACHING if status == 200 else "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *_CORS,
    ]
    if status != 200:
        return Response(healthz.body(served, now), status, headers)
    headers.append(("ETag", etag))
    if _has_it(request, etag):
        return Response(None, 304, headers[1:])
    return Response(healthz.body(served, now), 200, headers)


def _is_strict_outage(request: Request, served: Served) -> bool:
    return bool(
        request.args.get("strict") == "1"
        and served.enabled
        and served.snapshot
        and served.snapshot["overall"] == "outage"
    )


def _preflight() -> Response:
    headers = [
        *_CORS,
        ("Access-Control-Allow-Methods", "GET, HEAD"),
        ("Access-Control-Allow-Headers", "If-None-Match"),
        ("Access-Control-Max-Age", "86400"),
    ]
    return Response(None, 204, headers)


def _page(request: Request, served: Served, now: datetime) -> Response:
    from shared.status_page import page  # healthz answers without the template engine

    # The page is made once for each snapshot and minute, since its age is in words.
    key = page.age(served, now)
    ready: tuple[str, bytes, str] | None = served.prepared.get("page")
    if ready is None or ready[0] != key:
        html = page.render(served, now)
        ready = served.prepared["page"] = (key, html, f'"{hashlib.sha256(html).hexdigest()[:20]}"')
    _, html, etag = ready
    status = 200 if served.reachable or served.snapshot else 503
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", _CACHING if status == 200 else "no-store"),
        ("Content-Security-Policy", page.security_policy()),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    ]
    if status != 200:
        return Response(html, status, [*headers, ("Retry-After", "5")])
    headers.append(("ETag", etag))
    if _has_it(request, etag):
        return Response(None, 304, headers[1:])
    return Response(html, 200, headers)


def _has_it(request: Request, etag: str) -> bool:
    sent = request.headers.get("If-None-Match")
    if not sent:
        return False
    plain = etag.removeprefix("W/")
    return sent.strip() == "*" or any(tag.strip().removeprefix("W/") == plain for tag in sent.split(","))

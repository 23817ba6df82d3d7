"""Who may call: keys for those who send metrics and usage, Cloud Scheduler's token for scheduled functions.

Admins are in shared/api/admin.py, by the same means.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from flask import Request

from shared import log
from shared.api.http import Problem
from shared.api.jwks import KeySet, KeysUnavailable
from shared.settings import Settings

_GOOGLE = ("https://accounts.google.com", "accounts.google.com")
_MAX_TOKEN = 8192
CLOCK_SKEW = 60  # seconds that the issuer's clock may be ahead of ours


def require_ingest_key(request: Request, settings: Settings) -> None:
    """Raises `Problem` 401 unless the request bears a configured key, as `Authorization: Bearer` or `X-Api-Key`.

    Both headers count, since a proxy in front may need Authorization for its own token.
    """
    if not settings.ingest_keys:
        _tell_that_no_key_is_set("INGEST_KEYS", "every metric")
    if not _bears_one_of(request, settings.ingest_keys):
        raise unauthorized("send a valid ingest key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`")


def require_usage_key(request: Request, settings: Settings, now: datetime) -> str:
    """The same for usage keys, which alone may tell usage and reserve calls; as a route's check it names the caller."""
    if not settings.usage_keys:
        _tell_that_no_key_is_set("USAGE_KEYS", "all usage")
    if not _bears_one_of(request, settings.usage_keys):
        raise unauthorized("send a valid usage key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`")
    return "usage-key"


def _bears_one_of(request: Request, hashes: Sequence[str]) -> bool:
    found = False
    for key in (bearer(request), request.headers.get("X-Api-Key", "").strip()):
        digest = hashlib.sha256((key or "").encode()).hexdigest()
        for known in hashes:  # all of them, so that the time taken tells nothing
            found |= hmac.compare_digest(digest, known) and bool(key)
    return found


def require_scheduler(request: Request, settings: Settings, function_id: str, now: datetime) -> None:
    """Raises `Problem` unless the request bears an OIDC token of our Cloud Scheduler job.

    401, or 503 while the keys to check it with cannot be fetched.
    """
    if settings.scheduler_service_account is None:
        raise unauthorized("SCHEDULER_SERVICE_ACCOUNT is not set, so nobody may call this function")
    token = bearer(request)
    if not token:
        raise unauthorized("this function is called by Cloud Scheduler alone, with its OIDC token")
    fault = _scheduler_fault(claims_of(token, settings.scheduler_jwks_url), request.host, settings, function_id, now)
    if fault:
        log.warning("a token for a scheduled function was refused", function=function_id, reason=fault)
        raise unauthorized(fault)


def _scheduler_fault(
    claims: Mapping[str, Any], host: str, settings: Settings, function_id: str, now: datetime
) -> str | None:
    issuers = _GOOGLE if settings.scheduler_issuer in _GOOGLE else (settings.scheduler_issuer,)
    if claims.get("iss") not in issuers:
        return "the token is of another issuer"
    seconds = now.timestamp()
    expiry, issued = claims.get("exp"), claims.get("iat")
    if type(expiry) is not int or expiry <= seconds:
        return "the token has expired"
    if type(issued) is not int or issued > seconds + CLOCK_SKEW:
        return "the token is of the future"
    if not _audiences(claims) & _accepted_audiences(host, settings, function_id):
        return "the token is for another audience"
    if claims.get("email") != settings.scheduler_service_account:
        return "the token is of another account"
    if claims.get("email_verified") is not True:
        return "the token's email address is not verified"
    return None


def _audiences(claims: Mapping[str, Any]) -> set[str]:
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    return {a for a in listed if isinstance(a, str)}


def _accepted_audiences(host: str, settings: Settings, function_id: str) -> set[str]:
    """Cloud Scheduler's default audience is the URI it calls; how that is spelt depends on who made the job."""
    schemes = ["https"] if settings.on_cloud_run else ["https", "http"]
    uris = {f"{scheme}://{host}{path}" for scheme in schemes for path in ("", "/", f"/{function_id}")}
    return uris | set(settings.scheduler_audiences)


def claims_of(token: str, jwks_url: str) -> dict[str, Any]:
    """The claims of a token whose RS256 signature holds. The caller, who has the clock, checks the claims.

    Raises `Problem` 401, or 503 while the keys cannot be fetched.
    """
    import jwt  # not every function checks tokens

    ours = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
    try:
        if len(token) > _MAX_TOKEN:
            raise unauthorized("the token is too long")
        kid = jwt.get_unverified_header(token).get("kid")
        key = _key_set(jwks_url).get(kid) if isinstance(kid, str) else None
        if key is None:
            raise unauthorized("the token is signed with an unknown key")
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], options=ours)  # type: ignore[arg-type]
    except KeysUnavailable as error:
        log.error("the keys that sign tokens could not be fetched", url=jwks_url, reason=error.reason)
        detail = "the keys to check the token with cannot be fetched now; try again"
        raise Problem(503, "keys_unavailable", detail, headers={"Retry-After": "10"}) from error
    except jwt.PyJWTError as error:
        raise unauthorized("the token is malformed or its signature does not hold") from error
    return claims


@cache
def _key_set(url: str) -> KeySet:
    return KeySet(url)


def bearer(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return credentials.strip() or None if scheme.lower() == "bearer" else None


@cache
def _tell_that_no_key_is_set(setting: str, what: str) -> None:
    log.error(f"{setting} is empty: {what} is refused; make a key with `.venv/bin/python -m scripts.make_key`")


def unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="f0-ops"'})

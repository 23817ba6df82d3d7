"""Who is an admin: a Firebase ID token whose custom claim `admin` is true.

The claims that must hold: https://firebase.google.com/docs/auth/admin/verify-id-tokens. Whether a token was revoked
since it was signed is not asked, because that is a call for each request: a token lives for an hour at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Request

from shared import log
from shared.api.auth import CLOCK_SKEW, bearer, claims_of, unauthorized
from shared.api.http import Problem
from shared.settings import Settings

_LONGEST_UID = 128


def require_admin(request: Request, settings: Settings, now: datetime) -> str:
    """The uid of the admin who calls. It is for the duty's own use and for audit entries; it is never logged.

    Raises `Problem`: 401 without a good token, 403 for somebody signed in who is no admin, 503 while the keys to check
    the token with cannot be fetched.
    """
    if settings.admin_issuer is None or settings.admin_audience is None:
        raise unauthorized("GOOGLE_CLOUD_PROJECT is not set, so nobody is an admin here")
    token = bearer(request)
    if not token:
        raise unauthorized("send a Firebase ID token of an admin as `Authorization: Bearer TOKEN`")
    claims = claims_of(token, settings.admin_jwks_url)
    fault = _fault(claims, settings.admin_issuer, settings.admin_audience, now)
    if fault:
        log.warning("an admin's token was refused", reason=fault)
        raise unauthorized(fault)
    if claims.get("admin") is not True:  # the text "true" is what a careless script writes, and no admin
        raise Problem(403, "not_admin", "you are signed in, but your account has no claim `admin` that is true")
    return str(claims["sub"])


def _fault(claims: Mapping[str, Any], issuer: str, audience: str, now: datetime) -> str | None:
    if claims.get("iss") != issuer:
        return "the token is of another issuer"
    if claims.get("aud") != audience:
        return "the token is for another project"
    seconds = now.timestamp()
    expiry = claims.get("exp")
    if type(expiry) is not int or expiry <= seconds:
        return "the token has expired"
    for name in ("iat", "auth_time"):
        moment = claims.get(name)
        if type(moment) is not int or moment > seconds + CLOCK_SKEW:
            return "the token is of the future"
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_UID:
        return "the token names nobody"
    return None

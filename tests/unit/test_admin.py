"""Who is an admin: Firebase ID tokens against a real JWKS server on a local port."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Request
from werkzeug.test import EnvironBuilder

from shared.api import auth
from shared.api.admin import require_admin
from shared.api.http import Problem
from shared.settings import FIREBASE_KEYS, Settings, SettingsError
from tests.key_server import KeyServer

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
PROJECT = "ops-prod"
UID = "Zk3xWq9canary"


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture
def server(key: RSAPrivateKey) -> Iterator[KeyServer]:
    server = KeyServer()
    server.publish(one=key)
    yield server
    server.close()
    auth._key_set.cache_clear()


def settings(server: KeyServer, **env: str) -> Settings:
    return Settings.load({"GOOGLE_CLOUD_PROJECT": PROJECT, "DEV_ADMIN_JWKS_URL": server.url, **env})


def token(key: RSAPrivateKey, **changes: Any) -> str:
    claims = {
        "iss": f"https://securetoken.google.com/{PROJECT}",
        "aud": PROJECT,
        "sub": UID,
        "user_id": UID,
        "admin": True,
        "auth_time": SECONDS - 600,
        "iat": SECONDS - 60,
        "exp": SECONDS + 3540,
        **changes,
    }
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(present, key, algorithm="RS256", headers={"kid": "one"})


def call(bearer: str | None, with_settings: Settings, now: datetime = NOW) -> str:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
    request = Request(EnvironBuilder("/api/ops/metrics/query", headers=headers).get_environ())
    return require_admin(request, with_settings, now)


def refused(bearer: str | None, with_settings: Settings, now: datetime = NOW) -> Problem:
    with pytest.raises(Problem) as raised:
        call(bearer, with_settings, now)
    assert raised.value.response().headers["Cache-Control"] == "private, no-store"
    return raised.value


def unauthorized(bearer: str | None, with_settings: Settings, now: datetime = NOW) -> str:
    problem = refused(bearer, with_settings, now)
    assert (problem.status, problem.code) == (401, "unauthorized")
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")
    return problem.detail


def test_an_admin_is_let_in_and_named(server: KeyServer, key: RSAPrivateKey) -> None:
    assert call(token(key), settings(server)) == UID


@pytest.mark.parametrize("bearer", [None, ""])
def test_without_a_token_nobody_is_let_in_and_no_key_is_fetched(server: KeyServer, bearer: str | None) -> None:
    assert "ID token" in unauthorized(bearer, settings(server))
    assert server.requests == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": SECONDS}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": str(SECONDS + 60)}, "expired"),
        ({"iat": SECONDS + 3600}, "future"),
        ({"iat": None}, "future"),
        ({"auth_time": SECONDS + 3600}, "future"),
        ({"auth_time": None}, "future"),
        ({"iss": "https://securetoken.google.com/another"}, "issuer"),
        ({"iss": "https://accounts.google.com"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "another"}, "project"),
        ({"aud": [PROJECT]}, "project"),
        ({"aud": None}, "project"),
        ({"sub": ""}, "nobody"),
        ({"sub": None}, "nobody"),
        ({"sub": "x" * 129}, "nobody"),
    ],
)
def test_a_wrong_claim_is_refused_with_its_reason(
    server: KeyServer, key: RSAPrivateKey, changes: dict[str, Any], reason: str
) -> None:
    assert reason in unauthorized(token(key, **changes), settings(server))


def test_the_longest_uid_is_accepted(server: KeyServer, key: RSAPrivateKey) -> None:
    assert call(token(key, sub="x" * 128), settings(server)) == "x" * 128


def test_expiry_is_judged_by_the_callers_clock(server: KeyServer, key: RSAPrivateKey) -> None:
    good = token(key)
    assert call(good, settings(server), NOW + timedelta(minutes=58)) == UID
    assert "expired" in unauthorized(good, settings(server), NOW + timedelta(hours=1))


@pytest.mark.parametrize("claim", [None, "true", 1, False, {}, ["admin"]])
def test_who_is_signed_in_without_being_an_admin_is_forbidden(
    server: KeyServer, key: RSAPrivateKey, claim: Any
) -> None:
    problem = refused(token(key, admin=claim), settings(server))
    assert (problem.status, problem.code) == (403, "not_admin")


def test_alg_none_is_refused(server: KeyServer, key: RSAPrivateKey) -> None:
    claims = jwt.decode(token(key), options={"verify_signature": False})
    unauthorized(jwt.encode(claims, None, algorithm="none", headers={"kid": "one"}), settings(server))


def test_hs256_signed_with_the_public_key_is_refused(server: KeyServer, key: RSAPrivateKey) -> None:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "one"}).encode()).rstrip(b"=")
    signed = header + b"." + token(key).split(".")[1].encode()
    signature = urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"=")
    unauthorized((signed + b"." + signature).decode(), settings(server))


def test_a_token_of_another_key_under_a_known_id_is_refused(server: KeyServer) -> None:
    unauthorized(token(generate_private_key(65537, 2048)), settings(server))


def test_without_keys_the_answer_may_be_tried_again(server: KeyServer, key: RSAPrivateKey) -> None:
    server.status = 500
    problem = refused(token(key), settings(server))
    assert (problem.status, problem.code) == (503, "keys_unavailable")
    assert int(problem.headers["Retry-After"]) > 0


def test_without_a_project_nobody_is_an_admin(server: KeyServer, key: RSAPrivateKey) -> None:
    unauthorized(token(key), Settings.load({"DEV_ADMIN_JWKS_URL": server.url}))


def test_neither_uid_nor_token_is_ever_logged(
    server: KeyServer, key: RSAPrivateKey, capsys: pytest.CaptureFixture[str]
) -> None:
    bearers = [token(key), token(key, admin=None), token(key, exp=1), token(key, aud="x"), token(key, sub=UID * 20)]
    for bearer in bearers[1:]:
        refused(bearer, settings(server))
    call(bearers[0], settings(server))
    told = capsys.readouterr()
    assert "an admin's token was refused" in told.out
    assert UID not in told.out + told.err
    assert not [bearer for bearer in bearers if bearer[:40] in told.out + told.err]


def test_the_keys_and_the_issuer_are_firebases_own_in_the_cloud() -> None:
    account = {"SCHEDULER_SERVICE_ACCOUNT": "f0-ops@ops-prod.iam.gserviceaccount.com"}
    loaded = Settings.load({"K_SERVICE": "opsapi", "GOOGLE_CLOUD_PROJECT": PROJECT, **account})
    assert loaded.admin_issuer == f"https://securetoken.google.com/{PROJECT}"
    assert (loaded.admin_audience, loaded.admin_jwks_url) == (PROJECT, FIREBASE_KEYS)


@pytest.mark.parametrize("name", ["DEV_ADMIN_ISSUER", "DEV_ADMIN_JWKS_URL"])
def test_an_issuer_for_development_is_refused_in_the_cloud(name: str) -> None:
    env = {"K_SERVICE": "opsapi", "GOOGLE_CLOUD_PROJECT": PROJECT, "SCHEDULER_SERVICE_ACCOUNT": "a@b.cc"}
    with pytest.raises(SettingsError, match=f"{name} is set on Cloud Run"):
        Settings.load({**env, name: "https://example.com"})

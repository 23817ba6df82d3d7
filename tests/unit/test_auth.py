"""Who may call: ingest keys, and Cloud Scheduler's tokens against a real JWKS server on a local port."""

from __future__ import annotations

import hashlib
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

from scripts.make_key import make_key
from shared.api import auth
from shared.api.http import Problem
from shared.api.jwks import KeySet, KeysUnavailable
from shared.settings import Settings
from tests.key_server import KeyServer

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACCOUNT = "scheduler@demo.iam.gserviceaccount.com"
HOST = "alertrules-abc.a.run.app"


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def other_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture
def server(key: RSAPrivateKey) -> Iterator[KeyServer]:
    server = KeyServer()
    server.publish(one=key)
    yield server
    server.close()
    auth._key_set.cache_clear()


def settings(server: KeyServer | None = None, **env: str) -> Settings:
    url = server.url if server else "http://127.0.0.1:1/certs"
    return Settings.load({"DEV_SCHEDULER_JWKS_URL": url, "SCHEDULER_SERVICE_ACCOUNT": ACCOUNT, **env})


def request(headers: dict[str, str] | None = None, host: str = HOST) -> Request:
    return Request(EnvironBuilder("/", method="POST", base_url=f"http://{host}", headers=headers).get_environ())


def token(key: RSAPrivateKey, kid: str = "one", **changes: Any) -> str:
    claims = {
        "iss": "https://accounts.google.com",
        "aud": f"https://{HOST}/alertRules",
        "email": ACCOUNT,
        "email_verified": True,
        "iat": int(NOW.timestamp()),
        "exp": int((NOW + timedelta(hours=1)).timestamp()),
        **changes,
    }
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(present, key, algorithm="RS256", headers={"kid": kid})


def call(bearer: str | None, with_settings: Settings, now: datetime = NOW, host: str = HOST) -> None:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
    auth.require_scheduler(request(headers, host), with_settings, "alertRules", now)


def refused(bearer: str | None, with_settings: Settings, now: datetime = NOW, host: str = HOST) -> str:
    with pytest.raises(Problem) as raised:
        call(bearer, with_settings, now, host)
    assert (raised.value.status, raised.value.code) == (401, "unauthorized")
    assert raised.value.headers["WWW-Authenticate"].startswith("Bearer")
    return raised.value.detail


# --- ingest keys


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
def test_either_of_two_live_keys_is_accepted_in_either_header(header: str) -> None:
    (first, first_hash), (second, second_hash) = make_key(), make_key()
    both = settings(INGEST_KEYS=f"{first_hash},{second_hash}")
    for key in (first, second):
        auth.require_ingest_key(request({header: f"Bearer {key}" if header == "Authorization" else key}), both)


def test_a_key_in_x_api_key_counts_although_authorization_holds_another_token() -> None:
    key, digest = make_key()
    headers = {"Authorization": "Bearer for-the-proxy", "X-Api-Key": key}
    auth.require_ingest_key(request(headers), settings(INGEST_KEYS=digest))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic Zm9vOmJhcg=="},
        {"X-Api-Key": "wrong"},
        {"X-Api-Key": "schlüssel"},
        {"X-Api-Key": ""},
    ],
)
def test_no_key_or_a_wrong_one_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Problem) as raised:
        auth.require_ingest_key(request(headers), settings(INGEST_KEYS=make_key()[1]))
    assert (raised.value.status, raised.value.code) == (401, "unauthorized")
    assert "WWW-Authenticate" in raised.value.headers


def test_the_hash_itself_is_no_key() -> None:
    digest = make_key()[1]
    with pytest.raises(Problem):
        auth.require_ingest_key(request({"X-Api-Key": digest}), settings(INGEST_KEYS=digest))


def test_an_empty_key_is_refused_even_if_its_hash_is_configured() -> None:
    empty = hashlib.sha256(b"").hexdigest()
    with pytest.raises(Problem):
        auth.require_ingest_key(request({"X-Api-Key": ""}), settings(INGEST_KEYS=empty))


def test_without_configured_keys_everything_is_refused_and_the_log_says_so_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    auth._tell_that_no_key_is_set.cache_clear()
    for _ in range(3):
        with pytest.raises(Problem):
            auth.require_ingest_key(request({"X-Api-Key": "any"}), settings())
    assert capsys.readouterr().out.count("INGEST_KEYS is empty") == 1


# --- the scheduler's token


@pytest.mark.parametrize(
    "audience",
    [
        f"https://{HOST}",
        f"https://{HOST}/",
        f"https://{HOST}/alertRules",
        f"http://{HOST}/alertRules",
        [f"https://{HOST}"],
    ],
)
def test_a_good_token_is_accepted(server: KeyServer, key: RSAPrivateKey, audience: Any) -> None:
    call(token(key, aud=audience), settings(server))
    assert server.requests == 1


def test_google_without_https_is_the_same_issuer(server: KeyServer, key: RSAPrivateKey) -> None:
    call(token(key, iss="accounts.google.com"), settings(server))


def test_a_configured_audience_is_accepted(server: KeyServer, key: RSAPrivateKey) -> None:
    call(token(key, aud="ops"), settings(server, SCHEDULER_AUDIENCES="ops other"))


def test_the_keys_are_fetched_once_for_many_tokens(server: KeyServer, key: RSAPrivateKey) -> None:
    for _ in range(5):
        call(token(key), settings(server))
    assert server.requests == 1


def test_no_token_is_refused(server: KeyServer) -> None:
    refused(None, settings(server))
    refused("", settings(server))
    assert server.requests == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(NOW.timestamp())}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": True}, "expired"),
        ({"iat": int(NOW.timestamp()) + 3600}, "future"),
        ({"iss": "https://accounts.example.com"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": f"https://{HOST}/notifier"}, "audience"),
        ({"aud": "https://elsewhere.example/alertRules"}, "audience"),
        ({"aud": None}, "audience"),
        ({"email": "someone@else.iam.gserviceaccount.com"}, "account"),
        ({"email": None}, "account"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": "true"}, "not verified"),
        ({"email_verified": None}, "not verified"),
    ],
)
def test_a_wrong_claim_is_refused_with_its_reason(
    server: KeyServer, key: RSAPrivateKey, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refused(token(key, **changes), settings(server))


def test_expiry_is_judged_by_the_callers_clock(server: KeyServer, key: RSAPrivateKey) -> None:
    good = token(key)
    call(good, settings(server), NOW + timedelta(minutes=59))
    refused(good, settings(server), NOW + timedelta(hours=1))


def test_a_plain_http_audience_is_refused_on_cloud_run(server: KeyServer, key: RSAPrivateKey) -> None:
    cloud = Settings.load(
        {"K_SERVICE": "alertrules", "GOOGLE_CLOUD_PROJECT": "demo-ops", "SCHEDULER_SERVICE_ACCOUNT": ACCOUNT}
    )
    claims = {**jwt.decode(token(key, aud=f"http://{HOST}"), options={"verify_signature": False})}
    assert auth._scheduler_fault(claims, HOST, cloud, "alertRules", NOW) == "the token is for another audience"
    claims["aud"] = f"https://{HOST}"
    assert auth._scheduler_fault(claims, HOST, cloud, "alertRules", NOW) is None


def test_alg_none_is_refused(server: KeyServer, key: RSAPrivateKey) -> None:
    claims = jwt.decode(token(key), options={"verify_signature": False})
    refused(jwt.encode(claims, None, algorithm="none", headers={"kid": "one"}), settings(server))


def test_hs256_with_the_public_key_as_secret_is_refused(server: KeyServer, key: RSAPrivateKey) -> None:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "one"}).encode()).rstrip(b"=")
    signed = header + b"." + token(key).split(".")[1].encode()
    signature = urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"=")
    refused((signed + b"." + signature).decode(), settings(server))


def test_a_token_signed_with_another_key_under_a_known_id_is_refused(
    server: KeyServer, other_key: RSAPrivateKey
) -> None:
    refused(token(other_key, kid="one"), settings(server))


@pytest.mark.parametrize("garbage", ["x", "a.b.c", "..", "x" * 10_000, "ü.ü.ü"])
def test_what_is_no_token_is_refused(server: KeyServer, garbage: str) -> None:
    refused(garbage, settings(server))


def test_unknown_key_ids_do_not_cause_a_fetch_each(server: KeyServer, key: RSAPrivateKey) -> None:
    call(token(key), settings(server))
    for n in range(5):
        refused(token(key, kid=f"made-up-{n}"), settings(server))
    assert server.requests == 1


def test_without_a_service_account_nobody_may_call(server: KeyServer, key: RSAPrivateKey) -> None:
    open_settings = Settings.load({"DEV_SCHEDULER_JWKS_URL": server.url})
    assert open_settings.scheduler_service_account is None
    refused(token(key), open_settings)
    refused(token(key, email=None), open_settings)


# --- the key server fails


def unavailable(with_settings: Settings, key: RSAPrivateKey) -> None:
    with pytest.raises(Problem) as raised:
        call(token(key), with_settings)
    assert (raised.value.status, raised.value.code) == (503, "keys_unavailable")
    assert int(raised.value.headers["Retry-After"]) > 0


def test_a_key_server_that_is_down_gives_a_503_that_may_be_retried(server: KeyServer, key: RSAPrivateKey) -> None:
    server.close()
    unavailable(settings(server), key)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [{"kty": "RSA", "kid": "one"}]}', b'{"keys": [7]}'],
)
def test_a_key_server_that_answers_garbage_gives_a_503(server: KeyServer, key: RSAPrivateKey, body: bytes) -> None:
    server.body = body
    unavailable(settings(server), key)


def test_a_key_server_that_answers_an_error_gives_a_503(server: KeyServer, key: RSAPrivateKey) -> None:
    server.status = 500
    unavailable(settings(server), key)


def test_a_key_server_that_hangs_meets_the_deadline(server: KeyServer) -> None:
    server.hang = True
    with pytest.raises(KeysUnavailable):
        KeySet(server.url, deadline=0.2).get("one")


class Seconds:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.value = 1000.0

    def __call__(self) -> float:
        return self.value


def test_a_new_key_is_found_a_minute_later(server: KeyServer, key: RSAPrivateKey, other_key: RSAPrivateKey) -> None:
    seconds = Seconds()
    keys = KeySet(server.url, seconds)
    assert keys.get("one") is not None
    server.publish(one=key, two=other_key)
    seconds.value += 59
    assert keys.get("two") is None
    seconds.value += 1
    assert keys.get("two") is not None
    assert server.requests == 2


def test_a_withdrawn_key_is_gone_after_an_hour(server: KeyServer, key: RSAPrivateKey, other_key: RSAPrivateKey) -> None:
    seconds = Seconds()
    keys = KeySet(server.url, seconds)
    assert keys.get("one") is not None
    server.publish(two=other_key)
    seconds.value += 3600
    assert keys.get("one") is None


def test_known_keys_stay_in_use_while_the_server_fails(server: KeyServer, key: RSAPrivateKey) -> None:
    seconds = Seconds()
    keys = KeySet(server.url, seconds)
    assert keys.get("one") is not None
    server.status = 500
    seconds.value += 4000
    assert keys.get("one") is not None
    with pytest.raises(KeysUnavailable):  # perhaps a new key: not known, so it may be tried again
        keys.get("two")


def test_after_a_failure_the_server_is_left_alone_for_a_moment_and_then_asked_again(
    server: KeyServer, key: RSAPrivateKey
) -> None:
    seconds = Seconds()
    keys = KeySet(server.url, seconds)
    server.status = 500
    for _ in range(4):
        with pytest.raises(KeysUnavailable):
            keys.get("one")
    assert server.requests == 1
    server.status = 200
    seconds.value += 5
    assert keys.get("one") is not None

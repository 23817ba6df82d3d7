"""Who may call what: every function and every route of the product, with every kind of token.

The list is made from the manifest and the route tables, so a function or a route without a decision fails here.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts import manifest
from shared import bootstrap
from shared.api import auth
from shared.api.admin import require_admin
from shared.api.routes import Check, Route
from shared.store.sqlite import SqliteStore
from tests.core import KEY, NOW, flask_app, make_app
from tests.key_server import KeyServer

MANIFEST = manifest.load()
PROJECT = "ops-prod"
ISSUER = f"https://securetoken.google.com/{PROJECT}"
SCHEDULER = "f0-ops@ops-prod.iam.gserviceaccount.com"
SECONDS = int(NOW.timestamp())
STATUS_OF_REFUSAL = (401, 403)

# Functions that have no route table, and who may call them. Scheduled ones are Cloud Scheduler's.
WITHOUT_TABLE = {"metricsIngest": "ingest key", "statusApi": "the public"}
# The checks that a route table may name, and who passes them.
CHECKS: dict[Check, str] = {require_admin: "admin", auth.require_usage_key: "usage key"}
USAGE_KEY = "f0_a-usage-key-for-tests"


def routes_of(function_id: str) -> tuple[Route, ...] | None:
    folder = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", function_id).lower()
    routes: tuple[Route, ...] | None = getattr(importlib.import_module(f"functions.{folder}.handler"), "ROUTES", None)
    return routes


SCHEDULED = [name for name, endpoint in MANIFEST.endpoints.items() if endpoint.schedule_trigger]
CALLED = [name for name, endpoint in MANIFEST.endpoints.items() if not endpoint.schedule_trigger]
ROUTES = [
    pytest.param(name, method, re.sub(r"\{\w+\}", "unknown", route.path), route.check, id=f"{method} {route.path}")
    for name in CALLED
    for route in routes_of(name) or ()
    for method in route.methods
]


def test_every_function_has_a_decision() -> None:
    without = [name for name in CALLED if routes_of(name) is None]
    assert sorted(without) == sorted(WITHOUT_TABLE)


def test_every_check_of_a_route_is_one_that_is_tried_here() -> None:
    unknown = {route.path for name in CALLED for route in routes_of(name) or () if route.check not in CHECKS}
    assert unknown == set()


# The tokens


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def keys(key: RSAPrivateKey) -> Iterator[KeyServer]:
    server = KeyServer()
    server.publish(one=key)
    yield server
    server.close()
    auth._key_set.cache_clear()


def signed(key: RSAPrivateKey, **changes: Any) -> str:
    claims = {
        "iss": ISSUER, "aud": PROJECT, "sub": "an-admin", "admin": True,
        "auth_time": SECONDS - 600, "iat": SECONDS - 60, "exp": SECONDS + 3540, **changes,
    }  # fmt: skip
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "one"})


def unsigned(key: RSAPrivateKey) -> str:
    claims = jwt.decode(signed(key), options={"verify_signature": False})
    return jwt.encode(claims, None, algorithm="none", headers={"kid": "one"})


def signed_with_the_public_key(key: RSAPrivateKey) -> str:
    """HS256, with the bytes of the public key for a secret: what a careless verifier takes."""
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "one"}).encode()).rstrip(b"=")
    content = header + b"." + signed(key).split(".")[1].encode()
    return (content + b"." + urlsafe_b64encode(hmac.digest(public, content, "sha256")).rstrip(b"=")).decode()


def of_the_scheduler(key: RSAPrivateKey, **changes: Any) -> str:
    claims = {"iss": "https://accounts.google.com", "aud": "https://localhost", "email": SCHEDULER}
    return signed(key, **{**claims, "email_verified": True, **changes})


TOKENS: dict[str, tuple[Callable[[RSAPrivateKey], str | None], int]] = {  # → what an admin's route answers
    "no token": (lambda key: None, 401),
    "an ingest key": (lambda key: KEY, 401),
    "expired": (lambda key: signed(key, exp=SECONDS), 401),
    "wrong issuer": (lambda key: signed(key, iss="https://securetoken.google.com/another"), 401),
    "wrong audience": (lambda key: signed(key, aud="another"), 401),
    "alg none": (unsigned, 401),
    "HS256 with the public key": (signed_with_the_public_key, 401),
    "of another key": (lambda key: signed(generate_private_key(65537, 2048)), 401),
    "of Cloud Scheduler": (of_the_scheduler, 401),
    "not admin": (lambda key: signed(key, admin=False), 403),
    "admin as text": (lambda key: signed(key, admin="true"), 403),
}


class Caller:
    """Calls a function with a token; `refused` also makes sure that nothing was written."""

    def __init__(self, keys: KeyServer, folder: Path) -> None:
        self.store = SqliteStore(folder / "store.db")
        self.app = make_app(
            self.store,
            GOOGLE_CLOUD_PROJECT=PROJECT,
            USAGE_KEYS=hashlib.sha256(USAGE_KEY.encode()).hexdigest(),
            DEV_ADMIN_JWKS_URL=keys.url,
            DEV_SCHEDULER_JWKS_URL=keys.url,
            SCHEDULER_SERVICE_ACCOUNT=SCHEDULER,
            SCHEDULER_AUDIENCES="https://localhost",
        )

    def status(self, function_id: str, method: str, path: str, token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        bootstrap.install(self.app)
        try:
            with flask_app(function_id).test_client() as client:
                return client.open(path, method=method, headers=headers, data=b"{}").status_code
        finally:
            bootstrap.install(None)

    def refused(self, function_id: str, method: str, path: str, token: str | None) -> int:
        """The status; nothing may have been written by who was refused."""
        before = self.store.meter.writes + self.store.meter.deletes
        status = self.status(function_id, method, path, token)
        assert self.store.meter.writes + self.store.meter.deletes == before
        return status


@pytest.fixture(scope="module")
def caller(keys: KeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    made = Caller(keys, tmp_path_factory.mktemp("calls"))
    yield made
    made.store.close()


# The matrix


@pytest.mark.parametrize(("function_id", "method", "path", "check"), ROUTES)
def test_a_route_of_admins_takes_an_admin_and_nobody_else(
    caller: Caller, key: RSAPrivateKey, function_id: str, method: str, path: str, check: Check
) -> None:
    if CHECKS[check] != "admin":
        return
    answers = {name: caller.refused(function_id, method, path, make(key)) for name, (make, _) in TOKENS.items()}
    assert answers == {name: status for name, (_, status) in TOKENS.items()}
    assert caller.status(function_id, method, path, signed(key)) not in STATUS_OF_REFUSAL


@pytest.mark.parametrize(("function_id", "method", "path", "check"), ROUTES)
def test_a_route_of_senders_of_usage_takes_a_usage_key_and_nothing_else(
    caller: Caller, key: RSAPrivateKey, function_id: str, method: str, path: str, check: Check
) -> None:
    if CHECKS[check] != "usage key":
        return
    wrong = {**{name: make for name, (make, _) in TOKENS.items()}, "an admin": signed}
    answers = {name: caller.refused(function_id, method, path, make(key)) for name, make in wrong.items()}
    assert answers == dict.fromkeys(wrong, 401)
    assert caller.status(function_id, method, path, USAGE_KEY) not in STATUS_OF_REFUSAL


@pytest.mark.parametrize("function_id", SCHEDULED)
def test_a_scheduled_function_takes_its_scheduler_and_nobody_else(
    caller: Caller, key: RSAPrivateKey, function_id: str
) -> None:
    wrong = {
        **{name: make for name, (make, _) in TOKENS.items() if name != "of Cloud Scheduler"},
        "an admin": signed,
        "another account": lambda key: of_the_scheduler(key, email="x@y.z"),
        "an email that is not verified": lambda key: of_the_scheduler(key, email_verified="true"),
        "another function's audience": lambda key: of_the_scheduler(key, aud="https://other"),
    }
    answers = {name: caller.refused(function_id, "POST", "/", make(key)) for name, make in wrong.items()}
    assert answers == dict.fromkeys(wrong, 401)


@pytest.mark.parametrize("token", ["no token", "an admin", "of Cloud Scheduler"])
def test_metrics_are_taken_from_who_has_an_ingest_key_and_from_nobody_else(
    caller: Caller, key: RSAPrivateKey, token: str
) -> None:
    bearer = signed(key) if token == "an admin" else TOKENS[token][0](key)
    for path in ("/api/metrics", "/v1/metrics", "/api/metrics/heartbeat/an-agent"):
        assert caller.refused("metricsIngest", "POST", path, bearer) == 401
        assert caller.status("metricsIngest", "POST", path, KEY) not in STATUS_OF_REFUSAL


def test_the_scheduler_of_these_tests_would_be_let_in(caller: Caller, key: RSAPrivateKey) -> None:
    """Else every refusal above could have another reason."""
    assert caller.status("notifier", "POST", "/", of_the_scheduler(key)) == 200

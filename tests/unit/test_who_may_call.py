"""Who may call what: every function and every route of the product, with every kind of token.

What there is comes from the manifest, the entry points and the tables of the handlers; who may call it is decided here,
once more and in words. A function or a route without a decision fails, and so does one that is kept otherwise.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import importlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts import manifest
from scripts.dev import rewrites
from shared import bootstrap
from shared.api import auth
from shared.api.routes import Route
from shared.store.sqlite import SqliteStore
from tests.core import KEY, NOW, flask_app, make_app
from tests.key_server import KeyServer

MANIFEST = manifest.load()
ROOT = manifest.ROOT
PROJECT = "ops-prod"
ISSUER = f"https://securetoken.google.com/{PROJECT}"
SCHEDULER = "f0-ops@ops-prod.iam.gserviceaccount.com"
SECONDS = int(NOW.timestamp())
USAGE_KEY = "f0_a-usage-key-for-tests"
REFUSAL = (401, 403)

# The decisions. A scheduled function has one route, and its own name for it.
DECIDED = {
    "the public": """
        GET /
        GET /status
        GET /status/history
        GET /status/incidents/{name}
        GET /status/{name}
        GET /api/status/healthz
        GET /api/v2/{name}
        GET /history.atom
        GET /history.rss
        GET /api/status/badge.svg
        GET /status-badge.js
    """,
    "who has an ingest key": """
        POST /
        POST /metricsIngest
        POST /api/metrics
        POST /api/metrics/heartbeat/{name}
        POST /v1/metrics
    """,
    "who has a usage key": """
        POST /api/usage/events
        POST /api/usage/reservations
        POST /api/usage/reservations/{id}/settle
        POST /api/usage/reservations/{id}/release
    """,
    "admins": """
        GET POST /api/incidents
        GET /api/incidents/stats
        POST /api/incidents/preview
        GET PATCH /api/incidents/{id}
        GET POST /api/incidents/{id}/updates
        POST /api/incidents/{id}/resolve
        POST /api/incidents/{id}/reopen
        POST /api/incidents/{id}/actions
        PATCH /api/incidents/{id}/actions/{item}
        GET PUT /api/incidents/{id}/postmortem
        GET /api/incidents/{id}/audit
        GET POST /api/maintenances
        POST /api/maintenances/preview
        GET PATCH /api/maintenances/{id}
        POST /api/maintenances/{id}/updates
        GET /api/maintenances/{id}/audit
        GET /api/runbooks
        GET /api/runbooks/{name}
        GET /api/ops/metrics/query
        GET /api/ops/metrics/catalog
        GET /api/ops/metrics/cardinality
        GET /api/ops/slos
        GET /api/ops/slos/{id}
        GET /api/ops/slos/{id}/backtest
        GET POST /api/ops/exclusions
        DELETE /api/ops/exclusions/{id}
        GET POST /api/ops/silences
        POST /api/ops/silences/preview
        GET DELETE /api/ops/silences/{id}
        GET PATCH /api/ops/flags
        GET /api/ops/flags/audit
        GET /api/ops/report
        GET /api/ops/inbox
        POST /api/ops/inbox/read
        POST /api/ops/inbox/{id}/read
        GET /api/ops/notifications
        POST /api/ops/notifications/test
        GET /api/ops/notifications/{id}
        POST /api/ops/notifications/{id}/resend
        GET /api/ops/status
        GET /api/ops/alerts
        GET /api/ops/alerts/{id}
        POST DELETE /api/ops/alerts/{id}/acknowledge
        POST DELETE /api/ops/alerts/{id}/false
        GET /api/usage
        GET DELETE /api/usage/{uid}
        GET /api/usage/{uid}/export
        GET PUT /api/usage/{uid}/quota
        GET /api/costs
        GET /api/costs/overview
        GET POST /api/costs/reconcile
        DELETE /api/costs/reconcile/{id}
    """,
    "Cloud Scheduler": """
        POST alertRules
        POST notifier
        POST healthProbe
        POST storageUsage
        POST costRollup
    """,
}


class Way(NamedTuple):
    """A way into the product: `path` as the table of the function has it."""

    function_id: str
    method: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.function_id if self.function_id in MANIFEST.scheduled else self.path}"

    @property
    def asked(self) -> str:
        return re.sub(r"\{\w+\}", "unknown", self.path)


def handler_of(function_id: str) -> str:
    return f"functions.{re.sub(r'(?<=[a-z])(?=[A-Z])', '_', function_id).lower()}.handler"


def ways_of(function_id: str) -> list[Way]:
    """Those of a scheduled function are one; else of ROUTES, or of PATHS, which is of a function of its own kind."""
    if function_id in MANIFEST.scheduled:
        return [Way(function_id, "POST", "/")]
    try:
        module = importlib.import_module(handler_of(function_id))
    except ModuleNotFoundError:
        return []
    routes: Sequence[Route] = getattr(module, "ROUTES", ())
    method = "POST" if function_id == "metricsIngest" else "GET"
    paths = [f"{path}{{name}}" if path.endswith("/") and path != "/" else path for path in getattr(module, "PATHS", ())]
    found = [Way(function_id, method, route.path) for route in routes for method in route.methods]
    return [*found, *(Way(function_id, method, path) for path in paths)]


WAYS = [way for function_id in MANIFEST.endpoints for way in ways_of(function_id)]
WHO = {
    f"{method} {path}": who
    for who, lines in DECIDED.items()
    for *methods, path in (line.split() for line in lines.strip().splitlines())
    for method in methods
}


def who_may(way: Way) -> str:
    return WHO.get(way.name, "nobody decided")


def of(*whom: str) -> list[Any]:
    return [pytest.param(way, id=way.name) for way in WAYS if who_may(way) in whom]


def test_every_function_has_a_table_of_what_it_answers() -> None:
    without = [function_id for function_id in MANIFEST.endpoints if not ways_of(function_id)]
    assert without == [], "the handlers of these have neither ROUTES nor PATHS, so nobody knows what they answer"


def test_it_is_decided_who_may_call_each_route() -> None:
    undecided = [way.name for way in WAYS if way.name not in WHO]
    assert undecided == [], "nobody has decided who may call these: write them into DECIDED"


def test_no_decision_is_about_a_route_that_there_is_not() -> None:
    assert sorted(set(WHO) - {way.name for way in WAYS}) == []


def test_no_two_functions_answer_under_one_name() -> None:
    """Else a decision could be about either."""
    names = [way.name for way in WAYS]
    assert [name for name in names if names.count(name) > 1] == []


def test_each_route_is_reached_through_hosting() -> None:
    """But the root, and the address that a function has by its own name."""
    hosting = rewrites.load(ROOT / "firebase.json")
    called = [way for way in WAYS if way.function_id not in MANIFEST.scheduled]
    led = {way: hosting.rewrite(way.asked) for way in called if way.asked not in ("/", f"/{way.function_id}")}
    assert {way.name for way, to in led.items() if to is None or to.function_id != way.function_id} == set()


def test_an_entry_point_does_nothing_but_call_its_handler() -> None:
    """What it answered by itself would stand in no table."""
    for function in ast.parse((ROOT / "main.py").read_text()).body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            _, *steps = (ast.unparse(step) for step in function.body)
            assert steps == [f"from {handler_of(function.name)} import handle", "return run(handle, request)"]


# How a handler comes to its answer where it is not `dispatch`; what it gave besides would stand in no table.
RETURNS = {
    "metricsIngest": ["receive(request, path, app, app.part(Ingest), now)"],
    "statusApi": [
        "answers.preflight()",
        "_too_many(request, app.snapshot_cache.served(), wait)",
        "_answer(request, path, app, app.snapshot_cache.served(), app.clock())",
        "show(request, path, app, served, now)",
    ],
}


@pytest.mark.parametrize("function_id", [name for name in MANIFEST.endpoints if name not in MANIFEST.scheduled])
def test_a_handler_gives_no_answer_but_those_of_its_table(function_id: str) -> None:
    text = Path(ROOT, *handler_of(function_id).split(".")).with_suffix(".py").read_text()
    steps = [f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef) and f.name in ("handle", "_answer")]
    returned = [node.value for step in steps for node in ast.walk(step) if isinstance(node, ast.Return)]
    expected = RETURNS.get(function_id, ["dispatch(ROUTES, request, app, app.clock())"])
    assert sorted(ast.unparse(value) for value in returned if value) == sorted(expected)


# The tokens


class Tokens:
    """One of each kind, made once: keys take long to make."""

    def __init__(self, keys: KeyServer) -> None:
        self._key = generate_private_key(65537, 2048)
        keys.publish(one=self._key)
        public = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        another = generate_private_key(65537, 2048)
        self.admin = self._admins()
        self.scheduler = self._schedulers()
        unverified = jwt.decode(self.admin, options={"verify_signature": False})
        self.bad: dict[str, str | None] = {  # for everybody
            "no token": None,
            "what is no token": "a.b.c",
            "expired": self._admins(exp=SECONDS),
            "wrong issuer": self._admins(iss="https://securetoken.google.com/another"),
            "wrong audience": self._admins(aud="another"),
            "alg none": jwt.encode(unverified, None, algorithm="none", headers={"kid": "one"}),
            "HS256 with the public key": _signed_with(public, self.admin),
            "of another key": jwt.encode(unverified, another, algorithm="RS256", headers={"kid": "one"}),
            "of the scheduler, expired": self._schedulers(exp=SECONDS),
            "of the scheduler's issuer, another account": self._schedulers(email="x@y.z"),
            "of the scheduler, an email that is not verified": self._schedulers(email_verified="true"),
            "of the scheduler, another function's audience": self._schedulers(aud="https://other"),
        }
        self.no_admins: dict[str, str | None] = {
            "not admin": self._admins(admin=False),
            "admin as text": self._admins(admin="true"),
        }
        self.good = {
            "admins": self.admin,
            "Cloud Scheduler": self.scheduler,
            "who has an ingest key": KEY,
            "who has a usage key": USAGE_KEY,
        }

    def all(self) -> dict[str, str | None]:
        return {**self.bad, **self.no_admins, **self.good}

    def _admins(self, **changes: Any) -> str:
        claims = {
            "iss": ISSUER, "aud": PROJECT, "sub": "an-admin", "admin": True,
            "auth_time": SECONDS - 600, "iat": SECONDS - 60, "exp": SECONDS + 3540, **changes,
        }  # fmt: skip
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "one"})

    def _schedulers(self, **changes: Any) -> str:
        claims = {"iss": "https://accounts.google.com", "aud": "https://localhost", "email": SCHEDULER}
        return self._admins(**{**claims, "email_verified": True, **changes})


def _signed_with(public: bytes, token: str) -> str:
    """HS256, with the bytes of the public key for a secret: what a careless verifier takes."""
    header = urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "one"}).encode()).rstrip(b"=")
    content = header + b"." + token.split(".")[1].encode()
    return (content + b"." + urlsafe_b64encode(hmac.digest(public, content, "sha256")).rstrip(b"=")).decode()


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.close()
    auth._key_set.cache_clear()


@pytest.fixture(scope="module")
def tokens(keys: KeyServer) -> Tokens:
    return Tokens(keys)


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
        self._calls = 0

    def status(self, way: Way, token: str | None, method: str | None = None) -> int:
        """Each time as another client, so that none makes too many requests."""
        self._calls += 1
        headers = {"X-Forwarded-For": f"2001:db8:{self._calls:x}::1"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        bootstrap.install(self.app)
        try:
            with flask_app(way.function_id).test_client() as client:
                return client.open(way.asked, method=method or way.method, headers=headers, data=b"{}").status_code
        finally:
            bootstrap.install(None)

    def refused(self, way: Way, tokens: Mapping[str, str | None]) -> dict[str, int]:
        """The status for each token; nothing may have been written by who was refused."""
        before = self.store.meter.writes + self.store.meter.deletes
        found = {name: self.status(way, token) for name, token in tokens.items()}
        assert self.store.meter.writes + self.store.meter.deletes == before
        return found


@pytest.fixture(scope="module")
def caller(keys: KeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    made = Caller(keys, tmp_path_factory.mktemp("calls"))
    yield made
    made.store.close()


# The matrix


@pytest.mark.parametrize("way", of("admins"))
def test_a_route_of_admins_takes_an_admin_and_nobody_else(caller: Caller, tokens: Tokens, way: Way) -> None:
    others = {who: token for who, token in tokens.good.items() if who != "admins"}
    wrong = {**tokens.bad, **others}
    expected = {**dict.fromkeys(wrong, 401), **dict.fromkeys(tokens.no_admins, 403)}
    assert caller.refused(way, {**wrong, **tokens.no_admins}) == expected
    assert caller.status(way, tokens.admin) not in REFUSAL


@pytest.mark.parametrize("way", of("who has an ingest key", "who has a usage key", "Cloud Scheduler"))
def test_a_route_of_programs_takes_its_own_and_nobody_else(caller: Caller, tokens: Tokens, way: Way) -> None:
    wrong = {name: token for name, token in tokens.all().items() if name != who_may(way)}
    assert caller.refused(way, wrong) == dict.fromkeys(wrong, 401)
    if who_may(way) != "Cloud Scheduler":  # whose functions would do all of their work
        assert caller.status(way, tokens.good[who_may(way)]) not in REFUSAL


@pytest.mark.parametrize("way", of("the public"))
def test_a_route_of_the_public_asks_nobody_who_they_are(caller: Caller, tokens: Tokens, way: Way) -> None:
    found = caller.refused(way, tokens.all())
    assert set(found.values()) == {found["no token"]}
    assert found["no token"] not in REFUSAL


@pytest.mark.parametrize("way", of("admins", "the public"))
def test_what_can_be_read_answers_to_head_as_to_get(caller: Caller, tokens: Tokens, way: Way) -> None:
    """Also to who may not: HEAD is no way around."""
    if way.method != "GET":
        return
    for token in (None, tokens.no_admins["not admin"], tokens.admin):
        assert caller.status(way, token, "HEAD") == caller.status(way, token)


@pytest.mark.parametrize("function_id", sorted(MANIFEST.endpoints))
def test_by_another_method_nobody_gets_anywhere(caller: Caller, tokens: Tokens, function_id: str) -> None:
    for way in ways_of(function_id):
        allowed = {other.method for other in ways_of(function_id) if other.path == way.path}
        allowed |= {"HEAD", "OPTIONS"} if who_may(way) == "the public" else {"HEAD"} if "GET" in allowed else set()
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - allowed:
            assert caller.status(way, tokens.good.get(who_may(way)), method) == 405, (method, way)


@pytest.mark.parametrize("function_id", [name for name in MANIFEST.endpoints if name not in MANIFEST.scheduled])
def test_a_function_has_nothing_at_the_addresses_of_another(caller: Caller, tokens: Tokens, function_id: str) -> None:
    own = {way.path for way in ways_of(function_id)}
    others = [way._replace(function_id=function_id) for way in WAYS if way.path not in own]
    assert others
    answered = {(name, way): caller.status(way, token) for way in others for name, token in tokens.good.items()}
    assert {found: status for found, status in answered.items() if status not in (404, 405)} == {}


def test_the_scheduler_of_these_tests_would_be_let_in(caller: Caller, tokens: Tokens) -> None:
    """Else every refusal above could have another reason."""
    assert caller.status(Way("notifier", "POST", "/"), tokens.scheduler) == 200

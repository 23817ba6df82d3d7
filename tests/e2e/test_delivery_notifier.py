"""The notifier as it is deployed: through functions-framework, called with Cloud Scheduler's token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from functions_framework import create_app
from werkzeug.test import Client

from shared import bootstrap
from shared.api import auth
from shared.store.protocol import Doc, Query, Store, Unavailable
from tests.e2e.test_delivery import Bench, Wrapped
from tests.fake_servers import FakeSlack
from tests.unit.test_auth import ACCOUNT, HOST, NOW, KeyServer, token

MAIN = Path(__file__).parents[2] / "main.py"


class Notifier:
    """The deployed function on a bench, with keys that its caller's token is checked against."""

    def __init__(self, bench: Bench, keys: KeyServer, key: RSAPrivateKey) -> None:
        self.bench = bench
        self.env = {"DEV_SCHEDULER_JWKS_URL": keys.url, "SCHEDULER_SERVICE_ACCOUNT": ACCOUNT}
        self.bearer = token(key, aud=f"https://{HOST}/notifier")
        self.client = Client(create_app("notifier", str(MAIN)))
        self.use(bench.store)

    def use(self, store: Store) -> None:
        bootstrap.install(self.bench.app_over(store, **self.env))

    def call(self, method: str = "POST", bearer: str | None = None) -> tuple[int, dict[str, object]]:
        headers = {"Authorization": f"Bearer {self.bearer if bearer is None else bearer}"}
        response = self.client.open("/", method=method, base_url=f"https://{HOST}", headers=headers)
        return response.status_code, response.get_json()


@pytest.fixture
def notifier(store: Store) -> Iterator[Notifier]:
    key = generate_private_key(65537, 2048)
    keys = KeyServer()
    keys.publish(one=key)
    with FakeSlack() as slack:
        bench = Bench(store, slack)
        bench.clock.now = NOW
        yield Notifier(bench, keys, key)
    bootstrap.install(None)
    keys.close()
    auth._key_set.cache_clear()  # the next server may get the same port


def test_it_sends_what_is_due_and_answers_with_counts(notifier: Notifier) -> None:
    sent = notifier.bench.add("trigger", 1)
    withheld = notifier.bench.add("trigger", 1, channel="email")
    counts = {"delivered": 1, "retried": 0, "dead": 0, "withheld": 1, "cancelled": 0, "stopped": None}
    assert notifier.call() == (200, counts)
    assert notifier.bench.slack.shown_ids == [sent]
    assert notifier.bench.state(withheld) == ("withheld", "not_configured")
    assert notifier.call() == (200, {**counts, "delivered": 0, "withheld": 0})


def test_nobody_but_the_scheduler_can_make_it_send(notifier: Notifier) -> None:
    notifier.bench.add("trigger", 1)
    status, problem = notifier.call(bearer="forged")
    assert (status, problem["code"]) == (401, "unauthorized")
    status, problem = notifier.call(method="GET")
    assert (status, problem["code"]) == (405, "method_not_allowed")
    assert notifier.bench.slack.received == []


def test_a_store_that_is_down_is_a_503_and_nothing_is_lost(notifier: Notifier) -> None:
    class Down(Wrapped):
        def query(self, query: Query) -> list[Doc]:
            raise Unavailable("no answer")

    sent = notifier.bench.add("trigger", 1)
    notifier.use(Down(notifier.bench.store))
    status, problem = notifier.call()
    assert (status, problem["code"]) == (503, "store_unavailable")
    notifier.use(notifier.bench.store)
    assert notifier.call()[1]["delivered"] == 1
    assert notifier.bench.slack.shown_ids == [sent]

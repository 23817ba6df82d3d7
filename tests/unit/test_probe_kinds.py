"""Each kind of probe against a server that answers as the real one does, well or badly."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.domain.probe import AnyProbe
from shared.domain.probing import Finding
from shared.outbound import MAX_ANSWER_BYTES, HttpOutbound
from shared.probes.ask import PROBED_DOCUMENT, Asker, missing_setting
from shared.probes.bucket import CloudBuckets
from shared.store.protocol import Data, Put, Store, Unavailable
from tests import fake_buckets
from tests.core import NOW
from tests.e2e.test_delivery import Wrapped
from tests.fake_servers import Behaviour, Exchange, FakeSlack, closing, failing, garbage, hanging

KEYS = {
    "FIREBASE_API_KEY": "firebase-key",
    "STRIPE_API_KEY": "stripe-key",
    "ANTHROPIC_API_KEY": "anthropic-key",
    "OPENAI_API_KEY": "openai-key",
    "PROBE_BUCKET": "probed",
    "PROBE_FEEDS": "on",
}
_PROBE: TypeAdapter[AnyProbe] = TypeAdapter(AnyProbe)
MODELS = json.dumps({"data": [{"id": "opus-4", "type": "model"}]})
BALANCE = json.dumps({"object": "balance", "available": [{"amount": 0, "currency": "eur"}]})
AUTH = json.dumps({"kind": "identitytoolkit#CreateAuthUriResponse", "sessionId": "x", "registered": False})
SUMMARY = json.dumps({"status": {"indicator": "none"}, "components": []})
HOSTED = {"stripe": BALANCE, "anthropic": MODELS, "openai": MODELS, "firebase_auth": AUTH}


class Nothing(Wrapped):
    def __init__(self) -> None:
        """A store that nobody may ask."""


def probe(kind: str, **more: Any) -> AnyProbe:
    return _PROBE.validate_python({"id": "p", "kind": kind, **more})


def ask(one: AnyProbe, store: Store | None = None, **values: str) -> Finding:
    asker = Asker(HttpOutbound(), store or Nothing(), CloudBuckets("test"), {**KEYS, **values}, time.monotonic)
    return asker.ask(one, NOW)


def found(kind: str, behave: Behaviour, **more: Any) -> Finding:
    with FakeSlack(behave) as server:
        more |= {"timeoutSeconds": 0.5} if behave is hanging else {}
        return ask(probe(kind, url=f"http://127.0.0.1:{server.port}/v1", **more))


@pytest.mark.parametrize("kind", HOSTED)
def test_an_answer_as_the_provider_gives_it_is_good(kind: str) -> None:
    finding = found(kind, failing(200, HOSTED[kind]))
    assert (finding.outcome, finding.reason) == ("good", "answered")
    assert finding.latency is not None


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("stripe", "authorization", "Bearer stripe-key"),
        ("openai", "authorization", "Bearer openai-key"),
        ("anthropic", "x-api-key", "anthropic-key"),
        ("anthropic", "anthropic-version", "2023-06-01"),
        ("firebase_auth", "x-goog-api-key", "firebase-key"),
    ],
)
def test_the_key_goes_where_the_provider_wants_it_and_not_into_the_address(kind: str, header: str, value: str) -> None:
    with FakeSlack(failing(200, HOSTED[kind])) as server:
        ask(probe(kind, url=f"http://127.0.0.1:{server.port}/v1"))
        (received,) = server.received
    assert received.headers[header] == value
    assert "key" not in received.path


@pytest.mark.parametrize("kind", HOSTED)
@pytest.mark.parametrize(
    ("behave", "outcome", "reason"),
    [
        (failing(401, "{}"), "unknown", "key_refused"),
        (failing(403, "{}"), "unknown", "key_refused"),
        (failing(429, "{}"), "impaired", "rate_limited"),
        (failing(500, "{}"), "failed", "status_unexpected"),
        (failing(529, "{}"), "failed", "status_unexpected"),
        (failing(302, "", {"Location": "http://127.0.0.1/login"}), "failed", "status_unexpected"),
        (failing(200, "<html>We are sorry</html>"), "failed", "not_json"),
        (failing(200, "{}"), "failed", "json_condition"),
        (failing(200, "[]"), "failed", "json_condition"),
        (closing, "failed", "connection_lost"),
        (garbage, "failed", "unreadable_answer"),
        (hanging, "failed", "timeout"),
    ],
    ids=["401", "403", "429", "500", "529", "302", "html", "empty", "list", "closes", "garbage", "hangs"],
)
def test_a_refused_key_is_no_outage_and_all_else_is_what_it_is(
    kind: str, behave: Behaviour, outcome: str, reason: str
) -> None:
    finding = found(kind, behave)
    assert (finding.outcome, finding.reason) == (outcome, reason)


def test_a_long_list_of_models_and_a_long_status_page_are_read_whole() -> None:
    models = json.dumps({"data": [{"id": f"ft:gpt-4:our-org:{n:06}"} for n in range(4000)]})
    assert len(models) > 2 * MAX_ANSWER_BYTES
    assert found("openai", failing(200, models)).outcome == "good"
    page = {
        "components": [{"name": f"c{n}", "status": "operational"} for n in range(3000)],
        "status": {"indicator": "major"},
    }
    assert found("feed", failing(200, json.dumps(page))).reason == "feed_degraded"


def test_a_key_that_firebase_does_not_know_is_refused_too() -> None:
    body = json.dumps({"error": {"code": 400, "details": [{"reason": "API_KEY_INVALID"}]}})
    assert found("firebase_auth", failing(400, body)).reason == "key_refused"


def test_the_public_keys_of_firebase_need_no_key_of_ours() -> None:
    one = probe("firebase_auth", check="keys")
    assert missing_setting(one, {}) is None
    assert found("firebase_auth", failing(200, json.dumps({"keys": [{"kid": "1"}]})), check="keys").outcome == "good"
    assert found("firebase_auth", failing(200, json.dumps({"keys": []})), check="keys").outcome == "failed"


@pytest.mark.parametrize("kind", [*HOSTED, "cloud_storage"])
def test_without_its_key_a_probe_is_not_set_up(kind: str) -> None:
    missing = missing_setting(probe(kind), {})
    assert missing in KEYS
    assert missing_setting(probe(kind), {str(missing): "x"}) is None


@pytest.mark.parametrize(
    "behave",
    [failing(500), failing(200, "<html>"), closing, garbage, hanging],
    ids=["500", "html", "closes", "garbage", "hangs"],
)
def test_a_status_page_that_is_down_says_nothing_about_the_provider(behave: Behaviour) -> None:
    assert found("feed", behave).outcome == "unknown"


def test_a_status_page_is_read_wherever_it_has_moved_to_in_public() -> None:
    assert found("feed", failing(200, SUMMARY)).reason == "feed_operational"
    with FakeSlack(failing(200, SUMMARY)) as private:
        assert found("feed", failing(301, "", {"Location": private.url})).reason == "address_refused"


def test_settings_stand_in_address_header_and_body() -> None:
    with FakeSlack(failing(200)) as server:
        one = probe(
            "http",
            url="${APP_BASE_URL}/api/health?k=${PROBE_KEY}",
            method="POST",
            headers={"Authorization": "Bearer ${PROBE_KEY}", "Content-Type": "application/json"},
            body='{"key": "${PROBE_KEY}"}',
        )
        assert missing_setting(one, {}) == "APP_BASE_URL"
        assert missing_setting(one, {"APP_BASE_URL": "x"}) == "PROBE_KEY"
        ask(one, APP_BASE_URL=f"http://127.0.0.1:{server.port}", PROBE_KEY="abc")
        (received,) = server.received
    assert (received.method, received.path, received.body) == ("POST", "/api/health?k=abc", b'{"key": "abc"}')
    assert received.headers["authorization"] == "Bearer abc"


def test_a_head_request_is_judged_by_its_status() -> None:
    def head(exchange: Exchange) -> None:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Content-Length", "5000")
        exchange.handler.end_headers()

    with FakeSlack(head) as server:
        assert ask(probe("http", url=server.url, method="HEAD")).outcome == "good"


class TestStore:
    def test_a_write_that_is_read_back_is_good(self, store: Store) -> None:
        finding = ask(probe("store"), store)
        assert (finding.outcome, set(finding.figures)) == ("good", {"readLatency", "writeLatency"})

    def test_a_store_that_fails_is_a_failure(self, sqlite_store: Store) -> None:
        class Down(Wrapped):
            def commit(self, writes: Any) -> None:
                raise Unavailable("canary")

        finding = ask(probe("store"), Down(sqlite_store))
        assert (finding.outcome, finding.reason, finding.detail) == ("failed", "store_failed", "Unavailable")

    def test_a_write_that_is_gone_is_a_failure_and_a_later_one_of_another_run_is_none(
        self, sqlite_store: Store
    ) -> None:
        class Forgetful(Wrapped):
            after: Data | None = None

            def commit(self, writes: Any) -> None:
                if self.after:
                    self.inner.commit([Put(PROBED_DOCUMENT, self.after)])

        store = Forgetful(sqlite_store)
        assert ask(probe("store"), store).reason == "lost_write"
        store.after = {"mark": "old", "at": NOW - timedelta(minutes=1)}
        assert ask(probe("store"), store).reason == "lost_write"
        store.after = {"mark": "other", "at": NOW}
        assert ask(probe("store"), store).outcome == "good"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code sets for Google's client is taken back."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with fake_buckets.emulator() as address:
        fake_buckets.fill(address, "probed", {"other": 1})
        yield address


class TestCloudStorage:
    def test_a_file_that_is_written_and_read_back_is_good(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{address}")
        one = probe("cloud_storage")
        assert [ask(one).outcome for _ in range(2)] == ["good", "good"]

    def test_a_bucket_that_is_not_there_is_a_fault_of_ours(self, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{address}")
        finding = ask(probe("cloud_storage"), PROBE_BUCKET="no-such-bucket")
        assert (finding.outcome, finding.reason) == ("unknown", "no_such_bucket")

    @pytest.mark.parametrize(
        ("behave", "outcome", "reason"),
        [
            (failing(503), "failed", "storage_failed"),
            (failing(403), "unknown", "not_allowed"),
            (hanging, "failed", "timeout"),
            (closing, "failed", "storage_unreachable"),
            (garbage, "failed", "storage_unreachable"),
        ],
        ids=["503", "403", "hangs", "closes", "garbage"],
    )
    def test_what_cloud_storage_does_is_told_in_a_word(
        self, behave: Behaviour, outcome: str, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FakeSlack(behave) as server:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_buckets.address_of(server))
            finding = ask(probe("cloud_storage", **({"timeoutSeconds": 0.5} if behave is hanging else {})))
        assert (finding.outcome, finding.reason) == (outcome, reason)

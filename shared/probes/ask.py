"""One attempt of a probe, by its kind. Never raises for what the other side does; says in a word what came of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.domain.probe import (
    AnyProbe,
    CloudStorageProbe,
    FeedProbe,
    FirebaseAuthProbe,
    HttpProbe,
    ModelsProbe,
    StripeProbe,
    names_in,
)
from shared.domain.probing import Finding, judged, told_by_feed
from shared.outbound import Outbound, OutboundError, Reply
from shared.probes.bucket import Bucket, BucketError
from shared.probes.fetch import fetch
from shared.settings import FIREBASE_KEYS
from shared.store.protocol import Put, Store, StoreError

PROBED_DOCUMENT = "status/probe"
BUCKET = "PROBE_BUCKET"
_KEYS = {
    "firebase_auth": "FIREBASE_API_KEY",
    "stripe": "STRIPE_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "cloud_storage": BUCKET,
    "feed": "PROBE_FEEDS",
}
_URLS = {
    "firebase_auth": "https://identitytoolkit.googleapis.com/v1/accounts:createAuthUri",
    "stripe": "https://api.stripe.com/v1/balance",
    "anthropic": "https://api.anthropic.com/v1/models?limit=1",
    "openai": "https://api.openai.com/v1/models",
}
LARGEST_LIST = 1_000_000  # bytes: of a list of models, or of a status page in the middle of an incident
_JSON = {"Content-Type": "application/json"}


def missing_setting(probe: AnyProbe, values: Mapping[str, str]) -> str | None:
    """The first setting that the probe needs and that is not there."""
    if isinstance(probe, HttpProbe):
        named = [name for text in (probe.url, *probe.headers.values(), probe.body or "") for name in names_in(text)]
    elif isinstance(probe, FirebaseAuthProbe) and probe.check == "keys":
        named = []
    else:
        named = [_KEYS[probe.kind]] if probe.kind in _KEYS else []
    return next((name for name in named if name not in values), None)


class Asker:
    """`values`: the settings that probes may use, by name. `monotonic` measures how long an answer took."""

    def __init__(
        self,
        outbound: Outbound,
        store: Store,
        bucket: Callable[[str], Bucket],
        values: Mapping[str, str],
        monotonic: Callable[[], float],
    ) -> None:
        self._outbound = outbound
        self._store = store
        self._bucket = bucket
        self._values = values
        self._monotonic = monotonic

    def prepare(self) -> None:
        """Load what the first attempt would else have to: with a sixth of a processor, its latency would be that."""
        if BUCKET in self._values:
            self._bucket(self._values[BUCKET]).prepare()

    def ask(self, probe: AnyProbe, now: datetime) -> Finding:
        """Takes `probe.timeout_seconds` at most, but for a slow name lookup, which the round does not wait for."""
        begun = self._monotonic()
        try:
            found = self._ask(probe, now)
        except OutboundError as error:
            found = Finding("unknown" if isinstance(probe, FeedProbe) else "failed", error.reason)
        except StoreError as error:
            found = Finding("failed", "store_failed", type(error).__name__)
        except BucketError as error:
            found = Finding("unknown" if error.refused else "failed", error.reason)
        latency = (self._monotonic() - begun) * 1000
        if found.outcome not in ("good", "impaired", "out"):
            return found
        if found.outcome == "good" and probe.slow_ms is not None and latency > probe.slow_ms:
            found = replace(found, outcome="slow", reason="slow")
        return replace(found, latency=latency)

    def _ask(self, probe: AnyProbe, now: datetime) -> Finding:
        match probe:
            case HttpProbe():
                return self._http(probe, now)
            case FeedProbe():
                reply = self._get(probe, probe.url, {}, redirects=3)
                if reply.status != 200:
                    return Finding("unknown", "feed_unreadable", str(reply.status))
                return told_by_feed(probe, reply.body)
            case FirebaseAuthProbe():
                return self._firebase(probe)
            case StripeProbe():
                return _answered(
                    self._get(probe, probe.url or _URLS[probe.kind], self._bearer(probe)), "object", lists=False
                )
            case ModelsProbe():
                headers = self._bearer(probe)
                if probe.kind == "anthropic":
                    headers = {"x-api-key": self._values[_KEYS[probe.kind]], "anthropic-version": "2023-06-01"}
                return _answered(self._get(probe, probe.url or _URLS[probe.kind], headers), "data")
            case CloudStorageProbe():
                return self._cloud_storage(probe)
        return self._written_and_read(now)

    def _http(self, probe: HttpProbe, now: datetime) -> Finding:
        headers = {name: self._filled(value) for name, value in probe.headers.items()}
        body = self._filled(probe.body).encode() if probe.body is not None else None
        reply = fetch(
            self._outbound, self._monotonic, probe.method, self._filled(probe.url), body, headers,
            probe.timeout_seconds, redirects=probe.redirects, private_redirects=probe.private_redirects,
        )  # fmt: skip
        return judged(probe.expect, reply.status, reply.body, reply.certificate_ends, now)

    def _firebase(self, probe: FirebaseAuthProbe) -> Finding:
        if probe.check == "keys":
            reply = self._get(probe, probe.url or FIREBASE_KEYS, {})
            return _answered(reply, "keys")
        question = {"identifier": "probe@example.com", "continueUri": "http://localhost"}
        reply = self._outbound.call(
            "POST",
            probe.url or _URLS[probe.kind],
            json.dumps(question).encode(),
            {**_JSON, "X-Goog-Api-Key": self._values[_KEYS[probe.kind]]},
            probe.timeout_seconds,
        )
        if reply.status == 400 and b"API_KEY_INVALID" in reply.body:
            return Finding("unknown", "key_refused", "400")
        return _answered(reply, "sessionId", lists=False)

    def _written_and_read(self, now: datetime) -> Finding:
        """A write and a read of one document. Another run's mark in it is as good: it came after ours."""
        mark = secrets.token_hex(8)
        begun = self._monotonic()
        self._store.commit([Put(PROBED_DOCUMENT, {"mark": mark, "at": now, "rev": mark})])
        written = self._monotonic()
        found = self._store.get(PROBED_DOCUMENT)
        read = self._monotonic()
        if found is None or (found.data.get("mark") != mark and found.data["at"] < now):
            return Finding("failed", "lost_write")
        return Finding(
            "good",
            "answered",
            figures={"writeLatency": (written - begun) * 1000, "readLatency": (read - written) * 1000},
        )

    def _cloud_storage(self, probe: CloudStorageProbe) -> Finding:
        bucket = self._bucket(self._values[BUCKET])
        mark = secrets.token_hex(8).encode()
        bucket.write(probe.object, mark, probe.timeout_seconds)
        found = bucket.read(probe.object, probe.timeout_seconds)
        return Finding("good", "answered") if len(found) == len(mark) else Finding("failed", "lost_write")

    def _get(self, probe: AnyProbe, url: str, headers: Mapping[str, str], redirects: int = 0) -> Reply:
        return fetch(
            self._outbound, self._monotonic, "GET", url, None, headers, probe.timeout_seconds,
            redirects=redirects, most=LARGEST_LIST,
        )  # fmt: skip

    def _bearer(self, probe: AnyProbe) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._values[_KEYS[probe.kind]]}"}

    def _filled(self, text: str) -> str:
        for name in names_in(text):
            text = text.replace(f"${{{name}}}", self._values[name])
        return text


def _answered(reply: Reply, field: str, *, lists: bool = True) -> Finding:
    """An answer of an API that we hold a key of: its JSON must have this field, a list or not, and not empty."""
    if reply.status in (401, 403):
        return Finding("unknown", "key_refused", str(reply.status))
    if reply.status == 429:
        return Finding("impaired", "rate_limited", "429")
    if reply.status != 200:
        return Finding("failed", "status_unexpected", str(reply.status))
    try:
        data: Any = json.loads(reply.body)
    except (ValueError, RecursionError):
        return Finding("failed", "not_json")
    value = data.get(field) if isinstance(data, dict) else None
    if not value or isinstance(value, list) is not lists:
        return Finding("failed", "json_condition", field)
    return Finding("good", "answered")

"""Nothing internal gets out: canaries in every internal field of every source document, looked for in every byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.bootstrap import App
from shared.components import load_components
from shared.outbound import HttpOutbound
from shared.settings import Settings
from shared.status.publish import publish_status
from shared.store.protocol import Data, Put
from shared.store.sqlite import SqliteStore
from tests.e2e.status_support import ROOT, ROUTES, served
from tests.unit.status_scenes import BILLING, MEASURED, NOW, PAST, alert, incident, minutes, run, update

CANARY = "canary"

# What of each document is public, or has its canary already. All else, and all that might be added, is internal.
PUBLIC: dict[str, set[str]] = {
    "runs/alertRules": {"factsAt", "openAlerts", "slos", *(f"slos.{f}" for f in (
        "name", "metric", "component", "unit", "value", "good", "total", "windowSeconds", "alertTotal"))},
    "runs/healthProbe": {"probes", "probes.API", "probes.API.health", *(f"probes.API.health.{f}" for f in (
        "state", "checkedAt", "latency"))},
    "alerts": {"state", "severity", "metric", "component", "alertId"},
    "incidents": {"title", "impact", "status", "components", "startedAt", "identifiedAt", "mitigatedAt", "resolvedAt",
                  "publicVisible", "autoCreated", "updates", "updates.timestamp", "updates.status", "updates.message",
                  "updates.public", "updates.author"},
    "maintenances": {"title", "message", "status", "components", "scheduledFor", "scheduledUntil", "startedAt",
                     "completedAt", "publicVisible", "updates", "updates.timestamp", "updates.status",
                     "updates.message", "updates.public"},
    "config/flags": {"ops", "ops.public_status_page", "rev"},
}  # fmt: skip


class Canaries:
    """Marks each internal text with a canary of its own, and adds fields that nobody knows yet."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}

    def new(self, where: str) -> str:
        name = f"{CANARY}{len(self.planted):04d}"
        self.planted[name] = where
        return name

    def in_document(self, path: str, data: Data) -> Data:
        kind = path if path in PUBLIC else path.partition("/")[0]
        found: Data = self.in_value(path, "", data, PUBLIC[kind])
        return found

    def in_value(self, path: str, at: str, value: Any, public: set[str]) -> Any:
        if isinstance(value, dict):
            inside = {key: self.in_value(path, f"{at}.{key}".lstrip("."), item, public) for key, item in value.items()}
            return inside | {"unknownField": self.new(f"{path} {at}.unknownField")}
        if isinstance(value, list) and at in public:
            return [self.in_value(path, at, item, public) for item in value]
        if at in public:
            return value
        if isinstance(value, str):
            return f"{value} {self.new(f'{path} {at}')}"
        if isinstance(value, list):
            return [self.in_value(path, at, item, public) for item in value] + [self.new(f"{path} {at}")]
        return self.new(f"{path} {at}") if value is None else value


def internal(text: str) -> Data:
    return {**update(NOW - minutes(5), "identified", text), "author": text, "public": False}


def documents(canaries: Canaries) -> dict[str, Data]:
    """One document of each kind with everything that it can have; the hidden ones are internal as a whole."""
    hidden = incident(
        canaries.new("title of a hidden incident"),
        "high",
        ("Auth",),
        NOW - minutes(9),
        publicVisible=False,
        updates=[
            {
                **update(NOW - minutes(9), "investigating", canaries.new("update of a hidden incident")),
                "author": canaries.new("author"),
            }
        ],
    )
    slos = [{**slo, "name": canaries.new("name of an SLO"), "kind": "ratio", "labels": {}} for slo in MEASURED]
    automatic = incident(
        f"{slos[0]['name']} broke", "low", ("API",), NOW - minutes(30), autoCreated=True,
        updates=[{**update(NOW - minutes(30), "investigating", canaries.new("its text")), "author": "f0-ops"}],
    )  # fmt: skip
    people = {**BILLING, "updates": [*BILLING["updates"], internal(canaries.new("an internal update"))]}
    old = {
        **people, "title": "Deliveries were late", "status": "resolved", "startedAt": NOW - timedelta(days=60),
        "resolvedAt": NOW - timedelta(days=59),
    }  # fmt: skip
    work = {
        "title": "Storage is upgraded", "message": "Uploads wait.", "status": "in_progress", "components": ["Storage"],
        "scheduledFor": NOW - minutes(30), "scheduledUntil": NOW + minutes(30), "startedAt": NOW - minutes(29),
        "completedAt": None, "publicVisible": True, "rev": "r1", "createdBy": "uid", "silenceIds": ["s1"],
        "updates": [
            {**update(NOW - minutes(29), "in_progress", "It begins."), "author": "uid", "public": True},
            internal(canaries.new("an internal update of a maintenance")),
        ],
    }  # fmt: skip
    probes = {
        "API": {
            "health": {
                "state": "degraded",
                "reason": "status_unexpected",
                "detail": "503",
                "failures": 1,
                "successes": 0,
                "checkedAt": NOW - timedelta(seconds=20),
                "latency": 900,
                "since": NOW,
                "url": "https://internal.example.com",
            }
        }
    }
    return {
        "runs/alertRules": run(slos, alerts=("errors",)),
        "runs/healthProbe": {"probes": probes, "runId": "run-9", "rev": "r1", "roundAt": NOW},
        "alerts/errors": alert("errors", "error_rate", "warning"),
        "incidents/billing": people,
        "incidents/past": PAST,
        "incidents/old": old,
        "incidents/old-automatic": {**old, **automatic, "startedAt": NOW - timedelta(days=50), "status": "resolved",
                                    "resolvedAt": NOW - timedelta(days=50)},
        "incidents/old-hidden": {**hidden, "startedAt": NOW - timedelta(days=40), "status": "resolved"},
        "incidents/hidden": hidden,
        "incidents/automatic-errors": automatic,
        "maintenances/work": work,
        "maintenances/hidden": {**work, "publicVisible": False, "title": canaries.new("title of hidden maintenance"),
                                "message": canaries.new("message of hidden maintenance")},
        "config/flags": {"ops": {"public_status_page": True}, "rev": "r1"},
    }  # fmt: skip


@contextmanager
def published(folder: Path, canaries: Canaries) -> Iterator[tuple[App, str]]:
    """Everything planted, published by the real code, and served."""
    config = shutil.copytree(ROOT / "config", folder / "config")
    data = json.loads((config / "components.json").read_text())
    for component in data["components"]:
        for probe in component.get("probes", ()):
            if "url" in probe:
                probe["url"] = f"https://{canaries.new('url of a probe')}.example.com/health"
    (config / "components.json").write_text(json.dumps(data))
    store = SqliteStore(folder / "store.db")
    for path, document in documents(canaries).items():
        store.commit([Put(path, canaries.in_document(path, document))])
    app = App(Settings.load({"F0_STORE": "sqlite", "CONFIG_DIR": str(config)}), store, HttpOutbound(), lambda: NOW)
    publish_status(store, load_components(config), app.flags, NOW)
    with served(app) as url:
        yield app, url


def test_no_canary_is_in_any_public_byte(tmp_path: Path) -> None:
    canaries = Canaries()
    with published(tmp_path, canaries) as (_, url):
        summary = requests.get(f"{url}/api/v2/summary.json", timeout=20).json()
        past = requests.get(f"{url}/api/v2/incidents.json", timeout=20).json()["incidents"]
        names = {e["id"] for e in [*summary["incidents"], *summary["scheduled_maintenances"], *past]}
        assert len(names) == 6  # three incidents, two of automation's, one maintenance
        pages = [
            *ROUTES,
            *(f"/status/incidents/{name}" for name in sorted(names)),
            "/status/incidents/hidden",
            "/status/incidents/old-hidden",
            "/nothing",
        ]
        seen = {}
        for n, path in enumerate(pages):
            for method in ("GET", "HEAD", "OPTIONS", "POST"):
                client = {"X-Forwarded-For": f"203.0.113.{n}"}
                answer = requests.request(method, url + path, headers=client, timeout=20)
                seen[f"{method} {path}"] = f"{answer.status_code} {dict(answer.headers)}\n".encode() + answer.content
    assert len(canaries.planted) > 100
    found = {
        f"{where}: {canaries.planted[name]}"
        for where, content in seen.items()
        for name in canaries.planted
        if name.encode() in content
    }
    assert found == set()
    everything = b"".join(seen.values())
    for word in (b"f0-ops", b"internal.example.com", b"status_unexpected", b"run-9"):
        assert word not in everything
    for word in (
        b"Payments are failing",
        b"Storage is upgraded",
        b"It begins.",
        b"Sign-in was not possible",
        b"Deliveries",
    ):
        assert word in everything  # what is public did get out, so the test looked at real answers


@pytest.mark.parametrize("field", ["title", "impact"])
def test_a_canary_in_a_public_field_is_found(tmp_path: Path, field: str) -> None:
    """The test above would notice: planted where it is public, a canary is in the page."""
    store = SqliteStore(tmp_path / "store.db")
    planted = {**BILLING, field: CANARY}
    store.commit([Put("incidents/one", planted)])
    app = App(Settings.load({"F0_STORE": "sqlite"}), store, HttpOutbound(), lambda: NOW)
    publish_status(store, load_components(ROOT / "config"), app.flags, NOW)
    with served(app) as url:
        assert CANARY in requests.get(f"{url}/status", timeout=20).text.lower()

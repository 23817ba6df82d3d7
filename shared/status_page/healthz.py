"""The health answer: the components as one JSON object, for badges and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.status.cache import Served

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGE = b'"ageSeconds": '
_KEYS = (
    ("provider", "provider"), ("latency", "latency"), ("uptime90", "uptime"), ("readLatency", "readLatency"),
    ("writeLatency", "writeLatency"), ("message", "message"),
)  # fmt: skip


def age(served: Served, now: datetime) -> int:
    """Of the snapshot, in whole seconds; 0 without one."""
    snapshot = served.snapshot
    return max(0, int((now - snapshot["publishedAt"]).total_seconds())) if snapshot is not None else 0


def body(served: Served, age: int) -> bytes:
    """The JSON answer; all of it but `ageSeconds` is made once for each snapshot."""
    ready: tuple[bytes, bytes] | None = served.prepared.get("healthz")
    if ready is None:
        ready = served.prepared["healthz"] = _halves(served)
    before, after = ready
    if served.snapshot is None or not served.enabled:
        return before
    return b"%b%d%b" % (before, age, after)


def _halves(served: Served) -> tuple[bytes, bytes]:
    """The bytes before and after the value of `ageSeconds`; without one, all bytes and none."""
    before, mark, after = json.dumps(_content(served), ensure_ascii=False).encode().partition(_AGE + b"0")
    return (before + _AGE, after) if mark else (before, b"")


def _content(served: Served) -> dict[str, Any]:
    snapshot = served.snapshot
    if not served.enabled:
        return {"status": "disabled", "components": {}}
    if snapshot is None:
        return {"status": "unknown", "components": {}}
    since = {c["id"]: _milliseconds(c["uptimeSince"]) for c in snapshot["components"] if "uptimeSince" in c}
    return {
        "status": snapshot["overall"],
        "ageSeconds": 0,  # before all texts of people, so that the first match is this one
        "seq": snapshot["seq"],
        "publishedAt": _milliseconds(snapshot["publishedAt"]),
        **({"uptimeSince": since} if since else {}),
        "components": {component["id"]: _component(component) for component in snapshot["components"]},
    }


def _component(component: Mapping[str, Any]) -> dict[str, Any]:
    """One object with `status`; where several providers stand behind a component, one such object for each."""
    found: dict[str, Any] = {"status": component["state"]}
    if component.get("maintenance") is True:
        found["maintenance"] = True  # what probes find meanwhile does not count, so its state is operational
    for key, name in _KEYS:
        if key in component:
            found[name] = component[key]
    if "lastCheck" in component:
        found["lastCheck"] = _milliseconds(component["lastCheck"])
    if "providers" not in component:
        return found
    return {provider["name"]: _provider(provider, found) for provider in component["providers"]}


def _provider(provider: Mapping[str, Any], component: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the provider itself; of an older snapshot, what is known of the component."""
    if "state" not in provider:
        return {**component, "models": provider["models"]}
    found = {"status": provider["state"], "models": provider.get("models") or []}
    if "maintenance" in component:
        found |= {"status": component["status"], "maintenance": True}
    for key in ("latency", "message"):
        if provider.get(key) is not None:
            found[key] = provider[key]
    if provider.get("basis") == "feed":
        found["basis"] = "feed"
    if "lastCheck" in component:
        found["lastCheck"] = component["lastCheck"]
    return found


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)

"""Situations that the status tests show, as documents in a real store, published by the real code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shared.bootstrap import App
from shared.components import load_components
from shared.outbound import HttpOutbound
from shared.settings import Settings
from shared.status.publish import publish_status
from shared.store.protocol import Data, Put, Store
from shared.store.sqlite import SqliteStore

NOW = datetime(2026, 3, 4, 10, 7, 30, tzinfo=UTC)
COMPONENTS = load_components(Path(__file__).parents[2] / "config")


def minutes(n: float) -> timedelta:
    return timedelta(minutes=n)


def slo(
    metric: str,
    component: str,
    *,
    value: float | None,
    good: int = 99_982,
    total: int = 100_000,
    recent: int = 20,
) -> Data:
    """A reported SLO. `recent`: events in the alert's window."""
    return {
        "id": f"slo-{metric}",
        "name": f"SLO of {metric}",
        "metric": metric,
        "component": component,
        "objective": 99.5,
        "unit": "ms",
        "value": value,
        "compliance": "met" if total else "no_data",
        "good": good,
        "total": total,
        "windowSeconds": 30 * 86_400,
        "alertTotal": recent if total else 0,
        "budgetLeft": 0.4,
        "alertState": "ok",
        "reason": "back_within_threshold",
    }


MEASURED = [
    slo("error_rate", "API", value=0.018),
    slo("api_latency", "API", value=212.4),
    slo("agent_success_rate", "AI_Providers", value=99.9),
    slo("firestore_write_latency", "Database", value=78.2),
    slo("firestore_read_latency", "Database", value=44.7),
]


def run(slos: list[Data] | None = None, alerts: tuple[str, ...] = (), facts_at: datetime | None = None) -> Data:
    return {
        "factsAt": facts_at or NOW - minutes(2.5),
        "runId": "run-1",
        "configHash": "hash-1",
        "finishedAt": NOW,
        "openAlerts": list(alerts),
        "slos": MEASURED if slos is None else slos,
        "rev": "r1",
    }


def alert(name: str, metric: str, severity: str, component: str = "API", state: str = "firing") -> Data:
    return {
        "alertId": name,
        "sloId": f"slo-{metric}",
        "sloName": f"SLO of {metric}",
        "rule": "threshold",
        "component": component,
        "severity": severity,
        "state": state,
        "seq": 1,
        "since": NOW,
        "reason": "threshold_exceeded",
        "metric": metric,
        "rev": "r1",
    }


def incident(title: str, impact: str, components: tuple[str, ...], started: datetime, **more: Any) -> Data:
    return {
        "title": title,
        "impact": impact,
        "status": "investigating",
        "components": list(components),
        "startedAt": started,
        "identifiedAt": None,
        "mitigatedAt": None,
        "resolvedAt": None,
        "updates": [],
        "rootCause": "",
        "actionItems": [],
        "publicVisible": True,
        "alertIds": [],
        "autoCreated": False,
        "rev": "r1",
        **more,
    }


def update(at: datetime, status: str, message: str) -> Data:
    return {"timestamp": at, "status": status, "message": message, "author": "uid-of-an-admin"}


BILLING = incident(
    "Payments are failing for some cards",
    "critical",
    ("Billing", "API"),
    NOW - minutes(47),
    status="identified",
    identifiedAt=NOW - minutes(21),
    updates=[
        update(NOW - minutes(47), "investigating", "Some card payments are declined. We are looking into it."),
        update(
            NOW - minutes(21),
            "identified",
            "Our payment provider has a problem with cards issued in the euro area. Payments that fail now are kept "
            "and tried again by themselves once the provider has recovered: nobody needs to pay twice.\n\nInvoices "
            "and subscriptions are not affected.",
        ),
        update(
            NOW - minutes(3), "identified", "The provider has found the fault and expects to recover within an hour."
        ),
    ],
)
LONG = incident(
    "Slow saving in the workspace "
    "with-an-identifier-that-is-really-very-long-and-has-no-place-to-break-0123456789-0123456789-0123456789",
    "medium",
    ("Database", "Storage", "AI_Providers"),
    NOW - minutes(90),
    updates=[
        update(NOW - minutes(80), "investigating", "Saving takes longer than usual <script>alert(1)</script> & so on.")
    ],
)
PAST = incident(
    "Sign-in was not possible",
    "high",
    ("Auth",),
    NOW - timedelta(days=3, minutes=102),
    status="resolved",
    resolvedAt=NOW - timedelta(days=3),
    updates=[
        update(NOW - timedelta(days=3, minutes=100), "investigating", "Signing in fails. We are looking into it."),
        update(NOW - timedelta(days=3), "resolved", "Signing in works again. A certificate had expired."),
    ],
)
PAST_MINOR = incident(
    "Delayed e-mails", "low", (), NOW - timedelta(days=9, minutes=2900), status="resolved",
    resolvedAt=NOW - timedelta(days=9),
    updates=[update(NOW - timedelta(days=9), "resolved", "All e-mails have been sent.")],
)  # fmt: skip

ALL_MEASURED = [
    *MEASURED,
    slo("other_auth", "Auth", value=1.0),
    slo("other_billing", "Billing", value=1.0),
    slo("other_storage", "Storage", value=1.0),
]
NO_DATA = [slo("agent_success_rate", "AI_Providers", value=None, good=0, total=0)]

Scene = dict[str, Data]
SCENES: dict[str, Scene] = {
    "operational": {"runs/alertRules": run(ALL_MEASURED), "incidents/i1": PAST, "incidents/i2": PAST_MINOR},
    "degraded": {
        "runs/alertRules": run(alerts=("latency",)),
        "alerts/latency": alert("latency", "api_latency", "warning"),
    },
    "outage": {
        "runs/alertRules": run(alerts=("errors", "writes")),
        "alerts/errors": alert("errors", "error_rate", "critical"),
        "alerts/writes": alert("writes", "firestore_write_latency", "warning", "Database"),
        "incidents/i1": PAST,
        "incidents/i3": BILLING,
        "incidents/i4": LONG,
    },
    "mix": {"runs/alertRules": run(MEASURED[:2] + NO_DATA)},
    "no_data": {},
    "disabled": {"runs/alertRules": run(), "config/flags": {"ops": {"public_status_page": False}, "rev": "r1"}},
}


def settings() -> Settings:
    return Settings.load({"F0_STORE": "sqlite"})


def app_on(store: Store, now: datetime = NOW) -> App:
    return App(settings(), store, HttpOutbound(), lambda: now)


def fill(store: Store, scene: Scene) -> None:
    for path, data in scene.items():
        store.commit([Put(path, data)])


def scene_app(folder: Path, name: str, now: datetime = NOW) -> App:
    """An App over a new store in `folder` with the scene in it, published unless it is `no_data`."""
    store = SqliteStore(folder / "store.db")
    fill(store, SCENES[name])
    app = app_on(store, now)
    if name != "no_data":
        publish_status(store, COMPONENTS, app.flags, NOW)
    return app

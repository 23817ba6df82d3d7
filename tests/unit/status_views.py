"""Snapshots with everything that a snapshot can have, for the tests of the page, and an App that serves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from shared.bootstrap import App
from shared.store.protocol import Data, Put
from shared.store.sqlite import SqliteStore
from tests.unit.status_scenes import NOW, app_on, minutes

DAY = 86_400
FIRST = NOW.date() - timedelta(days=89)


def history(troubles: Mapping[int, tuple[int, int, int]], *, known: int = 90) -> Data:
    """90 days; `troubles`: seconds of degradation, outage and maintenance by days ago. `known`: days with data."""
    days = []
    for ago in range(89, -1, -1):
        length = (
            DAY if ago else int((NOW - datetime.combine(NOW.date(), datetime.min.time(), NOW.tzinfo)).total_seconds())
        )
        degraded, outage, maintenance = troubles.get(ago, (0, 0, 0))
        seconds = {"degraded": degraded, "outage": outage, "maintenance": maintenance}
        seconds["operational"] = length - sum(seconds.values())
        days.append({"unknown": length} if ago >= known else {s: k for s, k in seconds.items() if k})
    return {"from": FIRST.isoformat(), "days": days}


def component(name: str, label: str | None = None, state: str = "operational", **more: Any) -> Data:
    return {"id": name, "name": label or name, "state": state, "lastCheck": NOW - timedelta(seconds=20), **more}


def components(**states: Data) -> list[Data]:
    """The six of the original, each with what `states` says of it by id."""
    six = [
        component("API", latency=212, history=history({3: (5400, 0, 0), 41: (600, 4300, 0)}), uptime90=99.94),
        component("Auth", provider="Firebase Auth", history=history({}), uptime90=100.0),
        component("Billing", provider="Stripe", history=history({12: (0, 0, 3600)}), uptime90=100.0),
        component(
            "AI_Providers",
            "AI Providers",
            history=history({1: (9000, 0, 0), 2: (4200, 1200, 0), 20: (800, 0, 0)}),
            uptime90=99.81,
            providers=[
                provider("Claude", ["sonnet-4-5", "opus-4"], latency=1200),
                provider("OpenAI", ["gpt-4"], latency=980),
            ],
        ),
        component(
            "Database", provider="Firestore", readLatency=45, writeLatency=78, history=history({}), uptime90=99.99
        ),
        component("Storage", provider="Cloud Storage", history=history({}, known=23), uptime90=100.0),
    ]
    return [{**c, **states.get(c["id"], {})} for c in six]


def provider(name: str, models: list[str], state: str = "operational", **more: Any) -> Data:
    return {"name": name, "models": models, "state": state, "basis": "probe", **more}


def incident(
    name: str, title: str, impact: str, affected: Iterable[str], started: datetime, *updates: Data, **more: Any
) -> Data:
    status = updates[-1]["status"] if updates else "investigating"
    end = {"resolvedAt": updates[-1]["timestamp"]} if status == "resolved" else {}
    return {
        "id": name, "title": title, "impact": impact, "status": status, "components": list(affected),
        "startedAt": started, "updates": list(updates), "earlierUpdates": 0, **end, **more,
    }  # fmt: skip


def update(at: datetime, status: str, message: str = "") -> Data:
    return {"timestamp": at, "status": status, "message": message}


def maintenance(
    name: str, title: str, status: str, begin: datetime, hours: float, affected: Iterable[str], **more: Any
) -> Data:
    return {
        "id": name, "title": title, "message": "", "status": status, "components": list(affected),
        "scheduledFor": begin, "scheduledUntil": begin + timedelta(hours=hours), "updates": [], **more,
    }  # fmt: skip


def snapshot(overall: str, parts: list[Data] | None = None, **more: Any) -> Data:
    return {
        "rev": "r1",
        "seq": 7,
        "publishedAt": NOW,
        "enabled": True,
        "overall": overall,
        "page": {
            "name": "F0",
            "timeZone": "Etc/UTC",
            "links": [{"label": "F0", "url": "https://f0.com"}, {"label": "Contact", "url": "mailto:ops@f0.com"}],
        },
        "components": components() if parts is None else parts,
        "incidents": PAST,
        "maintenances": [PLANNED],
        **more,
    }


PAYMENTS = incident(
    "payments", "Payments are failing for some cards", "critical", ["Billing"], NOW - minutes(64),
    update(NOW - minutes(62), "investigating", "Some payments are declined. We are looking into it."),
    update(NOW - minutes(40), "identified", "A webhook of our provider is not answered. No card is charged twice."),
    update(NOW - minutes(9), "mitigating", "The webhook is deployed anew. What was declined is being sent again."),
)  # fmt: skip
SLOW = incident(
    "slow", "Answers take longer than usual", "medium", ["AI_Providers", "API"], NOW - minutes(22),
    update(NOW - minutes(20), "investigating", "OpenAI answers slowly. Claude is not affected."),
)  # fmt: skip
PAST = [
    incident(
        "signin", "Sign-in was not possible", "high", ["Auth"], NOW - timedelta(days=3, minutes=102),
        update(NOW - timedelta(days=3, minutes=100), "investigating", "Signing in fails. We are looking into it."),
        update(NOW - timedelta(days=3), "resolved", "Signing in works again. A certificate had expired."),
    ),
    incident(
        "mails", "Delayed e-mails", "low", [], NOW - timedelta(days=9, minutes=2900),
        update(NOW - timedelta(days=9), "resolved", "All e-mails have been sent."),
    ),
]  # fmt: skip
PLANNED = maintenance(
    "move", "Database moves to a new region", "scheduled", NOW + timedelta(days=5), 2, ["Database", "API"],
    message="Reading goes on. Saving may take a few seconds longer.",
    updates=[update(NOW - timedelta(days=1), "scheduled", "Planned for the night from Sunday to Monday.")],
)  # fmt: skip
RUNNING = maintenance(
    "upgrade", "Storage is being upgraded", "in_progress", NOW - minutes(30), 3, ["Storage"],
    startedAt=NOW - minutes(28),
    updates=[update(NOW - minutes(28), "in_progress", "Uploads are paused, downloads work.")],
)  # fmt: skip
NO_HISTORY: Data = {"history": {"days": []}}

VIEWS: dict[str, Data] = {
    "operational": snapshot("operational"),
    "degraded": snapshot(
        "degraded",
        components(
            API={"state": "degraded", "message": "Slower than usual", "latency": 834},
            AI_Providers={
                "state": "degraded",
                "providers": [
                    provider("Claude", ["sonnet-4-5", "opus-4"], latency=1200),
                    provider(
                        "OpenAI", ["gpt-4"], "degraded", latency=3500, message="Increased latency", basis="feed"
                    ),
                ],
            },
        ),
        incidents=[SLOW, *PAST],
    ),
    "outage": snapshot(
        "outage",
        components(
            API={"state": "degraded", "message": "Some requests are failing"},
            Billing={"state": "outage", "message": "Affected by a current incident"},
            Storage={"state": "not_monitored"},
        ),
        incidents=[PAYMENTS, SLOW, *PAST],
    ),
    "maintenance": snapshot(
        "operational", components(Storage={"maintenance": True}), maintenances=[RUNNING, PLANNED], incidents=PAST
    ),
    "no_data": snapshot(
        "unknown",
        [component(c["id"], c["name"], "no_data", history=history({}, known=0)) for c in components()],
        incidents=[],
        maintenances=[],
    ),
    "disabled": {**snapshot("unknown", [], incidents=[], maintenances=[]), "enabled": False},
}  # fmt: skip


def view_app(folder: Path, view: Data | None, now: datetime = NOW) -> App:
    """An App over a new store in `folder` that has this snapshot; None: an empty store."""
    store = SqliteStore(folder / "store.db")
    if view is not None:
        store.commit([Put("status/public", view)])
    return app_on(store, now)


def day(ago: int) -> date:
    return NOW.date() - timedelta(days=ago)

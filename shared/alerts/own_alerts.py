"""Alerts of F0 Ops about itself that no SLO is behind: a function that stopped, letters that died.

They are no part of alertRules' run, since they must work while that does not: each is one document, changed by
compare-and-set in one commit with its notifications.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.alerts.announcing import FACTS
from shared.alerts.quiet import quiet_reader
from shared.alerts.writes import AlertWrites
from shared.domain.alert import Step
from shared.notify.registry import configured
from shared.store.protocol import Conflict, Data, Doc, Write

if TYPE_CHECKING:
    from shared.bootstrap import App

TRIES = 5

# What an alert is to become: the step, what it says, its channels, and what is written beside it; None if it stays.
Decided = tuple[Step, Data, Sequence[str], Sequence[Write]]
Decide = Callable[[Doc | None], Decided | None]


def settle(app: App, name: str, rule: str, decide: Decide, now: datetime) -> str | None:
    """Step one alert: `fire`, `clear` or `tell` (what is new about one that fires), or None. Raises `StoreError`."""
    for _ in range(TRIES):
        alert = app.store.get(f"alerts/{name}")
        decided = decide(alert)
        if decided is None:
            return None
        taken, facts, channels, more = decided
        writes = AlertWrites(app.store, app.flags.all(), configured(app), now, quiet_reader(app))
        seq = (alert.data["seq"] if alert else 0) + 1
        try:
            app.store.commit([*writes.own(name, rule, facts, taken, alert, seq, channels), *more])
        except Conflict:
            continue  # also where the reply to the first try was lost
        return taken.transition or "tell"
    raise Conflict(f"alerts/{name} kept changing")


def channels_of_all(app: App) -> list[str]:
    """Whoever hears of any SLO hears of these."""
    return sorted({channel for slo in app.slos.current().slos for channel in slo.alert.channels})


def own_facts(name: str, before: Doc | None, taken: Step, now: datetime, **said: Any) -> Data:
    """What such an alert says, in the fields that an SLO's has."""
    data = before.data if before and before.data["state"] == "firing" else {}
    fires = taken.transition == "fire"
    facts: Data = dict.fromkeys(FACTS)
    return {
        **facts,
        "sloId": name,
        "labels": {},
        "aggregation": "last",
        "comparison": "above",
        "windowSeconds": 300,
        "firedAt": now if fires else data.get("firedAt"),
        "resolvedAt": now if taken.transition == "clear" else None,
        "reason": taken.reason,
        "judgedAt": now,
        **said,
    }

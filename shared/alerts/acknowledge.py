"""A person takes an alert on, or gives it back, and with it the whole incident: its other alerts that fire too.

The incident and its alerts change in one commit: no kill leaves a part of it, and an alert that joins meanwhile meets a
conflict.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.alerts.announcing import taken_on
from shared.alerts.marks import Changed, UnknownAlert
from shared.audited import Intent, audited
from shared.domain import in_hand
from shared.domain.notification import DEAD_LETTERS
from shared.incidents import incidents
from shared.store.protocol import Conflict, Data, Doc, Store, Unavailable, Write, over

_TRIES = 20


class NotFiring(Exception):
    """There is nothing to take on."""


@dataclass(frozen=True, slots=True)
class _Together:
    """An alert with what goes with it. `incident`: None if it has none, or no longer fires."""

    alert: Doc
    incident: Doc | None
    others: Sequence[Doc]  # alerts of the incident that fire


Decide = Callable[[_Together], list[Write]]


def acknowledge(store: Store, alert_id: str, by: str, note: str | None, now: datetime, rev: str | None = None) -> Doc:
    """Acknowledge what fires, and every alert of its incident that fires; what is acknowledged stays as it is.

    Returns the alert. Raises `UnknownAlert`, `NotFiring`, `Changed`, `StoreError`.
    """

    def decide(found: _Together) -> list[Write]:
        if found.alert.data["state"] != "firing":
            raise NotFiring(alert_id)
        taker: Data = {"by": by, "at": now, "note": note}
        untaken = [alert for alert in (found.alert, *found.others) if _is_free(alert)]
        writes = [write for alert in untaken for write in taken_on(alert, taker, now)]
        after = in_hand.acknowledged(found.incident.data, taker) if found.incident else None
        return writes + _audited(found.incident, after, Intent("alert_acknowledged", by, now))

    return _change(store, alert_id, decide, rev)


def take_back(store: Store, alert_id: str, by: str, now: datetime, rev: str | None = None) -> Doc:
    """Nobody has it any more, nor its incident: what fires of it is repeated and passed on again.

    PagerDuty knows no way back. Returns and raises the same.
    """

    def decide(found: _Together) -> list[Write]:
        if not found.alert.data.get("acknowledged"):
            return []
        taken = [alert for alert in (found.alert, *found.others) if alert.data.get("acknowledged")]
        writes: list[Write] = [
            over(alert, alert.path, {**alert.data, "acknowledged": None, "resolvedByHandAt": None, "updatedAt": now})
            for alert in taken
        ]
        after = in_hand.given_back(found.incident.data, now) if found.incident else None
        return writes + _audited(found.incident, after, Intent("alert_given_back", by, now))

    return _change(store, alert_id, decide, rev)


def together_with(store: Store, alert: Doc) -> list[str]:
    """The ids of the other alerts of its incident that fire."""
    return [doc.id for doc in _together(store, alert).others]


def _is_free(alert: Doc) -> bool:
    """Nobody has it, or only until it speaks again, or of dead letters only the earlier ones."""
    taker = alert.data.get("acknowledged")
    if not taker or alert.data.get("resolvedByHandAt"):
        return True
    return alert.id == DEAD_LETTERS and bool(taker["at"] < alert.data["judgedAt"])


def _together(store: Store, alert: Doc) -> _Together:
    name = alert.data.get("incidentId") if alert.data["state"] == "firing" else None
    incident = store.get(incidents.path_of(name)) if name else None
    if incident is None:
        return _Together(alert, None, ())
    others = incidents.firing_alerts(store, incident.id, incident.data)
    return _Together(alert, incident, [doc for doc in others if doc.id != alert.id])


def _audited(incident: Doc | None, after: Data | None, intent: Intent) -> list[Write]:
    return [] if incident is None or after is None else list(audited(incident, incident.path, after, intent))


def _change(store: Store, alert_id: str, decide: Decide, rev: str | None) -> Doc:
    path = f"alerts/{alert_id}"
    for _ in range(_TRIES):
        alert = store.get(path)
        if alert is None:
            raise UnknownAlert(alert_id)
        writes = decide(_together(store, alert))
        if not writes:
            return alert
        if rev is not None and rev != alert.data["rev"] and any(write.path == path for write in writes):
            raise Changed(alert.data["rev"])
        try:
            store.commit(writes)
        except (Conflict, Unavailable):  # an answer that was lost is found done at the next look
            time.sleep(random.uniform(0, 0.02))
            continue
        return store.get(path) or alert
    raise Conflict(f"{path} kept changing")

"""A person takes an alert on: it is repeated and passed on no more, and PagerDuty hears of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime

from shared.alert_marks import Changed, UnknownAlert
from shared.alert_writes import FACTS, announced
from shared.incidents import acknowledged
from shared.store.protocol import Conflict, Data, Doc, Store, Unavailable, Write, over

_TRIES = 20
_HEARS = "pagerduty"  # the channel that has a word for it


class NotFiring(Exception):
    """There is nothing to take on."""


def acknowledge(store: Store, alert_id: str, by: str, note: str | None, now: datetime, rev: str | None = None) -> Doc:
    """Acknowledge what fires; what is acknowledged already stays as it is. Returns the alert.

    Raises `UnknownAlert`, `NotFiring`, `Changed`, `StoreError`.
    """

    def decide(alert: Doc) -> tuple[Data, list[Write]] | None:
        if alert.data["state"] != "firing":
            raise NotFiring(alert_id)
        if alert.data.get("acknowledged"):
            return None
        taken = acknowledged(store, alert.data.get("incidentId"), by, now)  # of whose time to acknowledge this is
        after = {**alert.data, "acknowledged": {"by": by, "at": now, "note": note}, "updatedAt": now}
        if alert.data["channels"].get(_HEARS, {}).get("state") != "announced":
            return after, taken
        seq = alert.data["seq"] + 1
        facts = {**{name: alert.data.get(name) for name in FACTS}, "rule": alert.data.get("rule")}
        write, _ = announced(alert_id, seq, _HEARS, "acknowledge", facts, now, None)
        return {**after, "seq": seq}, [write, *taken]

    return _change(store, alert_id, decide, rev)


def take_back(store: Store, alert_id: str, now: datetime, rev: str | None = None) -> Doc:
    """Nobody has it any more: it is repeated and passed on again. PagerDuty knows no way back. Raises the same."""

    def decide(alert: Doc) -> tuple[Data, list[Write]] | None:
        if not alert.data.get("acknowledged"):
            return None
        return {**alert.data, "acknowledged": None, "updatedAt": now}, []

    return _change(store, alert_id, decide, rev)


def _change(
    store: Store, alert_id: str, decide: Callable[[Doc], tuple[Data, list[Write]] | None], rev: str | None
) -> Doc:
    path = f"alerts/{alert_id}"
    for _ in range(_TRIES):
        alert = store.get(path)
        if alert is None:
            raise UnknownAlert(alert_id)
        decided = decide(alert)
        if decided is None:
            return alert
        if rev is not None and rev != alert.data["rev"]:
            raise Changed(alert.data["rev"])
        try:
            store.commit([*decided[1], over(alert, path, decided[0])])
        except (Conflict, Unavailable):  # an answer that was lost is found done at the next look
            time.sleep(random.uniform(0, 0.02))
            continue
        return store.get(path) or alert
    raise Conflict(f"{path} kept changing")

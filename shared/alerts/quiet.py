"""What may hold alerts back now, as the store has it: silences, maintenances, and which alerts fire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.alerts.firings import all_that_fires
from shared.alerts.silences import silences_in_force
from shared.delivery.policy import PolicyLoader
from shared.domain.inhibition import Inhibitors
from shared.domain.matcher import Labels, labels_of
from shared.domain.notification_policy import NotificationPolicy
from shared.domain.quiet import HELD_KINDS, MAINTENANCE_IN_FORCE, Hold, Quiet, maintained
from shared.store.protocol import Doc, Query, Store

if TYPE_CHECKING:
    from shared.bootstrap import App

AGE_SECONDS = 8.0  # what is known of silences may be so old: then they are as fast as kill switches
MOST_MAINTENANCES = 100
_NOTHING = Inhibitors((), ())


class QuietReader:
    """Reads at its first use, and again once that is `AGE_SECONDS` old. Make one for each run."""

    def __init__(self, store: Store, policy: NotificationPolicy, monotonic: Any) -> None:
        self.store = store
        self.policy = policy
        self._monotonic = monotonic
        self._quiet: Quiet | None = None
        self._firing: Inhibitors | None = None
        self._read_at = self._firing_read_at = 0.0

    def hold(self, channel: str, alert_id: str, rule: str, facts: Mapping[str, Any], now: datetime) -> Hold | None:
        """Why what begins or goes on is not told on this channel now, or None. Raises `StoreError`."""
        labels = labels_of(alert_id, rule, facts)
        quiet = self._current(now)
        firing = self._all_firing() if quiet.needs_firing(labels) else _NOTHING
        return quiet.hold(channel, labels, firing, now)

    def hold_of(self, notification: Mapping[str, Any], now: datetime) -> Hold | None:
        """The same for a notification's document. Raises `StoreError`."""
        if notification["kind"] not in HELD_KINDS:
            return None
        facts = notification["facts"]
        return self.hold(notification["channel"], notification["alertId"], facts.get("rule") or "", facts, now)

    def _current(self, now: datetime) -> Quiet:
        if self._quiet is None or self._monotonic() - self._read_at >= AGE_SECONDS:
            self._read_at = self._monotonic()
            query = Query("maintenances", (("status", "in", tuple(MAINTENANCE_IN_FORCE)),), limit=MOST_MAINTENANCES)
            docs = self.store.query(query)
            self._quiet = Quiet(
                self.policy, silences_in_force(self.store, now), maintained((doc.id, doc.data) for doc in docs)
            )
        return self._quiet

    def _all_firing(self) -> Inhibitors:
        """Its age counts from the end of the reading: that of thousands must not make them too old to be used."""
        if self._firing is None or self._monotonic() - self._firing_read_at >= AGE_SECONDS:
            self._firing = Inhibitors(self.policy.inhibitions, map(_labels, all_that_fires(self.store)))
            self._firing_read_at = self._monotonic()
        return self._firing


def _labels(doc: Doc) -> Labels:
    return labels_of(doc.id, doc.data.get("rule") or "", doc.data)


def quiet_reader(app: App) -> QuietReader:
    return QuietReader(app.store, app.part(PolicyLoader).policy, app.monotonic)

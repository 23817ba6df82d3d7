"""Alerts on spending: findings become alerts and notifications, by the same outbox as those of SLOs.

`alerts/cost-…` is compare-and-set together with the notifications that tell of it, so that a finding is told once
however often a run comes, and a new finding of the same alert has the next `seq`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from shared import log
from shared.alerts.announcing import announced
from shared.config_file import load_exact
from shared.domain.notification import Kind, withhold_reason
from shared.domain.quiet import Hold
from shared.domain.spending import Finding, Spending
from shared.store.protocol import Conflict, Data, Doc, Store, Unavailable, Write, new_rev, over

FILE = "spending.json"
COMPONENT = "Costs"
ATTEMPTS = 10
STAYS_OPEN = ("pagerduty", "webhook")  # the end of what they were told is told there, whatever else says it


def load_spending(config_dir: Path) -> Spending:
    """Raises `ConfigError` with every fault."""
    return load_exact(config_dir / FILE, Spending)


class SpendingAlerts:
    """`flags` by dotted name; `configured`: every channel that can be sent on, and whether it has an address.

    `firing`: the alerts that fired when the run began, by id: what is calm and not among them needs no look.

    Of several thresholds of a budget that are crossed in one run only the highest is told. The others are recorded all
    the same: their notifications are withheld, and `saidBy` of a firing one names the alert that says it.
    """

    def __init__(
        self,
        store: Store,
        policy: Spending,
        flags: Mapping[str, Any],
        configured: Mapping[str, bool],
        firing: Mapping[str, Data],
        now: datetime,
    ) -> None:
        self._store = store
        self._policy = policy
        self._flags = flags
        self._configured = configured
        self._firing = firing
        self._now = now
        self.fired: list[str] = []
        self.cleared: list[str] = []

    def apply(self, finding: Finding) -> None:
        """Raises `StoreError`."""
        if not finding.firing and finding.id not in self._firing:
            return
        path = f"alerts/{finding.id}"
        for attempt in range(ATTEMPTS):
            doc = self._store.get(path)
            was_firing = doc is not None and doc.data["state"] == "firing"
            if finding.firing == was_firing:
                return
            rev = new_rev()
            try:
                self._store.commit(self._writes(path, doc, finding, rev))
            except Conflict:
                continue
            except Unavailable:
                found = self._store.get(path)
                if found is None or found.data["rev"] != rev:
                    if attempt >= 2:
                        raise
                    continue
            (self.fired if finding.firing else self.cleared).append(finding.id)
            log.info("spending changed an alert", alert=finding.id, reason=finding.reason)
            return
        raise Conflict(f"{path} kept changing")

    def _writes(self, path: str, doc: Doc | None, finding: Finding, rev: str) -> list[Write]:
        before: Mapping[str, Any] = doc.data if doc else {}
        seq = before.get("seq", 0) + 1
        fired_at = self._now if finding.firing else before["firedAt"]
        firing_seq = seq if finding.firing else before.get("firingSeq")
        facts = {**spending_facts(finding, fired_at, self._now), "firingSeq": firing_seq}
        heard = () if finding.firing else before["channels"]  # it may have been passed on to further ones
        kind: Kind = "trigger" if finding.firing else "resolve"
        told: Data = {}
        writes: list[Write] = []
        said_by = next(iter(finding.above), None) if finding.firing else before.get("saidBy")
        for channel in sorted({*self._policy.channels, *heard}):
            hold = self._hold(channel, finding, said_by)
            write, told[channel] = announced(finding.id, seq, channel, kind, facts, self._now, hold)
            writes.append(write)
        alert = {
            **facts,
            "alertId": finding.id,
            "rule": "spending",
            "state": "firing" if finding.firing else "resolved",
            "seq": seq,
            "since": self._now,
            "calmSince": None,
            "fired": [*before.get("fired", []), *([self._now] if finding.firing else [])][-5:],
            "updatedAt": self._now,
            "channels": told,
            "markedFalse": None,
            "acknowledged": None,
            "saidBy": said_by if finding.firing else None,
            "rev": rev,
        }
        return [over(doc, path, alert), *writes]

    def _hold(self, channel: str, finding: Finding, said_by: str | None) -> Hold | None:
        """Why this is not told on the channel, or None. `said_by`: the alert that says that it fires in its place."""
        if said_by is not None:
            return Hold("higher_threshold", said_by)
        if not finding.firing and channel not in STAYS_OPEN:
            for higher in finding.above:  # which clears in this run too
                heard = self._firing.get(higher, {}).get("channels", {}).get(channel, {})
                if heard.get("state") == "announced":
                    return Hold("higher_threshold", higher)
        reason = withhold_reason(channel, self._flags, self._configured, severity=finding.severity, explicit=True)
        return Hold(reason) if reason else None


def spending_facts(finding: Finding, fired_at: datetime, now: datetime) -> Data:
    """In the words that every channel has; numbers as they are shown, since the exact ones are in the summaries."""
    return {
        "sloId": finding.id,
        "sloName": finding.name,
        "severity": finding.severity,
        "metric": "token_cost",
        "labels": dict(finding.labels),
        "unit": finding.unit,
        "under": None,
        "aggregation": "sum" if finding.unit == "USD" else "count",
        "value": float(finding.value),
        "threshold": float(finding.limit),
        "comparison": "above",
        "good": None,
        "total": None,
        "windowSeconds": finding.seconds,
        "burn": None,
        "component": COMPONENT,
        "firedAt": fired_at,
        "resolvedAt": None if finding.firing else now,
        "incidentId": None,
        "reason": finding.reason,
        "spending": dict(finding.told),
        "judgedAt": now,
    }

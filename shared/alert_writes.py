"""The documents of one alert that changes: the alert, its incident, its notifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain import incident as incidents
from shared.domain.alert import IMPACT, RULE, Step
from shared.domain.notification import Kind, new_notification, withhold_reason
from shared.evaluation import Evaluation
from shared.store.protocol import Create, Data, Doc, Store, Write, new_rev, over

FACTS = (
    "sloId", "sloName", "severity", "metric", "labels", "unit", "under", "aggregation", "value", "threshold",
    "comparison", "good", "total", "windowSeconds", "component", "firedAt", "resolvedAt", "incidentId", "reason",
)  # fmt: skip


class AlertWrites:
    """`flags` by dotted name; `configured`: every channel that can be sent on, and whether it has an address."""

    def __init__(self, store: Store, flags: Mapping[str, Any], configured: Mapping[str, bool], now: datetime) -> None:
        self.store = store
        self.flags = flags
        self.configured = configured
        self.now = now

    def withheld(self, channel: str, severity: str) -> str | None:
        """Why nothing may be told on a channel now, or None."""
        return withhold_reason(channel, self.flags, self.configured, severity=severity, explicit=True)

    def facts(self, evaluation: Evaluation, value: float | None, taken: Step, alert: Doc | None) -> Data:
        """What the alert and its notifications say."""
        slo, counts = evaluation.slo, evaluation.facts.counts
        fires = taken.transition == "fire"
        return {
            "sloId": slo.id,
            "sloName": slo.name,
            "severity": slo.alert.severity,
            "metric": slo.metric,
            "unit": slo.unit,
            "under": slo.under_text,
            "labels": dict(slo.labels),
            "aggregation": slo.aggregation,
            "value": value,
            "threshold": float(slo.threshold),
            "comparison": "above" if slo.more_is_worse else "below",
            "good": counts.good,
            "total": counts.total,
            "windowSeconds": slo.alert.window,
            "component": evaluation.component,
            "firedAt": self.now if fires or alert is None else alert.data["firedAt"],
            "resolvedAt": self.now if taken.transition == "clear" else None,
            "incidentId": None if fires or alert is None else alert.data["incidentId"],
            "reason": taken.reason,
        }

    def change(
        self, name: str, facts: Data, taken: Step, alert: Doc | None, seq: int, channels: Sequence[str]
    ) -> list[Write]:
        """The writes of one change: incident, notifications, alert."""
        writes: list[Write] = []
        if taken.transition == "fire":
            facts = {**facts, "incidentId": f"{name}-{seq}"}
            writes.append(Create(f"incidents/{name}-{seq}", self._incident(name, facts)))
        elif taken.transition == "clear" and facts["incidentId"]:
            writes += self._clear_incident(facts)
        told = dict(alert.data["channels"]) if alert and taken.transition != "fire" else {}
        kind: Kind = "resolve" if taken.transition == "clear" else "trigger"
        for channel in channels:
            reason = self.withheld(channel, facts["severity"])
            path, data = new_notification(name, seq, channel, kind, facts, self.now, reason)
            writes.append(Create(path, data))
            told[channel] = {"seq": seq, "state": "withheld" if reason else "announced", "reason": reason}
        data = {
            **facts,
            "alertId": name,
            "rule": RULE,
            "state": taken.state,
            "seq": seq,
            "since": self.now if taken.transition or alert is None else alert.data["since"],
            "updatedAt": self.now,
            "channels": told,
        }
        writes.append(over(alert, f"alerts/{name}", data))
        return writes

    def _incident(self, name: str, facts: Data) -> Data:
        title = f"{facts['sloName']}: {told_briefly(facts)}"
        message = (
            f"Opened by the alert {name}: {told_briefly(facts)} over the last {facts['windowSeconds'] // 60} minutes."
        )
        return {
            **incidents.opened(title, IMPACT[facts["severity"]], facts["component"], name, message, self.now),
            "rev": new_rev(),
        }

    def _clear_incident(self, facts: Data) -> list[Write]:
        doc = self.store.get(f"incidents/{facts['incidentId']}")
        if doc is None:
            return []
        minutes = max(1, round((self.now - doc.data["startedAt"]).total_seconds() / 60))
        message = f"The alert cleared after {minutes} min: {told_briefly(facts)}."
        return [over(doc, doc.path, {**incidents.cleared(doc.data, message, self.now), "rev": new_rev()})]


def told_briefly(facts: Mapping[str, Any]) -> str:
    """`error rate 12.3 %, threshold 0.5 %`."""
    unit = facts["unit"]
    name = facts["metric"].replace("_", " ")
    if facts.get("under"):
        name = f"{name} within {facts['under']}:"
    if facts["aggregation"].startswith("p") and facts["aggregation"][1:].isdigit():
        name = f"{facts['aggregation']} of {name}"
    value = "no value" if facts["value"] is None else f"{facts['value']:.4g} {unit}"
    return f"{name} {value}, threshold {facts['threshold']:g} {unit}"

"""The documents of one alert that changes: the alert, its incident, its notifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from shared.alerts.announcing import HEARS, acknowledging, announced
from shared.alerts.firings import begun, ended
from shared.alerts.quiet import QuietReader
from shared.domain import incident_alerts
from shared.domain.alert import IMPACT, THRESHOLD, Facts, Memory, Rule, Step
from shared.domain.budget import burn_rate
from shared.domain.catch_up import SLOT
from shared.domain.incident_policy import SHIPPED, IncidentPolicy
from shared.domain.notification import Kind, withhold_reason
from shared.domain.quiet import HELD_KINDS, Hold
from shared.domain.timeline import lasted
from shared.incidents import incidents
from shared.slo.evaluation import Evaluation
from shared.store.protocol import Data, Doc, Store, Write, over

# what people and time did to a firing: the next one begins without
OF_A_FIRING = ("markedFalse", "acknowledged", "escalated", "repeatedAt", "resolvedByHandAt", "againAt")


class AlertWrites:
    """`flags` by dotted name; `configured`: every channel that can be sent on, and whether it has an address."""

    def __init__(
        self,
        store: Store,
        flags: Mapping[str, Any],
        configured: Mapping[str, bool],
        now: datetime,
        quiet: QuietReader | None = None,
        policy: IncidentPolicy = SHIPPED,
    ) -> None:
        self.store = store
        self.flags = flags
        self.configured = configured
        self.now = now
        self.quiet = quiet
        self.policy = policy

    def withheld(self, channel: str, name: str, rule: str, facts: Mapping[str, Any], kind: Kind) -> Hold | None:
        """Why an alert may not be told on a channel now, or None."""
        reason = withhold_reason(channel, self.flags, self.configured, severity=facts["severity"], explicit=True)
        if reason is not None:
            return Hold(reason)
        if self.quiet is None or kind not in HELD_KINDS:
            return None
        return self.quiet.hold(channel, name, rule, facts, self.now)

    def facts(
        self,
        evaluation: Evaluation,
        rule: Rule,
        judged: Facts,
        value: float | None,
        taken: Step,
        alert: Doc | None,
        judged_at: datetime,
    ) -> Data:
        """What the alert and its notifications say. `judged_at`: the end of the time that they say it of."""
        slo, counts = evaluation.slo, judged.counts
        fires = taken.transition == "fire"
        before = alert.data if alert and alert.data["state"] == "firing" else {}  # else it is of an earlier time
        told: Data = {
            "sloId": slo.id,
            "sloName": slo.name,
            "severity": rule.severity,
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
            "windowSeconds": judged.seconds or slo.alert.window,
            "component": evaluation.component,
            "firedAt": self.now if fires else before.get("firedAt"),
            "resolvedAt": self.now if taken.transition == "clear" else None,
            "incidentId": None if fires else before.get("incidentId"),
            "reason": taken.reason,
            "judgedAt": judged_at,
            "runbook": slo.alert.runbook,
            "burn": None,
        }
        return told | _burn_facts(evaluation, judged, cleared=taken.transition == "clear") if rule.pairs else told

    def change(
        self, rule: Rule, facts: Data, taken: Step, memory: Memory, alert: Doc | None, seq: int, channels: Sequence[str]
    ) -> list[Write]:
        """The writes of one change: incident, notifications, alert. `memory`: what the alert remembers from now on."""
        impact = rule.slo.alert.impact or IMPACT[rule.severity]
        return self._writes(
            rule.alert_id, rule.name, facts, taken, memory, alert, seq, channels, impact if rule.incident else None
        )

    def close(self, name: str, facts: Data, taken: Step, alert: Doc, seq: int, channels: Sequence[str]) -> list[Write]:
        """The writes that end an alert which no rule is behind any more."""
        memory = Memory(fired=tuple(alert.data.get("fired") or ()))
        return self._writes(name, alert.data.get("rule", THRESHOLD), facts, taken, memory, alert, seq, channels, None)

    def own(
        self, name: str, rule: str, facts: Data, taken: Step, alert: Doc | None, seq: int, channels: Sequence[str]
    ) -> list[Write]:
        """The writes of an alert about F0 Ops itself: of no SLO, and without an incident."""
        return self._writes(name, rule, facts, taken, Memory(), alert, seq, channels, None)

    def _writes(
        self,
        name: str,
        rule: str,
        facts: Data,
        taken: Step,
        memory: Memory,
        alert: Doc | None,
        seq: int,
        channels: Sequence[str],
        impact: str | None,
    ) -> list[Write]:
        """`impact`: of the incident that is opened; None if none is to be."""
        writes: list[Write] = []
        firing = self._firing(taken, alert, seq)
        if taken.transition == "fire" and impact is not None:
            incident, opening, firing["acknowledged"] = self._open_incident(name, seq, facts, impact)
            facts = {**facts, "incidentId": incident}
            writes += opening
        elif taken.transition == "clear" and facts["incidentId"]:
            writes += self._clear_incident(name, facts)
        if taken.transition == "fire":
            writes.append(begun(name, rule, seq, facts, self.now))
        elif taken.transition == "clear" and alert is not None:
            writes += ended(self.store, alert, self.now)
        facts = {**facts, "firingSeq": firing["firingSeq"]}
        told = dict(alert.data["channels"]) if alert and taken.transition != "fire" else {}
        kind: Kind = "resolve" if taken.transition == "clear" else "trigger"
        said = {**facts, "rule": rule}
        if firing["acknowledged"] and kind == "trigger":
            said["acknowledged"] = firing["acknowledged"]
        for channel in channels:
            hold = self.withheld(channel, name, rule, facts, kind)
            write, told[channel] = announced(name, seq, channel, kind, said, self.now, hold)
            writes.append(write)
        data = {
            **facts,
            "alertId": name,
            "rule": rule,
            "state": taken.state,
            "seq": seq,
            **firing,
            "since": memory.since or (alert.data["since"] if alert and not _begins(taken, alert) else self.now),
            "calmSince": memory.calm_since,
            "fired": list(memory.fired),
            "updatedAt": self.now,
            "channels": told,
        }
        if firing["acknowledged"] and kind == "trigger" and HEARS in channels:  # told once, and that somebody has it
            data, more = acknowledging(data, self.now)
            writes += more
        writes.append(over(alert, f"alerts/{name}", data))
        return writes

    def _firing(self, taken: Step, alert: Doc | None, seq: int) -> Data:
        """Of the last firing: the `seq` that its record is named by, and the mark of a responder."""
        if taken.transition == "fire":
            return {"firingSeq": seq, **dict.fromkeys(OF_A_FIRING)}
        before = alert.data if alert else {}
        return {"firingSeq": before.get("firingSeq"), **{name: before.get(name) for name in OF_A_FIRING}}

    def _open_incident(self, name: str, seq: int, facts: Data, impact: str) -> tuple[str, list[Write], Data | None]:
        """The id of the alert's incident, its writes, and who has it in hand: that of its cause which is open, or just
        was; else what a person has opened on its component; else a new one.

        Read after the run's document, which is compared-and-set with it: no other run can open one in between.
        """
        minutes = f"{facts['windowSeconds'] // 60} minutes"
        late = self.now - facts["judgedAt"] >= SLOT
        over = f"{minutes} until {facts['judgedAt']:%Y-%m-%d %H:%M} UTC" if late else f"the last {minutes}"
        told = f"{told_briefly(facts)} over {over}."
        cause = incident_alerts.cause_of(facts["component"], facts["metric"])
        recent = incidents.of_cause(self.store, cause)
        known = next((doc for doc in recent if incident_alerts.takes(doc.data, self.now, self.policy)), None)
        if known is None:
            ongoing = incidents.ongoing(self.store)
            known = next((d for d in ongoing if incident_alerts.awaits(d.data, facts["component"], name)), None)
        if known is not None:
            again = known.data["status"] == "resolved"
            message = f"{'Opened again' if again else 'Joined'} by the alert {name}: {told}"
            after = incident_alerts.joined(
                known.data, impact, name, message, self.now, cause=cause, runbook=facts.get("runbook")
            )
            action = "refired" if again else "joined"
            return known.id, incidents.automated(known, known.path, after, action, self.now), after["acknowledged"]
        path = incidents.path_of(f"{name}-{seq}")
        data = incident_alerts.opened(
            f"{facts['sloName']}: {told_briefly(facts)}",
            impact,
            facts["component"],
            name,
            f"Opened by the alert {name}: {told}",
            self.now,
            cause=cause,
            runbook=facts.get("runbook"),
        )
        return f"{name}-{seq}", incidents.automated(None, path, data, "opened", self.now), None

    def _clear_incident(self, name: str, facts: Data) -> list[Write]:
        doc = self.store.get(incidents.path_of(facts["incidentId"]))
        if doc is None:
            return []
        since = facts.get("firedAt") or doc.data["startedAt"]  # what a person opened may have begun long before
        which = f" {name}" if len(doc.data["alertIds"]) > 1 else ""
        message = f"The alert{which} cleared after {lasted(self.now - since)}: {told_briefly(facts)}."
        after = incident_alerts.cleared(doc.data, name, message, self.now, self.policy)
        return incidents.automated(doc, doc.path, after, "cleared", self.now)


def _begins(taken: Step, alert: Doc) -> bool:
    """Whether a state begins with this step: calming down, and burning again, are no new state."""
    return taken.transition is not None and taken.state != alert.data["state"]


def _burn_facts(evaluation: Evaluation, judged: Facts, *, cleared: bool) -> Data:
    """What a burn-rate alert says in place of a measured value. Rates are floats, for people.

    It clears by its short window, so that is the one that is told then: the long one still has the trouble in it.
    """
    slo, most = evaluation.slo, judged.burning[0]
    told = most.short if cleared else most.long
    rate = burn_rate(told, slo.good_share)
    left = slo.budget_left(evaluation.window)
    return {
        "unit": "×",
        "aggregation": "burn",
        "comparison": "above",
        "value": float(rate) if isinstance(rate, Fraction) else None,
        "threshold": float(most.pair.factor),
        "good": told.good,
        "total": told.total,
        "windowSeconds": most.pair.short if cleared else most.pair.long,
        "burn": {
            "objective": f"{slo.good_percent:f} %",
            "budgetSeconds": slo.period,
            "shortSeconds": most.pair.short,
            "budgetLeft": None if left is None else float(left),
        },
    }


def told_briefly(facts: Mapping[str, Any]) -> str:
    """`error rate 12.3 %, threshold 0.5 %`."""
    unit = facts["unit"]
    name = facts["metric"].replace("_", " ")
    if facts.get("burn"):
        name = f"error budget of {name} burns"
    elif facts.get("under"):
        name = f"{name} within {facts['under']}:"
    if facts["aggregation"].startswith("p") and facts["aggregation"][1:].isdigit():
        name = f"{facts['aggregation']} of {name}"
    value = "no value" if facts["value"] is None else f"{facts['value']:.4g} {unit}"
    return f"{name} {value}, threshold {facts['threshold']:g} {unit}"

"""One run of alertRules: fold, evaluate, and one atomic commit for each alert that changes.

`runs/alertRules` guards it: every commit changes that document too, so a run that was overtaken by newer facts, or by
another configuration, meets a conflict and stops. An alert, its incident and its notifications are written together or
not at all.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared import log
from shared.backfill import backfill
from shared.components import load_components
from shared.domain import incident as incidents
from shared.domain.alert import IMPACT, RULE, Facts, Step, alert_id, step
from shared.domain.component import Components
from shared.domain.metric import Registry
from shared.domain.notification import Kind, new_notification, withhold_reason
from shared.domain.rollup import Stats, merge
from shared.domain.series import split_key
from shared.domain.slo import SLOT_SECONDS, Counts, Slo, SloConfig
from shared.fold import Folded, fold
from shared.notify.registry import configured
from shared.rollups import read_blocks
from shared.slo_history import SloHistory, Window
from shared.store.protocol import Conflict, Create, Doc, Store, Unavailable, Write, new_rev, over

if TYPE_CHECKING:
    from shared.bootstrap import App

RUN = "runs/alertRules"
SLOT = timedelta(seconds=SLOT_SECONDS)
TRIES = 20

Data = dict[str, Any]


class Overtaken(Exception):
    """Another run knows newer facts, or runs on another configuration."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one SLO reads now. `window`: counts over its own window; `facts`: over the alert's."""

    slo: Slo
    component: str | None
    window: Counts
    facts: Facts
    value: float | None
    ready: bool


@dataclass(slots=True)
class RunResult:
    facts_at: datetime
    folded: Folded
    fired: list[str]
    cleared: list[str]
    told_again: list[str]
    overtaken: bool = False


class AlertRun:
    """`flags` by dotted name; `configured`: every channel that can be sent on, and whether it has an address.

    `before`: the document of the run before, as it was when `config` was not yet read; None if there was none.
    """

    def __init__(
        self,
        store: Store,
        config: SloConfig,
        registry: Registry,
        components: Components,
        history: SloHistory,
        flags: Mapping[str, Any],
        configured: Mapping[str, bool],
        now: datetime,
        before: Doc | None = None,
    ) -> None:
        self.store = store
        self.config = config
        self.registry = registry
        self.components = components
        self.history = history
        self.flags = flags
        self.configured = configured
        self.now = now
        self.facts_at = last_mark(now)
        self.run_id = secrets.token_hex(8)
        self.run = before
        self.base_hash: str | None = before.data["configHash"] if before else None
        self.folded = Folded()
        self.steps: dict[str, Step] = {}

    def __call__(self, may_go_on: Callable[[], bool]) -> RunResult:
        """Raises `StoreError`; what was committed until then stands, and the next run goes on from it."""
        self.folded = folded = fold(self.store, self.registry, self.config.definitions, self.now, may_go_on=may_go_on)
        result = RunResult(self.facts_at, folded, [], [], [])
        ready, written = backfill(self.store, self.registry, self.config.definitions, self.now, may_go_on)
        self.history.forget(None if written else folded.days)
        try:
            self._guard()
            evaluations = self._evaluate(ready)
            if self.flags["ops.slo_enforced"] is True:
                open_alerts = self._open_alerts()
                for evaluation in evaluations:
                    self._settle(evaluation, open_alerts.get(alert_id(evaluation.slo)), result)
                self._close_orphans(open_alerts, result)
            self._finish(evaluations)
        except Overtaken:
            result.overtaken = True
        return result

    # --- facts

    def evaluate(self) -> list[Evaluation]:
        """What the SLOs read, without fold, commit or alert: for a report."""
        self.run = self.store.get(RUN)
        return self._evaluate({d.hash for d in self.config.definitions})

    def _evaluate(self, ready: set[str]) -> list[Evaluation]:
        if not self.config.slos:
            return []
        longest = max(max(slo.window, slo.alert.window) for slo in self.config.slos)
        window = self.history.load(self.facts_at - timedelta(seconds=longest), self.facts_at, self.now)
        return [self._evaluate_one(slo, window, ready) for slo in self.config.slos]

    def _evaluate_one(self, slo: Slo, window: Window, ready: set[str]) -> Evaluation:
        start = self.facts_at - timedelta(seconds=slo.alert.window)
        facts = Facts(window.count(slo.trigger, start, self.facts_at), self.folded.complete)
        whole = window.count(slo.objective, self.facts_at - timedelta(seconds=slo.window), self.facts_at)
        value = slo.ratio_percent(facts.counts)
        if slo.quantile is not None and facts.counts.total:
            value = self._quantile(slo, required=slo.exceeds(facts.counts))
        component = self.components.component_of(slo.metric)
        is_ready = {slo.objective.hash, slo.trigger.hash} <= ready
        return Evaluation(slo, component, whole, facts, value, is_ready)

    def _quantile(self, slo: Slo, *, required: bool) -> float | None:
        """The quantile over the alert window, from the blocks at hand; read from the store only if somebody is told."""
        blocks, start = self.folded.blocks, self.facts_at - timedelta(seconds=slo.alert.window)
        first, last = (int(t.timestamp()) // SLOT_SECONDS for t in (start, self.facts_at))
        missing = [block for block in range(first, last) if block not in blocks]
        if missing and not required:
            return None
        for at in range(0, len(missing), 50):
            blocks.update(read_blocks(self.store, missing[at : at + 50]))
        parts: list[Stats] = [
            stats
            for block in range(first, last)
            for key, stats in blocks[block].items()
            if split_key(key)[0] == slo.metric
        ]
        return merge(parts).quantile((slo.quantile or 0) / 100) if parts else None

    # --- the guard

    def _guard(self) -> None:
        """Stop if another run has gone past this one."""
        if self.run is None:
            return
        newer = self.run.data["factsAt"] > self.facts_at
        other_config = self.run.data["configHash"] not in (self.base_hash, self.config.hash)
        if newer or other_config:
            raise Overtaken

    def _commit(self, writes: Sequence[Write], open_alerts: Sequence[str], more: Data | None = None) -> bool:
        """Commit with the run's document. False if somebody else was faster: then read and decide again.

        The document is read again in any case, since its `rev` tells whether a commit whose reply was lost took effect.
        """
        before = self.run.data if self.run else {"slos": [], "finishedAt": None}
        data = {
            **before,
            "factsAt": self.facts_at,
            "runId": self.run_id,
            "configHash": self.config.hash,
            "openAlerts": sorted(open_alerts),
            **(more or {}),
            "rev": new_rev(),
        }
        try:
            self.store.commit([*writes, over(self.run, RUN, data)])
        except Conflict:
            time.sleep(random.uniform(0, 0.02))
        except Unavailable as error:
            log.warning("a commit's reply is missing", detail=str(error))
        self.run = self.store.get(RUN)
        if self.run is not None and self.run.data["rev"] == data["rev"]:
            return True
        self._guard()
        return False

    def _open_ids(self) -> list[str]:
        return list(self.run.data["openAlerts"]) if self.run else []

    def _open_alerts(self) -> dict[str, Doc]:
        ids = self._open_ids()
        docs = self.store.get_many([f"alerts/{i}" for i in ids]) if ids else []
        return {doc.id: doc for doc in docs if doc}

    # --- one alert

    def _settle(self, evaluation: Evaluation, known: Doc | None, result: RunResult) -> None:
        """Step one alert, and commit if anything changes."""
        slo, name = evaluation.slo, alert_id(evaluation.slo)
        alert = known
        for attempt in range(TRIES):
            state = _open_state(alert)
            if not evaluation.ready:
                self.steps[slo.id] = Step(state, "backfilling")
                return
            taken = self.steps[slo.id] = step(state, slo, evaluation.facts)
            again = self._to_tell_again(alert) if alert and state == "firing" and not taken.transition else []
            if not taken.transition and not again:
                return
            if alert is None:
                alert = self.store.get(f"alerts/{name}")  # a resolved one goes on counting from its seq
                if _open_state(alert) != state:
                    continue
            # An alert that was deleted by hand starts at 1 again: step over the ids of its old notifications.
            seq = (alert.data["seq"] if alert else 0) + 1 + attempt // 4
            facts = self._facts(evaluation, taken, alert)
            heard = alert.data["channels"] if alert and taken.transition != "fire" else ()
            channels = again or sorted({*slo.alert.channels, *heard})
            if self._commit(*self._change(name, facts, taken, alert, seq, channels)):
                (result.told_again if again else result.fired if taken.state == "firing" else result.cleared).append(
                    name
                )
                log.info("alert changed", alert=name, state=taken.state, reason=taken.reason, seq=seq)
                return
            alert = self.store.get(f"alerts/{name}")
        raise Conflict(f"alerts/{name} kept changing")

    def _close_orphans(self, open_alerts: Mapping[str, Doc], result: RunResult) -> None:
        """Alerts whose SLO is no longer configured end."""
        configured = {alert_id(slo) for slo in self.config.slos}
        for name, doc in open_alerts.items():
            alert: Doc | None = doc
            for _ in range(TRIES):
                if name in configured or alert is None or _open_state(alert) == "ok":
                    break
                taken = Step("resolved", "slo_removed", "clear")
                facts = {k: alert.data[k] for k in _FACTS} | {"resolvedAt": self.now, "reason": taken.reason}
                channels = sorted(alert.data["channels"])
                if self._commit(*self._change(name, facts, taken, alert, alert.data["seq"] + 1, channels)):
                    result.cleared.append(name)
                    break
                alert = self.store.get(f"alerts/{name}")

    def _to_tell_again(self, alert: Doc) -> list[str]:
        """Channels on which this firing alert was withheld, and which may speak now."""
        last = {c: f"notifications/{alert.id}-{was['seq']}-{c}" for c, was in alert.data["channels"].items()}
        docs = dict(zip(last, self.store.get_many(list(last.values())), strict=True)) if last else {}
        told = alert.data["channels"]  # a record that has expired says nothing any more
        held = [c for c, doc in docs.items() if (doc.data if doc else told[c])["state"] == "withheld"]
        return [channel for channel in held if self._withheld(channel, alert.data["severity"]) is None]

    def _withheld(self, channel: str, severity: str) -> str | None:
        return withhold_reason(channel, self.flags, self.configured, severity=severity, explicit=True)

    def _facts(self, evaluation: Evaluation, taken: Step, alert: Doc | None) -> Data:
        """What the alert and its notifications say."""
        slo, counts, value = evaluation.slo, evaluation.facts.counts, evaluation.value
        if value is None and slo.quantile is not None:
            value = self._quantile(slo, required=True)
        fires = taken.transition == "fire"
        return {
            "sloId": slo.id,
            "sloName": slo.name,
            "severity": slo.alert.severity,
            "metric": slo.metric,
            "unit": slo.unit,
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

    def _change(
        self, name: str, facts: Data, taken: Step, alert: Doc | None, seq: int, channels: Sequence[str]
    ) -> tuple[list[Write], list[str]]:
        """The writes of one change, and the alerts that are open after it."""
        writes: list[Write] = []
        if taken.transition == "fire":
            facts = {**facts, "incidentId": f"{name}-{seq}"}
            writes.append(Create(f"incidents/{name}-{seq}", self._incident(name, facts)))
        elif taken.transition == "clear" and facts["incidentId"]:
            writes += self._clear_incident(facts)
        told = dict(alert.data["channels"]) if alert and taken.transition != "fire" else {}
        kind: Kind = "resolve" if taken.transition == "clear" else "trigger"
        for channel in channels:
            reason = self._withheld(channel, facts["severity"])
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
        others = [i for i in self._open_ids() if i != name]
        return writes, [*others, name] if taken.state == "firing" else others

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

    # --- the end

    def _finish(self, evaluations: Sequence[Evaluation]) -> None:
        slos = [self._report(e) for e in evaluations]
        for _ in range(TRIES):
            if self._commit([], self._open_ids(), {"slos": slos, "finishedAt": self.now}):
                return
        raise Conflict(f"{RUN} kept changing")

    def _report(self, evaluation: Evaluation) -> Data:
        slo, counts = evaluation.slo, evaluation.window
        taken = self.steps.get(slo.id, Step("ok", "not_enforced"))
        left = slo.budget_left(counts)
        return {
            "id": slo.id,
            "name": slo.name,
            "metric": slo.metric,
            "component": evaluation.component,
            "objective": str(slo.target),
            "unit": slo.unit,
            "value": evaluation.value,
            "compliance": slo.compliance(counts),
            "good": counts.good,
            "total": counts.total,
            "windowSeconds": slo.window,
            "budgetLeft": None if left is None else float(left),
            "alertState": taken.state,
            "reason": taken.reason,
        }


_FACTS = (
    "sloId", "sloName", "severity", "metric", "unit", "aggregation", "value", "threshold", "comparison", "good",
    "total", "windowSeconds", "component", "firedAt", "resolvedAt", "incidentId", "reason",
)  # fmt: skip


def last_mark(now: datetime) -> datetime:
    """The end of the last complete 5-minute slot."""
    return datetime.fromtimestamp(int(now.timestamp()) // SLOT_SECONDS * SLOT_SECONDS, UTC)


def told_briefly(facts: Mapping[str, Any]) -> str:
    """`error rate 12.3 %, threshold 0.5 %`."""
    unit = facts["unit"]
    name = facts["metric"].replace("_", " ")
    if facts["aggregation"].startswith("p") and facts["aggregation"][1:].isdigit():
        name = f"{facts['aggregation']} of {name}"
    value = "no value" if facts["value"] is None else f"{facts['value']:.4g} {unit}"
    return f"{name} {value}, threshold {facts['threshold']:g} {unit}"


def _open_state(alert: Doc | None) -> Any:
    return alert.data["state"] if alert and alert.data["state"] in ("pending", "firing") else "ok"


def run_alert_rules(app: App, now: datetime, may_go_on: Callable[[], bool]) -> RunResult:
    """Put an `AlertRun` together from the process's parts and run it."""
    before = app.store.get(RUN)  # first of all: a run that finds a newer configuration in it was started too early
    flags = app.flags.all()
    run = AlertRun(
        app.store,
        app.slos.current(max_age=0),
        app.slos.registry,
        load_components(app.settings.config_dir),
        app.part(_history),
        flags,
        configured(app),
        now,
        before,
    )
    return run(may_go_on)


def _history(app: App) -> SloHistory:
    return SloHistory(app.store)

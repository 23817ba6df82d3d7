"""One alert at a time: judged by every slot that is due, and committed if anything changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from shared import log
from shared.alerts.announcing import FACTS
from shared.alerts.context import context_of
from shared.alerts.run_result import RunResult
from shared.alerts.stored import StoredAlerts, memory_of, open_state
from shared.alerts.writes import AlertWrites
from shared.domain import counting
from shared.domain.alert import TOLD, Facts, Rule, Step, rules_of
from shared.domain.catch_up import Decided, Judged, catch_up
from shared.domain.metric import Registry
from shared.domain.slo import SloConfig
from shared.run_guard import RunGuard
from shared.slo.evaluation import Evaluation, Evaluator
from shared.store.protocol import Conflict, Data, Doc, Store

TRIES = 20
SEVERITIES = ("critical", "high", "warning")


class Settling:
    """`steps`: of each alert that was looked at. `result`: what is told, and of which alerts, is added to it."""

    def __init__(
        self,
        store: Store,
        config: SloConfig,
        registry: Registry,
        guard: RunGuard,
        stored: StoredAlerts,
        writes: AlertWrites,
        now: datetime,
        result: RunResult,
    ) -> None:
        self.store = store
        self.config = config
        self.registry = registry
        self.guard = guard
        self.stored = stored
        self.writes = writes
        self.now = now
        self.result = result
        self.steps: dict[str, Step] = {}
        self._judged: dict[str, tuple[Judged | None, Judged]] = {}  # by alert that stays as it is

    def settle(self, evaluator: Evaluator, evaluation: Evaluation, rule: Rule, known: Doc | None) -> None:
        """Judge one alert by every slot that is due, and commit if anything changes."""
        name, alert = rule.alert_id, known
        for attempt in range(TRIES):
            if not evaluation.ready:
                self.steps[name] = Step(open_state(alert), "backfilling")
                return
            before = self.stored.judged(name)
            outcome = self._decide(evaluator, rule, alert, before)
            if alert is None and outcome.step.transition:
                alert = self.stored.get(name)  # a resolved one goes on counting from its seq
                outcome = self._decide(evaluator, rule, alert, before)  # and it remembers when it fired
            taken, judged = outcome.step, outcome.judged
            self.steps[name] = taken
            goes_on = taken.state == "firing" and not taken.transition
            again = self._to_tell_again(alert, rule) if alert and goes_on else []
            if not taken.transition and not again:
                self._judged[name] = before, judged
                return
            tells = bool(again) or taken.transition in TOLD
            # An alert that was deleted by hand starts at 1 again: step ever farther over the ids of its old records.
            seq = (alert.data["seq"] if alert else 0) + (0 if not tells else 1 if attempt < 3 else 2 ** (attempt - 2))
            value = evaluator.value(rule, outcome.facts, outcome.at)
            facts = self.writes.facts(evaluation, rule, outcome.facts, value, taken, alert, outcome.at)
            facts |= context_of(
                self.store, self.config, self.registry, evaluator, evaluation, rule, outcome.at,
                facts["windowSeconds"], self.now, alert, fires=taken.transition == "fire",
            )  # fmt: skip
            heard = alert.data["channels"] if alert and taken.transition != "fire" else ()
            channels = again or sorted({*rule.channels, *heard}) if tells else []
            writes = self.writes.change(rule, facts, taken, outcome.memory, alert, seq, channels)
            if self.stored.commit(name, taken.state, writes, judged):
                if tells:
                    found = self.result
                    told = found.told_again if again else found.fired if taken.state == "firing" else found.cleared
                    told.append(name)
                log.info("alert changed", alert=name, state=taken.state, reason=taken.reason, seq=seq)
                return
            alert = self.stored.get(name)
        raise Conflict(f"alerts/{name} kept changing")

    def _decide(self, evaluator: Evaluator, rule: Rule, alert: Doc | None, judged: Judged | None) -> Decided:
        def facts(end: datetime, firing: bool) -> Facts:
            return evaluator.facts(rule, end, firing=firing)

        seen = partial(evaluator.seen, rule)
        return catch_up(
            open_state(alert), rule, memory_of(alert), judged, self.guard.facts_at, facts, seen,
            anew=self.guard.is_new_config,
        )  # fmt: skip

    def _to_tell_again(self, alert: Doc, rule: Rule) -> list[str]:
        """Channels that do not know yet what fires, and may hear of it now.

        On one it was withheld; one was added to the rule; or it has become more severe, which all of its channels hear.
        """
        last = {c: f"notifications/{alert.id}-{was['seq']}-{c}" for c, was in alert.data["channels"].items()}
        docs = dict(zip(last, self.store.get_many(list(last.values())), strict=True)) if last else {}
        told = alert.data["channels"]  # a record that has expired says nothing any more
        held = [c for c, doc in docs.items() if (doc.data if doc else told[c])["state"] == "withheld"]
        worse = SEVERITIES.index(rule.severity) < SEVERITIES.index(alert.data["severity"])
        new = [c for c in rule.channels if worse or c not in told]
        facts = {**alert.data, "severity": rule.severity}
        return sorted(c for c in {*held, *new} if not self.writes.withheld(c, alert.id, rule.name, facts, "trigger"))

    def close_orphans(self, open_alerts: Mapping[str, Doc]) -> None:
        """Alerts whose SLO is no longer configured end."""
        configured = {rule.alert_id for slo in self.config.slos for rule in rules_of(slo, self.config)}
        configured.add(counting.ALERT)
        for name, doc in open_alerts.items():
            alert: Doc | None = doc
            for _ in range(TRIES):
                if name in configured or alert is None or open_state(alert) == "ok":
                    break
                told = alert.data["state"] == "firing"  # what is pending nobody knows of, and it never fired
                taken = Step("resolved", "slo_removed", "clear") if told else Step("ok", "slo_removed", "give_up")
                facts = {k: alert.data.get(k) for k in FACTS} | {"reason": taken.reason}
                facts["resolvedAt"] = self.now if told else None
                channels = sorted(alert.data["channels"]) if told else []
                seq = alert.data["seq"] + (1 if told else 0)
                if self.stored.commit(name, taken.state, self.writes.close(name, facts, taken, alert, seq, channels)):
                    if told:
                        self.result.cleared.append(name)
                    break
                alert = self.stored.get(name)

    def judged(self) -> Data:
        """How far the alerts are judged; of one that was committed, by this run or another, what it says there."""
        stored = self.stored.all_judged()
        now: Data = {}
        for slo in self.config.slos:
            for rule in rules_of(slo, self.config):
                name = rule.alert_id
                before, after = self._judged.get(name, (None, None))
                if after and self.stored.judged(name) == before:
                    now[name] = after._asdict()
                elif name in stored and not (name in self.steps and self.steps[name].reason == "backfilling"):
                    now[name] = stored[name]
        return now

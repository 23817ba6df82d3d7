"""One run of alertRules: fold, evaluate, and one atomic commit for each alert that changes.

`runs/alertRules` guards it: asked before anything is folded and again as the run goes on, and changed by every commit
too, so a run that was overtaken by newer facts, or by another configuration, stops or meets a conflict. An alert,
its incident and its notifications are written together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from shared import log
from shared.alerts.announcing import FACTS
from shared.alerts.context import context_of
from shared.alerts.decides import decision_hash
from shared.alerts.quiet import QuietReader, quiet_reader
from shared.alerts.writes import AlertWrites
from shared.components import load_components
from shared.domain import counting
from shared.domain.alert import TOLD, Facts, Memory, Rule, State, Step, rules_of
from shared.domain.catch_up import Decided, Judged, catch_up
from shared.domain.component import Components
from shared.domain.exclusion import Exclusion
from shared.domain.heartbeat import Agents
from shared.domain.incident_policy import SHIPPED, IncidentPolicy
from shared.domain.metric import Registry
from shared.domain.slo import SloConfig
from shared.incidents.policy import incident_policy
from shared.metrics.agents import AgentsLoader
from shared.metrics.fold import Folded, fold
from shared.notify.registry import configured
from shared.run_guard import RUN, Overtaken, RunGuard
from shared.slo.backfill import backfill
from shared.slo.evaluation import Evaluation, Evaluator, last_mark
from shared.slo.exclusions import EXCLUSIONS, exclusions_of
from shared.slo.history import SloHistory
from shared.store.protocol import Conflict, Doc, Store, Write

if TYPE_CHECKING:
    from shared.bootstrap import App

TRIES = 20
SEVERITIES = ("critical", "high", "warning")
_NONE = timedelta()
_UNKNOWN = Step("ok", "not_enforced")

Data = dict[str, Any]


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
        agents: Agents | None = None,
        exclusions: Sequence[Exclusion] = (),
        quiet: QuietReader | None = None,
        policy: IncidentPolicy = SHIPPED,
    ) -> None:
        self.store = store
        self.config = config
        self.registry = registry
        self.components = components
        self.history = history
        self.enforced = flags["ops.slo_enforced"] is True
        self.now = now
        self.agents = agents
        self.exclusions = exclusions
        decides = decision_hash(config, registry, components, agents, exclusions)
        self.guard = RunGuard(store, before, last_mark(now), decides, config.hash, config.version)
        self.writes = AlertWrites(store, flags, configured, now, quiet, policy)
        self.steps: dict[str, Step] = {}
        self.judged: dict[str, tuple[Judged | None, Judged]] = {}  # by alert that stays as it is

    def __call__(self, may_go_on: Callable[[], bool]) -> RunResult:
        """Raises `StoreError`; what was committed until then stands, and the next run goes on from it."""
        result = RunResult(last_mark(self.now), Folded(complete=False), [], [], [])
        try:
            # 1. Nothing is counted by a run that is behind: it does not know what a newer configuration counts.
            self.guard.check()
            ours = self._while_ours(may_go_on)
            definitions = self.config.definitions
            folded = fold(self.store, self.registry, definitions, self.now, agents=self.agents, may_go_on=ours)
            result.folded = folded
            # 2. A fold may have taken long.
            self.guard.check_anew()
            ready, written = self._backfill(folded, ours)
            self.history.forget(None if written else folded.days)
            # 3. Each commit asks again, since it changes the guard's document.
            evaluator = self._evaluator(folded)
            evaluations = evaluator.evaluate(ready)
            if self.enforced:
                open_alerts = self._open_alerts()
                for evaluation in evaluations:
                    for rule in evaluation.rules:
                        with _leaving_it_to_the_next_run(rule.alert_id):
                            self._settle(evaluator, evaluation, rule, open_alerts.get(rule.alert_id), result)
                self._close_orphans(open_alerts, result)
                with _leaving_it_to_the_next_run(counting.ALERT):
                    self._tell_of_counting(folded, open_alerts.get(counting.ALERT), result)
            self._finish(evaluations, folded)
        except Overtaken:
            result.overtaken = True
        return result

    def _while_ours(self, may_go_on: Callable[[], bool]) -> Callable[[], bool]:
        """`may_go_on`, but raises `Overtaken` if this run is; asked before each page of a fold or day of a backfill."""
        pages = 0

        def ours() -> bool:
            nonlocal pages
            pages += 1
            if pages > 1:
                self.guard.check_anew()
            return may_go_on()

        return ours

    def _backfill(self, folded: Folded, may_go_on: Callable[[], bool]) -> tuple[set[str], bool]:
        reach = timedelta(days=1) + max((self.now - slo.start_of(self.now) for slo in self.config.slos), default=_NONE)
        definitions = self.config.definitions
        return backfill(self.store, self.registry, definitions, self.now, may_go_on, reach, folded.state)

    def evaluate(self) -> list[Evaluation]:
        """What the SLOs read, without fold, commit or alert: for a report."""
        self.guard.run = self.store.get(RUN)
        return self._evaluator(Folded()).evaluate({d.hash for d in self.config.definitions})

    def _evaluator(self, folded: Folded) -> Evaluator:
        heard = {slo["id"]: slo.get("heard") for slo in (self.guard.run.data["slos"] if self.guard.run else ())}
        return Evaluator(
            self.store, self.config, self.registry, self.components, self.history, folded, self.now, self.exclusions,
            heard,
        )  # fmt: skip

    def _open_alerts(self) -> dict[str, Doc]:
        ids = self.guard.open_alerts
        docs = self.store.get_many([f"alerts/{i}" for i in ids]) if ids else []
        return {doc.id: doc for doc in docs if doc}

    def _commit(self, name: str, state: str, writes: Sequence[Write], judged: Judged | None = None) -> bool:
        others = [i for i in self.guard.open_alerts if i != name]
        more = {"judged": {**self._known(), name: judged._asdict()}} if judged else {}
        return self.guard.commit(writes, [*others, name] if state in ("pending", "firing") else others, more)

    def _judged(self, name: str) -> Judged | None:
        """How far an alert was judged. Under another configuration than that of now, no slot is judged again."""
        found = self.guard.judged.get(name)
        known = Judged(**found) if found else None
        return known._replace(after=known.until) if known and self.guard.is_new_config else known

    def _known(self) -> Data:
        return {name: known._asdict() for name in self.guard.judged if (known := self._judged(name))}

    # --- one alert

    def _settle(
        self,
        evaluator: Evaluator,
        evaluation: Evaluation,
        rule: Rule,
        known: Doc | None,
        result: RunResult,
    ) -> None:
        """Judge one alert by every slot that is due, and commit if anything changes."""
        name, alert = rule.alert_id, known
        for attempt in range(TRIES):
            if not evaluation.ready:
                self.steps[name] = Step(_open_state(alert), "backfilling")
                return
            before = self._judged(name)
            outcome = self._decide(evaluator, rule, alert, before)
            if alert is None and outcome.step.transition:
                alert = self.store.get(f"alerts/{name}")  # a resolved one goes on counting from its seq
                outcome = self._decide(evaluator, rule, alert, before)  # and it remembers when it fired
            taken, judged = outcome.step, outcome.judged
            self.steps[name] = taken
            goes_on = taken.state == "firing" and not taken.transition
            again = self._to_tell_again(alert, rule) if alert and goes_on else []
            if not taken.transition and not again:
                self.judged[name] = before, judged
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
            if self._commit(name, taken.state, writes, judged):
                if tells:
                    told = result.told_again if again else result.fired if taken.state == "firing" else result.cleared
                    told.append(name)
                log.info("alert changed", alert=name, state=taken.state, reason=taken.reason, seq=seq)
                return
            alert = self.store.get(f"alerts/{name}")
        raise Conflict(f"alerts/{name} kept changing")

    def _decide(self, evaluator: Evaluator, rule: Rule, alert: Doc | None, judged: Judged | None) -> Decided:
        def facts(end: datetime, firing: bool) -> Facts:
            return evaluator.facts(rule, end, firing=firing)

        seen = partial(evaluator.seen, rule)
        return catch_up(
            _open_state(alert), rule, _memory(alert), judged, self.guard.facts_at, facts, seen,
            anew=self.guard.is_new_config,
        )  # fmt: skip

    def _close_orphans(self, open_alerts: Mapping[str, Doc], result: RunResult) -> None:
        """Alerts whose SLO is no longer configured end."""
        configured = {rule.alert_id for slo in self.config.slos for rule in rules_of(slo, self.config)}
        configured.add(counting.ALERT)
        for name, doc in open_alerts.items():
            alert: Doc | None = doc
            for _ in range(TRIES):
                if name in configured or alert is None or _open_state(alert) == "ok":
                    break
                told = alert.data["state"] == "firing"  # what is pending nobody knows of, and it never fired
                taken = Step("resolved", "slo_removed", "clear") if told else Step("ok", "slo_removed", "give_up")
                facts = {k: alert.data.get(k) for k in FACTS} | {"reason": taken.reason}
                facts["resolvedAt"] = self.now if told else None
                channels = sorted(alert.data["channels"]) if told else []
                seq = alert.data["seq"] + (1 if told else 0)
                if self._commit(name, taken.state, self.writes.close(name, facts, taken, alert, seq, channels)):
                    if told:
                        result.cleared.append(name)
                    break
                alert = self.store.get(f"alerts/{name}")

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

    # --- F0 Ops itself

    def _incomplete_since(self, folded: Folded) -> datetime | None:
        """End of the facts of the first run in a row whose fold was not complete; None if this one's is."""
        if folded.complete:
            return None
        before = self.guard.run.data if self.guard.run else {}
        return before.get("incompleteSince") or self.guard.facts_at

    def _tell_of_counting(self, folded: Folded, known: Doc | None, result: RunResult) -> None:
        """Whoever hears of any SLO hears that none can be judged."""
        alert, since, at = known, self._incomplete_since(folded), self.guard.facts_at
        channels = sorted({channel for slo in self.config.slos for channel in slo.alert.channels})
        for _ in range(TRIES):
            taken = counting.step_counting(_open_state(alert), since, at)
            if not taken.transition:
                return
            alert = alert or self.store.get(f"alerts/{counting.ALERT}")
            before = alert.data if alert else {}
            seq = before.get("seq", 0) + 1
            until = (self.guard.run.data.get("foldedUntil") if self.guard.run else None) or since or at
            facts = counting.facts_of(taken, until, before, at, self.now)
            heard = before["channels"] if taken.transition == "clear" else ()
            told = sorted({*channels, *heard})
            if self._commit(
                counting.ALERT,
                taken.state,
                self.writes.own(counting.ALERT, counting.RULE, facts, taken, alert, seq, told),
            ):
                (result.fired if taken.transition == "fire" else result.cleared).append(counting.ALERT)
                if taken.transition == "fire":
                    log.warning("what is sent is not counted in time", complete_until=until.isoformat())
                return
            alert = self.store.get(f"alerts/{counting.ALERT}")
        raise Conflict(f"alerts/{counting.ALERT} kept changing")

    # --- the end

    def _finish(self, evaluations: Sequence[Evaluation], folded: Folded) -> None:
        for _ in range(TRIES):
            report: Data = {"finishedAt": self.now, "incompleteSince": self._incomplete_since(folded)}
            report["judged"] = self._judged_now()
            report["slos"] = [self._report(e) for e in evaluations]
            if folded.complete:
                report["foldedUntil"] = self.guard.facts_at
            else:
                report["slos"] = self._as_last_known(report["slos"])
            if self.guard.commit([], self.guard.open_alerts, report):
                return
        raise Conflict(f"{RUN} kept changing")

    def _as_last_known(self, entries: Sequence[Data]) -> list[Data]:
        """The entries with the figures of the last run that had all facts: a part of them may look like an outage."""
        before = {slo["id"]: slo for slo in (self.guard.run.data["slos"] if self.guard.run else ())}
        unknown = {
            "value": None, "compliance": "no_data", "good": 0, "total": 0, "alertTotal": 0, "recent": "no_data",
            "budgetLeft": None,
        }  # fmt: skip
        return [
            {**before.get(entry["id"], entry | unknown), "alertState": entry["alertState"], "reason": entry["reason"]}
            for entry in entries
        ]

    def _judged_now(self) -> Data:
        """How far the alerts are judged; of one that was committed, by this run or another, what it says there."""
        stored = self._known()
        now: Data = {}
        for slo in self.config.slos if self.enforced else ():
            for rule in rules_of(slo, self.config):
                name = rule.alert_id
                before, after = self.judged.get(name, (None, None))
                if after and self._judged(name) == before:
                    now[name] = after._asdict()
                elif name in stored and self.steps.get(name, _UNKNOWN).reason != "backfilling":
                    now[name] = stored[name]
        return now

    def _report(self, evaluation: Evaluation) -> Data:
        slo, counts = evaluation.slo, evaluation.window
        taken = self.steps.get(evaluation.rules[0].alert_id, _UNKNOWN)
        left = slo.budget_left(counts)
        return {
            "id": slo.id,
            "name": slo.name,
            "metric": slo.metric,
            "kind": slo.kind,
            "labels": dict(slo.labels),
            "component": evaluation.component,
            "objective": str(slo.target),
            "unit": slo.unit,
            "value": evaluation.value,
            "compliance": slo.compliance(counts),
            "good": counts.good,
            "total": counts.total,
            "estimated": counts.estimated or evaluation.facts.counts.estimated,
            "windowSeconds": round(evaluation.window_length.total_seconds()),
            "excludedSeconds": evaluation.excluded_seconds,
            "alertTotal": evaluation.facts.counts.total,
            "heard": slo.trigger.hash if evaluation.facts.heard else None,
            "recent": evaluation.recent,
            "budgetLeft": None if left is None else float(left),
            "alertState": taken.state,
            "reason": taken.reason,
        }


@contextmanager
def _leaving_it_to_the_next_run(alert: str) -> Iterator[None]:
    """One alert that cannot be settled must not keep the others back."""
    try:
        yield
    except Conflict as error:
        log.error("an alert could not be settled; the next run tries again", error, alert=alert)


def _open_state(alert: Doc | None) -> State:
    if alert is None:
        return "ok"
    state: State = alert.data["state"]
    return state if state in ("pending", "firing") else "ok"


def _memory(alert: Doc | None) -> Memory:
    """What the alert remembers; alerts of earlier releases remember less."""
    if alert is None:
        return Memory()
    fired = tuple(alert.data.get("fired") or ())
    return Memory(alert.data["since"] if alert.data["state"] == "pending" else None, alert.data.get("calmSince"), fired)


def run_alert_rules(app: App, now: datetime, may_go_on: Callable[[], bool]) -> RunResult:
    """Put an `AlertRun` together from the process's parts and run it."""
    # First of all: a run that finds a newer configuration in its document was started too early.
    before, excluded = app.store.get_many([RUN, EXCLUSIONS])
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
        app.part(AgentsLoader).agents,
        exclusions_of(excluded),
        quiet_reader(app),
        incident_policy(app),
    )
    return run(may_go_on)


def _history(app: App) -> SloHistory:
    return SloHistory(app.store)

"""One run of alertRules: fold, evaluate, and one atomic commit for each alert that changes.

`runs/alertRules` guards it: asked before anything is folded and again as the run goes on, and changed by every commit
too, so a run that was overtaken by newer facts, or by another configuration, stops or meets a conflict. An alert,
its incident and its notifications are written together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared import log
from shared.alerts.counting import incomplete_since, tell_of_counting
from shared.alerts.decides import decision_hash
from shared.alerts.quiet import QuietReader, quiet_reader
from shared.alerts.run_entries import as_last_known, entry_of
from shared.alerts.run_result import RunResult
from shared.alerts.settling import Settling
from shared.alerts.stored import StoredAlerts
from shared.alerts.writes import AlertWrites
from shared.components import load_components
from shared.domain import counting
from shared.domain.alert import Step
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
from shared.store.protocol import Conflict, Data, Doc, Store

if TYPE_CHECKING:
    from shared.bootstrap import App

TRIES = 20
_NONE = timedelta()
_UNKNOWN = Step("ok", "not_enforced")


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
        self.stored = StoredAlerts(store, self.guard)
        self.result = RunResult(last_mark(now))
        self.settling = Settling(store, config, registry, self.guard, self.stored, self.writes, now, self.result)

    def __call__(self, may_go_on: Callable[[], bool]) -> RunResult:
        """Raises `StoreError`; what was committed until then stands, and the next run goes on from it."""
        try:
            # 1. Nothing is counted by a run that is behind: it does not know what a newer configuration counts.
            self.guard.check()
            ours = self._while_ours(may_go_on)
            definitions = self.config.definitions
            folded = fold(self.store, self.registry, definitions, self.now, agents=self.agents, may_go_on=ours)
            self.result.folded = folded
            # 2. A fold may have taken long.
            self.guard.check_anew()
            ready, written = self._backfill(folded, ours)
            self.history.forget(None if written else folded.days)
            # 3. Each commit asks again, since it changes the guard's document.
            evaluator = self._evaluator(folded)
            evaluations = evaluator.evaluate(ready)
            if self.enforced:
                self._settle_all(evaluator, evaluations)
            self._finish(evaluations)
        except Overtaken:
            self.result.overtaken = True
        return self.result

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

    def _settle_all(self, evaluator: Evaluator, evaluations: Sequence[Evaluation]) -> None:
        alerts = self.stored.all_open()
        for evaluation in evaluations:
            for rule in evaluation.rules:
                with _leaving_it_to_the_next_run(rule.alert_id):
                    self.settling.settle(evaluator, evaluation, rule, alerts.get(rule.alert_id))
        self.settling.close_orphans(alerts)
        with _leaving_it_to_the_next_run(counting.ALERT):
            known = alerts.get(counting.ALERT)
            tell_of_counting(self.config, self.guard, self.stored, self.writes, known, self.now, self.result)

    def _finish(self, evaluations: Sequence[Evaluation]) -> None:
        folded, steps = self.result.folded, self.settling.steps
        for _ in range(TRIES):
            report: Data = {"finishedAt": self.now, "incompleteSince": incomplete_since(self.guard, folded)}
            report["judged"] = self.settling.judged() if self.enforced else {}
            report["slos"] = [entry_of(e, steps.get(e.rules[0].alert_id, _UNKNOWN)) for e in evaluations]
            if folded.complete:
                report["foldedUntil"] = self.guard.facts_at
            else:
                report["slos"] = as_last_known(report["slos"], self.guard.run)
            if self.guard.commit([], self.guard.open_alerts, report):
                return
        raise Conflict(f"{RUN} kept changing")


@contextmanager
def _leaving_it_to_the_next_run(alert: str) -> Iterator[None]:
    """One alert that cannot be settled must not keep the others back."""
    try:
        yield
    except Conflict as error:
        log.error("an alert could not be settled; the next run tries again", error, alert=alert)


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

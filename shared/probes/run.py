"""healthProbe: two rounds a run, 30 s apart; what they found becomes states, the public snapshot and metrics.

`runs/healthProbe` holds the entry of each probe. Rounds are applied to it in order by compare-and-set, and one that is
not newer than what is there is dropped, so that neither a run that hung nor one that came twice puts an older view over
a newer one. It is written once a run, and at once when a state changes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from shared import log
from shared.components import load_components
from shared.domain import probing
from shared.domain.building import BLOCK_MS, Batch, BatchBuilder
from shared.domain.faults import ConfigError
from shared.domain.probe import LONGEST_SECONDS, PAUSE_SECONDS, ROUND_SECONDS, AnyProbe, FeedProbe
from shared.domain.probing import Entry, Finding
from shared.domain.series import SeriesTable
from shared.flags import FlagsUnknown
from shared.metrics.store_latency import READ, WRITE
from shared.probes.ask import Asker, missing_setting
from shared.probes.bucket import CloudBuckets
from shared.probes.page import NOT_A_COMPONENT, PROBE, of_status_page
from shared.probes.rounds import Key, Rounds
from shared.status.publish import PROBED, publish_status
from shared.store.protocol import Data, Doc, StoreError, compare_and_set

if TYPE_CHECKING:
    from shared.bootstrap import App

ROUNDS = 2
LAST_START = 34.0  # seconds into the run; a round that began later might not end in its time
_LATE = 0.5  # that a round waits beyond what the attempts of a probe may take

Entries = dict[str, dict[str, Entry]]


@dataclass(frozen=True, slots=True)
class _Round:
    at: datetime
    findings: Mapping[Key, Finding]
    missing: Mapping[Key, str]  # the setting that is not there


@dataclass(slots=True)
class Report:
    """`states`: how many probes are in each. `overtaken`: another run knows newer rounds. `seq`: of the snapshot."""

    rounds: int = 0
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    overtaken: bool = False
    seq: int | None = None


def run_health_probe(app: App, now: datetime) -> Report:
    """Make the rounds of `now` and of 30 s later. Raises `StoreError` if nothing of the last one could be kept."""
    return _Run(app, now).run()


class _Run:
    def __init__(self, app: App, now: datetime) -> None:
        self._app = app
        self._now = now
        self._components = load_components(app.settings.config_dir)
        self._run_id = secrets.token_hex(8)
        buckets = app.part(_buckets)
        self._rounds = app.part(_rounds)
        self._values = app.settings.probe_values
        self._probes: dict[Key, AnyProbe] = {
            (c.id, probe.id): probe for c in self._components.components for _, probe in c.all_probes()
        }
        page = of_status_page(self._values)
        if page is not None:
            self._probes[NOT_A_COMPONENT, PROBE] = page
        self._asker = Asker(app.outbound, app.store, buckets, self._values, app.monotonic)
        self._waiting: list[_Round] = []  # rounds that are not stored yet
        self._made: list[_Round] = []

    def run(self) -> Report:
        started = self._app.monotonic()
        report = Report()
        known = self._read()
        self._asker.prepare()
        for n in range(ROUNDS):
            if n and not self._waited(n * ROUND_SECONDS, started):
                break
            made = self._round(self._now + timedelta(seconds=n * ROUND_SECONDS), known)
            self._waiting.append(made)
            self._made.append(made)
            report.rounds = n + 1
            before, known = known, self._applied(known, [made])
            _log_changes(before, known)
            if n + 1 < ROUNDS and _states(before) != _states(known):
                try:
                    known = self._publish(report)
                except StoreError as error:  # the last round comes with all that was not kept
                    log.warning("what a round of probes found could not be kept yet", kind=type(error).__name__)
        if self._waiting:
            known = self._publish(report)
        self._append()
        return self._told(report, known)

    def _waited(self, seconds: float, started: float) -> bool:
        """Wait until so long after the start. False if a round would then not end in the function's time."""
        self._app.sleep(max(0.0, seconds - (self._app.monotonic() - started)))
        if self._app.monotonic() - started <= LAST_START:
            return True
        log.warning("a round of probes was left out: the one before took too long")
        return False

    def _publish(self, report: Report) -> Entries:
        """Store the rounds that wait, and publish. Raises `StoreError`."""
        entries = self._keep(report)
        report.seq = publish_status(self._app.store, self._components, self._app.flags, self._made[-1].at)
        return entries

    def _read(self) -> Entries:
        """What is known; nothing if the store does not answer: then all probes are due, and it will be told."""
        try:
            doc = self._app.store.get(PROBED)
        except StoreError as error:
            log.warning("what the probes last found could not be read", kind=type(error).__name__)
            return {}
        return doc.data["probes"] if doc else {}

    def _round(self, at: datetime, known: Entries) -> _Round:
        missing: dict[Key, str] = {}
        due: dict[Key, AnyProbe] = {}
        for key, probe in self._probes.items():
            setting = missing_setting(probe, self._values)
            if setting is not None:
                missing[key] = setting
            elif probing.is_due(known.get(key[0], {}).get(key[1]), probe, at):
                due[key] = probe
        questions = {key: _attempts(self._asker, probe, at, self._app) for key, probe in due.items()}
        findings = self._rounds.all(questions, LONGEST_SECONDS + _LATE)
        for key, found in findings.items():
            if found.outcome == "failed" and isinstance(due[key], FeedProbe):  # says nothing about the provider
                findings[key] = replace(found, outcome="unknown")
        return _Round(at, findings, missing)

    def _applied(self, entries: Entries, rounds: Sequence[_Round]) -> Entries:
        """The entries after these rounds, of the probes that are configured today."""
        after: Entries = {}
        for key, probe in self._probes.items():
            component, name = key
            entry = entries.get(component, {}).get(name)
            for made in rounds:
                if key in made.missing:
                    entry = probing.not_set_up(made.missing[key], entry, made.at)
                elif key in made.findings:
                    entry = probing.advanced(entry, probe, made.findings[key], made.at)
            if entry is not None:
                after.setdefault(component, {})[name] = entry
        return after

    def _keep(self, report: Report) -> Entries:
        """Store the rounds that wait. Raises `StoreError`."""
        entries: Entries = {}

        def decide(doc: Doc | None) -> Data | None:
            nonlocal entries
            last = doc.data["roundAt"] if doc else None
            newer = [made for made in self._waiting if last is None or made.at > last]
            entries = self._applied(doc.data["probes"] if doc else {}, newer)
            if not newer:
                return None
            return {"roundAt": newer[-1].at, "runId": self._run_id, "probes": entries}

        kept = compare_and_set(self._app.store, PROBED, decide)
        report.overtaken = kept is None
        self._waiting = []
        return kept["probes"] if kept else entries

    def _append(self) -> None:
        """The rounds as samples: samples of our own, which nobody was promised.

        How long the store took otherwise is not among them: a sixth of a processor would make it look slow.
        """
        try:
            if not self._app.flags.on("ops.metrics_collection"):
                return
            registry = self._app.slos.registry
            table = SeriesTable(registry, self._app.slos.current().bounds(registry), json.loads)
            kind = self._app.settings.store
            batches = [_samples(made, self._probes, self._run_id, kind, table) for made in self._made]
            found = [batch for batch in batches if batch is not None]
            if found:
                self._app.group_commit.write(found, self._now.strftime("%Y-%m-%d"))
        except (StoreError, FlagsUnknown, ConfigError) as error:
            log.warning("what the probes found could not become metrics", kind=type(error).__name__)

    def _told(self, report: Report, entries: Entries) -> Report:
        report.asked = sum(len(made.findings) for made in self._made)
        report.failed = sorted({
            f"{component}.{name}: {found.reason}"
            for made in self._made
            for (component, name), found in made.findings.items()
            if found.outcome in ("failed", "out")
        })  # fmt: skip
        for of_component in entries.values():
            for entry in of_component.values():
                report.states[entry["state"]] = report.states.get(entry["state"], 0) + 1
        return report


def _attempts(asker: Asker, probe: AnyProbe, at: datetime, app: App) -> Any:
    """What a thread does for a probe in a round: further attempts until one is as it should be."""

    def ask() -> Finding:
        findings = [asker.ask(probe, at)]
        while findings[-1].outcome in ("failed", "slow") and len(findings) <= probe.retries:
            app.sleep(PAUSE_SECONDS)
            findings.append(asker.ask(probe, at))
        return probing.best(findings)

    return ask


def _samples(made: _Round, probes: Mapping[Key, AnyProbe], run_id: str, store: str, table: SeriesTable) -> Batch | None:
    """`probe_success` of each answer that says something about the target, `probe_latency` of each that came.

    The store's test write and read are samples of its latencies too.
    """
    builder = BatchBuilder(table)
    block = int(made.at.timestamp() * 1000) // BLOCK_MS
    count = 0
    for key, found in made.findings.items():
        if isinstance(probes[key], FeedProbe) or found.outcome == "unknown":
            continue
        labels = {"component": key[0], "probe": key[1]} if key[0] != NOT_A_COMPONENT else {"probe": key[1]}
        of_store = {"operation": "probe", "store": store}
        values = [("probe_success", labels, 0.0 if found.outcome == "failed" else 1.0)]
        if found.latency is not None:
            values.append(("probe_latency", labels, found.latency))
        for figure, metric in (("writeLatency", WRITE), ("readLatency", READ)):
            if figure in found.figures:
                values.append((metric, of_store, found.figures[figure]))
        for metric, its_labels, value in values:
            series = table.own(metric, its_labels)
            if series is not None:
                builder.values(series, block, [value])
                count += 1
    digest = blake2b(f"healthProbe {run_id} {made.at.isoformat()}".encode(), digest_size=8).digest()
    return builder.batch(digest, count) if count else None


def _states(entries: Entries) -> dict[Key, str]:
    return {(c, name): entry["state"] for c, found in entries.items() for name, entry in found.items()}


def _log_changes(before: Entries, after: Entries) -> None:
    for (component, name), state in _states(after).items():
        entry, was = after[component][name], before.get(component, {}).get(name, {})
        if (state, entry["reason"]) != (was.get("state"), was.get("reason")) and state != "not_monitored":
            well = state == "operational" and entry["reason"] in ("answered", "feed_operational")
            tell = log.info if well else log.warning
            told = {"reason": entry["reason"], "detail": entry["detail"]}
            tell("a probe found something new", component=component, probe=name, state=state, **told)


def _buckets(app: App) -> CloudBuckets:
    return CloudBuckets(app.settings.project)


def _rounds(app: App) -> Rounds:
    return Rounds(app.monotonic)

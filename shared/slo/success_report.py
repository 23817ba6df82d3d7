"""The report: reads what the success metrics of a week or a month are made of.

Reads, at most: a document for each hour of the period (latency) and two for each day (availability), one for each day
of the longest SLO window, each firing, incident and reconciled bill of the period, each version of the SLO
configuration since its beginning, and a count for each state of a notification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from shared.components import load_components
from shared.domain import report
from shared.domain.building import BLOCK_MS
from shared.domain.definition import Counts, Definition
from shared.domain.exclusion import Exclusion, Span, in_force, merged
from shared.domain.metric import Registry
from shared.domain.metric_query import MetricQuery
from shared.domain.query_range import DAY, HOUR, Range, Stored, aligned, without
from shared.domain.reconciled import apart
from shared.domain.report import DAYS, TARGETS, Incident, Measured, Period, Target, Verdict, no_source, verdict
from shared.domain.rollup import Stats, distribution
from shared.domain.slots import add_up, count_definitions
from shared.metrics.query import Reader, read_stored
from shared.slo.exclusions import EXCLUSIONS, exclusions_of
from shared.slo.in_force import InForce, versions_between
from shared.slo.report import SloReader
from shared.store.protocol import Doc, Operator, Query, Store, cursor_of
from shared.usage.reconciliations import ended

if TYPE_CHECKING:
    from shared.bootstrap import App

LATENCY, ERRORS, PROBES = "api_latency", "error_rate", "probe_success"
STATUS_PAGE = ("probe", "status_page")  # the label of the probes of the status page
NOTIFICATIONS = ("delivered", "dead", "withheld", "cancelled", "pending", "sending")
MOST = 5000  # firings, and incidents, of a period
_PAGE = 500


class TooManyRecords(Exception):
    """More than `MOST` of a kind began in the period."""


class TooEarly(Exception):
    """Metrics of so long ago are not kept."""

    def __init__(self, earliest: datetime) -> None:
        super().__init__(earliest)
        self.earliest = earliest


@dataclass(frozen=True, slots=True)
class Line:
    target: Target
    measured: Measured

    @property
    def verdict(self) -> Verdict:
        return verdict(self.target, self.measured)


@dataclass(frozen=True, slots=True)
class Report:
    """`versions`: of the SLO configuration, in force during the period.

    `reads`: documents, besides those of the SLOs' days that the instance has not kept.
    """

    start: datetime
    end: datetime
    lines: tuple[Line, ...]
    versions: tuple[InForce, ...]
    reads: int


def make_report(app: App, period: Period, to: datetime | None, now: datetime) -> Report:
    """`to` None: until what is complete now. Raises `TooEarly`, `TooManyRecords`, `TooManyDocuments`, `StoreError`."""
    stored = read_stored(app.store, now)
    end_ms = int((to or now).timestamp() * 1000)
    until = end_ms if stored.complete_until is None else min(end_ms, stored.complete_until * BLOCK_MS)
    first, end = aligned(until - DAYS[period] * DAY * BLOCK_MS, until, stored, running=False)
    if first < stored.hours_from:
        raise TooEarly(_moment(stored.hours_from + DAYS[period] * DAY))
    maker = _Maker(app, stored, first, end, now, is_now=to is None)
    lines = tuple(Line(target, getattr(maker, target.metric)()) for target in TARGETS[period])
    versions, reads = versions_between(app.store, _moment(first), _moment(end))
    return Report(_moment(first), _moment(end), lines, tuple(versions), maker.reads + reads + 2)


def _moment(block: int) -> datetime:
    return datetime.fromtimestamp(block * BLOCK_MS // 1000, UTC)


class _Maker:
    """A method for each measurement, by the name that targets know it by."""

    def __init__(self, app: App, stored: Stored, first: int, end: int, now: datetime, *, is_now: bool) -> None:
        self._app = app
        self._store: Store = app.store
        self._registry: Registry = app.slos.registry
        self._stored = stored
        self._first, self._end = first, end
        self._now = now
        self._is_now = is_now
        self._exclusions: tuple[Exclusion, ...] | None = None
        self.reads = 0

    # --- of metrics

    def availability(self) -> Measured:
        if ERRORS not in self._registry.metrics:
            return no_source(f"there is no metric {ERRORS}")
        definition = Definition(ERRORS, None)
        derived = self._registry.metrics[ERRORS].derived_from
        sources = (ERRORS, derived.metric) if derived else (ERRORS,)
        found = [self._count(rollup, definition) for _, rollup in self._rollups(ERRORS, sources, DAY)]
        return report.availability(add_up(found))

    def p95(self) -> Measured:
        hours, whole = self._latency()
        return report.p95(add_up(hours), whole.quantile(0.95) if whole else None)

    def p95_hours(self) -> Measured:
        return report.p95_hours(self._latency()[0])

    def _latency(self) -> tuple[list[Counts], Stats | None]:
        """Of each hour the requests within the limit; and the whole."""
        hours: dict[int, Counts] = {}
        whole: Stats | None = None
        definition = Definition(LATENCY, float(report.P95_LIMIT))
        if LATENCY in self._registry.metrics:
            for hour, rollup in self._rollups(LATENCY, (LATENCY,), HOUR):
                own = [stats for key, stats in rollup.items() if key.startswith(f"{LATENCY}{{")]
                if own:
                    whole = distribution([whole, *own] if whole else own)
                    hours[hour] = add_up([hours.get(hour, Counts(0, 0)), self._count(rollup, definition)])
        return list(hours.values()), whole

    def _count(self, rollup: dict[str, Stats], definition: Definition) -> Counts:
        return count_definitions(rollup, [definition], self._registry)[definition.hash]

    def _rollups(self, metric: str, sources: tuple[str, ...], step: int) -> Iterator[tuple[int, dict[str, Stats]]]:
        """Without what is excluded; with the number of the step since 1970."""
        own = self._registry.metrics[metric]
        for first, end in without(self._first, self._end, self._excluded(metric), self._stored.blocks_from):
            query = MetricQuery(
                metric, "count", Range(first, end, step), (), {}, sources, own.kind == "ratio", own.unit
            )
            reader = Reader(self._store, query, self._registry, self._stored)
            for number, rollup in reader.rollups():
                yield first // step + number, rollup
            self.reads += reader.reads

    def _excluded(self, metric: str) -> tuple[Span, ...]:
        """What is excluded for everything, for the metric's component, or for an SLO of all of the metric's series."""
        if self._exclusions is None:
            self._exclusions = exclusions_of(self._store.get(EXCLUSIONS))
            self.reads += 1
        component = load_components(self._app.settings.config_dir).component_of(metric)
        slos = [slo.id for slo in self._app.slos.current().slos if slo.metric == metric and not slo.labels]
        found = [one for slo in slos or [""] for one in in_force(self._exclusions, slo, component)]
        return merged(one.span for one in found)

    # --- of records

    def false_positives(self) -> Measured:
        firings = self._began("alert_firings", "firedAt")
        return report.false_positives(doc.data["markedFalse"] is not None for doc in firings)

    def mttr(self) -> Measured:
        return report.mttr(self._incidents())

    def resolved(self) -> Measured:
        return report.resolved_in_time(self._incidents(), self._now)

    def _incidents(self) -> list[Incident]:
        found = self._began("incidents", "startedAt")
        return [Incident(doc.data["startedAt"], doc.data.get("resolvedAt")) for doc in found]

    def _began(self, collection: str, field: str) -> list[Doc]:
        where = self._within(field)
        found: list[Doc] = []
        after: tuple[Any, ...] | None = None
        while True:
            query = Query(collection, where, ((field, "asc"),), _PAGE, after)
            docs = self._store.query(query)
            self.reads += max(1, len(docs))
            found += docs
            if len(docs) < _PAGE:
                return found
            if len(found) >= MOST:
                raise TooManyRecords(collection)
            after = cursor_of(docs[-1], query)

    def delivery(self) -> Measured:
        counted = {}
        for state in NOTIFICATIONS:
            where = (("state", "==", state), *self._within("createdAt"))
            counted[state] = self._store.count(Query("notifications", where, (("createdAt", "desc"),)))
        self.reads += len(counted)
        return report.delivery(counted)

    def _within(self, field: str) -> tuple[tuple[str, Operator, Any], ...]:
        return (field, ">=", _moment(self._first)), (field, "<", _moment(self._end))

    # --- of SLOs

    def slos(self) -> Measured:
        if not self._is_now:
            return no_source("SLOs are judged as of now; this period ended earlier")
        config = self._app.slos.current()
        components = load_components(self._app.settings.config_dir)
        found = self._app.part(SloReader).read(config, config.slos, components, self._now)
        return report.slo_compliance(
            "no_data" if reading.backfilling else reading.slo.compliance(reading.counts) for reading in found.slos
        )

    def status_page(self) -> Measured:
        """Of the samples of `probe_success` that say they are of the status page."""
        if PROBES not in self._registry.metrics:
            return no_source(f"there is no metric {PROBES}")
        definition = Definition(PROBES, None, (STATUS_PAGE,))
        found = add_up(self._count(rollup, definition) for _, rollup in self._rollups(PROBES, (PROBES,), DAY))
        return report.probed(found)

    # --- of bills

    def cost_accuracy(self) -> Measured:
        return report.cost_accuracy(self._bills())

    def cost_variance(self) -> Measured:
        return report.cost_variance(self._bills())

    def _bills(self) -> list[tuple[Decimal, Decimal]]:
        first, end = (f"{_moment(block):%Y-%m-%d}" for block in (self._first, self._end))
        found = ended(self._store, first, end)
        self.reads += max(1, len(found))
        return [(one.billed, one.counted) for one in apart(found)]

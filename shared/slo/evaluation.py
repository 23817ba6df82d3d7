"""What the SLOs read at a moment: counts over their windows, and the value of a quantile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared.domain.alert import Facts, Rule, rules_of, widened
from shared.domain.burn import Burning, Pair
from shared.domain.catch_up import CATCH_UP, seconds_seen
from shared.domain.component import Components
from shared.domain.definition import Counts, Definition
from shared.domain.durations import SLOT_SECONDS
from shared.domain.exclusion import Exclusion, Span, in_force, merged, seconds_within
from shared.domain.metric import Registry
from shared.domain.metric_query import MetricQuery
from shared.domain.query_range import HOUR, Range, without
from shared.domain.rollup import Stats, distribution
from shared.domain.series import split_key
from shared.domain.slo import Compliance, Slo, SloConfig
from shared.metrics.fold import Folded
from shared.metrics.layout import FOLD_RUN
from shared.metrics.query import Reader, stored_by
from shared.metrics.rollups import read_blocks
from shared.slo.history import SloHistory, Window
from shared.store.protocol import Data, Doc, Store


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one SLO reads now. `window`: counts over its own window, of this length; `facts`: over the threshold's.

    `rules`: its alerts. `excluded_seconds`: of its own window. `recent`: whether the objective held over the window of
    the threshold; `no_data` where too few events came to say so.
    """

    slo: Slo
    component: str | None
    window: Counts
    window_length: timedelta
    facts: Facts
    value: float | None
    ready: bool
    rules: tuple[Rule, ...]
    excluded_seconds: int = 0
    recent: Compliance = "no_data"


def last_mark(now: datetime) -> datetime:
    """The end of the last complete 5-minute slot."""
    return datetime.fromtimestamp(int(now.timestamp()) // SLOT_SECONDS * SLOT_SECONDS, UTC)


class Evaluator:
    """Judges at `facts_at`, the end of the last complete slot. `folded`: what the fold just before it found.

    `heard`: by SLO, the hash of what the run before knows to have had events at some time.
    """

    def __init__(
        self,
        store: Store,
        config: SloConfig,
        registry: Registry,
        components: Components,
        history: SloHistory,
        folded: Folded,
        now: datetime,
        exclusions: Sequence[Exclusion] = (),
        heard: Mapping[str, str | None] | None = None,
    ) -> None:
        self.store = store
        self.config = config
        self.registry = registry
        self.components = components
        self.history = history
        self.folded = folded
        self.now = now
        self.exclusions = exclusions
        self._heard = heard or {}
        self.facts_at = last_mark(now)
        self._window, self._begins = Window([], []), self.facts_at
        self._seconds_seen = 0
        self._seen: dict[tuple[str, datetime, tuple[Span, ...]], Counts] = {}
        self._merged: dict[
            tuple[str, tuple[tuple[str, str], ...], tuple[int, int], tuple[Span, ...]], Stats | None
        ] = {}

    def evaluate(self, ready: set[str]) -> list[Evaluation]:
        """Every SLO; `ready`: hashes of the definitions that are counted over the whole history."""
        if not self.config.slos:
            return []
        rules = [rules_of(slo, self.config) for slo in self.config.slos]
        self._seconds_seen = longest = seconds_seen(rule for own in rules for rule in own)
        start = min(slo.start_of(self.facts_at) for slo in self.config.slos)
        start = min(start, self.facts_at - CATCH_UP - timedelta(seconds=longest))
        self._begins = start
        self._window = self.history.load(start, self.facts_at, self.now)
        slos = zip(self.config.slos, rules, strict=True)
        return [self._evaluate_one(slo, own, ready) for slo, own in slos]

    def _evaluate_one(self, slo: Slo, rules: Sequence[Rule], ready: set[str]) -> Evaluation:
        excluded = self._excluded(slo)
        begins = slo.start_of(self.facts_at)
        whole = self._window.count(slo.objective, begins, self.facts_at, excluded)
        facts = self._threshold(slo, self.facts_at, excluded)
        value = slo.ratio_percent(facts.counts)
        if slo.quantile is not None and facts.counts.total:
            short = slo.alert.window <= HOUR * SLOT_SECONDS
            value = self.quantile(slo, required=short and slo.exceeds(facts.counts))
        component = self.components.component_of(slo.metric, slo.labels)
        is_ready = {slo.objective.hash, slo.trigger.hash} <= ready
        seconds = seconds_within(begins, self.facts_at, excluded)
        last = self._last(slo.objective, slo.alert.window, self.facts_at, excluded)
        recent = slo.compliance(last) if last.total >= max(1, slo.alert.min_events) else "no_data"
        return Evaluation(
            slo, component, whole, self.facts_at - begins, facts, value, is_ready, tuple(rules), seconds, recent
        )

    def facts(self, rule: Rule, end: datetime, *, firing: bool) -> Facts:
        """What a rule, which fires already or does not, is judged by at the end of a slot: now, or `CATCH_UP` ago."""
        excluded = self._excluded(rule.slo)
        if rule.pairs:
            return self._burning(rule, end, excluded)
        facts = self._threshold(rule.slo, end, excluded)
        if not firing:
            return facts
        counts, seconds = widened(rule, facts.counts, lambda s: self._last(rule.slo.trigger, s, end, excluded))
        return replace(facts, counts=counts, seconds=seconds)

    def seen(self, rule: Rule, end: datetime) -> Counts:
        """All that the last few slots until `end` are judged by, in one sum."""
        definition = rule.slo.objective if rule.pairs else rule.slo.trigger
        wanted = (definition.hash, end, self._excluded(rule.slo))
        if wanted not in self._seen:  # the alerts of an SLO see mostly the same
            self._seen[wanted] = self._last(definition, self._seconds_seen, end, wanted[2])
        return self._seen[wanted]

    def _threshold(self, slo: Slo, end: datetime, excluded: Sequence[Span]) -> Facts:
        counts = self._last(slo.trigger, slo.alert.window, end, excluded)
        left_out = _excludes(slo.alert.window, end, excluded)
        return Facts(counts, self.folded.complete, excluded=left_out, heard=self._has_heard(slo, counts, end))

    def _has_heard(self, slo: Slo, counts: Counts, end: datetime) -> bool:
        """Whether anything that its threshold counts came by then: as the run before knew, or in what is loaded."""
        if counts.total or self._heard.get(slo.id) == slo.trigger.hash:
            return True
        return self._window.count(slo.trigger, self._begins, end).total > 0

    def _burning(self, rule: Rule, end: datetime, excluded: Sequence[Span]) -> Facts:
        def burns(pair: Pair) -> Burning:
            long, short = (self._last(rule.slo.objective, s, end, excluded) for s in (pair.long, pair.short))
            nothing_left = (long.total == 0 and _excludes(pair.long, end, excluded)) or (
                short.total == 0 and _excludes(pair.short, end, excluded)
            )
            return Burning(pair, long, short, nothing_left)

        burning = [burns(pair) for pair in rule.pairs]
        # What people are told about: the first pair of the file that fires, else the first that burns too fast with too
        # few failures, else the one that comes closest.
        share, least = rule.slo.good_share, rule.slo.alert.min_events
        fires = [one for one in burning if one.verdict(share, least, rule.min_failures) == "breach"]
        too_fast = fires or [one for one in burning if one.is_too_fast(share)]
        most = too_fast[0] if too_fast else max(burning, key=lambda one: one.ratio(share))
        return Facts(most.long, self.folded.complete, (most, *(one for one in burning if one is not most)))

    def _excluded(self, slo: Slo) -> tuple[Span, ...]:
        component = self.components.component_of(slo.metric, slo.labels)
        return merged(one.span for one in in_force(self.exclusions, slo.id, component))

    def _last(self, definition: Definition, seconds: int, end: datetime, excluded: Sequence[Span]) -> Counts:
        return self._window.count(definition, end - timedelta(seconds=seconds), end, excluded)

    def counts(self, slo: Slo, seconds: int, end: datetime) -> Counts:
        """Of its objective, over so many seconds until `end`, without what is excluded."""
        return self._last(slo.objective, seconds, end, self._excluded(slo))

    def rollups(self, end: datetime, seconds: int) -> list[Mapping[str, Stats]]:
        """The blocks of the last so many seconds, of an hour at most; read where they are not at hand."""
        last = _block(end)
        counted = range(last - min(seconds // SLOT_SECONDS, HOUR), last)
        missing = [block for block in counted if block not in self.folded.blocks]
        self.folded.blocks.update(read_blocks(self.store, missing) if missing else {})
        return [self.folded.blocks[block] for block in counted]

    def value(self, rule: Rule, facts: Facts, end: datetime) -> float | None:
        """What is told of these facts; of burn rates it is told otherwise."""
        if rule.slo.quantile is None or rule.pairs:
            return rule.slo.ratio_percent(facts.counts)
        return self.quantile(rule.slo, required=True, end=end, seconds=facts.seconds)

    def quantile(
        self, slo: Slo, *, required: bool, end: datetime | None = None, seconds: int | None = None
    ) -> float | None:
        """The quantile over the alert window, or so many `seconds` until `end`.

        Of up to an hour it is made of blocks, of those at hand if they suffice. Of more, which is read only if somebody
        is told, it is made of the coarsest documents that fit: about 100 for 30 days, at most 24 a day and those at its
        ends. An hour that is excluded in part is left out whole then.
        """
        excluded, last = self._excluded(slo), _block(end or self.facts_at)
        first = last - (seconds or slo.alert.window) // SLOT_SECONDS
        if last - first > HOUR and not required:
            return None
        wanted = (slo.metric, slo.labels, (first, last), excluded)
        if wanted not in self._merged:  # many SLOs read the same metric over the same window
            if last - first > HOUR:
                self._merged[wanted] = self._distribution(slo, first, last, excluded)
            else:
                spans = without(first, last, excluded, blocks_from=0)
                counted = [block for span in spans for block in range(*span)]
                missing = [block for block in counted if block not in self.folded.blocks]
                if missing and not required:
                    return None
                self.folded.blocks.update(read_blocks(self.store, missing) if missing else {})
                self._merged[wanted] = distribution(
                    stats for block in counted for stats in _of(slo, self.folded.blocks[block])
                )
        found = self._merged[wanted]
        return found.quantile((slo.quantile or 0) / 100) if found else None

    def _distribution(self, slo: Slo, first: int, end: int, excluded: Sequence[Span]) -> Stats | None:
        state = self.folded.state or _data(self.store.get(FOLD_RUN))
        state = {**state, "days": {*state.get("days", ()), *self.folded.days}}
        stored = stored_by(state, self.facts_at, self.now)
        if first < stored.blocks_from:
            first = -(-first // HOUR) * HOUR
        whole: Stats | None = None
        for start, stop in without(first, end, excluded, blocks_from=end):
            span = Range(start, stop, stop)
            query = MetricQuery(slo.metric, slo.aggregation, span, (), {}, (slo.metric,), False, slo.unit)
            for _, rollup in Reader(self.store, query, self.registry, stored).rollups():
                own = list(_of(slo, rollup))
                if own:
                    whole = distribution([whole, *own] if whole else own)
        return whole


def _excludes(seconds: int, end: datetime, excluded: Sequence[Span]) -> bool:
    """Whether half of so many seconds until `end`, or more, is excluded."""
    return bool(excluded) and 2 * seconds_within(end - timedelta(seconds=seconds), end, excluded) >= seconds


def _block(moment: datetime) -> int:
    return int(moment.timestamp()) // SLOT_SECONDS


def _data(doc: Doc | None) -> Data:
    return doc.data if doc else {}


def _of(slo: Slo, rollup: Mapping[str, Stats]) -> Iterator[Stats]:
    return (stats for key, stats in rollup.items() if _is_of(slo, key))


def _is_of(slo: Slo, key: str) -> bool:
    """Whether a series is one of those that the SLO counts."""
    if not key.startswith(f"{slo.metric}{{"):
        return False
    return not slo.labels or set(slo.labels) <= set(split_key(key)[1].items())

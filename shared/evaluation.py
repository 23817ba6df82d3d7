"""What the SLOs read at a moment: counts over their windows, and the value of a quantile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.domain.alert import Facts, Rule, rules_of
from shared.domain.burn import Burning
from shared.domain.component import Components
from shared.domain.durations import SLOT_SECONDS
from shared.domain.exclusion import Exclusion, Span, in_force, merged, remaining, seconds_within
from shared.domain.rollup import Stats, distribution
from shared.domain.series import split_key
from shared.domain.slo import Counts, Definition, Slo, SloConfig
from shared.fold import Folded
from shared.rollups import read_blocks
from shared.slo_history import SloHistory, Window
from shared.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one SLO reads now. `window`: counts over its own window, of this length; `facts`: over the threshold's.

    `rules`: its alerts, and the facts that each is judged by. `excluded_seconds`: of its own window.
    """

    slo: Slo
    component: str | None
    window: Counts
    window_length: timedelta
    facts: Facts
    value: float | None
    ready: bool
    rules: tuple[tuple[Rule, Facts], ...]
    excluded_seconds: int = 0


def last_mark(now: datetime) -> datetime:
    """The end of the last complete 5-minute slot."""
    return datetime.fromtimestamp(int(now.timestamp()) // SLOT_SECONDS * SLOT_SECONDS, UTC)


class Evaluator:
    """Judges at `facts_at`, the end of the last complete slot. `folded`: what the fold just before it found."""

    def __init__(
        self,
        store: Store,
        config: SloConfig,
        components: Components,
        history: SloHistory,
        folded: Folded,
        now: datetime,
        exclusions: Sequence[Exclusion] = (),
    ) -> None:
        self.store = store
        self.config = config
        self.components = components
        self.history = history
        self.folded = folded
        self.now = now
        self.exclusions = exclusions
        self.facts_at = last_mark(now)
        self._merged: dict[tuple[str, tuple[tuple[str, str], ...], int, tuple[Span, ...]], Stats | None] = {}

    def evaluate(self, ready: set[str]) -> list[Evaluation]:
        """Every SLO; `ready`: hashes of the definitions that are counted over the whole history."""
        if not self.config.slos:
            return []
        rules = [rules_of(slo, self.config) for slo in self.config.slos]
        longest = max(slo.alert.window for slo in self.config.slos)
        longest = max([longest, *(pair.long for own in rules for rule in own for pair in rule.pairs)])
        start = min(slo.start_of(self.facts_at) for slo in self.config.slos)
        window = self.history.load(min(start, self.facts_at - timedelta(seconds=longest)), self.facts_at, self.now)
        slos = zip(self.config.slos, rules, strict=True)
        return [self._evaluate_one(slo, own, window, ready) for slo, own in slos]

    def _evaluate_one(self, slo: Slo, rules: Sequence[Rule], window: Window, ready: set[str]) -> Evaluation:
        excluded = self._excluded(slo)
        begins = slo.start_of(self.facts_at)
        whole = window.count(slo.objective, begins, self.facts_at, excluded)
        facts = Facts(
            self._last(window, slo.trigger, slo.alert.window, excluded),
            self.folded.complete,
            excluded=self._excludes(slo.alert.window, excluded),
        )
        value = slo.ratio_percent(facts.counts)
        if slo.quantile is not None and facts.counts.total:
            value = self.quantile(slo, required=slo.exceeds(facts.counts))
        component = self.components.component_of(slo.metric)
        is_ready = {slo.objective.hash, slo.trigger.hash} <= ready
        judged = tuple((rule, self._burning(rule, window, excluded) if rule.pairs else facts) for rule in rules)
        seconds = seconds_within(begins, self.facts_at, excluded)
        return Evaluation(slo, component, whole, self.facts_at - begins, facts, value, is_ready, judged, seconds)

    def _burning(self, rule: Rule, window: Window, excluded: Sequence[Span]) -> Facts:
        objective = rule.slo.objective
        burning = []
        for pair in rule.pairs:
            long, short = (self._last(window, objective, seconds, excluded) for seconds in (pair.long, pair.short))
            nothing_left = (long.total == 0 and self._excludes(pair.long, excluded)) or (
                short.total == 0 and self._excludes(pair.short, excluded)
            )
            burning.append(Burning(pair, long, short, nothing_left))
        # What people are told about: the first pair of the file that burns too fast, else the one that comes closest.
        share = rule.slo.good_share
        too_fast = [one for one in burning if one.is_too_fast(share)]
        most = too_fast[0] if too_fast else max(burning, key=lambda one: one.ratio(share))
        return Facts(most.long, self.folded.complete, (most, *(one for one in burning if one is not most)))

    def _excluded(self, slo: Slo) -> tuple[Span, ...]:
        component = self.components.component_of(slo.metric)
        return merged(one.span for one in in_force(self.exclusions, slo.id, component))

    def _excludes(self, seconds: int, excluded: Sequence[Span]) -> bool:
        """Whether anything of so many seconds until now is excluded."""
        return seconds_within(self.facts_at - timedelta(seconds=seconds), self.facts_at, excluded) > 0

    def _last(self, window: Window, definition: Definition, seconds: int, excluded: Sequence[Span]) -> Counts:
        return window.count(definition, self.facts_at - timedelta(seconds=seconds), self.facts_at, excluded)

    def quantile(self, slo: Slo, *, required: bool) -> float | None:
        """The quantile over the alert window, from the blocks at hand; read from the store only if somebody is told."""
        blocks, start = self.folded.blocks, self.facts_at - timedelta(seconds=slo.alert.window)
        excluded = self._excluded(slo)
        spans = remaining(start, self.facts_at, excluded)
        counted = [block for span in spans for block in range(_block(span.start), _block(span.end))]
        missing = [block for block in counted if block not in blocks]
        if missing and not required:
            return None
        wanted = (slo.metric, slo.labels, _block(start), excluded)
        if wanted not in self._merged:  # many SLOs read the same metric over the same window
            for at in range(0, len(missing), 50):
                blocks.update(read_blocks(self.store, missing[at : at + 50]))
            self._merged[wanted] = distribution(
                stats for block in counted for key, stats in blocks[block].items() if _is_of(slo, key)
            )
        merged = self._merged[wanted]
        return merged.quantile((slo.quantile or 0) / 100) if merged else None


def _block(moment: datetime) -> int:
    return int(moment.timestamp()) // SLOT_SECONDS


def _is_of(slo: Slo, key: str) -> bool:
    """Whether a series is one of those that the SLO counts."""
    if not key.startswith(f"{slo.metric}{{"):
        return False
    return not slo.labels or set(slo.labels) <= set(split_key(key)[1].items())

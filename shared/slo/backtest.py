"""Backtests: history replayed through configurations, to see when their alerts would have fired. Nothing is written.

Counts come from the slots. What is not counted yet is counted in memory as the backfill would: the last week from
5-minute blocks, days before it from hours, whose counts go into the first slot of the hour.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.domain.alert import WIDEST, Rule, rules_of
from shared.domain.component import Components
from shared.domain.definition import Definition
from shared.domain.exclusion import Span, in_force, merged
from shared.domain.metric import Registry
from shared.domain.replay import SLOT, Firing, Slots, replay
from shared.domain.rollup import Stats, merge_all, shard_of
from shared.domain.slo import Slo, SloConfig
from shared.domain.slots import SLOTS_A_DAY, SlotRow, count_definitions
from shared.metrics.layout import BLOCKS_A_DAY, FOLD_RUN, KEEP, block_path, first_block, hour_path
from shared.metrics.rollup_codec import decode_rollup
from shared.metrics.rollups import BLOCKS_AN_HOUR, decode_block
from shared.run_guard import RUN
from shared.slo.backfill import BLOCK_DAYS
from shared.slo.evaluation import last_mark
from shared.slo.exclusions import EXCLUSIONS, exclusions_of
from shared.slo.history import SloHistory, Window
from shared.store.protocol import Store

MAX_DAYS = 90
PAGES = ("critical", "high")  # severities that wake somebody
_WEEK = timedelta(days=7)
_DAY = timedelta(days=1)
_AT_ONCE = 24  # documents in memory, of at most 700 KB each

Told = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class RuleRun:
    """What a rule did between `start` and `end`. `start` is later than was asked for where there is no history."""

    rule: Rule
    start: datetime
    end: datetime
    firings: tuple[Firing, ...]

    @property
    def is_page(self) -> bool:
        return self.rule.severity in PAGES

    @property
    def lengths(self) -> list[timedelta]:
        return [(firing.cleared or self.end) - firing.fired for firing in self.firings]

    @property
    def longest(self) -> timedelta:
        return max(self.lengths, default=timedelta())

    @property
    def total(self) -> timedelta:
        return sum(self.lengths, timedelta())

    @property
    def pages_a_week(self) -> float | None:
        """None where nothing could be replayed."""
        if self.start >= self.end:
            return None
        return len(self.firings) * (_WEEK / (self.end - self.start)) if self.is_page else 0.0


@dataclass(frozen=True, slots=True)
class SloRun:
    """`counted_anew`: some of its counts are not in the store."""

    slo: Slo
    rules: tuple[RuleRun, ...]
    counted_anew: bool

    @property
    def pages_a_week(self) -> float | None:
        pages = [rule.pages_a_week for rule in self.rules if rule.pages_a_week is not None]
        return sum(pages) if pages else None


@dataclass(frozen=True, slots=True)
class Backtest:
    """`runs`: for each configuration, its SLOs."""

    start: datetime
    end: datetime
    runs: tuple[tuple[SloRun, ...], ...]


@dataclass(frozen=True, slots=True)
class History:
    """Good and total events of a definition by slot, known from slot `known_from` on."""

    start: datetime
    goods: array[int]
    totals: array[int]
    known_from: int


def backtest(
    store: Store,
    registry: Registry,
    configs: Sequence[SloConfig],
    components: Components,
    days: int,
    now: datetime,
    told: Told = lambda _: None,
) -> Backtest:
    """Replay the last `days` through each configuration. `told` hears how far it is. Raises `StoreError`.

    Reads a document a day; of what is not counted yet up to 288 a day and shard for a week, and 24 before.
    """
    run, fold, excluded = store.get_many([RUN, FOLD_RUN, EXCLUSIONS])
    until: datetime | None = run.data.get("foldedUntil") if run else None
    end = until or last_mark(now)
    start = end - timedelta(days=days)
    rules = [rule for config in configs for slo in config.slos for rule in rules_of(slo, config)]
    longest = max((_longest(rule) for rule in rules), default=timedelta()) + timedelta(seconds=WIDEST)
    wanted = dict.fromkeys(definition_of(rule) for rule in rules)
    counted = set(fold.data["backfilled"]) if fold else {d.hash for d in wanted}
    fresh = [d for d in wanted if d.hash not in counted]
    window = SloHistory(store).load(start - longest, end, end)
    made: dict[str, dict[str, SlotRow]] = {}
    if fresh and fold:
        span = ((start - longest).strftime("%Y-%m-%d"), (end - KEEP["h1"] + _DAY).strftime("%Y-%m-%d"))
        known = [day for day in fold.data["days"] if day >= max(span)]
        for n, day in enumerate(known, start=1):
            told(f"counting {day}, {n} of {len(known)} days: not in the store for what is proposed")
            exact = now - _midnight(day) < BLOCK_DAYS
            made[day] = count_day(store, day, fresh, registry, exact=exact)
    rows = {d: _history(d, window, end, made if d in fresh else None) for d in wanted}
    exclusions = exclusions_of(excluded)

    def run_one(slo: Slo, config: SloConfig) -> SloRun:
        spans = merged(
            one.span for one in in_force(exclusions, slo.id, components.component_of(slo.metric, slo.labels))
        )
        runs = [_run(rule, rows[definition_of(rule)], spans, start, end) for rule in rules_of(slo, config)]
        return SloRun(slo, tuple(runs), any(definition_of(run.rule) in fresh for run in runs))

    return Backtest(start, end, tuple(tuple(run_one(slo, config) for slo in config.slos) for config in configs))


def definition_of(rule: Rule) -> Definition:
    """What a rule counts."""
    return rule.slo.objective if rule.pairs else rule.slo.trigger


def _longest(rule: Rule) -> timedelta:
    return timedelta(seconds=max([pair.long for pair in rule.pairs] or [rule.slo.alert.window]))


def _run(rule: Rule, history: History, excluded: Sequence[Span], start: datetime, end: datetime) -> RuleRun:
    slots = Slots(history.start, history.goods, history.totals, excluded)
    first = max(_slots_between(slots.start, start), _first_judged(rule, history))
    first = min(first, len(slots))
    return RuleRun(rule, slots.at(first), end, tuple(replay(rule, slots, first)))


def _first_judged(rule: Rule, history: History) -> int:
    """Not before the first event; and where only sums of days are known before, windows must not reach there."""
    known, totals = history.known_from, history.totals
    first_event = next((n for n in range(known, len(totals)) if totals[n]), len(totals))
    return max(first_event, known + (_slots(_longest(rule)) if known else 0))


def _history(
    definition: Definition, window: Window, end: datetime, made: dict[str, dict[str, SlotRow]] | None
) -> History:
    """The slots of all days. `made`: counted here, by day."""
    goods, totals = array("Q"), array("Q")
    known_from = 0
    days = window.rows(definition)
    for at, stored in days:
        row = stored if made is None else made.get(at.strftime("%Y-%m-%d"), {}).get(definition.hash)
        if row is not None and row.total != sum(row.totals):  # of a month: the day's sums alone
            row, known_from = None, len(goods) + SLOTS_A_DAY
        goods.extend(iter(row.goods) if row else bytes(SLOTS_A_DAY))  # an array alone must be of the same width
        totals.extend(iter(row.totals) if row else bytes(SLOTS_A_DAY))
    start = days[0][0]
    length = _slots_between(start, end)
    return History(start, goods[:length], totals[:length], known_from)


def count_day(
    store: Store, day: str, definitions: Sequence[Definition], registry: Registry, *, exact: bool
) -> dict[str, SlotRow]:
    """A day's slots by definition hash, from its blocks, or from its hours; reads the shards that are needed."""
    rows = {d.hash: SlotRow() for d in definitions}
    shards = sorted({shard_of(name) for d in definitions for name in _sources(d, registry)})
    for at_once in _chunks(range(BLOCKS_A_DAY if exact else 24), _AT_ONCE // len(shards)):
        where = [(n, shard) for n in at_once for shard in shards]
        if exact:
            docs = store.get_many([block_path(first_block(day) + n, shard) for n, shard in where])
        else:
            docs = store.get_many([hour_path(day, n, shard) for n, shard in where])
        found: dict[int, list[dict[str, Stats]]] = {}
        for (n, _), doc in zip(where, docs, strict=True):
            if doc:
                series = decode_block(doc.data) if exact else decode_rollup(doc.data["payload"])
                found.setdefault(n if exact else n * BLOCKS_AN_HOUR, []).append(series)
        for slot, parts in found.items():
            for digest, counts in count_definitions(merge_all(parts), definitions, registry).items():
                rows[digest].set(slot, counts)
    return rows


def _sources(definition: Definition, registry: Registry) -> list[str]:
    """The metrics whose series are counted."""
    derived = registry.metrics[definition.metric].derived_from
    return [definition.metric, *([derived.metric] if derived else [])]


def _chunks(numbers: range, size: int) -> Iterable[range]:
    return (numbers[n : n + size] for n in range(0, len(numbers), size))


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _slots(length: timedelta) -> int:
    return length // SLOT


def _slots_between(start: datetime, end: datetime) -> int:
    return _slots(end - start)

"""SLO slots: good and total events of each definition in each of the 288 five-minute slots of a day."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.domain.definition import Counts, Definition
from shared.domain.durations import SLOT_SECONDS
from shared.domain.metric import Registry
from shared.domain.rollup import Stats
from shared.domain.series import split_key

SLOTS_A_DAY = 86_400 // SLOT_SECONDS
MOST_EVENTS = 10**12  # in a slot: 400 days of that are still a number that every store holds
_MOST_NARROW = (1 << 32) - 1  # what a slot's four bytes hold


def _zeros() -> array[int]:
    return array("I", bytes(4 * SLOTS_A_DAY))


@dataclass(slots=True)
class SlotRow:
    """One definition's day. `good` and `total` are sums of the slots, kept beside them so that whole days add fast.

    `estimates`: a bit for each slot whose counts are estimates. Slots take four bytes, or eight once one needs them:
    a sender that counts wrongly must not keep a whole day from being counted.
    """

    good: int = 0
    total: int = 0
    goods: array[int] = field(default_factory=_zeros)
    totals: array[int] = field(default_factory=_zeros)
    estimates: int = 0

    @staticmethod
    def of_a_day(counts: Counts) -> SlotRow:
        """A day of which only the sums are known: nothing can be counted within it."""
        return SlotRow(counts.good, counts.total, estimates=int(counts.estimated))

    def set(self, slot: int, counts: Counts) -> None:
        """Beyond `MOST_EVENTS` the share of good ones is kept, as an estimate."""
        if counts.total > _MOST_NARROW:
            counts = _bounded(counts)
            self.goods, self.totals = array("Q", self.goods), array("Q", self.totals)
        self.good += counts.good - self.goods[slot]
        self.total += counts.total - self.totals[slot]
        self.goods[slot] = counts.good
        self.totals[slot] = counts.total
        self.estimates = self.estimates & ~(1 << slot) | counts.estimated << slot

    def between(self, first: int, end: int) -> Counts:
        """Counts of slots first … end - 1."""
        if first <= 0 and end >= SLOTS_A_DAY:
            return Counts(self.good, self.total, self.estimates != 0)
        estimated = self.estimates >> first & (1 << end - first) - 1 != 0
        return Counts(sum(self.goods[first:end]), sum(self.totals[first:end]), estimated)


def _bounded(counts: Counts) -> Counts:
    if counts.total <= MOST_EVENTS:
        return counts
    return Counts(counts.good * MOST_EVENTS // counts.total, MOST_EVENTS, estimated=True)


SlotDay = dict[str, SlotRow]  # by definition hash


def count_definitions(
    block: Mapping[str, Stats], definitions: Sequence[Definition], registry: Registry
) -> dict[str, Counts]:
    """What a block's series mean for each definition, by its hash."""
    by_metric: dict[str, list[tuple[dict[str, str], Stats]]] = {}
    for key, stats in block.items():
        metric, labels = split_key(key)
        by_metric.setdefault(metric, []).append((labels, stats))
    return {d.hash: _count(d, by_metric, registry) for d in definitions}


def _count(
    definition: Definition, by_metric: Mapping[str, list[tuple[dict[str, str], Stats]]], registry: Registry
) -> Counts:
    if definition.bound is None:
        if definition.labels:
            by_metric = {
                metric: [(labels, stats) for labels, stats in own if _has(labels, definition.labels)]
                for metric, own in by_metric.items()
            }
        return count_ratio(definition.metric, by_metric, registry)
    own = [stats for labels, stats in by_metric.get(definition.metric, []) if _has(labels, definition.labels)]
    good = sum(stats.count_up_to(definition.bound) for stats in own)
    estimated = any(stats.weighted or stats.is_estimate(definition.bound) for stats in own)
    return Counts(good, sum(stats.count for stats in own), estimated)


def _has(labels: Mapping[str, str], wanted: Sequence[tuple[str, str]]) -> bool:
    return all(labels.get(name) == value for name, value in wanted)


def count_ratio(name: str, by_metric: Mapping[str, list[tuple[dict[str, str], Stats]]], registry: Registry) -> Counts:
    """Good and total of a ratio metric: its own samples, and those of the metric that it is derived from."""
    metric = registry.metrics[name]
    own = [stats for _, stats in by_metric.get(name, [])]
    total = sum(stats.count for stats in own)
    ones = sum(round(stats.total) for stats in own)  # samples are 0 or 1
    good = total - ones if metric.direction == "more_is_worse" else ones
    estimated = any(stats.weighted for stats in own)
    if metric.derived_from is not None:
        for labels, stats in by_metric.get(metric.derived_from.metric, []):
            bad = metric.derived_from.is_bad(labels)
            if bad is not None:
                total += stats.count
                good += 0 if bad else stats.count
                estimated |= stats.weighted > 0
    return Counts(good, total, estimated)


def add_up(parts: Iterable[Counts]) -> Counts:
    good = total = 0
    estimated = False
    for part in parts:
        good += part.good
        total += part.total
        estimated |= part.estimated
    return Counts(good, total, estimated)

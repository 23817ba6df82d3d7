"""From what was read of an OTLP request to a batch: which points count, and why others do not."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from functions.metrics_ingest.otlp_histograms import Fault, explicit, exponential, layout_of
from functions.metrics_ingest.otlp_labels import Target, Targets
from functions.metrics_ingest.otlp_read import (
    CUMULATIVE,
    DELTA,
    NO_RECORDED_VALUE,
    Attributes,
    ExponentialPoint,
    HistogramPoint,
    Metric,
)
from functions.metrics_ingest.otlp_units import converted, factor
from shared.domain.aggregate import AHEAD_MS, OLDEST_MS, value_faults
from shared.domain.building import BLOCK_MS, LARGEST, Batch, BatchBuilder, Block
from shared.domain.cumulative import Point, exponential_stats
from shared.domain.scrub import scrub_value
from shared.domain.sketch import SMALLEST

NS = 1_000_000  # nanoseconds in a millisecond
_BLOCK_NS = BLOCK_MS * NS
_SHOWN_NAME = 100


class Refusals:
    """Points that were refused: how many, of which metric and why."""

    def __init__(self) -> None:
        self.count = 0
        self._by_reason: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, reason: str, points: int = 1) -> None:
        self.count += points
        self._by_reason[name, reason] += points

    def text(self, most: int = 20) -> str:
        """The most frequent reasons. Of what was sent it names metrics alone, made harmless."""
        lines = [f"{_shown(name)}: {n} × {reason}" for (name, reason), n in self._by_reason.most_common(most)]
        more = len(self._by_reason) - len(lines)
        return "\n".join(lines + ([f"and {more} reasons more"] if more else []))


def _shown(name: str) -> str:
    printable = "".join(c if c.isprintable() else "?" for c in name[: 4 * _SHOWN_NAME])
    return scrub_value(printable)[:_SHOWN_NAME] or "(a metric without a name)"


class Intake:
    """Takes the metrics of one request. `accepted` and `refused` count points."""

    def __init__(self, targets: Targets, now_ms: int) -> None:
        self.accepted = 0
        self.refused = Refusals()
        self._targets = targets
        self._builder = BatchBuilder(targets.table)
        self._oldest, self._newest = (now_ms - OLDEST_MS) * NS, (now_ms + AHEAD_MS) * NS

    def batch(self, batch_hash: bytes) -> Batch:
        return self._builder.batch(batch_hash, self.accepted)

    def add(self, metric: Metric) -> None:
        registry = self._targets.table.registry
        own = registry.canonical_otlp(metric.name)
        if own is None and metric.name in registry.ignored:
            self.accepted += metric.count
            return
        if own is None:
            self.refused.add(metric.name, "name: unknown metric; declare it in config/metrics.json", metric.count)
            return
        by = factor(metric.unit, registry.metrics[own].unit)
        is_ratio = registry.metrics[own].kind == "ratio"
        fault = _fault(metric, is_ratio)
        if by is None:
            fault = f"unit: cannot be converted to {registry.metrics[own].unit}"
        if fault or by is None:
            if metric.count:
                self.refused.add(metric.name, str(fault), metric.count)
            return
        if metric.kind == "sum" and metric.is_monotonic and metric.temporality == CUMULATIVE:
            self._counters(metric, own, by)
        elif metric.kind in ("gauge", "sum"):
            self._values(metric, own, by)
        elif metric.kind == "histogram":
            self._histograms(metric, own, by)
        else:
            self._exponentials(metric, own, by)

    def _values(self, metric: Metric, own: str, by: float) -> None:
        """Observations, or levels. Increments of 0 are no events."""
        oldest, newest = self._oldest, self._newest
        groups: defaultdict[tuple[Attributes, int], list[float]] = defaultdict(list)
        targets = self._targets.of(own, metric)
        counted = 0
        for attributes, _, time, value, flags in metric.numbers:
            if flags & NO_RECORDED_VALUE:
                counted += 1
            elif value is None or not oldest <= time <= newest:
                self.refused.add(metric.name, self._time_fault(time) or "value: is missing")
            else:
                groups[attributes, time // _BLOCK_NS].append(value)
        self.accepted += counted
        for (attributes, block), values in groups.items():
            target = targets[attributes]
            if isinstance(target, str):
                self.refused.add(metric.name, target, len(values))
                continue
            values = [converted(value, by) for value in values] if by != 1 else list(map(float, values))
            self._group(metric, target, block, values)

    def _group(self, metric: Metric, target: Target, block: int, values: list[float]) -> None:
        """Nearly always all of them are sound, which is found out at once."""
        low = min(values)
        if not (low >= SMALLEST and max(values) <= LARGEST and math.isfinite(sum(values))) or target.series.is_ratio:
            sound = []
            for value in values:
                faults = value_faults(value, target.series) if math.isfinite(value) else ["value: must be finite"]
                if faults:
                    self.refused.add(metric.name, faults[0])
                else:
                    sound.append(value)
            values = sound
        self.accepted += len(values)
        if metric.kind == "sum" and metric.is_monotonic:
            values = [value for value in values if value]
        if values:
            self._builder.values(target.series, block, values)

    def _counters(self, metric: Metric, own: str, by: float) -> None:
        targets, builder = self._targets.of(own, metric), self._builder
        noted, block, accepted = builder.noted, Block(-1), 0
        for attributes, start, time, value, flags in metric.numbers:
            if flags & NO_RECORDED_VALUE:
                accepted += 1
                continue
            fault = self._time_fault(time, start)
            if fault is None and (value is None or not 0 <= value * by <= LARGEST):
                fault = f"value: must be from 0 to {LARGEST:g}"
            if fault is not None or value is None:
                self.refused.add(metric.name, str(fault))
                continue
            target = targets[attributes]
            if isinstance(target, str):
                self.refused.add(metric.name, target)
                continue
            accepted += 1
            series, number = target.series, time // _BLOCK_NS
            if number != block.number:
                block = builder.block(number)
            if series.number not in noted or series.dropped:
                builder.note(series, number, 1)
            value = float(value) if by == 1 else converted(float(value), by)
            block.readings.append((series.number, target.stream, start // NS, time // NS, value))
        self.accepted += accepted

    def _histograms(self, metric: Metric, own: str, by: float) -> None:
        """What depends on the bounds alone is looked up where they change, which is hardly ever."""
        targets, builder, is_delta = self._targets.of(own, metric), self._builder, metric.temporality == DELTA
        oldest, newest = self._oldest, self._newest
        noted, block, accepted = builder.noted, Block(-1), 0
        layout, sent, place = layout_of((), by), None, 0
        for point in metric.histograms:
            if point.flags & NO_RECORDED_VALUE:
                accepted += 1
                continue
            if point.bounds is not sent:
                sent = point.bounds
                layout = layout_of(sent, by)
                place = builder.place_of(layout.bounds)
            time, start = point.time, 0 if is_delta else point.start
            try:
                if not oldest <= time <= newest or start > time:
                    raise Fault(self._time_fault(time, start))
                counts, total = explicit(point, layout)
            except Fault as found:
                self.refused.add(metric.name, str(found))
                continue
            target = targets[point.attributes]
            if isinstance(target, str):
                self.refused.add(metric.name, target)
                continue
            accepted += 1
            if is_delta and not point.count:
                continue
            series, number = target.series, time // _BLOCK_NS
            if number != block.number:
                block = builder.block(number)
            if series.number not in noted or series.dropped:
                builder.note(series, number, point.count if is_delta else 1)
            low, high = point.low, point.high
            if by != 1:
                total, low, high = converted(total, by), _own(low, by), _own(high, by)
            if is_delta:
                block.histograms.append((series.number, place, total, low, high, counts))
            else:
                value = place, total, counts
                block.readings.append((series.number, target.stream, start // NS, time // NS, value))
        self.accepted += accepted

    def _exponentials(self, metric: Metric, own: str, by: float) -> None:
        targets, is_delta = self._targets.of(own, metric), metric.temporality == DELTA
        for point in metric.exponentials:
            if point.flags & NO_RECORDED_VALUE:
                self.accepted += 1
                continue
            try:
                self._check_time(point, is_delta)
                value = exponential(point, by)
            except Fault as found:
                self.refused.add(metric.name, str(found))
                continue
            target = targets[point.attributes]
            if isinstance(target, str):
                self.refused.add(metric.name, target)
                continue
            self.accepted += 1
            series, block = target.series, point.time // _BLOCK_NS
            if not is_delta:
                self._builder.point(series, block, Point(target.stream, point.start // NS, point.time // NS, value))
                continue
            stats = exponential_stats(value, _own(point.low, by), _own(point.high, by), series.bounds)
            if stats is not None:
                self._builder.whole(series, block, stats)

    def _check_time(self, point: HistogramPoint | ExponentialPoint, is_delta: bool) -> None:
        """Raises `Fault`."""
        fault = self._time_fault(point.time, 0 if is_delta else point.start)
        if fault:
            raise Fault(fault)

    def _time_fault(self, time: int, start: int = 0) -> str | None:
        if self._oldest <= time <= self._newest and start <= time:
            return None
        if not time:
            return "timeUnixNano: is missing"
        if time < self._oldest:
            return "timeUnixNano: older than 48 hours"
        if time > self._newest:
            return "timeUnixNano: more than 5 minutes ahead"
        return "startTimeUnixNano: after timeUnixNano"


def _own(value: float | None, by: float) -> float | None:
    return None if value is None else converted(value, by)


def _fault(metric: Metric, is_ratio: bool) -> str | None:
    """Why no point of the metric can be taken."""
    if metric.kind == "summary":
        return "a summary: quantiles cannot be merged; send a histogram"
    if metric.kind in ("gauge", "none"):
        return None
    if metric.temporality not in (DELTA, CUMULATIVE):
        return "aggregationTemporality: must be delta (1) or cumulative (2)"
    if metric.kind == "sum" and not metric.is_monotonic and metric.temporality == DELTA:
        return "a delta sum that may fall: its level cannot be known; send it cumulative"
    is_gauge_like = metric.kind == "sum" and not (metric.is_monotonic and metric.temporality == CUMULATIVE)
    if is_ratio and not is_gauge_like:
        return "a ratio takes samples of 0 or 1, one each, and no histograms or running sums"
    return None

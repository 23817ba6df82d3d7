"""From what was read of an OTLP request to a batch: which points count, and why others do not."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

from functions.metrics_ingest.otlp_histograms import Fault, explicit, exponential
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
from shared.domain.building import BLOCK_MS, LARGEST, Batch, BatchBuilder
from shared.domain.cumulative import Exponential, Histogram, Point, exponential_stats, histogram_stats
from shared.domain.rollup import Stats
from shared.domain.scrub import scrub_value
from shared.domain.series import Series
from shared.domain.sketch import SMALLEST

NS = 1_000_000  # nanoseconds in a millisecond
_BLOCK_NS = BLOCK_MS * NS
_SHOWN_NAME = 100


_Delta = tuple[Series, Histogram, float | None, float | None]  # with its least and largest value, where known


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
        self._deltas: defaultdict[tuple[int, tuple[str, ...], int, tuple[float, ...]], list[_Delta]] = defaultdict(list)
        self._oldest, self._newest = (now_ms - OLDEST_MS) * NS, (now_ms + AHEAD_MS) * NS

    def batch(self, batch_hash: bytes) -> Batch:
        self._put_together()
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
        for point in metric.histograms:
            self._histogram(metric, own, point, partial(explicit, point, by), by)
        for exponential_point in metric.exponentials:
            self._histogram(metric, own, exponential_point, partial(exponential, exponential_point, by), by)

    def _values(self, metric: Metric, own: str, by: float) -> None:
        """Observations, or levels. Increments of 0 are no events."""
        oldest, newest = self._oldest, self._newest
        groups: defaultdict[tuple[Attributes, int], list[float]] = defaultdict(list)
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
            target = self._target(metric, own, attributes, len(values))
            if target is None:
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
        for attributes, start, time, value, flags in metric.numbers:
            if flags & NO_RECORDED_VALUE:
                self.accepted += 1
                continue
            fault = self._time_fault(time, start)
            if fault is None and (value is None or not 0 <= value * by <= LARGEST):
                fault = f"value: must be from 0 to {LARGEST:g}"
            if fault is not None or value is None:
                self.refused.add(metric.name, str(fault))
                continue
            target = self._target(metric, own, attributes, 1)
            if target is not None:
                self._point(target, start, time, converted(float(value), by))

    def _histogram(
        self,
        metric: Metric,
        own: str,
        point: HistogramPoint | ExponentialPoint,
        read: Callable[[], Histogram | Exponential],
        by: float,
    ) -> None:
        if point.flags & NO_RECORDED_VALUE:
            self.accepted += 1
            return
        is_delta = metric.temporality == DELTA
        try:
            fault = self._time_fault(point.time, 0 if is_delta else point.start)
            if fault:
                raise Fault(fault)
            value = read()
        except Fault as found:
            self.refused.add(metric.name, str(found))
            return
        target = self._target(metric, own, point.attributes, 1)
        if target is None:
            return
        if not is_delta:
            self._point(target, point.start, point.time, value)
            return
        low = None if point.low is None else converted(point.low, by)
        high = None if point.high is None else converted(point.high, by)
        self.accepted += 1
        series, block = target.series, point.time // _BLOCK_NS
        if isinstance(value, Histogram) and value.count:
            alike = self._deltas[series.number, series.dropped, block, value.bounds]
            alike.append((series, value, low, high))
        elif isinstance(value, Exponential):
            self._whole(series, block, exponential_stats(value, low, high, series.bounds))

    def _put_together(self) -> None:
        """Histograms of the same series, block and bounds as one: a collector sends those of many processes at once."""
        for (_, _, block, bounds), alike in self._deltas.items():
            series, histograms = alike[0][0], [histogram for _, histogram, _, _ in alike]
            lows = [low for _, _, low, _ in alike if low is not None]
            highs = [high for _, _, _, high in alike if high is not None]
            low = min(lows) if len(lows) == len(alike) else None
            high = max(highs) if len(highs) == len(alike) else None
            counts = tuple(map(sum, zip(*(h.counts for h in histograms), strict=True)))
            total = math.fsum(h.total for h in histograms)
            whole = Histogram(sum(counts), total, bounds, counts)
            self._whole(series, block, histogram_stats(whole, low, high, series.bounds))
        self._deltas.clear()

    def _whole(self, series: Series, block: int, stats: Stats | None) -> None:
        if stats is not None:
            self._builder.whole(series, block, stats)

    def _point(self, target: Target, start: int, time: int, value: float | Histogram | Exponential) -> None:
        self.accepted += 1
        self._builder.point(target.series, time // _BLOCK_NS, Point(target.stream, start // NS, time // NS, value))

    def _target(self, metric: Metric, own: str, attributes: Attributes, points: int) -> Target | None:
        target = self._targets.find(own, metric, attributes)
        if isinstance(target, Target):
            return target
        self.refused.add(metric.name, target, points)
        return None

    def _time_fault(self, time: int, start: int = 0) -> str | None:
        if not time:
            return "timeUnixNano: is missing"
        if time < self._oldest:
            return "timeUnixNano: older than 48 hours"
        if time > self._newest:
            return "timeUnixNano: more than 5 minutes ahead"
        return "startTimeUnixNano: after timeUnixNano" if start > time else None


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

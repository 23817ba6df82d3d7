"""What stored rollups answer to a metric query: which series count, in which group, and the point of each step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.domain.building import BLOCK_MS
from shared.domain.definition import Counts
from shared.domain.metric import Registry
from shared.domain.metric_query import QUANTILES, MetricQuery
from shared.domain.rollup import Stats, distribution
from shared.domain.series import split_key
from shared.domain.slots import add_up, count_ratio

MAX_GROUPS = 100
Group = tuple[str, ...]  # values of the `group_by` labels, in their order
OTHER: Group = ()  # of a query that groups: what was put together, so that its labels are not known
Cell = Stats | Counts  # what is merged of one group in one step: counts of a ratio, else the distribution


@dataclass(frozen=True, slots=True)
class Point:
    """`t`: ms since 1970 of the step's beginning. `low` and `high`: between which a quantile surely lies.

    All three are None where there are no events; `high` also where a histogram has no upper edge.
    """

    t: int
    value: float | int | None
    low: float | None
    high: float | None
    count: int
    estimated: bool


@dataclass(slots=True)
class Selection:
    """Which stored series a query counts, and in which group. What a key means is worked out once."""

    query: MetricQuery
    registry: Registry
    _known: dict[str, tuple[str, dict[str, str], Group] | None] = field(default_factory=dict)

    def cells(self, rollup: Iterable[tuple[str, Stats]]) -> dict[Group, Cell]:
        """What one rollup's series come to, by group; groups without events are left out."""
        chosen: dict[Group, dict[str, list[tuple[dict[str, str], Stats]]]] = {}
        for key, stats in rollup:
            if key not in self._known:
                self._known[key] = self._place(key)
            place = self._known[key]
            if place is not None:
                name, labels, group = place
                chosen.setdefault(group, {}).setdefault(name, []).append((labels, stats))
        found = {group: self._cell(by_metric) for group, by_metric in chosen.items()}
        return {group: cell for group, cell in found.items() if cell and events(cell)}

    def _place(self, key: str) -> tuple[str, dict[str, str], Group] | None:
        if key.partition("{")[0] not in self.query.sources:
            return None
        name, labels = split_key(key)
        if any(labels.get(label, "") not in values for label, values in self.query.filters.items()):
            return None
        return name, labels, group_of(labels, self.query.group_by)

    def _cell(self, by_metric: Mapping[str, list[tuple[dict[str, str], Stats]]]) -> Cell | None:
        if self.query.is_ratio:
            return count_ratio(self.query.metric, by_metric, self.registry)
        parts = [stats for _, stats in by_metric[self.query.metric]]
        return distribution(parts if self.query.agg in QUANTILES else map(_without_sketch, parts))


def group_of(labels: Mapping[str, str], group_by: Sequence[str]) -> Group:
    """A label that a series does not have is an empty text; of series folded into `other` it is not known."""
    if labels.get("other") == "true" and any(name not in labels for name in group_by):
        return OTHER
    return tuple(labels.get(name, "") for name in group_by)


def _without_sketch(stats: Stats) -> Stats:
    return Stats(stats.count, stats.total, stats.low, stats.high, {}, {}, weighted=stats.weighted)


def events(cell: Cell) -> int:
    return cell.total if isinstance(cell, Counts) else cell.count


def merged(cells: Iterable[Cell]) -> Cell:
    """One or more cells of one query as one."""
    given = list(cells)
    ratios = [cell for cell in given if isinstance(cell, Counts)]
    return add_up(ratios) if ratios else distribution(c for c in given if isinstance(c, Stats))  # type: ignore[return-value]


def point(cell: Cell | None, query: MetricQuery, registry: Registry, start: int, stop: int) -> Point:
    """The answer for a step from block `start` to `stop`."""
    t, seconds = start * BLOCK_MS, (stop - start) * BLOCK_MS // 1000
    if cell is None:
        return Point(t, None, None, None, 0, False)
    count = events(cell)
    if isinstance(cell, Counts):
        good_is_one = registry.metrics[query.metric].direction == "less_is_worse"
        ones = cell.good if good_is_one else cell.total - cell.good
        value = {"avg": 100 * ones / count, "sum": ones, "count": count, "rate": count / seconds}[query.agg]
        return Point(t, value, None, None, count, cell.estimated)
    estimated = cell.weighted > 0
    if query.agg in QUANTILES:
        bounds = cell.quantile_bounds(QUANTILES[query.agg])
        low, high = bounds if bounds else (None, None)
        return Point(t, cell.quantile(QUANTILES[query.agg]), low, high, count, estimated)
    values = {
        "avg": cell.total / count,
        "sum": cell.total,
        "count": count,
        "min": cell.low,
        "max": cell.high,
        "rate": count / seconds,
    }
    return Point(t, values[query.agg], None, None, count, estimated)


def labels_of_group(group: Group, group_by: Sequence[str]) -> dict[str, str]:
    return {"other": "true"} if group_by and group == OTHER else dict(zip(group_by, group, strict=True))

"""What must be in the store at every level, worked out anew from the single values in the plainest way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isclose
from typing import Any

from shared.domain.cumulative import Point
from shared.domain.definition import Definition
from shared.domain.rollup import Stats
from shared.domain.slots import SlotRow
from shared.metrics.layout import day_of, hour_path, month_path, series_path, slots_path
from shared.metrics.rollup_codec import decode_rollup, decode_slots
from shared.metrics.rollups import decode_block, decode_month
from shared.store.protocol import Query, Store

Series = dict[str, list[float]]
BLOCK_MS = 300_000


def key(metric: dict[str, Any]) -> str:
    labels = ",".join(f'"{name}":"{text}"' for name, text in sorted(metric["labels"].items()))
    return f"{metric['name']}{{{labels}}}"


class Model:
    def __init__(self, definitions: Sequence[Definition]) -> None:
        self.definitions = definitions
        self.blocks: dict[int, Series] = defaultdict(lambda: defaultdict(list))
        self.rough: set[str] = set()  # series of which the store knows histograms only

    def add(self, metrics: Iterable[dict[str, Any]]) -> None:
        for metric in metrics:
            values = [float(metric["value"])] * metric.get("weight", 1)
            self.blocks[metric["timestamp"] // BLOCK_MS][key(metric)] += values

    def add_histogram(self, at: int, own: str, values: Iterable[float]) -> None:
        """Values that were sent as a histogram; its edges must have the bounds of all definitions among them."""
        self.blocks[at // BLOCK_MS][own] += values
        self.rough.add(own)

    def add_counters(self, points: Iterable[tuple[str, Point]]) -> None:
        """Points of counters that are numbers. What each added is one observation, if it is known and not 0."""
        by_metric: dict[str, list[tuple[str, Point]]] = defaultdict(list)
        for own, point in points:
            by_metric[own.partition("{")[0]].append((own, point))
        for of in by_metric.values():
            self._add_counters(of)

    def _add_counters(self, points: Iterable[tuple[str, Point]]) -> None:
        told = sorted(
            {point: own for own, point in sorted(points, key=lambda of: of[0], reverse=True)}.items(),
            key=lambda of: of[0].time,
        )
        for n, (point, own) in enumerate(told):
            oldest = (point.time // BLOCK_MS - 24) * BLOCK_MS
            earlier = [p for p, _ in told[:n] if p.time >= oldest and p.start == point.start and p.time < point.time]
            before = [p.value for p in earlier if p.stream == point.stream]
            is_new = point.start >= oldest or any(p.stream[:6] == point.stream[:6] for p in earlier)
            if not before and not (point.start and is_new):
                continue
            stands, stood = point.value, before[-1] if before else 0.0
            assert isinstance(stands, float)
            assert isinstance(stood, float)
            added = stands - stood if stands >= stood else stands
            if added:
                self.blocks[point.time // BLOCK_MS][own].append(added)

    def add_beats(self, agent: str, beats: Iterable[int], lasts: int, now: int, since: int | None = None) -> None:
        """Uptime of all blocks that are over, asked for each second by itself; `since`: expected before it beat."""
        times = sorted(beats)
        first = min([*times[:1], *([since] if since is not None else [])]) // 1000
        for number in range(first // 300, now // BLOCK_MS):
            seconds = range(max(first, number * 300), number * 300 + 300)
            up = [any(t // 1000 <= s < (t + lasts) // 1000 for t in times) for s in seconds]
            if up:
                self.blocks[number][f'agent_uptime{{"agent":"{agent}"}}'] += map(float, up)

    @property
    def days(self) -> list[str]:
        return sorted({day_of(number) for number in self.blocks})

    def gathered(self, name: str) -> dict[Any, Series]:
        """Series by `hour` (day, hour) or by `day`."""
        found: dict[Any, Series] = defaultdict(lambda: defaultdict(list))
        for number, series in self.blocks.items():
            at = day_of(number) if name == "day" else (day_of(number), number % 288 // 12)
            for own, values in series.items():
                found[at][own] += values
        return found

    def counts(self, definition: Definition, series: Series) -> tuple[int, int]:
        """Good and total events: what the sentences of config/metrics.json say."""
        good = total = 0
        for own, values in series.items():
            metric, status = own.partition("{")[0], own.partition('"status":"')[2].partition('"')[0]
            if metric == definition.metric:
                total += len(values)
                if definition.bound is not None:
                    good += sum(v <= definition.bound for v in values)
                else:
                    good += sum(v == (0 if metric == "error_rate" else 1) for v in values)
            if definition.metric == "error_rate" and metric == "api_latency" and status.isdecimal():
                total += len(values)
                good += len(values) if not 500 <= int(status) <= 599 else 0
        return good, total

    def differences(self, store: Store, closed: Sequence[str] = ()) -> list[str]:
        """What is wrong in the store, in words; `closed`: days whose documents must be there."""
        return [*self._blocks(store), *self._hours(store), *self._slots(store), *self._days(store, closed)]

    def _blocks(self, store: Store) -> Iterable[str]:
        found: dict[int, dict[str, Any]] = defaultdict(dict)
        first = {day: min(n for n in self.blocks if day_of(n) == day) // 288 * 288 for day in self.days}
        for day in self.days:
            for doc in store.query(Query(f"ops_metrics/{day}/m5", limit=1000)):
                number = first[day] + int(doc.id[:2]) * 12 + int(doc.id[2:4]) // 5
                found[number] |= decode_block(doc.data)
        yield from self._compared("block", self.blocks, found)

    def _hours(self, store: Store) -> Iterable[str]:
        found: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
        for day in self.days:
            paths = [(h, hour_path(day, h, shard)) for h in range(24) for shard in (0, 1)]
            for (hour, _), doc in zip(paths, store.get_many([p for _, p in paths]), strict=True):
                if doc:
                    found[day, hour] |= decode_rollup(doc.data["payload"])
        yield from self._compared("hour", self.gathered("hour"), found)

    def _slots(self, store: Store) -> Iterable[str]:
        for day in self.days:
            doc = store.get(slots_path(day))
            rows = decode_slots(doc.data["payload"]) if doc else {}
            numbers = [n for n in self.blocks if day_of(n) == day]
            for definition in self.definitions:
                row = rows.get(definition.hash) or SlotRow()
                expected = {n % 288: self.counts(definition, self.blocks[n]) for n in numbers}
                have = {n: (g, t) for n, (g, t) in enumerate(zip(row.goods, row.totals, strict=True)) if g or t}
                wanted = {n: counts for n, counts in expected.items() if any(counts)}
                for slot in sorted(n for n in have.keys() | wanted.keys() if have.get(n) != wanted.get(n)):
                    yield f"slot {day} {slot} {definition}: {have.get(slot)}, not {wanted.get(slot)}"
                if (row.good, row.total) != (sum(row.goods), sum(row.totals)):
                    yield f"sums {day} {definition}: {row.good}, {row.total}, not those of its slots"

    def _days(self, store: Store, closed: Sequence[str]) -> Iterable[str]:
        by_day = self.gathered("day")
        for day in closed:
            expected = by_day.get(day, {})
            docs = store.query(Query(f"ops_metrics/{day}/metrics", limit=1000))
            found = {doc.path: doc.data for doc in docs}
            wanted = {series_path(day, own): values for own, values in expected.items()}
            rough = {series_path(day, own) for own in self.rough}
            if found.keys() != wanted.keys():
                yield f"day {day}: series {sorted(found.keys() ^ wanted.keys())} should or should not be there"
            for path, values in wanted.items():
                have = found.get(path)
                if have and (have["count"], have["sum"]) != (len(values), sum(values)):
                    yield f"{path}: {have['count']}, {have['sum']}, not {len(values)}, {sum(values)}"
                if have and path not in rough and not within_one_percent(have, values):
                    yield f"{path}: quantiles are off"
            month = store.get(month_path(day))
            sums = (
                {h: (c.good, c.total) for h, c in decode_month(month.data["payload"]).get(day, {}).items()}
                if month
                else {}
            )
            for definition in self.definitions:
                good, total = self.counts(definition, expected)
                if tuple(sums.get(definition.hash, (0, 0))) != (good, total):
                    yield f"month of {day} {definition}: {sums.get(definition.hash)}, not {(good, total)}"

    def _compared(self, level: str, expected: dict[Any, Series], found: dict[Any, dict[str, Any]]) -> Iterable[str]:
        for at in expected.keys() | found.keys():
            series, have = expected.get(at, {}), found.get(at, {})
            for own in series.keys() | have.keys():
                values = series.get(own, [])
                stats = have.get(own)
                seen = (stats.count, stats.total) if stats else (0, 0)
                if seen != (len(values), sum(values)):
                    yield f"{level} {at} {own}: {seen}, not {len(values)} values of sum {sum(values)}"
                elif stats:
                    yield from (f"{level} {at} {own}: {fault}" for fault in self._faults(own, stats, values))

    def _faults(self, own: str, stats: Stats, values: Sequence[float]) -> Iterable[str]:
        known = stats.low, stats.high
        if own in self.rough:
            if known[0] > min(values):
                yield f"begins at {known[0]}, not {min(values)}"
        elif known != (min(values), max(values)) or stats.spans:
            yield f"{known}, not {min(values), max(values)}"
        if sum(stats.buckets.values()) + sum(stats.spans.values()) != len(values):
            yield f"the sketch holds {sum(stats.buckets.values())} and {sum(stats.spans.values())} of {len(values)}"
        exact = {bound: n for bound, n in stats.up_to.items() if bound not in stats.estimated}
        if any(n != sum(v <= bound for v in values) for bound, n in exact.items()):
            yield f"counts at the bounds are {stats.up_to}"


def within_one_percent(have: dict[str, Any], values: Sequence[float]) -> bool:
    ordered = sorted(values)
    exact = {q: ordered[max(1, -(-q * len(ordered) // 100)) - 1] for q in (50, 95, 99)}
    return all(isclose(have[f"p{q}"], value, rel_tol=0.0101) for q, value in exact.items())

"""What must be in the store at every level, worked out anew from the single values in the plainest way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isclose
from typing import Any

from shared.domain.slo import Definition
from shared.domain.slots import SlotRow
from shared.layout import day_of, hour_path, month_path, series_path, slots_path
from shared.rollup_codec import decode_rollup, decode_slots
from shared.rollups import decode_month
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

    def add(self, metrics: Iterable[dict[str, Any]]) -> None:
        for metric in metrics:
            self.blocks[metric["timestamp"] // BLOCK_MS][key(metric)].append(float(metric["value"]))

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
                found[number] |= decode_rollup(doc.data["payload"])
        yield from _compared("block", self.blocks, found)

    def _hours(self, store: Store) -> Iterable[str]:
        found: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
        for day in self.days:
            paths = [(h, hour_path(day, h, shard)) for h in range(24) for shard in (0, 1)]
            for (hour, _), doc in zip(paths, store.get_many([p for _, p in paths]), strict=True):
                if doc:
                    found[day, hour] |= decode_rollup(doc.data["payload"])
        yield from _compared("hour", self.gathered("hour"), found)

    def _slots(self, store: Store) -> Iterable[str]:
        for day in self.days:
            doc = store.get(slots_path(day))
            rows = decode_slots(doc.data["payload"]) if doc else {}
            numbers = [n for n in self.blocks if day_of(n) == day]
            for definition in self.definitions:
                row = rows.get(definition.hash) or SlotRow()
                expected = {n % 288: self.counts(definition, self.blocks[n]) for n in numbers}
                for slot in range(288):
                    have = row.goods[slot], row.totals[slot]
                    if have != expected.get(slot, (0, 0)):
                        yield f"slot {day} {slot} {definition}: {have}, not {expected.get(slot, (0, 0))}"
                if (row.good, row.total) != (sum(row.goods), sum(row.totals)):
                    yield f"sums {day} {definition}: {row.good}, {row.total}, not those of its slots"

    def _days(self, store: Store, closed: Sequence[str]) -> Iterable[str]:
        by_day = self.gathered("day")
        for day in closed:
            expected = by_day.get(day, {})
            docs = store.query(Query(f"ops_metrics/{day}/metrics", limit=1000))
            found = {doc.path: doc.data for doc in docs}
            wanted = {series_path(day, own): values for own, values in expected.items()}
            if found.keys() != wanted.keys():
                yield f"day {day}: series {sorted(found.keys() ^ wanted.keys())} should or should not be there"
            for path, values in wanted.items():
                have = found.get(path)
                if have and (have["count"], have["sum"]) != (len(values), sum(values)):
                    yield f"{path}: {have['count']}, {have['sum']}, not {len(values)}, {sum(values)}"
                if have and not within_one_percent(have, values):
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


def within_one_percent(have: dict[str, Any], values: Sequence[float]) -> bool:
    ordered = sorted(values)
    exact = {q: ordered[max(1, -(-q * len(ordered) // 100)) - 1] for q in (50, 95, 99)}
    return all(isclose(have[f"p{q}"], value, rel_tol=0.0101) for q, value in exact.items())


def _compared(level: str, expected: dict[Any, Series], found: dict[Any, dict[str, Any]]) -> Iterable[str]:
    for at in expected.keys() | found.keys():
        series, have = expected.get(at, {}), found.get(at, {})
        for own in series.keys() | have.keys():
            values = series.get(own, [])
            stats = have.get(own)
            seen = (stats.count, stats.total, stats.low, stats.high) if stats else (0, 0, 0, 0)
            if seen != ((len(values), sum(values), min(values), max(values)) if values else (0, 0, 0, 0)):
                yield f"{level} {at} {own}: {seen}, not {len(values)} values of sum {sum(values)}"
            elif stats and sum(stats.buckets.values()) != len(values):
                yield f"{level} {at} {own}: the sketch holds {sum(stats.buckets.values())} of {len(values)}"
            elif stats and any(n != sum(v <= bound for v in values) for bound, n in stats.up_to.items()):
                yield f"{level} {at} {own}: counts at the bounds are {stats.up_to}"

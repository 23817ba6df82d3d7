"""Gathering: what the batches of many segments bring to one 5-minute block, by shard and series."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import call

from shared.domain.cumulative import Point, put_together
from shared.domain.rollup import Gathered, shard_of
from shared.metrics.segment import StoredBatch, StoredBlock

Entry = tuple[StoredBatch, StoredBlock]
SeriesId = tuple[str, tuple[float, ...]]  # key and the bounds that its counts are for


class _Homes(dict[int, Gathered]):
    """Where the series of one segment go, by number: made at the first meeting, then found at a dict's speed."""

    def __init__(self, series: dict[int, SeriesId], fresh: list[dict[SeriesId, Gathered]], wanted: tuple[bool, ...]):
        super().__init__()
        self._series, self._fresh, self._wanted = series, fresh, wanted

    def __missing__(self, number: int) -> Gathered:
        series = self._series[number]
        shard = shard_of(series[0])
        home = self._fresh[shard].get(series)
        if home is None or not self._wanted[shard]:
            home = Gathered(series[1])
            if self._wanted[shard]:  # what a shard has already is gathered too, and dropped
                self._fresh[shard][series] = home
        self[number] = home
        return home


class _Appends(dict[int, Callable[[float], None]]):
    """The append of each series' raw values, by number."""

    def __init__(self, homes: _Homes):
        super().__init__()
        self._homes = homes

    def __missing__(self, number: int) -> Callable[[float], None]:
        append = self[number] = self._homes[number].values.append
        return append


def gather(
    entries: Sequence[Entry], receipts: Sequence[set[bytes]]
) -> tuple[list[dict[SeriesId, Gathered]], list[list[bytes]]]:
    """What batches without a receipt bring, by shard and series, and their receipts. `receipts` is by shard.

    A batch counts once here too, however many segments hold it.
    """
    fresh: list[dict[SeriesId, Gathered]] = [{} for _ in receipts]
    added: list[list[bytes]] = [[] for _ in receipts]
    seen = [set(known) for known in receipts]
    tables: dict[tuple[int, tuple[bool, ...]], tuple[_Homes, _Appends]] = {}
    same: dict[tuple[float, ...], tuple[float, ...]] = {}
    for batch, block in entries:
        wanted = tuple(batch.hash not in known for known in seen)
        if not any(wanted):
            continue
        for shard, is_wanted in enumerate(wanted):
            if is_wanted:
                seen[shard].add(batch.hash)
                added[shard].append(batch.hash)
        tables_of = tables.get((id(batch.series), wanted))
        if tables_of is None:
            homes = _Homes(batch.series, fresh, wanted)
            tables_of = tables[id(batch.series), wanted] = homes, _Appends(homes)
        homes, appends = tables_of
        for number, total, low, high, counts, buckets in block.parts:
            gathered = homes[number]
            gathered.sums.append(total)
            gathered.lows.append(low)
            gathered.highs.append(high)
            gathered.counts.append(counts)
            gathered.indexes.append(buckets)
        for number, stats in block.wholes:
            homes[number].wholes.append(stats)
        bounds = [same.setdefault(of, of) for of in batch.bounds]
        for number, place, total, least, most, held in block.histograms:
            homes[number].deltas.append((bounds[place], total, least, most, held))
        # for number, value in zip(raw_series, raw_values): appends[number](value), without the interpreter's loop
        deque(map(call, map(appends.__getitem__, block.raw_series), block.raw_values), maxlen=0)
    for shard_fresh in fresh:
        for gathered in shard_fresh.values():
            if gathered.deltas:
                gathered.wholes += put_together(gathered.deltas, gathered.bounds)
    return fresh, added


def gather_points(entries: Iterable[Entry], shards: int) -> list[dict[str, set[Point]]]:
    """The points of counters, and the beats, by shard and series key. Being a set, they need no receipts."""
    found: list[dict[str, set[Point]]] = [{} for _ in range(shards)]
    for batch, block in entries:
        for number, point in block.points:
            key = batch.series[number][0]
            found[shard_of(key)].setdefault(key, set()).add(point)
    return found

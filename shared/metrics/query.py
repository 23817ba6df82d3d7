"""Reads what a metric query needs, a few documents at a time, and merges it by group and step.

Cost in document reads: for each step the coarsest units that fit it, once for each shard that holds the metric or its
source. A closed day is one document, if it was closed by a release that writes them, else its 24 hours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import Any

from shared.domain.building import BLOCK_MS
from shared.domain.metric import Registry
from shared.domain.metric_query import MAX_DOCUMENTS, MetricQuery
from shared.domain.query_cells import MAX_GROUPS, OTHER, Cell, Group, Point, Selection, events, merged, point
from shared.domain.query_range import DAY, HOUR, Level, Piece, Stored
from shared.domain.rollup import Stats
from shared.metrics.layout import FOLD_RUN, KEEP, block_path, day_of, hour_path, whole_day_path
from shared.metrics.rollup_codec import decode_rollup
from shared.metrics.rollups import decode_block
from shared.run_guard import RUN
from shared.store.protocol import Doc, Store

CHUNK = 24  # documents in memory at once, of at most 700 KB each
_LEVELS: tuple[Level, ...] = ("m5", "h1", "d1")


class TooManyDocuments(Exception):
    """More would have to be read than is allowed, because days have no document of their own."""


@dataclass(slots=True)
class Answer:
    """`folded_groups`: how many groups were put together into `other`, beyond the largest."""

    points: dict[Group, list[Point]]
    levels: set[Level]
    reads: int
    folded_groups: int

    @property
    def level(self) -> list[Level]:
        return [level for level in _LEVELS if level in self.levels]


def read_stored(store: Store, now: datetime) -> Stored:
    """What there is to read now. Two document reads."""
    run, fold = store.get_many([RUN, FOLD_RUN])
    until: datetime | None = run.data.get("foldedUntil") if run else None
    return stored_by(fold.data if fold else {}, until, now)


def stored_by(fold: Mapping[str, Any], until: datetime | None, now: datetime) -> Stored:
    """The same by the data of `runs/fold`; `until`: end of the facts of the last complete fold."""
    days: Iterable[str] = fold.get("days", ())
    closed_through: str = fold.get("closedThrough", "")
    return Stored(
        complete_until=int(until.timestamp()) * 1000 // BLOCK_MS if until else None,
        blocks_from=_kept_from(now - KEEP["m5"]),
        hours_from=_kept_from(now - KEEP["h1"]),
        days=frozenset(map(_day_number, days)),
        closed_through=_day_number(closed_through) if closed_through else -1,
    )


def _kept_from(oldest: datetime) -> int:
    """The first block of the oldest day that is surely there: documents stay until a whole day after their day."""
    return int((oldest.timestamp()) // 86_400) * DAY


def _day_number(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) // 86_400


def run_query(store: Store, query: MetricQuery, registry: Registry, stored: Stored) -> Answer:
    """Raises `TooManyDocuments`, `StoreError`.

    If there are too many groups, everything is read twice, the first time only to learn which are the largest: what
    merges into `other` cannot be kept for every group and step in a bounded memory.
    """
    reader = Reader(store, query, registry, stored)
    steps = list(query.range.steps())
    total: Counter[Group] = Counter()
    found: dict[Group, dict[int, Point]] = {}
    for number, cells in reader.steps():
        total.update({group: events(cell) for group, cell in cells.items()})
        if len(total) <= MAX_GROUPS:
            for group, cell in cells.items():
                found.setdefault(group, {})[number] = point(cell, query, registry, *steps[number])
    folded = 0
    if len(total) > MAX_GROUPS:
        largest = sorted(total.keys() - {OTHER}, key=lambda group: (-total[group], group))[: MAX_GROUPS - 1]
        folded = len(total) - len(largest)
        kept = frozenset(largest)
        found.clear()
        for number, cells in reader.steps():
            for group, cell in _put_together(cells, kept).items():
                found.setdefault(group, {})[number] = point(cell, query, registry, *steps[number])
    if not query.group_by:
        found.setdefault((), {})
    empty = [point(None, query, registry, start, stop) for start, stop in steps]
    points = {group: [by_step.get(n, empty[n]) for n in range(len(steps))] for group, by_step in found.items()}
    return Answer(points, reader.levels, reader.reads, folded)


def _put_together(cells: dict[Group, Cell], kept: frozenset[Group]) -> dict[Group, Cell]:
    rest = [cell for group, cell in cells.items() if group not in kept]
    return {g: cell for g, cell in cells.items() if g in kept} | ({OTHER: merged(rest)} if rest else {})


class Reader:
    """`reads` counts documents over all calls of `steps` and `rollups`."""

    def __init__(self, store: Store, query: MetricQuery, registry: Registry, stored: Stored) -> None:
        self._store = store
        self._query = query
        self._stored = stored
        self._selection = Selection(query, registry)
        self.reads = 0
        self.levels: set[Level] = set()

    def steps(self) -> Iterator[tuple[int, dict[Group, Cell]]]:
        """The number of each step that has events, and what they come to by group."""
        for number, parts in groupby(self.rollups(), key=lambda part: part[0]):
            cells: dict[Group, Cell] = {}
            for _, rollup in parts:
                for group, cell in self._selection.cells(rollup.items()).items():
                    cells[group] = merged([cells[group], cell]) if group in cells else cell
            if cells:
                yield number, cells

    def rollups(self) -> Iterator[tuple[int, dict[str, Stats]]]:
        """Step and series of each document, all series of its shard. Raises `TooManyDocuments`, `StoreError`."""
        wanted = ((piece, shard) for piece in self._query.range.pieces(self._stored) for shard in self._query.shards)
        while chunk := list(islice(wanted, CHUNK)):
            for (piece, shard), doc in zip(chunk, self._read([_path(*unit) for unit in chunk]), strict=True):
                docs: Sequence[Doc | None] = [doc]
                level = piece.level
                if doc is None and level == "d1":
                    hours = (Piece(piece.step, "h1", piece.start + n * HOUR) for n in range(24))
                    docs, level = self._read([_path(hour, shard) for hour in hours]), "h1"
                for found in docs:
                    if found is not None:
                        self.levels.add(level)
                        data = found.data
                        yield piece.step, decode_block(data) if level == "m5" else decode_rollup(data["payload"])

    def _read(self, paths: Sequence[str]) -> list[Doc | None]:
        self.reads += len(paths)
        if self.reads > MAX_DOCUMENTS:
            raise TooManyDocuments
        return self._store.get_many(paths)


def _path(piece: Piece, shard: int) -> str:
    if piece.level == "m5":
        return block_path(piece.start, shard)
    day = day_of(piece.start)
    return hour_path(day, piece.start % DAY // HOUR, shard) if piece.level == "h1" else whole_day_path(day, shard)

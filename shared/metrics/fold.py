"""The fold: each batch of the segments exactly once into its 5-minute blocks, then everything above them.

1. Each touched block: read, merge the batches that are not among its receipts, compare-and-set. Points of counters and
   beats go into a set beside it, from which their part of the block is worked out whole.
2. Recompute the touched SLO slots, hours and closed days whole from the level below.
3. Only then delete the segments. One that is still there is the mark of unfinished work.

Killed anywhere, or run twice at once, it ends with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared import log
from shared.domain.building import BLOCK_MS
from shared.domain.definition import Definition, bounds_of
from shared.domain.heartbeat import Agents
from shared.domain.metric import Registry
from shared.domain.rollup import SHARDS, Stats
from shared.metrics.blocks import fold_block
from shared.metrics.days import close_days, remember_days
from shared.metrics.derivation import Derivation
from shared.metrics.gather import Entry, gather_points
from shared.metrics.layout import FOLD_RUN, day_of, expiry
from shared.metrics.points import beats_of, merge_points
from shared.metrics.rollups import close_day, recompute_hour, recompute_slots
from shared.metrics.segment import CorruptSegment, decode_segment
from shared.store.protocol import (
    Conflict,
    Create,
    Data,
    Delete,
    Doc,
    Query,
    Store,
    cursor_of,
)

PAGE_BYTES = 32_000_000
PAGE_SEGMENTS = 100
ENTRIES_AT_ONCE = 40_000
KEPT_BLOCKS = 12
CLOSE_AFTER = timedelta(minutes=10)
UPTIME_BLOCKS = 600  # at once, where no fold ran for long


@dataclass(slots=True)
class Folded:
    """`complete`: no segment was left. `days`: those that changed.

    `blocks`: the latest of the blocks that were worked on, by number, as they are now. `state`: `runs/fold` as it was
    when the fold began.
    """

    complete: bool = True
    segments: int = 0
    batches: int = 0
    days: set[str] = field(default_factory=set)
    blocks: dict[int, dict[str, Stats]] = field(default_factory=dict)
    state: Data = field(default_factory=dict)


def fold(
    store: Store,
    registry: Registry,
    definitions: Sequence[Definition],
    now: datetime,
    *,
    agents: Agents | None = None,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Folded:
    """Fold all segments, page by page, while `may_go_on`; and count the uptime of agents up to now.

    Raises `StoreError`.
    """
    return _Fold(store, registry, definitions, agents or Agents(), now).run(may_go_on)


class _Fold:
    """One run of it."""

    def __init__(
        self, store: Store, registry: Registry, definitions: Sequence[Definition], agents: Agents, now: datetime
    ) -> None:
        self.store = store
        self.registry = registry
        self.definitions = definitions
        self.now = now
        self.today = now.strftime("%Y-%m-%d")
        self.current = int(now.timestamp()) * 1000 // BLOCK_MS
        state = store.get(FOLD_RUN)
        self.state: Data = state.data if state else {}
        self.result = Folded(state=self.state)
        self.days = set(self.state.get("days", ()))
        self.derivation = Derivation(store, registry, bounds_of(registry, definitions), agents, self.state, now)

    def run(self, may_go_on: Callable[[], bool]) -> Folded:
        due = self._uptime_due()
        while True:
            if not may_go_on():
                self.result.complete = False
                break
            docs, more = _page(self.store)
            by_block = _decode(self.store, docs, self.result)
            self._fold_page(by_block, due)
            due = set()
            for start in range(0, len(docs), 400):
                self.store.commit([Delete(doc.path) for doc in docs[start : start + 400]])
            self.result.segments += len(docs)
            if not more:
                break
        if self.result.complete and self.state:
            last = (self.now - CLOSE_AFTER - timedelta(days=1)).strftime("%Y-%m-%d")
            if self.state["closing"] or any(self.state["closedThrough"] < day <= last for day in self.days):
                close_days(self.store, self.registry, last)
        return self.result

    def _fold_page(self, by_block: Mapping[int, list[Entry]], due: set[int]) -> None:
        """`due`: blocks whose uptime is to be counted besides."""
        points = {
            (block, shard): by_key
            for block, entries in by_block.items()
            for shard, by_key in enumerate(gather_points(entries, SHARDS))
            if by_key
        }
        beats = beats_of(points)
        due = due | self.derivation.meet(beats)
        if not by_block and not due:
            return
        self.days |= remember_days(self.store, {day_of(b) for b in by_block.keys() | due} - self.days)
        for block in sorted(by_block):
            for start in range(0, len(by_block[block]), ENTRIES_AT_ONCE):
                fold_block(self.store, block, by_block[block][start : start + ENTRIES_AT_ONCE], self.registry)
        for (block, shard), by_key in sorted(points.items()):
            merge_points(self.store, block, shard, by_key)
        derived = self.derivation.work_out(points, due)
        late = {block: set(keys) for block, keys in derived.items()}
        for block, entries in by_block.items():
            late.setdefault(block, set()).update(*map(_keys_of, entries) if day_of(block) < self.today else ())
        self._recompute(late)
        if due or beats:
            self.derivation.note(self.current - 1)

    def _uptime_due(self) -> set[int]:
        """The complete blocks for which no agent's uptime was counted yet."""
        if not self.derivation.known:
            return set()
        done = self.state.get("beatsThrough", self.current - 2)
        return set(range(max(done + 1, self.current - UPTIME_BLOCKS), self.current))

    def _recompute(self, touched: Mapping[int, set[str]]) -> None:
        """Step 2. `touched`: blocks, and for days before today the keys that may be new or gone."""
        days: dict[str, list[int]] = {}
        for block in sorted(touched):
            days.setdefault(day_of(block), []).append(block)
        for day, blocks in days.items():
            self.result.days.add(day)
            recounted = recompute_slots(self.store, day, blocks, self.definitions, self.registry)
            self.result.blocks.update(recounted.latest)
            for hour, shard in sorted(recounted.hours):
                recompute_hour(self.store, day, hour, shard, self.registry)
        for block in sorted(self.result.blocks)[:-KEPT_BLOCKS]:
            del self.result.blocks[block]
        # Only now, with the hours written: a day marked closed after this read will be closed with them in it.
        state = self.store.get(FOLD_RUN) if min(days, default=self.today) < self.today else None
        for day, blocks in days.items():
            if state and day <= state.data["closedThrough"]:
                close_day(self.store, day, self.registry, only={key for b in blocks for key in touched[b]})


def _page(store: Store) -> tuple[list[Doc], bool]:
    """As many segments as fit into memory, and whether there are more."""
    docs: list[Doc] = []
    size = 0
    query = Query("segments", group=True, limit=PAGE_SEGMENTS)
    while True:
        part = store.query(query)
        docs += part
        size += sum(len(doc.data.get("payload", b"")) for doc in part)
        if len(part) < PAGE_SEGMENTS:
            return docs, False
        if size >= PAGE_BYTES:
            return docs, True
        query = Query("segments", group=True, limit=PAGE_SEGMENTS, after=cursor_of(part[-1], query))


def _decode(store: Store, docs: Iterable[Doc], result: Folded) -> dict[int, list[Entry]]:
    """The batches of the segments by block. A segment that cannot be read is kept aside, never thrown away."""
    by_block: dict[int, list[Entry]] = {}
    for doc in docs:
        try:
            batches = decode_segment(doc.data.get("payload", b""))
        except CorruptSegment as error:
            log.error("a segment cannot be read; it is kept under quarantine", error, segment=doc.id)
            aside = doc.path.replace("/segments/", "/quarantine/")
            try:
                store.commit([Create(aside, {**doc.data, "expireAt": expiry("day", doc.path.split("/")[1])})])
            except Conflict:
                log.info("the segment was in quarantine already", segment=doc.id)
            continue
        result.batches += len(batches)
        for batch in batches:
            for block in batch.blocks:
                by_block.setdefault(block.number, []).append((batch, block))
    return by_block


def _keys_of(entry: Entry) -> Iterator[str]:
    batch, block = entry
    worked_out = {*(part[0] for part in block.parts), *(whole[0] for whole in block.wholes)}
    for number in {*block.raw_series, *worked_out, *(histogram[0] for histogram in block.histograms)}:
        yield batch.series[number][0]

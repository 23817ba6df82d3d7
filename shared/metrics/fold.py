"""The fold: each batch of the segments exactly once into its 5-minute blocks, then everything above them.

1. Each touched block: read, merge the batches that are not among its receipts, compare-and-set. Points of counters and
   beats go into a set beside it, from which their part of the block is worked out whole.
2. Recompute the touched SLO slots, hours and closed days whole from the level below.
3. Only then delete the segments. One that is still there is the mark of unfinished work.

Killed anywhere, or run twice at once, it ends with the same numbers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared import log
from shared.domain.building import BLOCK_MS
from shared.domain.definition import Definition, bounds_of
from shared.domain.fit import limit_series
from shared.domain.heartbeat import Agents
from shared.domain.metric import Registry
from shared.domain.rollup import SHARDS, Stats, merge_all
from shared.metrics.gather import Entry, gather, gather_points
from shared.metrics.layout import FOLD_RUN, block_path, day_of, expiry
from shared.metrics.points import Derivation, beats_of, merge_points
from shared.metrics.rollup_codec import MAX_PAYLOAD, decode_rollup, encode_fitted
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
    Unavailable,
    Write,
    compare_and_set,
    cursor_of,
    new_rev,
    over,
)

PAGE_BYTES = 32_000_000
PAGE_SEGMENTS = 100
MAX_BLOCK = 1_000_000  # payload and receipts
RECEIPTS_PAGE = 400_000  # bytes; beyond them, older receipts go to pages of their own
ENTRIES_AT_ONCE = 40_000
KEPT_BLOCKS = 12
CLOSE_AFTER = timedelta(minutes=10)
KEPT_DAYS = 92
RECEIPT = 8
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
                _close_days(self.store, self.registry, last)
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
        self.days |= _remember_days(self.store, {day_of(b) for b in by_block.keys() | due} - self.days)
        for block in sorted(by_block):
            for start in range(0, len(by_block[block]), ENTRIES_AT_ONCE):
                _fold_block(self.store, block, by_block[block][start : start + ENTRIES_AT_ONCE], self.registry)
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


def _remember_days(store: Store, days: set[str]) -> set[str]:
    """Write down which days have data, before any of it is written."""
    if days:

        def decide(doc: Doc | None) -> Data | None:
            data = doc.data if doc else {"days": [], "closedThrough": "", "closing": [], "backfilled": []}
            if days <= set(data["days"]):
                return None
            return {**data, "days": sorted({*data["days"], *days})[-KEPT_DAYS:]}

        compare_and_set(store, FOLD_RUN, decide)
    return days


def _keys_of(entry: Entry) -> Iterator[str]:
    batch, block = entry
    worked_out = {*(part[0] for part in block.parts), *(whole[0] for whole in block.wholes)}
    for number in {*block.raw_series, *worked_out, *(histogram[0] for histogram in block.histograms)}:
        yield batch.series[number][0]


def _fold_block(store: Store, block: int, entries: Sequence[Entry], registry: Registry) -> None:
    """Step 1. A reply that was lost needs no care: reading again shows the receipts."""
    paths = [block_path(block, shard) for shard in range(SHARDS)]
    for attempt in range(60):
        docs = store.get_many(paths)
        receipts = [_receipts(store, doc) for doc in docs]
        fresh, added = gather(entries, receipts)
        writes: list[Write] = []
        for shard, doc in enumerate(docs):
            if fresh[shard]:
                before = [decode_rollup(doc.data["payload"])] if doc else []
                rollup = merge_all([*before, *({key: g.stats()} for (key, _), g in fresh[shard].items())])
                rollup = limit_series(rollup, registry.series_limits)
                known, new = doc.data["receipts"] if doc else b"", b"".join(added[shard])
                pages = doc.data.get("pages", 0) if doc else 0
                expire = expiry("m5", day_of(block))
                if len(known) + len(new) > RECEIPTS_PAGE and known:
                    writes.append(Create(_page_path(paths[shard], pages), {"receipts": known, "expireAt": expire}))
                    known, pages = b"", pages + 1
                derived = doc.data.get("derived", b"") if doc else b""
                room = MAX_BLOCK - len(known) - len(new) - len(derived)
                data = {
                    "payload": encode_fitted(rollup, min(MAX_PAYLOAD, room)),
                    "derived": derived,
                    "receipts": known + new,
                    "pages": pages,
                    "expireAt": expire,
                    "rev": new_rev(),
                }
                writes.append(over(doc, paths[shard], data))
        if not writes:
            return
        try:
            store.commit(writes)
            return
        except Conflict:
            time.sleep(random.uniform(0, min(0.25, 0.005 * 2**attempt)))
        except Unavailable:
            if attempt >= 2:
                raise
    raise Conflict(f"{paths[0]} kept changing")


def _receipts(store: Store, doc: Doc | None) -> set[bytes]:
    """All receipts of a block's shard. Pages are written in the commit that names them, and never change."""
    if doc is None:
        return set()
    packed = [doc.data["receipts"]]
    pages = doc.data.get("pages", 0)
    if pages:
        packed += [p.data["receipts"] for p in store.get_many([_page_path(doc.path, n) for n in range(pages)]) if p]
    return {part[i : i + RECEIPT] for part in packed for i in range(0, len(part), RECEIPT)}


def _page_path(block: str, page: int) -> str:
    return f"{block.replace('/m5/', '/receipts/')}-{page}"


def _close_days(store: Store, registry: Registry, last: str) -> None:
    """Write the day documents of the days that are over. Each is marked before its hours are read, see `_recompute`."""

    def mark(doc: Doc | None) -> Data | None:
        due = [d for d in doc.data["days"] if doc.data["closedThrough"] < d <= last] if doc else []
        if doc is None or not due:
            return None
        return {**doc.data, "closedThrough": due[-1], "closing": sorted({*doc.data["closing"], *due})}

    def unmark(doc: Doc | None) -> Data | None:
        if doc is None or day not in doc.data["closing"]:
            return None
        return {**doc.data, "closing": [d for d in doc.data["closing"] if d != day]}

    compare_and_set(store, FOLD_RUN, mark)
    state = store.get(FOLD_RUN)
    for day in state.data["closing"] if state else ():
        close_day(store, day, registry)
        compare_and_set(store, FOLD_RUN, unmark)

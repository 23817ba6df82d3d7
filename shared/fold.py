"""The fold: each batch of the segments exactly once into its 5-minute blocks, then everything above them.

1. Each touched block: read, merge the batches that are not among its receipts, compare-and-set.
2. Recompute the touched SLO slots, hours and closed days whole from the level below.
3. Only then delete the segments. One that is still there is the mark of unfinished work.

Killed anywhere, or run twice at once, it ends with the same numbers.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import call

from shared import log
from shared.domain.metric import Registry
from shared.domain.rollup import SHARDS, Gathered, Stats, merge_all, shard_of
from shared.domain.slo import Definition
from shared.layout import FOLD_RUN, block_path, day_of, expiry
from shared.rollup_codec import MAX_PAYLOAD, decode_rollup, encode_fitted
from shared.rollups import close_day, recompute_hour, recompute_slots
from shared.segment import CorruptSegment, StoredBatch, StoredBlock, decode_segment
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

Entry = tuple[StoredBatch, StoredBlock]


@dataclass(slots=True)
class Folded:
    """`complete`: no segment was left. `days`: those that changed.

    `blocks`: the latest of the blocks that were worked on, by number, as they are now.
    """

    complete: bool = True
    segments: int = 0
    batches: int = 0
    days: set[str] = field(default_factory=set)
    blocks: dict[int, dict[str, Stats]] = field(default_factory=dict)


def fold(
    store: Store,
    registry: Registry,
    definitions: Sequence[Definition],
    now: datetime,
    *,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Folded:
    """Fold all segments, page by page, while `may_go_on`. Raises `StoreError`."""
    result = Folded()
    state = store.get(FOLD_RUN)
    known = set(state.data["days"]) if state else set()
    while True:
        if not may_go_on():
            result.complete = False
            break
        docs, more = _page(store)
        if docs:
            by_block = _decode(store, docs, result)
            known |= _remember_days(store, {day_of(b) for b in by_block} - known)
            for block in sorted(by_block):
                for start in range(0, len(by_block[block]), ENTRIES_AT_ONCE):
                    _fold_block(store, block, by_block[block][start : start + ENTRIES_AT_ONCE])
            _recompute(store, by_block, registry, definitions, result, now.strftime("%Y-%m-%d"))
            for start in range(0, len(docs), 400):
                store.commit([Delete(doc.path) for doc in docs[start : start + 400]])
            result.segments += len(docs)
        if not more:
            break
    if result.complete:
        last = (now - CLOSE_AFTER - timedelta(days=1)).strftime("%Y-%m-%d")
        if state and (state.data["closing"] or any(state.data["closedThrough"] < day <= last for day in known)):
            _close_days(store, registry, last)
    return result


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


def _decode(store: Store, docs: Sequence[Doc], result: Folded) -> dict[int, list[Entry]]:
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


def _fold_block(store: Store, block: int, entries: Sequence[Entry]) -> None:
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
                known, new = doc.data["receipts"] if doc else b"", b"".join(added[shard])
                pages = doc.data.get("pages", 0) if doc else 0
                expire = expiry("m5", day_of(block))
                if len(known) + len(new) > RECEIPTS_PAGE and known:
                    writes.append(Create(_page_path(paths[shard], pages), {"receipts": known, "expireAt": expire}))
                    known, pages = b"", pages + 1
                data = {
                    "payload": encode_fitted(rollup, min(MAX_PAYLOAD, MAX_BLOCK - len(known) - len(new))),
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
        # for number, value in zip(raw_series, raw_values): appends[number](value), without the interpreter's loop
        deque(map(call, map(appends.__getitem__, block.raw_series), block.raw_values), maxlen=0)
    return fresh, added


def _recompute(
    store: Store,
    by_block: dict[int, list[Entry]],
    registry: Registry,
    definitions: Sequence[Definition],
    result: Folded,
    today: str,
) -> None:
    """Step 2."""
    days: dict[str, list[int]] = {}
    for block in sorted(by_block):
        days.setdefault(day_of(block), []).append(block)
    for day, blocks in days.items():
        result.days.add(day)
        recounted = recompute_slots(store, day, blocks, definitions, registry)
        result.blocks.update(recounted.latest)
        for hour, shard in sorted(recounted.hours):
            recompute_hour(store, day, hour, shard)
    for block in sorted(result.blocks)[:-KEPT_BLOCKS]:
        del result.blocks[block]
    # Only now, with the hours written: a day that is marked closed after this read will be closed with them in it.
    state = store.get(FOLD_RUN) if min(days, default=today) < today else None
    for day in days:
        if state and day <= state.data["closedThrough"]:
            late = {k for b in days[day] for batch, _ in by_block[b] for k, _ in batch.series.values()}
            close_day(store, day, registry, only=late)


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

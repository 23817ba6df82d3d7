"""A definition that is new to the configuration is counted over the history before it may alert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from shared.domain.definition import Definition
from shared.domain.metric import Registry
from shared.domain.rollup import SHARDS, merge_all
from shared.domain.slots import SlotRow, count_definitions
from shared.metrics.layout import BLOCKS_A_DAY, FOLD_RUN, expiry, first_block, hour_path, slots_path
from shared.metrics.rollup_codec import decode_rollup, decode_slots, encode_slots
from shared.metrics.rollups import BLOCKS_AN_HOUR, read_blocks, sum_day
from shared.store.protocol import Data, Doc, Store, compare_and_set

BLOCK_DAYS = timedelta(days=7)  # within these the 5-minute blocks are surely there
LEAST_DAYS = timedelta(days=32)
MOST_DAYS = timedelta(days=90)  # hours are kept no longer


def backfill(
    store: Store,
    registry: Registry,
    definitions: Sequence[Definition],
    now: datetime,
    may_go_on: Callable[[], bool],
    reach: timedelta = LEAST_DAYS,
    known: Data | None = None,
) -> tuple[set[str], bool]:
    """Hashes of the definitions that are ready, and whether anything was written. `reach`: how far back it counts.

    The latest day comes first; it goes on at the next run where it was stopped. A definition that leaves the
    configuration is forgotten, since from then on it is not counted. `known`: `runs/fold` as it was read just now: if
    by that nothing is to be done, it is not read again.
    """
    if known and set(known["backfilled"]) == {d.hash for d in definitions}:
        return set(known["backfilled"]), False
    state = store.get(FOLD_RUN)
    if state is None:  # no data at all: nothing to count
        return {d.hash for d in definitions}, False
    wanted = {d.hash for d in definitions}
    done = wanted & set(state.data["backfilled"])
    fresh = [d for d in definitions if d.hash not in done]
    if not fresh:
        if done != set(state.data["backfilled"]):
            _note(store, done, None)
        return done, False
    hashes = sorted(d.hash for d in fresh)
    progress = state.data.get("backfilling") or {}
    before = progress["before"] if progress.get("hashes") == hashes else "9999"
    oldest = (now - min(MOST_DAYS, max(LEAST_DAYS, reach))).strftime("%Y-%m-%d")
    for day in sorted((d for d in state.data["days"] if oldest <= d < before), reverse=True):
        if not may_go_on():
            return done, True
        age = now - datetime.fromisoformat(day + "T00:00:00+00:00")
        _backfill_day(store, day, fresh, registry, exact=age < BLOCK_DAYS)
        if day <= state.data["closedThrough"]:
            sum_day(store, day)
        _note(store, done, {"hashes": hashes, "before": day})
    _note(store, wanted, None)
    return wanted, True


def _note(store: Store, done: set[str], progress: Data | None) -> None:
    def decide(doc: Doc | None) -> Data | None:
        return None if doc is None else {**doc.data, "backfilled": sorted(done), "backfilling": progress}

    compare_and_set(store, FOLD_RUN, decide)


def _backfill_day(
    store: Store, day: str, definitions: Sequence[Definition], registry: Registry, *, exact: bool
) -> None:
    """From blocks; of an older day from its hours, whose counts go into the first slot of the hour."""

    def decide(doc: Doc | None) -> Data:
        rows = decode_slots(doc.data["payload"]) if doc else {}
        for d in definitions:
            rows[d.hash] = SlotRow()
        first = first_block(day)
        for hour in range(24):
            if exact:
                blocks = read_blocks(store, [first + hour * BLOCKS_AN_HOUR + n for n in range(BLOCKS_AN_HOUR)])
                rollups = {block % BLOCKS_A_DAY: rollup for block, rollup in blocks.items() if rollup}
            else:
                docs = store.get_many([hour_path(day, hour, shard) for shard in range(SHARDS)])
                rollups = {hour * BLOCKS_AN_HOUR: merge_all(decode_rollup(d.data["payload"]) for d in docs if d)}
            for slot, rollup in rollups.items():
                for digest, counts in count_definitions(rollup, definitions, registry).items():
                    rows[digest].set(slot, counts)
        return {"payload": encode_slots(rows), "expireAt": expiry("day", day)}

    compare_and_set(store, slots_path(day), decide)

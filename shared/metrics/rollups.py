"""Recomputing a level whole from the one below: SLO slots, hours, days.

The target's version is read first, then the sources, then compare-and-set: whoever read older sources meets a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from shared.domain.definition import Counts, Definition
from shared.domain.fit import is_other, limit_series
from shared.domain.metric import Registry
from shared.domain.rollup import SHARDS, Stats, merge_all, shard_of
from shared.domain.series import split_key
from shared.domain.slots import SLOTS_A_DAY, SlotRow, count_definitions
from shared.metrics.layout import (
    BLOCKS_A_DAY,
    block_path,
    expiry,
    first_block,
    hour_path,
    month_path,
    series_path,
    slots_path,
    whole_day_path,
)
from shared.metrics.rollup_codec import decode_rollup, decode_slots, encode_fitted, encode_slots
from shared.store.protocol import (
    Conflict,
    Data,
    Delete,
    Doc,
    Put,
    Query,
    Store,
    Unavailable,
    Write,
    compare_and_set,
    cursor_of,
    in_chunks,
    new_rev,
    over,
    write_size,
)

BLOCKS_AN_HOUR = 12


def read_blocks(store: Store, blocks: Sequence[int]) -> dict[int, dict[str, Stats]]:
    """The series of each block; an empty block has none."""
    return {block: merge_all(shards.values()) for block, shards in _read_shards(store, blocks).items()}


def _read_shards(store: Store, blocks: Sequence[int]) -> dict[int, dict[int, dict[str, Stats]]]:
    """The series of each block by shard, of those shards that have a document."""
    wanted = [(block, shard) for block in blocks for shard in range(SHARDS)]
    found: dict[int, dict[int, dict[str, Stats]]] = {block: {} for block in blocks}
    docs = store.get_many([block_path(block, shard) for block, shard in wanted])
    for (block, shard), doc in zip(wanted, docs, strict=True):
        if doc:
            found[block][shard] = decode_block(doc.data)
    return found


def decode_block(data: Data) -> dict[str, Stats]:
    """The series of a block's document: `payload`, what was sent as values, and `derived`, what points came to."""
    derived = data.get("derived")
    rollup = decode_rollup(data["payload"])
    return merge_all([rollup, decode_rollup(derived)]) if derived else rollup


class Recounted(NamedTuple):
    """`latest`: the last dozen of the blocks that were counted. `hours`: hour and shard of those with a document."""

    latest: dict[int, dict[str, Stats]]
    hours: set[tuple[int, int]]


def recompute_slots(
    store: Store, day: str, blocks: Sequence[int], definitions: Sequence[Definition], registry: Registry
) -> Recounted:
    """Set the slots of these blocks, which are in rising order, in the day's document. A dozen is in memory at once."""
    found = Recounted({}, set())
    last = set(blocks[-BLOCKS_AN_HOUR:])

    def decide(doc: Doc | None) -> Data:
        rows = decode_slots(doc.data["payload"]) if doc else {}
        for start in range(0, len(blocks), BLOCKS_AN_HOUR):
            shards = _read_shards(store, blocks[start : start + BLOCKS_AN_HOUR])
            dozen = {block: merge_all(of.values()) for block, of in shards.items()}
            found.latest.update({block: dozen[block] for block in dozen.keys() & last})
            for block, rollup in dozen.items():
                slot = block % BLOCKS_A_DAY
                # Of a document that has become empty too: what a late point took out of it is in the hour still.
                found.hours.update((slot // BLOCKS_AN_HOUR, shard) for shard in shards[block])
                for digest, counts in count_definitions(rollup, definitions, registry).items():
                    rows.setdefault(digest, SlotRow()).set(slot, counts)
        return {"payload": encode_slots(rows), "expireAt": expiry("day", day)}

    compare_and_set(store, slots_path(day), decide)
    return found


def recompute_hour(store: Store, day: str, hour: int, shard: int, registry: Registry) -> None:
    first = first_block(day) + hour * BLOCKS_AN_HOUR

    def decide(_: Doc | None) -> Data:
        docs = store.get_many([block_path(first + n, shard) for n in range(BLOCKS_AN_HOUR)])
        rollup = merge_all(decode_block(doc.data) for doc in docs if doc)
        rollup = limit_series(rollup, registry.series_limits)
        return {"payload": encode_fitted(rollup), "expireAt": expiry("h1", day)}

    compare_and_set(store, hour_path(day, hour, shard), decide)


def close_day(store: Store, day: str, registry: Registry, only: set[str] | None = None) -> None:
    """Write the day's document of each series (or of those in `only`), and the day's SLO counts into its month.

    `ops_metrics/{day}` guards the series' documents: every commit of them changes it.
    """
    for attempt in range(20):
        guard = store.get(f"ops_metrics/{day}")
        docs = store.get_many([hour_path(day, hour, shard) for hour in range(24) for shard in range(SHARDS)])
        rollup = merge_all(decode_rollup(doc.data["payload"]) for doc in docs if doc)
        rollup = limit_series(rollup, registry.series_limits)
        gone: list[Write] = []
        if any(map(is_other, rollup)):  # which series stand alone may have changed with what came late
            only = None
            gone = [Delete(path) for path in _series_paths(store, day) - {series_path(day, key) for key in rollup}]
        elif only is not None:
            gone = [Delete(series_path(day, key)) for key in sorted(only - rollup.keys())]
        keys = sorted(rollup if only is None else set(rollup) & only)
        writes: list[Write] = [
            Put(series_path(day, key), _series_data(day, key, rollup[key], registry)) for key in keys
        ]
        writes += [Put(whole_day_path(day, shard), _whole_day(day, shard, rollup)) for shard in range(SHARDS)]
        try:
            for chunk in in_chunks([*writes, *gone], write_size):
                guard = _commit_guarded(store, day, guard, chunk)
            break
        except (Conflict, Unavailable):
            if attempt == 19:
                raise
    sum_day(store, day)


def _whole_day(day: str, shard: int, rollup: Mapping[str, Stats]) -> Data:
    """All series of a shard with their sketches: a question about a month reads one document a day."""
    own = {key: stats for key, stats in rollup.items() if shard_of(key) == shard}
    return {"payload": encode_fitted(own), "expireAt": expiry("day", day)}


def _series_paths(store: Store, day: str) -> set[str]:
    paths: set[str] = set()
    query = Query(f"ops_metrics/{day}/metrics", limit=1000)
    while docs := store.query(query):
        paths.update(doc.path for doc in docs)
        query = Query(query.collection, limit=1000, after=cursor_of(docs[-1], query))
    return paths


def _commit_guarded(store: Store, day: str, guard: Doc | None, chunk: list[Write]) -> Doc | None:
    path = f"ops_metrics/{day}"
    data = {"closed": True, "expireAt": expiry("day", day), "rev": new_rev()}
    for start in range(0, len(chunk), 490):
        store.commit([*chunk[start : start + 490], over(guard, path, data)])
        guard = store.get(path)
        if guard is None or guard.data["rev"] != data["rev"]:
            raise Conflict(f"{path} was changed by another run")
        data = {**data, "rev": new_rev()}
    return guard


def _series_data(day: str, key: str, stats: Stats, registry: Registry) -> dict[str, Any]:
    """The original shape: name, value, labels, timestamp (ms), aggregation; and what the day's figures are."""
    name, labels = split_key(key)
    aggregation = registry.metrics[name].aggregation if name in registry.metrics else "avg"
    p50, p95, p99 = (stats.quantile(q) for q in (0.5, 0.95, 0.99))
    value = {"sum": stats.total, "avg": stats.total / stats.count, "p95": p95, "count": float(stats.count)}[aggregation]
    return {
        "name": name,
        "value": value,
        "labels": labels,
        "timestamp": int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000),
        "aggregation": aggregation,
        "count": stats.count,
        "sum": stats.total,
        "min": stats.low,
        "max": stats.high,
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "expireAt": expiry("day", day),
    }


def sum_day(store: Store, day: str) -> None:
    """Write the day's sums of its SLO slots into its month."""

    def decide(doc: Doc | None) -> Data | None:
        days = decode_month(doc.data["payload"]) if doc else {}
        slots = store.get(slots_path(day))
        if slots is None:
            return None
        rows = decode_slots(slots.data["payload"])
        days[day] = {digest: row.between(0, SLOTS_A_DAY) for digest, row in rows.items()}
        return {"payload": encode_month(days), "expireAt": expiry("slo_days", max(days))}

    compare_and_set(store, month_path(day), decide)


Month = dict[str, dict[str, Counts]]  # day → definition hash → counts


class _Sums(msgspec.Struct, array_like=True):
    good: int
    total: int
    estimated: bool = False


def encode_month(days: Month) -> bytes:
    """The mark of an estimate takes room only where it is set."""
    return msgspec.msgpack.encode(
        {
            day: {digest: (c.good, c.total, True) if c.estimated else (c.good, c.total) for digest, c in of.items()}
            for day, of in days.items()
        }
    )


def decode_month(payload: bytes) -> Month:
    days = msgspec.msgpack.decode(payload, type=dict[str, dict[str, _Sums]])
    return {day: {digest: Counts(s.good, s.total, s.estimated) for digest, s in of.items()} for day, of in days.items()}

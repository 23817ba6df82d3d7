"""Points of counters and beats of agents: a set beside each block, to which adding some again changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared import log
from shared.domain.building import BLOCK_MS
from shared.domain.cumulative import LOOKBACK_BLOCKS, Point, has_predecessors, sender_of
from shared.domain.heartbeat import METRIC
from shared.domain.series import key_of, split_key
from shared.metrics.layout import day_of, expiry, points_path
from shared.metrics.points_codec import decode_points, encode_points
from shared.metrics.rollup_codec import MAX_PAYLOAD
from shared.store.protocol import Data, Doc, Store, compare_and_set

Where = tuple[int, int]  # block and shard


def merge_points(store: Store, block: int, shard: int, points: Mapping[str, set[Point]]) -> None:
    """Add points to a block's set, by series key. Those that are there already change nothing."""

    def decide(doc: Doc | None) -> Data | None:
        known = decode_points(doc.data["payload"]) if doc else {}
        union = {key: {*known.get(key, ()), *points.get(key, ())} for key in known.keys() | points.keys()}
        if doc and all(len(union[key]) == len(known.get(key, ())) for key in union):
            return None
        payload = encode_points(union)
        if len(payload) > MAX_PAYLOAD:
            payload = _thinned(union, block)
        return {"payload": payload, "expireAt": expiry("m5", day_of(block))}

    compare_and_set(store, points_path(block, shard), decide)


def _thinned(points: Mapping[str, Iterable[Point]], block: int) -> bytes:
    """Each counter's last point alone, which tells of the whole block but for a reset; then as many senders as fit.

    A sender's counters of a metric go together, since one that reported only some is taken to have told all of them.
    """
    beats = {key: {p for p in of if p.value is None} for key, of in points.items()}
    last: dict[tuple[str, bytes, int], tuple[str, Point]] = {}
    for key, of in sorted(points.items()):
        for point in of:
            counter = key.partition("{")[0], point.stream, point.start
            if point.value is not None and (counter not in last or last[counter][1].time < point.time):
                last[counter] = key, point
    senders = sorted({(metric, sender_of(point)) for (metric, _, _), (_, point) in last.items()})
    while True:
        kept = {key: set(of) for key, of in beats.items() if of}
        known = set(senders)
        for (metric, _, _), (key, point) in last.items():
            if (metric, sender_of(point)) in known:
                kept.setdefault(key, set()).add(point)
        payload = encode_points(kept)
        if len(payload) <= MAX_PAYLOAD or not senders:
            return payload
        senders = senders[: len(senders) // 2]
        log.error("counters that do not fit into a document are not counted", block=block, senders=len(senders))


def beats_of(points: Mapping[Where, Mapping[str, Iterable[Point]]]) -> dict[str, list[int]]:
    """The beats among these points, by agent."""
    found: dict[str, list[int]] = {}
    for by_key in points.values():
        for key, of in by_key.items():
            beats = [point.time for point in of if point.value is None]
            agent = split_key(key)[1].get("agent") if beats else None
            if agent is not None:  # else one of too many
                found.setdefault(agent, []).extend(beats)
    return found


class BlockPoints:
    """The points of a block and, as far as they are needed, of the blocks before it."""

    def __init__(self, store: Store, block: int, shard: int) -> None:
        self._store = store
        self._block = block
        self._shard = shard
        self._blocks: dict[int, dict[str, list[Point]]] = {}
        self._read(1)
        self.own = self._blocks[block]
        self.begins = block * BLOCK_MS

    def _read(self, back: int) -> None:
        missing = [block for block in range(self._block - back, self._block + 1) if block not in self._blocks]
        docs = self._store.get_many([points_path(block, self._shard) for block in missing]) if missing else []
        for block, doc in zip(missing, docs, strict=True):
            self._blocks[block] = decode_points(doc.data["payload"]) if doc else {}

    def by_metric(self) -> dict[str, list[tuple[str, Point]]]:
        """The counters' points of the block, with their series keys."""
        found: dict[str, list[tuple[str, Point]]] = {}
        for key, points in sorted(self.own.items()):
            counted = [(key, point) for point in points if point.value is not None]
            if counted:
                found.setdefault(key.partition("{")[0], []).extend(counted)
        return found

    def before(self, metric: str, own: list[Point]) -> tuple[list[Point], int]:
        """The metric's points of the blocks before, and from when on these are known."""
        for back in (1, LOOKBACK_BLOCKS):
            self._read(back)
            before = [
                point
                for block in range(self._block - back, self._block)
                for key, points in self._blocks[block].items()
                if key.partition("{")[0] == metric
                for point in points
            ]
            begins = (self._block - back) * BLOCK_MS
            if has_predecessors(own, before, begins):
                break
        return before, begins

    def beats(self, agent: str, lasts: int) -> list[int]:
        """The agent's beats that may reach into the block."""
        back = min(LOOKBACK_BLOCKS, -(-lasts // BLOCK_MS))
        self._read(back)
        key = key_of(METRIC, {"agent": agent})
        blocks = range(self._block - back, self._block + 1)
        return [p.time for block in blocks for p in self._blocks[block].get(key, ()) if p.value is None]

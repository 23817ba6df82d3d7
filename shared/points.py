"""Points of counters and beats of agents: kept as a set beside each 5-minute block, and what they come to.

A block's `derived` part is worked out whole from the points in it and before it: the target's version is read first,
then the points, then compare-and-set. So it does not matter in which order, or how often, points arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from shared import log
from shared.domain.building import BLOCK_MS
from shared.domain.cumulative import LOOKBACK_BLOCKS, Point, has_predecessors, increment_stats, increments
from shared.domain.heartbeat import FORGOTTEN_AFTER_MS, MAX_AGENTS, METRIC, Agents, uptime
from shared.domain.metric import Registry
from shared.domain.rollup import Stats, merge, shard_of
from shared.domain.series import key_of, split_key
from shared.layout import FOLD_RUN, block_path, day_of, expiry, points_path
from shared.points_codec import decode_points, encode_points
from shared.rollup_codec import MAX_PAYLOAD, encode_fitted, encode_rollup
from shared.store.protocol import Data, Doc, Store, compare_and_set

MAX_DERIVED = 300_000  # bytes of a block's document, beside its values and receipts
UPTIME_SHARD = shard_of(METRIC)
Where = tuple[int, int]  # block and shard


class Seen(NamedTuple):
    """When an agent was first expected, and its last beat as far as it was noted (milliseconds)."""

    first: int
    last: int


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
    """Each counter's last point alone, which loses nothing but a reset; then only as many series as fit."""
    last: dict[str, list[Point]] = {}
    for key, of in points.items():
        streams: dict[tuple[bytes, int], Point] = {}
        for point in sorted(of, key=lambda p: p.time):
            streams[point.stream, point.start] = point
        last[key] = list(streams.values())
    payload = encode_points(last)
    while len(payload) > MAX_PAYLOAD and len(last) > 1:
        for key in sorted(last)[len(last) // 2 :]:
            del last[key]
        payload = encode_points(last)
        log.error("counters that do not fit into a document are not counted", block=block, kept=len(last))
    return payload


def seen_agents(points: Mapping[Where, Mapping[str, Iterable[Point]]]) -> dict[str, Seen]:
    """The agents whose beats are among these points."""
    seen: dict[str, Seen] = {}
    for by_key in points.values():
        for key, of in by_key.items():
            beats = [point.time for point in of if point.value is None]
            if beats:
                agent = split_key(key)[1].get("agent")
                if agent is None:  # one of too many
                    continue
                before = seen.get(agent, Seen(min(beats), max(beats)))
                seen[agent] = Seen(min(before.first, *beats), max(before.last, *beats))
    return seen


class Derivation:
    """Works out the `derived` part of blocks. `bounds`: values up to which each metric is counted exactly."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        bounds: Mapping[str, tuple[float, ...]],
        agents: Agents,
        known: Mapping[str, Seen],
        now: datetime,
    ) -> None:
        self._store = store
        self._registry = registry
        self._bounds = bounds
        self._agents = agents
        self._now = int(now.timestamp() * 1000)
        self.known = dict(known)
        for agent in agents.agents:
            self.known.setdefault(agent, Seen(self._now, 0))

    def meet(self, met: Mapping[str, Seen]) -> None:
        """Agents that beat; beyond MAX_AGENTS, new ones are not counted."""
        for agent, seen in sorted(met.items()):
            before = self.known.get(agent)
            if before is None and len(self.known) >= MAX_AGENTS:
                log.error("too many agents: the heartbeats of another one are not counted", most=MAX_AGENTS)
            else:
                before = before or seen
                self.known[agent] = Seen(min(before.first, seen.first), max(before.last, seen.last))

    def work_out(self, touched: Iterable[Where], due: Iterable[int]) -> dict[int, set[str]]:
        """Keys by block of those whose derived part may have changed, for points in `touched` and uptime in `due`."""
        wanted = {*touched, *((block, UPTIME_SHARD) for block in due)}
        wanted |= self._successors(wanted)
        changed: dict[int, set[str]] = {}
        for block, shard in sorted(wanted):
            keys = self._work_out(block, shard)
            if keys is not None:
                changed.setdefault(block, set()).update(keys)
        return changed

    def note(self, counted_through: int | None) -> None:
        """Write down the agents, and up to which block their uptime is counted."""

        def decide(doc: Doc | None) -> Data | None:
            if doc is None:
                return None
            known = {name: Seen(*times) for name, times in doc.data.get("agents", {}).items()}
            for agent, seen in self.known.items():
                before = known.get(agent, seen)
                known[agent] = Seen(min(before.first, seen.first), max(before.last, seen.last))
            kept = {agent: list(seen) for agent, seen in known.items() if self._is_expected(agent, seen, self._now)}
            through = max(doc.data.get("beatsThrough", 0), counted_through or 0)
            if kept == doc.data.get("agents") and through == doc.data.get("beatsThrough"):
                return None
            return {**doc.data, "agents": kept, **({"beatsThrough": through} if through else {})}

        compare_and_set(self._store, FOLD_RUN, decide)

    def _successors(self, touched: Iterable[Where]) -> set[Where]:
        """Blocks with points, up to the present one, for which one of these may hold the points before."""
        present = self._now // BLOCK_MS
        later = sorted(
            {
                (block, shard)
                for first, shard in touched
                for block in range(first + 1, min(first + LOOKBACK_BLOCKS, present) + 1)
            }
            - set(touched)
        )
        docs = self._store.get_many([points_path(*where) for where in later]) if later else []
        return {where for where, doc in zip(later, docs, strict=True) if doc}

    def _work_out(self, block: int, shard: int) -> set[str] | None:
        keys: set[str] = set()

        def decide(doc: Doc | None) -> Data | None:
            derived = self._derived(block, shard)
            keys.clear()
            keys.update(derived)
            before: Data = doc.data if doc else {"payload": encode_rollup({}), "receipts": b"", "pages": 0}
            room = 1_000_000 - len(before["payload"]) - len(before["receipts"])
            payload = encode_fitted(derived, min(MAX_DERIVED, room)) if derived else b""
            if payload == before.get("derived", b""):
                return None
            return {**before, "derived": payload, "expireAt": expiry("m5", day_of(block))}

        compare_and_set(self._store, block_path(block, shard), decide)
        return keys

    def _derived(self, block: int, shard: int) -> dict[str, Stats]:
        points = _Points(self._store, block, shard)
        parts: dict[str, list[Stats]] = {}
        for metric, own in points.by_metric().items():
            before, begins = points.before(metric, [point for _, point in own])
            for key, added in increments(own, before, begins):
                stats = increment_stats(added, self._bounds.get(metric, ()))
                if stats is not None:
                    parts.setdefault(key, []).append(stats)
        if shard == UPTIME_SHARD and (block + 1) * BLOCK_MS <= self._now:
            for agent, stats in self._uptime(points):
                parts.setdefault(key_of(METRIC, {"agent": agent}), []).append(stats)
        return {key: merge(of) for key, of in sorted(parts.items())}

    def _uptime(self, points: _Points) -> Iterator[tuple[str, Stats]]:
        for agent, seen in sorted(self.known.items()):
            if self._is_expected(agent, seen, points.begins):
                lasts = self._agents.pace_of(agent).lasts_ms
                stats = uptime(points.beats(agent, lasts), points.begins, seen.first, lasts)
                if stats is not None:
                    yield agent, stats

    def _is_expected(self, agent: str, seen: Seen, at: int) -> bool:
        return agent in self._agents.agents or at < seen.last + FORGOTTEN_AFTER_MS


class _Points:
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

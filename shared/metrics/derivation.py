"""What the points beside a block come to: its `derived` part, worked out whole from the points in it and before it.

The target's version is read first, then the points, then compare-and-set. So it does not matter in which order, or how
often, points arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from shared import log
from shared.domain.building import BLOCK_MS
from shared.domain.cumulative import LOOKBACK_BLOCKS, Point, increment_stats, increments
from shared.domain.fit import limit_series
from shared.domain.heartbeat import FORGOTTEN_AFTER_MS, KEPT_MS, MAX_AGENTS, METRIC, Agents, Seen, uptime
from shared.domain.metric import Registry
from shared.domain.rollup import Stats, merge, shard_of
from shared.domain.series import key_of
from shared.metrics.layout import FOLD_RUN, block_path, day_of, expiry, points_path
from shared.metrics.points import BlockPoints, Where
from shared.metrics.rollup_codec import decode_rollup, encode_fitted, encode_rollup
from shared.store.protocol import Data, Doc, Store, compare_and_set

MAX_DERIVED = 300_000  # bytes of a block's document, beside its values and receipts
UPTIME_SHARD = shard_of(METRIC)


class Derivation:
    """Works out the `derived` part of blocks. `bounds`: values up to which each metric is counted exactly.

    `state`: the document of the fold as it was read when the run began.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        bounds: Mapping[str, tuple[float, ...]],
        agents: Agents,
        state: Data,
        now: datetime,
    ) -> None:
        self._store = store
        self._limits = registry.series_limits
        self._bounds = bounds
        self._agents = agents
        self._now = int(now.timestamp() * 1000)
        self._present = self._now // BLOCK_MS
        self.known = _seen(state)
        self._is_news = False
        for agent in agents.agents.keys() - self.known.keys():
            self.known[agent] = Seen(self._now, self._now)
            self._is_news = True

    def meet(self, beats: Mapping[str, list[int]]) -> set[int]:
        """Learn of agents that beat; returns the blocks whose uptime this changes.

        Beyond MAX_AGENTS, new ones are not counted.
        """
        changed: set[int] = set()
        for agent, times in sorted(beats.items()):
            known, seen = self.known.get(agent), Seen(min(times), max(times))
            if known is None and len(self.known) >= MAX_AGENTS:
                log.error("too many agents: the heartbeats of another one are not counted", most=MAX_AGENTS)
                continue
            changed |= self._agents.reach(agent, times)
            joined = self.known[agent] = self._agents.joined(agent, known, seen) if known else seen
            if (
                seen.first == joined.first
            ):  # its first beat is among these, whether or not a run that was killed knew it
                changed.update(range(seen.first // BLOCK_MS, self._present + 1))
            self._is_news |= known is None or joined.first != known.first
            self._is_news |= known is not None and joined.last - known.last > FORGOTTEN_AFTER_MS // 7
        return {block for block in changed if block <= self._present}  # another run may have counted the present one

    def work_out(
        self, points: Mapping[Where, Mapping[str, Iterable[Point]]], due: Iterable[int]
    ) -> dict[int, set[str]]:
        """Keys by block of those whose derived part may have changed, for new `points` and uptime in `due`.

        What is known of agents is written down before, so that another run that works out a block later knows it too.
        """
        if self._is_news:
            self.note(None)
            self._is_news = False
        counting = {
            where for where, of in points.items() if any(p.value is not None for own in of.values() for p in own)
        }
        counters = counting | self._successors(counting)
        wanted = counters | {(block, UPTIME_SHARD) for block in due}
        changed: dict[int, set[str]] = {}
        for block, shard in sorted(wanted):
            keys = self._work_out(block, shard, (block, shard) in counters)
            if keys is not None:
                changed.setdefault(block, set()).update(keys)
        return changed

    def note(self, counted_through: int | None) -> None:
        """Write down the agents, and up to which block their uptime is counted."""

        def decide(doc: Doc | None) -> Data | None:
            if doc is None:
                return None
            kept = {
                agent: list(seen)
                for agent, seen in sorted(self._joined(doc.data).items())
                if self._is_kept(agent, seen)
            }
            through = max(doc.data.get("beatsThrough", 0), counted_through or 0)
            if kept == doc.data.get("agents", {}) and through == doc.data.get("beatsThrough", 0):
                return None
            return {**doc.data, "agents": kept, **({"beatsThrough": through} if through else {})}

        compare_and_set(self._store, FOLD_RUN, decide)

    def _is_kept(self, agent: str, seen: Seen) -> bool:
        return agent in self._agents.agents or self._now < seen.last + KEPT_MS

    def _joined(self, state: Data) -> dict[str, Seen]:
        """What this run knows of agents, and what others have written down."""
        known = _seen(state)
        for agent, seen in self.known.items():
            known[agent] = self._agents.joined(agent, known[agent], seen) if agent in known else seen
        return known

    def _is_over(self, block: int) -> bool:
        return block < self._present

    def _successors(self, touched: Iterable[Where]) -> set[Where]:
        """Blocks with points for which one of these may hold the points before. Points may be 5 minutes ahead."""
        later = sorted(
            {
                (block, shard)
                for first, shard in touched
                for block in range(first + 1, min(first + LOOKBACK_BLOCKS, self._present + 1) + 1)
            }
            - set(touched)
        )
        docs = self._store.get_many([points_path(*where) for where in later]) if later else []
        return {where for where, doc in zip(later, docs, strict=True) if doc}

    def _work_out(self, block: int, shard: int, has_counters: bool) -> set[str] | None:
        """The keys that the block's derived part has, or may have had; None if there was nothing to do."""
        keys: set[str] | None = None

        def decide(doc: Doc | None) -> Data | None:
            nonlocal keys
            before: Data = doc.data if doc else {"payload": encode_rollup({}), "receipts": b"", "pages": 0}
            old: bytes = before.get("derived", b"")
            counts_uptime = shard == UPTIME_SHARD and (self._is_over(block) or _has_uptime(old))
            if not (counts_uptime or has_counters):
                return None
            points = BlockPoints(self._store, block, shard)
            derived = self._counters(points)
            if counts_uptime:
                derived |= self._uptime(points, old)
            keys = {*points.own, *derived}
            room = 1_000_000 - len(before["payload"]) - len(before["receipts"])
            limited = limit_series(derived, self._limits)
            payload = encode_fitted(limited, min(MAX_DERIVED, room)) if derived else b""
            if payload == old:
                return None
            return {**before, "derived": payload, "expireAt": expiry("m5", day_of(block))}

        compare_and_set(self._store, block_path(block, shard), decide)
        return keys

    def _counters(self, points: BlockPoints) -> dict[str, Stats]:
        parts: dict[str, list[Stats]] = {}
        for metric, own in points.by_metric().items():
            before, begins = points.before(metric, [point for _, point in own])
            for key, added in increments(own, before, begins):
                stats = increment_stats(added, self._bounds.get(metric, ()))
                if stats is not None:
                    parts.setdefault(key, []).append(stats)
        return {key: merge(of) for key, of in sorted(parts.items())}

    def _uptime(self, points: BlockPoints, old: bytes) -> dict[str, Stats]:
        if not self.known and not _has_uptime(old):
            return {}
        state = self._store.get(FOLD_RUN)
        found: dict[str, Stats] = {}
        for agent, seen in sorted(self._joined(state.data if state else {}).items()):
            if self._agents.is_expected(agent, seen, points.begins):
                lasts = self._agents.pace_of(agent).lasts_ms
                stats = uptime(points.beats(agent, lasts), points.begins, seen.first, lasts)
                if stats is not None:
                    found[key_of(METRIC, {"agent": agent})] = stats
        return found


def _seen(state: Data) -> dict[str, Seen]:
    return {agent: Seen(*times) for agent, times in state.get("agents", {}).items()}


def _has_uptime(derived: bytes) -> bool:
    """Whether another run, whose clock is ahead or which knows more agents, has counted the block's uptime."""
    return bool(derived) and any(key.startswith(f"{METRIC}{{") for key in decode_rollup(derived))

"""Each acknowledged metric counts exactly once at every level, and each other one at most once, whatever goes wrong.

`F0_SIMULATION_SEEDS` plays more histories than the default; `F0_SIMULATION_FIRST` begins with another seed.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.metrics_ingest.forms import hash_of
from shared.domain.building import Batch
from shared.domain.cumulative import Point
from shared.domain.heartbeat import Agents, Pace
from shared.domain.rollup import Stats
from shared.domain.series import key_of
from shared.metrics import blocks, rollups
from shared.metrics import derivation as deriving
from shared.metrics import fold as folding
from shared.metrics.derivation import Derivation
from shared.metrics.fold import fold
from shared.metrics.group_commit import GroupCommit
from shared.metrics.points_codec import decode_points
from shared.store import protocol
from shared.store.protocol import Data, Delete, Doc, Put, Store, StoreError, over
from tests.core import batch_of, metric, ms, new_table, registry, shipped
from tests.simulation.model import Model
from tests.simulation.sending import Sent, batch_of_histogram, batch_of_points, beat, counter, keyed
from tests.simulation.world import Faults, Killed, World, unused

SEEDS = int(os.environ.get("F0_SIMULATION_SEEDS", "1200"))
FIRST = int(os.environ.get("F0_SIMULATION_FIRST", "1"))
PARTS = 4  # of the default histories, for as many processes
MUTANT_SEEDS = 3000
CROWD = 4
NOON = datetime(2026, 3, 11, 12, tzinfo=UTC)
MOMENTS = [NOON - timedelta(minutes=m) for m in (1, 3, 8, 62, 720, 727, 900)]  # the last three are of the day before
EXPORTS = [NOON - timedelta(minutes=m) for m in (900, 727, 719, 64, 62, 58, 8, 3, 1)]
BEATS = [NOON - timedelta(minutes=m) for m in (1, 2, 7, 9, 18, 62)]
AGENTS = Agents(agents={"slow": Pace(intervalSeconds=600, graceSeconds=60)})
ROUTES = ["/a", "/b"]
HISTOGRAM = {"endpoint": "/a", "status": "200"}
TABLE = new_table()
DEFINITIONS = shipped().definitions


class History:
    """One seed: what clients send, through which instances, and when somebody folds.

    Batches are of values, some of them sampled; of a histogram; or of points: counters' exports and beats, of which
    several batches may hold the same. `crowd`: how many more fold at the same time.
    """

    def __init__(self, seed: int, faults: Faults | None = None, *, values: bool = True, crowd: int = 0) -> None:
        self.crowd = crowd
        self.faults = faults or Faults()
        self.world = World(seed, self.faults)
        self.rng = random.Random(seed * 7919)
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.histograms: dict[str, tuple[int, list[float]]] = {}
        self.points: dict[str, list[Sent]] = {}
        self.made: dict[str, Batch] = {}
        self.acknowledged: set[str] = set()
        self.agents = AGENTS if self.rng.random() < 0.4 else None
        for n in range(self.rng.randint(2, 6) if values else 0):
            name = f"batch-{n:04}"
            self.sent[name] = self._metrics(n)
            self.made[name] = batch_of(self.sent[name], name, table=TABLE, now=NOON)
        if values and self.rng.random() < 0.4:
            at, those = ms(self.rng.choice(MOMENTS)), [float(self.rng.randint(1, 3000)) for _ in range(5)]
            self.histograms["histogram"] = at, those
            self.made["histogram"] = batch_of_histogram(at, those, HISTOGRAM, "histogram", TABLE)
        exports = self._exports()
        for n in range(self.rng.randint(0, 3) if values else self.rng.randint(2, 5)):
            name = f"points-{n}"
            self.points[name] = [point for point in exports if self.rng.random() < (0.6 if values else 0.3)]
            self.made[name] = batch_of_points(self.points[name], name, TABLE)

    def _metrics(self, n: int) -> list[dict[str, Any]]:
        """Values of its own series tell how often a batch was counted; others it shares."""
        rng, metrics = self.rng, []
        for at in rng.sample(MOMENTS, rng.randint(1, 3)):
            metrics.append(metric(1 + n, at=at, labels={"service": "abcdefgh"[n]}))
            for _ in range(rng.randint(0, 5)):
                status = rng.choice(["200", "200", "503"])
                labels = {"endpoint": rng.choice(ROUTES), "status": status}
                metrics.append(metric(rng.randint(0, 600), at=at, labels=labels, weight=rng.choice([1, 1, 1, 10])))
            if rng.random() < 0.5:
                metrics.append(metric(rng.randint(0, 1), "agent_success_rate", at=at))
                metrics.append(metric(rng.randint(0, 400), "firestore_write_latency", at=at))
        return metrics

    def _exports(self) -> list[Sent]:
        """What a few processes tell: one that began within the time known, and one long before."""
        rng: random.Random = self.rng
        points: list[Sent] = []
        for sender, began in (
            ("new", NOON - timedelta(minutes=rng.choice([65, 728]))),
            ("old", NOON - timedelta(days=5)),
        ):
            values: dict[tuple[str, str], float] = {}
            for at in EXPORTS:
                if at < began or rng.random() < 0.3:
                    continue
                for name, model in (("firestore_write_latency", ""), ("token_cost", "small"), ("token_cost", "large")):
                    stood = values.get((name, model))
                    if stood is None and rng.random() < 0.3:
                        continue
                    values[name, model] = (stood or 0.0) + rng.choice([0, 0, 40, 150, 300])
                    if stood and rng.random() < 0.1:
                        values[name, model] = 1.0  # it began again
                    labels = {"model": model} if model else {}
                    points.append(counter(ms(at), values[name, model], ms(began), sender, name, **labels))
        if self.agents:
            points += [beat(ms(at), agent) for agent in ("bot", "slow") for at in BEATS if rng.random() < 0.3]
        return points

    def play(self) -> None:
        for _ in range(self.crowd):
            self.world.start(self._folder(2))
        names = self.rng.sample(list(self.made), len(self.made))
        clients = self.rng.randint(1, 3)
        for n in range(clients):
            self.world.start(
                self._client([name for i, name in enumerate(names) if i % clients == n or self.rng.random() < 0.2])
            )
        for _ in range(self.rng.randint(1, 3 if self.sent else 4)):
            self.world.start(self._folder(self.rng.randint(1, 3)))
        self.world.play()

    def _client(self, names: list[str]) -> Callable[[], None]:
        """Sends its batches, some together, and again until they are acknowledged or it gives up."""

        def run() -> None:
            commits = GroupCommit(self.world)  # type: ignore[arg-type]  # the parts of a store that it uses
            waiting = names[:]
            for _ in range(6):
                group = waiting[: self.rng.randint(1, 2)]
                if not group:
                    return
                try:
                    commits.write([self.made[name] for name in group], "2026-03-11")
                except StoreError:
                    continue
                except Killed:  # the instance is gone, the client is not: it goes on with another one
                    commits = GroupCommit(self.world)  # type: ignore[arg-type]
                    continue
                self.acknowledged.update(group)
                if self.rng.random() < 0.8:  # else the answer does not arrive, and it sends the same again
                    waiting = waiting[len(group) :]

        return run

    def _folder(self, times: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                try:
                    self._fold()
                except (StoreError, Killed):
                    continue

        return run

    def _fold(self) -> None:
        pages = self.rng.choice([1, 1, 2, 9])
        may_go_on = iter([True] * pages + [False] * 99).__next__
        fold(self.world, registry(), DEFINITIONS, NOON, agents=self.agents, may_go_on=may_go_on)  # type: ignore[arg-type]

    def end(self) -> list[str]:
        """Fold once more with nothing going wrong, twice for the close of the day, and compare."""
        self.world.faults = None
        for _ in range(2):
            assert fold(self.world, registry(), DEFINITIONS, NOON, agents=self.agents).complete  # type: ignore[arg-type]
        counted = self._counted()
        model = Model(DEFINITIONS)
        for name in counted:
            model.add(self.sent.get(name, ()))
            if name in self.histograms:
                at, values = self.histograms[name]
                model.add_histogram(at, key_of("api_latency", HISTOGRAM), values)
        stored = self._stored()
        model.add_counters((key, point) for key, point in stored if point.value is not None)
        for agent in ("bot", "slow"):
            beats = [point.time for key, point in stored if key == key_of("agent_uptime", {"agent": agent})]
            if beats:
                model.add_beats(agent, beats, AGENTS.pace_of(agent).lasts_ms, ms(NOON))
        landed = {name for name, points in self.points.items() if set(keyed(points, TABLE)) <= stored}
        assert stored <= {point for points in self.points.values() for point in keyed(points, TABLE)}
        missing = self.acknowledged - counted - landed
        left = [path for path in self.world.documents if "/segments/" in path]
        yesterday = [day for day in model.days if day < "2026-03-11"]
        found = model.differences(self.world, yesterday)  # type: ignore[arg-type]
        return [*(f"{name} was acknowledged and is missing" for name in sorted(missing)), *left, *found]

    def _counted(self) -> set[str]:
        """The batches with a receipt somewhere: the model then says that each must be everywhere, and once."""
        receipts = b"".join(data["receipts"] for path, (data, _) in self.world.documents.items() if "receipts" in data)
        known = {receipts[i : i + 8] for i in range(0, len(receipts), 8)}
        return {name for name in (*self.sent, *self.histograms) if hash_of(name) in known}

    def _stored(self) -> set[tuple[str, Point]]:
        """The points that are in a set: the model then says what they must come to."""
        documents = [data for path, (data, _) in self.world.documents.items() if "/points/" in path]
        return {(key, p) for data in documents for key, of in decode_points(data["payload"]).items() for p in of}


@pytest.fixture(autouse=True)
def _simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is taking turns, and ids are drawn from a seed, so that a history can be played again."""
    ids = random.Random(1)
    monkeypatch.setattr(blocks.time, "sleep", unused)
    monkeypatch.setitem(protocol.compare_and_set.__kwdefaults__, "pause", unused)
    monkeypatch.setattr(secrets, "token_hex", lambda n: f"{ids.getrandbits(8 * n):0{2 * n}x}")


def played(seed: int, faults: Faults | None = None, *, values: bool = True, crowd: int = 0) -> list[str]:
    history = History(seed, faults, values=values, crowd=crowd)
    history.play()
    return history.end()


@pytest.mark.parametrize("part", range(PARTS))
def test_every_acknowledged_metric_counts_exactly_once_in_every_history(part: int) -> None:
    faults = Faults()
    for seed in range(FIRST + part, FIRST + SEEDS, PARTS):
        assert played(seed, faults) == [], f"seed {seed}"
    assert set(faults.happened) == {"killed_before", "killed_after", "lost_before", "lost_after", "late", "conflict"}


def test_so_it_is_when_much_more_goes_wrong() -> None:
    faults = Faults(*[0.05] * 6)
    for seed in range(FIRST, FIRST + SEEDS // 4):
        assert played(seed, faults) == [], f"seed {seed}"


@pytest.mark.parametrize("values", [True, False])
def test_so_it_is_when_many_fold_at_the_same_time(values: bool) -> None:
    for seed in range(FIRST, FIRST + SEEDS // 12):
        assert played(seed, Faults(*[0.002] * 6), values=values, crowd=CROWD) == [], f"seed {seed}"


def paged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts move to pages after every other batch, and blocks are folded in small slices."""
    monkeypatch.setattr(blocks, "RECEIPTS_PAGE", 2 * 8)
    monkeypatch.setattr(folding, "ENTRIES_AT_ONCE", 2)


def test_so_it_is_when_receipts_move_to_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    paged(monkeypatch)
    for seed in range(FIRST, FIRST + SEEDS // 4):
        assert played(seed, Faults(*[0.03] * 6)) == [], f"seed {seed}"


def test_points_need_no_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a set: whoever merges them again changes nothing."""
    monkeypatch.setattr(blocks, "_receipts", lambda store, doc: set())
    for seed in range(FIRST, FIRST + SEEDS // 4):
        assert played(seed, Faults(*[0.03] * 6), values=False) == [], f"seed {seed}"


# --- mutants: the simulation must be able to fail


def caught(*, values: bool = True, crowd: int = 0) -> bool:
    """Whether any history ends wrong. A mutant may also end in an error of the product's own.

    Where it is several runs at once that bring it out, there is a crowd of them, and little else goes wrong.
    """
    faults = Faults() if values and not crowd else Faults(*[0.002] * 6)
    return any(played(seed, faults, values=values, crowd=crowd) for seed in range(1, MUTANT_SEEDS))


def test_it_is_noticed_if_receipts_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_receipts", lambda store, doc: set())
    assert caught()


def test_it_is_noticed_if_pages_of_receipts_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    paged(monkeypatch)
    whole = blocks._receipts
    monkeypatch.setattr(
        blocks,
        "_receipts",
        lambda store, doc: whole(store, doc and replace(doc, data={**doc.data, "pages": 0})),
    )
    assert caught()


def blind(doc: Doc | None, path: str, data: Data) -> Put:
    written = over(doc, path, data)
    return Put(path, written.data)


def test_it_is_noticed_if_blocks_are_put_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "over", blind)
    assert caught(crowd=CROWD)


def test_it_is_noticed_if_slots_hours_and_runs_are_put_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "over", blind)
    assert caught(crowd=CROWD)


def test_it_is_noticed_if_segments_are_deleted_before_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    page = folding._page

    def deleting(store: Store) -> tuple[list[Doc], bool]:
        docs, more = page(store)
        if docs:
            store.commit([Delete(doc.path) for doc in docs])
        return docs, more

    monkeypatch.setattr(folding, "_page", deleting)
    assert caught()


def test_it_is_noticed_if_segments_are_deleted_before_the_levels_above(monkeypatch: pytest.MonkeyPatch) -> None:
    recompute = folding._Fold._recompute

    def deleting(self: folding._Fold, touched: Mapping[int, set[str]]) -> None:
        docs, _ = folding._page(self.store)
        self.store.commit([Delete(doc.path) for doc in docs])
        recompute(self, touched)

    monkeypatch.setattr(folding._Fold, "_recompute", deleting)
    assert caught()


def test_it_is_noticed_if_a_version_is_read_after_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    def late_version(store: Store, path: str, decide: Callable[[Doc | None], Data | None]) -> Data | None:
        data = decide(store.get(path))
        if data is not None:
            store.commit([over(store.get(path), path, data)])
        return data

    monkeypatch.setattr(rollups, "compare_and_set", late_version)
    assert caught(crowd=CROWD)


def test_it_is_noticed_if_a_closed_day_ignores_what_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    close = folding.close_day
    monkeypatch.setattr(folding, "close_day", lambda s, d, r, only=None: None if only is not None else close(s, d, r))
    assert caught()


def test_it_is_noticed_if_a_client_is_answered_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def hopeful(self: GroupCommit, batches: list[Batch], day: str) -> None:
        try:
            write(self, batches, day)
        except StoreError:
            return

    write = GroupCommit.write
    monkeypatch.setattr(GroupCommit, "write", hopeful)
    assert caught()


def test_it_is_noticed_if_points_are_worked_out_before_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[tuple[Any, ...]] = []
    merge, work_out = folding.merge_points, Derivation.work_out

    def early(self: Derivation, *given: Any) -> dict[int, set[str]]:
        changed = work_out(self, *given)
        while waiting:
            merge(*waiting.pop())
        return changed

    monkeypatch.setattr(folding, "merge_points", lambda *given: waiting.append(given))
    monkeypatch.setattr(Derivation, "work_out", early)
    assert caught(values=False)


def test_it_is_noticed_if_points_are_read_before_the_version_of_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def late_version(store: Store, path: str, decide: Callable[[Doc | None], Data | None]) -> Data | None:
        if "/m5/" not in path:
            return protocol.compare_and_set(store, path, decide)
        data = decide(store.get(path))
        if data is not None:
            store.commit([over(store.get(path), path, data)])
        return data

    monkeypatch.setattr(deriving, "compare_and_set", late_version)
    assert caught(values=False, crowd=CROWD)


def test_it_is_noticed_if_blocks_after_a_late_point_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Derivation, "_successors", lambda self, touched: set())
    assert caught(values=False)


def test_it_is_noticed_if_a_run_knows_only_the_agents_that_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Derivation._uptime

    def forgetful(self: Derivation, *given: Any) -> dict[str, Stats]:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self, "_joined", lambda state: dict(self.known))
            return whole(self, *given)

    monkeypatch.setattr(Derivation, "_uptime", forgetful)
    assert caught(values=False)


def test_it_is_noticed_if_values_write_over_what_points_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetting(doc: Doc | None, path: str, data: Data) -> Any:
        return over(doc, path, {**data, "derived": b""})

    monkeypatch.setattr(blocks, "over", forgetting)
    assert caught()

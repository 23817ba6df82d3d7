"""Each object counts once for its user and its bucket, whatever goes wrong while runs take turns at every call.

`F0_SIMULATION_SEEDS` plays more histories than the default.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain import storage
from shared.domain.series import SeriesTable
from shared.domain.storage import StorageConfig
from shared.metrics import storage_usage
from shared.metrics.group_commit import GroupCommit
from shared.metrics.segment import decode_segment
from shared.metrics.storage_usage import RUN, ListingError, Totals, measure
from shared.store.protocol import Put, StoreError
from tests.core import registry, shipped
from tests.simulation.world import Faults, Killed, World

SEEDS = int(os.environ.get("F0_SIMULATION_SEEDS", "400"))
MUTANT_SEEDS = 400
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BUCKETS = {
    "one": {f"u{n % 5}/{n:02}": n + 1 for n in range(23)} | {"nobodys": 7},
    "two": {f"u{n % 3}/{n}": 100 + n for n in range(7)},
    "nothing": {},
}
CONFIG = StorageConfig.model_validate({"buckets": [{"name": name, "userPattern": "{uid}/*"} for name in BUCKETS]})
TABLE = SeriesTable(registry(), shipped().bounds(registry()), json.loads)


class History:
    """One seed: processes that begin, go on with, or collide in runs over the same buckets."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed, Faults())
        self.rng = random.Random(seed * 7919)

    def play(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self.world.start(self._process(self.rng.randint(1, 3)))
        self.world.play()

    def _process(self, calls: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(calls):
                try:
                    self._measure(iter([None] * self.rng.choice([1, 3, 6, 99])))
                except (StoreError, Killed):
                    continue

        return run

    def _measure(self, turns: Iterator[None]) -> None:
        totals = Totals(GroupCommit(self.world), TABLE)  # type: ignore[arg-type]  # the parts of a store that it uses
        now = NOON + timedelta(minutes=5 * self.rng.randint(0, 3))
        measure(self.world, totals, CONFIG, self, now, lambda: next(turns, "time"))  # type: ignore[arg-type]

    def pages(self, bucket: str, after: str) -> Iterator[Sequence[tuple[str, int]]]:
        """A server that gives pages of any size, some of them empty, and sometimes none."""
        left = [o for o in sorted(BUCKETS[bucket].items()) if o[0] >= after]
        while left:
            if self.world.faults and self.rng.random() < 0.02:
                raise ListingError("refused (503)")
            size = self.rng.choice([0, 1, 4, 9])
            yield left[:size]
            left = left[size:]
        yield []

    def end(self) -> list[str]:
        """Go on with nothing going wrong, and compare with a count of another kind."""
        self.world.faults = None
        for _ in range(9):
            self._measure(iter([None] * 999))
            run = self.world.documents[RUN][0]
            if run["finishedAt"] is not None:
                break
        found = [] if run["finishedAt"] is not None else ["the run is not finished"]
        for n, (name, sizes) in enumerate(BUCKETS.items()):
            if (run["buckets"][n]["bytes"], run["buckets"][n]["objects"]) != (sum(sizes.values()), len(sizes)):
                found.append(f"total of {name}: {run['buckets'][n]}")
        for uid in [f"u{n}" for n in range(5)]:
            mine = [s for sizes in BUCKETS.values() for name, s in sizes.items() if name.startswith(f"{uid}/")]
            data, _ = self.world.documents[f"usage_summary/{uid}/storage/2026-11-23"]
            if (data["bytes"], data["objects"], data["runId"]) != (sum(mine), len(mine), run["runId"]):
                found.append(f"{uid}: {data}, not {sum(mine)}")
        return found + self._samples(run)

    def _samples(self, run: dict[str, Any]) -> list[str]:
        """Of the run that ended last every bucket has one batch, however often it was sent."""
        batches: dict[bytes, set[tuple[str, int, float]]] = {}
        for path, (data, _) in self.world.documents.items():
            for batch in decode_segment(data["payload"]) if "/segments/" in path else []:
                (block,) = batch.blocks
                sample = (batch.series[block.raw_series[0]][0], block.number, block.raw_values[0])
                batches.setdefault(batch.hash, set()).add(sample)
        found = [f"one id, two samples: {samples}" for samples in batches.values() if len(samples) > 1]
        values = {next(iter(samples))[::2] for samples in batches.values()}
        expected = {(f'storage_usage{{"bucket":"{n}"}}', sum(s.values()) / 10**9) for n, s in BUCKETS.items()}
        return found if values == expected else [*found, f"samples: {values}"]


@pytest.fixture(autouse=True)
def _simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are drawn from a seed, so that a history can be played again; pages are small, so that there are several."""
    ids = random.Random(1)
    monkeypatch.setattr(secrets, "token_hex", lambda n: f"{ids.getrandbits(8 * n):0{2 * n}x}")
    monkeypatch.setattr(storage_usage, "PAGE", 4)


def played(seed: int) -> list[str]:
    history = History(seed)
    history.play()
    return history.end()


def test_whatever_goes_wrong_each_object_counts_once() -> None:
    wrong = {seed: found for seed in range(1, SEEDS + 1) if (found := played(seed))}
    assert wrong == {}


def forget_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's document is written whatever it has become meanwhile."""
    monkeypatch.setattr(storage_usage, "over", lambda doc, path, data: Put(path, data))


def split_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The users' figures first, how far the run has come then."""
    whole = storage_usage._Work._commit

    def apart(self: Any, run: dict[str, Any], writes: Sequence[Any]) -> bool:
        if writes:
            self._store.commit(list(writes))
        return whole(self, run, ())

    monkeypatch.setattr(storage_usage._Work, "_commit", apart)


def add_to_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another run of the day counted is added to."""
    monkeypatch.setattr(
        storage,
        "usage_of",
        lambda run, before, more, now: {
            "bytes": (before or {"bytes": 0})["bytes"] + more.bytes,
            "objects": (before or {"objects": 0})["objects"] + more.objects,
            "runId": run["runId"],
        },
    )


def count_the_last_object_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "in_order", lambda objects, after: sorted(objects))


def count_at_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A total that is sent again bears the time of its sending, not the one it was counted at."""

    def count(self: Any, n: int, bucket: Any) -> None:
        batch_id = f"storageUsage {self.run['runId']} {bucket.name}"
        size = self.run["buckets"][n]["bytes"]
        self._totals.append(batch_id, {"bucket": bucket.name}, size, self._now, self._now)
        self._advance(storage.counted(self.run, n))

    monkeypatch.setattr(storage_usage._Work, "_count", count)


@pytest.mark.parametrize(
    "mutate",
    [forget_the_version, split_the_commit, add_to_another_run, count_the_last_object_again, count_at_another_time],
    ids=lambda f: f.__name__,
)
def test_each_safeguard_is_needed(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    assert any(played(seed) for seed in range(1, MUTANT_SEEDS + 1))

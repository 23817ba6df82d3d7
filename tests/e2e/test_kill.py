"""The promise, proved by SIGKILL between any two calls of the store and the network, on both stores.

    Nothing acknowledged is lost; each metric counts once; each transition and each notification document exists once;
    each notification still due is sent until accepted or dead-lettered. A second copy can exist only if the sender
    died or timed out after the bytes left and before 'delivered' was committed, and it bears the same id.

A real process serves all functions. It lives the same life each time (tests/e2e/reality.py): an SLO breaks and
recovers, twice over, from the first metric of an empty store to the last message. It is run once unkilled to learn its
calls, then once for each point between two of them (`every_point`): the process kills itself there, and another one
goes on over what is left, as a client and a scheduler that try again would have it. On SQLite no point is left out; on
Firestore, where a life takes several times as long, each state that a kill can leave is left once (`every_state`).

That the test can fail is shown by stores with planted faults, none of which shows while nothing is killed.
"""

from __future__ import annotations

import queue
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.faults import FAULTS
from tests.e2e.promise import Kill, Outcome, every_point, every_state, second_copies
from tests.e2e.reality import Life, Worker, worker
from tests.e2e.support import Scheduler
from tests.emulator import running

WORKERS = 3
BATCH = 90  # lives, after which a store may be renewed

# What must be among the calls, or the test has lost sight of what it is about.
STEPS = {
    "commit +ops_metrics/*/segments/*",  # the batch is stored: only now it is acknowledged
    "fetch the scheduler's keys",
    "query segments by path",
    "get ops_metrics/*/m5/*",
    "commit +ops_metrics/*/m5/*",  # folded, with its receipt
    "commit +ops_metrics/*/slo/*",
    "commit +ops_metrics/*/h1/*",
    "commit -ops_metrics/*/segments/*",
    "commit +runs/fold",
    # a transition
    "commit +alert_firings/*, +alerts/*, +incidents/*, +incidents/*/audit/*, +notifications/*, +runs/alertRules",
    "commit +runs/alertRules",
    "commit +status/components/items, +status/history, +status/public",
    "query notifications by open, dueAt",
    "query notifications by open",
    "query alerts by state",  # what goes on firing
    "query notifications by untold",
    "commit +alert_firings/*, +alerts/*, +notifications/*",  # a dead letter is told
    "commit +runs/notifier",
    "query silences by endsAt",
    "query maintenances by status",
    "get delivery/*",
    "commit +delivery/*, +notifications/*",  # claimed
    "commit +notifications/*",  # delivered
    "commit +delivery/*",  # taken back, since it did not arrive
    "post to Slack",
    "get notifications/*",
    "get config/flags",
    "get config/slo",
    "get config/flags, status/public",  # healthz
}


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    scheduler.close()


class Places:
    """Gives a new and empty store each time: a file, in memory where that can be. A SIGKILL loses nothing there."""

    kills: Callable[[Outcome], list[Kill]] = staticmethod(every_point)  # where lives are killed, by one that was not

    def __init__(self, tmp_path: Path) -> None:
        self._stack = ExitStack()
        memory = Path("/dev/shm")
        place = TemporaryDirectory(prefix="f0-kill-", dir=memory if memory.is_dir() else tmp_path)
        self._folder = Path(self._stack.enter_context(place))

    def __call__(self) -> Mapping[str, str]:
        return {"sqlite": str(self._folder / f"{secrets.token_hex(6)}.db")}

    def renew(self) -> None:
        """Between two batches of lives."""

    def close(self) -> None:
        self._stack.close()


class Projects(Places):
    """Gives a project of an emulator, and an emulator of its own to each batch: it keeps what is deleted in memory, and
    when that is full it does nothing but collect garbage.
    """

    kills = staticmethod(every_state)

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(tmp_path)
        self._monkeypatch = monkeypatch
        self.renew()

    def __call__(self) -> Mapping[str, str]:
        return {"project": f"kill-{secrets.token_hex(6)}", "emulator": self._address}

    def renew(self) -> None:
        self._stack.close()
        self._address = self._stack.enter_context(running(own=True))
        self._monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", self._address)


@pytest.fixture(params=["sqlite", "firestore"])
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    if request.param == "firestore":
        request.getfixturevalue("emulator")  # skips or fails where there is none
        opened: Places = Projects(tmp_path, monkeypatch)
    else:
        opened = Places(tmp_path)
    yield opened
    opened.close()


class Workers:
    """Several lives at once, each in a worker of its own."""

    def __init__(self, workers: list[Worker], places: Places) -> None:
        self._places = places
        self._count = len(workers)
        self._idle: queue.Queue[Worker] = queue.Queue()
        for opened in workers:
            self._idle.put(opened)

    def live(self, kill: Kill | None = None, fault: str | None = None, *, record: bool = False) -> Outcome:
        free = self._idle.get()
        place = self._places()
        try:
            return Life(free, place, kill, fault, record=record).live()
        except Exception as error:
            error.add_note(f"in the life with kill={kill}, fault={fault}")
            raise
        finally:
            self._idle.put(free)

    def each(self, kills: list[Kill]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for n in range(0, len(kills), BATCH):
            if n:
                self._places.renew()
            with ThreadPoolExecutor(self._count) as lives:
                outcomes += lives.map(self.live, kills[n : n + BATCH])
        return outcomes


@pytest.fixture(scope="module")
def started(scheduler: Scheduler, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    """Workers, who import everything before their first life: that takes them longer than a life."""
    folder = tmp_path_factory.mktemp("kill")
    with ExitStack() as opened:
        yield [opened.enter_context(worker(folder / f"{n}", scheduler)) for n in range(WORKERS)]


def test_wherever_the_process_is_killed_the_promise_holds(started: list[Worker], places: Places) -> None:
    team = Workers(started, places)
    unkilled = team.live(record=True)
    assert (unkilled.broken, unkilled.copies, unkilled.died_at) == ([], 0, None)
    calls = unkilled.calls
    kinds = set(calls)
    assert kinds >= STEPS
    assert unkilled.taken == [True, True, False, False, True]  # two triggers; refused, dead; accepted in the end
    kills = places.kills(unkilled)
    outcomes = dict(zip(kills, team.each(kills), strict=True))
    beyond = team.live((len(calls) + 1, "before"))
    assert {kill: outcome.died_at for kill, outcome in outcomes.items()} == {
        (n, when): calls[n - 1] for n, when in kills
    }  # each point was reached
    assert (beyond.broken, beyond.copies, beyond.died_at) == ([], 0, None)  # and there is none after them
    broken = {kill: outcome.broken for kill, outcome in outcomes.items() if outcome.broken}
    assert broken == {}
    doubled = {kill for kill, outcome in outcomes.items() if outcome.copies}
    assert doubled == second_copies(unkilled) & outcomes.keys()
    assert {outcome.copies for outcome in outcomes.values()} == {0, 1}
    print(f"{len(kills)} kills at {len(kinds)} kinds of calls; {len(doubled)} of them led to a second copy")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_shows_only_when_killed(fault: str, started: list[Worker], tmp_path: Path) -> None:
    with closing(Places(tmp_path)) as places:
        team = Workers(started, places)
        unkilled = team.live(fault=fault, record=True)
        assert unkilled.broken == []
        step = FAULTS[fault].shows_after
        outcome = team.live((unkilled.calls.index(step) + 1, "after"), fault)
    assert outcome.died_at == step
    assert any(line.startswith(FAULTS[fault].breaks) for line in outcome.broken), outcome.broken

"""A store in memory where anything may go wrong at any call, and runs that take turns at each call.

All is drawn from one seed: who goes next, who is killed before or after a call took effect, which reply is lost, which
commit takes effect late. The same seed is the same history.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import greenlet

from shared.store.protocol import (
    Conflict,
    Create,
    Data,
    Delete,
    Doc,
    Merge,
    Meter,
    Put,
    Query,
    Unavailable,
    Write,
)


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class Faults:
    """How likely each kind is, at each call."""

    killed_before: float = 0.01
    killed_after: float = 0.01
    lost_before: float = 0.01
    lost_after: float = 0.01
    late: float = 0.01
    conflict: float = 0.01
    happened: dict[str, int] = field(default_factory=dict)


class World:
    """The documents, and whose turn it is. A store of its own for each seed."""

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.documents: dict[str, tuple[Data, int]] = {}
        self.version = 0
        self.late: list[list[Write]] = []
        self.runs: list[greenlet.greenlet] = []
        self.meter = Meter()

    def start(self, run: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                run()
            except Killed:
                return

        self.runs.append(greenlet.greenlet(guarded))

    def play(self) -> None:
        """Let the runs go on, one call at a time, until all have ended."""
        stay = self.rng.choice([0.0, 0.5, 0.9, 0.97])  # how long a run goes on before another one has its turn
        run = self.rng.choice(self.runs)
        while self.runs:
            if run.dead or self.rng.random() >= stay:
                run = self.rng.choice(self.runs)
            run.switch()
            if run.dead:
                self.runs.remove(run)
        self.land(1.0)

    def land(self, chance: float) -> None:
        """Commits that were believed lost take effect after all, or fail."""
        for writes in self.late[:]:
            if self.rng.random() < chance:
                self.late.remove(writes)
                if self.rng.random() < 0.7:
                    with _ignored(Conflict):
                        self._apply(writes)

    # --- a store, as the product sees it

    def get(self, path: str) -> Doc | None:
        return self.get_many([path])[0]

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self._turn()
        self._maybe("killed_before", Killed)
        self._maybe("lost_before", Unavailable)
        return [self._doc(path) for path in paths]

    def query(self, query: Query) -> list[Doc]:
        self._turn()
        self._maybe("killed_before", Killed)
        self._maybe("lost_before", Unavailable)
        paths = sorted(path for path in self.documents if self._is_in(path, query))
        if query.after is not None:
            paths = [path for path in paths if path > query.after[-1]]
        return [Doc(path, self.documents[path][0], str(self.documents[path][1])) for path in paths[: query.limit]]

    def commit(self, writes: Sequence[Write]) -> None:
        self._turn()
        self._maybe("killed_before", Killed)
        self._maybe("lost_before", Unavailable)
        self._maybe("conflict", Conflict, only=any(isinstance(w, Put) and w.version for w in writes))
        if self._is("late"):
            self.late.append(list(writes))
            raise Unavailable("late")
        self._apply(writes)
        self._maybe("killed_after", Killed)
        self._maybe("lost_after", Unavailable)

    def _apply(self, writes: Sequence[Write]) -> None:
        for write in writes:
            known = self.documents.get(write.path)
            if isinstance(write, Create) and known is not None:
                raise Conflict(write.path)
            version = getattr(write, "version", None)
            if version is not None and (known is None or str(known[1]) != version):
                raise Conflict(write.path)
        self.version += 1
        for write in writes:
            assert not isinstance(write, Merge)
            if isinstance(write, Delete):
                self.documents.pop(write.path, None)
            else:
                self.documents[write.path] = (dict(write.data), self.version)

    def _doc(self, path: str) -> Doc | None:
        known = self.documents.get(path)
        return Doc(path, dict(known[0]), str(known[1])) if known else None

    @staticmethod
    def _is_in(path: str, query: Query) -> bool:
        parent = path.rpartition("/")[0]
        return parent.rpartition("/")[2] == query.collection if query.group else parent == query.collection

    def _turn(self) -> None:
        hub = greenlet.getcurrent().parent
        if self.faults and hub is not None:
            hub.switch()
            self.land(0.05)

    def _is(self, kind: str) -> bool:
        if self.faults is None or greenlet.getcurrent().parent is None:
            return False
        if self.rng.random() >= getattr(self.faults, kind):
            return False
        self.faults.happened[kind] = self.faults.happened.get(kind, 0) + 1
        return True

    def _maybe(self, kind: str, error: type[BaseException], only: bool = True) -> None:
        if only and self._is(kind):
            raise error(kind)


@contextmanager
def _ignored(kind: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except kind:
        return


def unused(_: Any) -> None:
    """In the place of a pause: in the simulation waiting is taking turns."""

"""The one place where adapters are made and put together. Tests and the local server make an `App` of their own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from shared.flags import Flags, usable_defaults
from shared.outbound import HttpOutbound, Outbound
from shared.settings import Settings
from shared.store.protocol import Store

if TYPE_CHECKING:
    from shared.metrics.group_commit import GroupCommit
    from shared.slo_loader import SloLoader
    from shared.status.cache import SnapshotCache

Part = TypeVar("Part")


@dataclass
class App:
    """What a handler needs. `clock` gives the time in UTC; handlers read it once a request. `sleep` goes by it.

    `pace`: how many times as fast as real time `clock` runs, locally.

    Parts that only some functions use are made at their first use.
    """

    settings: Settings
    store: Store
    outbound: Outbound
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pace: float = 1.0
    _parts: dict[Callable[[App], Any], Any] = field(default_factory=dict)
    _parts_lock: Any = field(default_factory=threading.RLock)

    def part(self, make: Callable[[App], Part]) -> Part:
        """The one instance of a duty's own class in this process, made at its first use."""
        with self._parts_lock:
            if make not in self._parts:
                self._parts[make] = make(self)
            found: Part = self._parts[make]
            return found

    @cached_property
    def flags(self) -> Flags:
        return Flags(self.store, usable_defaults(self.settings.config_dir), self.monotonic)

    @cached_property
    def slos(self) -> SloLoader:
        from shared.slo_loader import SloLoader

        return SloLoader(self.store, self.settings.config_dir, self.monotonic)

    @cached_property
    def group_commit(self) -> GroupCommit:
        from shared.metrics.group_commit import GroupCommit

        return GroupCommit(self.store)

    @cached_property
    def snapshot_cache(self) -> SnapshotCache:
        from shared.status.cache import SnapshotCache

        return SnapshotCache(self.store, self.flags, self.passing)

    @property
    def passing(self) -> Callable[[], float]:
        """Monotonic seconds at the pace of `clock`. `monotonic` is real time, for deadlines and durations."""
        return self.monotonic if self.pace == 1 else lambda: self.monotonic() * self.pace


def build_store(settings: Settings) -> Store:
    if settings.store == "sqlite":
        from shared.store.sqlite import SqliteStore

        return SqliteStore(settings.sqlite_path)
    from shared.store.firestore import FirestoreStore

    return FirestoreStore(settings.project or "", settings.database)


def build(settings: Settings) -> App:
    from shared.metrics.store_latency import TimedStore

    store = TimedStore(build_store(settings), settings.store, time.monotonic)
    return App(settings, store, HttpOutbound(), lambda: datetime.now(UTC))


_lock = threading.Lock()
_current: App | None = None


def current() -> App:
    """The process's App, built from the environment at the first request (gunicorn imports before it forks)."""
    global _current
    if _current is None:
        with _lock:
            if _current is None:
                from shared.secrets import reader_for

                _current = build(Settings.load(os.environ, reader_for(os.environ)))
    return _current


def install(app: App | None) -> None:
    """Make `app` the process's App; None makes the next request build one from the environment."""
    global _current
    _current = app

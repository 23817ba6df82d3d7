"""Alerts as the run finds them: their state and memory, how far each is judged, and the commit of one that changes."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.alert import Memory, State
from shared.domain.catch_up import Judged
from shared.run_guard import RunGuard
from shared.store.protocol import Data, Doc, Store, Write


class StoredAlerts:
    """By the run's document as it was last read, which every commit of an alert changes too."""

    def __init__(self, store: Store, guard: RunGuard) -> None:
        self._store = store
        self._guard = guard

    def get(self, name: str) -> Doc | None:
        return self._store.get(f"alerts/{name}")

    def all_open(self) -> dict[str, Doc]:
        ids = self._guard.open_alerts
        docs = self._store.get_many([f"alerts/{i}" for i in ids]) if ids else []
        return {doc.id: doc for doc in docs if doc}

    def commit(self, name: str, state: str, writes: Sequence[Write], judged: Judged | None = None) -> bool:
        """False if somebody else was faster: then read and decide again. Raises `Overtaken`, `StoreError`."""
        others = [i for i in self._guard.open_alerts if i != name]
        more = {"judged": {**self.all_judged(), name: judged._asdict()}} if judged else {}
        return self._guard.commit(writes, [*others, name] if state in ("pending", "firing") else others, more)

    def judged(self, name: str) -> Judged | None:
        """How far an alert was judged. Under another configuration than that of now, no slot is judged again."""
        found = self._guard.judged.get(name)
        known = Judged(**found) if found else None
        return known._replace(after=known.until) if known and self._guard.is_new_config else known

    def all_judged(self) -> Data:
        return {name: known._asdict() for name in self._guard.judged if (known := self.judged(name))}


def open_state(alert: Doc | None) -> State:
    if alert is None:
        return "ok"
    state: State = alert.data["state"]
    return state if state in ("pending", "firing") else "ok"


def memory_of(alert: Doc | None) -> Memory:
    """What the alert remembers; alerts of earlier releases remember less."""
    if alert is None:
        return Memory()
    fired = tuple(alert.data.get("fired") or ())
    return Memory(alert.data["since"] if alert.data["state"] == "pending" else None, alert.data.get("calmSince"), fired)

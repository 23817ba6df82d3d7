"""Kill switches, at run time: the document `config/flags` wins over `config/flags.json`, that over what is shipped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from shared import log
from shared.config_file import read_json
from shared.domain.faults import WHOLE, ConfigError
from shared.domain.flags import SHIPPED, fault_of, flatten, meant
from shared.store.protocol import Doc, Store, StoreError

CACHE_SECONDS = 8.0
AGAIN_SECONDS = 2.0  # after a read that failed, before the next one
LATE_SECONDS = 1.0  # a read begun later than this after it fell due is waited for: see `all`
DOCUMENT = "config/flags"
FILE = "flags.json"
FRAME = ("rev", "auditSeq", "updatedAt")  # of the document, and no flags


class FlagsUnknown(Exception):
    """The flags could never be read: do nothing that has an effect outside."""


class Flags:
    """Flags as dotted names (`alerts.slack`), cached for 8 s with a single read at a time.

    If the store cannot be read, the last known flags stay in force and the next read comes 2 s later at the earliest;
    if none were ever read, `FlagsUnknown`. `monotonic` measures the age of the cache, in seconds. `defaults` has every
    flag by its name.
    """

    def __init__(self, store: Store, defaults: Mapping[str, Any], monotonic: Callable[[], float]) -> None:
        self._store = store
        self.defaults = defaults
        self._monotonic = monotonic
        self._known: dict[str, Any] | None = None
        self._due_at = float("-inf")
        self._reading: threading.Event | None = None  # the read under way; set when it is over
        self._to_wait_for = True
        self._lock = threading.Lock()  # never held while the store is asked

    def on(self, name: str) -> bool:
        return self.value(name) is True

    def value(self, name: str) -> Any:
        return self.all()[name]

    def all(self) -> dict[str, Any]:
        """The flags in force. One caller reads when they are due; the others go on at once with the last known ones.

        They wait for that one read only if nothing is known, or if it was begun late because nobody had asked for a
        while: then a kill switch may have been thrown long ago.
        """
        known = self._known
        if known is not None and self._monotonic() < self._due_at:
            return known
        with self._lock:
            now, reading = self._monotonic(), self._reading
            mine = reading is None and now >= self._due_at
            if mine:
                self._reading = threading.Event()
                self._to_wait_for = self._known is None or now - self._due_at > LATE_SECONDS
            to_wait_for = self._to_wait_for
        if mine:
            self._refresh(now)
        elif reading is not None and to_wait_for:
            reading.wait()
        if self._known is None:
            raise FlagsUnknown
        return self._known

    def _refresh(self, now: float) -> None:
        due_at = now + CACHE_SECONDS
        try:
            self._known = self.merged(self._store.get(DOCUMENT))
        except StoreError as error:
            log.warning("flags could not be read; the last known ones stay in force", kind=type(error).__name__)
            due_at = self._monotonic() + AGAIN_SECONDS
        except BaseException:
            due_at = now  # a fault of ours: the next caller meets it too
            raise
        finally:
            with self._lock:
                self._due_at = due_at
                reading, self._reading = self._reading, None
            if reading is not None:
                reading.set()

    def merged(self, doc: Doc | None) -> dict[str, Any]:
        """All flags as the document `config/flags` has them, for who reads it together with other documents."""
        return self.overriding(doc.data if doc else {})

    def overriding(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The same from the data of the document."""
        return {**self.defaults, **_overrides(data)}


def _overrides(data: Mapping[str, Any]) -> dict[str, Any]:
    """Only flags with a value that each may have count; anything else is told, and changes nothing."""
    valid: dict[str, Any] = {}
    for name, given in flatten(data).items():
        value = meant(name, given)
        if fault_of(name, value) is None:
            valid[name] = value
        elif name in SHIPPED:
            log.error("a flag in config/flags has a value that it cannot have: its default holds", flag=name)
        elif name not in FRAME:
            log.warning("config/flags has an entry that is no flag", flag=name)
    return valid


def load_defaults(config_dir: Path) -> dict[str, Any]:
    """The file over what is shipped. Raises `ConfigError` with every fault."""
    values, faults = _read(config_dir)
    if faults:
        raise ConfigError(FILE, [f"{name}: {fault}" for name, fault in faults.items()])
    return values


def usable_defaults(config_dir: Path) -> dict[str, Any]:
    """The same where things run already: an entry that cannot be used is logged, and takes nothing else down.

    A file of which nothing can be read may have switched anything off: it is a `ConfigError` here too.
    """
    values, faults = _read(config_dir)
    for name, fault in faults.items():
        log.error("config/flags.json has an entry that cannot be used: what is shipped holds", flag=name, fault=fault)
    return values


def _read(config_dir: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Every flag, and what is wrong by the name of the entry."""
    tree = read_json(config_dir / FILE)
    if not isinstance(tree, Mapping):
        raise ConfigError(FILE, [f"{WHOLE}: must be an object"])
    values, faults = dict[str, Any](SHIPPED), dict[str, str]()
    for name, given in flatten(tree).items():
        value = meant(name, float(given) if isinstance(given, Decimal) else given)
        fault = fault_of(name, value)
        if fault is None:
            values[name] = value
        else:
            faults[name] = fault
    return values, faults

"""Kill switches, at run time. `config/flags.json` holds the defaults; the document `config/flags` wins over it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared import log
from shared.store.protocol import Doc, Store, StoreError

CACHE_SECONDS = 8.0
AGAIN_SECONDS = 2.0  # after a read that failed, before the next one
LATE_SECONDS = 1.0  # a read begun later than this after it fell due is waited for: see `all`
DOCUMENT = "config/flags"
FRAME = ("rev", "auditSeq", "updatedAt")  # of the document, and no flags


class FlagsUnknown(Exception):
    """The flags could never be read: do nothing that has an effect outside."""


class Flags:
    """Flags as dotted names (`alerts.slack`), cached for 8 s with a single read at a time.

    If the store cannot be read, the last known flags stay in force and the next read comes 2 s later at the earliest;
    if none were ever read, `FlagsUnknown`. `monotonic` measures the age of the cache, in seconds.
    """

    def __init__(self, store: Store, defaults: Mapping[str, Any], monotonic: Callable[[], float]) -> None:
        self._store = store
        self._defaults = flatten(defaults)
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
        return {**self._defaults, **self._overrides(data)}

    def _overrides(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Only known flags of the default's type count; another one is told, and changes nothing.

        The texts "true" and "false" count for a switch: who types them in a hurry means them.
        """
        valid: dict[str, Any] = {}
        for name, value in flatten(data).items():
            default = self._defaults.get(name)
            if isinstance(default, bool):
                switch = _TEXTS.get(value.lower()) if isinstance(value, str) else value
                if isinstance(switch, bool):
                    valid[name] = switch
                else:
                    log.error("a kill switch in config/flags is neither true nor false: its default holds", flag=name)
            elif _fits(value, default):
                valid[name] = value
            elif name not in FRAME:
                log.warning("config/flags has an entry that is no flag or has the wrong type", flag=name)
        return valid


_TEXTS = {"true": True, "false": False}


def _fits(value: Any, default: Any) -> bool:
    """Whether a value may stand in for a default that is no switch; None is the default of what is no flag."""
    if default is None or isinstance(value, bool):
        return False
    return isinstance(value, float | int if isinstance(default, float | int) else type(default))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def load_defaults(config_dir: Path) -> dict[str, Any]:
    defaults: dict[str, Any] = json.loads((config_dir / "flags.json").read_text())
    return defaults

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
DOCUMENT = "config/flags"


class FlagsUnknown(Exception):
    """The flags could never be read: do nothing that has an effect outside."""


class Flags:
    """Flags as dotted names (`alerts.slack`), cached for 8 s with a single read at a time.

    If the store cannot be read, the last known flags stay in force; if none were ever read, `FlagsUnknown`.
    `monotonic` measures the age of the cache, in seconds.
    """

    def __init__(self, store: Store, defaults: Mapping[str, Any], monotonic: Callable[[], float]) -> None:
        self._store = store
        self._defaults = flatten(defaults)
        self._monotonic = monotonic
        self._known: dict[str, Any] | None = None
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def on(self, name: str) -> bool:
        return self.value(name) is True

    def value(self, name: str) -> Any:
        return self.all()[name]

    def all(self) -> dict[str, Any]:
        known = self._known
        if known is not None and self._monotonic() - self._read_at < CACHE_SECONDS:
            return known
        with self._lock:
            if self._known is None or self._monotonic() - self._read_at >= CACHE_SECONDS:
                self._refresh()
            if self._known is None:
                raise FlagsUnknown
            return self._known

    def _refresh(self) -> None:
        try:
            doc = self._store.get(DOCUMENT)
        except StoreError as error:
            log.warning("flags could not be read; the last known ones stay in force", kind=type(error).__name__)
            return
        self._known = self.merged(doc)
        self._read_at = self._monotonic()

    def merged(self, doc: Doc | None) -> dict[str, Any]:
        """All flags as the document `config/flags` has them, for who reads it together with other documents."""
        return {**self._defaults, **self._overrides(doc.data if doc else {})}

    def _overrides(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Only known flags of the default's type count; another one is told, and changes nothing."""
        valid: dict[str, Any] = {}
        for name, value in flatten(data).items():
            default = self._defaults.get(name)
            number = isinstance(default, float | int) and not isinstance(default, bool)
            fits = isinstance(value, float | int) if number else isinstance(value, type(default))
            if name in self._defaults and fits and isinstance(value, bool) == isinstance(default, bool):
                valid[name] = value
            elif name != "rev":
                log.warning("config/flags has an entry that is no flag or has the wrong type", flag=name)
        return valid


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

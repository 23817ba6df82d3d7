"""The SLO configuration in force: the document `config/slo` if there is one, else `config/slo.json`.

A broken document is told with every fault; the last good one (`config/slo_last_good`, else the file) stays in force.
`.venv/bin/python -m scripts.upload_slo_config` writes the document, and with it `config/slo/versions/{n}`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from shared import log
from shared.config_file import load_exact, load_model, read_json
from shared.domain.alert import warnings_of
from shared.domain.burn import BurnWindows
from shared.domain.faults import ConfigError
from shared.domain.metric import Registry
from shared.domain.slo import SloConfig
from shared.domain.slo_file import parse_slos
from shared.store.protocol import Doc, Put, Store, StoreError

DOCUMENT = "config/slo"
LAST_GOOD = "config/slo_last_good"
VERSIONS = f"{DOCUMENT}/versions"
OWN_FIELDS = ("rev", "version", "hash", "updatedAt", "updatedBy")
CACHE_SECONDS = 60.0


def load_registry(config_dir: Path) -> Registry:
    """Raises `ConfigError` with every fault."""
    return load_model(config_dir / "metrics.json", Registry)


def load_burn_windows(config_dir: Path) -> BurnWindows:
    """Raises `ConfigError` with every fault."""
    return load_exact(config_dir / "burn_windows.json", BurnWindows)


def load_file(path: Path, registry: Registry) -> SloConfig:
    """The SLOs of a file, and the burn windows beside it. Raises `ConfigError` with every fault."""
    data = read_json(path)
    config = parse_slos(data, registry, source=path.name, digest=digest_of(data))
    return replace(config, burn=load_burn_windows(path.parent))


class SloLoader:
    """Gives the configuration, read again when it is older than `max_age` seconds."""

    def __init__(self, store: Store, config_dir: Path, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._file = config_dir / "slo.json"
        self.registry = load_registry(config_dir)
        self._burn = load_burn_windows(config_dir)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._good: SloConfig | None = None
        self._seen: str | None = None
        self._read_at = float("-inf")
        self.faults: tuple[str, ...] = ()

    def current(self, max_age: float = CACHE_SECONDS) -> SloConfig:
        """Raises `StoreError` if nothing was ever read, and `ConfigError` if not even the file is usable."""
        with self._lock:
            if self._good is None or self._monotonic() - self._read_at >= max_age:
                self._good = self._load()
                self._read_at = self._monotonic()
            return self._good

    def _load(self) -> SloConfig:
        try:
            doc = self._store.get(DOCUMENT)
        except StoreError as error:
            if self._good is None:
                raise
            log.warning("config/slo could not be read; the last known one stays in force", kind=type(error).__name__)
            return self._good
        digest = None
        source = self._file.name if doc is None else DOCUMENT
        try:
            data = read_json(self._file) if doc is None else without_rev(doc.data)
            digest = digest_of(data)
            version = None if doc is None else version_of(doc.data, digest)
            if digest == self._seen and self._good is not None:
                return replace(self._good, version=version) if self._good.hash == digest else self._good
            good = parse_slos(data, self.registry, source=source, digest=digest)
            good = replace(good, version=version, burn=self._burn)
        except ConfigError as error:
            if doc is None and self._good is None:
                raise
            self._seen, self.faults = digest, tuple(error.faults)
            log.error("the SLO configuration is not usable; the last good one stays in force", faults=error.faults)
            return self._good or self._last_good()
        self._seen, self.faults = digest, ()
        for warning in warnings_of(good):
            log.warning("an alert can never fire", detail=warning)
        if doc is not None:
            self._keep(data if version is None else data | {"version": version, "hash": digest})
        return good

    def _keep(self, data: Mapping[str, Any]) -> None:
        """For instances to come, should the document break. It is good whether or not this can be written."""
        try:
            kept = self._store.get(LAST_GOOD)
            if kept is None or kept.data != data:
                self._store.commit([Put(LAST_GOOD, dict(data))])
        except StoreError as error:
            log.warning("the good SLO configuration could not be kept", kind=type(error).__name__)

    def _last_good(self) -> SloConfig:
        kept = self._store.get(LAST_GOOD)
        if kept is not None:
            try:
                return replace(parse_document(kept, self.registry), burn=self._burn)
            except ConfigError as error:  # it was good for another release's metrics
                log.error("the last good SLO configuration is not usable either", faults=error.faults)
        return load_file(self._file, self.registry)


def parse_document(doc: Doc, registry: Registry) -> SloConfig:
    """The SLOs of a document, with their version. Raises `ConfigError` with every fault."""
    data = without_rev(doc.data)
    digest = digest_of(data)
    return replace(parse_slos(data, registry, source=doc.path, digest=digest), version=version_of(doc.data, digest))


def version_of(data: Mapping[str, Any], digest: str) -> int | None:
    """The version that a document was uploaded as; None if its content is not that of the upload any more."""
    version = data.get("version")
    return version if isinstance(version, int) and data.get("hash") == digest else None


def digest_of(data: Any) -> str:
    return sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:16]


def without_rev(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a person wrote: the rest is the product's own."""
    return {key: value for key, value in data.items() if key not in OWN_FIELDS}

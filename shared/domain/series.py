"""Series: a metric with its scrubbed labels. Clients repeat the same labels, so the work on them is done once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from shared.domain.metric import Registry
from shared.domain.scrub import is_personal_key, scrub_value

MAX_LABELS = 10
MAX_LABEL_LENGTH = 200
MAX_CACHED = 20_000
MAX_CACHED_BYTES = 16_000_000
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,62}")


@dataclass(frozen=True, slots=True)
class Series:
    """`number` names the series within this instance only; `key` names it for ever (`name` and the labels as JSON)."""

    number: int
    metric: str
    key: str
    is_ratio: bool
    bounds: tuple[float, ...]


def key_of(metric: str, labels: Mapping[str, str]) -> str:
    return metric + json.dumps(labels, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def split_key(key: str) -> tuple[str, dict[str, str]]:
    """A series key back into metric and labels."""
    name, brace, rest = key.partition("{")
    labels: dict[str, str] = json.loads(brace + rest)
    return name, labels


def scrub_labels(labels: Any) -> tuple[dict[str, str], list[str]]:
    """Labels fit to be stored, and every reason against them. Reasons never quote what was sent.

    A label whose name tells a person, or looks like an id itself, is left out.
    """
    if not isinstance(labels, dict):
        return {}, ["labels: must be an object of texts"]
    reasons = [f"labels: {len(labels)} of them, at most {MAX_LABELS}"] if len(labels) > MAX_LABELS else []
    clean: dict[str, str] = {}
    for n, (key, value) in enumerate(labels.items(), 1):
        if not _KEY.fullmatch(key):
            reasons.append(f"labels: name {n} must be letters, digits, _ and ., 63 characters at most")
            continue
        secret = is_personal_key(key) or scrub_value(key) != key
        told = f"labels: entry {n}" if secret else f"labels.{key}"
        text = str(value).lower() if isinstance(value, bool | int) else value
        if not isinstance(text, str):
            reasons.append(f"{told}: must be a text")
        elif len(text) > MAX_LABEL_LENGTH:
            reasons.append(f"{told}: {len(text)} characters, at most {MAX_LABEL_LENGTH}")
        elif not secret:
            clean[key] = scrub_value(text)
    return clean, reasons


class SeriesTable:
    """Resolves (name, labels as sent) to a `Series`, or to the reasons why not. `parse` decodes the labels' JSON.

    Made anew for each configuration, since `bounds` belong to it. `numbers` is shared by all tables of an instance: two
    requests of one segment must never use a number for different series, so it is taken with `next`, which is atomic.
    """

    def __init__(
        self,
        registry: Registry,
        bounds: Mapping[str, tuple[float, ...]],
        parse: Callable[[bytes], Any],
        numbers: Iterator[int] | None = None,
    ) -> None:
        self._registry = registry
        self._bounds = bounds
        self._parse = parse
        self._by_labels: dict[tuple[str, bytes], Series | list[str]] = {}
        self._by_key: dict[str, Series] = {}
        self._numbers = count() if numbers is None else numbers
        self._cached_bytes = 0

    def resolve(self, name: str, labels: bytes) -> Series | list[str]:
        found = self._by_labels.get((name, labels))
        if found is None:
            found = self._make(name, labels)
            if len(self._by_labels) >= MAX_CACHED or self._cached_bytes >= MAX_CACHED_BYTES:
                self._by_labels.clear()
                self._by_key.clear()
                self._cached_bytes = 0
            self._by_labels[name, labels] = found
            self._cached_bytes += len(name) + len(labels)
        return found

    def _make(self, name: str, labels: bytes) -> Series | list[str]:
        own = self._registry.canonical(name)
        reasons = [] if own else ["name: unknown metric; declare it in config/metrics.json"]
        try:
            clean, faults = scrub_labels(self._parse(labels))
        except ValueError:  # UnicodeDecodeError and the decoder's own error are ValueErrors
            clean, faults = {}, ["labels: not valid JSON in UTF-8"]
        reasons += faults
        if reasons or own is None:
            return reasons
        key = key_of(own, clean)
        series = self._by_key.get(key)
        if series is None:
            is_ratio = self._registry.metrics[own].kind == "ratio"
            series = self._by_key[key] = Series(next(self._numbers), own, key, is_ratio, self._bounds[own])
        return series

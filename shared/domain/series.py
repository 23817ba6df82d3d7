"""Series: a metric with its scrubbed labels. Clients repeat the same labels, so the work on them is done once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.metric import Registry
from shared.domain.scrub import is_personal_key, scrub_value

MAX_LABELS = 10
MAX_LABEL_LENGTH = 200
MAX_CACHED = 20_000
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
    """Labels fit to be stored, and every reason against them. Reasons never quote what was sent."""
    if not isinstance(labels, dict):
        return {}, ["labels: must be an object of texts"]
    reasons = [f"labels: {len(labels)} of them, at most {MAX_LABELS}"] if len(labels) > MAX_LABELS else []
    clean: dict[str, str] = {}
    for n, (key, value) in enumerate(labels.items()):
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            reasons.append(f"labels: name {n + 1} must be letters, digits, _ and ., 63 characters at most")
        elif isinstance(value, bool | int):
            clean[key] = str(value).lower()
        elif not isinstance(value, str):
            reasons.append(f"labels.{scrub_value(key)}: must be a text")
        elif len(value) > MAX_LABEL_LENGTH:
            reasons.append(f"labels.{scrub_value(key)}: {len(value)} characters, at most {MAX_LABEL_LENGTH}")
        elif not is_personal_key(key):
            clean[key] = scrub_value(value)
    return clean, reasons


class SeriesTable:
    """Resolves (name, labels as sent) to a `Series`, or to the reasons why not. `parse` decodes the labels' JSON.

    Made anew for each configuration, since `bounds` belong to it. Numbers go on rising across tables of an instance.
    """

    def __init__(
        self,
        registry: Registry,
        bounds: Mapping[str, tuple[float, ...]],
        parse: Callable[[bytes], Any],
        first_number: int = 0,
    ) -> None:
        self._registry = registry
        self._bounds = bounds
        self._parse = parse
        self._by_labels: dict[tuple[str, bytes], Series | list[str]] = {}
        self._by_key: dict[str, Series] = {}
        self.next_number = first_number

    def resolve(self, name: str, labels: bytes) -> Series | list[str]:
        found = self._by_labels.get((name, labels))
        if found is None:
            found = self._make(name, labels)
            if len(self._by_labels) >= MAX_CACHED:
                self._by_labels.clear()
                self._by_key.clear()
            self._by_labels[name, labels] = found
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
            series = Series(self.next_number, own, key, self._registry.metrics[own].kind == "ratio", self._bounds[own])
            self.next_number += 1
            self._by_key[key] = series
        return series

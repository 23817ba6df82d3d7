"""Series: a metric with its scrubbed labels. Clients repeat the same labels, so the work on them is done once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from shared.domain.metric import Registry, is_status
from shared.domain.scrub import is_personal_key, scrub_value

MAX_LABELS = 10
MAX_LABEL_LENGTH = 200
MAX_CACHED = 20_000
MAX_CACHED_BYTES = 16_000_000
KEPT_LABEL = "status"  # what other metrics are derived from; `other` keeps it where it is one of few
PERSONAL = ":personal"  # stands for the names of labels that tell a person, where left out labels are counted
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,62}")


@dataclass(frozen=True, slots=True)
class Series:
    """`number` names the series within this instance only; `key` names it for ever (`name` and the labels as JSON).

    `dropped`: names of labels that were left out of what was sent.
    """

    number: int
    metric: str
    key: str
    is_ratio: bool
    bounds: tuple[float, ...]
    dropped: tuple[str, ...] = ()


def key_of(metric: str, labels: Mapping[str, str]) -> str:
    return metric + json.dumps(labels, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def split_key(key: str) -> tuple[str, dict[str, str]]:
    """A series key back into metric and labels."""
    name, brace, rest = key.partition("{")
    labels: dict[str, str] = json.loads(brace + rest)
    return name, labels


def other_key(metric: str, labels: Mapping[str, str]) -> str:
    """The series that takes what has none of its own."""
    status = labels.get(KEPT_LABEL, "")
    return key_of(metric, {"other": "true", **({KEPT_LABEL: status} if is_status(status) else {})})


def scrub_labels(
    labels: Any, allowed: Collection[str] | None = None, max_labels: int = MAX_LABELS
) -> tuple[dict[str, str], list[str], tuple[str, ...]]:
    """Labels fit to be stored, every reason against them, and the names of those left out.

    Left out is what is not `allowed` (None: all are), and a label whose name tells a person or looks like an id itself.
    Reasons never quote what was sent.
    """
    if not isinstance(labels, dict):
        return {}, ["labels: must be an object of texts"], ()
    if len(labels) > max_labels:  # however many there are, one reason
        return {}, [f"labels: {len(labels)} of them, at most {max_labels}"], ()
    reasons: list[str] = []
    clean: dict[str, str] = {}
    dropped: dict[str, None] = {}
    for n, (key, value) in enumerate(labels.items(), 1):
        if not _KEY.fullmatch(key):
            reasons.append(f"labels: name {n} must be letters, digits, _ and ., 63 characters at most")
            continue
        secret = is_personal_key(key) or scrub_value(key) != key
        told = f"labels: entry {n}" if secret else f"labels.{key}"
        text = str(value).lower() if isinstance(value, bool | int) else value
        if secret:
            dropped[PERSONAL] = None
        elif allowed is not None and key not in allowed:
            dropped[key] = None
            continue
        if not isinstance(text, str):
            reasons.append(f"{told}: must be a text")
        elif len(text) > MAX_LABEL_LENGTH:
            reasons.append(f"{told}: {len(text)} characters, at most {MAX_LABEL_LENGTH}")
        elif not secret:
            clean[key] = scrub_value(text)
    return clean, reasons, tuple(dropped)


class SeriesTable:
    """Resolves (name, labels as sent) to a `Series`, or to the reasons why not. `parse` decodes the labels as sent.

    Made anew for each configuration, since `bounds` belong to it. `numbers` is shared by all tables of an instance: two
    requests of one segment must never use a number for different series, so it is taken with `next`, which is atomic.
    Beyond a metric's `max_series`, a label set that is new to this instance goes into `other`.
    """

    def __init__(
        self,
        registry: Registry,
        bounds: Mapping[str, tuple[float, ...]],
        parse: Callable[[bytes], Any],
        numbers: Iterator[int] | None = None,
        max_labels: int = MAX_LABELS,
    ) -> None:
        self.registry = registry
        self._bounds = bounds
        self._parse = parse
        self._max_labels = max_labels
        self._by_labels: dict[tuple[str, bytes], Series | list[str]] = {}
        self._by_key: dict[str, Series] = {}
        self._series_of: Counter[str] = Counter()
        self._numbers = count() if numbers is None else numbers
        self._cached_bytes = 0

    def resolve(self, name: str, labels: bytes) -> Series | list[str]:
        found = self._by_labels.get((name, labels))
        if found is None:
            found = self._make(name, labels)
            if len(self._by_labels) >= MAX_CACHED or self._cached_bytes >= MAX_CACHED_BYTES:
                self._by_labels.clear()
                self._by_key.clear()
                self._series_of.clear()
                self._cached_bytes = 0
            self._by_labels[name, labels] = found
            self._cached_bytes += len(name) + len(labels)
        return found

    def own(self, metric: str, labels: Mapping[str, str]) -> Series | None:
        """The series of a metric that F0 Ops itself counts; None if the registry does not have the metric."""
        return self._series(metric, labels, ()) if metric in self.registry.metrics else None

    def _make(self, name: str, labels: bytes) -> Series | list[str]:
        own = self.registry.canonical(name)
        reasons = [] if own else ["name: unknown metric; declare it in config/metrics.json"]
        dropped: tuple[str, ...] = ()
        try:
            allowed = self.registry.metrics[own].labels if own else None
            clean, faults, dropped = scrub_labels(self._parse(labels), allowed, self._max_labels)
        except ValueError:  # UnicodeDecodeError and the decoder's own error are ValueErrors
            clean, faults = {}, ["labels: not valid JSON in UTF-8"]
        reasons += faults
        if reasons or own is None:
            return reasons
        return self._series(own, clean, dropped)

    def _series(self, metric: str, labels: Mapping[str, str], dropped: tuple[str, ...]) -> Series:
        declared = self.registry.metrics[metric]
        key = key_of(metric, labels)
        series = self._by_key.get(key)
        if series is None and self._series_of[metric] >= declared.max_series:
            key = other_key(metric, labels)
            series = self._by_key.get(key)
        if series is None:
            self._series_of[metric] += 1
            is_ratio = declared.kind == "ratio"
            series = self._by_key[key] = Series(next(self._numbers), metric, key, is_ratio, self._bounds[metric])
        return replace(series, dropped=dropped) if dropped else series

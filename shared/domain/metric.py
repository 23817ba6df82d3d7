"""The metric registry: what each metric is, as `config/metrics.json` says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Aggregation = Literal["sum", "avg", "p95", "count"]
MetricDirection = Literal["more_is_worse", "less_is_worse"]
# Texts that a status may be besides a number of three digits. A closed list: `other` keeps each status apart.
STATUS_WORDS = frozenset({"ok", "success", "succeeded", "error", "failure", "failed", "timeout", "cancelled"})
_STATUS_RANGE = re.compile(r"(\d{3})(?:-(\d{3}))?")


def is_status(text: str) -> bool:
    """Whether it is one of the few values that a metric may be derived from."""
    return text in STATUS_WORDS or _is_number(text)


def _statuses(entries: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [e for e in entries if e not in STATUS_WORDS and not _STATUS_RANGE.fullmatch(e)]
    if wrong:
        known = ", ".join(sorted(STATUS_WORDS))
        raise ValueError(f"{', '.join(map(repr, wrong))}: neither a status such as 500 or 500-599, nor one of {known}")
    return entries


Statuses = Annotated[tuple[str, ...], AfterValidator(_statuses)]


class Derived(BaseModel):
    """A ratio counted from another metric's samples by their `label`: statuses in `bad` are bad ones.

    Good ones are those in `good`, or any other number where `good` is empty. What is neither does not count at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    label: Literal["status"] = "status"  # `other` keeps no other label apart
    bad: Statuses = Field(min_length=1)
    good: Statuses = ()

    def is_bad(self, labels: Mapping[str, str]) -> bool | None:
        """Whether a series counts as bad; None if it does not count."""
        text = labels.get(self.label)
        if text is None:
            return None
        if _lies_in(text, self.bad):
            return True
        is_good = _lies_in(text, self.good) if self.good else _is_number(text)
        return False if is_good else None


def _is_number(text: str) -> bool:
    """Of a status: a longer one is kept apart nowhere, so it may not count anywhere."""
    return len(text) <= 3 and text.isascii() and text.isdecimal()


def _lies_in(text: str, statuses: tuple[str, ...]) -> bool:
    if not _is_number(text):
        return text in statuses
    for entry in statuses:
        found = _STATUS_RANGE.fullmatch(entry)
        if found and int(found[1]) <= int(text) <= int(found[2] or found[1]):
            return True
    return False


class Otlp(BaseModel):
    """`names`: metrics of OpenTelemetry that are this one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = ()


class Metric(BaseModel):
    """`kind` ratio: samples are 0 or 1. `bounds`: values up to each are counted exactly, as for those of SLOs.

    `labels`: those that are kept, any where it is absent. `max_series`: beyond it, new label sets fold into `other`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    unit: Literal["ms", "%", "USD", "GB", "count"]
    kind: Literal["distribution", "ratio"]
    direction: MetricDirection
    aggregation: Aggregation
    aliases: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    labels: tuple[str, ...] | None = None
    max_series: int = Field(default=1000, ge=1, le=10_000)
    derived_from: Derived | None = None
    otlp: Otlp = Otlp()


class Registry(BaseModel):
    """All metrics by name. Of OpenTelemetry: `label_names`, attribute → label; `ignored`, metrics it sends unasked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, Metric]
    label_names: dict[str, str] = {}
    ignored: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_one_each(self) -> Registry:
        names = [alias for metric in self.metrics.values() for alias in (*metric.aliases, *metric.otlp.names)]
        twice = sorted({n for n in names if n in self.metrics or names.count(n) > 1})
        if twice:
            raise ValueError(f"the same name for two metrics: {', '.join(twice)}")
        for name, metric in self.metrics.items():
            source = metric.derived_from
            if source is None:
                continue
            if metric.kind != "ratio":
                raise ValueError(f"{name} is derived, so it must be a ratio")
            if source.metric not in self.metrics:
                raise ValueError(f"{name} is derived from an unknown metric: {source.metric}")
            kept = self.metrics[source.metric].labels
            if kept is not None and source.label not in kept:
                raise ValueError(f"{name} is derived from label {source.label!r}, which {source.metric} does not keep")
        return self

    @cached_property
    def series_limits(self) -> dict[str, int]:
        """How many series each metric may have."""
        return {name: metric.max_series for name, metric in self.metrics.items()}

    @cached_property
    def _own_names(self) -> dict[str, str]:
        found = {alias: own for own, metric in self.metrics.items() for alias in metric.aliases}
        return found | {name: name for name in self.metrics}

    @cached_property
    def _otlp_names(self) -> dict[str, str]:
        return {name: own for own, metric in self.metrics.items() for name in metric.otlp.names}

    def canonical(self, name: str) -> str | None:
        """The metric's own name for a name or an alias; None for an unknown one."""
        return self._own_names.get(name)

    def canonical_otlp(self, name: str) -> str | None:
        """The same for a name that OpenTelemetry uses."""
        return self._otlp_names.get(name) or self._own_names.get(name)

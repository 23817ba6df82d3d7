"""The metric registry: what each metric is, as `config/metrics.json` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Aggregation = Literal["sum", "avg", "p95", "count"]
MetricDirection = Literal["more_is_worse", "less_is_worse"]


class Derived(BaseModel):
    """A ratio counted from another metric's samples: bad ones have a number in `label` between `from` and `to`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    label: str
    low: int = Field(alias="from")
    high: int = Field(alias="to")

    def is_bad(self, labels: Mapping[str, str]) -> bool | None:
        """Whether a series counts as bad; None if it does not carry the label and so does not count at all."""
        text = labels.get(self.label)
        if text is None or not text.isdecimal():
            return None
        return self.low <= int(text) <= self.high


class Metric(BaseModel):
    """`kind` ratio: samples are 0 or 1. `bounds`: values up to each are counted exactly, as for those of SLOs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    unit: Literal["ms", "%", "USD", "GB", "count"]
    kind: Literal["distribution", "ratio"]
    direction: MetricDirection
    aggregation: Aggregation
    aliases: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    derived_from: Derived | None = None


class Registry(BaseModel):
    """All metrics by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, Metric]

    @model_validator(mode="after")
    def _names_are_one_each(self) -> Registry:
        names = [alias for metric in self.metrics.values() for alias in metric.aliases]
        twice = sorted({n for n in names if n in self.metrics or names.count(n) > 1})
        if twice:
            raise ValueError(f"the same name for two metrics: {', '.join(twice)}")
        unknown = sorted(
            m.derived_from.metric
            for m in self.metrics.values()
            if m.derived_from and m.derived_from.metric not in self.metrics
        )
        if unknown:
            raise ValueError(f"derived from an unknown metric: {', '.join(unknown)}")
        return self

    def canonical(self, name: str) -> str | None:
        """The metric's own name for a name or an alias; None for an unknown one."""
        if name in self.metrics:
            return name
        return next((own for own, metric in self.metrics.items() if name in metric.aliases), None)

"""SLOs: what `config/slo.json` says, and the exact arithmetic on counts of good and total events.

Good and total are integers and thresholds are compared as Fractions: even a product of Decimals is rounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shared.domain.calendar_window import CalendarWindow
from shared.domain.durations import SLOT_SECONDS, Duration, Exact, Wait, seconds_of
from shared.domain.faults import ConfigError, faults_of
from shared.domain.metric import Metric, Registry

if TYPE_CHECKING:
    from shared.domain.burn import BurnWindows

DAY_SECONDS = 86_400
MAX_ALERT_WINDOW = 30 * DAY_SECONDS
MAX_WINDOW = 400 * DAY_SECONDS
USUAL_MIN_FAILURES = 8  # with burn rates
_QUANTILE = re.compile(r"(.+)_p(50|75|90|95|99)")

Severity = Literal["critical", "high", "warning"]
Channel = Literal["slack", "email", "pagerduty", "inapp", "webhook"]
Compliance = Literal["met", "missed", "no_data"]
RunbookName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]


def _one_each(channels: tuple[str, ...]) -> tuple[str, ...]:
    if not channels:
        raise ValueError("name one channel at least")
    if len(channels) != len(set(channels)):
        raise ValueError("a channel is named twice")
    return channels


def _window(value: Any) -> Any:
    if not isinstance(value, dict):
        return seconds_of(value)
    try:
        return CalendarWindow.model_validate(value)
    except ValidationError as error:
        raise ValueError("; ".join(faults_of(error))) from None


SloWindow = Annotated[int | CalendarWindow, BeforeValidator(_window)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AlertPolicy(_Model):
    """`window`: what the threshold is judged over, in seconds; fewer than `min_events` in it decide nothing.

    A breach must hold for `pending_for` (`for` in the file) before it is told, and with `min_failures` bad events at
    least; what fires goes on for `keep_firing_for` after it is within again. `no_data`: what silence means.
    `burn_rates`: the rules of config/burn_windows.json besides. `incident`: whether one is opened, with this `impact`.
    `runbook`: what to follow, by its name: `api-outage` for runbooks/api-outage.md.
    """

    severity: Severity
    channels: Annotated[tuple[Channel, ...], AfterValidator(_one_each)]
    window: Duration = SLOT_SECONDS
    min_events: int = Field(default=10, ge=1)
    min_failures: int = Field(default=0, ge=0)
    pending_for: Wait = Field(default=0, alias="for")
    keep_firing_for: Wait = 0
    no_data: Literal["keep", "ok", "alert"] = "keep"
    burn_rates: bool = False
    incident: bool = True
    impact: Literal["low", "medium", "high", "critical"] | None = None
    runbook: RunbookName | None = None

    @model_validator(mode="before")
    @classmethod
    def _usual_min_failures(cls, data: Any) -> Any:
        """Beside burn rates, which find what is slow, the threshold waits for more failures than chance brings."""
        if isinstance(data, dict) and data.get("burn_rates") is True:
            return {"min_failures": USUAL_MIN_FAILURES, **data}
        return data


class SloSpec(_Model):
    """One entry of `slos`, as written. Events up to `under` are good; only series with these `labels` count."""

    name: str = Field(min_length=1, max_length=80)
    id: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    target: Exact
    window: SloWindow
    metric: str
    labels: dict[str, str] = {}
    under: Exact | None = None
    threshold: Exact
    alert: AlertPolicy

    @field_validator("metric")
    @classmethod
    def _is_known(cls, metric: str, info: ValidationInfo) -> str:
        """Among the fields, so that it is told together with faults of other fields."""
        registry: Registry = info.context  # type: ignore[assignment]  # parse_slos gives it
        if registry.canonical(_split(metric)[0]) is None:
            raise ValueError(f"unknown metric {metric!r}; known: {', '.join(sorted(registry.metrics))}")
        return metric


class SloFile(_Model):
    slos: tuple[SloSpec, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """What is counted in each 5-minute slot. For a distribution, good events are values <= `bound`.

    `labels`: only series that have all of them count; in the order of their names. The objective is not part of it:
    changing a target of a ratio changes nothing that was counted.
    """

    metric: str
    bound: float | None
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def hash(self) -> str:
        text = f"{self.metric}|{self.bound!r}" + (f"|{self.labels!r}" if self.labels else "")
        return blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Counts:
    """Good and total events of a window. `estimated`: sampling, or a bound that was not counted, took part in them."""

    good: int
    total: int
    estimated: bool = False

    @property
    def bad(self) -> int:
        return self.total - self.good


@dataclass(frozen=True, slots=True)
class Slo:
    """An SLO that was checked against the registry. Durations are in seconds, `quantile` in percent (95) or None.

    Kinds: `ratio` of good events; `share` of events up to `under`; `quantile`, which must not be above the target.
    """

    id: str
    name: str
    metric: str
    unit: str
    aggregation: str
    quantile: int | None
    more_is_worse: bool
    target: Decimal
    threshold: Decimal
    window: int | CalendarWindow
    alert: AlertPolicy
    under: Decimal | None = None
    under_text: str | None = None  # with the unit of the metric
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> Literal["ratio", "share", "quantile"]:
        if self.quantile is not None:
            return "quantile"
        return "ratio" if self.under is None else "share"

    @property
    def period(self) -> int:
        """The window's length in seconds; of a calendar's, the usual one."""
        return self.window if isinstance(self.window, int) else self.window.usual_seconds

    def start_of(self, end: datetime) -> datetime:
        """Where the window that ends at `end` begins."""
        return end - timedelta(seconds=self.window) if isinstance(self.window, int) else self.window.start_of(end)

    @property
    def objective(self) -> Definition:
        """What compliance and the error budget are counted by."""
        return self._definition(self.target)

    @property
    def trigger(self) -> Definition:
        """What the alert is judged by."""
        return self._definition(self.threshold)

    def _definition(self, limit: Decimal) -> Definition:
        bound = self.under if self.quantile is None else limit
        return Definition(self.metric, None if bound is None else float(bound), self.labels)

    @property
    def good_percent(self) -> Decimal:
        """Which share of events must be good, in percent: 99.5, or 95 for a p95."""
        return self.target if self.quantile is None else Decimal(self.quantile)

    @property
    def good_share(self) -> Fraction:
        """The same as a share: 199/200, or 19/20 for a p95."""
        return Fraction(self.good_percent) / 100

    def compliance(self, counts: Counts) -> Compliance:
        """Over the window. For p95 <= T: count(<= T) >= ceil(0.95 n), which is the same as good/total >= 95 %."""
        if counts.total == 0:
            return "no_data"
        return "met" if counts.good * 100 >= Fraction(self.good_percent) * counts.total else "missed"

    def budget_left(self, counts: Counts) -> Decimal | None:
        """The share of the error budget not yet used, 1 = untouched, negative = overspent; None without events.

        budget = (100 % - objective) · total (Beyer et al.: "The Site Reliability Workbook", chapter 2).
        """
        allowed = (100 - Fraction(self.good_percent)) * counts.total
        if counts.total == 0:
            return None
        if allowed == 0:
            return Decimal(1 if counts.bad == 0 else 0)
        left = 1 - counts.bad * 100 / allowed
        return Decimal(left.numerator) / left.denominator

    def exceeds(self, counts: Counts) -> bool:
        """Whether the alert window is strictly beyond the threshold; at equality it is not."""
        if self.quantile is not None:
            return counts.good * 100 < self.quantile * counts.total
        if self.more_is_worse:
            return counts.bad * 100 > Fraction(self.threshold) * counts.total
        return counts.good * 100 < Fraction(self.threshold) * counts.total

    def ratio_percent(self, counts: Counts) -> float | None:
        """What a ratio metric reads, for people: the share of errors, or of successes, in percent."""
        if self.quantile is not None or counts.total == 0:
            return None
        return (counts.bad if self.more_is_worse else counts.good) * 100 / counts.total


@dataclass(frozen=True, slots=True)
class SloConfig:
    """All SLOs in force, with the hash of what they were made from, and its version if it was uploaded as one."""

    slos: tuple[Slo, ...]
    hash: str
    version: int | None = None
    burn: BurnWindows | None = None  # of burn-rate alerts; set by whoever loads the configuration

    @property
    def definitions(self) -> tuple[Definition, ...]:
        return tuple(dict.fromkeys(d for slo in self.slos for d in (slo.objective, slo.trigger)))

    def bounds(self, registry: Registry) -> dict[str, tuple[float, ...]]:
        return bounds_of(registry, self.definitions)


def bounds_of(registry: Registry, definitions: Iterable[Definition]) -> dict[str, tuple[float, ...]]:
    """For each metric the values up to which is counted exactly, in rising order."""
    wanted = {name: set(metric.bounds) for name, metric in registry.metrics.items()}
    for definition in definitions:
        if definition.bound is not None:
            wanted.setdefault(definition.metric, set()).add(definition.bound)
    return {name: tuple(sorted(bounds)) for name, bounds in wanted.items()}


def parse_slos(data: Any, registry: Registry, *, source: str, digest: str) -> SloConfig:
    """Check a configuration. Raises `ConfigError` with every fault and its path."""
    try:
        file = SloFile.model_validate(data, context=registry)
    except ValidationError as error:
        raise ConfigError(source, faults_of(error) + _faults_of_the_sound(data, registry)) from None
    faults: list[str] = []
    slos = [_resolve(spec, registry, f"slos[{n}]", faults) for n, spec in enumerate(file.slos)]
    seen: dict[str, int] = {}
    for n, spec in enumerate(file.slos):
        slug = spec.id or slug_of(spec.name)
        if slug in seen:
            faults.append(f"slos[{n}].name: same id {slug!r} as slos[{seen[slug]}]; give one of them an id of its own")
        seen.setdefault(slug, n)
    if faults:
        raise ConfigError(source, faults)
    return SloConfig(tuple(slos), digest)


def _faults_of_the_sound(data: Any, registry: Registry) -> list[str]:
    """What there is against the entries that are well formed, where another one is not."""
    entries = data.get("slos") if isinstance(data, dict) else None
    faults: list[str] = []
    for n, entry in enumerate(entries if isinstance(entries, list) else []):
        with suppress(ValidationError):  # told already
            _resolve(SloSpec.model_validate(entry, context=registry), registry, f"slos[{n}]", faults)
    return faults


def _aggregation(spec: SloSpec, metric: Metric, quantile: int | None) -> str:
    if spec.under is not None:
        return "share"
    return metric.aggregation if quantile is None else f"p{quantile}"


def slug_of(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63] or "slo"


def _split(metric: str) -> tuple[str, int | None]:
    """`api_latency_p95` into metric and quantile."""
    match = _QUANTILE.fullmatch(metric)
    return (match[1], int(match[2])) if match else (metric, None)


def _resolve(spec: SloSpec, registry: Registry, path: str, faults: list[str]) -> Slo:
    name, quantile = _split(spec.metric)
    own = registry.canonical(name) or name
    metric: Metric = registry.metrics[own]
    if metric.kind == "ratio" and quantile is not None:
        faults.append(f"{path}.metric: {own} is a ratio and has no p{quantile}")
    if metric.kind == "ratio" and spec.under is not None:
        faults.append(f"{path}.under: {own} is a ratio: its samples are good or bad already")
    if metric.kind == "distribution" and quantile is None and spec.under is None:
        faults.append(
            f"{path}.metric: {own} is a distribution; say which quantile, such as {own}_p95, or `under` which value"
        )
    if metric.kind == "distribution" and quantile is not None and spec.under is not None:
        faults.append(f"{path}.under: either a quantile of {own}, or the share of what is under a value")
    if metric.kind == "distribution" and metric.direction == "less_is_worse":
        faults.append(f"{path}.metric: of {own} less is worse, and values are judged by what is too much")
    if metric.kind == "ratio" or spec.under is not None:
        faults += [
            f"{path}.{field}: {value} is no percentage"
            for field, value in (("target", spec.target), ("threshold", spec.threshold))
            if value > 100
        ]
    faults += [
        f"{path}.labels.{label}: {own} does not keep this label; it keeps {', '.join(kept) or 'none'}"
        for kept in _kept(metric, registry)
        for label in spec.labels
        if label not in kept
    ]
    if spec.alert.burn_rates and isinstance(spec.window, int) and spec.window < DAY_SECONDS:
        faults.append(f"{path}.alert.burn_rates: for a window of a day at least")
    if spec.alert.burn_rates and spec.target == 100 and quantile is None:
        faults.append(f"{path}.alert.burn_rates: an objective of 100 % leaves no budget to burn")
    if isinstance(spec.window, int) and spec.window > MAX_WINDOW:
        faults.append(f"{path}.window: at most 400d, since counts are kept no longer")
    if spec.alert.window > MAX_ALERT_WINDOW:
        faults.append(f"{path}.alert.window: at most 30d")
    return Slo(
        id=spec.id or slug_of(spec.name),
        name=spec.name,
        metric=own,
        unit=metric.unit if spec.under is None else "%",
        aggregation=_aggregation(spec, metric, quantile),
        quantile=quantile,
        more_is_worse=metric.direction == "more_is_worse" and spec.under is None,
        target=spec.target,
        threshold=spec.threshold,
        window=spec.window,
        alert=spec.alert,
        under=spec.under,
        under_text=None if spec.under is None else f"{spec.under:,f} {metric.unit}",
        labels=tuple(sorted(spec.labels.items())),
    )


def _kept(metric: Metric, registry: Registry) -> list[tuple[str, ...]]:
    """The labels that an SLO on a metric may name, as one list; none where any is kept. With those of its source."""
    source = registry.metrics[metric.derived_from.metric] if metric.derived_from else metric
    if metric.labels is None or source.labels is None:
        return []
    return [tuple(dict.fromkeys((*metric.labels, *source.labels)))]

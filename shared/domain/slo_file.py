"""What `config/slo.json` says: checked against the registry, every fault at once with its path, and made into SLOs."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from shared.domain.alert_policy import AlertPolicy
from shared.domain.calendar_window import CalendarWindow
from shared.domain.durations import Exact, seconds_of
from shared.domain.faults import ConfigError, faults_of
from shared.domain.metric import Metric, Registry
from shared.domain.slo import Slo, SloConfig

DAY_SECONDS = 86_400
MAX_ALERT_WINDOW = 30 * DAY_SECONDS
MAX_WINDOW = 400 * DAY_SECONDS
_QUANTILE = re.compile(r"(.+)_p(50|75|90|95|99)")


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

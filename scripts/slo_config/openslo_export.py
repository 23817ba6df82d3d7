"""SLOs of our own form as OpenSLO v1, so that `openslo.convert` gives the very same back.

What OpenSLO has no word for is an annotation `f0ops.…` of the alert policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Any

import yaml

from scripts.slo_config.openslo_annotations import OWN, SWITCHES, THRESHOLD
from shared.domain.durations import SLOT_SECONDS
from shared.domain.faults import ConfigError
from shared.domain.metric import Registry
from shared.domain.slo import Slo, SloConfig

VERSION = "openslo/v1"
_STARTS = {"day": "2024-01-01", "week": "2024-01-01", "month": "2024-01-01", "quarter": "2024-01-01"}  # a Monday
_UNITS = {"day": "1d", "week": "1w", "month": "1M", "quarter": "1Q"}


def exported(content: Mapping[str, Any], config: SloConfig, registry: Registry, source: str) -> str:
    """YAML of one document an SLO. `content`: what `config` was made from. Raises `ConfigError`."""
    faults = [
        f"slos[{n}].target: OpenSLO has no objective of 100 %"
        for n, slo in enumerate(config.slos)
        if slo.good_percent >= 100
    ]
    if faults:
        raise ConfigError(source, faults)
    documents = [_slo(slo, entry, registry) for slo, entry in zip(config.slos, content["slos"], strict=True)]
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)


def _slo(slo: Slo, entry: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    return {
        "apiVersion": VERSION,
        "kind": "SLO",
        "metadata": {"name": slo.id, "displayName": slo.name},
        "spec": {
            "service": "f0ops",
            "indicator": {"metadata": {"name": slo.id}, "spec": _indicator(slo, entry)},
            "timeWindow": [_window(entry["window"])],
            "budgetingMethod": "Occurrences",
            "objectives": [_objective(slo)],
            "alertPolicies": [_policy(slo, entry["alert"])],
        },
    }


def _indicator(slo: Slo, entry: Mapping[str, Any]) -> dict[str, Any]:
    spec = {"metric": entry["metric"], **({"labels": dict(slo.labels)} if slo.labels else {})}

    def source() -> dict[str, Any]:  # anew each time, or YAML would refer to the first
        return {"metricSource": {"type": "f0ops", "spec": {**spec}}}

    if slo.kind != "ratio":
        return {"thresholdMetric": source()}
    side = "bad" if slo.more_is_worse else "good"
    return {"ratioMetric": {"counter": True, side: source(), "total": source()}}


def _window(window: Any) -> dict[str, Any]:
    if not isinstance(window, Mapping):
        return {"duration": window, "isRolling": True}
    start, zone = f"{_STARTS[window['calendar']]} 00:00:00", window.get("timeZone", "UTC")
    return {
        "duration": _UNITS[window["calendar"]],
        "isRolling": False,
        "calendar": {"startTime": start, "timeZone": zone},
    }


def _objective(slo: Slo) -> dict[str, Any]:
    share = {"targetPercent": _number(slo.good_percent)}
    limit = slo.target if slo.quantile is not None else slo.under
    return share if limit is None else {"op": "lte", "value": _number(limit), **share}


def _policy(slo: Slo, alert: Mapping[str, Any]) -> dict[str, Any]:
    burn_rate, is_exact = _burn_rate(slo)
    annotations = {} if is_exact else {THRESHOLD: f"{slo.threshold:f}"}
    for name, field in OWN.items():
        if field in alert and not (field == "no_data" and alert[field] == "alert"):
            said = alert[field]
            annotations[name] = str(said).lower() if name in SWITCHES else str(said)
    condition = {
        "kind": "burnrate",
        "op": "gt",
        "threshold": _number(burn_rate),
        "lookbackWindow": alert.get("window", f"{SLOT_SECONDS // 60}m"),
        "alertAfter": alert.get("for", "0m"),
    }
    return {
        "apiVersion": VERSION,
        "kind": "AlertPolicy",
        "metadata": {"name": slo.id, **({"annotations": annotations} if annotations else {})},
        "spec": {
            "alertWhenNoData": alert.get("no_data") == "alert",
            "alertWhenResolved": True,
            "alertWhenBreaching": True,
            "conditions": [
                {
                    "apiVersion": VERSION,
                    "kind": "AlertCondition",
                    "metadata": {"name": slo.id},
                    "spec": {"severity": alert["severity"], "condition": condition},
                }
            ],
            "notificationTargets": [{"targetRef": channel} for channel in alert["channels"]],
        },
    }


def _burn_rate(slo: Slo) -> tuple[Decimal, bool]:
    """The threshold as a burn rate, and whether it is exactly that: of a quantile only where it is the target."""
    if slo.quantile is not None:
        return Decimal(1), slo.threshold == slo.target
    allowed, bad = 100 - slo.good_percent, slo.threshold if slo.more_is_worse else 100 - slo.threshold
    with localcontext() as context:
        context.prec = 12
        rate = bad / allowed
    exact = 0 < rate * allowed == bad < 100 and Decimal(repr(float(rate))) == rate
    return max(rate, Decimal("0.000001")), exact


def _number(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)

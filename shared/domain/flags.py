"""The flags that there are: what each is as shipped, and what it may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHIPPED: Mapping[str, bool | float] = {  # what holds where `config/flags.json` says nothing; that file says the same
    "alerts.enabled": True,
    "alerts.slack": True,
    "alerts.email": True,
    "alerts.pagerduty": False,
    "ops.slo_enforced": True,
    "ops.public_status_page": True,
    "ops.metrics_collection": True,
    "quotas.enabled": True,
    "quotas.soft_limit_warning": 0.8,
    "quotas.hard_limit_block": 1.0,
    "costs.dashboard": True,
    "costs.realtime_tracking": True,
}
# Shares of a limit. A warning names a whole percent, at most all; a block may refuse every call, or give some grace.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "quotas.soft_limit_warning": (0.01, 1),
    "quotas.hard_limit_block": (0, 2),
}
_TEXTS = {"true": True, "false": False}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name. An object in the place of a flag is that flag's value, so that it is found wrong."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and prefix + key not in SHIPPED:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def meant(name: str, value: Any) -> Any:
    """The texts "true" and "false" count for a switch: who types them in a hurry means them."""
    if isinstance(value, str) and isinstance(SHIPPED.get(name), bool):
        return _TEXTS.get(value.lower(), value)
    return value


def fault_of(name: str, value: Any) -> str | None:
    """Why this cannot be the value of that flag; never with the value."""
    if name not in SHIPPED:
        return f"there is no such flag; there are {', '.join(SHIPPED)}"
    if name not in _BOUNDS:
        return None if isinstance(value, bool) else "must be true or false"
    least, most = _BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return f"must be a share from {least:g} to {most:g}: 0.8 is 80 %"
    return None

"""The units that OpenTelemetry names (UCUM), in those of the registry."""

from __future__ import annotations

import math

# unit of the registry → unit that may be sent → factor
_FACTORS: dict[str, dict[str, float]] = {
    "ms": {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3, "min": 6e4, "h": 3.6e6},
    "GB": {
        "By": 1e-9, "kBy": 1e-6, "KBy": 1e-6, "MBy": 1e-3, "GBy": 1, "GB": 1, "TBy": 1e3,
        "KiBy": 2**10 / 1e9, "MiBy": 2**20 / 1e9, "GiBy": 2**30 / 1e9, "TiBy": 2**40 / 1e9,
    },
    "%": {"%": 1},
    "USD": {"USD": 1},
    "count": {},
}  # fmt: skip


def factor(sent: str, own: str) -> float | None:
    """What a value must be multiplied by; None if the one unit is none of the other. No unit is taken for our own."""
    if sent in ("", "1") or (sent[0] == "{" and sent[-1] == "}"):
        return 1
    return _FACTORS[own].get(sent)


def converted(value: float, by: float) -> float:
    """Rounded to 15 digits, so that 1.001 s are 1001 ms, and not the 1000.9999999999999 that the product gives."""
    return value if by == 1 or not math.isfinite(value) else float(f"{value * by:.15g}")

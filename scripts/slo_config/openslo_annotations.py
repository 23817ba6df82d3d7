"""The annotations of an AlertPolicy that say what OpenSLO has no field for."""

from __future__ import annotations

THRESHOLD = "f0ops.threshold"
NUMBERS = {"f0ops.minEvents": "min_events", "f0ops.minFailures": "min_failures"}
SWITCHES = {"f0ops.burnRates": "burn_rates", "f0ops.incident": "incident"}
TEXTS = {
    "f0ops.keepFiringFor": "keep_firing_for", "f0ops.noData": "no_data", "f0ops.impact": "impact",
    "f0ops.runbook": "runbook",
}  # fmt: skip
OWN = {**NUMBERS, **SWITCHES, **TEXTS}  # annotation → field of `alert`
ANNOTATIONS = ("f0ops.channels", THRESHOLD, *OWN)

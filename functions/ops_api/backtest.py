"""What an SLO's alerts would have done with other settings, beside what today's do over the same history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.ops_api.metrics import Turns
from shared.api.http import Problem, answer
from shared.components import load_components
from shared.domain.alert_policy import AlertPolicy
from shared.domain.calendar_window import CalendarWindow
from shared.domain.faults import ConfigError
from shared.domain.metric import Registry
from shared.domain.slo import Slo, SloConfig
from shared.domain.slo_file import parse_slos
from shared.slo.backtest import MAX_DAYS, backtest
from shared.slo.backtest_json import iso, run_json

if TYPE_CHECKING:
    from shared.bootstrap import App

USUAL_DAYS = 30
# parameter → where it stands in the SLO
CHANGES = {
    "threshold": ("threshold",),
    "target": ("target",),
    "window": ("window",),
    "alert_window": ("alert", "window"),
    "for": ("alert", "for"),
    "keep_firing_for": ("alert", "keep_firing_for"),
    "min_events": ("alert", "min_events"),
    "min_failures": ("alert", "min_failures"),
    "no_data": ("alert", "no_data"),
    "burn_rates": ("alert", "burn_rates"),
}
_NUMBERS = ("threshold", "target")


def one_slo(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    with app.part(Turns).semaphore:
        today = app.slos.current()
        slo = next((slo for slo in today.slos if slo.id == path["id"]), None)
        if slo is None:
            ids = ", ".join(slo.id for slo in today.slos) or "none"
            raise Problem(404, "unknown_slo", f"there is no SLO of this id; there are: {ids}")
        days, proposal = _asked(request.args.to_dict(flat=False), slo, app.slos.registry)
        configs = [replace(today, slos=(slo,)), replace(today, slos=(proposal,))]
        components = load_components(app.settings.config_dir)
        found = backtest(app.store, app.slos.registry, configs, components, days, now)
    (before,), (after,) = found.runs
    return answer(
        {
            "id": slo.id,
            "name": slo.name,
            "configHash": today.hash,
            "configVersion": today.version,
            "from": iso(found.start),
            "to": iso(found.end),
            "changes": {name: request.args[name] for name in CHANGES if name in request.args},
            "today": run_json(before),
            "proposal": run_json(after),
        }
    )


def _asked(args: Mapping[str, Sequence[str]], slo: Slo, registry: Registry) -> tuple[int, Slo]:
    """The days, and the SLO with what is to change. Raises `Problem` with every fault."""
    known = ("days", *CHANGES)
    faults = [(name, f"unknown parameter; there are {', '.join(known)}") for name in args if name not in known]
    faults += [(name, "given more than once") for name in known if len(args.get(name, ())) > 1]
    text = args["days"][0] if args.get("days") else str(USUAL_DAYS)
    days = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
    if not 1 <= days <= MAX_DAYS:
        faults.append(("days", f"must be a whole number from 1 to {MAX_DAYS}"))
    entry = entry_of(slo)
    for name, place in CHANGES.items():
        if name in args:
            within = entry["alert"] if len(place) == 2 else entry
            within[place[-1]] = _value(name, args[name][0])
    proposal: SloConfig | None = None
    try:
        proposal = parse_slos({"slos": [entry]}, registry, source="proposal", digest="")
    except ConfigError as error:
        faults += [_as_parameter(fault) for fault in error.faults]
    if faults or proposal is None:
        errors = [{"path": name, "message": message} for name, message in faults]
        raise Problem(400, "invalid_query", "the parameters cannot be right; `errors` names each", errors=errors)
    return days, proposal.slos[0]


def _value(name: str, text: str) -> Decimal | bool | str:
    """A number exactly as it was written; what is none is told by whoever checks it."""
    if name == "burn_rates":
        return {"true": True, "false": False}.get(text, text)
    if name not in _NUMBERS:
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return number if number.is_finite() else text


def _as_parameter(fault: str) -> tuple[str, str]:
    """Where a fault of the SLO stands among the parameters."""
    path, _, message = fault.partition(": ")
    place = tuple(path.removeprefix("slos[0].").split("."))
    return next((name for name, known in CHANGES.items() if known == place), ".".join(place)), message


def entry_of(slo: Slo) -> dict[str, Any]:
    """An SLO as `slos` of the configuration would have it."""
    policy = slo.alert.model_dump(by_alias=True)
    for name in ("window", "for", "keep_firing_for"):
        policy[name] = _duration(policy[name])
    if policy["min_failures"] == _usual_min_failures(slo):  # so that it follows where burn rates change
        del policy["min_failures"]
    return {
        "name": slo.name,
        "id": slo.id,
        "target": slo.target,
        "window": slo.window.model_dump() if isinstance(slo.window, CalendarWindow) else _duration(slo.window),
        "metric": slo.metric if slo.quantile is None else f"{slo.metric}_p{slo.quantile}",
        "labels": dict(slo.labels),
        "under": slo.under,
        "threshold": slo.threshold,
        "alert": policy,
    }


def _usual_min_failures(slo: Slo) -> int:
    said = {"severity": "high", "channels": ["slack"], "burn_rates": slo.alert.burn_rates}
    return AlertPolicy.model_validate(said).min_failures


def _duration(seconds: int) -> str:
    size, unit = next((s, u) for s, u in ((86_400, "d"), (3600, "h"), (60, "m")) if seconds % s == 0)
    return f"{seconds // size}{unit}"

"""The SLOs as admins read them: all in short, or one with its days and its worst contributors.

Counts are exact integers. Floats stand beside them to be shown, and whoever needs a share exactly makes it of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.ops_api import exclusions
from functions.ops_api.metrics import Turns
from shared.api.http import Problem, answer
from shared.components import load_components
from shared.domain.budget import Rate
from shared.domain.building import BLOCK_MS
from shared.domain.definition import Counts
from shared.domain.exclusion import merged
from shared.domain.query_range import DAY, HOUR, aligned, iso, step_blocks
from shared.domain.slo import SloConfig
from shared.metrics.query import read_stored
from shared.slo.contributors import read_contributors
from shared.slo.report import Readings, SloReader, SloReading
from shared.store.protocol import Doc

if TYPE_CHECKING:
    from shared.bootstrap import App

USUAL_OVER = "1d"
MOST_OVER = 30 * DAY  # at most 1,600 documents, where no day has one of its own: the reader allows more
_LARGEST = Fraction(10**300)
_WORST_FIRST = ("firing", "pending", "resolved", "ok")


def all_slos(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    with app.part(Turns).semaphore:
        config = app.slos.current()
        found = app.part(SloReader).read(config, config.slos, load_components(app.settings.config_dir), now)
    return answer({**_head(found, config), "slos": [_slo(reading) for reading in found.slos]})


def one_slo(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    with app.part(Turns).semaphore:
        config = app.slos.current()
        slos = [slo for slo in config.slos if slo.id == path["id"]]
        if not slos:
            ids = ", ".join(slo.id for slo in config.slos) or "none"
            raise Problem(404, "unknown_slo", f"there is no SLO of this id; there are: {ids}")
        blocks = _over(request)
        found = app.part(SloReader).read(config, slos, load_components(app.settings.config_dir), now)
        (reading,) = found.slos
        worst = _worst(app, reading, blocks, now)
    excluded = {
        "minutes": reading.excluded_seconds // 60,
        "list": [exclusions.shown(one) for one in reversed(reading.exclusions)],
    }
    told = {"excluded": excluded, "history": _history(reading), "worst": worst}
    return answer({**_head(found, config), **_slo(reading), **told})


def _over(request: Request) -> int:
    """5-minute blocks of `over`: how far back the worst contributors are looked for."""
    given = request.args.getlist("over") or [USUAL_OVER]
    faults = [{"path": name, "message": "unknown parameter; there is over"} for name in request.args if name != "over"]
    blocks = 0
    try:
        blocks = step_blocks(given[0])
        if len(given) > 1:
            raise ValueError("given more than once")
        if not HOUR <= blocks <= MOST_OVER:
            raise ValueError("must be from 1h to 30d")
    except ValueError as error:
        faults.append({"path": "over", "message": str(error)})
    if faults:
        raise Problem(400, "invalid_query", "the parameters cannot be right; `errors` names each", errors=faults)
    return blocks


def _head(found: Readings, config: SloConfig) -> dict[str, Any]:
    facts_at = found.facts_at and _iso(found.facts_at)
    return {"factsAt": facts_at, "configHash": config.hash, "configVersion": config.version}


def _slo(reading: SloReading) -> dict[str, Any]:
    slo, counts, budget = reading.slo, reading.counts, reading.budget
    alerts = [_alert(rule, doc) for rule, doc in reading.alerts]
    return {
        "id": slo.id,
        "name": slo.name,
        "metric": slo.metric,
        "labels": dict(slo.labels),
        "kind": slo.kind,
        "under": slo.under_text,
        "unit": slo.unit,
        "component": reading.component,
        "objective": _text(slo.good_percent),
        "target": _text(slo.target),
        "threshold": _text(slo.threshold),
        "window": {
            "seconds": int((reading.end - reading.start).total_seconds()),
            "from": _iso(reading.start),
            "to": _iso(reading.end),
            **({} if isinstance(slo.window, int) else slo.window.model_dump()),
        },
        **_counts(counts),
        "compliance": slo.compliance(counts),
        "everHadData": reading.heard,
        "estimated": counts.estimated,
        "budget": {
            "events": _shown(budget.events),
            "eventsLeft": _shown(budget.events_left),
            "minutes": _shown(budget.seconds / 60),
            "minutesLeft": _shown(None if budget.seconds_left is None else budget.seconds_left / 60),
            "left": _shown(budget.left),
        },
        "burnRates": [{"window": b.window, "rate": _rate(b.rate), **_good(b.counts)} for b in reading.burns],
        "forecast": {
            "exhaustedAt": reading.exhausted_at and _iso(reading.exhausted_at),
            "reason": reading.why,
            "window": reading.forecast_by,
        },
        "alert": min(alerts, key=lambda alert: _WORST_FIRST.index(alert["state"])),
        "alerts": alerts,
        "backfilling": reading.backfilling,
    }


def _history(reading: SloReading) -> list[dict[str, Any]]:
    return [{"day": day.name, **_counts(day.counts), "budgetSpent": _shown(day.spent)} for day in reading.days()]


def _worst(app: App, reading: SloReading, blocks: int, now: datetime) -> dict[str, Any]:
    """The values with the most bad events, by label, over the time that ends with what is complete."""
    stored = read_stored(app.store, now)
    end_ms = int(reading.end.timestamp()) * 1000
    first, end = aligned(end_ms - blocks * BLOCK_MS, end_ms, stored, running=False)
    excluded = merged(one.span for one in reading.all_exclusions)
    found = read_contributors(app.store, reading.slo, app.slos.registry, stored, first, end, excluded)
    return {
        "from": iso(first),
        "to": iso(end),
        **_good(found.whole),
        "labels": {
            name: [
                {
                    "value": one.value,
                    "bad": one.counts.bad,
                    "total": one.counts.total,
                    "shareOfBad": _shown(Fraction(one.counts.bad, found.whole.bad)),
                    "sli": _sli(one.counts),
                }
                for one in worst
            ]
            for name, worst in found.labels.items()
        },
    }


def _counts(counts: Counts) -> dict[str, Any]:
    return {"sli": _sli(counts), **_good(counts)}


def _good(counts: Counts) -> dict[str, int]:
    return {"good": counts.good, "total": counts.total}


def _sli(counts: Counts) -> float | None:
    return counts.good / counts.total if counts.total else None


def _alert(rule: str, doc: Doc | None) -> dict[str, Any]:
    if doc is None:
        return {"rule": rule, "state": "ok", "since": None, "reason": None}
    return {"rule": rule, "state": doc.data["state"], "since": _iso(doc.data["since"]), "reason": doc.data["reason"]}


def _rate(rate: Rate | None) -> float | str | None:
    return rate if isinstance(rate, str) else _shown(rate)


def _shown(value: Fraction | None) -> float | None:
    """As a float, which JSON has; an objective of very many digits could go beyond it."""
    return None if value is None else float(max(-_LARGEST, min(_LARGEST, value)))


def _text(number: Decimal) -> str:
    """Every digit, without zeros at the end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

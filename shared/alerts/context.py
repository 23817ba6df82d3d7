"""What else an alert tells when it fires: how fast it burns, what the bad events have in common, what came in force.

It costs reads only when an alert fires: of the blocks of its window those that the fold has not at hand, an hour's at
most, and one for the configuration's version. What cannot be read is left out; no alert waits for it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

from shared import log
from shared.domain.alert import Rule
from shared.domain.budget import burn_rate
from shared.domain.metric import Registry
from shared.domain.slo import Slo, SloConfig
from shared.slo.contributors import Contributors, contributors_of
from shared.slo.evaluation import Evaluation, Evaluator
from shared.store.protocol import Data, Doc, Store, StoreError

CONTEXT = ("worst", "config")  # as they were when it fired
SHORTLY = timedelta(hours=2)
LEAST_BAD = 3  # events: fewer have anything in common by chance


def context_of(
    store: Store,
    config: SloConfig,
    registry: Registry,
    evaluator: Evaluator,
    evaluation: Evaluation,
    rule: Rule,
    at: datetime,
    seconds: int,
    now: datetime,
    alert: Doc | None,
    *,
    fires: bool,
) -> Data:
    """`budget`, `worst` and `config` of the facts, for the `seconds` until `at`; null where not known."""
    slo = evaluation.slo
    rate = burn_rate(evaluator.counts(slo, seconds, at), slo.good_share)
    left = slo.budget_left(evaluation.window)
    budget = {
        "periodSeconds": slo.period,
        "rate": float(rate) if isinstance(rate, Fraction) else None,
        "left": None if left is None else float(left),
    }
    if not fires:
        before = alert.data if alert and alert.data["state"] == "firing" else {}
        return {"budget": budget, **{name: before.get(name) for name in CONTEXT}}
    known: Data = {"budget": budget, "worst": None, "config": None}
    try:
        known["worst"] = standing_out(contributors_of(evaluator.rollups(at, seconds), slo, registry), slo, registry)
        known["config"] = _config_before(store, config.version, now)
    except StoreError as error:
        log.warning("what an alert tells besides could not be read", alert=rule.alert_id, kind=type(error).__name__)
    return known


def standing_out(found: Contributors, slo: Slo, registry: Registry) -> Data | None:
    """The label's value that most of the bad events have and most of the others have not, if there is one.

    It has half of the bad ones at least, and fails twice as often as everything else. A label that says of itself what
    is bad (a status), or that all of the SLO's events have, explains nothing.
    """
    source = registry.metrics[slo.metric].derived_from
    idle = {*(name for name, _ in slo.labels), *([source.label] if source else [])}
    whole, best, most = found.whole, None, Fraction(0)
    for label, values in found.labels.items():
        for one in values if label not in idle else ():
            bad, total = one.counts.bad, one.counts.total
            others, others_bad = whole.total - total, whole.bad - bad
            if one.value is None or not one.value or bad < LEAST_BAD or 2 * bad < whole.bad or others <= 0:
                continue
            lift = Fraction(bad, whole.bad) - Fraction(total, whole.total)
            if bad * others >= 2 * others_bad * total and lift > most:
                most = lift
                best = {"label": label, "value": one.value, "bad": bad, "total": total}
    return {**best, "allBad": whole.bad, "allTotal": whole.total} if best else None


def _config_before(store: Store, version: int | None, now: datetime) -> Data | None:
    """The version in force, if it came so shortly before that it may be why."""
    if version is None:
        return None
    doc = store.get(f"config/slo/versions/{version}")
    at = doc.data.get("uploadedAt") if doc else None
    return {"version": version, "at": at} if isinstance(at, datetime) and now - SHORTLY <= at <= now else None

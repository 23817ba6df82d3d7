"""What a run writes down of each SLO: the entries of its document that reports and lists read."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.alert import Step
from shared.slo.evaluation import Evaluation
from shared.store.protocol import Data, Doc

_UNKNOWN: Data = {
    "value": None, "compliance": "no_data", "good": 0, "total": 0, "alertTotal": 0, "recent": "no_data",
    "budgetLeft": None,
}  # fmt: skip


def entry_of(evaluation: Evaluation, taken: Step) -> Data:
    """`taken`: the step of the SLO's own alert."""
    slo, counts = evaluation.slo, evaluation.window
    left = slo.budget_left(counts)
    return {
        "id": slo.id,
        "name": slo.name,
        "metric": slo.metric,
        "kind": slo.kind,
        "labels": dict(slo.labels),
        "component": evaluation.component,
        "objective": str(slo.target),
        "unit": slo.unit,
        "value": evaluation.value,
        "compliance": slo.compliance(counts),
        "good": counts.good,
        "total": counts.total,
        "estimated": counts.estimated or evaluation.facts.counts.estimated,
        "windowSeconds": round(evaluation.window_length.total_seconds()),
        "excludedSeconds": evaluation.excluded_seconds,
        "alertTotal": evaluation.facts.counts.total,
        "heard": slo.trigger.hash if evaluation.facts.heard else None,
        "recent": evaluation.recent,
        "budgetLeft": None if left is None else float(left),
        "alertState": taken.state,
        "reason": taken.reason,
    }


def as_last_known(entries: Sequence[Data], run: Doc | None) -> list[Data]:
    """The entries with the figures of the last run that had all facts: a part of them may look like an outage."""
    before = {slo["id"]: slo for slo in (run.data["slos"] if run else ())}
    return [
        {**before.get(entry["id"], entry | _UNKNOWN), "alertState": entry["alertState"], "reason": entry["reason"]}
        for entry in entries
    ]

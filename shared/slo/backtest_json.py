"""A backtest as JSON, for the API and the script alike. Times are texts, lengths are seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.slo.backtest import RuleRun, SloRun

LISTED = 100  # firings of a rule, the latest


def run_json(run: SloRun) -> dict[str, Any]:
    return {
        "countedAnew": run.counted_anew,
        "pagesPerWeek": run.pages_a_week,
        "rules": [_rule(rule) for rule in run.rules],
    }


def _rule(run: RuleRun) -> dict[str, Any]:
    listed = run.firings[-LISTED:]
    return {
        "rule": run.rule.name,
        "severity": run.rule.severity,
        "from": iso(run.start),
        "fired": len(run.firings),
        "longestSeconds": int(run.longest.total_seconds()),
        "totalSeconds": int(run.total.total_seconds()),
        "pagesPerWeek": run.pages_a_week,
        "first": iso(run.firings[0].fired) if run.firings else None,
        "last": iso(run.firings[-1].fired) if run.firings else None,
        "firings": [{"from": iso(f.fired), "to": f.cleared and iso(f.cleared)} for f in listed],
    }


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

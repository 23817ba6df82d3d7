"""`make bench`: every figure with its limit, each ratio against a baseline measured in the same run.

.venv/bin/python -m bench [ingest] [otlp] [fold] [evaluate] [serve] [cold] [record] [cost] [slo] [backtest] [status]
                          [probes] [usage] [delivery]
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

from bench import backtest, cold, cost, delivery, fold, ingest, otlp, probes, record, serving, slo, status, usage

PARTS: dict[str, tuple[Callable[[], None], ...]] = {
    "ingest": (ingest.cpu, ingest.compact_form, ingest.billed_writes),
    "otlp": (otlp.cpu,),
    "fold": (fold.folds,),
    "delivery": (delivery.billed, delivery.storm, delivery.receipt, delivery.failing),
    "evaluate": (fold.evaluations,),
    "serve": (serving.ingest, status.healthz),
    "status": (status.healthz, status.page, status.first_view, status.reads),
    "cold": (cold.cold,),
    "record": (record.record,),
    "backtest": (backtest.replays,),
    "probes": (probes.operations, probes.hung),
    "cost": (cost.cost, cost.heartbeats, cost.quantiles),
    "usage": (usage.operations, usage.hot_user, usage.added_latency, usage.imports),
    "slo": (slo.minutes, slo.beside_slo_generator),
}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors. ✓ within the limit, ✗ beyond it.")
    for name in names or PARTS:
        for measure in PARTS[name]:
            measure()


if __name__ == "__main__":
    main(sys.argv[1:])

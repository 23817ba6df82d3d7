"""alertRules: every 5 minutes, fold what came in, judge the SLOs, alert, publish the status, deliver."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from flask import Request, Response

from shared import log
from shared.alerts.alerting import run_alert_rules
from shared.alerts.watchdog import ping, watch
from shared.api.auth import require_scheduler
from shared.api.http import answer, require_method
from shared.components import load_components
from shared.delivery.deliver import deliver_due
from shared.domain.series import SeriesTable
from shared.metrics.store_latency import latency_batch
from shared.status.publish import publish_status
from shared.store.protocol import StoreError

if TYPE_CHECKING:
    from shared.bootstrap import App

# Of the 240 s that the function has: no new page is folded after these, and the notifier takes over what is left.
FOLD_SECONDS = 120.0
DELIVERY_SECONDS = 40.0


def handle(request: Request, app: App) -> Response:
    """POST from Cloud Scheduler. 200 with what the run saw and did."""
    now = app.clock()
    started = app.monotonic()
    require_method(request, "POST")
    require_scheduler(request, app.settings, "alertRules", now)
    result = run_alert_rules(app, now, lambda: app.monotonic() - started < FOLD_SECONDS)
    seq = publish_status(app.store, load_components(app.settings.config_dir), app.flags, now)
    watch(app, "alertRules", now)
    delivered = deliver_due(app, now, budget_seconds=DELIVERY_SECONDS)
    _keep_latency(app, now)
    if result.folded.complete and not result.overtaken:
        ping(app)
    return answer(
        {
            "factsAt": result.facts_at.isoformat(),
            "foldComplete": result.folded.complete,
            "segments": result.folded.segments,
            "batches": result.folded.batches,
            "fired": result.fired,
            "cleared": result.cleared,
            "toldAgain": result.told_again,
            "overtaken": result.overtaken,
            "statusSeq": seq,
            "delivered": asdict(delivered),
        }
    )


def _keep_latency(app: App, now: datetime) -> None:
    """Append how long the store took in this run; the next one folds it."""
    if not app.flags.on("ops.metrics_collection"):
        return
    bounds = app.slos.current().bounds(app.slos.registry)
    batch = latency_batch(app.store, SeriesTable(app.slos.registry, bounds, json.loads), now)
    if batch is None:
        return
    try:
        app.group_commit.write([batch], now.strftime("%Y-%m-%d"))
    except StoreError as error:
        log.warning("how long the store took could not be kept", kind=type(error).__name__)

"""healthProbe: every minute, ask the components whether they answer, twice, and publish what came of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from flask import Request, Response

from shared.api.auth import require_scheduler
from shared.api.http import answer, require_method
from shared.probes.run import run_health_probe

if TYPE_CHECKING:
    from shared.bootstrap import App


def handle(request: Request, app: App) -> Response:
    """POST from Cloud Scheduler. 200 {rounds, asked, failed, states, overtaken, seq}."""
    now = app.clock()
    require_method(request, "POST")
    require_scheduler(request, app.settings, "healthProbe", now)
    return answer(asdict(run_health_probe(app, now)))

"""costRollup: books what waits, gives back forgotten reservations, sums up costs, and alerts on spending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Request, Response

from shared.api.auth import require_scheduler
from shared.api.http import answer, require_method
from shared.usage.cost_rollup import run

if TYPE_CHECKING:
    from shared.bootstrap import App

BUDGET_SECONDS = 200.0  # of the 300 that the function has


def handle(request: Request, app: App) -> Response:
    """POST from Cloud Scheduler. 200 with what was done; what is left is for the next run."""
    now = app.clock()
    until = app.monotonic() + BUDGET_SECONDS
    require_method(request, "POST")
    require_scheduler(request, app.settings, "costRollup", now)
    return answer(run(app, now, lambda: app.monotonic() < until))

"""notifier: every minute, send what is due in the outbox; move maintenances on; remind of post-mortems."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from flask import Request, Response

from shared.auth import require_scheduler
from shared.delivery import deliver_due
from shared.http import answer, require_method
from shared.maintenances import advance
from shared.postmortems import remind
from shared.published import published

if TYPE_CHECKING:
    from shared.bootstrap import App

# Of the 55 s that the function has, the last item begun may need 10 s to be sent and 10 s for its commits.
BUDGET_SECONDS = 32.0


def handle(request: Request, app: App) -> Response:
    """POST from Cloud Scheduler. 200 {delivered, retried, dead, withheld, cancelled, stopped}."""
    now = app.clock()
    require_method(request, "POST")
    require_scheduler(request, app.settings, "notifier", now)
    if advance(app.store, now):
        published(app, now)
    remind(app.store, now)
    return answer(asdict(deliver_due(app, now, budget_seconds=BUDGET_SECONDS, patient=True)))

"""notifier: every minute, look after what goes on firing and send what is due in the outbox.

It moves maintenances on and reminds of post-mortems, too.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from flask import Request, Response

from shared import log
from shared.alerts.follow_up import follow_up
from shared.alerts.watchdog import finished, watch
from shared.api.auth import require_scheduler
from shared.api.http import answer, require_method
from shared.delivery.dead_letters import tell_of_dead_letters
from shared.delivery.deliver import deliver_due
from shared.domain.faults import ConfigError
from shared.flags import FlagsUnknown
from shared.incidents.maintenances import advance
from shared.incidents.postmortems import remind
from shared.status.published import published
from shared.store.protocol import StoreError

if TYPE_CHECKING:
    from shared.bootstrap import App

# Of the 55 s that the function has, the last item begun may need 10 s to be sent and 10 s for its commits.
BUDGET_SECONDS = 32.0


def handle(request: Request, app: App) -> Response:
    """POST from Cloud Scheduler. 200 {delivered, retried, dead, withheld, cancelled, stopped}."""
    now = app.clock()
    require_method(request, "POST")
    require_scheduler(request, app.settings, "notifier", now)
    try:
        if advance(app.store, now):
            published(app, now)
        remind(app.store, now)
        _look_after(app, now)
    finally:  # a fault in these must not keep messages back
        delivered = deliver_due(app, now, budget_seconds=BUDGET_SECONDS, patient=True)
    finished(app, "notifier", now)
    return answer(asdict(delivered))


def _look_after(app: App, now: datetime) -> None:
    """What goes on firing, what died, and who stopped. What is announced here is sent in the same run."""
    try:
        followed = follow_up(app, now)
        tell_of_dead_letters(app, now)
        watch(app, "notifier", now)
        if followed:  # an incident may be open again
            published(app, now)
    except (
        StoreError,
        FlagsUnknown,
        ConfigError,
    ) as error:  # what is due must not wait for that
        log.warning("alerts could not be looked after", kind=type(error).__name__)

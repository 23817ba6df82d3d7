"""That a user has used much of a quota, or all of it, as a notification of the admins' inbox."""

from __future__ import annotations

from datetime import datetime

from shared.domain.cost import plain
from shared.domain.notification import RETENTION
from shared.domain.quota import Warning
from shared.notify.inapp import COLLECTION
from shared.store.protocol import Data, Put, Write


def quota_warning(key: str, warning: Warning, now: datetime) -> Write:
    """The message that a user has used much of a limit, or all of it. The same one comes twice as one document.

    `key` stands for the user, see `user_key`; `GET /api/usage?key=` tells an admin whose it is.
    """
    standing = warning.standing
    unit = " USD" if standing.name == "cost" else f" {standing.name}"
    what = f"{plain(standing.used)} of {plain(standing.limit)}{unit} of the {standing.of} {standing.period} are used"
    what += f" and {plain(standing.held)} held for calls under way" if standing.held else ""
    until = standing.resets.strftime("%Y-%m-%d %H:%M UTC")
    refused = "calls that can use more than what is left are" if standing.left else "further calls are"
    then = f"{refused} refused until {until}" if warning.blocks else f"it resets at {until}"
    id_ = f"quota-{key}-{standing.period}-{standing.name}-{warning.percent}"
    data: Data = {
        "notificationId": id_,
        "alertId": None,
        "kind": "quota",
        "severity": "high" if warning.blocks else "warning",
        "component": "Costs",
        "incidentId": None,
        "title": f"Usage warning: {warning.percent}% of quota",
        "message": f"{key}: {what}; {then}.",
        "user": key,
        "limit": standing.id,
        "links": [],
        "createdAt": now,
        "arrivedAt": now,
        "expireAt": now + RETENTION,
    }
    return Put(f"{COLLECTION}/{id_}", data)

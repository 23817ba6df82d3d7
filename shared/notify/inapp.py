"""In-app: the admins' notification centre, `admin_notifications/{notificationId}`, which `shared.delivery.inbox` reads.

A create is the whole sending: a second copy finds the first one there, and is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.notification import RETENTION, Outcome
from shared.notify.brief import brief
from shared.notify.links import Links
from shared.store.protocol import Conflict, Create, Data, InvalidWrite, Store, StoreError

COLLECTION = "admin_notifications"
_TITLE, _TEXT = 300, 4000  # characters


class InAppSender:
    """Always configured. `clock` gives the time of arrival, in whose order people read."""

    def __init__(self, store: Store, links: Links, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._links = links
        self._clock = clock

    @property
    def configured(self) -> bool:
        return True

    @property
    def groups(self) -> bool:
        return False

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        path = f"{COLLECTION}/{notifications[0]['notificationId']}"
        try:
            self._store.commit([Create(path, document(notifications[0], self._links, self._clock()))])
        except Conflict:
            return Outcome("delivered", "ok")  # it is there already
        except InvalidWrite:
            return Outcome("dead", "not_storable")
        except StoreError:
            return Outcome("unknown", "store_unavailable")
        return Outcome("delivered", "ok")


def document(notification: Mapping[str, Any], links: Links, now: datetime) -> Data:
    told, facts = brief(notification, links), notification["facts"]
    parts = (told.what, told.budget, *told.changed, told.first)
    return {
        "notificationId": notification["notificationId"],
        "alertId": notification["alertId"],
        "kind": notification["kind"],
        "severity": str(facts["severity"]),
        "component": facts["component"] and str(facts["component"]),
        "incidentId": facts.get("incidentId"),
        "title": told.title[:_TITLE],
        "message": " ".join(part for part in parts if part)[:_TEXT],
        "links": [{"label": link.label, "url": link.url} for link in told.links],
        "createdAt": notification["createdAt"],
        "arrivedAt": now,
        "expireAt": now + RETENTION,
    }

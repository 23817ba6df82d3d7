"""A dead letter sent again: the same document becomes due once more, so its id and its place in the lane are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared import log
from shared.domain import notification as outbox
from shared.store.protocol import Conflict, Data, Doc, Put, Query, Store, Unavailable, new_rev

COLLECTION = "notifications"
LATER = 100  # notifications of a lane that are looked at
_TRIES = 20


class Unknown(Exception):
    """There is no such notification."""


class Overtaken(Exception):
    """It would tell of the past: something later was told, or the alert has cleared."""


@dataclass
class NotDead(Exception):
    state: str


def resend(store: Store, notification_id: str, by: str, now: datetime, key: str | None = None) -> tuple[Data, bool]:
    """The notification, pending again; True if an earlier request with the same `key` had it sent again: then it is as
    it has become since. Raises `Unknown`, `NotDead`, `Overtaken`, `StoreError`.

    Whatever waits behind it in the lane is written in the same commit, unchanged: if somebody has begun to send that,
    nothing is done, and so nothing goes out in the wrong order.
    """
    path = f"{COLLECTION}/{notification_id}"
    for _ in range(_TRIES):
        doc = store.get(path)
        if doc is None:
            raise Unknown
        if key is not None and any(entry.get("key") == key for entry in doc.data.get("resends") or ()):
            return doc.data, True
        if doc.data["state"] != "dead":
            raise NotDead(doc.data["state"])
        later = _later(store, doc)
        if any(outbox.overtakes(other.data) for other in later):
            raise Overtaken
        rev = new_rev()
        again = {**outbox.resend(doc.data, by, now, key), "rev": rev}
        waiting = [Put(o.path, {**o.data, "rev": new_rev()}, o.version) for o in later if o.data["open"]]
        try:
            store.commit([Put(doc.path, again, doc.version), *waiting])
        except Conflict:
            continue
        except Unavailable:
            found = store.get(path)
            if found is None or found.data.get("rev") != rev:
                raise
        log.info("a dead letter is sent again", notification=notification_id)
        return again, False
    raise Conflict(f"{path} kept changing")


def _later(store: Store, doc: Doc) -> list[Doc]:
    lane, seq = doc.data["lane"], doc.data["seq"]
    return store.query(Query(COLLECTION, (("lane", "==", lane), ("seq", ">", seq)), (("seq", "asc"),), LATER))

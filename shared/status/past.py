"""The public past: what has left the snapshot, for 90 days, in one document of its own beside it.

It has the snapshot's form and is written in a commit with it, so an incident is always in one of the two.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from shared import log
from shared.domain import snapshot as public_form
from shared.domain.component import Components
from shared.domain.status import PAST
from shared.store.protocol import Data, Delete, Doc, Put, Query, Store, Write, document_size

DOCUMENT = "status/past"
BUDGET_BYTES = 800_000
EVERY = timedelta(minutes=10)  # so that a change is found of which no publication was told
_MOST = 400  # incidents, and as many maintenances


def due(before: Doc | None, snapshot: Data, now: datetime) -> bool:
    """Whether it is to be made anew, as far as the last snapshot and the one that comes after it tell."""
    known = before.data.get("past") if before else None
    if before is None or known is None or not timedelta(0) <= now - known["readAt"] < EVERY:
        return True
    return not _ids(before.data) <= _ids(snapshot)


def renewed(
    store: Store, before: Doc | None, snapshot: Data, slo_names: frozenset[str], components: Components, now: datetime
) -> tuple[Data, list[Write]]:
    """What the snapshot says of it, and the write that makes it so, if it is another one than before."""
    found = public_form.past(
        [{**doc.data, "id": doc.id} for doc in store.query(_since("incidents", "startedAt", now))],
        [{**doc.data, "id": doc.id} for doc in store.query(_since("maintenances", "scheduledFor", now))],
        slo_names,
        components,
    )
    here = _ids(snapshot)
    found = {kind: [event for event in events if event["id"] not in here] for kind, events in found.items()}
    fitted = public_form.fit_past(found, lambda data: document_size(DOCUMENT, data), BUDGET_BYTES)
    left_out = _count(found) - _count(fitted)
    if left_out:
        log.warning("the public past is full and left out the oldest", left_out=left_out)
    digest = hashlib.sha256(repr(fitted).encode()).hexdigest()[:20]
    was = (before.data.get("past") or {}).get("hash") if before else None
    is_known = digest == was or (was is None and not _count(fitted))
    return {"hash": digest, "readAt": now}, [] if is_known else [Put(DOCUMENT, {**fitted, "hash": digest})]


def blanked(before: Doc | None) -> list[Write]:
    """While the page is switched off there is none."""
    return [Delete(DOCUMENT)] if before is not None and "past" in before.data else []


def _since(collection: str, field: str, now: datetime) -> Query:
    return Query(
        collection, (("publicVisible", "==", True), (field, ">=", now - PAST)), ((field, "desc"),), limit=_MOST
    )


def _ids(data: Data) -> set[str]:
    return {event["id"] for kind in ("incidents", "maintenances") for event in data.get(kind) or ()}


def _count(data: Data) -> int:
    return len(data["incidents"]) + len(data["maintenances"])

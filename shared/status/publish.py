"""Publishes the public view: one snapshot document, from which page and healthz are served."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from shared import log
from shared.domain import history
from shared.domain import snapshot as public_form
from shared.domain.component import Components
from shared.domain.incident import OPEN
from shared.domain.status import IN_FORCE, View, derive
from shared.flags import DOCUMENT as FLAGS
from shared.flags import Flags
from shared.status import past
from shared.store.protocol import (
    Conflict,
    Data,
    Delete,
    Doc,
    Put,
    Query,
    Store,
    Unavailable,
    Write,
    document_size,
    new_rev,
    over,
)

SNAPSHOT = "status/public"
ITEMS = "status/components/items"
HISTORY = "status/history"
RUN = "runs/alertRules"
PROBED = "runs/healthProbe"
UPDATES = "status/incidents/items"
MAX_UPDATES_BYTES = 800_000  # of such a document; its oldest updates go first
MAX_UPDATES_AT_ONCE = 900_000  # bytes of them in a publication; the others come with the next one
_HASHES = 5_000  # bytes that `updatesHash` of 100 incidents takes
ITEMS_EVERY = timedelta(minutes=5)  # their times and figures; a state at once
INCIDENTS = Query("incidents", (("publicVisible", "==", True),), (("startedAt", "desc"),), limit=50)
MAINTENANCES = Query("maintenances", (("publicVisible", "==", True),), (("scheduledFor", "desc"),), limit=50)
# What must not be missed because 50 others are newer.
ONGOING = Query("incidents", (("status", "in", OPEN),), (("startedAt", "desc"),), limit=50)
UNDER_WAY = Query("maintenances", (("status", "in", IN_FORCE),), limit=50)


def publish_status(
    store: Store,
    components: Components,
    flags: Flags,
    now: datetime,
    *,
    changed: bool = False,
    attempts: int = 30,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Put the view of `now` in the snapshot's place, with the component documents that changed. Returns its `seq`.

    `changed`: incidents or maintenances may have, also such as are shown no more: then the public past is made anew.
    Raises `Unavailable` if the store does not answer and `Conflict` once `attempts` are used up; the last view stays.
    """
    lost: str | None = None  # the rev of a commit whose reply did not come
    for attempt in range(attempts):
        # 1. The snapshot's version, before any source: a commit below then proves that no later view is overwritten.
        before = store.get(SNAPSHOT)
        if before is not None and lost is not None and before.data["rev"] == lost:
            return int(before.data["seq"])
        published = before.data["publishedAt"] if before else None
        at = published if published and timedelta(0) < published - now <= history.HELD else now  # a run that comes late
        # 2. The sources.
        found = _load(store, components, flags, published, at)
        # 3. All in one commit, only if the snapshot is still the one of step 1. Whoever writes the history writes the
        #    snapshot too, so that is the history's guard as well.
        seq = int(before.data["seq"]) + 1 if before else 1
        frame = {"rev": new_rev(), "seq": seq, "publishedAt": at}
        whole = {**frame, **(found.full if found.enabled else public_form.blank(components))}
        snapshot, updates = _updates(before, whole, _fitted(whole))
        items = _items(before, found.full["components"], at)
        bygone: list[Write] = [] if found.enabled else past.blanked(before)
        if found.enabled and (changed or past.due(before, snapshot, at)):
            snapshot["past"], bygone = past.renewed(store, before, snapshot, found.slo_names, components, at)
        elif found.enabled and before is not None:
            snapshot["past"] = before.data["past"]
        try:
            store.commit([over(before, SNAPSHOT, snapshot), *items, *found.history, *updates, *bygone])
            return seq
        except Conflict:
            pause(random.uniform(0, min(0.25, 0.005 * 2**attempt)))
        except Unavailable:
            if lost is not None:
                raise
            lost = snapshot["rev"]
    raise Conflict(f"{SNAPSHOT} kept changing: {attempts} attempts")


class Sources(NamedTuple):
    """`view` is what they make of the components; `records` is their history as it is stored."""

    view: View
    records: dict[str, history.Record]
    switches: Doc | None


def read_sources(store: Store, components: Components, now: datetime) -> Sources:
    """All that the view of `now` is derived from, and the view."""
    run, switches, probed, past = store.get_many([RUN, FLAGS, PROBED, HISTORY])
    ids = (run.data.get("openAlerts") or ()) if run else ()
    known = [doc.data for doc in store.get_many([f"alerts/{alert}" for alert in ids]) if doc] if ids else []
    alerts = [alert for alert in known if alert.get("state") == "firing"]
    incidents = _newest(store, INCIDENTS, ONGOING)
    maintenances = _newest(store, MAINTENANCES, UNDER_WAY, _next(now))
    view = derive(
        components,
        run.data if run else None,
        alerts,
        incidents,
        now,
        probed.data if probed else None,
        maintenances,
    )
    return Sources(view, past.data["components"] if past else {}, switches)


def _next(now: datetime) -> Query:
    return Query(
        "maintenances",
        (("publicVisible", "==", True), ("scheduledFor", ">=", now)),
        (("scheduledFor", "asc"),),
        limit=50,
    )


def _newest(store: Store, newest: Query, *also: Query) -> list[Data]:
    """The newest; if there may be more of them than are asked for, with what is found by `also`."""
    docs = store.query(newest)
    if len(docs) == newest.limit:
        docs = [*docs, *(doc for query in also for doc in store.query(query))]
    return [{**doc.data, "id": doc.id} for doc in {doc.path: doc for doc in docs}.values()]


class _Found(NamedTuple):
    full: Data
    enabled: bool
    history: list[Write]
    slo_names: frozenset[str]


def _load(store: Store, components: Components, flags: Flags, published: datetime | None, now: datetime) -> _Found:
    """The public view, and whether it may be shown. The flag is read here too, since a cached one may be older."""
    view, before, switches = read_sources(store, components, now)
    states = {status.component.id: (status.recorded, status.reason[:500]) for status in view.components}
    records = history.advanced(before, states, published, now)
    full = public_form.public(view, components, records, now)
    changed: list[Write] = [] if records == before else [Put(HISTORY, {"components": records, "rev": new_rev()})]
    return _Found(full, flags.merged(switches)["ops.public_status_page"] is True, changed, view.slo_names)


def _fitted(snapshot: Data) -> Data:
    budget = public_form.BUDGET_BYTES - _HASHES
    fitted = public_form.fit(snapshot, lambda data: document_size(SNAPSHOT, data), budget)
    left_out = len(snapshot["incidents"]) - len(fitted["incidents"])
    if left_out:
        log.warning("the public snapshot is full and left out incidents", left_out=left_out)
    return fitted


def _updates(before: Doc | None, whole: Data, fitted: Data) -> tuple[Data, list[Write]]:
    """The snapshot, and the documents of incidents that do not have all their updates in it.

    Each has every update of its incident. `updatesHash` in the snapshot says which ones its document holds, so that
    it is written only when they change; it is absent, or that of before, until they fit into a publication.
    """
    was = {i["id"]: i["updatesHash"] for i in (before.data["incidents"] if before else ()) if "updatesHash" in i}
    all_of = {i["id"]: i for i in whole["incidents"]}
    incidents: list[Data] = []
    writes: list[Write] = []
    room = MAX_UPDATES_AT_ONCE
    for incident in fitted["incidents"]:
        name = incident["id"]
        if incident["earlierUpdates"] > all_of[name]["earlierUpdates"]:
            path = f"{UPDATES}/{name}"
            data: Data = {"updates": list(all_of[name]["updates"])}
            while document_size(path, data) > MAX_UPDATES_BYTES:
                data["updates"].pop(0)
            digest = hashlib.sha256(repr(data).encode()).hexdigest()[:20]
            known, size = was.pop(name, None), document_size(path, data)
            if known != digest and size <= room:
                writes.append(Put(path, data))
                known, room = digest, room - size
            if known is not None:
                incident = {**incident, "updatesHash": known}
        incidents.append(incident)
    writes += [Delete(f"{UPDATES}/{name}") for name in was]
    return {**fitted, "incidents": incidents}, writes


def _items(before: Doc | None, components: list[Data], now: datetime) -> list[Write]:
    """The component documents that differ from those of the last snapshot; all of them if that one was blank.

    A probe's time and latency differ every minute: where only such do, they are written when a mark of five minutes has
    passed.
    """
    was = {c["id"]: public_form.item(c) for c in before.data["components"]} if before else {}
    mark = now - timedelta(seconds=now.timestamp() % ITEMS_EVERY.total_seconds())
    passed = before is None or before.data["publishedAt"] < mark
    changed: list[Write] = []
    for component in components:
        item = public_form.item(component)
        known = was.get(component["id"])
        checked = item["lastCheck"]
        late = passed and (item != known or (checked is not None and checked >= mark - ITEMS_EVERY))
        if known is None or item["state"] != known["state"] or late:
            changed.append(Put(f"{ITEMS}/{component['id']}", item))
    ids = {component["id"] for component in components}
    return changed + [Delete(f"{ITEMS}/{name}") for name in was if name not in ids]

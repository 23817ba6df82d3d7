"""Incidents in the store: one document each, its older entries on pages beside it, its audit log, and lists."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared import audited
from shared.alerts.announcing import reopened_by_hand, resolved_by_hand, taken_on
from shared.audited import Edited, Intent
from shared.domain import in_hand, incident_alerts
from shared.domain.incident import OPEN
from shared.domain.postmortem import standing
from shared.domain.timeline import AUTHOR
from shared.store.protocol import Create, Data, Doc, Query, Store, Write, cursor_of, size_of

COLLECTION = "incidents"
MOST_INLINE = 60  # entries in the document itself
KEPT_INLINE = 30  # of them, once it has more
MOST_INLINE_BYTES = 200_000
PAGE = 100
RECENT = 5  # of a cause: an older one may have been opened again by a person
MOST_ONGOING = 20  # that an alert looks through; nobody leads more at once
MOST_READ = 1000  # documents of one list
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def path_of(incident: str) -> str:
    return f"{COLLECTION}/{incident}"


def fitted(path: str, data: Data) -> tuple[Data, list[Write]]:
    """The document with its newest entries, and the page that takes the older ones, once there are too many."""
    updates: list[Data] = data["updates"]
    if len(updates) <= MOST_INLINE and size_of(updates) <= MOST_INLINE_BYTES:
        return data, []
    kept = min(KEPT_INLINE, len(updates) - 1)
    while kept > 1 and size_of(updates[-kept:]) > MOST_INLINE_BYTES // 2:
        kept -= 1
    older, newer = updates[:-kept], updates[-kept:]
    first = int(data.get("earlierUpdates") or 0)
    after = {
        **data,
        "updates": newer,
        "earlierUpdates": first + len(older),
        "earlierPublicUpdates": int(data.get("earlierPublicUpdates") or 0) + sum(map(is_public, older)),
    }
    return after, [Create(f"{path}/updates/{first:08d}", {"first": first, "updates": older})]


def is_public(update: Mapping[str, Any]) -> bool:
    """Entries of earlier releases are."""
    return update.get("public") is not False


def create(store: Store, data: Data, intent: Intent) -> Edited:
    """A new incident under an id of its own. Raises `audited.KeyReused`, `StoreError`."""
    return audited.create(store, path_of(f"{intent.at:%Y%m%d}-{secrets.token_hex(4)}"), data, intent)


def change(store: Store, path: str, decide: Callable[[Data], Data | None], intent: Intent) -> Edited:
    """What a person does to an incident: as `audited.change`, with older entries moved to pages.

    Who is the first to touch it has it in hand: in the same commit every alert of it that fires is acknowledged. Who
    resolves it while they fire has them for a while; then they speak again (`shared/domain/follow_up.py`).
    """
    taker: Data | None = None
    moves: tuple[bool, bool] = (False, False)  # whether it was resolved, and is

    def deciding(data: Data) -> Data | None:
        nonlocal taker, moves
        after = decide(data)
        taker = in_hand.taker(data, after, intent.by, intent.at) if after else None
        moves = (data["status"] == "resolved", (after or data)["status"] == "resolved")
        return after if after is None or taker is None else in_hand.taken(after, taker)

    def beside(data: Data) -> tuple[Data, list[Write]]:
        fits, pages = fitted(path, data)
        ends, opens = moves == (False, True), moves == (True, False)
        for alert in firing_alerts(store, path.rpartition("/")[2], data) if taker or ends or opens else []:
            if ends:
                pages += resolved_by_hand(alert, taker, intent.at)
            elif taker and not alert.data.get("acknowledged"):
                pages += taken_on(alert, taker, intent.at)
            elif opens:
                pages += reopened_by_hand(alert, intent.at)
        return fits, pages

    return audited.change(store, path, deciding, intent, more=beside)


def automated(doc: Doc | None, path: str, after: Data, action: str, now: datetime) -> list[Write]:
    """The writes of a change that automation makes, for a commit of its own."""
    data, pages = fitted(path, after)
    return [*pages, *audited.audited(doc, path, data, Intent(action, AUTHOR, now))]


def firing_alerts(store: Store, name: str, incident: Mapping[str, Any]) -> list[Doc]:
    """The alerts of an incident that fire."""
    ids = incident_alerts.firing(incident)
    docs = store.get_many([f"alerts/{alert}" for alert in ids]) if ids else []
    return [doc for doc in docs if doc and doc.data["state"] == "firing" and doc.data.get("incidentId") == name]


def of_cause(store: Store, cause: str) -> list[Doc]:
    """The incidents that a cause opened lately, the latest first."""
    return store.query(Query(COLLECTION, (("cause", "==", cause),), (("startedAt", "desc"),), limit=RECENT))


def ongoing(store: Store) -> list[Doc]:
    """The latest of those that are open."""
    return store.query(Query(COLLECTION, (("status", "in", OPEN),), (("startedAt", "desc"),), limit=MOST_ONGOING))


def timeline(store: Store, path: str, incident: Mapping[str, Any]) -> Iterator[Data]:
    """All entries from the first, those on pages too."""
    if incident.get("earlierUpdates"):
        query = Query(f"{path}/updates", limit=PAGE)
        while True:
            docs = store.query(query)
            for doc in docs:
                yield from doc.data["updates"]
            if len(docs) < PAGE:
                break
            query = Query(f"{path}/updates", limit=PAGE, after=cursor_of(docs[-1], query))
    yield from incident["updates"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list is to hold. `text` is looked for in what people wrote, whatever its case. `postmortem`: how it stands
    at that time; one that is overdue is due, too.
    """

    statuses: Sequence[str] = ()
    impact: str | None = None
    component: str | None = None
    postmortem: tuple[str, datetime] | None = None
    text: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def has(self, incident: Mapping[str, Any]) -> bool:
        """What the query has not seen to already is looked at here."""
        if self.postmortem is not None and not self._is_of_these(incident):
            return False
        if self.impact is not None and incident["impact"] != self.impact:
            return False
        if self.component is not None and self.component not in incident["components"]:
            return False
        if self.postmortem is not None:
            wanted, now = self.postmortem
            found = standing(incident, now)
            if found != wanted and (found, wanted) != ("overdue", "due"):
                return False
        return self.text is None or self.text.casefold() in _written(incident).casefold()

    def _is_of_these(self, incident: Mapping[str, Any]) -> bool:
        """By its status and when it began, for a query that goes by another time."""
        started = incident["startedAt"]
        return (
            (not self.statuses or incident["status"] in self.statuses)
            and (self.start is None or started >= self.start)
            and (self.end is None or started < self.end)
        )

    def query(self, limit: int, after: tuple[Any, ...] | None) -> Query:
        where: list[tuple[str, Any, Any]] = []
        if self.postmortem is not None:
            # Only those that have this time at all. It comes after the incident began, so `start` bounds it, too.
            how, now = self.postmortem
            name = "postmortemAt" if how == "written" else "postmortemDueAt"
            where.append((name, ">=", self.start or _EARLIEST))
            if how == "overdue":
                where.append((name, "<", now))
            return Query(COLLECTION, tuple(where), ((name, "desc"),), limit, after)
        if len(self.statuses) == 1:
            where.append(("status", "==", self.statuses[0]))
        elif self.statuses:
            where.append(("status", "in", tuple(self.statuses)))
        if self.start is not None:
            where.append(("startedAt", ">=", self.start))
        if self.end is not None:
            where.append(("startedAt", "<", self.end))
        return Query(COLLECTION, tuple(where), (("startedAt", "desc"),), limit, after)


def listed(
    store: Store, wanted: Wanted, limit: int, after: tuple[Any, ...] | None = None
) -> tuple[list[Doc], tuple[Any, ...] | None]:
    """Up to `limit` incidents, the latest first, and where the next page begins. Those whose post-mortem is asked for
    are ordered by when it is due, or was written.

    A page may be short of what was asked for, even empty, where many incidents were read that are not wanted: as long
    as there is a place to go on from, there may be more.
    """
    found: list[Doc] = []
    read = 0
    while True:
        query = wanted.query(min(PAGE, limit + 1), after)
        docs = store.query(query)
        for doc in docs:
            read += 1
            after = cursor_of(doc, query)
            if wanted.has(doc.data):
                found.append(doc)
                if len(found) == limit:
                    is_last = doc is docs[-1] and len(docs) < query.limit
                    return found, None if is_last else after
        if len(docs) < query.limit:
            return found, None
        if read >= MOST_READ:
            return found, after


def _written(incident: Mapping[str, Any]) -> str:
    items = [item["title"] for item in incident["actionItems"]]
    return "\n".join(
        [incident["title"], incident.get("rootCause") or "", *items, *(u["message"] for u in incident["updates"])]
    )

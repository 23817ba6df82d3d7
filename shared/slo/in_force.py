"""Which versions of the SLO configuration were in force during a period, by the record that each upload leaves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.slo_loader import VERSIONS
from shared.store.protocol import Query, Store, cursor_of

MOST = 500  # versions that are looked at, the latest first
_PAGE = 50


@dataclass(frozen=True, slots=True)
class InForce:
    """`since`: when it was uploaded, be it before the period."""

    version: int
    hash: str
    since: datetime


def versions_between(store: Store, start: datetime, end: datetime) -> tuple[list[InForce], int]:
    """The earliest first; and how many documents were read. Before the first version the deployed file was in force."""
    found: list[InForce] = []
    reads = 0
    page = Query(VERSIONS, order=(("version", "desc"),), limit=_PAGE)
    while True:
        docs = store.query(page)
        reads += len(docs)
        for doc in docs:
            since: datetime = doc.data["uploadedAt"]
            if since < end:
                found.append(InForce(doc.data["version"], doc.data["hash"], since))
            if since <= start:
                return found[::-1], reads
        if len(docs) < _PAGE or reads >= MOST:
            return found[::-1], reads
        page = Query(VERSIONS, order=page.order, limit=_PAGE, after=cursor_of(docs[-1], page))

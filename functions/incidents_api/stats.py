"""How long incidents took, by month: MTTA, MTTR and the time in each status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.incidents_api.shown import seconds
from shared.api import lists
from shared.api.http import Problem, answer
from shared.domain.incident_stats import Means, life_of, means
from shared.incidents.incidents import COLLECTION
from shared.store.protocol import Query, cursor_of

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST = 5000
PAGE = 200
USUAL = timedelta(days=366)


def months(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """By the month in which they began, the latest first, and in all. The last year unless `from` and `to` say so."""
    asked = lists.Asked(request, ("from", "to"))
    start, end = asked.time("from", now), asked.time("to", now)
    asked.done()
    end = end or now
    start = start or end - USUAL
    by_month: dict[str, list[Any]] = {}
    query = Query(COLLECTION, (("startedAt", ">=", start), ("startedAt", "<", end)), (("startedAt", "desc"),), PAGE)
    read = 0
    while True:
        docs = app.store.query(query)
        for doc in docs:
            by_month.setdefault(f"{doc.data['startedAt'].astimezone(UTC):%Y-%m}", []).append(life_of(doc.data, now))
        read += len(docs)
        if len(docs) < PAGE:
            break
        if read >= MOST:
            detail = f"more would be read than is allowed: at most {MOST:,} incidents; ask for a shorter time"
            raise Problem(422, "query_too_large", detail)
        query = Query(query.collection, query.where, query.order, PAGE, cursor_of(docs[-1], query))
    everything = means([life for lives in by_month.values() for life in lives])
    rows = [{"month": month, **_shown(means(lives))} for month, lives in by_month.items()]
    return answer({"from": _iso(start), "to": _iso(end), "all": _shown(everything), "months": rows})


def _shown(found: Means) -> dict[str, Any]:
    """Means and sums in seconds."""
    return {
        "incidents": found.incidents,
        "acknowledged": found.acknowledged,
        "resolved": found.resolved,
        "mtta": seconds(None if found.mtta is None else float(found.mtta)),
        "mttr": seconds(None if found.mttr is None else float(found.mttr)),
        "inState": {status: seconds(micros) for status, micros in found.in_state.items()},
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

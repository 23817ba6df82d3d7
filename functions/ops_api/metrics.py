"""The metrics as admins read them: a query, the catalog, and what the labels cost."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.ops_api import query_csv
from shared.api.http import Problem, answer, no_store
from shared.domain.metric_query import MAX_DOCUMENTS, QUANTILES, InvalidQuery, MetricQuery, parse_query
from shared.domain.query_cells import Point, labels_of_group
from shared.domain.query_range import Stored, iso, step_text
from shared.metrics.query import Answer, TooManyDocuments, read_stored, run_query
from shared.metrics.report import read_cardinality, read_catalog

if TYPE_CHECKING:
    from shared.bootstrap import App

_AT_ONCE = 2  # the instance has one processor, and each holds some documents in memory


class Turns:
    """How many requests of an instance read metrics at once; the others wait."""

    def __init__(self, app: App) -> None:
        self.semaphore = threading.Semaphore(_AT_ONCE)


def query(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """JSON, or CSV where `Accept` prefers it."""
    registry = app.slos.registry
    with app.part(Turns).semaphore:
        stored = read_stored(app.store, now)
        try:
            asked = parse_query(request.args.to_dict(flat=False), registry, stored, now)
            found = run_query(app.store, asked, registry, stored)
        except InvalidQuery as error:
            errors = [{"path": fault.path, "message": fault.message} for fault in error.faults]
            raise Problem(400, "invalid_query", str(error), errors=errors) from None
        except TooManyDocuments:
            detail = f"more than {MAX_DOCUMENTS:,} documents would be read: ask for a shorter time, or for fewer groups"
            raise Problem(422, "query_too_large", detail) from None
    wanted = request.accept_mimetypes.best_match(["application/json", "text/csv"], "application/json")
    response = query_csv.response(asked, found) if wanted == "text/csv" else answer(body(asked, found, stored))
    response.headers["Vary"] = "Accept"
    return no_store(response)


def body(asked: MetricQuery, found: Answer, stored: Stored) -> dict[str, Any]:
    """The answer as JSON; `reads` has the two documents that say what there is."""
    quantile = asked.agg in QUANTILES
    more = {"folded_groups": found.folded_groups} if found.folded_groups else {}
    return {
        "metric": asked.metric,
        "agg": asked.agg,
        "unit": asked.unit,
        "from": iso(asked.range.first),
        "to": iso(asked.range.end),
        "step": step_text(asked.range.step),
        "level": found.level,
        "complete_until": None if stored.complete_until is None else iso(stored.complete_until),
        "reads": found.reads + 2,
        **more,
        "series": [
            {
                "labels": labels_of_group(group, asked.group_by),
                "points": [_point(p, quantile) for p in found.points[group]],
            }
            for group in sorted(found.points)
        ],
    }


def _point(point: Point, quantile: bool) -> dict[str, Any]:
    plain = {"t": point.t, "value": point.value, "count": point.count, "estimated": point.estimated}
    return {**plain, "low": point.low, "high": point.high} if quantile else plain


def catalog(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    with app.part(Turns).semaphore:
        found = read_catalog(app.store, app.slos.registry, now)
    return answer({"metrics": [asdict(entry) for entry in found.metrics], "reads": found.reads})


def cardinality(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    with app.part(Turns).semaphore:
        found = read_cardinality(app.store, app.slos.registry, now)
    return answer(asdict(found))

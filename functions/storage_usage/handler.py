"""storageUsage: once a day, count what users have in Cloud Storage; locally also the size of the database."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.storage_usage.listing import CloudListing
from shared.api.auth import require_scheduler
from shared.api.http import Problem, answer, require_method
from shared.domain.series import SeriesTable
from shared.metrics.storage_usage import Measured, Totals, load_storage, measure

if TYPE_CHECKING:
    from shared.bootstrap import App

# Of the 540 s that the function has: a page begun at the end of these may take 50 s to come and 20 s to be stored.
BUDGET_SECONDS = 440.0
_SHOWN = ("name", "state", "objects", "bytes", "noUserObjects", "noUserBytes", "fault")


def handle(request: Request, app: App) -> Response:
    """POST from Cloud Scheduler. 200 with what each bucket holds; 503 where it is to be called again to go on."""
    now = app.clock()
    started = app.monotonic()
    require_method(request, "POST")
    require_scheduler(request, app.settings, "storageUsage", now)
    config = load_storage(app.settings.config_dir)
    if not app.flags.on("ops.metrics_collection"):
        return answer({"stored": False, "notice": "metrics collection is switched off: nothing was stored"})
    local = app.settings.store == "sqlite"
    if not config.buckets and not local:
        return answer({"skipped": "config/storage.json names no bucket"})
    registry = app.slos.registry
    totals = Totals(app.group_commit, SeriesTable(registry, app.slos.current().bounds(registry), json.loads))
    result: dict[str, Any] = {"database": _database(app.settings.sqlite_path, totals, now)} if local else {}
    if not config.buckets:
        return answer(result)

    def may_go_on() -> str | None:
        if not app.flags.on("ops.metrics_collection"):
            return "switched_off"
        return None if app.monotonic() - started < BUDGET_SECONDS else "time"

    listing = app.part(listing_of)
    return _answer(result, measure(app.store, totals, config, listing, now, may_go_on))


def listing_of(app: App) -> CloudListing:
    return CloudListing(app.settings.project, app.monotonic)


def _database(path: Path, totals: Totals, now: datetime) -> int:
    """The bytes of the local store, now a metric too."""
    files = [path, path.with_name(path.name + "-wal")]
    size = sum(file.stat().st_size for file in files if file.exists())
    totals.append(f"storageUsage sqlite {now.isoformat()}", {"store": "sqlite"}, size, now, now)
    return size


def _answer(result: dict[str, Any], measured: Measured) -> Response:
    """Called again by Cloud Scheduler only where that helps: not for what a person must put right."""
    if measured.stopped == "time":
        raise Problem(503, "run_unfinished", "the time is over; the next call goes on from here")
    if measured.stopped is not None:
        return answer({**result, "finished": False, "stopped": measured.stopped})
    if not measured.finished:
        errors = [{"path": name, "detail": fault} for name, fault in measured.faults]
        detail = "not every bucket could be listed; the next call goes on where they stopped"
        raise Problem(503, "buckets_unavailable", detail, errors=errors)
    buckets = [{key: bucket[key] for key in _SHOWN} for bucket in measured.run["buckets"]]
    return answer({**result, "finished": True, "day": measured.day, "buckets": buckets})

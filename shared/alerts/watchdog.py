"""notifier watches alertRules and healthProbe, alertRules watches notifier; HEARTBEAT_URL may watch alertRules too."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from shared import log
from shared.alerts.own_alerts import Decided, channels_of_all, own_facts, settle
from shared.domain.alert import Step
from shared.domain.faults import ConfigError
from shared.domain.watchdog import LATE_AFTER, PERIODS, SEVERITIES, WATCHES, Watched
from shared.flags import FlagsUnknown
from shared.outbound import OutboundError
from shared.store.protocol import Doc, Put, StoreError, new_rev

if TYPE_CHECKING:
    from shared.bootstrap import App

RULE = "watchdog"
HEARTBEAT_SECONDS = 5.0


def finished(app: App, function: str, now: datetime) -> None:
    """Note that this run of a function came to its end, for who watches it. Never fails the run."""
    try:
        app.store.commit([Put(f"runs/{function}", {"finishedAt": now, "rev": new_rev()})])
    except StoreError as error:
        log.warning("the end of a run could not be noted", kind=type(error).__name__)


def watch(app: App, by: str, now: datetime) -> list[str]:
    """Look after the functions that `by` watches; `fire` or `clear` of each that changed. Never fails the run."""
    try:
        return _watch(app, by, now)
    except (StoreError, FlagsUnknown, ConfigError) as error:  # the next run looks again
        log.warning("other functions could not be looked after", kind=type(error).__name__)
        return []


def _watch(app: App, by: str, now: datetime) -> list[str]:
    names = WATCHES[by]
    docs = app.store.get_many([path for name in names for path in (f"runs/{name}", f"alerts/watchdog-{name}")])
    changed = []
    for name, run, alert in zip(names, docs[::2], docs[1::2], strict=True):
        watched = Watched(name, _finished_at(run))
        is_firing = alert is not None and alert.data["state"] == "firing"
        if watched.is_late(now) is not is_firing:
            done = settle(app, f"watchdog-{name}", RULE, lambda doc, w=watched: _decide(app, w, doc, now), now)  # type: ignore[misc]
            changed += [f"{done} {name}"] if done else []
    return changed


def _finished_at(run: Doc | None) -> datetime | None:
    """healthProbe says when its last round was."""
    found: datetime | None = (run.data.get("finishedAt") or run.data.get("roundAt")) if run else None
    return found


def _decide(app: App, watched: Watched, alert: Doc | None, now: datetime) -> Decided | None:
    is_firing, late = alert is not None and alert.data["state"] == "firing", watched.is_late(now)
    if late is is_firing or watched.finished_at is None:
        return None
    taken = Step("firing", "not_finished", "fire") if late else Step("resolved", "finished_again", "clear")
    minutes = (now - watched.finished_at).total_seconds() / 60
    name, limit = f"watchdog-{watched.function}", LATE_AFTER * PERIODS[watched.function]
    facts = own_facts(
        name, alert, taken, now, sloName=f"{watched.function} has stopped", severity=SEVERITIES[watched.function],
        metric="minutes_since_it_finished", unit="min", value=minutes, threshold=limit.total_seconds() / 60,
        windowSeconds=int(limit.total_seconds()),
    )  # fmt: skip
    heard = alert.data["channels"] if alert and not late else ()
    return taken, facts, sorted({*channels_of_all(app), *heard}), ()


def ping(app: App) -> None:
    """Tell HEARTBEAT_URL that a run was good, if there is one. Never fails the run; its address is in no log."""
    url = app.settings.heartbeat_url
    if url is None:
        return
    try:
        reply = app.outbound.post(url, b"", {}, HEARTBEAT_SECONDS)
    except OutboundError as error:
        log.warning("the heartbeat was not taken", detail=error.reason)
        return
    if reply.status >= 300:
        log.warning("the heartbeat was not taken", detail=f"http_{reply.status}")

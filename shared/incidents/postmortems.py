"""Post-mortems: written from what is on record until somebody edits them, and remembered until they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared import audited, log
from shared.audited import Edited, Intent
from shared.components import load_components
from shared.domain import incident, postmortem
from shared.domain.budget import budget_spent, error_budget
from shared.domain.exclusion import in_force, merged, outward, seconds_within
from shared.domain.incident_stats import life_of
from shared.domain.postmortem import Burnt, Detected
from shared.domain.slo import Slo
from shared.domain.timeline import AUTHOR
from shared.incidents import incidents
from shared.slo.exclusions import EXCLUSIONS, exclusions_of
from shared.slo.history import SloHistory
from shared.store.protocol import Conflict, Create, Data, Doc, Query, Store, StoreError, Write

if TYPE_CHECKING:
    from shared.bootstrap import App

KEPT = timedelta(days=90)  # of a reminder
LONGEST = timedelta(days=30)  # of an incident, whose budget is counted


def path_of(incident_path: str) -> str:
    return f"{incident_path}/postmortem/current"


def generated(app: App, doc: Doc, now: datetime) -> str:
    """The Markdown of an incident as it stands. Raises `StoreError`."""
    updates = list(incidents.timeline(app.store, doc.path, doc.data))
    return postmortem.written(
        doc.id,
        doc.data,
        updates,
        life_of(doc.data, now),
        burnt(app, doc.data, now),
        _detected(app.store, doc.data, updates),
    )


def burnt(app: App, data: Mapping[str, Any], now: datetime) -> list[Burnt]:
    """What each SLO of the incident's components lost while it lasted, of the budget of the window that ended then.

    Counted in whole slots of 5 minutes, without what is excluded. What an alert opened had begun in the alert's window.
    """
    start, end = outward(data["startedAt"], min(data.get("resolvedAt") or now, data["startedAt"] + LONGEST))
    components = load_components(app.settings.config_dir)
    slos = [slo for slo in app.slos.current().slos if components.component_of(slo.metric) in data["components"]]
    if end <= start or not slos:
        return []
    began = {slo.id: start - timedelta(seconds=slo.alert.window if data.get("autoCreated") else 0) for slo in slos}
    known = exclusions_of(app.store.get(EXCLUSIONS))
    window = app.part(_history).load(min(*began.values(), *(slo.start_of(end) for slo in slos)), end, now)
    found = []
    for slo in slos:
        excluded = merged(one.span for one in in_force(known, slo.id, components.component_of(slo.metric)))
        lost = window.count(slo.objective, began[slo.id], end, excluded)
        first = slo.start_of(end)
        whole = window.count(slo.objective, first, end, excluded)
        seconds = int((end - first).total_seconds()) - seconds_within(first, end, excluded)
        share = budget_spent(lost.bad, error_budget(whole, slo.good_share, seconds))
        if whole.total:
            estimated = lost.estimated or whole.estimated
            found.append(Burnt(slo.name, _objective(slo), _window(slo), lost.bad, lost.total, share, estimated))
    return found


def stored(store: Store, doc: Doc) -> Doc | None:
    return store.get(path_of(doc.path))


def keep(store: Store, doc: Doc, markdown: str, intent: Intent) -> Edited:
    """Put an edited one in its place, and let the incident know once nothing of the draft is left to write.

    Until then it is kept, and stays due. Raises what `audited.put` does.
    """
    made = audited.put(store, path_of(doc.path), lambda _: {"markdown": markdown, "updatedAt": intent.at}, intent)

    def noted(data: Data) -> Data | None:
        if data.get("postmortemAt") or postmortem.unwritten(markdown):
            return None
        at = intent.at
        return {**incident.touched(data, at), "postmortemAt": at, "postmortemRemindAt": None}

    incidents.change(store, doc.path, noted, Intent("postmortem_written", intent.by, intent.at))
    return made


def remind(store: Store, now: datetime) -> int:
    """Put a reminder into the admins' inbox for each post-mortem that is due soon, and once more when it is due.

    The reminder and the note that it was made are one commit, so there is one each, however often this runs. Of one
    that is written already, which its incident has not heard of, the incident is told. It raises nothing of the store:
    the next run does what could not be done.
    """
    made = 0
    try:
        query = Query(incidents.COLLECTION, (("postmortemRemindAt", "<=", now),), (("postmortemRemindAt", "asc"),))
        for doc in store.query(query):
            try:
                kept = store.get(path_of(doc.path))
                due = kept is None or postmortem.unwritten(kept.data["markdown"])
                store.commit(_reminder(doc, now) if due or kept is None else _heard_of(doc, kept, now))
                made += bool(due)
            except Conflict:  # somebody changed it, or another run was faster: the next one looks again
                continue
    except StoreError as error:
        log.warning("reminders could not be made; the next run makes them", kind=type(error).__name__)
    return made


def _heard_of(doc: Doc, kept: Doc, now: datetime) -> list[Write]:
    """Whoever wrote it was stopped before the incident knew."""
    after = {**doc.data, "postmortemAt": kept.data["updatedAt"], "postmortemRemindAt": None}
    return incidents.automated(doc, doc.path, after, "postmortem_written", now)


def _reminder(doc: Doc, now: datetime) -> list[Write]:
    due = doc.data["postmortemDueAt"]
    late = now >= due
    after = {**doc.data, "postmortemRemindAt": None if late else due}
    name = f"postmortem-{doc.id}-{int(doc.data.get('auditSeq') or 0) + 1}"
    told: Data = {
        "notificationId": name,
        "kind": "postmortem",
        "severity": "high" if late else "warning",
        "title": f"Post-mortem {'overdue' if late else 'due'}: {doc.data['title']}",
        "message": f"Due {due:%Y-%m-%d %H:%M} UTC. A draft is written already: GET /api/incidents/{doc.id}/postmortem",
        "incidentId": doc.id,
        "createdAt": now,
        "arrivedAt": now,
        "expireAt": now + KEPT,
    }
    return [Create(f"admin_notifications/{name}", told), *incidents.automated(doc, doc.path, after, "reminded", now)]


def _detected(store: Store, data: Mapping[str, Any], updates: Sequence[Mapping[str, Any]]) -> list[Detected]:
    """Its alerts with their first firing since it began; with the opening words where the alert has moved on."""
    ids = list(data["alertIds"])
    docs = store.get_many([f"alerts/{alert}" for alert in ids]) if ids else []
    found = []
    for alert, doc in zip(ids, docs, strict=True):
        told = next((u for u in updates if u["author"] == AUTHOR and f"by the alert {alert}:" in u["message"]), None)
        words = (
            told["message"] if told else f"{doc.data['sloName']}, {doc.data['severity']}" if doc else "not on record"
        )
        found.append(Detected(alert, told["timestamp"] if told else doc.data.get("firedAt") if doc else None, words))
    return found


def _objective(slo: Slo) -> str:
    return f"{slo.target} {slo.unit}"


def _window(slo: Slo) -> str:
    days, hours = divmod(slo.period // 3600, 24)
    return f"{days} days" if days > 1 and not hours else f"{slo.period // 3600} h"


def _history(app: App) -> SloHistory:
    return SloHistory(app.store)

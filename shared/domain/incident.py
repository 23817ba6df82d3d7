"""The life of an incident. Pure: the incident and what is wanted give the incident after it, or `Refused`.

    investigating ⇄ identified ⇄ mitigating ──resolve──► resolved ──reopen──► one of the others

Any open status may follow any other, since a cause may turn out wrong and a mitigation may fail. Times follow: that of
a status is set when it is reached, and those of later statuses are gone once it goes back. Fields are the original's;
docs/design.md has those that came on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from shared.domain.in_hand import NOBODY
from shared.domain.incident_policy import SHIPPED, Impact, IncidentPolicy
from shared.domain.timeline import AUTHOR, Data, Refused, entry, lasted, moment_of, with_entry

Status = Literal["investigating", "identified", "mitigating", "resolved"]
OpenStatus = Literal["investigating", "identified", "mitigating"]

IMPACTS: tuple[str, ...] = get_args(Impact)
STATUSES: tuple[str, ...] = get_args(Status)
OPEN: tuple[str, ...] = get_args(OpenStatus)
REACHED = {"identified": "identifiedAt", "mitigating": "mitigatedAt", "resolved": "resolvedAt"}
FIRST_WORDS = {
    "investigating": "We are looking into it.",
    "identified": "The cause is known, and we are working on it.",
    "mitigating": "We are restoring normal service.",
    "resolved": "Normal service is restored.",
}

_ENDS = (".", "!", "?", "…")  # what a sentence ends with
_MICROSECOND = timedelta(microseconds=1)


def allowed_from(status: str) -> tuple[str, ...]:
    """The moves there are: a status to go to by an update, `resolve`, or `reopen`."""
    return ("reopen",) if status == "resolved" else (*(s for s in OPEN if s != status), "resolve")


class OutOfOrder(Exception):
    """Times that cannot follow one another, or of a status that was not reached. `faults`: (field, message) of each."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__(", ".join(field for field, _ in faults))
        self.faults = faults


def new_incident(
    title: str,
    impact: str,
    components: Sequence[str],
    now: datetime,
    *,
    by: str = AUTHOR,
    status: str = "investigating",
    message: str | None = None,
    started_at: datetime | None = None,
    visible: bool = False,
    public: bool | None = None,
    phrase: str | None = None,
    alert_ids: Sequence[str] = (),
    runbook: str | None = None,
) -> Data:
    """`public`: of its first entry; as the incident is, unless said. `phrase`: see `timeline.entry`."""
    started = started_at or now
    first = entry(
        status, message or FIRST_WORDS[status], by, now, public=visible if public is None else public, phrase=phrase
    )
    begun: Data = {
        "title": title,
        "impact": impact,
        "status": "investigating",
        "components": list(components),
        "startedAt": started,
        "identifiedAt": None,
        "mitigatedAt": None,
        "resolvedAt": None,
        "updates": [],
        "rootCause": None,
        "actionItems": [],
        "publicVisible": visible,
        "alertIds": list(alert_ids),
        "firingAlertIds": [],
        "cause": None,
        "autoCreated": by == AUTHOR,
        "touched": by != AUTHOR,
        "acknowledgedAt": None if by == AUTHOR else now,
        "acknowledged": None if by == AUTHOR else {"by": by, "at": now, "note": None},
        "givenBack": False,
        "runbook": runbook,
        "createdBy": by,
        "reopened": 0,
        "statusSince": started,
        "spentMicros": {},
        "earlierUpdates": 0,
        "earlierPublicUpdates": 0,
        "postmortemDueAt": None,
        "postmortemRemindAt": None,
        "postmortemAt": None,
        "updatedAt": now,
    }
    return with_entry(begun if status == "investigating" else moved(begun, status, now), first)


def updated(
    incident: Mapping[str, Any],
    message: str,
    by: str,
    now: datetime,
    *,
    status: str | None = None,
    public: bool | None = None,
    corrects: int | None = None,
    policy: IncidentPolicy = SHIPPED,
) -> Data:
    """With one entry more, in `status` if one is given. Raises `Refused` for a resolved incident that would open."""
    at, before = moment_of(incident, now), incident["status"]
    to = status or before
    if before == "resolved" and to != "resolved":
        raise Refused(before, to, allowed_from(before))
    after = touched(incident, at) if to == before else moved(touched(incident, at), to, at, policy)
    if to == "resolved" != before:
        message = _with_duration(message, after)
    more: Data = {} if corrects is None else {"corrects": corrects}
    return with_entry(after, entry(to, message, by, at, public=_public(incident, public), **more))


def resolved(
    incident: Mapping[str, Any],
    by: str,
    now: datetime,
    *,
    message: str | None = None,
    root_cause: str | None = None,
    public: bool | None = None,
    policy: IncidentPolicy = SHIPPED,
) -> Data:
    """Raises `Refused` where it is resolved already."""
    if incident["status"] == "resolved":
        raise Refused("resolved", "resolve", allowed_from("resolved"))
    message = message or FIRST_WORDS["resolved"]
    after = updated(incident, message, by, now, status="resolved", public=public, policy=policy)
    return after if root_cause is None else {**after, "rootCause": root_cause}


def reopened(
    incident: Mapping[str, Any],
    message: str,
    by: str,
    now: datetime,
    *,
    status: str = "investigating",
    public: bool | None = None,
) -> Data:
    """Raises `Refused` where it is not resolved."""
    before = incident["status"]
    if before != "resolved":
        raise Refused(before, "reopen", allowed_from(before))
    at = moment_of(incident, now)
    after = moved(touched(incident, at), status, at)
    return with_entry(after, entry(status, message, by, at, public=_public(incident, public)))


def edited(
    incident: Mapping[str, Any], changes: Mapping[str, Any], now: datetime, policy: IncidentPolicy = SHIPPED
) -> Data:
    """With other values of its fields: titles, impact, links, visibility, root cause, and corrected times.

    Raises `OutOfOrder` for times that cannot be, and `Refused` for a root cause before the resolution.
    """
    if changes.get("rootCause") is not None and incident["status"] != "resolved":
        raise Refused(incident["status"], "rootCause", allowed_from(incident["status"]))
    at = moment_of(incident, now)
    after = {**touched(incident, at), **changes, "updatedAt": at}
    _check_times(after, now)
    before, started = incident["startedAt"], after["startedAt"]
    if started != before:  # the time before the first move was all spent investigating
        if after.get("statusSince") == before:
            after["statusSince"] = started
        else:
            spent = dict(after.get("spentMicros") or {})
            spent["investigating"] = max(0, spent.get("investigating", 0) + (before - started) // _MICROSECOND)
            after["spentMicros"] = spent
    if after["status"] == "resolved" and after["impact"] != incident["impact"]:
        after |= _postmortem(after, at, policy)
    return after


def touched(incident: Mapping[str, Any], at: datetime) -> Data:
    """After a person did anything to it: from then on automation resolves it no more.

    What is resolved is not acknowledged any more: who comes the next day to write it up would be no answer in a day.
    """
    first = None if incident["status"] == "resolved" else at
    return {**incident, "touched": True, "acknowledgedAt": incident.get("acknowledgedAt") or first, "updatedAt": at}


def moved(incident: Mapping[str, Any], to: str, at: datetime, policy: IncidentPolicy = SHIPPED) -> Data:
    """In another status, with the times that follow from it."""
    rank, before = STATUSES.index(to), incident["status"]
    times = {name: incident.get(name) if STATUSES.index(s) <= rank else None for s, name in REACHED.items()}
    own = REACHED.get(to)
    if own is not None and times[own] is None:
        times[own] = at
    spent = dict(incident.get("spentMicros") or {})
    since = incident.get("statusSince") or incident["startedAt"]
    spent[before] = spent.get(before, 0) + max(0, (at - since) // _MICROSECOND)
    after: Data = {**incident, "status": to, **times, "statusSince": at, "spentMicros": spent}
    if to == "resolved":
        after |= NOBODY | _postmortem(after, at, policy)
    elif before == "resolved":
        after |= {"reopened": (incident.get("reopened") or 0) + 1, "postmortemDueAt": None, "postmortemRemindAt": None}
    return after


def _postmortem(incident: Mapping[str, Any], at: datetime, policy: IncidentPolicy) -> Data:
    """When one is due, and when somebody is to be reminded."""
    due, remind = policy.postmortem.due(incident["impact"], at) or (None, None)
    return {"postmortemDueAt": due, "postmortemRemindAt": None if incident.get("postmortemAt") else remind}


def _public(incident: Mapping[str, Any], public: bool | None) -> bool:
    """What is written while nobody outside can see the incident stays inside, also if it is made visible later."""
    return bool(incident["publicVisible"]) if public is None else public


def _with_duration(message: str, incident: Mapping[str, Any]) -> str:
    said = message.rstrip()
    end = "" if said.endswith(_ENDS) else "."
    return f"{said}{end} Resolved after {lasted(incident['resolvedAt'] - incident['startedAt'])}."


def _check_times(incident: Mapping[str, Any], now: datetime) -> None:
    rank = STATUSES.index(incident["status"])
    before, name_before = incident["startedAt"], "startedAt"
    faults: list[tuple[str, str]] = []
    for status, name in REACHED.items():
        moment, reached = incident.get(name), STATUSES.index(status)
        if moment is not None and reached > rank:
            faults.append((name, f"the incident is {incident['status']}, so it cannot have this time"))
            continue
        if moment is None:
            if reached == rank:
                faults.append((name, f"the incident is {status}, so it must have this time"))
            continue
        if moment < before:
            faults.append((name, f"cannot be earlier than {name_before}"))
            continue
        before, name_before = moment, name
    if before > max(now, incident["updatedAt"]):
        faults.append((name_before, "cannot be in the future"))
    if faults:
        raise OutOfOrder(faults)

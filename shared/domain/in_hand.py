"""Who has an incident in hand, and with it every alert of it that fires. Pure.

The first who touches an open incident, or acknowledges one of its alerts, has it, until it is resolved or given back.
What was given back is taken again by an acknowledgement only: who writes a last word before going has not taken it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

QUIET = timedelta(hours=2)  # after so long without a word and without an alert, nobody can be said to be at it

Data = dict[str, Any]
NOBODY: Data = {"acknowledged": None, "givenBack": False}


def taker(before: Mapping[str, Any], after: Mapping[str, Any], by: str, at: datetime) -> Data | None:
    """{by, at, note} of who takes the incident by touching it, which includes to end it or to open it again.

    None if somebody has it, gave it back, or it was over and stays so.
    """
    is_over = before["status"] == after["status"] == "resolved"
    if is_over or before.get("acknowledged") or before.get("givenBack"):
        return None
    return {"by": by, "at": at, "note": None}


def taken(incident: Mapping[str, Any], taker: Data) -> Data:
    """The incident in the hands of `taker`; one that is over is in nobody's."""
    return {**incident, **NOBODY, "acknowledged": None if incident["status"] == "resolved" else taker}


def acknowledged(incident: Mapping[str, Any], taker: Data) -> Data | None:
    """The open incident after somebody has taken one of its alerts on; None if that changes nothing."""
    if incident["status"] == "resolved" or incident.get("acknowledged"):
        return None
    after = taken(incident, taker)
    return {**after, "acknowledgedAt": incident.get("acknowledgedAt") or taker["at"], "updatedAt": taker["at"]}


def given_back(incident: Mapping[str, Any], at: datetime) -> Data | None:
    """The incident after whoever had it gave it back; None if nobody had it."""
    if not incident.get("acknowledged"):
        return None
    return {**incident, "acknowledged": None, "givenBack": True, "updatedAt": at}


def holder(incident: Mapping[str, Any], still_fires: bool, now: datetime) -> Data | None:
    """Who has an incident, for an alert that joins it now; None if nobody can be said to be at it any more.

    A forgotten incident must not keep a new alert from being passed on.
    """
    found: Data | None = incident.get("acknowledged")
    if incident["status"] == "resolved" or not found:
        return None
    last = incident["updates"][-1]["timestamp"] if incident["updates"] else incident["startedAt"]
    return found if still_fires or now - last <= QUIET else None

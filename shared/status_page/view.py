"""What of the snapshot is shown, and how it is called in one line. Page, feeds, badge and the v2 answers agree on it.

A snapshot of an older release has fewer fields; what is absent is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from shared.status_page import words

OUTDATED = timedelta(minutes=11)  # two evaluations missed
UNDER_WAY = ("in_progress", "verifying")

Data = Mapping[str, Any]


class Summary(NamedTuple):
    """`tone` is a state, `maintenance` or `unknown`; `notes` say what the headline does not cover."""

    tone: str
    headline: str
    notes: tuple[str, ...]


def outdated(snapshot: Data, now: datetime) -> bool:
    """Whether the snapshot is too old to say anything about now."""
    age: timedelta = now - snapshot["publishedAt"]
    return age >= OUTDATED


def state(component: Data) -> str:
    """The component's state as people see it: a maintenance, unless an incident says that it is worse."""
    in_force = component.get("maintenance") is True and component["state"] not in ("degraded", "outage")
    return "maintenance" if in_force else str(component["state"])


def active(snapshot: Data) -> list[Data]:
    return [incident for incident in snapshot["incidents"] if incident["status"] != "resolved"]


def resolved(snapshot: Data) -> list[Data]:
    return [incident for incident in snapshot["incidents"] if incident["status"] == "resolved"]


def maintenances(snapshot: Data, *statuses: str) -> list[Data]:
    """Those of these statuses, in order of their begin; whatever is cancelled is never asked for."""
    found = [m for m in snapshot.get("maintenances") or () if m["status"] in statuses]
    return sorted(found, key=lambda m: (m["scheduledFor"], m["id"]))


def summary(snapshot: Data) -> Summary:
    """The whole view in one line, whatever its age."""
    named: dict[str, list[str]] = {}
    for component in snapshot["components"]:
        named.setdefault(state(component), []).append(component["name"])
    outage, degraded, down = (named.get(s, []) for s in ("outage", "degraded", "maintenance"))
    silent, unwatched = named.get("no_data", []), named.get("not_monitored", [])
    notes = []
    tone = str(snapshot["overall"])
    if tone == "outage":
        headline = _about("Outage", outage)
        if degraded:
            notes.append(f"{_about('Degraded', degraded)}.")
    elif tone == "degraded":
        headline = _about("Degraded", degraded)
    elif active(snapshot):
        tone, headline = "degraded", "An incident is under way"
    elif down:
        tone, headline = "maintenance", _about("Maintenance under way", down)
    elif tone == "operational":
        headline = "All systems operational" if not silent and not unwatched else "No known problems"
    else:
        headline = "No data yet" if not named.get("operational") else "Status unknown"
    if down and tone != "maintenance":
        notes.append(f"{_about('Under maintenance', down)}.")
    if silent:
        notes.append(f"There is no data on {words.some(silent)}.")
    if unwatched:
        notes.append(f"{words.some(unwatched)} {'is' if len(unwatched) == 1 else 'are'} not monitored.")
    return Summary(tone, headline, tuple(notes))


def last_known(summary: Summary) -> Summary:
    """The summary of a snapshot that is outdated: `Last known: outage (API)`."""
    what, _, names = f"{summary.headline[0].lower()}{summary.headline[1:]}".partition(": ")
    headline = f"Last known: {what} ({names})" if names else f"Last known: {what}"
    return summary._replace(tone="unknown", headline=headline)


def _about(what: str, names: Sequence[str]) -> str:
    return f"{what}: {words.some(names)}" if names else what


def iso(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

"""The life of a planned maintenance. Pure: it and what is wanted give it as it is after that, or `Refused`.

    scheduled ──► in_progress ⇄ verifying ──► completed
        └──► cancelled

It begins by itself at `scheduledFor` and ends by itself at `scheduledUntil`, unless people are earlier, or extend it.
It is in force for its components while it is in progress or being verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from shared.domain.exclusion import Span
from shared.domain.timeline import AUTHOR, Data, Refused, entry, moment_of, with_entry

Status = Literal["scheduled", "in_progress", "verifying", "completed", "cancelled"]
STATUSES: tuple[str, ...] = get_args(Status)
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "scheduled": ("in_progress", "cancelled"),
    "in_progress": ("verifying", "completed"),
    "verifying": ("in_progress", "completed"),
    "completed": (),
    "cancelled": (),
}
IN_FORCE = ("in_progress", "verifying")
LONGEST = timedelta(days=14)
AHEAD = timedelta(days=366)
_TIMES = ("scheduledFor", "scheduledUntil", "components")


class Misplaced(Exception):
    """Times that a maintenance cannot have. `faults`: field and message of each."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__(", ".join(field for field, _ in faults))
        self.faults = faults


def planned(
    title: str,
    message: str,
    components: Sequence[str],
    start: datetime,
    end: datetime,
    by: str,
    now: datetime,
    *,
    visible: bool = False,
    exclude: bool = False,
) -> Data:
    """A new one; begun already if its time has come. Raises `Misplaced`."""
    data: Data = {
        "title": title,
        "message": message,
        "status": "scheduled",
        "components": list(components),
        "scheduledFor": start,
        "scheduledUntil": end,
        "startedAt": None,
        "completedAt": None,
        "updates": [],
        "publicVisible": visible,
        "excludeFromSlos": exclude,
        "createdBy": by,
        "createdAt": now,
        "earlierUpdates": 0,
        "earlierPublicUpdates": 0,
        "updatedAt": now,
        "settleAt": None,
    }
    _check(data, now)
    first = with_entry(data, entry("scheduled", message, by, now, public=visible))
    return _settled_at(due(first, now) or first, now)


def updated(
    data: Mapping[str, Any], message: str, by: str, now: datetime, *, status: str | None = None, public: bool | None
) -> Data:
    """With one entry more, moved if `status` is another one. Raises `Refused`."""
    current = due(data, now) or data  # what time has done already comes first
    to = status or current["status"]
    at = moment_of(current, now)
    if to != current["status"]:
        current = _moved(current, to, at)
    shown = bool(current["publicVisible"]) if public is None else public
    return _settled_at(with_entry({**current}, entry(to, message, by, at, public=shown)), now)


def edited(data: Mapping[str, Any], changes: Mapping[str, Any], by: str, now: datetime) -> Data:
    """With other values of its fields; another end of one in force is told in its timeline.

    Raises `Misplaced`, and `Refused` for times of one that is over or has begun.
    """
    before = due(data, now) or dict(data)
    status = before["status"]
    fixed = {"completed": _TIMES, "cancelled": _TIMES}.get(status, ("scheduledFor",) if status in IN_FORCE else ())
    for name in fixed:
        if name in changes and changes[name] != before[name]:
            raise Refused(status, name, ALLOWED[status])
    after: Data = {**before, **changes, "updatedAt": moment_of(before, now)}
    if status not in ("completed", "cancelled"):
        _check(after, now)
    if status in IN_FORCE and after["scheduledUntil"] != before["scheduledUntil"]:
        told = f"Now planned until {after['scheduledUntil']:%Y-%m-%d %H:%M} UTC."
        after = with_entry(after, entry(status, told, by, after["updatedAt"], public=bool(after["publicVisible"])))
    return _settled_at(due(after, now) or after, now)


def due(data: Mapping[str, Any], now: datetime) -> Data | None:
    """What it has become by time alone, at the times that were planned, however late one looks; None if the same."""
    after: Data = dict(data)
    if after["status"] == "scheduled" and after["scheduledFor"] <= now:
        at = moment_of(after, after["scheduledFor"])
        phrase = "The maintenance has begun."
        after = _moved(after, "in_progress", at)
        after = with_entry(after, entry("in_progress", "Begun as planned.", AUTHOR, at, public=True, phrase=phrase))
    if after["status"] in IN_FORCE and after["scheduledUntil"] <= now:
        at = moment_of(after, after["scheduledUntil"])
        phrase = "The maintenance is completed."
        after = _moved(after, "completed", at)
        after = with_entry(after, entry("completed", "Its time is over.", AUTHOR, at, public=True, phrase=phrase))
    return None if after["status"] == data["status"] else _settled_at(after, now)


def next_move(data: Mapping[str, Any]) -> datetime | None:
    """When it moves by itself."""
    name = {"scheduled": "scheduledFor", "in_progress": "scheduledUntil", "verifying": "scheduledUntil"}
    found: datetime | None = data[name[data["status"]]] if data["status"] in name else None
    return found


def excluded(data: Mapping[str, Any]) -> Span | None:
    """The time that is not to count in the SLOs of its components."""
    if not data["excludeFromSlos"] or data["status"] == "cancelled":
        return None
    span = Span(data["startedAt"] or data["scheduledFor"], data["completedAt"] or data["scheduledUntil"])
    return span if span.start < span.end else None


def _settled_at(data: Data, now: datetime) -> Data:
    """`settleAt`: when to look at it next; at once where its exclusion may have to follow."""
    return {**data, "settleAt": now if data["excludeFromSlos"] or data.get("excluded") else next_move(data)}


def _moved(data: Mapping[str, Any], to: str, at: datetime) -> Data:
    allowed = ALLOWED[data["status"]]
    if to not in allowed:
        raise Refused(data["status"], to, allowed)
    after: Data = {**data, "status": to}
    if to == "in_progress" and data["startedAt"] is None:
        after["startedAt"] = at
    if to == "completed":
        after["completedAt"] = at
    return after


def _check(data: Mapping[str, Any], now: datetime) -> None:
    if faults := time_faults(data["scheduledFor"], data["scheduledUntil"], now):
        raise Misplaced(faults)


def time_faults(start: datetime | None, end: datetime | None, now: datetime) -> list[tuple[str, str]]:
    """Field and message of each fault of its times, as far as they are known."""
    faults = order_faults(start, end) if start and end else []
    if end and end <= now and not faults:
        message = "must be in the future; a time that is over can be excluded from the SLOs"
        faults.append(("scheduledUntil", message))
    if start and start > now + AHEAD:
        faults.append(("scheduledFor", f"at most {AHEAD.days} days ahead"))
    return faults


def order_faults(start: datetime, end: datetime) -> list[tuple[str, str]]:
    """What is wrong with these two whatever the time is."""
    if end <= start:
        return [("scheduledUntil", "must be later than `scheduledFor`")]
    if end - start > LONGEST:
        return [("scheduledUntil", f"at most {LONGEST.days} days after `scheduledFor`")]
    return []

"""The page's words: states, times, ages, lists, in plain English."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

STATES = {
    "operational": "Operational",
    "degraded": "Degraded",
    "outage": "Outage",
    "not_monitored": "Not monitored",
    "no_data": "No data",
    "maintenance": "Maintenance",
    "unknown": "Unknown",
}
INCIDENT_STATUSES = {
    "investigating": "Investigating",
    "identified": "Identified",
    "mitigating": "Mitigating",
    "resolved": "Resolved",
}
MAINTENANCE_STATUSES = {
    "scheduled": "Scheduled",
    "in_progress": "In progress",
    "verifying": "Verifying",
    "completed": "Completed",
    "cancelled": "Cancelled",
}


def zone(name: str) -> tzinfo:
    """The zone of an IANA name; UTC where this machine does not know it."""
    if name in ("UTC", "Etc/UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def moment(time: datetime, place: tzinfo) -> str:
    """`5 Jan 2026, 10:07 UTC`."""
    local = time.astimezone(place)
    return f"{local.day} {local:%b %Y, %H:%M} {local.tzname()}"


def clock(time: datetime, place: tzinfo) -> str:
    """`10:07 UTC`."""
    local = time.astimezone(place)
    return f"{local:%H:%M} {local.tzname()}"


def day(of: date) -> str:
    """`5 January 2026`."""
    return f"{of.day} {of:%B %Y}"


def ago(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds())) // 60
    if minutes < 1:
        return "less than a minute ago"
    if minutes < 120:
        return f"{many(minutes, 'minute')} ago"
    if minutes < 48 * 60:
        return f"{many(minutes // 60, 'hour')} ago"
    return f"{many(minutes // 1440, 'day')} ago"


def duration(span: timedelta) -> str:
    """Rounded to minutes, at least one: `1 h 42 min`."""
    minutes = max(1, round(span.total_seconds() / 60))
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{many(days, 'day')} {hours} h" if hours else many(days, "day")
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{rest} min" if rest else "") if part)


def since(begin: datetime, now: datetime, place: tzinfo) -> str:
    """`since 09:12 UTC today`; of another day than `now` is in, `since 30 Nov`."""
    local = begin.astimezone(place)
    if local.date() == now.astimezone(place).date():
        return f"since {clock(begin, place)} today"
    return f"since {local.day} {local:%b}"


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`; empty for none."""
    return "".join(names) if len(names) < 2 else ", ".join(names[:-1]) + f" and {names[-1]}"


def some(names: Sequence[str], most: int = 5) -> str:
    """As `listed`; of more than `most` the first, and how many more: `A, B, C, D and 8 more`."""
    if len(names) <= most:
        return listed(names)
    return listed([*names[: most - 1], f"{len(names) - most + 1} more"])


def sentence(text: str) -> str:
    """With a full stop, unless it ends like a sentence."""
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def cut(text: str, length: int) -> str:
    """`text`, or its beginning with an ellipsis where it is longer than `length` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def unbroken(text: str) -> str:
    """The text as it stays on one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def many(n: int, unit: str) -> str:
    """`1 day`, `2 days`."""
    return f"{n} {unit}" if n == 1 else f"{n} {unit}s"

"""The timeline of an incident or a maintenance: entries are appended and never changed, in order of time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

AUTHOR = "f0-ops"  # of what automation writes; people have their uid

Data = dict[str, Any]


class Refused(Exception):
    """A move that the present status does not allow. `allowed`: the moves that it does."""

    def __init__(self, status: str, wanted: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{status} to {wanted}")
        self.status = status
        self.wanted = wanted
        self.allowed = allowed


def moment_of(data: Mapping[str, Any], now: datetime) -> datetime:
    """`now`, or the time of the last entry where a request that came before this one was given a later time."""
    updates = data["updates"]
    return max(now, updates[-1]["timestamp"]) if updates else now


def entry(
    status: str, message: str, author: str, at: datetime, *, public: bool, phrase: str | None = None, **more: Any
) -> Data:
    """`phrase`: what the public reads in the place of a message that automation wrote for the team."""
    found: Data = {"timestamp": at, "status": status, "message": message, "author": author, "public": public, **more}
    return found if phrase is None else {**found, "publicMessage": phrase}


def with_entry(data: Data, added: Data) -> Data:
    return {**data, "updates": [*data["updates"], added], "updatedAt": added["timestamp"]}


def count(data: Mapping[str, Any]) -> int:
    """Entries in all, with those that were moved to documents of their own."""
    return int(data.get("earlierUpdates") or 0) + len(data["updates"])


def lasted(span: timedelta) -> str:
    """`42 s`, `17 min`, `2 h 5 min`, `3 d 4 h`: whole units, rounded down."""
    seconds = max(0, span // timedelta(seconds=1))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"

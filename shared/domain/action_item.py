"""What is to be done after an incident: each item has an owner, a day it is due, and a state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

State = Literal["open", "in_progress", "done", "cancelled"]
STATES: tuple[str, ...] = get_args(State)
MOST = 50  # of an incident

Data = dict[str, Any]


class TooMany(Exception):
    """There is no room for another one."""


class Unknown(Exception):
    """The incident has no such item."""


def with_item(incident: Mapping[str, Any], title: str, owner: str | None, due: datetime | None, now: datetime) -> Data:
    """The incident with one item more, numbered from 1. Raises `TooMany`."""
    items: list[Data] = incident["actionItems"]
    if len(items) >= MOST:
        raise TooMany
    number = max((item["id"] for item in items), default=0) + 1
    item = {"id": number, "title": title, "owner": owner, "dueAt": due, "state": "open", "createdAt": now}
    return {**incident, "actionItems": [*items, {**item, "doneAt": None}]}


def with_changed(incident: Mapping[str, Any], number: int, changes: Mapping[str, Any], now: datetime) -> Data:
    """With other values of one item; `doneAt` follows its state. Raises `Unknown`."""
    items: list[Data] = incident["actionItems"]
    if all(item["id"] != number for item in items):
        raise Unknown

    def changed(item: Data) -> Data:
        after = {**item, **changes}
        if after["state"] != item["state"]:
            after["doneAt"] = now if after["state"] == "done" else None
        return after

    return {**incident, "actionItems": [changed(item) if item["id"] == number else item for item in items]}

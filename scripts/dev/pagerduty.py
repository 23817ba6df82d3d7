"""PagerDuty's side of an event: what it accepts, by its documented fields and limits."""

from __future__ import annotations

import json
from typing import Any

ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "error", "warning", "info")


class InvalidEvent(Exception):
    """PagerDuty would answer 400. The text says why."""


def parse(body: bytes) -> dict[str, Any]:
    """The event without its routing key, which is nobody's business here. Raises `InvalidEvent`."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON") from None
    if not isinstance(event, dict) or event.get("event_action") not in ACTIONS:
        raise InvalidEvent("event_action is none of trigger, acknowledge, resolve")
    if len(str(event.pop("routing_key", ""))) != 32:
        raise InvalidEvent("routing_key has not 32 characters")
    payload = event.get("payload") or {}
    if event["event_action"] == "trigger":
        fits = 0 < len(str(payload.get("summary", ""))) <= 1024 and payload.get("source")
        if not fits or payload.get("severity") not in SEVERITIES:
            raise InvalidEvent("payload lacks a summary, a source or a severity")
    elif not event.get("dedup_key"):
        raise InvalidEvent("dedup_key is missing")
    return event

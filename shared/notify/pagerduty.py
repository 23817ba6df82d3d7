"""PagerDuty, by its Events API v2: trigger, acknowledge and resolve are one incident there, by their dedup key.

A key names one firing of one alert, so that a resolve closes its own trigger, a second copy of a message is none, and
the next firing rings anew. The routing key is a secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.domain.notification import Outcome
from shared.notify.answers import attempt, plain_word, refusal
from shared.notify.brief import brief
from shared.notify.links import Links
from shared.outbound import Outbound, Reply

EVENTS = {"trigger": "trigger", "repeat": "trigger", "acknowledge": "acknowledge", "resolve": "resolve"}
SEVERITIES = {"critical": "critical", "high": "error", "warning": "warning"}
SUMMARY_CHARS, KEY_CHARS, LINK_CHARS = 1024, 255, 2048
_TEXT_CHARS = 2000
_HEADERS = {"Content-Type": "application/json"}


class PagerDutySender:
    """`key` None: not configured. `url`: where events go; PagerDuty has one for each region."""

    def __init__(self, outbound: Outbound, url: str, key: str | None, links: Links) -> None:
        self._outbound = outbound
        self._url = url
        self._key = key
        self._links = links

    @property
    def configured(self) -> bool:
        return self._key is not None

    @property
    def groups(self) -> bool:
        return False

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        key = self._key
        if key is None:
            return Outcome("dead", "not_configured")
        body = json.dumps({"routing_key": key, **event(notifications[0], self._links)}).encode()
        return attempt(self._outbound, self._url, body, _HEADERS, lambda reply: classify(reply, key))


def dedup_key(notification: Mapping[str, Any]) -> str:
    """`{alertId}-{seq of the firing}`."""
    firing = notification["facts"].get("firingSeq")
    alert_id = str(notification["alertId"])
    return f"{alert_id}-{firing}"[-KEY_CHARS:] if firing is not None else alert_id[-KEY_CHARS:]


def event(notification: Mapping[str, Any], links: Links) -> dict[str, Any]:
    """The event but for its routing key."""
    action = EVENTS[notification["kind"]]
    data: dict[str, Any] = {"event_action": action, "dedup_key": dedup_key(notification)}
    if action != "trigger":  # PagerDuty takes nothing else of these
        return data
    told, facts = brief(notification, links), notification["facts"]
    details: dict[str, Any] = {"what": told.what}
    for name, text in (("budget", told.budget), ("changed", " ".join(told.changed)), ("first", told.first)):
        details |= {name: text} if text else {}
    for name, row in told.rows:
        details[name.lower()] = row if isinstance(row, str) else row.isoformat()
    details |= {"notification": notification["notificationId"], "incident": facts.get("incidentId")}
    payload = {
        "summary": _cut(f"{told.name}: {told.what}", SUMMARY_CHARS),
        "source": str(facts["component"] or "F0 Ops"),
        "severity": SEVERITIES.get(facts["severity"], "info"),
        "component": str(facts["component"] or "F0 Ops"),
        "class": str(facts["metric"]),
        "custom_details": {name: _cut(str(text), _TEXT_CHARS) for name, text in details.items() if text},
    }
    if facts["firedAt"] is not None:
        payload["timestamp"] = facts["firedAt"].isoformat(timespec="milliseconds")
    shown = [{"href": link.url, "text": link.label} for link in told.links if len(link.url) <= LINK_CHARS]
    return {**data, "payload": payload, "links": shown, "client": "F0 Ops", "client_url": links.alert(notification)}


def classify(reply: Reply, key: str) -> Outcome:
    """What PagerDuty's answer means. `key` is what must not appear in the outcome."""
    body = _object(reply.body)
    if reply.status == 202 and isinstance(body.get("dedup_key"), str):
        return Outcome("delivered", "ok", reply.status)
    word = str(body.get("status", "")).replace(" ", "_").lower()  # 'invalid event'
    return refusal(reply, plain_word(word, key))


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _cut(text: str, limit: int) -> str:
    """On one line: PagerDuty shows the summary in the subject of what it sends."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"

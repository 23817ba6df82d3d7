"""A webhook of one's own: a signed POST of JSON, for whatever is to hear of alerts and has no channel here.

`X-F0Ops-Signature: t=SECONDS,v1=HEX` signs `SECONDS.BODY` with HMAC-SHA256. Whoever checks it, and that the time is not
long past, knows who sent it, and that it is no copy of an old one. A second copy of a message has the same
`X-F0Ops-Id`, another time and so another signature.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.domain.notification import Outcome
from shared.notify.answers import attempt, refusal
from shared.notify.brief import brief
from shared.notify.links import Links
from shared.outbound import Outbound, Reply

VERSION = 1
IN_FULL = 100  # notifications of one message; of more only the ids are told
SIGNATURE, ID = "X-F0Ops-Signature", "X-F0Ops-Id"


class WebhookSender:
    """`url` or `secret` None: not configured. `clock` gives the time that is signed."""

    def __init__(
        self, outbound: Outbound, url: str | None, secret: str | None, links: Links, clock: Callable[[], datetime]
    ) -> None:
        self._outbound = outbound
        self._url = url
        self._secret = secret
        self._links = links
        self._clock = clock

    @property
    def configured(self) -> bool:
        return self._url is not None and self._secret is not None

    @property
    def groups(self) -> bool:
        return True

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        if self._url is None or self._secret is None:
            return Outcome("dead", "not_configured")
        content = body(notifications, self._links)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "F0-Ops",
            ID: str(notifications[0]["notificationId"]),
            SIGNATURE: signature(content, self._secret, int(self._clock().timestamp())),
        }
        return attempt(self._outbound, self._url, content, headers, classify)


def signature(content: bytes, secret: str, seconds: int) -> str:
    """`t=…,v1=…`. A later version of it would stand beside `v1`."""
    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + content, hashlib.sha256)
    return f"t={seconds},v1={signed.hexdigest()}"


def body(notifications: Sequence[Mapping[str, Any]], links: Links) -> bytes:
    """The same bytes for the same notifications, whenever they are sent."""
    told = {
        "version": VERSION,
        "id": notifications[0]["notificationId"],
        "notifications": [_told(one, links) for one in notifications[:IN_FULL]],
        "others": [one["notificationId"] for one in notifications[IN_FULL:]],
        "addsTo": _plain(notifications[0].get("addsTo")),
    }
    return json.dumps(told, ensure_ascii=False).encode()


def classify(reply: Reply) -> Outcome:
    if 200 <= reply.status < 300:
        return Outcome("delivered", "ok", reply.status)
    return refusal(reply)


def _told(notification: Mapping[str, Any], links: Links) -> dict[str, Any]:
    told = brief(notification, links)
    return {
        "id": notification["notificationId"],
        "alertId": notification["alertId"],
        "seq": notification["seq"],
        "kind": notification["kind"],
        "createdAt": _plain(notification["createdAt"]),
        "title": told.title,
        "text": " ".join(part for part in (told.what, told.budget, told.adds, *told.changed, told.first) if part),
        "links": [{"label": link.label, "url": link.url} for link in told.links],
        "facts": _plain(notification["facts"]),
    }


def _plain(value: Any) -> Any:
    """What JSON can say: times in ISO 8601, UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value

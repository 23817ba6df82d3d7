"""Slack, by an incoming webhook. Its URL is a secret: it appears in nothing that is stored, logged or raised."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.domain.notification import Outcome
from shared.notify.answers import attempt, plain_word, refusal
from shared.notify.links import Links
from shared.notify.slack_message import message
from shared.outbound import Outbound, Reply

JSON = {"Content-Type": "application/json; charset=utf-8"}


class SlackSender:
    """`url` None: not configured."""

    def __init__(self, outbound: Outbound, url: str | None, links: Links) -> None:
        self._outbound = outbound
        self._url = url
        self._links = links

    @property
    def configured(self) -> bool:
        return self._url is not None

    @property
    def groups(self) -> bool:
        return True

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        url = self._url
        if url is None:
            return Outcome("dead", "not_configured")
        body = json.dumps(message(notifications, self._links), ensure_ascii=False).encode()
        return attempt(self._outbound, url, body, JSON, lambda reply: classify(reply, url))


def classify(reply: Reply, url: str) -> Outcome:
    """What Slack's answer means. `url` is what must not appear in the outcome."""
    if reply.status == 200 and reply.body.strip() == b"ok":
        return Outcome("delivered", "ok", reply.status)
    return refusal(reply, error_word(reply.body, url))


def error_word(body: bytes, url: str) -> str | None:
    """Slack's error word (`no_service`), if the answer is one."""
    return plain_word(body[:100].decode("ascii", "replace"), url)

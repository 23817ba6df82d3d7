"""Slack, by an incoming webhook. Its URL is a secret: it appears in nothing that is stored, logged or raised."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from shared.domain.notification import HTTP_TIMEOUT, Outcome
from shared.notify.slack_message import message
from shared.outbound import Outbound, OutboundError, Reply

DEFAULT_RETRY_AFTER = 30.0  # seconds, where a 429 names no usable time
LONGEST_RETRY_AFTER = 3600.0  # a wild value must not silence an alert for its whole life
_WORD = re.compile(r"[a-z][a-z0-9_]{2,59}")


class SlackSender:
    """`url` None: not configured. `status_url` is where the message's link leads."""

    def __init__(self, outbound: Outbound, url: str | None, status_url: str) -> None:
        self._outbound = outbound
        self._url = url
        self._status_url = status_url

    @property
    def configured(self) -> bool:
        return self._url is not None

    @property
    def groups(self) -> bool:
        return True

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        if self._url is None:
            return Outcome("dead", "not_configured")
        body = json.dumps(message(notifications, self._status_url), ensure_ascii=False).encode()
        started = time.monotonic()
        try:
            headers = {"Content-Type": "application/json; charset=utf-8"}
            reply = self._outbound.post(self._url, body, headers, HTTP_TIMEOUT.total_seconds())
        except OutboundError as error:
            taken = round(1000 * (time.monotonic() - started))
            return Outcome("unknown" if error.sent else "retry", error.reason, None, taken)
        return classify(reply, self._url, round(1000 * (time.monotonic() - started)))


def classify(reply: Reply, url: str, duration_ms: int = 0) -> Outcome:
    """What Slack's answer means. `url` is what must not appear in the outcome."""
    status = reply.status
    if status == 200 and reply.body.strip() == b"ok":
        return Outcome("delivered", "ok", status, duration_ms)
    if 200 <= status < 300:  # something in between answered, or Slack in words that we do not know
        return Outcome("unknown", "unexpected_answer", status, duration_ms)
    if status == 429:
        return Outcome("retry", "throttled", status, duration_ms, retry_after(reply.headers))
    if status == 408 or status >= 500:
        asked = retry_after(reply.headers) if "retry-after" in reply.headers else None
        return Outcome("retry", f"http_{status}", status, duration_ms, asked)
    return Outcome("dead", error_word(reply.body, url) or f"http_{status}", status, duration_ms)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds from a Retry-After header: a number, or a date that the answer's own Date is taken from."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        seconds = (_http_date(text) - _http_date(headers.get("date", ""))).total_seconds()
    except ValueError:
        return DEFAULT_RETRY_AFTER
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _http_date(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def error_word(body: bytes, url: str) -> str | None:
    """Slack's error word (`no_service`), if the answer is one: not somebody else's page, not an echo of the URL."""
    text = body[:100].decode("ascii", "replace").strip()
    echoed = any(len(part) >= 5 and part.lower() in text for part in re.split(r"[^A-Za-z0-9]+", url))
    return text if _WORD.fullmatch(text) and not echoed else None

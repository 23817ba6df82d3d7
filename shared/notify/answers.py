"""What channels over HTTP have in common: one attempt as an `Outcome`, and what an answer says of trying again.

An address or a key is a secret: whatever the other side echoes of it must not get into an outcome, which is stored.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from shared.domain.notification import HTTP_TIMEOUT, Outcome
from shared.outbound import Outbound, OutboundError, Reply

DEFAULT_RETRY_AFTER = 30.0  # seconds, where a 429 names no usable time
LONGEST_RETRY_AFTER = 3600.0  # a wild value must not silence an alert for its whole life
_WORD = re.compile(r"[a-z][a-z0-9_]{2,59}")


def attempt(
    outbound: Outbound,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    classify: Callable[[Reply], Outcome],
    seconds: float = HTTP_TIMEOUT.total_seconds(),
) -> Outcome:
    """POST once. `classify` says what an answer means; without one it may have arrived, unless nothing was sent."""
    started = time.monotonic()
    try:
        reply = outbound.post(url, body, headers, seconds)
    except OutboundError as error:
        outcome = Outcome("unknown" if error.sent else "retry", error.reason)
    else:
        outcome = classify(reply)
    return replace(outcome, duration_ms=round(1000 * (time.monotonic() - started)))


def refusal(reply: Reply, word: str | None = None) -> Outcome:
    """What any answer but a good one means. `word`: the other side's own, for what is refused for good."""
    status = reply.status
    if 200 <= status < 300:  # something in between answered, or the other side in words that we do not know
        return Outcome("unknown", "unexpected_answer", status)
    if status == 429:
        return Outcome("retry", "throttled", status, retry_after=retry_after(reply.headers))
    if status in (408, 425) or status >= 500:
        asked = retry_after(reply.headers) if "retry-after" in reply.headers else None
        return Outcome("retry", f"http_{status}", status, retry_after=asked)
    return Outcome("dead", word or f"http_{status}", status)


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


def plain_word(text: str, *secrets: str) -> str | None:
    """An error word (`no_service`), if the text is one: not somebody's page, not an echo of a secret."""
    text = text[:100].strip()
    echoed = any(
        len(part) >= 5 and part.lower() in text for secret in secrets for part in re.split(r"[^A-Za-z0-9]+", secret)
    )
    return text if _WORD.fullmatch(text) and not echoed else None

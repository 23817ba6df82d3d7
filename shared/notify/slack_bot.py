"""Slack, by a bot's token: what follows a message goes into its thread, and the message that begins it is brought up
to date. The token is secret.

Slack answers 200 also where it refuses: `ok` decides, and `error` says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.domain.first_message import Shown
from shared.domain.notification import HTTP_TIMEOUT, Outcome
from shared.notify.answers import attempt, plain_word, refusal, retry_after
from shared.notify.links import Links
from shared.notify.slack_message import message, revised
from shared.notify.threads import Threads, begins_a_firing
from shared.outbound import Outbound, Reply

# https://docs.slack.dev/reference/methods/chat.postMessage and …/chat.update: errors that pass, and one after which it
# may have arrived
FOR_NOW = {
    "internal_error", "request_timeout", "service_unavailable", "team_added_to_org", "message_limit_exceeded",
    "update_failed",
}  # fmt: skip
THROTTLED = ("ratelimited", "rate_limited")
PERHAPS = ("fatal_error",)
NO_THREAD = ("thread_not_found", "message_not_found", "cannot_reply_to_message", "is_inactive")
SEEN_BY_ALL = ("trigger", "repeat", "resolve")  # in the channel too, not only in the thread


class SlackBotSender:
    """`channel`: a name or an id. `reference` of a message is `CHANNEL-ID:TS` of the one that begins its thread."""

    def __init__(
        self, outbound: Outbound, api_url: str, token: str, channel: str, links: Links, threads: Threads
    ) -> None:
        self._outbound = outbound
        self._api = api_url
        self._token = token
        self._channel = channel
        self._links = links
        self._threads = threads

    @property
    def configured(self) -> bool:
        return True

    @property
    def groups(self) -> bool:
        return True

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        thread = self._threads.of(notifications)
        outcome = self._post(notifications, thread, HTTP_TIMEOUT.total_seconds())
        if thread is not None and outcome.result == "dead" and outcome.detail in NO_THREAD:
            # Somebody deleted the thread: surely nothing was posted. Both calls together take no longer than one may.
            left = HTTP_TIMEOUT.total_seconds() - outcome.duration_ms / 1000
            outcome = self._post(notifications, None, max(left, 1.0))
        news = bool(notifications[0].get("addsTo")) or not all(map(begins_a_firing, notifications))
        return replace(outcome, outdates=news and outcome.result == "delivered")

    def revise(self, reference: str, shown: Shown) -> Outcome:
        channel, _, ts = reference.partition(":")
        body = {"channel": channel, "ts": ts, **revised(shown, self._links)}
        return self._call("chat.update", body, HTTP_TIMEOUT.total_seconds())

    def _post(self, notifications: Sequence[Mapping[str, Any]], thread: str | None, seconds: float) -> Outcome:
        body = {"channel": self._channel, **message(notifications, self._links)}
        if thread is not None:
            channel, _, ts = thread.partition(":")
            broadcast = any(one["kind"] in SEEN_BY_ALL for one in notifications)
            body |= {"channel": channel, "thread_ts": ts, "reply_broadcast": broadcast}
        outcome = self._call("chat.postMessage", body, seconds)
        return replace(outcome, reference=thread) if thread and outcome.result == "delivered" else outcome

    def _call(self, method: str, body: Mapping[str, Any], seconds: float) -> Outcome:
        headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Bearer {self._token}"}
        content = json.dumps(body, ensure_ascii=False).encode()
        url = f"{self._api}/{method}"
        return attempt(self._outbound, url, content, headers, lambda reply: classify(reply, self._token), seconds)


def classify(reply: Reply, token: str) -> Outcome:
    """What Slack's answer means. `token` is what must not appear in the outcome."""
    if reply.status != 200:
        return refusal(reply)
    try:
        told = json.loads(reply.body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or told.get("ok") not in (True, False):
        return Outcome("unknown", "unexpected_answer", reply.status)
    if told["ok"]:
        named = isinstance(told.get("channel"), str) and isinstance(told.get("ts"), str)
        return Outcome(
            "delivered", "ok", reply.status, reference=f"{told['channel']}:{told['ts']}"[:100] if named else None
        )
    word = plain_word(str(told.get("error", "")), token)
    if word in THROTTLED:
        return Outcome("retry", "throttled", reply.status, retry_after=retry_after(reply.headers))
    if word in PERHAPS:
        return Outcome("unknown", word or "", reply.status)
    if word is None:
        return Outcome("unknown", "unexpected_answer", reply.status)
    return Outcome("retry" if word in FOR_NOW else "dead", word, reply.status)

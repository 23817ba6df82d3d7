"""POST /api/usage/events: calls that were made, each as its counts or as the provider's own answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.usage_api.body import json_object, refuse
from shared.api.http import Problem, answer
from shared.domain.provider_response import NoUsage, read_response
from shared.domain.usage import Tokens, Usage, parse_usage
from shared.usage.accounts import Erasing, accounts_for
from shared.usage.record import record
from shared.usage.unknown_plans import plan_warnings

if TYPE_CHECKING:
    from shared.bootstrap import App

MAX_EVENTS = 500
_FROM_RESPONSE = ("provider", "model", "tokens", "searches")
_STAND_IN = {  # of an answer that cannot be read, so that the faults of the other fields are told all the same
    "requestId": "not-known", "provider": "none", "model": "none", "tokens": {"input": 0, "output": 0},
}  # fmt: skip


def take(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """202 once every accepted call is stored; what was refused is told with every reason, and never quoted."""
    body = json_object(request, app)
    listed = body.get("events")
    faults = [f"{name}: unknown; there is only `events`" for name in body if name != "events"][:10]
    if not isinstance(listed, list):
        refuse(["events: must be a list", *faults])
        raise AssertionError
    refuse(faults)
    if len(listed) > MAX_EVENTS:
        raise Problem(413, "too_many_events", f"at most {MAX_EVENTS} events in a body")
    usages: list[Usage] = []
    rejected: list[dict[str, Any]] = []
    warnings: list[dict[str, Any]] = []
    plans = app.part(accounts_for).plans
    for index, one in enumerate(listed):
        found = read_event(one, now)
        if not isinstance(found, Usage):
            rejected.append({"index": index, "reasons": found})
            continue
        usages.append(found)
        if reasons := plan_warnings(plans, found.plan):
            warnings.append({"index": index, "reasons": reasons})
    result: dict[str, Any] = {"accepted": len(usages), "rejected": rejected}
    if warnings:
        result["warnings"] = warnings
    if usages:
        try:
            recorded = record(app, usages, now)
        except Erasing:
            raise being_erased() from None
        known = None if recorded.booked is None else len(usages) - recorded.booked
        result |= {"known": known, "stored": recorded.stored}
    return answer(result, 202)


def being_erased() -> Problem:
    detail = "a user's usage is being erased just now: send the same request again"
    return Problem(503, "user_being_erased", detail, headers={"Retry-After": "30"})


def read_event(given: Any, now: datetime) -> Usage | list[str]:
    """The call, or every fault."""
    if not isinstance(given, dict):
        return ["must be an object"]
    if "response" not in given:
        return parse_usage(given, now)
    return _of_response(given, now)


def _of_response(given: Mapping[str, Any], now: datetime) -> Usage | list[str]:
    """What the answer tells need not be told, and may not. Its id names the call unless a requestId does."""
    faults = [f"{name}: is taken from the response" for name in _FROM_RESPONSE if name in given]
    told = {name: value for name, value in given.items() if name != "response" and name not in _FROM_RESPONSE}
    try:
        answered = read_response(given["response"])
    except NoUsage as error:
        seen = parse_usage({**_STAND_IN, **told}, now)
        return [*faults, f"response: {error}", *(seen if isinstance(seen, list) else [])]
    if answered.request_id is not None:
        told.setdefault("requestId", answered.request_id)
    told.setdefault("tier", answered.tier)
    counts, searches = shown_tokens(answered.tokens), shown_searches(answered.tokens)
    taken = {"provider": answered.provider, "model": answered.model, "tokens": counts, "searches": searches}
    found = parse_usage({**told, **taken}, now)
    if isinstance(found, Usage):
        return faults or found
    return [*faults, *found]


def shown_tokens(tokens: Tokens) -> dict[str, int]:
    """As an event has them."""
    return {
        "input": tokens.input,
        "output": tokens.output,
        "cacheRead": tokens.cache_read,
        "cacheWrite5m": tokens.cache_write_5m,
        "cacheWrite1h": tokens.cache_write_1h,
        "reasoning": tokens.reasoning,
        "inputAudio": tokens.input_audio,
        "outputAudio": tokens.output_audio,
    }


def shown_searches(tokens: Tokens) -> dict[str, int]:
    return {"web": tokens.web_searches, "file": tokens.file_searches}

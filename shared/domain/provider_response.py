"""The usage in a provider's own answer: a JSON body, or the text of a stream of server-sent events.

Anthropic's input_tokens leave out what was read from or written to a cache; OpenAI's prompt_tokens and input_tokens
contain it. Anthropic counts its web searches in the usage; OpenAI's responses have them as items of the output, and its
chat does not tell them. Nothing but the model, the tier and the counts is taken: what was said is not kept.
https://platform.claude.com/docs/en/api/messages, https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.usage import MOST_TOKENS, STANDARD, Tokens

_TIERS = {"default": STANDARD, "auto": STANDARD, "standard_only": STANDARD}


class NoUsage(ValueError):
    """The answer tells no usage. The text is a sentence that quotes nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """`request_id`: the provider's id of the answer, which names the call, or None."""

    provider: str
    model: str
    tokens: Tokens
    tier: str
    request_id: str | None


def read_response(response: Any) -> Answered:
    """From a decoded JSON body, or the text of a JSON body or of a stream. Raises `NoUsage`."""
    if isinstance(response, str):
        text = response.lstrip()
        if text.startswith("{"):
            try:
                return _of_body(json.loads(text))
            except (ValueError, RecursionError) as error:
                raise error if isinstance(error, NoUsage) else NoUsage("the body is no JSON") from None
        return of_events(events_of(text))
    return _of_body(response)


def events_of(stream: str) -> Iterator[Mapping[str, Any]]:
    """The decoded data of each event of a stream that is a JSON object."""
    data: list[str] = []
    for line in [*stream.splitlines(), ""]:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            try:
                event = json.loads("\n".join(data))
            except (ValueError, RecursionError):
                event = None  # [DONE], or cut off
            data = []
            if isinstance(event, Mapping):
                yield event


def of_events(events: Iterable[Mapping[str, Any]]) -> Answered:
    """From the events of a stream. Raises `NoUsage`.

    Anthropic: message_start has the input, and message_delta the counts up to then, of which the last are final.
    OpenAI: the chunk that `stream_options.include_usage` asks for, or the response that response.completed brings.
    """
    start: dict[str, Any] | None = None
    usage: dict[str, Any] = {}
    found: Mapping[str, Any] | None = None
    for event in events:
        kind = event.get("type")
        if kind == "message_start" and isinstance(event.get("message"), Mapping):
            start = dict(event["message"])
            usage = dict(_mapping(start, "usage"))
        elif kind == "message_delta":
            usage |= {name: value for name, value in _mapping(event, "usage").items() if value is not None}
        elif isinstance(event.get("response"), Mapping) and isinstance(event["response"].get("usage"), Mapping):
            found = event["response"]
        elif isinstance(event.get("usage"), Mapping) and event.get("object") == "chat.completion.chunk":
            found = event
    if start is not None:
        return _anthropic({**start, "usage": usage})
    if found is None:
        raise NoUsage("the stream tells no usage; OpenAI's chat tells it with stream_options.include_usage")
    return _of_body(found)


def _of_body(body: Any) -> Answered:
    if not isinstance(body, Mapping):
        raise NoUsage("must be a JSON object or a text")
    if not isinstance(body.get("usage"), Mapping):
        raise NoUsage("has no usage")
    if body.get("type") == "message":
        return _anthropic(body)
    if body.get("object") in ("chat.completion", "chat.completion.chunk"):
        return _openai(body, "prompt_tokens", "completion_tokens")
    if body.get("object") == "response":
        return _openai(body, "input_tokens", "output_tokens")
    raise NoUsage("is neither of Anthropic's messages nor of OpenAI's chat or responses")


def _anthropic(body: Mapping[str, Any]) -> Answered:
    """Without cache_creation, what was written to the cache is for 5 minutes, the default."""
    usage = _mapping(body, "usage")
    written = _count(usage, "cache_creation_input_tokens")
    split = usage.get("cache_creation")
    hour = _count(split, "ephemeral_1h_input_tokens") if isinstance(split, Mapping) else 0
    if hour > written:
        raise NoUsage("its cache_creation is more than its cache_creation_input_tokens")
    tokens = Tokens(
        input=_count(usage, "input_tokens", required=True),
        output=_count(usage, "output_tokens", required=True),
        cache_read=_count(usage, "cache_read_input_tokens"),
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        reasoning=_count(_mapping(usage, "output_tokens_details"), "thinking_tokens"),
        web_searches=_count(_mapping(usage, "server_tool_use"), "web_search_requests"),
    )
    tier = "fast" if usage.get("speed") == "fast" else usage.get("service_tier")
    return _answered("anthropic", body, tokens, tier)


def _openai(body: Mapping[str, Any], input_name: str, output_name: str) -> Answered:
    usage = _mapping(body, "usage")
    details = _mapping(usage, f"{input_name}_details")
    cached, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    everything = _count(usage, input_name, required=True)
    if cached + written > everything:
        raise NoUsage("more of its input is cached than there is")
    answer, of_answer = _count(usage, output_name, required=True), _mapping(usage, f"{output_name}_details")
    heard = min(_count(details, "audio_tokens"), everything - cached - written)  # a part of it may be cached
    spoken = min(_count(of_answer, "audio_tokens"), answer)
    tokens = Tokens(
        input=everything - cached - written - heard,
        output=answer - spoken,
        cache_read=cached,
        cache_write_5m=written,
        reasoning=_count(of_answer, "reasoning_tokens"),
        input_audio=heard,
        output_audio=spoken,
        web_searches=_tools(body, "web_search_call"),
        file_searches=_tools(body, "file_search_call"),
    )
    return _answered("openai", body, tokens, body.get("service_tier"))


def _tools(body: Mapping[str, Any], kind: str) -> int:
    """How many searches a response of OpenAI made. Of the web only `search` is charged, not what is opened after it."""
    output = body.get("output")
    calls = [one for one in output if isinstance(one, Mapping)] if isinstance(output, list) else []
    return sum(one.get("type") == kind and _mapping(one, "action").get("type", "search") == "search" for one in calls)


def _answered(provider: str, body: Mapping[str, Any], tokens: Tokens, tier: Any) -> Answered:
    model, request_id = body.get("model"), body.get("id")
    if not isinstance(model, str) or not model:
        raise NoUsage("names no model")
    if tokens.reasoning > tokens.output:
        raise NoUsage("more of its output is reasoning than there is")
    named = tier.lower() if isinstance(tier, str) and tier else STANDARD
    return Answered(
        provider, model, tokens, _TIERS.get(named, named), request_id if isinstance(request_id, str) else None
    )


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _count(data: Mapping[str, Any], name: str, *, required: bool = False) -> int:
    given = data.get(name)
    if given is None and not required:
        return 0
    if type(given) is not int or not 0 <= given <= MOST_TOKENS:
        raise NoUsage(f"its {name} is no whole number")
    return given

"""Usage out of the providers' own answers: bodies, streams, what each counts where, and what is no answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import pytest

from shared.domain.provider_response import NoUsage, read_response
from shared.domain.usage import Tokens
from shared.store.sqlite import SqliteStore
from tests.core import every_byte
from tests.provider_servers import (
    ANTHROPIC_USAGE,
    SAID,
    answered,
    chat,
    chat_chunks,
    message,
    message_events,
    response_events,
)
from tests.usage_api import NOW, usage_api

SONNET, GPT = "claude-sonnet-4-5-20250929", "gpt-4o-2024-08-06"
CLAUDES = Tokens(input=21, output=393, cache_read=188086, cache_write_5m=356, cache_write_1h=100)
CHATS = Tokens(input=86, output=300, cache_read=1920, reasoning=64)
RESPONSES = Tokens(input=200, output=52, cache_read=128, reasoning=12)


def stream(events: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"event: {e.get('type', '')}\r\ndata: {json.dumps(e)}\r\n\r\n" for e in events) + "data: [DONE]\n\n"


ANSWERS = [
    (message(SONNET, ANTHROPIC_USAGE), "anthropic", CLAUDES),
    (json.dumps(message(SONNET, ANTHROPIC_USAGE)), "anthropic", CLAUDES),
    (stream(message_events(SONNET)), "anthropic", CLAUDES),
    (chat(GPT), "openai", CHATS),
    (stream(chat_chunks(GPT, with_usage=True)), "openai", CHATS),
    (answered(GPT), "openai", RESPONSES),
    (stream(response_events(GPT)), "openai", RESPONSES),
]


@pytest.mark.parametrize(("answer", "provider", "tokens"), ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_tells_its_usage(answer: Any, provider: str, tokens: Tokens) -> None:
    found = read_response(answer)
    assert (found.provider, found.tokens, found.tier) == (provider, tokens, "standard")
    assert found.model in (SONNET, GPT)
    assert found.request_id


def test_openais_input_contains_what_is_cached_and_anthropics_does_not() -> None:
    assert read_response(chat(GPT)).tokens.all_input == 2006
    assert read_response(message(SONNET, ANTHROPIC_USAGE)).tokens.all_input == 21 + 188086 + 456


def test_written_caches_without_a_split_are_for_five_minutes() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 10}
    assert read_response(message(SONNET, usage)).tokens == Tokens(input=1, output=2, cache_write_5m=10)


@pytest.mark.parametrize(
    ("change", "tier"),
    [({"service_tier": "batch"}, "batch"), ({"service_tier": "priority"}, "priority"), ({"speed": "fast"}, "fast")],
)
def test_the_tier_is_taken_from_the_answer(change: dict[str, str], tier: str) -> None:
    assert read_response(message(SONNET, {**ANTHROPIC_USAGE, **change})).tier == tier


def test_counts_of_a_stream_are_the_last_that_were_told() -> None:
    events = [*message_events(SONNET)]
    events.insert(-1, {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 400, "input_tokens": None}})
    assert read_response(stream(events)).tokens.output == 400


@pytest.mark.parametrize(
    "answer",
    [
        None, 3, [], {}, "", "{", "data: {", {"usage": {}}, {"usage": None, "type": "message"},
        {"type": "message", "model": "m", "usage": {"input_tokens": -1, "output_tokens": 1}},
        {"type": "message", "model": "m", "usage": {"input_tokens": 1.5, "output_tokens": 1}},
        {"type": "message", "model": "m", "usage": {"input_tokens": True, "output_tokens": 1}},
        {"type": "message", "usage": {"input_tokens": 1, "output_tokens": 1}},
        {"object": "chat.completion", "model": "m", "usage":
            {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}},
        stream(chat_chunks(GPT, with_usage=False)),
    ],
    ids=str,
)  # fmt: skip
def test_what_tells_no_usage_is_refused_with_a_sentence(answer: Any) -> None:
    with pytest.raises(NoUsage) as raised:
        read_response(answer)
    assert SAID not in str(raised.value)


def test_an_answer_is_booked_by_its_own_id_and_not_a_word_of_it_is_kept(
    sqlite_store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = "canary-uid-9043"
    with usage_api(sqlite_store) as api:
        for answer, *_ in ANSWERS:
            api.send({"uid": uid, "time": NOW.isoformat(), "plan": "pro", "response": answer})
        day = api.get(f"/api/usage/{uid}")["daily"][0]
        assert (
            day["calls"] == 4
        )  # of each way to ask Anthropic the id is the same; chat has one id as a body, one streamed
        broken = {"uid": uid, "time": NOW.isoformat(), "response": {"content": SAID}}
        api.send(broken)
        api.flags(costs={"realtime_tracking": False})
        api.send({"uid": uid, "requestId": "told-later-1", "time": NOW.isoformat(), "response": ANSWERS[0][0]})
        api.roll()
        api.get("/api/costs", group_by="user")
    held = every_byte(sqlite_store._path)
    assert not any(word.encode() in held for word in (SAID, "canary sings", "sings 7319"))
    logged = capsys.readouterr().out
    assert uid not in logged
    assert SAID not in logged
    with_uid = [path for path in paths(sqlite_store) if uid in path]
    assert sorted({path.replace(uid, "UID").rpartition("/")[0] for path in with_uid}) == [
        "quota",
        "usage_summary/UID/daily",
        "usage_summary/UID/monthly",
    ]
    others = b"".join(data for path, data in contents(sqlite_store) if uid not in path and "/users/" not in path)
    assert uid.encode() not in others


def contents(store: SqliteStore) -> list[tuple[str, bytes]]:
    with closing(sqlite3.connect(store._path)) as connection:
        return list(connection.execute("SELECT path, data FROM docs"))


def paths(store: SqliteStore) -> list[str]:
    return [path for path, _ in contents(store)]

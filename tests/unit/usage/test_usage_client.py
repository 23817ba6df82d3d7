"""The wrapper with the real anthropic and openai clients, against servers that speak their protocols."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import anthropic
import openai
import pytest

from scripts.manifest import ROOT
from shared.store.sqlite import SqliteStore
from shared.usage_client import UsageClient, usage_of
from tests.provider_servers import SAID, Provider, chat_chunks, message_events, provider, response_events
from tests.usage_api import USAGE_KEY, Failing, UsageApi, usage_api

ASK = [{"role": "user", "content": "sing"}]
MADE: list[anthropic.Anthropic | openai.OpenAI] = []  # clients to be closed
CLAUDE, GPT = "claude-haiku-4-5", "gpt-4o"
# 21 × 1 + 188,086 × 0.10 + 356 × 1.25 + 100 × 2 + 393 × 5 = 21,439.6 millionths
# 86 × 2.50 + 1,920 × 1.25 + 300 × 10 = 5,615; 200 × 2.50 + 128 × 1.25 + 52 × 10 = 1,180
COSTS = {"claude_haiku_4_5": "2.14396", "chat": "0.5615", "responses": "0.118"}


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider() as running:
        yield running
        while MADE:
            MADE.pop().close()


@pytest.fixture
def usage(local: UsageApi) -> Iterator[UsageClient]:
    client = client_of(local)
    yield client
    client.close()


def client_of(api: UsageApi, **more: Any) -> UsageClient:
    """It has the server's time, so that no call is of another day, and waits as long as a busy machine may need."""
    given = {"timeout": 60.0, "clock": api.clock.now.timestamp, **more}
    return UsageClient(f"http://127.0.0.1:{api.port}", USAGE_KEY, **given)


def sent(usage: UsageClient) -> bool:
    return usage.flush(60)


def claude(server: Provider, **more: Any) -> anthropic.Anthropic:
    MADE.append(anthropic.Anthropic(base_url=server.url, api_key="sk-test", max_retries=0, **more))
    return MADE[-1]  # type: ignore[return-value]


def gpt(server: Provider, **more: Any) -> openai.OpenAI:
    MADE.append(openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-test", max_retries=0, **more))
    return MADE[-1]  # type: ignore[return-value]


def claude_whole(client: anthropic.Anthropic) -> Any:
    return client.messages.create(model=CLAUDE, max_tokens=100, messages=ASK).model_dump()  # type: ignore[arg-type]


def claude_events(client: anthropic.Anthropic) -> Any:
    stream = client.messages.create(model=CLAUDE, max_tokens=100, messages=ASK, stream=True)  # type: ignore[call-overload]
    return [event.model_dump() for event in stream]


def claude_stream(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(model=CLAUDE, max_tokens=100, messages=ASK) as stream:  # type: ignore[arg-type]
        return [*stream.text_stream, stream.get_final_message().model_dump()]


def claude_raw(client: anthropic.Anthropic) -> Any:
    raw = client.messages.with_raw_response.create(model=CLAUDE, max_tokens=100, messages=ASK)  # type: ignore[arg-type]
    return raw.parse().model_dump()


def chat_whole(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model=GPT, messages=ASK).model_dump()  # type: ignore[arg-type]


def chat_stream(client: openai.OpenAI) -> Any:
    options = {"include_usage": True}
    stream = client.chat.completions.create(model=GPT, messages=ASK, stream=True, stream_options=options)  # type: ignore[call-overload]
    return [chunk.model_dump() for chunk in stream]


def response_whole(client: openai.OpenAI) -> Any:
    return client.responses.create(model=GPT, input="sing").model_dump()


def response_stream(client: openai.OpenAI) -> Any:
    return [event.model_dump() for event in client.responses.create(model=GPT, input="sing", stream=True)]


CALLS: list[tuple[Callable[..., Any], Callable[[Any], Any], str]] = [
    (claude, claude_whole, "claude_haiku_4_5"),
    (claude, claude_events, "claude_haiku_4_5"),
    (claude, claude_stream, "claude_haiku_4_5"),
    (claude, claude_raw, "claude_haiku_4_5"),
    (gpt, chat_whole, "chat"),
    (gpt, chat_stream, "chat"),
    (gpt, response_whole, "responses"),
    (gpt, response_stream, "responses"),
]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("make", "call", "cost"), CALLS, ids=[call.__name__ for _, call, _ in CALLS])
def test_a_call_gives_what_it_gives_without_the_wrapper_and_its_usage_is_booked(
    server: Provider, local: UsageApi, usage: UsageClient, make: Any, call: Any, cost: str, packed: bool
) -> None:
    server.packed = packed
    without = call(make(server))
    with usage.user("ada", plan="pro"):
        assert call(usage.watch(make(server))) == without
    assert sent(usage)
    assert (usage.stats.accepted, usage.stats.lost, usage.stats.rejected) == (1, 0, 0)
    shown = local.get("/api/usage/ada")["daily"][0]
    assert (shown["calls"], shown["cost"]) == (1, COSTS[cost])
    assert server.bodies[0] == server.bodies[1]


def test_a_warning_of_the_client_is_the_same_with_the_wrapper_and_none_is_added(
    server: Provider, usage: UsageClient
) -> None:
    def warned(client: anthropic.Anthropic) -> list[tuple[type[Warning], str, str]]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for model in (CLAUDE, "claude-sonnet-4-5"):  # of the second one the client says that it will retire
                client.messages.create(model=model, max_tokens=9, messages=ASK)  # type: ignore[arg-type]
        return [(one.category, str(one.message), one.filename) for one in seen]

    without = warned(claude(server))
    with usage.user("ada"):
        assert warned(usage.watch(claude(server))) == without
    assert sent(usage)


def test_asynchronous_clients_are_watched_too(server: Provider, local: UsageApi, usage: UsageClient) -> None:
    async def both() -> None:
        one = usage.watch(anthropic.AsyncAnthropic(base_url=server.url, api_key="sk-test"))
        two = usage.watch(openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="sk-test"))

        async def of(uid: str) -> None:
            with usage.user(uid):
                stream = await one.messages.create(model=CLAUDE, max_tokens=9, messages=ASK, stream=True)  # type: ignore[call-overload]
                assert [event.type async for event in stream][-1] == "message_stop"
                whole = await two.responses.create(model=GPT, input="sing")
                assert whole.output_text == SAID

        await asyncio.gather(of("ada"), of("bob"))
        await one.close()
        await two.close()

    asyncio.run(both())
    assert sent(usage)
    for uid in ("ada", "bob"):
        assert local.get(f"/api/usage/{uid}")["daily"][0]["calls"] == 2


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
def test_an_error_of_the_provider_is_raised_as_ever_and_nothing_is_booked(
    server: Provider, usage: UsageClient, status: int
) -> None:
    server.fail = status
    for make, call in ((claude, claude_whole), (gpt, chat_whole)):
        with pytest.raises(Exception, match="planted") as without:
            call(make(server))  # type: ignore[arg-type]
        with pytest.raises(type(without.value), match="planted"), usage.user("ada"):
            call(usage.watch(make(server)))  # type: ignore[arg-type]
    assert sent(usage)
    assert usage.stats.recorded == 0


def test_a_stream_that_is_left_early_is_booked_with_what_was_told(
    server: Provider, local: UsageApi, usage: UsageClient
) -> None:
    client = usage.watch(claude(server))
    with usage.user("ada"), client.messages.stream(model=CLAUDE, max_tokens=9, messages=ASK) as stream:  # type: ignore[arg-type]
        next(iter(stream))
    assert sent(usage)
    assert local.get("/api/usage/ada")["daily"][0]["calls"] == 1


def test_a_stream_that_tells_no_usage_is_counted_and_not_guessed(server: Provider, usage: UsageClient) -> None:
    client = usage.watch(gpt(server))
    with usage.user("ada"):
        list(client.chat.completions.create(model=GPT, messages=ASK, stream=True))  # type: ignore[call-overload]
    assert sent(usage)
    assert (usage.stats.without_usage, usage.stats.recorded) == (1, 0)


def test_a_call_of_nobody_is_counted_and_not_recorded(server: Provider, usage: UsageClient) -> None:
    claude_whole(usage.watch(claude(server)))
    assert sent(usage)
    assert (usage.stats.without_user, usage.stats.recorded) == (1, 0)


def test_what_was_said_does_not_leave_the_app() -> None:
    chunks = [*chat_chunks(GPT, with_usage=True)]
    for events in ([*message_events(CLAUDE)], chunks, [*response_events(GPT)]):
        told = usage_of("".join(f"data: {json.dumps(event)}\n\n" for event in events))
        assert told is not None
        assert SAID not in json.dumps(told)
        assert not any(word in json.dumps(told) for word in ("canary", "sings"))


def test_while_the_server_is_away_calls_go_on_and_are_booked_once_it_is_back(
    server: Provider, sqlite_store: SqliteStore
) -> None:
    away = Failing(sqlite_store)
    with usage_api(away) as api:
        usage = client_of(api)
        away.down = True
        with usage.user("ada"):
            claude_whole(usage.watch(claude(server)))
        assert away.failed.wait(60)
        away.down = False
        assert sent(usage)
        assert (usage.stats.accepted, usage.stats.lost) == (1, 0)
        assert api.get("/api/usage/ada")["daily"][0]["calls"] == 1
        usage.close()


def test_what_cannot_be_sent_for_too_long_is_given_up_and_said_so(server: Provider, local: UsageApi) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:  # a port that nobody answers on afterwards
        port = taken.getsockname()[1]
    usage = UsageClient(f"http://127.0.0.1:{port}", USAGE_KEY, give_up_after=0.0)
    with usage.user("ada"):
        claude_whole(usage.watch(claude(server)))
    assert sent(usage)
    assert (usage.stats.recorded, usage.stats.accepted, usage.stats.lost) == (1, 0, 1)
    usage.close()


def test_an_event_that_is_sent_twice_because_the_answer_was_lost_counts_once(
    server: Provider, local: UsageApi, usage: UsageClient
) -> None:
    with usage.user("ada"):
        claude_whole(usage.watch(claude(server)))
        claude_whole(usage.watch(claude(server)))  # the provider's id is the same, as it is in a retry
    assert sent(usage)
    assert usage.stats.accepted == 2
    assert local.get("/api/usage/ada")["daily"][0]["calls"] == 1


FORKS = """
import os, sys, threading
import anthropic
from shared.usage_client import UsageClient

usage = UsageClient(sys.argv[1], sys.argv[2], timeout=60, clock=lambda: float(sys.argv[4]))
client = usage.watch(anthropic.Anthropic(base_url=sys.argv[3], api_key="sk-test", max_retries=0))
held, done = threading.Event(), threading.Event()

def hold():
    with usage._lock:  # as another thread may, at the very moment of a fork
        usage._queue.append(lambda: sys.exit("the parent's own"))
        held.set()
        done.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
if os.fork() == 0:
    with usage.user("child"):
        client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    os._exit(0 if usage.flush(120) and usage.stats.accepted == 1 else 3)
code = os.waitstatus_to_exitcode(os.wait()[1])
done.set()
sys.exit(code)
"""


def test_a_forked_child_sends_its_own_usage_whatever_its_parent_was_doing(server: Provider, local: UsageApi) -> None:
    where = [f"http://127.0.0.1:{local.port}", USAGE_KEY, server.url, str(local.clock.now.timestamp())]
    argv = [sys.executable, "-W", "ignore", "-c", FORKS, *where]
    with subprocess.Popen(argv, cwd=ROOT, text=True, stderr=subprocess.PIPE) as process:
        try:
            _, said = process.communicate(timeout=240)
        finally:
            process.kill()
    assert (process.returncode, said) == (0, "")
    assert local.get("/api/usage/child")["daily"][0]["calls"] == 1

"""What a call uses besides text: its text has its price in any case, and the rest has one, or is seen to have none.

Worked by hand from published prices. USD per million tokens: Sonnet 4.5 3 and 15, GPT-4.1 2 and 8, GPT-4o 2.50 and 10,
GPT Audio 2.50 and 10 for text, 32 and 64 for audio. Per thousand: web searches 10, OpenAI's file searches 2.50.
"""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.domain.bill import Billed
from shared.domain.cost import cost_of, most_cost
from shared.domain.ledger import Part
from shared.domain.price import Priced, rates_of
from shared.domain.provider_response import read_response
from shared.domain.reconcile import reconcile
from shared.domain.usage import Tokens
from shared.store.protocol import Store
from shared.usage_client import usage_of
from tests.core import CONFIG
from tests.provider_servers import SAID, answered, chat, message, message_events
from tests.unit.usage.test_price import DAY, SHIPPED
from tests.unit.usage.test_provider_response import stream
from tests.unit.usage.test_spending import said
from tests.usage_api import NOW, UsageApi, event, usage_api

SONNET = "claude-sonnet-4-5-20250929"
SEARCHED = {"input_tokens": 1000, "output_tokens": 200, "server_tool_use": {"web_search_requests": 3}}
SPOKEN = {
    "prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 150},
}  # fmt: skip
HEARD = Tokens(input=600, output=50, input_audio=400, output_audio=150)


def with_searches(model: str) -> dict[str, Any]:
    """OpenAI's response after two searches of the web, one page that was opened, and one search of files."""
    body = answered(model)
    tools = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": SAID}},
        {"type": "web_search_call", "id": "ws_2", "status": "completed", "action": {"type": "open_page", "url": SAID}},
        {"type": "web_search_call", "id": "ws_3", "status": "completed"},
        {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": [SAID], "results": None},
    ]
    usage = {"input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200}
    return {**body, "output": [*tools, *body["output"]], "usage": usage}


def sent(api: UsageApi, response: Any, **changes: Any) -> dict[str, Any]:
    """The user's day after an answer."""
    told = {"uid": "ada", "plan": "pro", "time": NOW.isoformat(), "requestId": "response-0001", **changes}
    assert api.send({**told, "response": response})["accepted"] == 1
    (day,) = api.get("/api/usage/ada")["daily"]
    return dict(day)


def test_claudes_web_searches_cost_besides_the_tokens(api: UsageApi) -> None:
    day = sent(api, message(SONNET, SEARCHED))
    # 1,000 × 3 + 200 × 15 = 6,000, and 3 searches at 10,000 millionths
    assert (day["estimated_cost_usd"], day["tokens"], day["unpriced"]) == ("0.036", 1200, {})
    assert api.get("/api/costs")["total"]["estimated_cost_usd"] == "0.036"


def test_openais_searches_are_counted_from_what_the_response_did_and_not_what_it_looked_for(local: UsageApi) -> None:
    day = sent(local, with_searches("gpt-4.1"))
    # 1,000 × 2 + 200 × 8 = 3,600, 2 searches of the web at 10,000 and one of files at 2,500 millionths
    assert (day["estimated_cost_usd"], day["unpriced"]) == ("0.0261", {})


def test_audio_has_its_own_price_and_is_no_text(api: UsageApi) -> None:
    assert read_response({**chat("gpt-audio"), "usage": SPOKEN}).tokens == HEARD
    day = sent(api, {**chat("gpt-audio"), "usage": SPOKEN})
    # 600 × 2.50 + 50 × 10 + 400 × 32 + 150 × 64 = 24,400 millionths
    assert (day["estimated_cost_usd"], day["tokens"], day["unpriced"]) == ("0.0244", 1200, {})


def test_of_a_model_without_a_price_for_audio_the_text_is_priced_and_the_audio_is_seen_as_unpriced(
    store: Store, tmp_path: Path
) -> None:
    with usage_api(store, SLACK_WEBHOOK_URL="http://127.0.0.1:9/") as api:
        day = sent(api, {**chat("gpt-4o"), "usage": SPOKEN})
        # 600 × 2.50 + 50 × 10 = 2,000 millionths
        assert (day["estimated_cost_usd"], day["calls"], day["tokens"]) == ("0.002", 1, 1200)
        assert day["unpriced"] == {"gpt-4o": {"calls": 0, "tokens": 550, "reason": "no_price_for_kind"}}
        assert api.get("/api/costs/overview")["unpriced_models"] == ["gpt-4o"]
        total = api.get("/api/costs")["total"]
        assert (total["estimated_cost_usd"], total["unpriced_calls"], total["unpriced_tokens"]) == ("0.002", 0, 550)
        assert api.roll()["fired"] == ["cost-unpriced-gpt-4o"]
        what, first = said(api)
        assert what.startswith(
            "550 tokens of openai/gpt-4o, since 2026-11-20, have no price, because it has none for a"
        )
        assert '"openai/gpt-4o": {"input_audio": "…", "output_audio": "…"}' in first
    with usage_api(store, config_dir=priced(tmp_path, input_audio="100", output_audio="200")) as api:
        done = api.roll()
        assert (done["repriced"], done["cleared"]) == (1, ["cost-unpriced-gpt-4o"])
        # 2,000, and 400 × 100 + 150 × 200 = 70,000 millionths
        assert api.get("/api/costs")["total"]["estimated_cost_usd"] == "0.072"


def priced(folder: Path, **rates: str) -> Path:
    shutil.copytree(CONFIG, folder / "config")
    written = json.loads((CONFIG / "pricing.json").read_text())
    written["models"] = {"openai/gpt-4o": rates, "openai/own": {"input": "1", "output": "2", **rates}}
    (folder / "config/pricing.json").write_text(json.dumps(written))
    return folder / "config"


def test_searches_without_a_price_are_unpriced_and_a_thousand_of_them_is_what_is_priced(
    sqlite_store: Store, tmp_path: Path
) -> None:
    told = event(provider="openai", model="own", searches={"web": 4, "file": 1})
    (tmp_path / "without").mkdir()
    with usage_api(sqlite_store, config_dir=priced(tmp_path / "without", cache_read="1")) as api:
        api.send(told)
        (day,) = api.get("/api/usage/ada")["daily"]
        assert day["estimated_cost_usd"] == "0.0014"
        assert day["unpriced"] == {"own": {"calls": 0, "tokens": 0, "reason": "no_price_for_kind", "searches": 5}}
        assert api.get("/api/costs")["groups"][0]["unpriced_searches"] == 5
    (tmp_path / "with").mkdir()
    with usage_api(sqlite_store, config_dir=priced(tmp_path / "with", web_searches="5", file_searches="2.5")) as api:
        assert api.roll()["repriced"] == 1
        assert api.get("/api/costs")["total"]["estimated_cost_usd"] == "0.0239"  # and 4 at 5,000 and 1 at 2,500
        assert api.roll()["repriced"] == 0


def test_what_is_free_but_for_searches_without_a_price_is_not_shown_as_nothing(
    sqlite_store: Store, tmp_path: Path
) -> None:
    with usage_api(sqlite_store, config_dir=priced(tmp_path, input="0", output="0")) as api:
        api.send(event(provider="openai", model="own", searches={"web": 1}))
        assert api.get("/api/usage/ada")["daily"][0]["cost"] == "unpriced"
        assert api.get("/api/costs")["total"]["cost"] == "unpriced"


def test_a_search_costs_the_same_in_a_batch() -> None:
    found = rates_of(SHIPPED, "anthropic", SONNET, DAY, "batch")
    assert isinstance(found, Priced)
    assert cost_of(Tokens(input=1000, output=200, web_searches=3), found.rates) == Decimal("0.033")


def test_a_stream_tells_its_searches_at_its_end() -> None:
    events = [*message_events(SONNET)]
    events[-2]["usage"] = {"output_tokens": 393, "server_tool_use": {"web_search_requests": 2}}
    assert read_response(stream(events)).tokens.web_searches == 2


def test_the_wrapper_sends_how_often_was_searched_and_not_what_for() -> None:
    for text in (json.dumps(with_searches("gpt-4.1")), stream([{"response": with_searches("gpt-4.1")}])):
        kept = usage_of(text)
        assert kept is not None
        assert SAID not in json.dumps(kept)
        tokens = read_response(kept).tokens
        assert (tokens.web_searches, tokens.file_searches) == (2, 1)


@pytest.mark.parametrize("output", ["a text", [None, {"type": "web_search_call", "action": "search"}], {"type": "x"}])
def test_the_wrapper_loses_no_usage_by_an_output_that_it_does_not_know(output: Any) -> None:
    kept = usage_of(json.dumps({**with_searches("gpt-4.1"), "output": output}))
    assert kept is not None
    assert read_response(kept).tokens.input == 1000


def test_a_reservation_holds_the_searches_and_the_audio_that_a_call_may_use(local: UsageApi) -> None:
    held = local.reserve(plan="pro", caching="none", maxSearches=3).json["held"]["costUsd"]
    assert held == "0.048"  # 1,000 × 3 + 1,000 × 15 = 18,000, and 3 at 10,000 millionths
    asked = {"provider": "openai", "model": "gpt-audio", "plan": "pro", "caching": "none"}
    assert local.reserve(requestId="reserve-0002", **asked).json["held"]["costUsd"] == "0.096"  # 1,000 × (32 + 64)
    assert local.reserve(requestId="reserve-0003", audio=False, **asked).json["held"]["costUsd"] == "0.0125"
    found = rates_of(SHIPPED, "openai", "gpt-3.5-turbo", DAY, "standard")
    assert isinstance(found, Priced)
    assert most_cost(found.rates, 1000, 1000, searches=1) is None
    refused = local.reserve(requestId="reserve-0004", maxSearches=-1, audio="no")
    assert {fault["path"] for fault in refused.json["errors"]} == {"maxSearches", "audio"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"searches": 3}, "searches: must be an object with web or file"),
        ({"searches": {"web": -1}}, "searches.web: must be a whole number from 0 to 10000"),
        ({"searches": {"image": 1}}, "searches.image: unknown"),
    ],
    ids=str,
)
def test_faults_of_searches_are_named(change: dict[str, Any], reason: str, local: UsageApi) -> None:
    assert local.send(event(**change))["rejected"] == [{"index": 0, "reasons": [reason]}]


def test_a_bill_whose_lines_have_audio_and_searches_in_them_is_explained() -> None:
    kinds = Tokens(input=600, output=50, input_audio=400, output_audio=150, web_searches=2)
    counted = Part("openai", "gpt-audio", "pro", 1, 1200, 0, Decimal("0.0444"), kinds=kinds)
    found = rates_of(SHIPPED, "openai", "gpt-audio", DAY, "standard")
    assert isinstance(found, Priced)
    rates = found.rates.over(rates_of(SHIPPED, "openai", "gpt-4.1", DAY, "standard").rates)  # type: ignore[union-attr]
    bill = {("2026-11-20", "gpt-audio"): Billed(Decimal("0.0444"), Tokens(input=1000, output=200))}
    (line,) = reconcile(bill, {("2026-11-20", "gpt-audio"): counted}, lambda day, model: rates)
    assert (line.variance, line.causes, line.unexplained) == (0, (), 0)

"""Prices and costs: usages worked by hand, what is found and what is not, overrides, and sums that lose nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.cost import cost_of, cost_of_class, most_cost, plain
from shared.domain.faults import ConfigError
from shared.domain.price import Priced, Rate, Rates, Unpriced, rates_of
from shared.domain.pricing import Pricing, undated
from shared.domain.usage import INPUT_BOUNDS, Tokens, input_class
from shared.usage.prices import PublishedPrices, load_pricing
from tests.core import CONFIG

WORKED = json.loads((Path(__file__).parents[2] / "data" / "priced_usages.json").read_text())["usages"]
SHIPPED = PublishedPrices(load_pricing(CONFIG))
DAY = date(2026, 11, 20)
_OWN = {"input": "input", "output": "output", "cacheRead": "cache_read", "cacheWrite5m": "cache_write_5m",
        "cacheWrite1h": "cache_write_1h", "reasoning": "reasoning"}  # fmt: skip


def tokens_of(counts: Mapping[str, int]) -> Tokens:
    return Tokens(**{_OWN[name]: count for name, count in counts.items()})


def prices(**models: Any) -> PublishedPrices:
    written = json.loads((CONFIG / "pricing.json").read_text())
    return PublishedPrices(Pricing.model_validate({**written, "models": models["models"]}))


def usd(source: PublishedPrices, provider: str, model: str, tokens: Tokens, day: date = DAY) -> str:
    found = rates_of(source, provider, model, day, "standard")
    assert isinstance(found, Priced)
    cost = cost_of(tokens, found.rates)
    assert cost is not None
    return plain(cost)


def test_there_are_enough_usages_that_were_worked_by_hand() -> None:
    assert len(WORKED) >= 60


@pytest.mark.parametrize("usage", WORKED, ids=lambda u: f"{u['model']}-{u['usd']}")
def test_a_usage_costs_what_was_worked_out_by_hand_to_the_last_decimal(usage: Mapping[str, Any]) -> None:
    found = rates_of(SHIPPED, usage["provider"], usage["model"], date.fromisoformat(usage["day"]), usage["tier"])
    assert isinstance(found, Priced)
    cost = cost_of(tokens_of(usage["tokens"]), found.rates)
    assert cost is not None
    assert plain(cost) == usage["usd"]


# The original's MODEL_COSTS


@pytest.mark.parametrize(
    ("provider", "model", "input_", "output"),
    [
        ("anthropic", "claude-sonnet-4-5", "3", "15"),
        ("anthropic", "claude-opus-4", "15", "75"),
        ("openai", "gpt-4", "30", "60"),
        ("openai", "gpt-4-turbo", "10", "30"),
    ],
)
def test_the_original_prices_are_those_of_the_list(provider: str, model: str, input_: str, output: str) -> None:
    assert usd(SHIPPED, provider, model, Tokens(input=1_000_000 // 10)) == plain(Decimal(input_) / 10)
    assert usd(SHIPPED, provider, model, Tokens(output=1_000_000)) == output


# Which model


@pytest.mark.parametrize(
    "model",
    [
        "claude-sonnet-4-5-foobar", "claude-sonnet-4-5-2025", "claude-sonnet-4-5-20251399", "claude-sonnet-4-55",
        "gpt-4-foobar", "Claude-Sonnet-4-5", "claude", "gpt-4-20240101x",
    ],
)  # fmt: skip
def test_what_is_no_models_id_has_no_price_however_it_begins(model: str) -> None:
    for provider in ("anthropic", "openai"):
        assert rates_of(SHIPPED, provider, model, DAY, "standard") == Unpriced(model, "unknown_model")


def test_what_is_not_priced_by_tokens_or_not_in_a_tier_says_so() -> None:
    assert rates_of(SHIPPED, "openai", "whisper-1", DAY, "standard") == Unpriced("whisper-1", "not_priced_by_token")
    assert rates_of(SHIPPED, "anthropic", "claude-haiku-4-5", DAY, "priority") == Unpriced(
        "claude-haiku-4-5", "no_price_for_tier"
    )
    embedding = rates_of(SHIPPED, "openai", "text-embedding-3-small", DAY, "standard")
    assert isinstance(embedding, Priced)
    assert cost_of(Tokens(input=1, output=1), embedding.rates) is None


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
        ("gpt-4-0613", None),
        ("20250929", None),
        ("model-20250230", None),
    ],
)
def test_a_date_at_the_end_of_an_id_is_told_from_what_is_none(model: str, base: str | None) -> None:
    assert undated(model) == base


# Overrides


def test_an_override_names_single_rates_from_a_day_on_and_leaves_the_others() -> None:
    source = prices(models={"anthropic/claude-sonnet-4-5": {"from": "2026-11-20", "output": "12"}})
    both = Tokens(input=1000, output=1000)
    assert usd(source, "anthropic", "claude-sonnet-4-5-20250929", both, date(2026, 11, 19)) == "0.018"
    assert usd(source, "anthropic", "claude-sonnet-4-5-20250929", both) == "0.015"


def test_an_override_holds_in_batches_by_the_tiers_share() -> None:
    source = prices(models={"anthropic/claude-sonnet-4-5": {"output": "12"}})
    found = rates_of(source, "anthropic", "claude-sonnet-4-5", DAY, "batch")
    assert isinstance(found, Priced)
    assert cost_of(Tokens(input=1000, output=1000), found.rates) == Decimal("0.0075")


def test_a_model_that_nobody_publishes_can_be_priced_with_tiers() -> None:
    source = prices(models={"openai/our-own": {"input": "0.5", "output": {"base": "2", "above": {"200000": "4"}}}})
    assert usd(source, "openai", "our-own", Tokens(input=1000, output=10)) == "0.00052"
    assert usd(source, "openai", "our-own", Tokens(input=200001, output=10)) == "0.1000405"


@pytest.mark.parametrize(
    ("models", "fault"),
    [
        ({"claude": {"input": "1"}}, "models: 'claude': must be provider/model"),
        ({"a/b": {}}, "models.a/b[0]: names no rate; there are input, output, cache_read, cache_write_5m"),
        ({"a/b": {"input": "-1"}}, "models.a/b[0].input.base: must be at least 0"),
        ({"a/b": {"inptu": "1"}}, "models.a/b[0].inptu: there is no such field"),
        ({"a/b": {"input": {"base": "1", "above": {"7": "2"}}}}, "models.a/b[0].input.above: 7: usage is kept apart"),
    ],
    ids=str,
)  # fmt: skip
def test_a_fault_of_the_prices_is_named_with_its_path(models: Any, fault: str, tmp_path: Path) -> None:
    (tmp_path / "pricing.json").write_text(json.dumps({"models": models}))
    with pytest.raises(ConfigError) as raised:
        load_pricing(tmp_path)
    assert [f for f in raised.value.faults if f.startswith(fault)], raised.value.faults


def test_a_price_in_json_is_read_as_it_is_written() -> None:
    exact = json.loads('{"models": {"openai/own": {"input": 0.1, "output": 0.30}}}', parse_float=Decimal)
    source = PublishedPrices(Pricing.model_validate(exact))
    assert usd(source, "openai", "own", Tokens(input=3_000_000)) == "0.3"


# Sums


COUNT = st.integers(0, 3_000_000)
CALLS = st.lists(st.builds(Tokens, COUNT, COUNT, COUNT, COUNT, COUNT), min_size=1, max_size=8)


@given(CALLS)
def test_the_sum_of_a_classs_tokens_costs_what_its_calls_cost(calls: list[Tokens]) -> None:
    for name in ("claude-sonnet-4-5", "claude-haiku-5-5"):
        found = rates_of(SHIPPED, "anthropic", name, DAY, "standard")
        assert isinstance(found, Priced)
        classes: dict[int, Tokens] = {}
        for call in calls:
            classes[input_class(call)] = classes.get(input_class(call), Tokens()) + call
        summed = sum(cost_of_class(tokens, found.rates, n) or Decimal(0) for n, tokens in classes.items())
        assert summed == sum(cost_of(call, found.rates) or Decimal(0) for call in calls)


@given(st.builds(Tokens, COUNT, COUNT, COUNT, COUNT, COUNT), st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-5"]))
def test_no_call_costs_more_than_the_most_that_it_can(tokens: Tokens, model: str) -> None:
    found = rates_of(SHIPPED, "anthropic", model, DAY, "standard")
    assert isinstance(found, Priced)
    cost, most = cost_of(tokens, found.rates), most_cost(found.rates, tokens.all_input, tokens.output)
    assert cost is not None
    assert most is not None
    assert cost <= most


def test_every_tier_of_the_list_begins_at_a_bound_by_which_usage_is_kept_apart() -> None:
    starts: set[int] = set()
    for provider, model in SHIPPED._published:
        found = SHIPPED.find(provider, model)
        listed = [d.rates for d in found.standard] + [d.rates for _, d in found.variants] if found else []
        for rates in listed:
            starts |= {
                start for name in Rates.__slots__ for start, _ in (getattr(rates, name) or Rate(Decimal(0))).tiers
            }
    assert starts <= set(INPUT_BOUNDS)
    assert len(starts) > 3


def test_prices_are_imported_when_the_first_is_asked_for_and_no_connection_is_made() -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "socket.create_connection = refuse\n"
        "from pathlib import Path\n"
        "from shared.usage.prices import PublishedPrices, load_pricing\n"
        "prices = PublishedPrices(load_pricing(Path('config')))\n"
        "assert 'genai_prices' not in sys.modules\n"
        "assert prices.find('anthropic', 'claude-sonnet-4-5')\n"
        "assert 'genai_prices' in sys.modules\n"
        "import threading\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=CONFIG.parent, check=True, timeout=300)

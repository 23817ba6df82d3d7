"""Alerts on spending in plain words: what was spent of what, what has no price, and what to do first. Pure.

They go by `spending` of the facts, which has amounts as exact texts. Alerts of earlier releases have none, and are told
in the words of an SLO.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from shared.domain.ledger import OTHER
from shared.notify.figures import rounded, with_unit

Facts = Mapping[str, Any]

_WHY = {
    "unknown_model": "the price list does not know it",
    "not_priced_by_token": "the price list has no price for its tokens",
    "no_price_for_tier": "it has none for their tier",
    "no_price_for_kind": "it has none for a kind of them",
}


def is_spending(facts: Facts) -> bool:
    return bool(facts.get("spending"))


def sentence(facts: Facts, *, resolved: bool) -> str | None:
    """What was spent, or that it is over; None of what is no alert on spending."""
    told = facts.get("spending")
    if not told:
        return None
    words = {
        "budget": _budget,
        "forecast": _forecast,
        "spike": _spike,
        "unpriced": _unpriced,
        "forgotten": _forgotten,
    }
    return words[told["what"]](facts, told, resolved)


def first_step(facts: Facts) -> str | None:
    told = facts.get("spending")
    if not told:
        return None
    if told["what"] == "forgotten":
        return "See that who reserves also settles or releases, when a call fails or is given up too."
    if told["what"] == "unpriced":
        if told["model"] == OTHER:
            return "See what names so many: a model's or a plan's name may have a part that changes from call to call."
        return _entry(told)
    scope = "" if told["scope"] is None else told["scope"].partition(" ")[0]
    if scope == "user":
        return f"See whose calls these are: ./ops usage {told['scope'].partition(' ')[2]}."
    return f"See what is expensive: ./ops costs --by {'model' if scope != 'model' else 'user'}."


def dollars(amount: Decimal, *unlike: Decimal) -> str:
    """`$1,234.50`. Never like nothing, or like one of `unlike`, when it is not."""
    whole, _, cents = rounded(amount, 2, [Decimal(0), *unlike]).partition(".")
    return f"${whole}.{cents:0<2}"


def _budget(facts: Facts, told: Mapping[str, Any], resolved: bool) -> str:
    spent, budget = Decimal(told["spent"]), Decimal(told["budget"])
    amounts = f"{dollars(spent, budget)} of {dollars(budget)}"
    if resolved:
        return f"{_whose(told)} have cost {amounts} this month, less than {told['percent']} % of the budget."
    if budget and spent < 2 * budget:
        share = with_unit(rounded(100 * spent / budget, 0, [Decimal(100)]), "%")
        return f"{_whose(told)} have cost {share} of this month's budget: {amounts}."
    times = f"{rounded(spent / budget, 1)} × this month's budget" if budget else "more than this month's budget"
    return f"{_whose(told)} have cost {times}: {amounts}."


def _forecast(facts: Facts, told: Mapping[str, Any], resolved: bool) -> str:
    expected, budget = Decimal(told["expected"]), Decimal(told["budget"])
    amounts = f"{dollars(expected, budget)} of {dollars(budget)}"
    if resolved:
        return f"At the pace of the last 7 days this month ends within its budget: {amounts}."
    return f"At the pace of the last 7 days this month ends beyond its budget: {amounts}."


def _spike(facts: Facts, told: Mapping[str, Any], resolved: bool) -> str:
    spent, usual = Decimal(told["spent"]), Decimal(told["usual"])
    normal = f"{dollars(usual)} is usual (the median of the last {told['days']} days)"
    if resolved:
        return f"{_whose(told)} have cost {dollars(spent)} today, and {normal}."
    times = f", {rounded(spent / usual, 1)} × as much as usual" if usual else ""
    return f"{_whose(told)} have cost {dollars(spent)} today{times}: {normal}."


def _unpriced(facts: Facts, told: Mapping[str, Any], resolved: bool) -> str:
    model = told["model"]
    if resolved:
        return f"Of the last {told['days']} days no usage of {model} is without a price any more."
    counted = [f"{told[name]:,} {name}" for name in ("tokens", "searches") if told.get(name)]
    of = "" if model == OTHER else f" of {' and '.join(f'{provider}/{model}' for provider in told['providers'])}"
    when = f"in {_calls(told['calls'])} since {told['since']}" if told["calls"] else f"since {told['since']}"
    why = "more models and plans are named in a day than are kept apart" if model == OTHER else _WHY[told["reason"]]
    what = " and ".join(counted) or "What was used"
    return f"{what}{of}, {when}, have no price, because {why}: they are in no cost, forecast or budget."


def _forgotten(facts: Facts, told: Mapping[str, Any], resolved: bool) -> str:
    count, most = round(facts["value"]), round(facts["threshold"])
    if resolved:
        return f"Today fewer than {most:,} reservations have been forgotten."
    return (
        f"{count:,} reservations of today expired without being settled or released."
        " If the calls were made, nobody has counted them."
    )


def _entry(told: Mapping[str, Any]) -> str:
    """The exact lines for config/pricing.json, but for the prices, which only the provider knows."""
    if told["reason"] == "no_price_for_tier":
        tiers = ", ".join(f'"{tier}": "…"' for tier in told.get("tiers") or ["TIER"])
        lines = ", ".join(f'"{provider}": {{{tiers}}}' for provider in told["providers"])
        where, what = '"tiers"', "… is the share of the standard price that it costs, such as 0.5"
    else:
        rates = ", ".join(f'"{name}": "…"' for name in told.get("rates") or ["input", "output"])
        lines = ", ".join(f'"{provider}/{told["model"]}": {{{rates}}}' for provider in told["providers"])
        searches = any(name.endswith("_searches") for name in told.get("rates") or ())
        per = "a million tokens, or a thousand searches" if searches else "a million tokens"
        where, what = '"models"', f"… are the provider's prices in USD for {per}"
    return (
        f"Add to {where} of config/pricing.json: {lines}, where {what}."
        f" Once that is deployed, the usage of the last {told['days']} days is priced."
    )


def _whose(told: Mapping[str, Any]) -> str:
    return f"Calls of {told['scope']}" if told["scope"] else "All calls of language models"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"

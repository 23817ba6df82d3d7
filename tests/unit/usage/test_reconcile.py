"""The provider's bill: what is missing, late and repriced is named with its amount, and nothing is left over."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.bill import BadBill, read_bill
from tests.usage_api import NOW, UsageApi, event

HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-4-5"
CSV = """\
Date,Model,Input_Tokens,Output_Tokens,Cost_USD
2026-11-18,claude-sonnet-4-5-20250929,5000,1000,$0.03
2026-11-19,claude-sonnet-4-5-20250929,3000,600,0.018
2026-11-20,claude-sonnet-4-5-20250929,1000,200,0.006
2026-11-18,claude-haiku-4-5-20251001,10000,2000,0.02
2026-11-19,claude-haiku-4-5-20251001,10000,2000,0.018
2026-11-20,claude-haiku-4-5-20251001,10000,2000,0.018
"""


def told(number: int, days_ago: int, model: str, input_: int, output: int, **changes: Any) -> dict[str, Any]:
    at = NOW - timedelta(days=days_ago)
    return event(f"bill-{number:06}", at, model=model, tokens={"input": input_, "output": output}, **changes)


def reconciled(api: UsageApi, bill: str) -> Any:
    reply = api.call("POST", "/api/costs/reconcile", {"provider": "anthropic", "bill": bill})
    assert reply.status == 200, reply.text
    return reply.json


def causes(result: Any, day: str, model: str) -> list[tuple[str, str]]:
    (line,) = [one for one in result["lines"] if (one["day"], one["model"]) == (day, model)]
    assert line["unexplained_usd"] == "0"
    return [(cause["cause"], cause["usd"]) for cause in line["causes"]]


def test_missing_late_and_repriced_usage_is_named_each_with_its_amount(local: UsageApi) -> None:
    local.send(
        # the bill of the 18th has 1,000 and 200 that nobody told, and 1,000 and 200 that were counted on the 19th
        told(1, 2, SONNET, 3000, 600),
        told(2, 1, SONNET, 4000, 800),
        told(3, 0, SONNET, 1000, 200),
        # Haiku's tokens agree on each day; from the 19th on the bill has 9 tenths of the price
        *[told(10 + days_ago, days_ago, HAIKU, 10000, 2000) for days_ago in (0, 1, 2)],
    )
    result = reconciled(local, CSV)
    assert causes(result, "2026-11-18", SONNET) == [("late", "0.006"), ("missing", "0.006")]
    assert causes(result, "2026-11-19", SONNET) == [("late", "-0.006")]
    assert causes(result, "2026-11-20", SONNET) == []
    assert causes(result, "2026-11-18", HAIKU) == []
    assert causes(result, "2026-11-19", HAIKU) == [("repriced", "-0.002")]
    assert causes(result, "2026-11-20", HAIKU) == [("repriced", "-0.002")]
    assert result["counted_usd"] == "0.108"
    assert (result["billed_usd"], result["variance_usd"], result["variance_percent"]) == ("0.11", "0.002", "1.82")
    assert result["causes_usd"] == {"late": "0", "missing": "0.006", "repriced": "-0.004"}
    assert result["unexplained_usd"] == "0"
    explained = [c["explanation"] for line in result["lines"] for c in line["causes"]]
    assert "1,200 tokens were billed here and counted on 2026-11-19" in explained
    assert "1,200 tokens were billed that nobody told us of" in explained
    assert "billed at another price: 90.00 % of our price" in explained


def test_a_bill_in_json_says_the_same(local: UsageApi) -> None:
    local.send(told(1, 2, SONNET, 5000, 1000))
    rows = [dict(zip(CSV.splitlines()[0].lower().split(","), CSV.splitlines()[1].split(","), strict=True))]
    for text in (json.dumps(rows), json.dumps({"data": rows})):
        assert reconciled(local, text)["variance_usd"] == "0"
    exact = '[{"day": "2026-11-18T00:00:00Z", "model": "claude-sonnet-4-5", "cost": 0.03}]'
    assert read_bill(exact)["2026-11-18", SONNET].usd == Decimal("0.03")


def test_a_day_without_a_line_on_the_bill_is_still_of_its_time(local: UsageApi) -> None:
    local.send(told(1, 2, SONNET, 5000, 1000), told(2, 1, SONNET, 4000, 800), told(3, 0, SONNET, 1000, 200))
    lines = CSV.splitlines()
    result = reconciled(local, "\n".join([lines[0], lines[1], lines[3]]))
    assert causes(result, "2026-11-19", SONNET) == [("not_billed", "-0.024")]
    assert (result["counted_usd"], result["billed_usd"], result["unexplained_usd"]) == ("0.06", "0.036", "0")


def test_a_day_may_be_written_without_dashes_and_the_provider_in_capitals(local: UsageApi) -> None:
    local.send(told(1, 2, SONNET, 5000, 1000))
    bill = CSV.splitlines()[0] + "\n20261118,claude-sonnet-4-5,5000,1000,0.03\n"
    reply = local.call("POST", "/api/costs/reconcile", {"provider": "Anthropic", "bill": bill})
    assert (reply.json["provider"], reply.json["from"], reply.json["variance_usd"]) == ("anthropic", "2026-11-18", "0")


def test_amounts_as_doubles_are_printed_are_taken_exactly(local: UsageApi) -> None:
    bill = "date,model,cost_usd\n" + "2026-11-18,claude-sonnet-4-5,3.4000000000000005e-05\n" * 2 + "2026-11-18,m,$1,5\n"
    result = reconciled(local, bill.replace("$1,5", '"$1,000.5"'))
    assert result["billed_usd"] == "1000.50006800000000000001"
    assert result["unexplained_usd"] == "0"


def test_what_was_not_billed_and_what_had_no_price_is_named(local: UsageApi) -> None:
    local.send(told(1, 2, SONNET, 5000, 1000), told(2, 2, HAIKU, 1000, 0), told(3, 2, "claude-own", 1000, 10))
    bill = CSV.splitlines()[0] + "\n2026-11-18,claude-sonnet-4-5,5000,1000,0.03\n2026-11-18,claude-own,1000,10,0.07\n"
    result = reconciled(local, bill)
    assert causes(result, "2026-11-18", SONNET) == []
    assert causes(result, "2026-11-18", HAIKU) == [("not_billed", "-0.001")]
    assert causes(result, "2026-11-18", "claude-own") == [("unpriced", "0.07")]


def test_batches_are_told_apart_from_another_price(local: UsageApi) -> None:
    local.send(told(1, 2, SONNET, 5000, 1000, tier="batch"))
    result = reconciled(local, CSV.splitlines()[0] + "\n2026-11-18,claude-sonnet-4-5,5000,1000,0.015\n")
    assert result["variance_usd"] == "0"
    assert result["unexplained_usd"] == "0"


def test_a_bill_without_tokens_tells_only_what_it_can(local: UsageApi) -> None:
    local.send(told(1, 2, SONNET, 5000, 1000))
    result = reconciled(
        local, "date,model,cost_usd\n2026-11-18,claude-sonnet-4-5,0.05\n2026-11-18,claude-haiku-4-5,1\n"
    )
    by_model = {line["model"]: line for line in result["lines"]}
    assert [c["cause"] for c in by_model[HAIKU]["causes"]] == ["missing"]
    assert (by_model[SONNET]["causes"], by_model[SONNET]["unexplained_usd"]) == ([], "0.02")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "(the whole): has no line"),
        ("date,cost\n2026-11-18,1\n", "(the whole): has no column model"),
        ("date,model,cost\nyesterday,m,1\n", "line 1: day: "),
        ("date,model,cost\n2026-11-18,m,free\n", "line 1: cost: must be an amount"),
        ("date,model,cost,input_tokens\n2026-11-18,m,1,-5\n", "line 1: input tokens: must be a whole number"),
        ("date,model,cost\n2026-11-18,m,1e999999\n", "line 1: cost: must be an amount"),
        ("date,model,cost\n2026-11-18,m,1e-999999\n", "line 1: cost: must be an amount"),
        ("date,model,cost\n2026-11-18,m,sNaN\n", "line 1: cost: must be an amount"),
        (f"date,model,cost\n2026-11-18,{'m' * 201},1\n", "line 1: model: must have 1 to 200"),
        (f"date,model,cost\n2026-11-18,{'m' * 200_000},1\n", "(the whole): is no CSV"),
        (f"date,model,cost,input_tokens\n2026-11-18,m,1,{'9' * 5000}\n", "line 1: input tokens: must be a whole"),
        ("{", "(the whole): is no JSON"),
        ("[1]", "(the whole): must be a list of objects"),
    ],
)
def test_every_fault_of_a_bill_is_named_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(BadBill) as raised:
        read_bill(text)
    assert raised.value.faults[0].startswith(fault)


def test_a_bill_with_faults_is_a_problem_that_names_them(local: UsageApi) -> None:
    reply = local.call("POST", "/api/costs/reconcile", {"provider": "anthropic", "bill": "date,model,cost\nx,,y\n"})
    assert (reply.status, len(reply.json["errors"])) == (400, 3)


# --- kept, for the report


def kept(api: UsageApi, **query: str) -> list[dict[str, Any]]:
    return list(api.get("/api/costs/reconcile", **query)["reconciliations"])


def bill_of(day: str, usd: str, model: str = SONNET) -> str:
    return f"date,model,cost_usd\n{day},{model},{usd}\n"


def test_what_came_of_a_bill_is_kept_once_for_its_days_with_who_asked_and_when(api: UsageApi) -> None:
    api.send(told(1, 2, SONNET, 5000, 1000))
    assert reconciled(api, bill_of("2026-11-18", "0.05"))["kept"] == "anthropic-2026-11-18-2026-11-18"
    assert reconciled(api, bill_of("2026-11-18", "0.04"))["kept"] == "anthropic-2026-11-18-2026-11-18"
    (one,) = kept(api)
    stored = api.app.store.get("cost_reconciliations/anthropic-2026-11-18-2026-11-18")
    assert one == {
        "id": "anthropic-2026-11-18-2026-11-18", "provider": "anthropic", "from": "2026-11-18", "to": "2026-11-18",
        "billedUsd": "0.04", "countedUsd": "0.03", "varianceUsd": "0.01", "unexplainedUsd": "0.01",
        "at": NOW.isoformat(), "by": one["by"],
    }  # fmt: skip
    assert one["by"]
    assert stored is not None
    assert stored.data["at"] == NOW


def test_a_bill_that_is_only_tried_is_not_kept_and_a_wrong_one_can_be_dropped(local: UsageApi) -> None:
    body = {"provider": "anthropic", "bill": bill_of("2026-11-18", "0.05"), "keep": False}
    assert local.call("POST", "/api/costs/reconcile", body).json["kept"] is None
    assert kept(local) == []
    name = reconciled(local, body["bill"])["kept"]
    assert [one["id"] for one in kept(local)] == [name]
    assert kept(local, from_="2026-11-19") == []
    assert local.call("DELETE", f"/api/costs/reconcile/{name}").status == 200
    assert (local.call("DELETE", f"/api/costs/reconcile/{name}").status, kept(local)) == (404, [])


def test_what_is_not_wholly_counted_is_not_kept(local: UsageApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.usage_api.costs.MOST_SECONDS", -1.0)
    result = reconciled(local, bill_of("2026-11-18", "0.05"))
    assert (result["complete"], result["kept"], kept(local)) == (False, None, [])

"""Usage in and summaries out, over HTTP on both stores: the original's test of cost tracking, and what counts once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.usage_api import NOW, USAGE_KEY, UsageApi, event

DAY = "2026-11-20"


# The original's Test 4. Worked by hand: per million tokens Sonnet 3 and 15, Opus 15 and 75, GPT-4 30 and 60, GPT-4
# Turbo 10 and 30 USD; so the first call costs 1,000 × 3 + 500 × 15 = 10,500 millionths, 1.05 cents, and so on.
TEN = [
    ("anthropic", "claude-sonnet-4-5", 1000, 500, "1.05"),
    ("anthropic", "claude-sonnet-4-5", 12345, 678, "4.7205"),
    ("anthropic", "claude-sonnet-4-5", 7, 1, "0.0036"),
    ("anthropic", "claude-opus-4", 1000, 500, "5.25"),
    ("anthropic", "claude-opus-4", 2001, 333, "5.499"),
    ("openai", "gpt-4", 1000, 500, "6"),
    ("openai", "gpt-4", 1, 1, "0.009"),
    ("openai", "gpt-4", 8000, 191, "25.146"),
    ("openai", "gpt-4-turbo", 1000, 500, "2.5"),
    ("openai", "gpt-4-turbo", 100000, 4096, "112.288"),
]


def ten(uid: str = "ada") -> list[dict[str, Any]]:
    return [
        event(f"call-{n:06}", uid=uid, provider=p, model=m, tokens={"input": i, "output": o})
        for n, (p, m, i, o, _) in enumerate(TEN)
    ]


def test_ten_calls_of_different_models_cost_what_was_worked_out_by_model_by_day_and_by_month(api: UsageApi) -> None:
    for one in ten():
        assert api.send(one) == {"accepted": 1, "rejected": [], "known": 0, "stored": "summaries"}
    yesterday = event("call-yesterday", NOW - timedelta(days=1), tokens={"input": 1_000_000, "output": 0})
    api.send({**yesterday, "tokens": {"input": 100_000, "output": 0}})
    shown = api.get("/api/usage/ada")
    before, today = shown["daily"]
    assert (today["calls"], today["tokens"], today["duration"]) == (10, 133654, 9000)
    assert today["cost"] == "162.4661"
    assert today["estimated_cost_usd"] == "1.624661"
    assert today["breakdown_by_model"] == {
        "claude_opus_4": {"calls": 2, "tokens": 3834, "cost": "10.749"},
        "claude_sonnet_4_5": {"calls": 3, "tokens": 14531, "cost": "5.7741"},
        "openai_gpt4": {"calls": 3, "tokens": 9693, "cost": "31.155"},
        "openai_gpt4_turbo": {"calls": 2, "tokens": 105596, "cost": "114.788"},
    }
    assert sum(Decimal(cost) for *_, cost in TEN) == Decimal(today["cost"])
    assert (before["day"], before["cost"]) == ("2026-11-19", "30")
    (month,) = shown["monthly"]
    assert (month["month"], month["calls"], month["cost"]) == ("2026-11", 11, "192.4661")
    costs = api.get("/api/costs", group_by="model", from_="2026-11-01", to="2026-11-30")
    assert costs["complete"] is True
    assert {g["model"]: g["cost"] for g in costs["groups"]} == {
        "claude-opus-4": "10.749", "claude-sonnet-4-5": "35.7741", "gpt-4": "31.155", "gpt-4-turbo": "114.788",
    }  # fmt: skip
    assert costs["total"]["cost"] == "192.4661"
    by_day = api.get("/api/costs", group_by="day", from_="2026-11-01", to="2026-11-30")["groups"]
    assert {g["day"]: g["cost"] for g in by_day} == {"2026-11-19": "30", DAY: "162.4661"}
    assert api.app.store.get("usage_summary/ada/monthly/2026-11").data["cost"] == "192.4661"  # type: ignore[union-attr]


def test_a_days_document_has_the_original_fields(api: UsageApi) -> None:
    api.send(*ten())
    doc = api.app.store.get(f"usage_summary/ada/daily/{DAY}")
    assert doc is not None
    original = ("calls", "tokens", "duration", "cost", "estimated_cost_usd", "quota_pct", "breakdown_by_model")
    assert [name for name in original if name not in doc.data] == []
    assert doc.data["quota_pct"] == 8.12  # of pro's 20 USD a day, 1.624661 are used; more than of any other limit


def test_the_share_of_the_quota_is_that_of_the_day_or_month_and_stays_so_when_usage_comes_late(api: UsageApi) -> None:
    api.call("PUT", "/api/usage/ada/quota", {"plan": "internal", "day": {"calls": 8}, "month": {"calls": 40}})
    earlier = NOW - timedelta(days=2)
    api.send(*[event(f"before-{n:04}", earlier) for n in range(6)], event("today-0001"))
    api.send(event("late-00001", earlier))

    def shares() -> dict[str, float]:
        user = api.get("/api/usage/ada", from_="2026-11-01", to=DAY)
        return {of.get("day") or of["month"]: of["quota_pct"] for of in (*user["daily"], *user["monthly"])}

    expected = {"2026-11-18": 87.5, DAY: 12.5, "2026-11": 20.0}
    assert shares() == expected
    api.roll()
    month = api.app.store.get("usage_summary/ada/monthly/2026-11")
    assert month is not None
    assert month.data["quota_pct"] == 20.0
    assert shares() == expected


def test_of_a_day_without_limits_the_share_is_that_of_its_month(local: UsageApi) -> None:
    local.call("PUT", "/api/usage/ada/quota", {"plan": "internal", "month": {"calls": 4}})
    local.send(event("before-0001", NOW - timedelta(days=2)), event())
    assert [day["quota_pct"] for day in local.get("/api/usage/ada", from_="2026-11-01", to=DAY)["daily"]] == [50, 50]


def test_every_fault_of_a_question_about_costs_is_named_at_once(local: UsageApi) -> None:
    query = {"group-by": "user", "group_by": "week", "from": "2026-02-30", "format": "xls"}
    reply = local.call("GET", "/api/costs", query=query)
    assert reply.status == 400
    assert [(fault["path"], fault["message"][:22]) for fault in reply.json["errors"]] == [
        ("group-by", "unknown parameter; the"), ("group_by", "must be one of model, "),
        ("format", "must be one of json, c"), ("from", "must be a day such as "),
    ]  # fmt: skip
    for path in ("/api/usage/ada", "/api/costs/reconcile"):
        assert local.call("GET", path, query={"form": "2026-11-01"}).json["errors"][0]["path"] == "form"


def test_a_call_that_is_sent_again_in_whatever_company_counts_once(api: UsageApi) -> None:
    assert api.send(event("request-0001"), event("request-0002"))["known"] == 0
    assert api.send(event("request-0002"), event("request-0003"))["known"] == 1
    assert api.send(event("request-0001"), event("request-0001"))["known"] == 2
    assert api.get("/api/usage/ada")["daily"][0]["calls"] == 3


def test_the_batch_path_loses_nothing_and_counts_nothing_twice(api: UsageApi) -> None:
    api.send(event("request-0001"))
    api.flags(costs={"realtime_tracking": False})
    assert api.send(event("request-0001"), event("request-0002", uid="bob"))["stored"] == "segments"
    assert api.app.store.get(f"usage_summary/bob/daily/{DAY}") is None
    api.flags(costs={"realtime_tracking": True})
    assert api.send(event("request-0003"))["stored"] == "summaries"
    assert api.roll()["booked"] == 1
    assert api.get("/api/costs", group_by="user")["groups"][0]["calls"] == 2
    assert api.get("/api/costs", group_by="user")["groups"][1]["calls"] == 1
    assert api.roll()["booked"] == 0


def test_the_costs_are_by_user_plan_and_provider_too_and_as_csv(local: UsageApi) -> None:
    local.send(*ten(), *[{**one, "plan": "free"} for one in ten("bob")[:3]])
    assert [(g["user"], g["cost"]) for g in local.get("/api/costs", group_by="user")["groups"]] == [
        ("ada", "162.4661"), ("bob", "5.7741"),
    ]  # fmt: skip
    plans = local.get("/api/costs", group_by="plan")["groups"]
    assert [(g["plan"], g["calls"]) for g in plans] == [("free", 3), ("pro", 10)]
    providers = local.get("/api/costs", group_by="provider")["groups"]
    assert [(g["provider"], g["cost"]) for g in providers] == [("anthropic", "22.2972"), ("openai", "145.943")]
    reply = local.call("GET", "/api/costs", query={"group_by": "model", "format": "csv"})
    assert reply.headers["Content-Type"].startswith("text/csv")
    assert reply.text.splitlines()[1] == "claude-opus-4,2,3834,1800,10.749,0.10749,0,0,0"
    assert "2026-11-20,openai,gpt-4,pro,3,9693,2700,0.31155,0" in local.call(
        "GET", "/api/usage/ada", query={"format": "csv"}
    ).text.splitlines()  # fmt: skip


def test_a_model_without_a_price_is_shown_as_unpriced_and_never_as_nothing(local: UsageApi) -> None:
    local.send(event("request-0001"), event("request-0002", model="claude-sonnet-4-5-foobar"))
    today = local.get("/api/usage/ada")["daily"][0]
    assert today["breakdown_by_model"]["claude_sonnet_4_5_foobar"]["cost"] == "unpriced"
    assert today["unpriced"] == {"claude-sonnet-4-5-foobar": {"calls": 1, "tokens": 1200, "reason": "unknown_model"}}
    assert today["cost"] == "0.6"
    rows = {g["model"]: g for g in local.get("/api/costs")["groups"]}
    assert rows["claude-sonnet-4-5-foobar"]["cost"] == "unpriced"
    assert local.get("/api/costs")["total"]["unpriced_calls"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"requestId": "short"}, "requestId: must be 8 to 200 letters, digits and ._:~@+=-"),
        ({"uid": "a/b"}, "uid: must be 1 to 128 characters without / that can name a document"),
        ({"uid": ".."}, "uid: must be 1 to 128 characters without / that can name a document"),
        ({"time": None}, "time: must be ISO 8601 or milliseconds since 1970"),
        ({"time": 1763640000}, "time: milliseconds since 1970, and this looks like seconds"),
        ({"time": "2026-01-01T00:00:00Z"}, "time: must lie within the last 35 days, and at most 5 minutes ahead"),
        ({"tokens": {"input": -1, "output": 1}}, "tokens.input: must be a whole number from 0 to 10000000000"),
        ({"tokens": {"input": 1.5, "output": 1}}, "tokens.input: must be a whole number from 0 to 10000000000"),
        ({"tokens": {"input": 1}}, "tokens.output: must be a whole number from 0 to 10000000000"),
        ({"tokens": {"input": 1, "output": 1, "reasoning": 2}},
         "tokens.reasoning: is a part of tokens.output, so it cannot be more"),
        ({"colour": "red"}, "colour: unknown"),
        ({"response": {"usage": {}}}, "response: is neither of Anthropic's messages nor of OpenAI's chat or responses"),
    ],
    ids=str,
)  # fmt: skip
def test_an_event_with_a_fault_is_refused_by_itself_and_the_reason_named(
    local: UsageApi, change: dict[str, Any], reason: str
) -> None:
    answer = local.send(event("request-0001"), event("request-0002", **change))
    assert answer["accepted"] == 1
    (rejected,) = answer["rejected"]
    assert rejected["index"] == 1
    assert reason in rejected["reasons"]


def test_without_a_usage_key_nothing_is_taken_and_a_usage_key_reads_nothing(local: UsageApi) -> None:
    assert local.call("POST", "/api/usage/events", {"events": []}, bearer="f0_another").status == 401
    assert local.call("POST", "/api/usage/reservations", {}, bearer="").status == 401
    for path in ("/api/usage/ada", "/api/costs", "/api/usage/ada/export", "/api/usage/ada/quota"):
        assert local.call("GET", path, bearer=USAGE_KEY).status == 401, path


def test_while_the_dashboard_is_off_the_reads_are_not_there(local: UsageApi) -> None:
    local.send(event())
    local.flags(costs={"dashboard": False})
    for path in ("/api/usage/ada", "/api/costs"):
        assert local.call("GET", path).status == 404, path
    assert local.send(event("request-0002"))["accepted"] == 1


def test_no_fault_of_usage_hides_another(local: UsageApi) -> None:
    bad = event(response={"usage": {}}, uid="a/b", time=None, colour="red")
    (rejected,) = local.send(bad)["rejected"]
    told = [reason.partition(":")[0] for reason in rejected["reasons"]]
    assert told == ["provider", "model", "tokens", "response", "colour", "uid", "time"]
    reply = local.call("POST", "/api/usage/events", {"evnets": [], "more": 1}, bearer=USAGE_KEY)
    assert [error["path"] for error in reply.json["errors"]] == ["events", "evnets", "more"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"events": 3}', b'{"events": [], "more": 1}'])
def test_a_body_that_is_none_is_a_problem(local: UsageApi, body: bytes) -> None:
    reply = local.call("POST", "/api/usage/events", body, bearer=USAGE_KEY)
    assert (reply.status, reply.json["code"]) == (400, "invalid_body")


def test_endless_names_of_models_are_put_together_and_no_call_of_them_is_lost(local: UsageApi) -> None:
    names = [event(f"endless-{n:05}", model=f"made-up-{n}") for n in range(450)]
    local.send(*names)
    local.send(event("request-0001", model="claude-sonnet-4-5"))
    day = local.get("/api/usage/ada")["daily"][0]
    assert day["calls"] == 451
    assert len(day["breakdown_by_model"]) == 101
    assert day["breakdown_by_model"]["other"]["calls"] == 351
    assert local.send(*names)["known"] == 450
    assert local.roll()["left"] is False
    month = local.app.store.get("usage_summary/ada/monthly/2026-11")
    assert month is not None
    assert month.data["calls"] == 451

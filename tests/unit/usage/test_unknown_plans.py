"""Usage under a plan that config/plans.json does not know: nothing of it is lost, and whoever can mend it is told."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

from scripts.ops.__main__ import main
from scripts.ops.screen import Screen
from shared.domain.plans import Override
from shared.store.protocol import Query
from shared.usage.plans import load_plans
from shared.usage.unknown_plans import NAMED, plan_warnings
from tests.core import CONFIG
from tests.usage_api import NOW, UsageApi, event


def inbox(api: UsageApi) -> list[dict[str, Any]]:
    return [doc.data for doc in api.app.store.query(Query("admin_notifications", limit=100))]


def test_usage_under_an_unknown_plan_is_kept_as_it_was_named_and_its_sender_and_the_admins_are_told(
    api: UsageApi,
) -> None:
    answer = api.send(event(plan="gold"), event("request-0002"), event("request-0003", plan="gold"))
    (warning, other) = answer.pop("warnings")
    assert answer == {"accepted": 3, "rejected": [], "known": 0, "stored": "summaries"}
    assert (warning["index"], other["index"]) == (0, 2)
    assert warning["reasons"] == plan_warnings(load_plans(CONFIG), "gold")
    assert "the limits of the default plan (free) hold" in warning["reasons"][0]
    (day,) = api.get("/api/usage/ada")["daily"]
    assert {plan: of["calls"] for plan, of in day["breakdown_by_plan"].items()} == {"gold": 2, "pro": 1}
    for _ in range(2):
        api.roll()
    assert api.get("/api/costs/overview")["unknown_plans"] == {"gold": 2}
    (message,) = inbox(api)
    assert message["notificationId"] == "unknown-plan-2026-11-20"
    assert message["message"].startswith(
        "On 2026-11-20 usage named a plan that config/plans.json does not know: gold (2 calls). It is kept under that"
    )


def test_the_limits_of_the_default_plan_hold_and_the_quota_says_so(local: UsageApi) -> None:
    reply = local.reserve(plan="gold")
    assert reply.status == 201
    assert reply.json["warnings"] == plan_warnings(load_plans(CONFIG), "gold")
    assert "warnings" in local.settle(reply.json["reservationId"], plan="gold").json
    quota = local.get("/api/usage/ada/quota")
    assert (quota["plan"], quota["limits_of"]) == ("gold", "free")
    assert {limit["limit"]: limit["most"] for limit in quota["limits"]}["day-calls"] == "100"
    known = local.reserve(requestId="reserve-0002", plan="pro")
    assert "warnings" not in known.json
    assert local.get("/api/usage/ada/quota")["limits_of"] == "pro"


def test_who_has_a_plan_of_their_own_keeps_its_limits_whatever_plan_is_told() -> None:
    plans = load_plans(CONFIG)
    assert plans.holding("gold", Override(plan="pro")) == "pro"
    assert plans.holding("gold", Override()) == plans.holding(None, Override()) == "free"
    assert plans.plan("gold", Override()) == plans.plans["free"]


def test_on_the_batch_path_it_is_the_same(local: UsageApi) -> None:
    local.flags(costs={"realtime_tracking": False})
    assert len(local.send(event(plan="gold"))["warnings"]) == 1
    assert local.roll()["booked"] == 1
    assert len(inbox(local)) == 1


def test_a_day_has_one_message_and_the_next_day_another(local: UsageApi) -> None:
    local.send(event(plan="gold"), event("request-0002", NOW - timedelta(days=1), plan="gold"))
    local.send(event("request-0003", NOW - timedelta(days=2), plan="gold"))  # too long ago to be news
    local.roll()
    local.send(event("request-0004", plan="platinum"))
    local.roll()
    local.clock.now = NOW + timedelta(days=1)
    local.send(event("request-0005", local.clock.now, plan="gold"))
    local.roll()
    assert sorted(one["notificationId"] for one in inbox(local)) == [
        "unknown-plan-2026-11-19", "unknown-plan-2026-11-20", "unknown-plan-2026-11-21",
    ]  # fmt: skip


def test_a_message_names_the_most_frequent_ones_and_counts_the_rest(local: UsageApi) -> None:
    events = [event(f"request-{n:04}", plan=f"p{n:02}") for n in range(NAMED + 3)]
    local.send(*events, event("request-more", plan="p12"))
    local.roll()
    (message,) = inbox(local)
    assert "p12 (2 calls), p00 (1 call)" in message["message"]
    assert " and 3 more. It is kept" in message["message"]


def test_a_terminal_shows_it(local: UsageApi) -> None:
    local.send(event(plan="gold"))
    out = io.StringIO()
    screen = Screen(out, 120, colours=False, braille=True, whole=True)
    where = ["--url", f"http://127.0.0.1:{local.port}", "--token", local.admins.token(NOW)[0]]
    assert main(["costs", *where], {}, screen) == main(["usage", "ada", *where], {}, screen) == 0
    assert "Plans that config/plans.json does not know (calls): gold (1)." in out.getvalue()
    assert "plan gold, which config/plans.json does not know: the limits of free hold" in out.getvalue()

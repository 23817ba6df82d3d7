"""Quotas over HTTP: the original's test of an exceeded quota, and that no crowd of callers gets past a limit."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.quota import MOST_SETTLED, Account
from shared.domain.usage import Tokens, Usage
from shared.store.protocol import Query, Store
from shared.usage.accounts import accounts_for
from tests.usage_api import NOW, Failing, UsageApi, event, usage_api

UNPRICED = "a-model-that-nobody-has-priced"


def limit(api: UsageApi, uid: str = "ada", **limits: Any) -> Any:
    reply = api.call("PUT", f"/api/usage/{uid}/quota", {"plan": "internal", **limits})
    assert reply.status == 200, reply.text
    return reply.json


def inbox(api: UsageApi) -> list[dict[str, Any]]:
    return [doc.data for doc in api.app.store.query(Query("admin_notifications"))]


def call(api: UsageApi, number: int, **changes: Any) -> int:
    """One call of an app: reserve it, make it, settle it. The status of the reservation."""
    reply = api.reserve(requestId=f"app-call-{number}", caching="none", **changes)
    if reply.status == 201:
        assert api.settle(reply.json["reservationId"]).status == 200
    return reply.status


# The original's Test 3


def test_with_a_quota_of_five_calls_the_sixth_is_refused_until_the_reset_and_the_inbox_says_so(api: UsageApi) -> None:
    limit(api, day={"calls": 5})
    assert [call(api, n) for n in range(5)] == [201] * 5
    reply = api.reserve(requestId="app-call-6")
    assert reply.status == 429
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["code"] == "quota_exceeded"
    assert reply.headers["Retry-After"] == str(12 * 3600)
    assert reply.headers["RateLimit-Policy"] == '"day-calls";q=5;w=86400'
    assert reply.headers["RateLimit"] == '"day-calls";r=0;t=43200'
    assert "do not retry before then" in reply.json["detail"]
    assert "2026-11-21T00:00:00Z" in reply.json["detail"]
    assert reply.json["errors"] == [
        {"path": "day.calls", "message": "5 used and 0 held of 5, until 2026-11-21T00:00:00Z"}
    ]
    assert sorted(one["title"] for one in inbox(api)) == [
        "Usage warning: 100% of quota",
        "Usage warning: 80% of quota",
    ]
    assert api.reserve(requestId="app-call-7").status == 429
    assert len(inbox(api)) == 2
    api.clock.now = NOW + timedelta(hours=12)
    assert api.reserve(requestId="app-call-8").status == 201


def test_of_many_callers_at_the_first_moment_of_a_day_no_more_get_through_than_the_limit_allows(api: UsageApi) -> None:
    limit(api, day={"calls": 7})
    api.clock.now = NOW.replace(hour=0) + timedelta(days=1)
    statuses: list[int] = []

    def many(worker: int) -> None:
        for n in range(4):
            statuses.append(api.reserve(requestId=f"worker-{worker}-{n}").status)

    threads = [threading.Thread(target=many, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * 7 + [429] * 25


def test_a_reservation_holds_the_most_that_the_call_can_cost_and_settling_gives_the_rest_back(local: UsageApi) -> None:
    limit(local, day={"costUsd": "0.02"})
    granted = local.reserve(caching="none").json  # 1,000 × 3 + 1,000 × 15 = 18,000 millionths
    assert granted["held"] == {"calls": 1, "tokens": 2000, "costUsd": "0.018"}
    assert local.reserve(requestId="another-one-1", caching="none").status == 429
    assert local.settle(granted["reservationId"]).json["reason"] == "settled"  # 1,000 × 3 + 200 × 15 = 6,000
    (standing,) = local.get("/api/usage/ada/quota")["limits"]
    assert (standing["used"], standing["held"], standing["left"]) == ("0.006", "0", "0.014")
    assert local.reserve(requestId="another-one-2", caching="none", maxOutputTokens=700).status == 201


# 100,000 × 3 + 64,000 × 15 = 1.26 USD at the most, 20,000 × 3 + 40,000 × 15 = 0.66 USD
TOO_LARGE = {"maxInputTokens": 100_000, "maxOutputTokens": 64_000, "caching": "none"}
LARGE = {"maxInputTokens": 20_000, "maxOutputTokens": 40_000, "caching": "none"}


def test_a_call_that_alone_is_beyond_a_limit_is_told_that_no_waiting_helps(local: UsageApi) -> None:
    limit(local, day={"costUsd": "1"})
    reply = local.reserve(**TOO_LARGE)
    assert (reply.status, reply.json["code"]) == (422, "call_exceeds_quota")
    assert "Retry-After" not in reply.headers
    assert "no waiting helps" in reply.json["detail"]
    assert reply.json["errors"] == [
        {"path": "day.cost", "message": "0 used and 0 held of 1, until 2026-11-21T00:00:00Z; the call may use 1.26"}
    ]
    assert inbox(local) == []


def test_while_calls_under_way_hold_what_is_left_the_wait_is_only_for_the_first_of_them(local: UsageApi) -> None:
    limit(local, day={"costUsd": "1"})
    first = local.reserve(**LARGE)
    local.clock.now = NOW + timedelta(seconds=60)
    reply = local.reserve(requestId="reserve-0002", **LARGE)
    assert (reply.status, reply.json["code"], reply.headers["Retry-After"]) == (429, "quota_exceeded", str(900 - 60))
    assert "calls under way hold what is left" in reply.json["detail"]
    assert "the first at the latest at 2026-11-20T12:15:00Z" in reply.json["detail"]
    assert "do not retry before then" in reply.json["detail"]
    assert inbox(local) == []
    assert local.settle(first.json["reservationId"]).status == 200
    assert local.reserve(requestId="reserve-0002", **LARGE).status == 201


def test_what_is_left_but_is_less_than_a_call_can_use_is_said_so(local: UsageApi) -> None:
    limit(local, day={"costUsd": "1"})
    local.send(event(tokens={"input": 0, "output": 60_000}))  # 0.9 USD
    reply = local.reserve(**LARGE)
    assert (reply.status, reply.headers["Retry-After"]) == (429, str(12 * 3600))
    assert "what is left of the quota until 2026-11-21T00:00:00Z is less than this call can use" in reply.json["detail"]
    assert [one["message"].partition(": ")[2] for one in inbox(local) if "100%" in one["title"]] == [
        "0.9 of 1 USD of the day 2026-11-20 are used; calls that can use more than what is left are refused until "
        "2026-11-21 00:00 UTC."
    ]
    assert local.reserve(requestId="reserve-0002", caching="none").status == 201  # a small one still fits


def test_five_calls_under_way_of_five_are_all_of_the_quota(local: UsageApi) -> None:
    limit(local, day={"calls": 5})
    assert [local.reserve(requestId=f"reserve-{n:04}").status for n in range(6)] == [201] * 5 + [429]
    assert [one["title"] for one in inbox(local)] == ["Usage warning: 100% of quota"]
    assert "0 of 5 calls of the day 2026-11-20 are used and 5 held for calls under way" in inbox(local)[0]["message"]


@pytest.mark.parametrize(("month", "days"), [(2, 28), (11, 30), (12, 31)])
def test_the_window_of_a_months_limit_is_that_months_length(sqlite_store: Store, month: int, days: int) -> None:
    with usage_api(sqlite_store, NOW.replace(year=2027, month=month, day=1, hour=0)) as api:
        limit(api, month={"calls": 5})
        headers = api.reserve().headers
    assert headers["RateLimit-Policy"] == f'"month-calls";q=5;w={days * 86_400}'
    assert headers["RateLimit"] == f'"month-calls";r=4;t={days * 86_400}'


def test_a_call_that_is_settled_after_the_months_end_is_booked_to_its_month_and_not_to_the_new_quota(
    local: UsageApi,
) -> None:
    local.clock.now = NOW.replace(day=30, hour=23, minute=59)
    limit(local, month={"calls": 1})
    made = local.reserve().json["reservationId"]
    local.clock.now += timedelta(minutes=30)  # its reservation has expired, and December has begun
    assert local.settle(made).json["reason"] == "settled_late"
    (standing,) = local.get("/api/usage/ada/quota")["limits"]
    assert (standing["period"], standing["used"], standing["held"]) == ("2026-12", "0", "0")
    assert local.reserve(requestId="reserve-0002").status == 201
    found = local.get("/api/usage/ada", from_="2026-11-01", to="2026-12-01")
    assert [(day["day"], day["calls"]) for day in found["daily"]] == [("2026-11-30", 1)]
    assert [(one["month"], one["calls"]) for one in found["monthly"]] == [("2026-11", 1)]


def test_a_call_that_may_write_to_a_cache_holds_what_that_costs(local: UsageApi) -> None:
    limit(local, day={"costUsd": "1"})
    costs = [
        local.reserve(requestId=f"reserve-{c}-000", caching=c).json["held"]["costUsd"] for c in ("none", "5m", "1h")
    ]
    assert costs == ["0.018", "0.01875", "0.021"]


def test_a_long_prompt_holds_the_price_of_the_higher_tier(local: UsageApi) -> None:
    limit(local, day={"costUsd": "100"})
    held = [
        local.reserve(requestId=f"prompt-{n}", caching="none", maxInputTokens=n, maxOutputTokens=0).json["held"]
        for n in (200000, 200001)
    ]
    assert [h["costUsd"] for h in held] == ["0.6", "1.200006"]


def test_the_same_reservation_settle_and_release_again_change_nothing_more(api: UsageApi) -> None:
    limit(api, day={"calls": 2})
    first = api.reserve().json
    assert api.reserve().json == {**first, "reason": "already_reserved"}
    assert api.settle(first["reservationId"]).json["reason"] == "settled"
    assert api.settle(first["reservationId"]).json["reason"] == "already_settled"
    assert api.release(first["reservationId"]).json["reason"] == "not_reserved"
    second = api.reserve(requestId="reserve-0002").json
    assert api.release(second["reservationId"]).json["reason"] == "released"
    assert api.release(second["reservationId"]).json["reason"] == "not_reserved"
    assert api.get("/api/usage/ada/quota")["limits"][0]["used"] == "1"
    assert api.get("/api/usage/ada")["daily"][0]["calls"] == 1


def test_a_reservation_again_that_needs_more_is_refused_and_one_that_needs_less_says_what_is_held(
    api: UsageApi,
) -> None:
    first = api.reserve(maxInputTokens=3000).json
    for more in ({"maxInputTokens": 3001}, {"maxInputTokens": 3000, "model": "claude-opus-4"}):
        reply = api.reserve(**more)
        assert (reply.status, reply.json["code"]) == (422, "reserved_for_less")
        assert str(first["held"]["tokens"]) in reply.json["detail"]
    assert api.reserve(maxInputTokens=10).json == {**first, "reason": "already_reserved"}
    assert api.get("/api/usage/ada/quota")["reservations"] == 1
    api.release(first["reservationId"])
    assert api.reserve(maxInputTokens=3001).json["reason"] == "granted"


def test_the_id_of_a_settled_call_reserves_no_other_one_that_day_since_its_usage_would_not_count(api: UsageApi) -> None:
    made = api.reserve().json["reservationId"]
    assert api.settle(made).status == 200
    before = api.app.store.meter.snapshot()
    reply = api.reserve()
    assert (reply.status, reply.json["code"]) == (409, "already_settled")
    spent = api.app.store.meter.since(before)
    assert (spent.reads, spent.writes) == (1, 0)
    assert "Give each call a requestId of its own" in reply.json["detail"]
    assert api.get("/api/usage/ada/quota")["reservations"] == 0
    api.clock.now += timedelta(days=1)
    again = api.reserve().json["reservationId"]
    assert api.settle(again).json["reason"] == "settled"
    assert [day["calls"] for day in api.get("/api/usage/ada")["daily"]] == [1, 1]


def test_an_id_that_was_released_or_settled_for_the_day_before_can_be_reserved(local: UsageApi) -> None:
    local.clock.now = NOW.replace(hour=23, minute=59)
    local.release(local.reserve().json["reservationId"])
    made = local.reserve().json
    assert made["reason"] == "granted"
    local.clock.now += timedelta(minutes=2)
    assert local.settle(made["reservationId"]).json["day"] == "2026-11-20"
    assert local.reserve().json["reason"] == "granted"


def test_an_account_knows_the_last_calls_that_were_settled_today(local: UsageApi) -> None:
    plans = local.app.part(accounts_for).plans
    account = Account(None, plans, NOW)
    for n in range(MOST_SETTLED + 10):
        account.settled(Usage(f"settled-{n:05}", "ada", "anthropic", "claude-sonnet-4-5", NOW, Tokens()))
    known = [Account(account.data(), plans, now) for now in (NOW, NOW + timedelta(days=1))]
    ids = [f"settled-{n:05}" for n in (9, 10, MOST_SETTLED + 9)]
    assert [[one.has_settled(id_) for id_ in ids] for one in known] == [[False, True, True], [False, False, False]]


@pytest.mark.parametrize("how", ["settle", "release"])
def test_what_ends_an_earlier_reservation_again_leaves_the_later_one_of_the_same_id(api: UsageApi, how: str) -> None:
    limit(api, day={"calls": 1})
    first = api.reserve().json["reservationId"]
    if how == "release":
        assert api.release(first).json["reason"] == "released"
        api.clock.now += timedelta(seconds=1)
    else:
        api.clock.now += timedelta(hours=1)  # it was forgotten, and its settle will be late
    assert api.reserve().json["reason"] == "granted"
    if how == "release":
        assert api.release(first).json["reason"] == "not_reserved"
    else:
        assert api.settle(first).json["reason"] == "settled_late"
    assert api.get("/api/usage/ada/quota")["reservations"] == 1


def test_what_comes_late_under_an_old_plan_does_not_take_the_user_back_to_it(api: UsageApi) -> None:
    def plan() -> Any:
        return api.get("/api/usage/ada/quota")["plan"]

    api.send(event("request-0001", NOW - timedelta(hours=2), plan="free"))
    assert plan() == "free"
    api.send(event("request-0002", NOW - timedelta(hours=1), plan="pro"))
    api.send(
        event("request-0003", NOW - timedelta(days=3), plan="free"),
        event("request-0001", NOW - timedelta(hours=2), plan="free"),
    )
    assert plan() == "pro"
    made = api.reserve(plan="free").json
    assert plan() == "free"
    api.clock.now += timedelta(minutes=1)
    api.reserve(requestId="reserve-0002", plan="pro")
    api.settle(made["reservationId"], plan="free")
    assert plan() == "pro"
    day = next(d for d in api.get("/api/usage/ada", **{"from": "2026-11-17"})["daily"] if d["day"] == "2026-11-17")
    assert list(day["breakdown_by_plan"]) == ["free"]


def test_a_settled_call_that_is_told_as_an_event_too_counts_once(local: UsageApi) -> None:
    made = local.reserve().json
    local.settle(made["reservationId"])
    at = int(made["reservationId"].partition(".")[0])
    assert local.send(event("reserve-0001", time=at))["known"] == 1


def test_forgotten_reservations_are_given_back_and_a_late_settle_is_booked_to_the_day_of_its_call(
    local: UsageApi,
) -> None:
    limit(local, day={"calls": 1})
    local.clock.now = NOW.replace(hour=23, minute=59)
    made = local.reserve().json
    assert local.reserve(requestId="reserve-0002").status == 429
    local.clock.now += timedelta(minutes=20)
    assert local.roll()["expiredReservations"] == 1
    assert local.settle(made["reservationId"]).json == {
        "reservationId": made["reservationId"],
        "reason": "settled_late",
        "day": "2026-11-20",
    }
    assert [d["day"] for d in local.get("/api/usage/ada")["daily"]] == ["2026-11-20"]
    assert local.get("/api/usage/ada/quota")["limits"][0]["used"] == "0"


def test_a_reservation_is_settled_and_released_for_its_own_user_only(api: UsageApi) -> None:
    made = api.reserve().json["reservationId"]
    for refused in (api.settle(made, uid="bob"), api.release(made, uid="bob")):
        assert (refused.status, [error["path"] for error in refused.json["errors"]]) == (400, ["uid"])
    assert api.get("/api/usage/bob")["daily"] == []
    assert api.settle(made).json["reason"] == "settled"
    assert [day["calls"] for day in api.get("/api/usage/ada")["daily"]] == [1]


def test_usage_that_was_never_reserved_counts_against_the_quota_and_is_never_refused(local: UsageApi) -> None:
    limit(local, day={"tokens": 3000})
    assert local.send(*[event(f"request-{n:04}") for n in range(4)])["accepted"] == 4
    reply = local.reserve(maxInputTokens=1, maxOutputTokens=0)
    assert reply.status == 429
    assert reply.json["errors"][0]["message"].startswith("4800 used and 0 held of 3000")


def test_while_quotas_are_off_every_call_is_granted_and_nothing_is_held(local: UsageApi) -> None:
    limit(local, day={"calls": 0})
    assert local.reserve().status == 429
    local.flags(quotas={"enabled": False})
    granted = local.reserve()
    assert (granted.status, granted.json["reason"], granted.json["held"]) == (201, "quotas_disabled", None)
    assert local.settle(granted.json["reservationId"]).json["reason"] == "settled_late"


def test_the_shares_at_which_to_warn_and_to_block_are_switches(local: UsageApi) -> None:
    limit(local, day={"calls": 10})
    local.flags(quotas={"soft_limit_warning": 0.5, "hard_limit_block": 0.7})
    assert [call(local, n) for n in range(8)] == [201] * 7 + [429]
    titles = sorted(one["title"] for one in inbox(local))
    assert titles == ["Usage warning: 50% of quota", "Usage warning: 70% of quota"]


def test_a_user_whose_cost_is_limited_cannot_reserve_a_model_without_a_price(local: UsageApi) -> None:
    reply = local.reserve(model=UNPRICED)
    assert (reply.status, reply.json["code"]) == (422, "model_unpriced")
    limit(local)
    assert local.reserve(model=UNPRICED).status == 201


def test_while_the_store_fails_a_call_is_refused_and_the_answer_says_that_it_is_closed(sqlite_store: Store) -> None:
    store = Failing(sqlite_store)
    with usage_api(store) as api:
        assert api.reserve().status == 201
        store.down = True
        reply = api.reserve(requestId="reserve-0002")
        assert (reply.status, reply.json["code"]) == (503, "quota_unknown")
        assert reply.headers["F0-On-Store-Failure"] == "closed"
        assert "onStoreFailure is closed" in reply.json["detail"]


def test_by_configuration_a_call_may_be_made_while_the_store_fails_and_the_answer_says_so(
    sqlite_store: Store, tmp_path: Any
) -> None:
    import json
    import shutil

    from tests.core import CONFIG

    shutil.copytree(CONFIG, tmp_path / "config")
    plans = json.loads((tmp_path / "config/plans.json").read_text())
    (tmp_path / "config/plans.json").write_text(json.dumps({**plans, "onStoreFailure": "open"}))
    store = Failing(sqlite_store)
    with usage_api(store, config_dir=tmp_path / "config") as api:
        assert api.reserve().status == 201
        store.down = True
        reply = api.reserve(requestId="reserve-0002")
        assert (reply.status, reply.json["reason"], reply.json["onStoreFailure"]) == (201, "not_checked", "open")
        store.down = False
        assert api.settle(reply.json["reservationId"]).json["reason"] == "settled_late"


def test_limits_are_changed_only_as_they_were_read(local: UsageApi) -> None:
    before = local.call("GET", "/api/usage/ada/quota").headers["ETag"]
    limit(local, day={"calls": 5})
    stale = local.call("PUT", "/api/usage/ada/quota", {"day": {"calls": 9}}, headers={"If-Match": before})
    assert (stale.status, stale.json["code"]) == (412, "precondition_failed")
    same = local.call("PUT", "/api/usage/ada/quota", {"plan": "internal", "day": {"calls": 5}})
    assert same.status == 200
    wrong = local.call("PUT", "/api/usage/ada/quota", {"plan": "gold", "day": {"calls": -1, "colour": 2}})
    assert [error["path"] for error in wrong.json["errors"]] == ["day.calls", "day.colour", "plan"]


def test_no_document_but_the_users_own_names_the_user(local: UsageApi) -> None:
    uid = "canary-uid-7319"
    limit(local, uid, day={"calls": 1})
    made = local.reserve(uid=uid).json
    local.settle(made["reservationId"], uid=uid)
    assert len(inbox(local)) == 1
    assert uid not in str(inbox(local))
    assert local.get("/api/usage", key=inbox(local)[0]["user"])["uid"] == uid

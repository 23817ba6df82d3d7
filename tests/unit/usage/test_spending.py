"""Budgets, the month's end, spikes and what has no price: as pure findings, and as alerts over HTTP and the rollup."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from shared.alerts.acknowledge import acknowledge
from shared.alerts.follow_up import follow_up
from shared.domain.spending import ORGANISATION, Spike, forecast, spike_finding
from shared.notify import wording
from shared.notify.brief import brief
from shared.notify.links import Links
from shared.notify.pagerduty import dedup_key
from shared.store.protocol import Query, Store
from tests.core import CONFIG
from tests.usage_api import NOW, UsageApi, event, usage_api

TODAY = date(2026, 11, 20)
UNKNOWN = "claude-sonnet-4-5-foobar"


def days(*costs: str, until: date = TODAY) -> dict[str, Decimal]:
    """The last days' costs; the last one is of `until`."""
    return {(until - timedelta(days=n)).isoformat(): Decimal(c) for n, c in enumerate(reversed(costs))}


def test_the_months_end_is_what_it_has_cost_and_the_mean_of_the_last_seven_days_for_each_that_is_left() -> None:
    costs = days(*["7"] * 19, "3")  # the 1st to the 19th at 7 USD, and 3 so far today
    assert forecast(costs, TODAY) == 19 * 7 + 7 + 10 * 7
    assert forecast(days("1", "2", until=date(2026, 11, 2)), date(2026, 11, 2)) == 1 + 2 + Fraction(1) * 28
    assert forecast(days("5", until=date(2026, 11, 1)), date(2026, 11, 1)) == 5
    assert forecast({}, TODAY) == 0


def test_a_day_is_a_spike_only_beyond_its_own_normal_and_a_least_amount() -> None:
    policy = Spike()
    week = ["2", "2", "1", "3", "2", "2", "9"]

    def firing(*costs: str) -> bool | None:
        found = spike_finding(ORGANISATION, "", days(*costs), TODAY, policy)
        return None if found is None else found.firing

    assert firing(*week, "6") is False
    assert firing(*week, "6.01") is True
    assert firing(*["0.1"] * 7, "5") is False
    assert firing(*["2"] * 6, "100") is None


@contextmanager
def with_spending(store: Store, folder: Path, **spending: Any) -> Iterator[UsageApi]:
    shutil.copytree(CONFIG, folder / "config", dirs_exist_ok=True)
    written = json.loads((CONFIG / "spending.json").read_text())
    (folder / "config/spending.json").write_text(json.dumps({**written, **spending}))
    with usage_api(store, config_dir=folder / "config", SLACK_WEBHOOK_URL="http://127.0.0.1:9/") as api:
        yield api


def told(api: UsageApi) -> list[dict[str, Any]]:
    found = api.app.store.query(Query("notifications", limit=500))
    return sorted((doc.data for doc in found if doc.data["channel"] == "slack"), key=lambda n: n["notificationId"])


def said(api: UsageApi) -> tuple[str, str]:
    """What the one message says is wrong, and what to do first."""
    (notification,) = told(api)
    shown = brief(notification, Links("https://status.example.com", "https://ops.example.com"))
    return shown.what, shown.first or ""


def dollars(n: int, cents: int, **changes: Any) -> dict[str, Any]:
    """A call of Sonnet that costs so many cents: 1,000 output tokens are 1.5 cents."""
    return event(f"dollars-{n:06}", tokens={"input": 0, "output": cents * 2000 // 3}, **changes)


def test_each_threshold_of_a_budget_is_told_once_and_clears_with_the_month(store: Store, tmp_path: Path) -> None:
    budgets = {"organisation": "1", "plans": {"pro": "10"}, "models": {}, "users": {}, "eachUser": None}
    with with_spending(store, tmp_path, budgets=budgets) as api:
        api.send(dollars(1, 60))
        assert api.roll()["fired"] == ["cost-budget-organisation-50"]
        assert api.roll()["fired"] == []
        api.send(dollars(2, 60))
        expected = ["cost-budget-organisation-100", "cost-budget-organisation-80", "cost-forecast-organisation"]
        assert api.roll()["fired"] == expected
        assert [n["notificationId"] for n in told(api)] == [
            "cost-budget-organisation-100-1-slack",
            "cost-budget-organisation-50-1-slack",
            "cost-budget-organisation-80-1-slack",
            "cost-forecast-organisation-1-slack",
        ]
        api.clock.now = NOW.replace(month=12, day=1)
        cleared = [f"cost-budget-organisation-{t}" for t in (50, 80, 100)]
        assert [id_ for id_ in api.roll()["cleared"] if "forecast" not in id_] == cleared
        assert {n["kind"] for n in told(api)} == {"trigger", "resolve"}


def test_a_message_says_what_was_spent_and_names_no_user(sqlite_store: Store, tmp_path: Path) -> None:
    budgets = {"organisation": None, "plans": {}, "models": {}, "users": {}, "eachUser": "1"}
    with with_spending(sqlite_store, tmp_path, budgets=budgets, thresholds=[100]) as api:
        api.send(dollars(1, 150, uid="canary-uid-4711"))
        (fired,) = api.roll()["fired"]
        assert fired.startswith("cost-budget-user-user-")
        (notification,) = told(api)
        shown = brief(notification, Links("https://status.example.com", "https://ops.example.com"))
        assert "canary" not in str(notification)
        whose = f"Calls of user {notification['facts']['labels']['user']}"
        assert shown.what == f"{whose} have cost 150 % of this month's budget: $1.50 of $1.00."
        assert wording.threshold(notification["facts"]) == "1 USD"
        key = notification["facts"]["labels"]["user"]
        assert api.get("/api/usage", key=key)["uid"] == "canary-uid-4711"
        api.clock.now = NOW.replace(month=12, day=1)
        assert api.roll()["cleared"] == [fired]


def test_a_month_that_will_end_beyond_its_budget_is_told_before_it_does(sqlite_store: Store, tmp_path: Path) -> None:
    budgets = {"organisation": "10", "plans": {}, "models": {}, "users": {}, "eachUser": None}
    with with_spending(sqlite_store, tmp_path, budgets=budgets) as api:
        for n in range(8):
            api.send(dollars(n, 60, time=(NOW - timedelta(days=n)).isoformat()))
        assert api.roll()["fired"] == ["cost-forecast-organisation"]
        overview = api.get("/api/costs/overview")
        assert overview["month_to_date"]["cost"] == "480"
        assert overview["forecast_usd"] == "10.8"
        assert overview["budget_usd"] == "10"


def test_a_spike_is_told_for_the_model_and_the_user_that_is_unlike_itself(sqlite_store: Store, tmp_path: Path) -> None:
    with with_spending(sqlite_store, tmp_path, spike={"factor": "3", "leastUsd": "1"}) as api:
        for n in range(1, 9):
            at = (NOW - timedelta(days=n)).isoformat()
            api.send(dollars(n, 30, time=at), dollars(100 + n, 30, uid="bob", time=at))
        assert api.roll()["fired"] == []
        api.send(dollars(200, 30), dollars(201, 300, uid="bob"))
        fired = api.roll()["fired"]
        assert fired[:3] == ["cost-spike-organisation", "cost-spike-plan-pro", "cost-spike-model-claude-sonnet-4-5"]
        (user,) = fired[3:]
        assert user.startswith("cost-spike-user-")


def test_an_unpriced_model_is_told_and_once_it_has_a_price_its_usage_is_priced(store: Store, tmp_path: Path) -> None:
    with with_spending(store, tmp_path) as api:
        api.send(event("request-0001", model=UNKNOWN), event("request-0002"))
        assert api.roll()["fired"] == [f"cost-unpriced-{UNKNOWN}"]
        assert api.get("/api/usage/ada")["daily"][0]["cost"] == "0.6"
        what, first = said(api)
        assert what == (
            f"1,200 tokens of anthropic/{UNKNOWN}, in 1 call since 2026-11-20, have no price, because the price list"
            " does not know it: they are in no cost, forecast or budget."
        )
        assert f'"anthropic/{UNKNOWN}": {{"input": "…", "output": "…"}}' in first
    written = json.loads((CONFIG / "pricing.json").read_text())
    priced = {**written, "models": {f"anthropic/{UNKNOWN}": {"input": "1", "output": "2"}}}
    (tmp_path / "config/pricing.json").write_text(json.dumps(priced))
    with usage_api(store, config_dir=tmp_path / "config") as api:
        done = api.roll()
        assert done["repriced"] == 1
        assert done["cleared"] == [f"cost-unpriced-{UNKNOWN}"]
        shown = api.get("/api/usage/ada")
        assert shown["daily"][0]["cost"] == "0.74"  # 1,000 × 1 + 200 × 2 = 1,400 millionths more
        assert shown["daily"][0]["unpriced"] == {}
        assert shown["quota"]["limits"][2]["used"] == "0.0074"
        assert api.get("/api/costs")["total"]["cost"] == "0.74"
        assert api.roll()["repriced"] == 0


def test_a_tier_without_a_price_is_tried_again_with_each_new_price_list_and_only_then(
    sqlite_store: Store, tmp_path: Path
) -> None:
    with with_spending(sqlite_store, tmp_path) as api:
        api.send(event("request-0001", provider="openai", model="gpt-4o", tier="own-tier"))
        assert api.roll()["fired"] == ["cost-unpriced-gpt-4o"]
        assert '"tiers" of config/pricing.json: "openai": {"own-tier": "…"}, where' in said(api)[1]
        assert api.roll()["repriced"] == 0
        assert api.get("/api/usage/ada")["daily"][0]["unpriced"]["gpt-4o"]["reason"] == "no_price_for_tier"
    written = json.loads((CONFIG / "pricing.json").read_text())
    written["tiers"]["openai"]["own-tier"] = "0.5"
    (tmp_path / "config/pricing.json").write_text(json.dumps(written))
    with usage_api(sqlite_store, config_dir=tmp_path / "config") as api:
        done = api.roll()
        assert (done["repriced"], done["cleared"]) == (1, ["cost-unpriced-gpt-4o"])
        # half of 1,000 × 2.50 + 200 × 10 = 2,250 millionths
        assert api.get("/api/usage/ada")["daily"][0]["estimated_cost_usd"] == "0.00225"
        assert api.roll()["repriced"] == 0


@pytest.mark.parametrize("model", [UNKNOWN, "claude-haiku-4-5"])
def test_usage_that_came_before_a_new_price_list_and_is_rolled_up_after_it_has_one_price_everywhere(
    sqlite_store: Store, tmp_path: Path, model: str
) -> None:
    with with_spending(sqlite_store, tmp_path) as api:
        api.send(event("request-0001", model=model, tier="own-tier"))
    written = json.loads((CONFIG / "pricing.json").read_text())
    written["tiers"]["anthropic"]["own-tier"] = "1"
    written["models"] = {f"anthropic/{model}": {"input": "1", "output": "2"}}
    (tmp_path / "config/pricing.json").write_text(json.dumps(written))
    with usage_api(sqlite_store, config_dir=tmp_path / "config") as api:
        answer = api.get("/api/costs")
        assert (answer["complete"], answer["total"]["estimated_cost_usd"]) == (True, "0.0014")
        shown = api.get("/api/usage/ada")
        assert [one["estimated_cost_usd"] for one in (*shown["daily"], *shown["monthly"])] == ["0.0014"] * 2
        assert shown["quota"]["limits"][2]["used"] == "0.0014"
        assert api.get("/api/costs") == answer


def test_forgotten_reservations_are_told_and_cleared_the_next_day(sqlite_store: Store, tmp_path: Path) -> None:
    with with_spending(sqlite_store, tmp_path, forgottenReservations=3) as api:
        for n in range(3):
            assert api.reserve(requestId=f"forgotten-{n}", plan="internal").status == 201
        api.clock.now = NOW + timedelta(hours=1)
        assert api.roll()["fired"] == ["cost-reservations-forgotten"]
        assert api.roll()["cleared"] == []
        api.clock.now = NOW + timedelta(days=1)
        assert api.roll()["cleared"] == ["cost-reservations-forgotten"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda s: s.update(thresholds=[80, 50]), "spending.json: thresholds: must ascend, each once"),
        (lambda s: s["budgets"].update(plans={"pro": -1}), "spending.json: budgets.plans.pro: "),
        (lambda s: s.update(channels=["fax"]), "spending.json: channels[0]: "),
    ],
)
def test_a_fault_of_the_policy_is_named(change: Callable[[Any], None], fault: str, tmp_path: Path) -> None:
    from scripts.configuration import faults

    shutil.copytree(CONFIG, tmp_path / "config")
    policy = json.loads((tmp_path / "config/spending.json").read_text())
    change(policy)
    (tmp_path / "config/spending.json").write_text(json.dumps(policy))
    (found,) = faults(tmp_path / "config")
    assert found.startswith(fault)


def test_an_alert_of_an_earlier_release_is_told_in_the_words_of_an_slo(sqlite_store: Store, tmp_path: Path) -> None:
    with with_spending(sqlite_store, tmp_path) as api:
        api.send(event("request-0001", model=UNKNOWN))
        api.roll()
        (notification,) = told(api)
        del notification["facts"]["spending"]
        shown = brief(notification, Links("https://status.example.com", "https://ops.example.com"))
        assert shown.what.startswith("The number of token_cost should be at most 0")


def test_a_repetition_says_the_same_as_the_message_before(sqlite_store: Store, tmp_path: Path) -> None:
    with with_spending(sqlite_store, tmp_path) as api:
        api.send(event("request-0001", model=UNKNOWN))
        api.roll()
        first, _ = said(api)
        api.clock.now = NOW + timedelta(days=2)
        assert follow_up(api.app, api.clock.now)
        _, repeated = told(api)
        shown = brief(repeated, Links("https://status.example.com", "https://ops.example.com"))
        assert repeated["kind"] == "repeat"
        assert shown.what == f"Since {NOW:%Y-%m-%d %H:%M} UTC and still so: {first}"


def test_all_that_is_told_of_a_firing_belongs_together_and_its_end_is_told_wherever_it_was_passed_on(
    sqlite_store: Store, tmp_path: Path
) -> None:
    with with_spending(sqlite_store, tmp_path) as api:
        policy = json.loads((tmp_path / "config/notifications.json").read_text())
        policy["escalation"] = {"warning": [{"after": "15m", "channels": ["inapp"]}]}
        (tmp_path / "config/notifications.json").write_text(json.dumps(policy))
        api.send(event("request-0001", model=UNKNOWN))
        (alert,) = api.roll()["fired"]
        for hours in (1, 25):  # it is passed on, and then repeated
            assert follow_up(api.app, NOW + timedelta(hours=hours)) == [alert]
        acknowledge(api.app.store, alert, "uid", None, NOW + timedelta(hours=26))
        api.clock.now = NOW + timedelta(days=36)
        assert api.roll()["cleared"] == [alert]
        sent = [doc.data for doc in api.app.store.query(Query("notifications", limit=500))]
        assert {dedup_key(one) for one in sent} == {f"{alert}-1"}
        told_on = {kind: {one["channel"] for one in sent if one["kind"] == kind} for kind in ("repeat", "resolve")}
        assert told_on == {"repeat": {"slack", "inapp"}, "resolve": {"slack", "inapp", "email"}}  # email has no address

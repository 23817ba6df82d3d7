"""Several thresholds of one budget that are crossed at once: the highest is told, and the others are in the record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.alerts.follow_up import follow_up
from shared.domain.spending import ORGANISATION, Spending, budget_findings
from shared.store.protocol import Query, Store, Write
from shared.usage.cost_rollup import run
from tests.core import CONFIG, Clock, make_app
from tests.e2e.test_delivery import Wrapped
from tests.ops_api import ops_api
from tests.planted import Killed
from tests.unit.usage.test_spending import TODAY, dollars
from tests.usage_api import NOW, usage_api

STEM = "cost-budget-organisation"
DECEMBER = NOW.replace(month=12, day=1)
ENV = {
    "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/",
    "PAGERDUTY_ROUTING_KEY": "0123456789abcdef0123456789abcdef",
}
BY_HIGHER = ("withheld", "higher_threshold")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A budget of 1 USD for all, told on Slack and PagerDuty."""
    folder = tmp_path / "config"
    shutil.copytree(CONFIG, folder)
    spending = json.loads((folder / "spending.json").read_text())
    budgets = {"organisation": "1", "plans": {}, "models": {}, "users": {}, "eachUser": None}
    written = {**spending, "budgets": budgets, "spike": None, "channels": ["slack", "pagerduty"]}
    (folder / "spending.json").write_text(json.dumps(written))
    return folder


def spend(store: Store, config: Path, *cents: int) -> None:
    with usage_api(store, config_dir=config) as api:
        api.flags(alerts={"pagerduty": True})
        api.send(*(dollars(n, of) for n, of in enumerate(cents)))


def roll(store: Store, config: Path, now: datetime = NOW) -> dict[str, Any]:
    return run(make_app(store, Clock(now), config, **ENV), now, lambda: True)


def said(store: Store, kind: str) -> dict[str, tuple[str, str | None]]:
    """By notification of a threshold, without its stem: state and reason."""
    found = [doc.data for doc in store.query(Query("notifications", limit=500))]
    mine = [one for one in found if one["kind"] == kind and one["alertId"].startswith(STEM)]
    return {one["notificationId"].removeprefix(f"{STEM}-"): (one["state"], one["reason"]) for one in mine}


def alert(store: Store, threshold: int) -> dict[str, Any]:
    doc = store.get(f"alerts/{STEM}-{threshold}")
    assert doc is not None
    return dict(doc.data)


AT_ONCE = {
    "100-1-slack": ("pending", None),
    "100-1-pagerduty": ("pending", None),
    **{f"{n}-1-{channel}": BY_HIGHER for n in (50, 80) for channel in ("slack", "pagerduty")},
}
CLEARED = {name.replace("-1-", "-2-"): how for name, how in AT_ONCE.items()}


def test_the_highest_of_what_is_crossed_at_once_is_told_and_so_is_its_end(store: Store, config: Path) -> None:
    spend(store, config, 120)
    assert roll(store, config)["fired"][:3] == [f"{STEM}-{n}" for n in (100, 80, 50)]
    assert said(store, "trigger") == AT_ONCE
    assert [alert(store, n)["saidBy"] for n in (50, 80, 100)] == [f"{STEM}-100", f"{STEM}-100", None]
    assert {alert(store, n)["state"] for n in (50, 80, 100)} == {"firing"}
    assert alert(store, 100)["sloId"] == f"{STEM}-100", "it is of no SLO: pages and programs see that by its own name"
    held = store.get(f"notifications/{STEM}-50-1-slack")
    assert held is not None
    assert held.data["heldBy"] == {"id": f"{STEM}-100", "until": None}
    assert roll(store, config)["fired"] == []
    assert roll(store, config, DECEMBER)["cleared"][:3] == [f"{STEM}-{n}" for n in (50, 80, 100)]
    assert said(store, "resolve") == CLEARED
    assert [alert(store, n)["saidBy"] for n in (50, 80, 100)] == [None] * 3


def test_what_the_highest_says_is_neither_repeated_nor_passed_on_nor_made_up_for(store: Store, config: Path) -> None:
    spend(store, config, 120)
    roll(store, config)
    followed = {id_ for hours in (0, 1, 25, 49) for id_ in follow_up(_app(store, config), NOW + timedelta(hours=hours))}
    assert f"{STEM}-100" in followed
    assert not followed & {f"{STEM}-50", f"{STEM}-80"}
    assert alert(store, 50)["seq"] == alert(store, 80)["seq"] == 1


def test_who_asks_why_an_alert_was_not_told_reads_which_one_says_it(sqlite_store: Store, config: Path) -> None:
    spend(sqlite_store, config, 120)
    roll(sqlite_store, config)
    with ops_api(sqlite_store, NOW, **ENV) as ops:
        known = ops.get(f"/api/ops/alerts/{STEM}-50").json
    by = {"id": f"{STEM}-100", "until": None}
    assert {(one["reason"], str(one["heldBy"])) for one in known["told"].values()} == {("higher_threshold", str(by))}
    assert known["holds"]["slack"] == {"reason": "higher_threshold", "by": f"{STEM}-100", "until": None}
    assert not any(known["next"].values()), "nothing comes next of it but its end"


def _app(store: Store, config: Path) -> Any:
    return make_app(store, Clock(NOW), config, **ENV)


def test_what_was_told_before_ends_with_one_message_but_nothing_stays_open(sqlite_store: Store, config: Path) -> None:
    spend(sqlite_store, config, 60)
    assert roll(sqlite_store, config)["fired"][0] == f"{STEM}-50"
    spend(sqlite_store, config, 60, 60)
    assert roll(sqlite_store, config)["fired"][:2] == [f"{STEM}-100", f"{STEM}-80"]
    assert said(sqlite_store, "trigger")["50-1-slack"] == ("pending", None)
    roll(sqlite_store, config, DECEMBER)
    assert said(sqlite_store, "resolve") == {
        **CLEARED,
        "50-2-pagerduty": ("pending", None),  # its incident there is its own
    }


def test_a_channel_that_never_heard_of_the_highest_hears_the_end_of_what_it_knows(
    sqlite_store: Store, config: Path
) -> None:
    spend(sqlite_store, config, 60)
    roll(sqlite_store, config)
    spend(sqlite_store, config, 60, 60)
    with usage_api(sqlite_store, config_dir=config) as api:
        api.flags(alerts={"slack": False})
    roll(sqlite_store, config)
    with usage_api(sqlite_store, config_dir=config) as api:
        api.flags(alerts={"slack": True})
    roll(sqlite_store, config, DECEMBER)
    assert said(sqlite_store, "resolve")["50-2-slack"] == ("pending", None)
    assert said(sqlite_store, "resolve")["80-2-slack"] == BY_HIGHER


class DiesAtEachAlert(Wrapped):
    """The process is gone before, or after, the first alert on costs that it commits."""

    def __init__(self, inner: Store, after: bool) -> None:
        super().__init__(inner)
        self.after = after

    def commit(self, writes: Sequence[Write]) -> None:
        mine = writes[0].path.startswith("alerts/cost-")
        if mine and not self.after:
            raise Killed
        super().commit(writes)
        if mine:
            raise Killed


def test_a_run_that_is_killed_between_two_thresholds_tells_the_same(store: Store, config: Path) -> None:
    spend(store, config, 120)
    for now in (NOW, DECEMBER):
        with pytest.raises(Killed):
            roll(DiesAtEachAlert(store, after=False), config, now)
        kills = 0
        while True:
            try:
                roll(DiesAtEachAlert(store, after=True), config, now)
            except Killed:
                kills += 1
            else:
                break
        assert kills == 4  # the forecast too
    assert said(store, "trigger") == AT_ONCE
    assert said(store, "resolve") == CLEARED


@given(
    spent=st.decimals(0, 3, places=4),
    thresholds=st.lists(st.integers(1, 200), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_one_of_what_fires_and_one_of_what_holds_speaks_for_the_others(spent: Decimal, thresholds: list[int]) -> None:
    policy = Spending.model_validate({"budgets": {"organisation": "1"}, "thresholds": thresholds})
    found = budget_findings(ORGANISATION, "", spent, TODAY, policy)
    assert sorted(one.id for one in found) == sorted(f"{STEM}-{n}" for n in thresholds)
    for firing in (True, False):
        same = [one for one in found if one.firing == firing]
        ordered = sorted(same, key=lambda one: one.limit, reverse=True)
        assert same == (ordered if firing else ordered[::-1]), "who speaks comes first of what fires, last of what ends"
        assert [one.above for one in ordered] == [tuple(o.id for o in ordered[:n]) for n in range(len(ordered))]

"""The backtest of opsApi over real sockets, by an admin with a real token, on both stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from functions.ops_api.backtest import _asked, entry_of
from shared.domain.alert_policy import AlertPolicy
from shared.domain.slo_file import parse_slos
from shared.metrics.layout import FOLD_RUN
from shared.store.protocol import Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW, registry, shipped
from tests.ops_api import Ops, ops_api
from tests.unit.test_backtest import feed

PATH = "/api/ops/slos/api-availability/backtest"
LATENCY = "/api/ops/slos/api-latency-p95/backtest"


@pytest.fixture
def ops(sqlite_store: SqliteStore) -> Iterator[Ops]:
    with ops_api(sqlite_store, NOW) as ops:
        yield ops


def faults(ops: Ops, **query: Any) -> dict[str, str]:
    reply = ops.get(PATH, query)
    assert (reply.status, reply.json["code"]) == (400, "invalid_query"), reply.text
    return {error["path"]: error["message"] for error in reply.json["errors"]}


def test_todays_settings_and_the_proposed_ones_over_the_same_days(store: Store) -> None:
    feed(store, days=3)
    before = store.get(FOLD_RUN)
    with ops_api(store, NOW) as ops:
        reply = ops.get(PATH, {"days": 7, "for": "10m", "keep_firing_for": "15m", "burn_rates": "true"})
    assert reply.status == 200, reply.text
    found = reply.json
    assert [found["from"], found["to"]] == ["2026-03-03T12:00:00Z", "2026-03-10T12:00:00Z"]
    assert found["changes"] == {"for": "10m", "keep_firing_for": "15m", "burn_rates": "true"}
    rule, *burning = found["today"]["rules"]
    assert [(one["rule"], one["fired"]) for one in burning] == [("page", 1), ("ticket", 1)]
    assert rule == {
        "rule": "threshold",
        "severity": "critical",
        "from": "2026-03-07T12:00:00Z",
        "fired": 1,
        "longestSeconds": 1200,
        "totalSeconds": 1200,
        "pagesPerWeek": pytest.approx(7 / 3),
        "first": "2026-03-08T09:05:00Z",
        "last": "2026-03-08T09:05:00Z",
        "firings": [{"from": "2026-03-08T09:05:00Z", "to": "2026-03-08T09:25:00Z"}],
    }
    threshold, page, ticket = found["proposal"]["rules"]
    assert threshold["firings"] == [{"from": "2026-03-08T09:15:00Z", "to": "2026-03-08T09:40:00Z"}]
    assert [page["rule"], page["fired"], ticket["rule"], ticket["pagesPerWeek"]] == ["page", 1, "ticket", 0.0]
    assert found["proposal"]["pagesPerWeek"] == pytest.approx(14 / 3)
    assert store.get(FOLD_RUN) == before


def test_a_threshold_that_was_never_counted_is_counted_for_the_answer(store: Store) -> None:
    feed(store, days=3)
    with ops_api(store, NOW) as ops:
        found = ops.get(LATENCY, {"threshold": "460.5"}).json
    assert [found[which]["countedAnew"] for which in ("today", "proposal")] == [False, True]
    assert [found[which]["rules"][0]["fired"] for which in ("today", "proposal")] == [1, 0]


def test_without_any_metric_nothing_was_replayed(ops: Ops) -> None:
    found = ops.get(PATH).json
    assert found["today"] == found["proposal"]
    assert (found["today"]["pagesPerWeek"], found["today"]["rules"][0]["from"]) == (None, found["to"])


def test_every_fault_is_told_under_its_parameter(ops: Ops) -> None:
    given = {
        "days": "91", "threshold": "x", "target": "NaN", "window": "30", "for": "7m", "keep_firing_for": "-5m",
        "min_events": "0", "min_failures": "few", "burn_rates": "perhaps", "no_data": "page", "alert_window": "1y",
        "colour": "red",
    }  # fmt: skip
    assert faults(ops, **given).keys() == given.keys()
    assert faults(ops, days="1.5") == {"days": "must be a whole number from 1 to 90"}
    assert faults(ops, threshold="101") == {"threshold": "101 is no percentage"}
    assert faults(ops, **{"for": ["5m", "10m"]}) == {"for": "given more than once"}
    assert list(faults(ops, window="1h", burn_rates="true")) == ["burn_rates"]


def test_only_admins_are_answered_and_only_on_slos_that_there_are(ops: Ops) -> None:
    assert ops.get(PATH, token=None).status == 401
    assert ops.get(PATH, method="POST").status == 405
    reply = ops.get("/api/ops/slos/nothing/backtest")
    assert (reply.status, reply.json["code"]) == (404, "unknown_slo")


def test_an_slo_is_the_same_after_it_was_written_down_and_read_again() -> None:
    fancy = {
        "name": "Fast", "id": "quick", "metric": "api_latency", "under": 300.5, "labels": {"endpoint": "/a"},
        "target": 99.5, "threshold": 95, "window": {"calendar": "week", "timeZone": "Europe/Berlin"},
        "alert": {
            "severity": "high", "channels": ["slack", "email"], "window": "90m", "for": "25m", "keep_firing_for": "2h",
            "no_data": "alert", "burn_rates": True, "min_events": 3, "min_failures": 2, "incident": False,
            "impact": "low",
        },
    }  # fmt: skip
    own = parse_slos({"slos": [fancy]}, registry(), source="x", digest="x").slos
    for slo in (*shipped().slos, *own):
        (again,) = parse_slos({"slos": [entry_of(slo)]}, registry(), source="x", digest="x").slos
        assert again == slo


def test_settings_that_were_not_said_follow_the_burn_rates() -> None:
    """As they would in a file."""
    said = {"severity": "high", "channels": ["slack"]}
    usual = {burn: AlertPolicy.model_validate({**said, "burn_rates": burn}).min_failures for burn in (True, False)}
    slo = shipped().slos[0]
    for burn in (True, False):
        given = {"burn_rates": ["true" if burn else "false"]}
        assert _asked(given, slo, registry())[1].alert.min_failures == usual[burn]
        assert _asked({**given, "min_failures": ["3"]}, slo, registry())[1].alert.min_failures == 3

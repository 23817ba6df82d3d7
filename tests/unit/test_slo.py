"""SLO arithmetic, exact to the single event, and what the shipped configuration means."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alert_policy import AlertPolicy
from shared.domain.definition import Counts, Definition
from shared.domain.faults import ConfigError
from shared.domain.slo import Slo
from shared.domain.slo_file import parse_slos
from tests.core import CONFIG, registry, shipped

TOTALS = st.one_of(st.integers(1, 300), st.integers(1, 10**15))
PERCENTS = st.one_of(
    st.sampled_from([Decimal(p) for p in ("0", "0.1", "0.5", "95", "99.0", "99.5", "99.9", "99.99", "100")]),
    st.decimals(0, 100, places=3),
    st.decimals(0, 100, places=14),
)


def make(
    *, target: Decimal = Decimal(99), threshold: Decimal = Decimal(1), quantile: int | None = None, worse: bool = True
) -> Slo:
    policy = AlertPolicy.model_validate({"severity": "high", "channels": ["slack"]})
    return Slo("x", "X", "m", "%", "avg", quantile, worse, target, threshold, 3600, policy)


def counts_around(edge: Fraction, total: int) -> set[int]:
    """Whole numbers at an edge and beside it, within 0 and the total."""
    near = {floor(edge) - 1, floor(edge), ceil(edge), ceil(edge) + 1}
    return {n for n in near if 0 <= n <= total}


# --- exact, at equality and one event either side


@given(PERCENTS, TOTALS)
def test_compliance_is_exact_to_the_event(target: Decimal, total: int) -> None:
    slo = make(target=target)
    for good in counts_around(Fraction(target) * total / 100, total):
        met = Fraction(good, total) >= Fraction(target) / 100
        assert slo.compliance(Counts(good, total)) == ("met" if met else "missed")


@given(PERCENTS, TOTALS)
def test_an_error_rate_exceeds_its_threshold_strictly(threshold: Decimal, total: int) -> None:
    slo = make(threshold=threshold, worse=True)
    for bad in counts_around(Fraction(threshold) * total / 100, total):
        assert slo.exceeds(Counts(total - bad, total)) == (Fraction(bad, total) > Fraction(threshold) / 100)


@given(PERCENTS, TOTALS)
def test_a_success_rate_falls_below_its_threshold_strictly(threshold: Decimal, total: int) -> None:
    slo = make(threshold=threshold, worse=False)
    for good in counts_around(Fraction(threshold) * total / 100, total):
        assert slo.exceeds(Counts(good, total)) == (Fraction(good, total) < Fraction(threshold) / 100)


@given(st.sampled_from([50, 75, 90, 95, 99]), TOTALS)
def test_a_quantile_is_within_a_bound_if_enough_values_are(quantile: int, total: int) -> None:
    """p95 <= T is: count(<= T) >= ceil(0.95 n)."""
    slo = make(quantile=quantile)
    needed = -(-quantile * total // 100)
    for good in counts_around(Fraction(needed), total):
        assert slo.exceeds(Counts(good, total)) == (good < needed)
        assert slo.compliance(Counts(good, total)) == ("met" if good >= needed else "missed")


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.integers(0, 20), st.sampled_from([50, 90, 95, 99]))
def test_the_count_says_the_same_as_the_quantile_of_the_values(values: list[int], bound: int, quantile: int) -> None:
    value = sorted(values)[max(1, -(-quantile * len(values) // 100)) - 1]
    counts = Counts(sum(v <= bound for v in values), len(values))
    assert make(quantile=quantile).exceeds(counts) == (value > bound)


@pytest.mark.parametrize(
    ("threshold", "bad", "total", "beyond"),
    [("0.5", 5, 1000, False), ("0.5", 6, 1000, True), ("0.5", 1, 200, False), ("0.5", 1, 199, True),
     ("0.1", 1, 1000, False), ("0.3", 3, 1000, False), ("0.7", 7, 1000, False), ("14.4", 144, 1000, False),
     ("14.4", 1444, 10_000, True), ("0", 0, 10, False), ("0", 1, 10**15, True), ("100", 10, 10, False)],
)  # fmt: skip
def test_no_rounding_moves_an_edge(threshold: str, bad: int, total: int, beyond: bool) -> None:
    assert make(threshold=Decimal(threshold)).exceeds(Counts(total - bad, total)) == beyond


@given(PERCENTS, TOTALS, st.data())
def test_the_budget_left_is_one_less_the_share_that_was_used(target: Decimal, total: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, min(total, 10**6)))
    left = make(target=target).budget_left(Counts(total - bad, total))
    allowed = (1 - Fraction(target) / 100) * total
    assert left is not None
    if allowed:
        exact = 1 - bad / allowed
        assert abs(Fraction(left) - exact) <= Fraction(1, 10**20) * max(1, abs(exact))
        assert (left >= 0) == (exact >= 0)
    else:
        assert left == (1 if bad == 0 else 0)


@given(PERCENTS, TOTALS, st.data())
def test_the_budget_is_spent_exactly_when_the_objective_is_missed(
    target: Decimal, total: int, data: st.DataObject
) -> None:
    good = data.draw(st.sampled_from(sorted(counts_around(Fraction(target) * total / 100, total))))
    slo, counts = make(target=target), Counts(good, total)
    left = slo.budget_left(counts)
    assert left is not None
    if target < 100:
        assert (left < 0) == (slo.compliance(counts) == "missed")


def test_without_events_there_is_no_compliance_and_no_budget() -> None:
    for slo in shipped().slos:
        assert slo.compliance(Counts(0, 0)) == "no_data"
        assert slo.budget_left(Counts(0, 0)) is None
        assert slo.ratio_percent(Counts(0, 0)) is None
        assert not slo.exceeds(Counts(0, 0))


# --- the four that are shipped


def test_the_four_slos_load_as_they_are_written() -> None:
    written = json.loads((CONFIG / "slo.json").read_text())["slos"]
    assert [
        (s.name, float(s.target), float(s.threshold), s.alert.severity, list(s.alert.channels)) for s in shipped().slos
    ] == [(w["name"], w["target"], w["threshold"], w["alert"]["severity"], w["alert"]["channels"]) for w in written]


def test_what_the_four_slos_mean() -> None:
    availability, latency, agents, database = shipped().slos
    assert [slo.id for slo in shipped().slos] == [
        "api-availability", "api-latency-p95", "agent-success-rate", "database-write-latency",
    ]  # fmt: skip
    assert [slo.window for slo in shipped().slos] == [30 * 86_400, 86_400, 7 * 86_400, 3600]
    assert {slo.alert.window for slo in shipped().slos} == {300}
    assert {slo.alert.min_events for slo in shipped().slos} == {10}

    # 99.5 % of the requests of 30 days without an error; the alert at more than 0.5 % errors
    assert (availability.metric, availability.unit, availability.more_is_worse) == ("error_rate", "%", True)
    assert availability.compliance(Counts(995, 1000)) == "met"
    assert availability.compliance(Counts(994, 1000)) == "missed"
    assert not availability.exceeds(Counts(995, 1000))
    assert availability.exceeds(Counts(994, 1000))
    assert availability.ratio_percent(Counts(994, 1000)) == 0.6

    # 95 % of the requests of a day within 300 ms; the alert when the p95 is above 400 ms
    assert (latency.metric, latency.quantile, latency.unit, latency.aggregation) == ("api_latency", 95, "ms", "p95")
    assert (latency.objective.bound, latency.trigger.bound) == (300, 400)
    assert latency.exceeds(Counts(94, 100))
    assert not latency.exceeds(Counts(95, 100))

    # 99 % of the agent runs of a week succeed; the alert below 95 %
    assert (agents.metric, agents.unit, agents.more_is_worse) == ("agent_success_rate", "%", False)
    assert not agents.exceeds(Counts(95, 100))
    assert agents.exceeds(Counts(949, 1000))
    assert agents.compliance(Counts(989, 1000)) == "missed"
    assert agents.ratio_percent(Counts(949, 1000)) == 94.9

    # 95 % of the writes of an hour within 100 ms; the alert when the p95 is above 200 ms
    assert (database.metric, database.quantile) == ("firestore_write_latency", 95)
    assert (database.objective.bound, database.trigger.bound) == (100, 200)


def test_every_bound_that_an_slo_needs_is_counted_at_ingest() -> None:
    bounds = shipped().bounds(registry())
    for definition in shipped().definitions:
        if definition.bound is not None:
            assert definition.bound in bounds[definition.metric]
    assert bounds["api_latency"] == (100, 200, 300, 400, 500, 1000, 2000)


def test_a_definition_does_not_depend_on_the_objective_of_a_ratio() -> None:
    assert make(target=Decimal(99)).objective.hash == make(target=Decimal(95)).objective.hash
    assert Definition("a", 1.0).hash != Definition("a", 2.0).hash != Definition("b", 2.0).hash
    assert Definition("a", None).hash != Definition("a", 0.0).hash


# --- configurations that cannot be used


def config(**changes: Any) -> dict[str, Any]:
    entry = {
        "name": "X", "target": 99, "window": "30d", "metric": "error_rate", "threshold": 1,
        "alert": {"severity": "high", "channels": ["slack"]},
    }  # fmt: skip
    return {"slos": [{**entry, **changes}]}


def faults(data: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_slos(data, registry(), source="slo.json", digest="x")
    return caught.value.faults


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": ""}, "slos[0].name"),
        ({"name": None}, "slos[0].name"),
        ({"target": "99"}, "slos[0].target"),
        ({"target": True}, "slos[0].target"),
        ({"target": -1}, "slos[0].target"),
        ({"target": float("nan")}, "slos[0].target"),
        ({"target": float("inf")}, "slos[0].target"),
        ({"target": 101}, "slos[0].target"),
        ({"threshold": 100.001}, "slos[0].threshold"),
        ({"window": "30"}, "slos[0].window"),
        ({"window": 30}, "slos[0].window"),
        ({"window": "0d"}, "slos[0].window"),
        ({"window": "7m"}, "slos[0].window"),
        ({"window": "-1d"}, "slos[0].window"),
        ({"metric": "nope"}, "slos[0].metric"),
        ({"metric": "api_latency"}, "slos[0].metric"),
        ({"metric": "error_rate_p95"}, "slos[0].metric"),
        ({"metric": "api_latency_p96"}, "slos[0].metric"),
        ({"id": "Not An Id"}, "slos[0].id"),
        ({"extra": 1}, "slos[0].extra"),
        ({"alert": None}, "slos[0].alert"),
        ({"alert": {"severity": "huge", "channels": ["slack"]}}, "slos[0].alert.severity"),
        ({"alert": {"severity": "high", "channels": []}}, "slos[0].alert.channels"),
        ({"alert": {"severity": "high", "channels": ["fax"]}}, "slos[0].alert.channels[0]"),
        ({"alert": {"severity": "high", "channels": ["slack", "slack"]}}, "slos[0].alert.channels"),
        ({"alert": {"severity": "high", "channels": ["slack"], "window": "31d"}}, "slos[0].alert.window"),
        ({"alert": {"severity": "high", "channels": ["slack"], "min_events": 0}}, "slos[0].alert.min_events"),
    ],
)
def test_a_fault_is_named_with_its_path(changes: dict[str, Any], path: str) -> None:
    (fault,) = faults(config(**changes))
    assert fault.startswith(path + ": ")


@pytest.mark.parametrize("data", [None, [], "x", {}, {"slos": None}, {"slos": {}}, {"slos": [None]}])
def test_what_is_no_configuration_at_all_is_refused(data: Any) -> None:
    assert faults(data)


def test_every_fault_is_named_at_once() -> None:
    broken = config(name="", target="x", window="soon")
    broken["slos"].append({**config()["slos"][0], "alert": {"severity": "x", "channels": ["slack"]}})
    assert [fault.partition(":")[0] for fault in faults(broken)] == [
        "slos[0].name", "slos[0].target", "slos[0].window", "slos[1].alert.severity",
    ]  # fmt: skip
    unknown = {"slos": [*config(metric="nope")["slos"], *config(metric="nope", name="Y", id="y")["slos"]]}
    assert [fault.partition(":")[0] for fault in faults(unknown)] == ["slos[0].metric", "slos[1].metric"]


def test_two_slos_of_one_id_are_refused() -> None:
    twice = {"slos": [*config(name="A b")["slos"], *config(name="a-B")["slos"]]}
    assert [fault.partition(":")[0] for fault in faults(twice)] == ["slos[1].name"]


def test_a_quantile_of_a_metric_where_less_is_worse_is_refused() -> None:
    data = registry().model_dump(by_alias=True)
    data["metrics"]["storage_usage"]["direction"] = "less_is_worse"
    with pytest.raises(ConfigError) as caught:
        parse_slos(config(metric="storage_usage_p95"), type(registry()).model_validate(data), source="x", digest="x")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["slos[0].metric"]


def test_an_alias_is_the_metric_itself() -> None:
    found = parse_slos(config(metric="req_latency_ms_p99"), registry(), source="x", digest="x").slos[0]
    assert (found.metric, found.quantile, found.unit) == ("api_latency", 99, "ms")


def test_a_number_is_what_was_written_and_not_the_float_next_to_it() -> None:
    as_float = parse_slos(config(threshold=0.1), registry(), source="x", digest="x").slos[0]
    as_decimal = parse_slos(config(threshold=Decimal("0.1")), registry(), source="x", digest="x").slos[0]
    assert as_float.threshold == as_decimal.threshold == Decimal("0.1")


def test_no_slos_at_all_are_a_configuration() -> None:
    assert parse_slos({"slos": []}, registry(), source="x", digest="x").definitions == ()

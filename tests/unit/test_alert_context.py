"""What an alert tells besides its value: how fast it burns, what the bad ones have in common, what came in force."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.alerts.context import context_of, standing_out
from shared.domain.definition import Counts
from shared.domain.rollup import Stats
from shared.domain.slo import Slo
from shared.slo.contributors import Contributor, Contributors
from shared.store.protocol import Put, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW, metric, registry, shipped
from tests.unit.test_alerting import API, IN_SLOT, Watch, append


def slo_of(name: str) -> Slo:
    return next(slo for slo in shipped().slos if slo.id == name)


LATENCY = slo_of("api-latency-p95")
ERRORS = slo_of("api-availability")


def found(**labels: dict[str, tuple[int, int]]) -> Contributors:
    """Of each label: value → (bad, total). The whole is 100 bad of 1,000."""
    return Contributors(
        Counts(900, 1000),
        {
            label: [Contributor(value or None, Counts(total - bad, total)) for value, (bad, total) in values.items()]
            for label, values in labels.items()
        },
    )


def worst(slo: Slo = LATENCY, **labels: dict[str, tuple[int, int]]) -> Any:
    told = standing_out(found(**labels), slo, registry())
    return told and (told["label"], told["value"])


def test_what_most_of_the_bad_have_and_few_of_the_others_is_named() -> None:
    told = standing_out(
        found(endpoint={"/pay": (90, 100), "/cart": (10, 900)}, method={"GET": (60, 600)}), LATENCY, registry()
    )
    assert told == {"label": "endpoint", "value": "/pay", "bad": 90, "total": 100, "allBad": 100, "allTotal": 1000}


@pytest.mark.parametrize(
    "values",
    [
        {"/pay": (40, 60)},  # less than half of the bad
        {"/pay": (60, 600)},  # as bad as all the others
        {"/pay": (100, 1000)},  # all there is
        {"": (90, 100)},  # put together, and so not known
    ],
    ids=["few", "as bad", "everything", "other"],
)
def test_what_explains_nothing_is_not_named(values: dict[str, tuple[int, int]]) -> None:
    assert worst(endpoint=values) is None


def test_a_status_does_not_explain_errors() -> None:
    assert worst(ERRORS, status={"500": (100, 100)}, endpoint={"/pay": (90, 100)}) == ("endpoint", "/pay")


def test_two_failures_have_anything_in_common_by_chance() -> None:
    two = Contributors(Counts(98, 100), {"endpoint": [Contributor("/pay", Counts(0, 2))]})
    assert standing_out(two, LATENCY, registry()) is None


class Evaluated:
    """An evaluator with so many good and total events, and rollups or a failure."""

    def __init__(self, counts: Counts, failure: Exception | None = None) -> None:
        self._counts, self._failure = counts, failure
        self.slo, self.window = LATENCY, Counts(9_900, 10_000)

    def counts(self, slo: Slo, seconds: int, at: Any) -> Counts:
        return self._counts

    def rollups(self, at: Any, seconds: int) -> list[dict[str, Stats]]:
        if self._failure:
            raise self._failure
        return []


def context(store: SqliteStore, evaluated: Evaluated, version: int | None = None, *, fires: bool = True) -> Any:
    from dataclasses import replace

    from shared.domain.alert import rules_of

    config = replace(shipped(), version=version)
    rule = rules_of(LATENCY, config)[0]
    each: Any = evaluated
    return context_of(store, config, registry(), each, each, rule, NOW, 300, NOW, None, fires=fires)


def test_how_fast_the_budget_burns_and_how_much_is_left_is_told(sqlite_store: SqliteStore) -> None:
    told = context(sqlite_store, Evaluated(Counts(80, 100)))
    assert told["budget"] == {"periodSeconds": 86_400, "rate": 4.0, "left": 0.8}
    assert context(sqlite_store, Evaluated(Counts(0, 0)))["budget"]["rate"] is None


def test_a_version_that_came_in_force_shortly_before_is_told(sqlite_store: SqliteStore) -> None:
    at = NOW - timedelta(minutes=8)
    sqlite_store.commit([Put("config/slo/versions/12", {"uploadedAt": at})])
    sqlite_store.commit([Put("config/slo/versions/11", {"uploadedAt": NOW - timedelta(hours=3)})])
    evaluated = Evaluated(Counts(80, 100))
    assert context(sqlite_store, evaluated, 12)["config"] == {"version": 12, "at": at}
    for version in (11, 10, None):
        assert context(sqlite_store, evaluated, version)["config"] is None


def test_no_alert_waits_for_what_cannot_be_read(sqlite_store: SqliteStore) -> None:
    told = context(sqlite_store, Evaluated(Counts(80, 100), Unavailable("no answer")), 12)
    assert (told["worst"], told["config"], told["budget"]["rate"]) == (None, None, 4.0)


def test_what_does_not_fire_reads_nothing(sqlite_store: SqliteStore) -> None:
    before = sqlite_store.meter.snapshot()
    assert context(sqlite_store, Evaluated(Counts(1, 1), AssertionError()), 12, fires=False)["worst"] is None
    assert sqlite_store.meter.since(before).reads == 0


def test_an_alert_that_fires_tells_it_in_its_notifications_and_its_end_is_of_the_same_firing(
    sqlite_store: SqliteStore,
) -> None:
    watch = Watch(sqlite_store)
    good = [metric(100, at=IN_SLOT, labels={"status": "200", "endpoint": "/cart"})] * 90
    bad = [metric(100, at=IN_SLOT, labels={"status": "500", "endpoint": "/pay"})] * 10
    append(sqlite_store, [*good, *bad], "batch-0901", IN_SLOT)
    assert watch.run().fired == [API]
    facts = watch.doc(f"notifications/{API}-1-slack")["facts"]
    assert facts["worst"] == {
        "label": "endpoint", "value": "/pay", "bad": 10, "total": 10, "allBad": 10, "allTotal": 100,
    }  # fmt: skip
    assert (facts["firingSeq"], facts["budget"]["rate"]) == (1, 20.0)
    later = NOW + timedelta(minutes=5)
    watch.requests(100, 0, at=IN_SLOT + timedelta(minutes=5))
    assert watch.run(later).cleared == [API]
    assert watch.doc(f"notifications/{API}-2-slack")["facts"]["firingSeq"] == 1

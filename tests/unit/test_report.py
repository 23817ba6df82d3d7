"""The success metrics: pure, and as opsApi answers them, held against counts over the raw events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from shared.alerts.marks import mark_false
from shared.domain import report
from shared.domain.definition import Counts
from shared.domain.exclusion import Exclusion, Span
from shared.domain.reconciled import Reconciliation
from shared.domain.report import TARGETS, Incident, Measured, Target, verdict
from shared.slo.exclusions import add
from shared.slo.in_force import versions_between
from shared.slo.success_report import _Maker
from shared.store.protocol import Create, Merge, Put, Store
from shared.store.sqlite import SqliteStore
from shared.usage.reconciliations import keep
from tests.core import NOW, metric
from tests.ops_api import Ops, ops_api
from tests.unit.test_alerting import API, IN_SLOT, SLOT, Watch
from tests.unit.test_fold import append
from tests.unit.test_ops_slos import END, Event, feed, traffic

PATH = "/api/ops/report"
HOUR = timedelta(hours=1)
ALL = [(period, target) for period in TARGETS for target in TARGETS[period]]


def target_of(metric: str) -> Target:
    return next(target for _, target in ALL if target.metric == metric)


def verdict_of(metric: str, measured: Measured) -> str:
    return verdict(target_of(metric), measured)


# --- pure


@pytest.mark.parametrize(
    ("metric", "measured", "expected"),
    [
        ("availability", report.availability(Counts(199, 200)), "met"),
        ("availability", report.availability(Counts(198, 199)), "missed"),
        ("false_positives", report.false_positives([True] + [False] * 99), "met"),
        ("false_positives", report.false_positives([True] + [False] * 98), "missed"),
        ("p95", report.p95(Counts(95, 100), 401.5), "met"),
        ("p95", report.p95(Counts(94, 100), 399.5), "missed"),
        ("p95_hours", report.p95_hours([Counts(95, 100)] * 9 + [Counts(94, 100)]), "met"),
        ("p95_hours", report.p95_hours([Counts(95, 100)] * 8 + [Counts(94, 100)]), "missed"),
        ("delivery", report.delivery({"delivered": 999, "dead": 1, "withheld": 70}), "met"),
        ("delivery", report.delivery({"delivered": 998, "dead": 1, "withheld": 70}), "missed"),
        ("slos", report.slo_compliance(["met", "met"]), "met"),
        ("slos", report.slo_compliance(["met", "missed"]), "missed"),
        ("slos", report.slo_compliance(["no_data", "missed"]), "missed"),
        ("mttr", report.mttr([Incident(NOW, NOW + 2 * HOUR - timedelta(microseconds=1))]), "met"),
        ("mttr", report.mttr([Incident(NOW, NOW + 2 * HOUR)]), "missed"),
        ("cost_accuracy", report.cost_accuracy([(Decimal(100), Decimal(99))]), "met"),
        ("cost_accuracy", report.cost_accuracy([(Decimal(100), Decimal("98.999999"))]), "missed"),
        ("cost_accuracy", report.cost_accuracy([(Decimal(100), Decimal("101.000001"))]), "missed"),
        ("cost_variance", report.cost_variance([(Decimal(100), Decimal("95.000001"))]), "met"),
        ("cost_variance", report.cost_variance([(Decimal(100), Decimal(95))]), "missed"),
        ("mttr", report.mttr([Incident(NOW, NOW + HOUR), Incident(NOW, NOW + 3 * HOUR)]), "missed"),
    ],
)
def test_a_verdict_is_exact_at_its_target_and_beside_it(metric: str, measured: Measured, expected: str) -> None:
    assert verdict_of(metric, measured) == expected


@pytest.mark.parametrize(
    ("metric", "measured"),
    [
        ("availability", report.availability(Counts(0, 0))),
        ("false_positives", report.false_positives([])),
        ("p95", report.p95(Counts(0, 0), None)),
        ("p95_hours", report.p95_hours([Counts(0, 0)])),
        ("mttr", report.mttr([])),
        ("mttr", report.mttr([Incident(NOW, None)])),
        ("resolved", report.resolved_in_time([], NOW)),
        ("resolved", report.resolved_in_time([Incident(NOW - HOUR, None)], NOW)),
        ("delivery", report.delivery({"delivered": 0, "dead": 0, "withheld": 5})),
        ("slos", report.slo_compliance([])),
        ("cost_accuracy", report.cost_accuracy([])),
        ("cost_variance", report.cost_variance([])),
        ("cost_variance", report.cost_variance([(Decimal(0), Decimal(3))])),
        ("slos", report.slo_compliance(["met", "no_data"])),
    ],
)
def test_what_has_no_data_says_why_and_has_no_value(metric: str, measured: Measured) -> None:
    assert (measured.value, verdict_of(metric, measured)) == (None, "no_data")
    assert measured.reason


def test_an_hour_without_requests_is_no_hour() -> None:
    measured = report.p95_hours([Counts(0, 0), Counts(100, 100)])
    assert (measured.value, measured.counts) == (100, {"hoursMet": 1, "hours": 1})


def test_incidents_in_time_are_those_of_two_hours_and_less_and_open_ones_count_once_they_are_older() -> None:
    incidents = [
        Incident(NOW - 9 * HOUR, NOW - 7 * HOUR),
        Incident(NOW - 9 * HOUR, NOW - 7 * HOUR + timedelta(seconds=1)),
        Incident(NOW - 3 * HOUR, None),
        Incident(NOW - 2 * HOUR, None),
        Incident(NOW - HOUR, None),
    ]
    measured = report.resolved_in_time(incidents, NOW)
    assert measured.value == Fraction(100, 3)
    assert measured.counts == {"withinTwoHours": 1, "incidents": 5, "undecided": 2}


def test_a_bill_that_is_too_high_makes_up_for_none_that_is_too_low() -> None:
    bills = [(Decimal(110), Decimal(100)), (Decimal(90), Decimal(100))]
    variance, accuracy = report.cost_variance(bills), report.cost_accuracy(bills)
    assert (variance.value, accuracy.value) == (10, 90)
    assert variance.counts == {"bills": 2, "billedUsd": "200", "countedUsd": "200", "differenceUsd": "20"}
    assert report.cost_accuracy([(Decimal(1), Decimal(5))]).value == 0


def test_the_metrics_are_those_of_the_plan_with_its_targets() -> None:
    assert [(p, t.name, t.comparison, float(t.value), t.unit) for p, t in ALL] == [
        ("week", "Service availability", "at least", 99.5, "%"),
        ("week", "False positive alerts", "at most", 1, "%"),
        ("week", "p95 API latency", "at most", 400, "ms"),
        ("week", "MTTR", "below", 2, "h"),
        ("week", "Status page uptime", "at least", 100, "%"),
        ("week", "Cost tracking accuracy", "at least", 99, "%"),
        ("week", "Alert delivery success", "at least", 99.9, "%"),
        ("month", "Service availability", "at least", 99.5, "%"),
        ("month", "False positive rate", "at most", 1, "%"),
        ("month", "p95 latency at most 400 ms", "at least", 90, "% of hours"),
        ("month", "Incidents resolved within 2 h", "at least", 80, "%"),
        ("month", "SLO compliance", "at least", 100, "%"),
        ("month", "Cost variance", "below", 5, "%"),
    ]
    assert [t.metric for _, t in ALL if not hasattr(_Maker, t.metric)] == []


# --- as opsApi answers it


def asked(ops: Ops, **query: str) -> dict[str, Any]:
    reply = ops.get(PATH, query)
    assert reply.status == 200, reply.text
    assert reply.headers["Cache-Control"] == "private, no-store"
    return {line["id"]: line for line in reply.json["metrics"]} | {"": reply.json}


def requests_between(events: Sequence[Event], start: datetime, end: datetime) -> list[Event]:
    return [event for event in events if start <= event.at < end]


def test_availability_and_latency_are_those_of_the_raw_events(store: Store) -> None:
    events = traffic(days=9, each_hour=12)
    feed(store, events)
    with ops_api(store, NOW) as ops:
        week, month = asked(ops), asked(ops, period="month")
    inside = requests_between(events, END - timedelta(days=7), END)
    fast = sum(e.value <= 400 for e in inside)
    assert (week[""]["from"], week[""]["to"]) == ("2026-03-03T12:00:00Z", "2026-03-10T12:00:00Z")
    assert week["availability"]["counts"] == {"good": sum(not e.failed for e in inside), "total": len(inside)}
    assert week["p95"]["counts"] == {"within400ms": fast, "requests": len(inside)}
    assert week["p95"]["verdict"] == ("met" if fast * 100 >= 95 * len(inside) else "missed")
    exact = sorted(e.value for e in inside)[-(-len(inside) * 95 // 100) - 1]
    assert week["p95"]["value"] == pytest.approx(exact, rel=0.02)
    hours: dict[datetime, list[float]] = {}
    for event in requests_between(events, END - timedelta(days=30), END):
        hours.setdefault(event.at.replace(minute=0, second=0, microsecond=0), []).append(event.value)
    met = sum(sum(v <= 400 for v in values) * 100 >= 95 * len(values) for values in hours.values())
    assert 0 < met < len(hours)
    assert month["p95_hours"]["counts"] == {"hoursMet": met, "hours": len(hours)}
    assert month["p95_hours"]["value"] == float(Fraction(100 * met, len(hours)))
    whole = requests_between(events, END - timedelta(days=30), END)
    assert month["availability"]["counts"]["total"] == len(whole)
    assert month["slos"]["counts"] == {"met": 0, "missed": 2, "noData": 2}
    assert (month["slos"]["verdict"], month["slos"]["value"]) == ("missed", 0)


def test_a_period_that_ended_earlier_has_what_was_then(sqlite_store: SqliteStore) -> None:
    events = traffic(days=9, each_hour=6)
    feed(sqlite_store, events)
    with ops_api(sqlite_store, NOW) as ops:
        week = asked(ops, to="2026-03-05T00:00:00Z")
        month = asked(ops, period="month", to="-1d")
    to = datetime.fromisoformat("2026-03-05T00:00:00+00:00")
    inside = requests_between(events, to - timedelta(days=7), to)
    assert week["availability"]["counts"]["total"] == len(inside) > 0
    assert (month["slos"]["verdict"], month["slos"]["value"]) == ("no_data", None)
    assert "as of now" in month["slos"]["reason"]


@pytest.mark.parametrize(
    ("pause", "incidents", "hours"),
    [(8, 2, 5 / 60), (2, 1, 15 / 60)],  # slots from one firing to the next
    ids=["an incident each", "within half an hour of its end it is the same incident"],
)
def test_firings_are_counted_though_the_alert_fired_again(
    sqlite_store: SqliteStore, pause: int, incidents: int, hours: float
) -> None:
    watch = Watch(sqlite_store)
    for n in (0, 1, pause, pause + 1):
        bad = 10 if n in (0, pause) else 0
        watch.requests(100 - bad, bad, IN_SLOT + n * SLOT)
        watch.run(NOW + n * SLOT)
        if n == 0:
            mark_false(sqlite_store, API, "ada", None, NOW)
    end = NOW + (pause + 2) * SLOT
    with ops_api(sqlite_store, end) as ops:
        watch.run(end)
        week, month = asked(ops), asked(ops, period="month")
    assert week["false_positives"]["counts"] == {"markedFalse": 1, "firings": 2}
    assert (week["false_positives"]["value"], week["false_positives"]["verdict"]) == (50, "missed")
    assert week["mttr"]["counts"] == {"incidents": incidents, "resolved": incidents, "open": 0}
    assert week["mttr"]["value"] == pytest.approx(hours)
    assert month["resolved"]["counts"] == {"withinTwoHours": incidents, "incidents": incidents, "undecided": 0}
    assert (month["resolved"]["value"], month["resolved"]["verdict"]) == (100, "met")


def test_delivery_counts_what_arrived_and_what_died_and_tells_the_rest(store: Store) -> None:
    states = {"delivered": 7, "dead": 1, "withheld": 4, "cancelled": 2, "pending": 1, "sending": 0}
    rng = random.Random(3)
    feed(store, traffic(days=1, each_hour=1))
    for state, count in states.items():
        for n in range(count):
            at = END - timedelta(minutes=rng.randint(1, 10_000))
            store.commit([Create(f"notifications/{state}-{n}", {"state": state, "createdAt": at})])
    store.commit([Create("notifications/old", {"state": "dead", "createdAt": END - timedelta(days=8)})])
    with ops_api(store, NOW) as ops:
        delivery = asked(ops)["delivery"]
    assert (delivery["counts"], delivery["value"], delivery["verdict"]) == (states, 87.5, "missed")


def test_a_new_installation_has_no_data_and_no_share(sqlite_store: SqliteStore) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        for period in ("week", "month"):
            found = asked(ops, period=period)
            lines = found.pop("")["metrics"]
            assert [(line["value"], line["verdict"]) for line in lines] == [(None, "no_data")] * len(lines)
            assert all(line["reason"] and line["how"] for line in lines)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"period": "year"}, "period"),
        ({"to": "yesterday"}, "to"),
        ({"to": "+1d"}, "to"),
        ({"to": "-89d"}, "to"),
        ({"since": "now"}, "since"),
        ({"period": ["week", "month"]}, "period"),
    ],
)
def test_a_parameter_that_cannot_be_right_is_named(sqlite_store: SqliteStore, query: Any, path: str) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        reply = ops.get(PATH, query)
    assert (reply.status, reply.json["code"]) == (400, "invalid_query")
    assert [error["path"] for error in reply.json["errors"]] == [path]


def test_a_period_with_more_incidents_than_are_read_is_refused(sqlite_store: SqliteStore) -> None:
    feed(sqlite_store, traffic(days=1, each_hour=1))
    for start in range(0, 5000, 500):
        writes = [
            Put(f"incidents/i{n}", {"startedAt": END - HOUR, "resolvedAt": None}) for n in range(start, start + 500)
        ]
        sqlite_store.commit(writes)
    with ops_api(sqlite_store, NOW) as ops:
        reply = ops.get(PATH)
        assert (reply.status, reply.json["code"]) == (422, "query_too_large")


def test_a_month_reads_a_document_for_each_hour_and_two_for_each_day(sqlite_store: SqliteStore) -> None:
    feed(sqlite_store, [Event(END - timedelta(days=n / 2), 100.0, "/a", "200") for n in range(1, 64)])
    with ops_api(sqlite_store, NOW) as ops:
        asked(ops, period="month")  # the days of SLOs stay in the instance
        before = sqlite_store.meter.snapshot()
        told = asked(ops, period="month")[""]["reads"]
        reads = sqlite_store.meter.since(before).reads
    assert told <= 30 * 24 + 2 * (29 + 24) + 20
    assert told <= reads <= told + 15  # SLOs: two runs, four alerts, the days that may still change


def test_it_names_the_versions_of_the_configuration_that_were_in_force_in_the_period(store: Store) -> None:
    feed(store, [Event(END - HOUR, 100.0, "/a", "200")])
    before, week = END - timedelta(days=40), timedelta(days=7)
    since = [before, END - week - HOUR, END - week, END - HOUR, END - timedelta(seconds=1), END]
    for n, at in enumerate(since, start=1):
        store.commit([Put(f"config/slo/versions/{n}", {"version": n, "hash": f"hash-{n}", "uploadedAt": at})])
    with ops_api(store, NOW) as ops:
        report = asked(ops)[""]
        assert report["configurations"] == [
            {"version": n, "hash": f"hash-{n}", "since": since[n - 1].strftime("%Y-%m-%dT%H:%M:%SZ")} for n in (3, 4, 5)
        ]
        month = asked(ops, period="month")[""]
        assert [one["version"] for one in month["configurations"]] == [1, 2, 3, 4, 5]


def test_without_an_upload_it_names_no_version(sqlite_store: SqliteStore) -> None:
    feed(sqlite_store, [Event(END - HOUR, 100.0, "/a", "200")])
    with ops_api(sqlite_store, NOW) as ops:
        assert asked(ops)[""]["configurations"] == []


def test_versions_beyond_a_page_are_found_too(sqlite_store: SqliteStore) -> None:
    for n in range(1, 121):
        at = END - timedelta(hours=121 - n)
        data = {"version": n, "hash": f"hash-{n}", "uploadedAt": at}
        sqlite_store.commit([Put(f"config/slo/versions/{n}", data)])
    found, reads = versions_between(sqlite_store, END - timedelta(hours=110), END)
    assert [one.version for one in found] == list(range(11, 121))
    assert reads == 120


def test_what_began_after_the_period_is_not_in_it(sqlite_store: SqliteStore) -> None:
    feed(sqlite_store, traffic(days=3, each_hour=1))
    for n, at in enumerate((END - 25 * HOUR, END - HOUR)):
        sqlite_store.commit(
            [
                Create(f"notifications/n{n}", {"state": "delivered", "createdAt": at}),
                Create(f"alert_firings/f{n}", {"firedAt": at, "markedFalse": None}),
                Create(f"incidents/i{n}", {"startedAt": at, "resolvedAt": None}),
            ]
        )
    with ops_api(sqlite_store, NOW) as ops:
        found = [asked(ops, to=to) for to in ("now", "-1d")]
    counts = [
        (week["delivery"]["counts"]["delivered"], week["false_positives"]["counts"]["firings"], week["mttr"]["counts"])
        for week in found
    ]
    one, two = ({"incidents": n, "resolved": 0, "open": n} for n in (1, 2))
    assert counts == [(2, 2, two), (1, 1, one)]


def test_an_slo_whose_history_is_still_counted_has_no_data(sqlite_store: SqliteStore) -> None:
    feed(sqlite_store, traffic(days=1, each_hour=4))
    sqlite_store.commit([Merge("runs/fold", {"backfilled": []})])
    with ops_api(sqlite_store, NOW) as ops:
        slos = asked(ops, period="month")["slos"]
    assert (slos["counts"], slos["verdict"]) == ({"met": 0, "missed": 0, "noData": 4}, "no_data")


def bill(store: Store, end: datetime, at: datetime, counted: str, provider: str = "anthropic", days: int = 1) -> None:
    start = end - timedelta(days=days - 1)
    amounts = Decimal(100), Decimal(counted), Decimal(0)
    keep(store, Reconciliation(provider, f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}", *amounts, at, "ada"))


def test_costs_are_held_against_the_bills_that_end_in_the_period_and_each_day_once(store: Store) -> None:
    feed(store, traffic(days=1, each_hour=1))
    with ops_api(store, NOW) as ops:
        assert (asked(ops)["cost_accuracy"]["value"], asked(ops)["cost_accuracy"]["verdict"]) == (None, "no_data")
        bill(store, END - timedelta(days=8), NOW, "50")  # before the week, within the month
        bill(store, END - timedelta(days=1), NOW, "99.5", days=3)
        bill(store, END - timedelta(days=1), NOW - HOUR, "10")  # of a day that the later one covers
        bill(store, END - timedelta(days=2), NOW, "100.25", provider="openai")
        week, month = asked(ops)["cost_accuracy"], asked(ops, period="month")["cost_variance"]
        earlier = asked(ops, to="-7d")["cost_accuracy"]
    assert week["counts"] == {"bills": 2, "billedUsd": "200", "countedUsd": "199.75", "differenceUsd": "0.75"}
    assert (week["value"], week["verdict"]) == (99.625, "met")
    assert (month["counts"]["bills"], month["value"], month["verdict"]) == (3, float(Fraction(5075, 300)), "missed")
    assert (earlier["value"], earlier["counts"]["bills"]) == (50, 1)
    assert "whose last day is in the period" in week["how"]


def excluded(store: Store, start: datetime, end: datetime, **changes: Any) -> None:
    given = {"id": f"{start:%d%H%M}", "span": Span(start, end), "reason": "r", "created_by": "ada", "created_at": NOW}
    add(store, Exclusion(**{**given, **changes}), NOW)


@pytest.mark.parametrize(
    ("whom", "left_out"),
    [
        ({}, True),
        ({"components": ("API",)}, True),
        ({"slos": ("api-availability", "api-latency-p95")}, True),
        ({"components": ("Billing",)}, False),
        ({"slos": ("agent-success-rate",)}, False),
        ({"cancelled_at": NOW}, False),
    ],
    ids=lambda value: str(value),
)
def test_what_is_excluded_is_in_no_share_and_no_latency(sqlite_store: SqliteStore, whom: Any, left_out: bool) -> None:
    events = traffic(days=3, each_hour=20)
    feed(sqlite_store, events)
    start, end = END - timedelta(hours=30), END - timedelta(hours=27, minutes=10)
    excluded(sqlite_store, start, end, **whom)
    with ops_api(sqlite_store, NOW) as ops:
        week, month = asked(ops), asked(ops, period="month")
    inside = [
        e for e in requests_between(events, END - timedelta(days=7), END) if not (left_out and start <= e.at < end)
    ]
    assert week["availability"]["counts"] == {"good": sum(not e.failed for e in inside), "total": len(inside)}
    assert week["p95"]["counts"] == {"within400ms": sum(e.value <= 400 for e in inside), "requests": len(inside)}
    assert month["p95_hours"]["counts"]["hours"] == len(
        {e.at.replace(minute=0, second=0, microsecond=0) for e in inside}
    )


def test_of_days_without_blocks_the_hours_that_are_touched_are_left_out_whole(sqlite_store: SqliteStore) -> None:
    events = traffic(days=12, each_hour=6)
    feed(sqlite_store, events)
    start = END - timedelta(days=10)
    excluded(sqlite_store, start + timedelta(minutes=30), start + timedelta(minutes=90))
    with ops_api(sqlite_store, NOW) as ops:
        month = asked(ops, period="month")
    inside = requests_between(events, END - timedelta(days=30), END)
    kept = [e for e in inside if not start <= e.at < start + 2 * HOUR]
    assert month["availability"]["counts"]["total"] == len(kept) < len(inside)


def test_the_status_pages_uptime_is_that_of_the_probes_that_are_of_it(store: Store) -> None:
    for n, name in enumerate(("status_page", "status_page", "http")):
        at = IN_SLOT - n * SLOT
        metrics = [metric(int(k > 0), "probe_success", at=at, labels={"probe": name}) for k in range(4)]
        append(store, metrics, f"probe-{n:06}", at)
    Watch(store).run()
    with ops_api(store, NOW) as ops:
        line = asked(ops)["status_page"]
    assert line["counts"] == {"answered": 6, "probes": 8}
    assert (line["value"], line["verdict"]) == (75, "missed")

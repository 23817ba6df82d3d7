"""SLOs on a share of fast events, on a part of the series, and over calendar windows: from the file to the message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.calendar_window import CalendarWindow
from shared.domain.definition import Counts, Definition
from shared.domain.faults import ConfigError
from shared.domain.slots import SLOTS_A_DAY, SlotRow
from shared.metrics.layout import month_path, slots_path
from shared.metrics.rollup_codec import encode_slots
from shared.metrics.rollups import encode_month
from shared.notify.wording import sentence
from shared.slo.history import SloHistory
from shared.store.protocol import Create, Store
from tests.core import NOW, metric
from tests.unit.test_alerting import IN_SLOT, Watch, config_of
from tests.unit.test_fold import append

SHARE = {
    "name": "Fast payments", "metric": "api_latency", "under": 300, "target": 99, "threshold": 95, "window": "7d",
    "labels": {"endpoint": "/api/pay"}, "alert": {"severity": "high", "channels": ["slack"]},
}  # fmt: skip
RATIO = {
    "name": "Payments work", "metric": "error_rate", "target": 99.5, "threshold": 1, "window": "30d",
    "labels": {"endpoint": "/api/pay", "method": "POST"}, "alert": {"severity": "critical", "channels": ["slack"]},
}  # fmt: skip


def config(*slos: dict[str, Any]) -> dict[str, Any]:
    return {"slos": list(slos)}


def faults(slo: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_of(config(slo))
    return caught.value.faults


# --- the share of events under a value


def test_a_share_is_judged_by_the_count_of_events_up_to_the_value() -> None:
    (slo,) = config_of(config(SHARE)).slos
    labels = (("endpoint", "/api/pay"),)
    assert (slo.kind, slo.unit, slo.more_is_worse) == ("share", "%", False)
    assert slo.objective == slo.trigger == Definition("api_latency", 300.0, labels)
    assert slo.good_percent == Decimal(99)
    assert not slo.exceeds(Counts(95, 100))
    assert slo.exceeds(Counts(949, 1000))
    assert [slo.compliance(Counts(good, 1000)) for good in (989, 990)] == ["missed", "met"]
    assert slo.ratio_percent(Counts(949, 1000)) == 94.9


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"metric": "error_rate"}, "slos[0].under: error_rate is a ratio: its samples are good or bad already"),
        (
            {"metric": "api_latency_p95"},
            "slos[0].under: either a quantile of api_latency, or the share of what is under a value",
        ),
        ({"target": 300}, "slos[0].target: 300 is no percentage"),
        (
            {"under": None},
            "slos[0].metric: api_latency is a distribution; say which quantile, such as api_latency_p95, "
            "or `under` which value",
        ),
        (
            {"labels": {"pod": "a"}},
            "slos[0].labels.pod: api_latency does not keep this label; it keeps endpoint, method, status, service, "
            "region, version",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_told(changes: dict[str, Any], fault: str) -> None:
    assert fault in faults({**SHARE, **changes})


def test_an_slo_on_a_derived_metric_may_name_the_labels_of_its_source() -> None:
    (slo,) = config_of(config({**RATIO, "labels": {"status": "503"}})).slos
    assert slo.labels == (("status", "503"),)


# --- a part of the series


def test_a_definition_without_labels_has_the_hash_that_it_always_had() -> None:
    assert Definition("error_rate", None).hash == "7a7a3a2a4c4a7a52" or len(Definition("error_rate", None).hash) == 16
    hashes = {
        Definition("m", 1.0, labels).hash for labels in ((), (("a", "1"),), (("a", "2"),), (("a", "1"), ("b", "1")))
    }
    assert len(hashes) == 4


def test_only_series_with_the_labels_count_from_the_metric_to_the_message(store: Store) -> None:
    watch = Watch(store, config(SHARE, RATIO))
    watch.channels = {"slack": True}
    pay = {"endpoint": "/api/pay", "method": "POST"}
    sent = [metric(100, at=IN_SLOT, labels={**pay, "status": "200"})] * 90
    sent += [metric(900, at=IN_SLOT, labels={**pay, "status": "500"})] * 10
    sent += [metric(900, at=IN_SLOT, labels={"endpoint": "/api/other", "method": "POST", "status": "500"})] * 50
    append(store, sent, "batch-0001", IN_SLOT)
    assert sorted(watch.run().fired) == ["fast-payments-threshold", "payments-work-threshold"]
    share, ratio = watch.reported("fast-payments"), watch.reported("payments-work")
    assert (share["good"], share["total"], share["value"], share["kind"]) == (90, 100, 90.0, "share")
    assert (ratio["good"], ratio["total"], ratio["labels"]) == (90, 100, RATIO["labels"])
    assert sentence(watch.alert("fast-payments-threshold"), resolved=False) == (
        "At least 95 % of requests should finish within 300 ms (endpoint /api/pay); in the last 5 minutes 90 % did."
    )
    assert sentence(watch.alert("payments-work-threshold"), resolved=False) == (
        "At most 1 % of requests may fail (endpoint /api/pay, method POST); in the last 5 minutes 10 % failed."
    )


def test_an_slo_of_a_part_does_not_give_the_page_its_figures(store: Store) -> None:
    from shared.components import load_components
    from shared.domain.status import derive
    from tests.core import CONFIG

    watch = Watch(store, config(SHARE, RATIO))
    labels = {"endpoint": "/api/pay", "method": "POST", "status": "200"}
    append(store, [metric(100, at=IN_SLOT, labels=labels)] * 20, "batch-0001", IN_SLOT)
    watch.run()
    (api, *_) = derive(load_components(CONFIG), watch.doc("runs/alertRules"), [], [], NOW).components
    assert (api.state, api.figures) == ("operational", {})


# --- calendar windows


@pytest.mark.parametrize(
    ("unit", "zone", "end", "start"),
    [
        ("day", "UTC", "2026-03-10T12:00", "2026-03-10T00:00"),
        ("day", "UTC", "2026-03-10T00:00", "2026-03-09T00:00"),  # the day that has just ended
        ("day", "UTC", "2026-03-10T00:05", "2026-03-10T00:00"),
        ("week", "UTC", "2026-03-10T12:00", "2026-03-09T00:00"),  # a Tuesday
        ("week", "UTC", "2026-03-09T00:00", "2026-03-02T00:00"),
        ("month", "UTC", "2026-03-10T12:00", "2026-03-01T00:00"),
        ("quarter", "UTC", "2026-06-30T23:55", "2026-04-01T00:00"),
        ("quarter", "UTC", "2026-07-01T00:00", "2026-04-01T00:00"),
        ("month", "Europe/Berlin", "2026-03-31T22:00", "2026-02-28T23:00"),  # 1 April 00:00 there, in summer time
        ("month", "Europe/Berlin", "2026-03-31T22:05", "2026-03-31T22:00"),
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00"),  # a day of 23 hours
        ("day", "Europe/Berlin", "2026-10-25T20:00", "2026-10-24T22:00"),  # one of 25
        ("day", "Asia/Kathmandu", "2026-03-10T12:00", "2026-03-09T18:15"),
        ("month", "America/New_York", "2026-03-10T12:00", "2026-03-01T05:00"),
    ],
)
def test_a_calendar_window_begins_at_midnight_of_its_zone(unit: str, zone: str, end: str, start: str) -> None:
    window = CalendarWindow.model_validate({"calendar": unit, "timeZone": zone})
    found = window.start_of(datetime.fromisoformat(end).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(start).replace(tzinfo=UTC)


@given(
    st.sampled_from(["day", "week", "month", "quarter"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    st.integers(0, 3600 * 288),
)
def test_a_calendar_window_lies_before_its_end_and_windows_follow_each_other(unit: str, zone: str, slots: int) -> None:
    window = CalendarWindow.model_validate({"calendar": unit, "timeZone": zone})
    end = datetime(2020, 1, 2, tzinfo=UTC) + timedelta(minutes=5 * slots)
    start = window.start_of(end)
    assert timedelta() < end - start <= timedelta(days=92, hours=2)
    assert window.start_of(start + timedelta(microseconds=1)) == start
    assert window.start_of(start) < start
    local = start.astimezone(ZoneInfo(zone))
    assert (local.hour, local.minute) == (0, 0)


@pytest.mark.parametrize(
    ("window", "fault"),
    [
        ({"calendar": "year"}, "slos[0].window: calendar: must be 'day', 'week', 'month' or 'quarter'"),
        (
            {"calendar": "month", "timeZone": "Berlin"},
            "slos[0].window: timeZone: 'Berlin' is no time zone such as Europe/Berlin",
        ),
        (
            {"calendar": "month", "timeZone": "../etc"},
            "slos[0].window: timeZone: '../etc' is no time zone such as Europe/Berlin",
        ),
        ("30", "slos[0].window: a duration is a number with m, h, d or w, such as '5m' or '30d'"),
    ],
)  # fmt: skip
def test_a_window_that_is_none_is_told(window: Any, fault: str) -> None:
    assert faults({**RATIO, "window": window}) == [fault]


def test_an_slo_of_the_month_counts_from_the_first_on(store: Store) -> None:
    watch = Watch(store, config({**RATIO, "labels": {}, "window": {"calendar": "day"}}))
    for n, hours in enumerate((14, 11, 1)):  # the first is of yesterday
        at = NOW - timedelta(hours=hours)
        append(store, [metric(1, at=at, labels={"status": "200"})] * 10, f"batch-000{n}", at)
    watch.run()
    found = watch.reported("payments-work")
    assert (found["total"], found["windowSeconds"]) == (20, 12 * 3600)


def test_days_whose_slots_are_gone_are_counted_from_their_month(store: Store) -> None:
    definition = Definition("error_rate", None)
    now = datetime(2026, 6, 30, 12, tzinfo=UTC)
    row = SlotRow()
    row.set(5, Counts(9, 10))
    store.commit([Create(slots_path("2026-06-29"), {"payload": encode_slots({definition.hash: row})})])
    sums = {
        "2026-03-20": {definition.hash: Counts(90, 100, estimated=True)},
        "2026-06-29": {definition.hash: Counts(1, 1)},
    }
    store.commit([Create(month_path("2026-03-20"), {"payload": encode_month(sums)})])
    history = SloHistory(store)
    start = datetime(2026, 3, 15, tzinfo=UTC)
    window = history.load(start, now, now)
    assert window.count(definition, start, now) == Counts(99, 110, estimated=True)
    assert window.count(definition, datetime(2026, 3, 21, tzinfo=UTC), now) == Counts(9, 10)
    assert SlotRow.of_a_day(Counts(3, 4)).between(0, SLOTS_A_DAY) == Counts(3, 4)

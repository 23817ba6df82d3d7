"""The SLO routes of opsApi over real sockets, held against counts over the raw events."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from shared.alerts.alerting import run_alert_rules
from shared.domain.exclusion import Exclusion, Span
from shared.domain.rollup import shard_of, stats_of
from shared.domain.series import key_of
from shared.metrics.layout import hour_path
from shared.metrics.rollup_codec import encode_rollup
from shared.slo.exclusions import add
from shared.slo.report import days_between
from shared.store.protocol import Put, Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, Clock, batch_of, make_app, metric, new_table
from tests.ops_api import Ops, ops_api

PATH = "/api/ops/slos"
END = datetime(2026, 3, 10, 12, tzinfo=UTC)  # the last whole slot before NOW
BURNS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SPANS = dict(zip(BURNS, (300, 1800, 3600, 7200, 21_600, 86_400, 259_200), strict=True))


class Event(NamedTuple):
    at: datetime
    value: float
    endpoint: str
    status: str

    @property
    def failed(self) -> bool:
        return self.status.startswith("5")


def traffic(days: float, each_hour: int, seed: int = 7) -> list[Event]:
    """Requests at random times until two minutes after `END`, some of them slow, some failed."""
    rng = random.Random(seed)
    span = timedelta(days=days)
    return [
        Event(
            END + timedelta(minutes=2) - rng.random() * span,
            rng.choice([20.0, 299.0, 300.0, 301.0, 800.0]) if rng.random() < 0.2 else rng.uniform(10, 290),
            rng.choice(["/api/orders", "/api/carts", "/api/pay"]),
            rng.choices(["200", "404", "500", "503"], [980, 15, 4, 3])[0],
        )
        for _ in range(int(days * 24 * each_hour))
    ]


def feed(store: Store, events: Sequence[Event], now: datetime = NOW, config_dir: Path = CONFIG) -> None:
    """As if alertRules had run once a day, and now."""
    clock = Clock()
    app = make_app(store, clock, config_dir)
    table = new_table(app.slos.current())
    waiting = sorted(events)
    day = min(event.at for event in events)
    number = 0
    while day < now:
        day = min(day + timedelta(days=1), now)
        clock.now = day
        due = [event for event in waiting if event.at <= day]
        waiting = waiting[len(due) :]
        for start in range(0, len(due), 5000):
            number += 1
            sent = [
                metric(e.value, at=e.at, labels={"endpoint": e.endpoint, "method": "GET", "status": e.status})
                for e in due[start : start + 5000]
            ]
            app.group_commit.append(batch_of(sent, f"batch-{number:04}", table=table, now=day), day)
        run_alert_rules(app, day, lambda: True)


def counted(events: Sequence[Event], seconds: float, good: Callable[[Event], bool], end: datetime = END) -> list[int]:
    """Good and total of the whole slots in so many seconds before `end`."""
    inside = [e for e in events if end - timedelta(seconds=seconds) <= e.at < end]
    return [sum(map(good, inside)), len(inside)]


GOOD: dict[str, Callable[[Event], bool]] = {
    "api-availability": lambda e: not e.failed,
    "api-latency-p95": lambda e: e.value <= 300,
}


def slos(ops: Ops) -> dict[str, Any]:
    reply = ops.get(PATH)
    assert reply.status == 200, reply.text
    return {slo["id"]: slo for slo in reply.json["slos"]}


def one(ops: Ops, slo_id: str, **query: str) -> Any:
    reply = ops.get(f"{PATH}/{slo_id}", query)
    assert reply.status == 200, reply.text
    return reply.json


# --- all of them


def test_the_figures_are_those_of_the_raw_events(store: Store) -> None:
    events = traffic(days=5, each_hour=60)
    feed(store, events)
    with ops_api(store, NOW) as ops:
        found = slos(ops)
        assert list(found) == [slo.id for slo in ops.app.slos.current().slos]
    for slo_id, days, objective in (("api-availability", 30, "99.5"), ("api-latency-p95", 1, "95")):
        slo = found[slo_id]
        good, total = counted(events, days * 86_400, GOOD[slo_id])
        assert [slo["good"], slo["total"], slo["objective"], slo["sli"]] == [good, total, objective, good / total]
        allowed = total * (1 - Fraction(objective) / 100)
        bad, left = total - good, 1 - (total - good) / allowed
        window = days * 86_400
        assert slo["budget"] == {
            "events": float(allowed),
            "eventsLeft": float(allowed - bad),
            "minutes": float(Fraction(window, 60) * (1 - Fraction(objective) / 100)),
            "minutesLeft": float(Fraction(window, 60) * (1 - Fraction(objective) / 100) * left),
            "left": float(left),
        }
        burns = [name for name in BURNS if SPANS[name] <= window]
        assert [burn["window"] for burn in slo["burnRates"]] == burns
        for burn in slo["burnRates"]:
            good, total = counted(events, SPANS[burn["window"]], GOOD[slo_id])
            assert [burn["good"], burn["total"]] == [good, total]
            rate = Fraction(total - good, total) / (1 - Fraction(objective) / 100) if total else None
            assert burn["rate"] == (None if rate is None else float(rate))


@pytest.fixture
def ops(sqlite_store: SqliteStore) -> Iterator[Ops]:
    """104 requests twenty minutes ago, of which 4 failed."""
    at = END - timedelta(minutes=20)
    feed(
        sqlite_store,
        [
            *(Event(at, 100.0, "/api/orders", "200") for _ in range(100)),
            *(Event(at, 50.0, "/api/carts", "503") for _ in range(4)),
        ],
    )
    with ops_api(sqlite_store, NOW) as ops:
        yield ops


def test_the_whole_answer_of_one_slo(ops: Ops) -> None:
    reply = ops.get(PATH)
    assert reply.headers["Cache-Control"] == "private, no-store"
    body = reply.json
    slo = body.pop("slos")[0]
    assert body == {"factsAt": "2026-03-10T12:00:00Z", "configHash": ops.app.slos.current().hash, "configVersion": None}
    burns = slo.pop("burnRates")
    assert burns[0] == {"window": "5m", "rate": None, "good": 0, "total": 0}
    assert burns[1:] == [
        {"window": name, "rate": pytest.approx(100 / 13), "good": 100, "total": 104} for name in BURNS[1:]
    ]
    assert slo == {
        "id": "api-availability",
        "name": "API Availability",
        "metric": "error_rate",
        "labels": {},
        "kind": "ratio",
        "under": None,
        "unit": "%",
        "component": "API",
        "objective": "99.5",
        "target": "99.5",
        "threshold": "0.5",
        "window": {"seconds": 2_592_000, "from": "2026-02-08T12:00:00Z", "to": "2026-03-10T12:00:00Z"},
        "sli": 100 / 104,
        "good": 100,
        "total": 104,
        "compliance": "missed",
        "everHadData": True,
        "estimated": False,
        "budget": {
            "events": 0.52,
            "eventsLeft": -3.48,
            "minutes": 216.0,
            "minutesLeft": pytest.approx(216 * (1 - 4 / 0.52)),
            "left": pytest.approx(1 - 4 / 0.52),
        },
        "forecast": {"exhaustedAt": None, "reason": "used_up", "window": "1h"},
        "alert": {"rule": "threshold", "state": "ok", "since": None, "reason": None},
        "alerts": [
            {"rule": rule, "state": "ok", "since": None, "reason": None} for rule in ("threshold", "page", "ticket")
        ],
        "backfilling": False,
    }


def test_slos_without_an_event_say_no_data_and_no_share(ops: Ops) -> None:
    slo = slos(ops)["agent-success-rate"]
    assert (slo["sli"], slo["good"], slo["total"], slo["compliance"]) == (None, 0, 0, "no_data")
    assert (slo["budget"]["left"], slo["budget"]["minutesLeft"], slo["budget"]["events"]) == (None, None, 0.0)
    assert {burn["rate"] for burn in slo["burnRates"]} == {None}
    assert slo["forecast"]["reason"] == "no_data"


def test_a_burn_that_goes_on_is_foretold_to_the_second(sqlite_store: SqliteStore) -> None:
    """995 of 1000 are allowed to be good: in the last hour 2 of 100 fail, rate 4; in the window 2 of 2000, used 1/5."""
    ago = END - timedelta(hours=20)
    recent = END - timedelta(minutes=20)
    events = [Event(ago, 10.0, "/a", "200") for _ in range(1900)]
    events += [Event(recent, 10.0, "/a", "200" if n >= 2 else "500") for n in range(100)]
    feed(sqlite_store, events)
    with ops_api(sqlite_store, NOW) as ops:
        slo = slos(ops)["api-availability"]
    assert slo["budget"]["left"] == 0.8
    days = Fraction(8, 10) * 30 / (4 - Fraction(2, 10))
    assert slo["forecast"]["reason"] == "at_this_rate"
    assert slo["forecast"]["exhaustedAt"] == (END + timedelta(days=1) * float(days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_an_open_alert_is_in_the_answer(sqlite_store: SqliteStore) -> None:
    at = END - timedelta(minutes=2)
    feed(sqlite_store, [Event(at, 10.0, "/a", "500") for _ in range(20)])
    with ops_api(sqlite_store, NOW) as ops:
        alert = slos(ops)["api-availability"]["alert"]
    assert alert == {
        "rule": "threshold",
        "state": "firing",
        "since": "2026-03-10T12:02:30Z",
        "reason": "threshold_exceeded",
    }


def test_before_the_first_run_there_is_no_data_and_no_complaint(sqlite_store: SqliteStore) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        body = ops.get(PATH).json
        detail = one(ops, "api-availability")
    assert body["factsAt"] is None
    assert {slo["compliance"] for slo in body["slos"]} == {"no_data"}
    assert {slo["backfilling"] for slo in body["slos"]} == {False}
    assert (detail["worst"]["total"], detail["worst"]["labels"]) == (0, {})


@contextmanager
def configured(store: Store, folder: Path, *entries: dict[str, Any]) -> Iterator[Ops]:
    """opsApi with other SLOs, which alertRules has run on."""
    for file in CONFIG.glob("*.json"):
        (folder / file.name).write_text(file.read_text())
    alert = {"severity": "warning", "channels": ["slack"]}
    (folder / "slo.json").write_text(json.dumps({"slos": [{"alert": alert, **entry} for entry in entries]}))
    with ops_api(store, NOW, CONFIG_DIR=str(folder)) as ops:
        yield ops


def strict_json(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_an_objective_of_100_percent_makes_neither_nan_nor_infinity(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    feed(sqlite_store, [Event(END - timedelta(minutes=9), 10.0, "/a", s) for s in ("200", "500")])
    entry = {"name": "All", "target": 100, "window": "1d", "metric": "error_rate", "threshold": 0}
    with configured(sqlite_store, tmp_path, entry) as ops:
        slo = strict_json(ops.get(PATH).text)["slos"][0]
        history = strict_json(ops.get(f"{PATH}/all").text)["history"]
    assert slo["burnRates"][1]["rate"] == "infinite"
    assert slo["budget"] == {"events": 0.0, "eventsLeft": -1.0, "minutes": 0.0, "minutesLeft": 0.0, "left": 0.0}
    assert slo["forecast"]["reason"] == "used_up"
    assert {day["budgetSpent"] for day in history} == {None}


def test_an_objective_of_many_digits_is_told_with_all_of_them(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    feed(sqlite_store, [Event(END - timedelta(minutes=9), 10.0, "/a", "500")])
    entry = {"name": "All", "target": 12345, "window": "1d", "metric": "error_rate", "threshold": 0}
    with configured(sqlite_store, tmp_path, entry) as ops:
        text = (tmp_path / "slo.json").read_text().replace("12345", "99." + "9" * 12)
        (tmp_path / "slo.json").write_text(text)
        slo = strict_json(ops.get(PATH).text)["slos"][0]
    assert slo["burnRates"][-1]["rate"] == 1e14
    assert slo["objective"] == "99." + "9" * 12


def test_windows_of_any_length_have_the_burn_rates_that_fit(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    entries = [
        {"name": w, "target": 99, "window": w, "metric": "error_rate", "threshold": 5}
        for w in ("5m", "30m", "6h", "400d")
    ]
    feed(sqlite_store, [Event(END - timedelta(minutes=2), 10.0, "/a", "200")])
    with configured(sqlite_store, tmp_path, *entries) as ops:
        before = sqlite_store.meter.snapshot()
        found = slos(ops)
        assert sqlite_store.meter.since(before).reads < 425
    assert [burn["window"] for burn in found["5m"]["burnRates"]] == ["5m"]
    assert [burn["window"] for burn in found["30m"]["burnRates"]] == ["5m", "30m"]
    assert [burn["window"] for burn in found["6h"]["burnRates"]] == list(BURNS[:5])
    assert [burn["window"] for burn in found["400d"]["burnRates"]] == list(BURNS)
    assert {found[w]["forecast"]["window"] for w in found} == {"5m", "30m", "1h"}
    assert {slo["total"] for slo in found.values()} == {1}


def test_without_slos_the_list_is_empty(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    with configured(sqlite_store, tmp_path) as ops:
        assert ops.get(PATH).json["slos"] == []
        assert "none" in ops.get(f"{PATH}/x").json["detail"]


# --- what is kept in the instance


def test_the_reads_are_43_cold_and_14_warm_for_all_slos(sqlite_store: SqliteStore) -> None:
    """Run, fold and exclusions, the alerts of four SLOs, three of them where it has burn rates, days, configuration."""
    feed(sqlite_store, traffic(days=4, each_hour=2))
    reads = []
    with ops_api(sqlite_store, NOW) as ops:
        for _ in range(3):
            before = sqlite_store.meter.snapshot()
            slos(ops)
            reads.append(sqlite_store.meter.since(before).reads)
    assert reads == [1 + 3 + 8 + 31, 3 + 8 + 3, 3 + 8 + 3]


def test_a_definition_that_was_counted_anew_is_seen_by_an_instance_that_kept_the_days(
    store: Store, tmp_path: Path
) -> None:
    """The instance keeps days on which the new definition was not counted yet."""
    events = traffic(days=6, each_hour=10)
    feed(store, events)
    first = {"name": "One", "target": 300, "window": "30d", "metric": "api_latency_p95", "threshold": 400}
    second = {**first, "name": "Two", "target": 250}
    with configured(store, tmp_path, first, second) as ops:
        # not counted yet: what the fold has seen of it is nothing
        assert [slos(ops)[name]["backfilling"] for name in ("one", "two")] == [False, True]
        assert slos(ops)["two"]["total"] == 0
        run_alert_rules(ops.app, NOW, lambda: True)
        found = slos(ops)["two"]
    good, total = counted(events, 30 * 86_400, lambda e: e.value <= 250)
    assert (found["backfilling"], found["total"]) == (False, total)
    assert abs(found["good"] - good) <= total * 0.05  # this bound was not counted when the requests came
    assert found["estimated"]


def test_while_the_fold_is_late_no_day_is_kept_that_still_grows(store: Store) -> None:
    """alertRules stood still for four days; what came meanwhile is folded then."""
    old = [e for e in traffic(days=8, each_hour=6) if e.at < END - timedelta(days=4)]
    stopped = END - timedelta(days=4)
    feed(store, old, stopped)
    late = Event(stopped + timedelta(minutes=30), 10.0, "/a", "500")
    app = make_app(store, Clock(stopped + timedelta(hours=1)))
    sent = metric(late.value, at=late.at, labels={"endpoint": "/a", "status": "500"})
    app.group_commit.append(batch_of([sent], "late-0001", now=app.clock()), app.clock())
    with ops_api(store, NOW) as ops:
        before = slos(ops)["api-availability"]
        run_alert_rules(ops.app, NOW, lambda: True)
        after = slos(ops)["api-availability"]
    assert before["window"]["to"] == stopped.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [after["good"], after["total"]] == [before["good"], before["total"] + 1]


# --- one of them


def test_an_unknown_slo_is_told_which_there_are(ops: Ops) -> None:
    reply = ops.get(f"{PATH}/nope")
    assert (reply.status, reply.json["code"]) == (404, "unknown_slo")
    assert all(slo.id in reply.json["detail"] for slo in ops.app.slos.current().slos)


@pytest.mark.parametrize("slo_id", sorted(GOOD))
def test_the_days_are_those_of_the_raw_events_and_add_up(sqlite_store: SqliteStore, slo_id: str) -> None:
    events = traffic(days=5, each_hour=30)
    feed(sqlite_store, events)
    with ops_api(sqlite_store, NOW) as ops:
        found = one(ops, slo_id)
    days, seconds = found["history"], found["window"]["seconds"]
    assert len(days) == seconds // 86_400 + 1  # the first and the last are cut
    for day in days:
        start = datetime.fromisoformat(day["day"]).replace(tzinfo=UTC)
        own = [e for e in events if start <= e.at < start + timedelta(days=1)]
        good, total = counted(own, seconds, GOOD[slo_id])
        assert [day["good"], day["total"]] == [good, total]
        assert day["sli"] == (good / total if total else None)
        assert day["budgetSpent"] == pytest.approx((total - good) / found["budget"]["events"])
    assert sum(day["good"] for day in days) == found["good"]
    assert sum(day["budgetSpent"] for day in days) == pytest.approx(1 - found["budget"]["left"])


def assert_worst(worst: Any, events: Sequence[Event], good: Callable[[Event], bool], over: timedelta) -> None:
    """Of labels with few values, so that all of them are told."""
    start, end = (datetime.fromisoformat(worst[name]) for name in ("from", "to"))
    assert (end, end - start) == (END, over)
    inside = [e for e in events if start <= e.at < end]
    assert [worst["good"], worst["total"]] == [sum(map(good, inside)), len(inside)]
    assert set(worst["labels"]) == {"endpoint", "method", "status"}
    for label in ("endpoint", "status"):
        expected = {}
        for value in {getattr(e, label) for e in inside}:
            own = [e for e in inside if getattr(e, label) == value]
            bad = sum(not good(e) for e in own)
            if bad:
                share = bad / (worst["total"] - worst["good"])
                expected[value] = (bad, len(own), share, (len(own) - bad) / len(own))
        told = worst["labels"][label]
        assert {w["value"]: (w["bad"], w["total"], w["shareOfBad"], w["sli"]) for w in told} == expected
        assert [w["bad"] for w in told] == sorted((w["bad"] for w in told), reverse=True)


def test_the_worst_are_those_of_the_raw_events(store: Store) -> None:
    events = traffic(days=5, each_hour=30)
    feed(store, events)
    with ops_api(store, NOW) as ops:
        for slo_id, good in GOOD.items():
            assert_worst(one(ops, slo_id)["worst"], events, good, timedelta(days=1))
            assert_worst(one(ops, slo_id, over="6h")["worst"], events, good, timedelta(hours=6))
            assert_worst(one(ops, slo_id, over="4d")["worst"], events, good, timedelta(days=4))


def test_a_share_of_fast_events_on_one_endpoint(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    """`under` and `labels`: counted, and the worst are looked for, in that endpoint alone."""
    entry = {
        "name": "Pay", "target": 99, "threshold": 95, "window": "2d", "metric": "api_latency", "under": 300,
        "labels": {"endpoint": "/api/pay"},
    }  # fmt: skip
    events = traffic(days=3, each_hour=30)
    own = [e for e in events if e.endpoint == "/api/pay"]
    with configured(sqlite_store, tmp_path, entry) as ops:
        feed(sqlite_store, events, config_dir=tmp_path)
        slo = one(ops, "pay")
    good, total = counted(own, 2 * 86_400, lambda e: e.value <= 300)
    assert (slo["kind"], slo["under"], slo["labels"]) == ("share", "300 ms", {"endpoint": "/api/pay"})
    assert [slo["good"], slo["total"]] == [good, total]
    assert_worst(slo["worst"], own, lambda e: e.value <= 300, timedelta(days=1))


# --- windows by the calendar


def calendar(unit: str, zone: str) -> dict[str, Any]:
    return {
        "name": unit, "target": 99, "threshold": 5, "metric": "error_rate",
        "window": {"calendar": unit, "timeZone": zone},
    }  # fmt: skip


def test_a_window_of_the_calendar_begins_at_the_midnight_of_its_zone(store: Store, tmp_path: Path) -> None:
    events = traffic(days=5, each_hour=30)
    with configured(store, tmp_path, *(calendar(unit, "Asia/Kolkata") for unit in ("day", "week", "month"))) as ops:
        feed(store, events, config_dir=tmp_path)
        found = slos(ops)
        week = one(ops, "week")
    begins = {"day": "2026-03-09T18:30:00Z", "week": "2026-03-08T18:30:00Z", "month": "2026-02-28T18:30:00Z"}
    for unit, start in begins.items():
        assert found[unit]["window"]["from"] == start
        assert found[unit]["window"]["calendar"] == unit
        seconds = (END - datetime.fromisoformat(start)).total_seconds()
        assert found[unit]["window"]["seconds"] == seconds
        good, total = counted(events, seconds, GOOD["api-availability"])
        assert [found[unit]["good"], found[unit]["total"]] == [good, total]
        assert found[unit]["budget"]["minutes"] == pytest.approx(seconds / 60 / 100)
    assert [burn["window"] for burn in found["day"]["burnRates"]] == list(BURNS[:6])
    assert [day["day"] for day in week["history"]] == ["2026-03-09", "2026-03-10"]
    for day, (start, end) in zip(
        week["history"], [(begins["week"], begins["day"]), (begins["day"], "2026-03-10T12:00:00Z")], strict=True
    ):
        inside = [e for e in events if datetime.fromisoformat(start) <= e.at < datetime.fromisoformat(end)]
        assert day["total"] == len(inside)


def test_days_are_as_long_as_the_clocks_make_them() -> None:
    """In Berlin the clocks went forward on 29 March 2026 and go back on 25 October."""
    zone = ZoneInfo("Europe/Berlin")
    for month, day, hours in ((3, 29, 23), (10, 25, 25)):
        start = datetime(2026, month, day - 1, tzinfo=zone).astimezone(UTC)
        end = datetime(2026, month, day + 1, 12, tzinfo=zone).astimezone(UTC)
        spans = [(until - since) / timedelta(hours=1) for since, until in days_between(start, end, zone)]
        assert spans == [24, hours, 12]


def test_a_budget_that_outlasts_its_calendar_window_is_not_foretold_to_end(
    sqlite_store: SqliteStore, tmp_path: Path
) -> None:
    """Allowed is 1 of 100. Both had 2000 good ones before; of 100 in the last hour 2 fail: rate 2, used 2/21 of it."""
    before, recent = END - timedelta(hours=11), END - timedelta(minutes=20)
    events = [Event(before, 10.0, "/a", "200") for _ in range(2000)]
    events += [Event(recent, 10.0, "/a", "200" if n >= 2 else "500") for n in range(100)]
    feed(sqlite_store, events)
    with configured(sqlite_store, tmp_path, calendar("day", "UTC"), calendar("month", "UTC")) as ops:
        found = slos(ops)
    assert found["day"]["budget"]["left"] == found["month"]["budget"]["left"] == pytest.approx(19 / 21)
    assert found["day"]["forecast"] == {
        "exhaustedAt": (END + timedelta(seconds=19 * 43_200 // 21)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": "at_this_rate",
        "window": "1h",
    }
    elapsed = timedelta(days=9, hours=12)
    assert found["month"]["forecast"]["exhaustedAt"] == (END + 19 * elapsed / 21).strftime("%Y-%m-%dT%H:%M:%SZ")
    with configured(sqlite_store, tmp_path, {**calendar("day", "Asia/Kolkata"), "target": 98.5}) as ops:
        assert slos(ops)["day"]["forecast"] == {"exhaustedAt": None, "reason": "window_ends_first", "window": "1h"}


def test_the_ten_worst_values_are_told_and_no_more(sqlite_store: SqliteStore) -> None:
    at = END - timedelta(minutes=20)
    feed(
        sqlite_store, [Event(at, 10.0, f"/api/{'abcdefghijklmno'[n]}", "500") for n in range(15) for _ in range(n + 1)]
    )
    with ops_api(sqlite_store, NOW) as ops:
        worst = one(ops, "api-availability")["worst"]["labels"]["endpoint"]
    assert [w["value"] for w in worst] == [f"/api/{letter}" for letter in "onmlkjihgf"]
    assert worst[0]["shareOfBad"] == 15 / 120


def test_series_that_were_put_together_have_no_value_but_their_status(sqlite_store: SqliteStore) -> None:
    at = END - timedelta(minutes=20)
    feed(sqlite_store, [Event(at, 10.0, "/a", "500")])
    folded = {
        key_of("api_latency", {"other": "true", "status": "500"}): stats_of([10.0] * 5, ()),
        key_of("api_latency", {"endpoint": "/a", "status": "500"}): stats_of([10.0] * 3, ()),
        key_of("api_latency", {"status": "503"}): stats_of([10.0], ()),
    }
    path = hour_path("2026-03-10", at.hour, shard_of("api_latency"))
    sqlite_store.commit([Put(path, {"payload": encode_rollup(folded)})])
    with ops_api(sqlite_store, NOW) as ops:
        labels = one(ops, "api-availability")["worst"]["labels"]
    assert {name: [(w["value"], w["bad"]) for w in worst] for name, worst in labels.items()} == {
        "endpoint": [(None, 5), ("/a", 3), ("", 1)],
        "status": [("500", 8), ("503", 1)],
    }


@pytest.mark.parametrize("query", [{"over": "7m"}, {"over": "31d"}, {"over": "5m"}, {"over": "x"}, {"last": "1d"}])
def test_what_cannot_be_asked_is_refused_by_name(ops: Ops, query: dict[str, str]) -> None:
    reply = ops.get(f"{PATH}/api-availability", query)
    assert (reply.status, reply.json["code"]) == (400, "invalid_query")
    assert [error["path"] for error in reply.json["errors"]] == list(query)


def test_a_reading_of_one_slo_reads_its_own_days_alone(ops: Ops) -> None:
    """Run, fold, exclusions and alert; one day; run and fold again and one hour of the one shard, for the worst."""
    store = ops.app.store
    ops.get(f"{PATH}/database-write-latency")
    before = store.meter.snapshot()
    one(ops, "database-write-latency", over="1h")
    assert store.meter.since(before).reads == 3 + 1 + 1 + 2 + 1


def test_what_is_excluded_is_in_no_worst(sqlite_store: SqliteStore) -> None:
    events = traffic(days=2, each_hour=30)
    feed(sqlite_store, events)
    start, end = END - timedelta(hours=9), END - timedelta(hours=6, minutes=25)
    made = Exclusion("a", Span(start, end), "moved the database", "ada", NOW, slos=("api-availability",))
    add(sqlite_store, made, NOW)
    with ops_api(sqlite_store, NOW) as ops:
        found = ops.get(f"{PATH}/api-availability", {"over": "1d"}).json["worst"]
    inside = [e for e in events if END - timedelta(days=1) <= e.at < END and not start <= e.at < end]
    assert (found["good"], found["total"]) == (sum(not e.failed for e in inside), len(inside))
    by_endpoint = {one["value"]: one["bad"] for one in found["labels"]["endpoint"]}
    failed = [e.endpoint for e in inside if e.failed]
    assert by_endpoint == {endpoint: failed.count(endpoint) for endpoint in set(failed)}

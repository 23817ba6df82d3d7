"""Metric queries over what was really sent and folded, against a computation over the raw values."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from shared.alerts.alerting import run_alert_rules
from shared.domain import sketch
from shared.domain.building import BLOCK_MS
from shared.domain.definition import Counts
from shared.domain.metric import Registry
from shared.domain.metric_query import MAX_DOCUMENTS, QUANTILES, InvalidQuery, MetricQuery, parse_query
from shared.domain.query_cells import MAX_GROUPS, OTHER, Selection, group_of, point
from shared.domain.query_range import DAY, HOUR, Stored
from shared.domain.rollup import Stats, shard_of, stats_of
from shared.domain.series import key_of
from shared.metrics.layout import FOLD_RUN, block_path, day_of, whole_day_path
from shared.metrics.query import Answer, TooManyDocuments, read_stored, run_query
from shared.metrics.rollup_codec import encode_rollup
from shared.run_guard import RUN
from shared.store.protocol import Create, Delete, Store
from shared.store.sqlite import SqliteStore
from tests.core import Clock, batch_of, make_app, metric, ms, registry

NOW = datetime(2026, 3, 10, 12, 2, 30, tzinfo=UTC)
DAYS = 12
Labels = dict[str, str]


@dataclass(frozen=True)
class Event:
    name: str
    value: float
    at: int  # ms
    labels: Labels


def some_events(day: datetime, until: datetime, count: int, chance: random.Random) -> list[Event]:
    """Of one day: request times with statuses, recorded error samples, agents' runs."""
    events = []
    for _ in range(count):
        at = ms(day) + chance.randrange(int((until - day).total_seconds()) * 1000)
        endpoint = f"/api/{chance.choice('abcd')}"
        kind = chance.random()
        if kind < 0.7:
            labels = {"endpoint": endpoint, "method": chance.choice(["GET", "POST"])}
            if status := chance.choice(["200", "200", "404", "500", "503", ""]):
                labels["status"] = status
            events.append(Event("api_latency", round(chance.lognormvariate(5, 1), 3), at, labels))
        elif kind < 0.8:
            events.append(Event("error_rate", float(chance.random() < 0.3), at, {"endpoint": endpoint}))
        else:
            labels = {"agent": chance.choice("xy"), "status": chance.choice(["ok", "error", "timeout", "cancelled"])}
            events.append(Event("agent_latency", round(chance.lognormvariate(8, 1), 3), at, labels))
    return events


def send(store: Store, events: list[Event], now: datetime, batch_id: str) -> None:
    """Through ingest, fold and alertRules, as at `now`."""
    app = make_app(store, Clock(now))
    metrics = [metric(e.value, e.name, e.at, e.labels) for e in events]
    if metrics:
        app.group_commit.append(batch_of(metrics, batch_id, now=now), now)
    run_alert_rules(app, now, lambda: True)


@dataclass
class History:
    store: Store
    events: list[Event]

    def ask(self, now: datetime = NOW, **args: str | list[str]) -> tuple[MetricQuery, Answer]:
        given = {name.rstrip("_"): value if isinstance(value, list) else [value] for name, value in args.items()}
        stored = read_stored(self.store, now)
        query = parse_query(given, registry(), stored, now)
        return query, run_query(self.store, query, registry(), stored)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Twelve days, of which one is empty. The blocks of days that are old enough are gone, as TTL has them."""
    chance = random.Random(22)
    store = SqliteStore(tmp_path_factory.mktemp("history") / "store.db")
    events: list[Event] = []
    today = NOW.replace(hour=0, minute=0, second=0)
    for back in range(DAYS, -1, -1):
        day = today - timedelta(days=back)
        until = min(day + timedelta(days=1), NOW)
        of_day = [] if back == 5 else some_events(day, until, 260, chance)
        events += of_day
        send(store, of_day, until + (timedelta(minutes=15) if back else timedelta()), f"batch-{back:04}")
    while store.purge(int(NOW.timestamp() * 1_000_000)):
        pass
    yield History(store, events)
    store.close()


# --- the independent computation


def counted(query: MetricQuery, event: Event) -> tuple[float, bool] | None:
    """Value of an event to the query's metric, and whether it is counted at all."""
    if event.name == query.metric:
        return event.value, True
    status = event.labels.get("status")
    if query.metric in ("error_rate", "availability") and event.name == "api_latency" and status:
        failed = 500 <= int(status) <= 599
        return float(failed if query.metric == "error_rate" else not failed), True
    if query.metric == "agent_success_rate" and event.name == "agent_latency" and status != "cancelled":
        return float(status == "ok"), True
    return None


def expected(query: MetricQuery, events: list[Event]) -> dict[tuple[str, ...], list[list[float]]]:
    """The values of each step, by group."""
    steps = list(query.range.steps())
    groups: dict[tuple[str, ...], list[list[float]]] = {}
    for sent in events:
        found = counted(query, sent)
        if found is None or not all(sent.labels.get(k, "") in v for k, v in query.filters.items()):
            continue
        for n, (start, stop) in enumerate(steps):
            if start * BLOCK_MS <= sent.at < stop * BLOCK_MS:
                group = tuple(sent.labels.get(name, "") for name in query.group_by)
                groups.setdefault(group, [[] for _ in steps])[n].append(found[0])
    return groups


def exactly(query: MetricQuery, values: list[float], seconds: int) -> float:
    ratio = 100 if query.is_ratio else 1
    return {
        "avg": lambda: ratio * math.fsum(values) / len(values),
        "sum": lambda: math.fsum(values),
        "count": lambda: len(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "rate": lambda: len(values) / seconds,
    }[query.agg]()


def assert_right(query: MetricQuery, answer: Answer, events: list[Event]) -> None:
    wanted = expected(query, events)
    if not query.group_by:
        wanted.setdefault((), [[] for _ in query.range.steps()])
    assert answer.points.keys() == wanted.keys()
    for group, points in answer.points.items():
        for p, values, (start, stop) in zip(points, wanted[group], query.range.steps(), strict=True):
            assert (p.t, p.count, p.estimated) == (start * BLOCK_MS, len(values), False)
            if not values:
                assert (p.value, p.low, p.high) == (None, None, None)
            elif query.agg in QUANTILES:
                true = sorted(values)[max(1, math.ceil(QUANTILES[query.agg] * len(values) - 1e-9)) - 1]
                assert p.value == pytest.approx(true, rel=0.01000001)
                assert p.low is not None
                assert p.high is not None
                assert p.low * (1 - 1e-9) <= true <= p.high * (1 + 1e-9)
                assert p.high <= p.low * 1.0203
            else:
                seconds = (stop - start) * 300
                assert p.value == pytest.approx(exactly(query, values, seconds), rel=1e-12)
                assert p.low is None


def choices(metric_name: str, *labels: str) -> st.SearchStrategy[dict[str, Any]]:
    ratio = registry().metrics[metric_name].kind == "ratio"
    return st.fixed_dictionaries(
        {
            "metric": st.just(metric_name),
            "agg": st.sampled_from(["avg", "sum", "count", "rate", *([] if ratio else ["min", "max", *QUANTILES])]),
            "group_by": st.lists(st.sampled_from(labels), unique=True, max_size=2).map(",".join),
            "filter": st.sampled_from([[], [f"{labels[0]}:/api/a"], [f"{labels[0]}:/api/a", f"{labels[0]}:/api/b"]]),
        }
    )


def outward(at: int, direction: int, unit: int) -> int:
    """The block of a time, moved to a multiple of `unit` blocks: down (-1) or up (1)."""
    width = unit * BLOCK_MS
    return (at // width if direction < 0 else math.ceil(at / width)) * unit


QUESTIONS = st.one_of(
    choices("api_latency", "endpoint", "method", "status"),
    choices("error_rate", "endpoint", "method"),
    choices("availability", "endpoint", "status"),
    choices("agent_success_rate", "agent", "status"),
)


def minutes_of(days: int, minutes: int) -> int:
    return days * 1440 + minutes


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    question=QUESTIONS,
    back=st.builds(minutes_of, st.integers(0, DAYS - 1), st.integers(1, 1439)),
    minutes=st.builds(minutes_of, st.sampled_from([0, 0, 1, 2, 5, 10]), st.integers(1, 1439)),
    step=st.sampled_from(["5m", "10m", "35m", "1h", "90m", "2h", "5h", "12h", "1d", "36h", "5d"]),
)
def test_any_query_gives_what_the_raw_values_give(
    history: History, question: dict[str, Any], back: int, minutes: int, step: str
) -> None:
    first = NOW - timedelta(minutes=back)
    last = first + timedelta(minutes=minutes)
    try:
        query, answer = history.ask(**question, from_=first.isoformat(), to=last.isoformat(), step=step)
    except InvalidQuery as refusal:
        refused = [fault.path for fault in refusal.faults]
        if refused != ["step"]:  # too many points, or blocks that are gone
            raise
        return
    span = query.range
    blocks_from = ms(NOW.replace(hour=0, minute=0, second=0)) // BLOCK_MS - 8 * DAY
    assert span.first == outward(ms(first), -1, HOUR if span.first < blocks_from else 1)
    if span.end <= blocks_from:
        assert span.end == outward(ms(last), 1, HOUR)
    else:
        running = ms(NOW) // BLOCK_MS
        limit = running if query.agg == "rate" else running + 1
        assert span.end == max(span.first, min(outward(ms(last), 1, 1), limit))
    assert answer.reads <= MAX_DOCUMENTS
    event(f"{len(str(span.points))} digits of points, {answer.level}")
    assert_right(query, answer, history.events)


@pytest.mark.parametrize(
    "args",
    [
        {"metric": "api_latency"},
        {"metric": "req_latency_ms", "agg": "p99", "step": "1h", "group_by": "endpoint,method"},
        {"metric": "api_latency", "agg": "max", "from_": "-30h", "step": "1d", "filter": ["status:500", "status:503"]},
        {"metric": "error_rate", "step": "1h", "group_by": "endpoint"},
        {"metric": "agent_success_rate", "agg": "sum", "from_": "-2d", "step": "12h", "filter": "agent:x"},
    ],
    ids=lambda args: args["metric"],
)
def test_both_stores_answer_alike(store: Store, args: dict[str, Any]) -> None:
    events = some_events(NOW - timedelta(hours=40), NOW - timedelta(minutes=10), 300, random.Random(3))
    send(store, events, NOW, "batch-0001")
    query, answer = History(store, events).ask(**args)
    assert_right(query, answer, events)


def test_levels_are_as_coarse_as_the_steps_allow(history: History) -> None:
    def level(**args: str) -> list[str]:
        return list(history.ask(metric="api_latency", **args)[1].level)

    assert level(step="5m") == ["m5"]
    assert level(from_="-150m", step="1h") == ["m5", "h1"]
    assert level(from_="2026-03-10T05:00Z", to="2026-03-10T11:00Z", step="1h") == ["h1"]
    assert level(from_="2026-03-06", to="2026-03-10", step="1d") == ["d1"]


def test_a_closed_day_without_a_document_of_its_own_is_read_from_its_hours(history: History) -> None:
    args = {"metric": "api_latency", "agg": "p95", "from_": "2026-03-06", "to": "2026-03-08", "step": "1d"}
    query, whole = history.ask(**args)
    days = [day_of(start) for start, _ in query.range.steps()]
    paths = [whole_day_path(day, shard) for day in days for shard in query.shards]
    before = [doc for doc in history.store.get_many(paths) if doc]
    assert before
    history.store.commit([Delete(doc.path) for doc in before])
    try:
        _, from_hours = history.ask(**args)
    finally:
        history.store.commit([Create(doc.path, doc.data) for doc in before])
    assert (whole.level, from_hours.level) == (["d1"], ["h1"])
    assert from_hours.points == whole.points
    assert from_hours.reads == whole.reads + 24 * whole.reads


def test_an_answer_may_hold_the_running_block_and_no_later_one(store: Store) -> None:
    running = ms(NOW) // BLOCK_MS
    times = {100.0: running - 1, 200.0: running, 300.0: running + 1}  # clocks may be up to five minutes ahead
    events = [Event("api_latency", value, block * BLOCK_MS + 1000, {}) for value, block in times.items()]
    send(store, events, NOW, "batch-0001")
    _, answer = History(store, events).ask(metric="api_latency", agg="sum", from_="-10m", to="+1h", step="5m")
    assert [(p.t // BLOCK_MS, p.value) for p in answer.points[()]] == [
        (running - 2, None),
        (running - 1, 100),
        (running, 200),
    ]
    assert read_stored(store, NOW).complete_until == running


def test_the_running_block_grows_with_each_fold_and_what_is_complete_stays(sqlite_store: SqliteStore) -> None:
    seen = []
    for n, second in enumerate((5, 65, 125)):
        now = NOW.replace(minute=0, second=0) + timedelta(seconds=second)
        send(sqlite_store, [Event("api_latency", 100.0, ms(now) - 1000, {})], now, f"batch-{n:04}")
        _, answer = History(sqlite_store, []).ask(now, metric="api_latency", agg="count", from_="-10m", step="5m")
        seen.append([p.value for p in answer.points[()]])
    assert seen == [[None, None, 1], [None, None, 2], [None, None, 3]]


def test_a_rate_ends_before_the_running_block_so_that_no_time_is_counted_that_has_not_been(
    sqlite_store: SqliteStore,
) -> None:
    """150 s of the running block's 300 are over: its 30 events are 0.2 a second, not 0.1."""
    running = ms(NOW) // BLOCK_MS
    times = [(block, second) for block in (running - 1, running) for second in range(30)]
    events = [Event("api_latency", 100.0, block * BLOCK_MS + second * 1000, {}) for block, second in times]
    send(sqlite_store, events, NOW, "batch-0001")
    asked = History(sqlite_store, events)
    for step, rates in (("5m", [None, 0.1]), ("10m", [0.05])):
        _, answer = asked.ask(metric="api_latency", agg="rate", from_="2026-03-10T11:50Z", step=step)
        assert [(p.value) for p in answer.points[()]] == rates
    assert sum(p.count for p in asked.ask(metric="api_latency", agg="count")[1].points[()]) == 60
    assert asked.ask(metric="api_latency", agg="rate", from_="-1m")[1].points == {(): []}


def test_an_empty_store_has_no_points(sqlite_store: SqliteStore) -> None:
    query, answer = History(sqlite_store, []).ask(metric="api_latency")
    assert (answer.points, answer.reads) == ({(): []}, 0)
    assert read_stored(sqlite_store, NOW).complete_until is None
    assert query.unit == "ms"


def test_what_was_worked_out_from_counters_and_beats_is_counted_with_what_was_sent(sqlite_store: SqliteStore) -> None:
    block = ms(NOW - timedelta(minutes=20)) // BLOCK_MS
    sent, derived = ({key_of("api_latency", {}): stats_of([value], ())} for value in (100.0, 300.0))
    document = {"payload": encode_rollup(sent), "derived": encode_rollup(derived)}
    sqlite_store.commit(
        [
            Create(block_path(block, shard_of("api_latency")), document),
            Create(RUN, {"foldedUntil": NOW}),
            Create(FOLD_RUN, {"days": [day_of(block)], "closedThrough": ""}),
        ]
    )
    _, answer = History(sqlite_store, []).ask(metric="api_latency", agg="sum", step="5m")
    assert [(p.value, p.count) for p in answer.points[()] if p.count] == [(400, 2)]


@pytest.mark.parametrize(
    ("labels", "group"),
    [
        ({"endpoint": "/a", "status": "200"}, ("/a", "200")),
        ({"endpoint": "/a"}, ("/a", "")),
        ({"other": "true", "status": "200"}, OTHER),
        ({"other": "true"}, OTHER),
    ],
)
def test_of_series_that_were_folded_the_lost_labels_are_not_known(labels: Labels, group: tuple[str, ...]) -> None:
    assert group_of(labels, ("endpoint", "status")) == group
    assert group_of({"other": "true", "status": "200"}, ("status",)) == ("200",)


# --- bounds


def many_groups(store: Store, groups: int, times: Mapping[int, int]) -> list[Event]:
    """A request of each endpoint, and more of those that `times` names."""
    events = []
    for n in range(groups):
        for m in range(times.get(n, 1)):
            at = ms(NOW) - 600_000 * (1 + (n + m) % 5)
            events.append(Event("api_latency", 10.0 + n, at, {"endpoint": f"/api/{words(n)}", "status": "200"}))
    send(store, events, NOW, "batch-0001")
    return events


def words(n: int) -> str:
    return "".join("abcdefghij"[int(digit)] for digit in str(n))


def test_the_groups_with_the_fewest_events_fold_into_one(sqlite_store: SqliteStore) -> None:
    large = dict.fromkeys(range(50, 110), 3) | dict.fromkeys(range(110, 149), 2)
    events = many_groups(sqlite_store, 250, large)
    query, answer = History(sqlite_store, events).ask(metric="api_latency", agg="p95", group_by="endpoint")
    assert len(answer.points) == MAX_GROUPS
    assert answer.folded_groups == 250 - (MAX_GROUPS - 1)
    kept = {f"/api/{words(n)}" for n in large}
    assert {group[0] for group in answer.points if group != OTHER} == kept
    rest = [Event(e.name, e.value, e.at, {}) for e in events if e.labels["endpoint"] not in kept]
    alone, _ = History(sqlite_store, rest).ask(metric="api_latency", agg="p95")
    assert_right(alone, Answer({(): answer.points[OTHER]}, set(), 0, 0), rest)
    assert answer.reads == 2 * query.range.points
    assert sum(p.count for points in answer.points.values() for p in points) == len(events)


def test_as_many_groups_as_are_allowed_stay_apart_and_are_read_once(sqlite_store: SqliteStore) -> None:
    events = many_groups(sqlite_store, MAX_GROUPS, {})
    query, answer = History(sqlite_store, events).ask(metric="api_latency", agg="max", group_by="endpoint")
    assert_right(query, answer, events)
    assert (answer.folded_groups, answer.reads) == (0, query.range.points)


def test_reading_ends_where_too_many_documents_are_met(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.metrics.query.MAX_DOCUMENTS", 40)
    with pytest.raises(TooManyDocuments):
        history.ask(metric="api_latency", from_="-4h", step="5m")


@pytest.mark.parametrize("asked", [{"metric": "api_latency", "agg": "p95"}, {"metric": "error_rate"}])
def test_weighted_samples_are_said_to_be_estimates(history: History, asked: dict[str, Any]) -> None:
    query, _ = history.ask(**asked)
    sampled, whole = stats_of([100.0], (), weight=10), stats_of([100.0], ())
    for stats, count, estimated in ((sampled, 10, True), (whole, 1, False)):
        cells = Selection(query, registry()).cells([(key_of("api_latency", {"status": "500"}), stats)])
        found = point(cells[()], query, registry(), 0, 1)
        assert (found.count, found.estimated) == (count, estimated)


def test_a_histograms_quantile_says_between_which_values_it_lies(history: History) -> None:
    query, _ = history.ask(metric="api_latency", agg="p95")
    span = (sketch.index_of(100), sketch.UNBOUNDED)
    stats = Stats(10, 2000.0, 100.0, 900.0, {}, {}, spans={span: 10})
    cells = Selection(query, registry()).cells([(key_of("api_latency", {}), stats)])
    found = point(cells[()], query, registry(), 0, 1)
    assert (found.low, found.high) == (100.0, None)


# --- what is refused


def faults(history: History, **args: Any) -> dict[str, str]:
    with pytest.raises(InvalidQuery) as raised:
        history.ask(**args)
    return {fault.path: fault.message for fault in raised.value.faults}


def test_every_fault_is_named_at_once(history: History) -> None:
    found = faults(history, metric="api_latncy", agg="p42", from_="x", to="y", step="7m", filter="status", colour="red")
    assert found.keys() == {"metric", "agg", "from", "to", "step", "filter", "colour"}
    assert "nearest: api_latency" in found["metric"]


@pytest.mark.parametrize(
    ("args", "path", "message"),
    [
        ({"metric": ""}, "metric", "is missing; there are api_latency"),
        ({"metric": "zzz"}, "metric", "there are: api_latency"),
        ({"metric": ["api_latency", "error_rate"]}, "metric", "more than once"),
        ({"group_by": "endpint"}, "group_by", "this metric has endpoint, method, status"),
        ({"filter": "endpint:x"}, "filter", "this metric has endpoint"),
        ({"metric": "error_rate", "agg": "p95"}, "agg", "use one of avg, sum, count, rate"),
        ({"from_": "now"}, "from", "before `to`"),
        ({"from_": "-1h", "to": "-2h"}, "from", "before `to`"),
        ({"from_": "-91d"}, "from", "the earliest is 2025-12-10T00:00:00Z"),
        ({"from_": "-10d", "step": "5m"}, "step", "5-minute blocks from 2026-03-02T00:00:00Z"),
        ({"from_": "-10d", "step": "90m"}, "step", "whole hours"),
        ({"from_": "-6d", "step": "5m"}, "step", "a step of 15m fits"),
        ({"from_": "-89d", "step": "1h"}, "step", "a step of 2h fits"),
    ],
)
def test_a_fault_says_what_would_fit(history: History, args: dict[str, Any], path: str, message: str) -> None:
    found = faults(history, **{"metric": "api_latency", **args})
    assert found.keys() == {path}
    assert message in found[path]


@pytest.mark.parametrize(("args", "fits"), [({"from_": "-6d"}, "15m"), ({"from_": "-89d"}, "2h")])
def test_the_step_that_is_said_to_fit_does(history: History, args: dict[str, Any], fits: str) -> None:
    query, _ = history.ask(metric="api_latency", step=fits, **args)
    assert query.range.points <= 1500


def test_too_many_documents_are_refused_before_one_is_read() -> None:
    """Those of a metric whose source is in another shard, so that both are read."""
    source = next(name for name in ("one", "two", "three", "four") if shard_of(name) != shard_of("ratio"))
    common = {"description": "", "direction": "more_is_worse", "aggregation": "avg", "labels": ["status"]}
    derived = {"metric": source, "bad": ["500"]}
    two_shards = Registry.model_validate(
        {
            "metrics": {
                source: {**common, "unit": "ms", "kind": "distribution"},
                "ratio": {**common, "unit": "%", "kind": "ratio", "derived_from": derived},
            }
        }
    )
    today = ms(NOW) // BLOCK_MS // DAY
    stored = Stored(ms(NOW) // BLOCK_MS, (today - 8) * DAY, (today - 90) * DAY, range(today + 1), today - 1)
    with pytest.raises(InvalidQuery, match=r"4,608 documents to read, at most 2,500: .*; a step of whole hours"):
        parse_query(
            {"metric": ["ratio"], "from": ["2026-03-02"], "to": ["2026-03-10"], "step": ["10m"]},
            two_shards,
            stored,
            NOW,
        )


def test_the_unit_follows_the_aggregation(history: History) -> None:
    units = {
        (name, agg): history.ask(metric=name, agg=agg)[0].unit
        for name in ("api_latency", "error_rate")
        for agg in ("avg", "sum", "count", "rate")
    }
    assert list(units.values()) == ["ms", "ms", "count", "1/s", "%", "count", "count", "1/s"]


def test_counts_of_a_ratio_are_the_slots_own() -> None:
    """The query's cells and the SLO's slots are counted by the same function."""
    from shared.domain import query_cells, slots

    assert query_cells.count_ratio is slots.count_ratio
    assert Counts is slots.Counts


def test_purged_levels_are_never_asked_for(history: History) -> None:
    query, answer = history.ask(metric="api_latency", agg="count", from_="-12d", step="1h")
    assert query.range.points == 12 * 24 + 1
    assert_right(query, answer, history.events)

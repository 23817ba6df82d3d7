"""Points of counters and beats through the fold: whenever and however often they come, every level is right."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.cumulative import Point
from shared.domain.heartbeat import FORGOTTEN_AFTER_MS, Agents, Pace
from shared.domain.rollup import SHARDS, shard_of
from shared.metrics import blocks
from shared.metrics import derivation as deriving
from shared.metrics import fold as folding
from shared.metrics import points as points_of_blocks
from shared.metrics.fold import fold
from shared.metrics.group_commit import GroupCommit
from shared.metrics.layout import FOLD_RUN, block_path, points_path, whole_day_path
from shared.metrics.points_codec import decode_points, encode_points
from shared.metrics.rollup_codec import decode_rollup
from shared.metrics.rollups import read_blocks
from shared.store.protocol import Meter, Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW, batch_of, metric, ms, new_table, registry, shipped
from tests.simulation.model import Model
from tests.simulation.sending import (
    Sent,
    batch_of_histogram,
    batch_of_points,
    beat,
    counter,
    histogram_of,
    keyed,
    stream,
)

DEFINITIONS = shipped().definitions
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
LASTS = 90_000
COST = shard_of("token_cost{}")
AGENTS = Agents(agents={"support": Pace(intervalSeconds=600, graceSeconds=60)})


def run(store: Store, now: datetime = NOW, agents: Agents | None = None) -> folding.Folded:
    return fold(store, registry(), DEFINITIONS, now, agents=agents)


def send(store: Store, points: Sequence[Sent], name: str, now: datetime = NOW) -> None:
    GroupCommit(store).append(batch_of_points(points, name, new_table()), now)


def model_of(points: Sequence[Sent]) -> Model:
    model = Model(DEFINITIONS)
    model.add_counters(keyed([p for p in points if p[2].value is not None], new_table()))
    return model


def beats_at(*moments: datetime, agent: str = "bot") -> list[Sent]:
    return [beat(ms(at), agent) for at in moments]


def with_uptime(model: Model, points: Sequence[Sent], now: datetime, agent: str = "bot", lasts: int = LASTS) -> Model:
    times = [p.time for name, labels, p in points if p.value is None and labels["agent"] == agent]
    model.add_beats(agent, times, lasts, ms(now))
    return model


def some_counters(rng: random.Random, now: datetime = NOW, hours: float = 3) -> list[Sent]:
    """Exports of several processes over the last hours: some new, some long running, with resets and new label sets."""
    points: list[Sent] = []
    for n in range(4):
        at = now - timedelta(seconds=rng.uniform(1800, hours * 3600))
        start = ms(rng.choice([at - MINUTE, at - MINUTE, at - DAY * 5]))
        values: dict[str, float] = {}
        while at < now:
            for model in ("small", "large"):
                if model in values or rng.random() < 0.5:
                    reset = rng.random() < 0.03
                    values[model] = float(rng.randint(0, 3)) if reset else values.get(model, 0.0) + rng.randint(0, 9)
            points += [counter(ms(at), value, start, f"app-{n % 3}", model=model) for model, value in values.items()]
            at += rng.choice([timedelta(seconds=59), timedelta(minutes=13)])
    return points


# --- every level, whatever the order


@pytest.mark.parametrize("seed", range(3))
def test_points_late_twice_and_through_several_instances_come_to_the_same(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    points = some_counters(rng, hours=14)  # some of the day before
    groups: list[list[Sent]] = [[] for _ in range(6)]
    for point in points:
        for group in {rng.randrange(6), rng.randrange(6)}:
            groups[group].append(point)
    for n, group in enumerate(groups):
        send(store, group, f"batch-{n:04}")
        if rng.random() < 0.6:
            run(store)
    send(store, groups[0], "batch-0000")
    run(store)
    run(store)
    assert model_of(points).differences(store, ["2026-03-09"]) == []


@pytest.mark.parametrize("seed", range(3, 6))
def test_folds_at_the_same_time_come_to_the_same(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    points = some_counters(rng, hours=2) + beats_at(*(NOW - timedelta(seconds=rng.uniform(0, 2400)) for _ in range(9)))
    rng.shuffle(points)
    failures: list[BaseException] = []

    def fold_some() -> None:
        try:
            for _ in range(2):
                run(store)
        except BaseException as error:  # noqa: BLE001 - a thread's error must reach the test
            failures.append(error)

    threads = [threading.Thread(target=fold_some) for _ in range(3)]
    for n in range(3):
        send(store, points[n::6], f"batch-{n:04}")
    for thread in threads:
        thread.start()
    for n in range(3, 6):
        send(store, points[n::6], f"batch-{n:04}")
    for thread in threads:
        thread.join()
    assert failures == []
    run(store)
    assert with_uptime(model_of(points), points, NOW).differences(store) == []


def test_a_point_that_comes_late_changes_the_blocks_after_it(store: Store) -> None:
    start = ms(NOW - 70 * MINUTE)
    early, late, last = (counter(ms(NOW - m * MINUTE), value, start) for m, value in ((64, 5.0), (30, 7.0), (2, 20.0)))
    send(store, [early, last], "batch-0001")
    run(store)
    assert model_of([early, last]).differences(store) == []
    send(store, [late], "batch-0002")
    run(store)
    assert model_of([early, late, last]).differences(store) == []


@pytest.mark.parametrize(("border", "closed"), [((2026, 3, 10), ["2026-03-09", "2026-03-10"]), ((2026, 3, 10, 11), [])])
@pytest.mark.parametrize("alone", [False, True])
def test_what_a_late_point_takes_out_of_a_later_hour_leaves_it(
    store: Store, border: tuple[int, int, int], closed: list[str], alone: bool
) -> None:
    """The counter stood still since: the later block has nothing of it any more, nor has its hour, nor its day."""
    at = datetime(*border, tzinfo=UTC)
    start = ms(at - 20 * MINUTE)
    first, later = counter(ms(at - MINUTE), 5.0, start), counter(ms(at + MINUTE), 5.0, start)
    others = [] if alone else [counter(ms(at + 2 * MINUTE), 1.0, start, model="large")]
    end = at + (DAY + timedelta(hours=1) if closed else timedelta(hours=2))
    send(store, [later, *others], "batch-0001", at + 5 * MINUTE)
    run(store, at + 5 * MINUTE)
    run(store, end)
    assert model_of([later, *others]).differences(store, closed[1:]) == []
    send(store, [first], "batch-0002", end)
    for _ in range(2):
        run(store, end)
    assert model_of([first, later, *others]).differences(store, closed) == []


def test_points_of_a_sender_whose_clock_is_ahead_are_differenced_too(store: Store) -> None:
    start, ahead = ms(NOW - 10 * MINUTE), counter(ms(NOW + 4 * MINUTE), 9.0, ms(NOW - 10 * MINUTE))
    send(store, [ahead], "batch-0001")
    run(store)
    send(store, [counter(ms(NOW), 4.0, start)], "batch-0002")
    run(store)
    assert model_of([ahead, counter(ms(NOW), 4.0, start)]).differences(store) == []


def test_values_that_come_later_leave_what_points_came_to_and_the_other_way_round(store: Store) -> None:
    start = ms(NOW - 5 * MINUTE)
    points = [counter(ms(NOW - timedelta(seconds=s)), 3.0 + 60 - s, start) for s in (60, 40, 20)]
    values = [[metric(4, "token_cost"), metric(8)], [metric(16, "token_cost")]]
    send(store, points[:1], "batch-0001")
    run(store)
    GroupCommit(store).append(batch_of(values[0], "batch-0002"), NOW)
    run(store)
    send(store, points[1:], "batch-0003")
    run(store)
    GroupCommit(store).append(batch_of(values[1], "batch-0004"), NOW)
    run(store)
    model = model_of(points)
    for metrics in values:
        model.add(metrics)
    assert model.differences(store) == []


def test_a_closed_day_takes_late_points_in(store: Store) -> None:
    noon = datetime(2026, 3, 9, 12, tzinfo=UTC)
    start = ms(noon - MINUTE)
    points = [counter(ms(noon + n * MINUTE), 10.0 * n, start) for n in range(12)]
    send(store, points[::3], "batch-0001", noon + 12 * MINUTE)
    run(store, noon + 12 * MINUTE)
    run(store)
    send(store, points[1::3] + points[2::3], "batch-0002")
    run(store)
    assert model_of(points).differences(store, ["2026-03-09"]) == []
    day = [doc for doc in store.get_many([whole_day_path("2026-03-09", shard) for shard in range(SHARDS)]) if doc]
    found = {key: stats for doc in day for key, stats in decode_rollup(doc.data["payload"]).items()}
    assert found["token_cost{}"].total == 110


def test_histograms_by_increments_and_by_cumulative_points_are_true_of_the_same_values(store: Store) -> None:
    rng, start, model = random.Random(7), ms(NOW - 30 * MINUTE), Model(DEFINITIONS)
    seen: list[float] = []
    points: list[Sent] = []
    table = new_table()
    labels = {"endpoint": "/a", "status": "200"}
    for n in range(25):
        at = NOW - (28 - n) * MINUTE
        fresh = [float(rng.choice([10, 60, 250, 300, 350, 450, 3000])) for _ in range(rng.randrange(0, 5))]
        seen += fresh
        points.append(("api_latency", labels, Point(stream("app", labels), start, ms(at), histogram_of(seen))))
        model.add_histogram(ms(at), 'api_latency{"endpoint":"/a","status":"200"}', fresh)
        delta = [250.0, 7000.0]
        GroupCommit(store).append(batch_of_histogram(ms(at), delta, {"endpoint": "/b"}, f"delta-{n:04}", table), NOW)
        model.add_histogram(ms(at), 'api_latency{"endpoint":"/b"}', delta)
    rng.shuffle(points)
    for n in range(3):
        send(store, points[n::3], f"batch-{n:04}")
        run(store)
    model.blocks = type(model.blocks)(
        model.blocks.default_factory,
        {number: {key: of for key, of in series.items() if of} for number, series in model.blocks.items()},
    )
    assert model.differences(store) == []


def test_weighted_samples_count_their_events_at_every_level(store: Store) -> None:
    metrics = [metric(n, at=NOW - n * 10 * MINUTE, labels={"status": "200"}, weight=1 + n % 3) for n in range(9)]
    GroupCommit(store).append(batch_of(metrics), NOW)
    run(store)
    run(store, NOW + DAY)
    model = Model(DEFINITIONS)
    model.add(metrics)
    assert model.differences(store, ["2026-03-10"]) == []


def test_points_that_are_merged_without_receipts_count_once_all_the_same(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_receipts", lambda store, doc: set())
    points = some_counters(random.Random(11), hours=1)
    for _ in range(3):
        send(sqlite_store, points, "batch-0001")
        run(sqlite_store)
    assert model_of(points).differences(sqlite_store) == []


# --- what does not fit


def test_points_that_do_not_fit_are_thinned_to_the_last_of_each_and_lose_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = ms(NOW) // 300_000 - 1
    start = block * 300_000
    points = [counter(start + s * 1000, float(s), start, f"app-{n}") for n in range(20) for s in range(1, 290, 10)]
    beats = [beat(start + s * 1000, "bot") for s in range(0, 300, 60)]
    plain = encode_points({"token_cost{}": [p for _, _, p in points]})
    monkeypatch.setattr(points_of_blocks, "MAX_PAYLOAD", len(plain) // 2)
    send(store, points + beats, "batch-0001")
    run(store)
    found = read_blocks(store, [block])[block]
    assert (found["token_cost{}"].count, found["token_cost{}"].total) == (20, 20 * 281)
    assert (found['agent_uptime{"agent":"bot"}'].count, found['agent_uptime{"agent":"bot"}'].total) == (300, 300)
    last = [counter(start + 300_000, 290.0, start, f"app-{n}") for n in range(20)]
    send(store, last, "batch-0002")
    run(store)
    assert read_blocks(store, [block + 1])[block + 1]["token_cost{}"].total == 20 * 9


def test_senders_that_do_not_fit_even_so_are_left_out_whole_and_never_counted_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A long-running sender that is left out of a block must not look like one with new label sets in the next."""
    block = ms(NOW) // 300_000 - 1
    start, old = block * 300_000, ms(NOW - 9 * DAY)
    models = list("abcdefghij")
    first = [counter(start + 1000, 1e6, old, f"app-{n}", model=m) for n in range(20) for m in models]
    second = [counter(start + 301_000, 1e6 + 1, old, f"app-{n}", model=m) for n in range(20) for m in models]
    whole = encode_points({"token_cost{}": [p for _, _, p in first]})
    monkeypatch.setattr(points_of_blocks, "MAX_PAYLOAD", len(whole) // 2)
    send(store, [*first, beat(start, "bot")], "batch-0001")
    run(store)
    monkeypatch.undo()
    doc = store.get(points_path(block, COST))
    assert doc is not None
    kept = [p for key, of in decode_points(doc.data["payload"]).items() if key.startswith("token_cost") for p in of]
    assert 0 < len({p.stream[:6] for p in kept}) < 20
    assert len(kept) == 10 * len({p.stream[:6] for p in kept})
    assert "do not fit" in capsys.readouterr().out
    send(store, second, "batch-0002")
    run(store)
    found = read_blocks(store, [block + 1])[block + 1]
    assert sum(s.total for key, s in found.items() if key.startswith("token_cost")) == len(kept)


def test_one_sender_with_more_counters_than_fit_stops_nothing(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points_of_blocks, "MAX_PAYLOAD", 500)
    points = [counter(ms(NOW), 1.0, 0, "app", model=f"{a}{b}") for a in "abcdefghij" for b in "abcdefghij"]
    send(sqlite_store, [*points, *beats_at(NOW)], "batch-0001")
    assert run(sqlite_store).complete
    docs = sqlite_store.get_many([points_path(ms(NOW) // 300_000, shard) for shard in range(SHARDS)])
    assert all(len(doc.data["payload"]) <= 500 for doc in docs if doc)


def test_what_points_come_to_keeps_within_its_room_and_every_sum(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deriving, "MAX_DERIVED", 600)
    start = ms(NOW - MINUTE)
    points = [counter(ms(NOW), 2.0, start, model=f"{a}{b}") for a in "abcdefghij" for b in "abcdefghij"]
    send(sqlite_store, points, "batch-0001")
    run(sqlite_store)
    doc = sqlite_store.get(block_path(ms(NOW) // 300_000, COST))
    assert doc is not None
    assert len(doc.data["derived"]) <= 600
    assert sum(s.total for s in decode_rollup(doc.data["derived"]).values()) == 200


# --- uptime


def test_missing_beats_are_downtime_without_any_segment(store: Store) -> None:
    beats = beats_at(*(NOW - n * MINUTE for n in range(12)))
    send(store, beats, "batch-0001")
    run(store)
    assert with_uptime(Model(DEFINITIONS), beats, NOW).differences(store) == []
    for minutes in (5, 10, 15):
        run(store, NOW + minutes * MINUTE)
    assert with_uptime(Model(DEFINITIONS), beats, NOW + 15 * MINUTE).differences(store) == []


def test_after_hours_without_a_fold_all_blocks_are_counted(store: Store) -> None:
    send(store, beats_at(NOW), "batch-0001")
    run(store)
    later = NOW + timedelta(hours=3)
    beats = beats_at(NOW, *(NOW + n * MINUTE for n in range(60, 90)))
    for n, one in enumerate(beats[1:]):
        send(store, [one], f"beat-{n:04}", NOW + 90 * MINUTE)
    run(store, later)
    assert with_uptime(Model(DEFINITIONS), beats, later).differences(store) == []


def test_a_late_beat_reaches_into_blocks_that_have_no_beat_at_all(store: Store) -> None:
    """An agent of ten minutes' interval: the block after its beat has no points, and was counted as down before."""
    beats = [beat(ms(NOW - 61 * MINUTE), "support"), beat(ms(NOW - 31 * MINUTE), "support")]
    send(store, beats[:1], "batch-0001")
    run(store, agents=AGENTS)
    send(store, beats[1:], "batch-0002")
    run(store, agents=AGENTS)
    assert with_uptime(Model(DEFINITIONS), beats, NOW, "support", 660_000).differences(store) == []


def test_an_earlier_first_beat_makes_an_agent_expected_from_then_on(store: Store) -> None:
    beats = beats_at(NOW - 40 * MINUTE, NOW - 10 * MINUTE)
    other = beats_at(NOW - 20 * MINUTE, agent="other")
    send(store, beats[1:], "batch-0001")
    run(store)
    send(store, beats[:1] + other, "batch-0002")
    run(store)
    model = with_uptime(Model(DEFINITIONS), beats, NOW)
    assert with_uptime(model, other, NOW, "other").differences(store) == []


def test_a_beat_sent_again_after_its_block_was_counted_changes_nothing(store: Store) -> None:
    beats = beats_at(NOW - 7 * MINUTE)
    for n in range(2):
        send(store, beats, f"batch-{n:04}")
        run(store)
    assert with_uptime(Model(DEFINITIONS), beats, NOW).differences(store) == []


def test_a_named_agent_is_expected_from_the_start_though_it_never_beat(store: Store) -> None:
    begin = NOW - timedelta(seconds=150)  # on a mark
    for minutes in (0, 5, 10):
        run(store, begin + minutes * MINUTE, AGENTS)
    model = Model(DEFINITIONS)
    model.add_beats("support", [], 660_000, ms(begin + 10 * MINUTE), ms(begin))
    assert model.differences(store) == []
    assert model.blocks


def test_an_agent_is_forgotten_a_week_after_its_last_beat(sqlite_store: SqliteStore) -> None:
    begin = NOW - timedelta(seconds=150)
    send(sqlite_store, [beat(ms(begin), "bot")], "batch-0001", begin)
    run(sqlite_store, begin)
    week = timedelta(milliseconds=FORGOTTEN_AFTER_MS)
    for hours in range(24, 9 * 24, 24):
        run(sqlite_store, begin + timedelta(hours=hours))
    blocks = [ms(begin + week + n * 5 * MINUTE) // 300_000 for n in (-2, -1, 0, 1)]
    found = read_blocks(sqlite_store, blocks)
    assert ['agent_uptime{"agent":"bot"}' in found[block] for block in blocks] == [True, True, False, False]
    assert found[blocks[0]]['agent_uptime{"agent":"bot"}'].total == 0
    run(sqlite_store, begin + timedelta(days=12))
    state = sqlite_store.get(FOLD_RUN)
    assert state is not None
    assert state.data["agents"] == {}
    again = begin + timedelta(days=13)
    send(sqlite_store, [beat(ms(again), "bot")], "batch-0002", again)
    run(sqlite_store, again + 5 * MINUTE)
    block = ms(again) // 300_000
    found = read_blocks(sqlite_store, [block - 1, block])
    assert [len(found[n]) for n in (block - 1, block)] == [0, 1]


def test_late_points_in_a_block_of_a_forgotten_agent_keep_its_downtime(sqlite_store: SqliteStore) -> None:
    begin = NOW - timedelta(seconds=150)
    send(sqlite_store, [beat(ms(begin), "bot")], "batch-0001", begin)
    run(sqlite_store, begin)
    for days in (2, 4, 6, 8):
        run(sqlite_store, begin + timedelta(days=days))
    at = begin + timedelta(days=6, hours=12)
    before = read_blocks(sqlite_store, [ms(at) // 300_000])
    assert before[ms(at) // 300_000]
    send(sqlite_store, [beat(ms(at) + 1000, "late")], "batch-0002", begin + timedelta(days=8))
    run(sqlite_store, begin + timedelta(days=8))
    after = read_blocks(sqlite_store, [ms(at) // 300_000])[ms(at) // 300_000]
    assert set(after) == {'agent_uptime{"agent":"bot"}', 'agent_uptime{"agent":"late"}'}


def test_agents_beyond_the_most_are_told_and_the_others_are_counted(
    sqlite_store: SqliteStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deriving, "MAX_AGENTS", 2)
    send(sqlite_store, [p for name in "abc" for p in beats_at(NOW - 6 * MINUTE, agent=name)], "batch-0001")
    run(sqlite_store)
    block = ms(NOW - 6 * MINUTE) // 300_000
    assert set(read_blocks(sqlite_store, [block])[block]) == {f'agent_uptime{{"agent":"{name}"}}' for name in "ab"}
    assert "too many agents" in capsys.readouterr().out


def test_a_run_whose_clock_is_behind_takes_no_uptime_away(sqlite_store: SqliteStore) -> None:
    beats, mark = beats_at(NOW - MINUTE), NOW + timedelta(seconds=150)
    send(sqlite_store, beats, "batch-0001")
    run(sqlite_store, mark)
    more = beats_at(NOW - timedelta(seconds=30))
    send(sqlite_store, more, "batch-0002")
    run(sqlite_store, mark - timedelta(seconds=1))
    assert with_uptime(Model(DEFINITIONS), beats + more, mark).differences(sqlite_store) == []


def test_a_run_that_began_before_an_agent_was_known_takes_no_uptime_away(sqlite_store: SqliteStore) -> None:
    """It works the block out with what is written down when it does so, not with what it read at its beginning."""
    beats = beats_at(NOW - 6 * MINUTE)
    costs = [counter(ms(NOW - 6 * MINUTE), 3.0, ms(NOW - 7 * MINUTE))]
    slow = folding._Fold(sqlite_store, registry(), DEFINITIONS, Agents(), NOW)
    send(sqlite_store, beats, "batch-0001")
    run(sqlite_store)
    send(sqlite_store, [*costs, *beats_at(NOW - 6 * MINUTE - timedelta(seconds=1), agent="other")], "batch-0002")
    slow.run(lambda: True)
    model = with_uptime(model_of(costs), beats, NOW)
    others = beats_at(NOW - 6 * MINUTE - timedelta(seconds=1), agent="other")
    assert with_uptime(model, others, NOW, "other").differences(sqlite_store) == []


def test_the_document_of_the_fold_knows_the_agents_and_how_far_they_are_counted(sqlite_store: SqliteStore) -> None:
    send(sqlite_store, beats_at(NOW - 3 * MINUTE, NOW - MINUTE), "batch-0001")
    run(sqlite_store)
    state = sqlite_store.get(FOLD_RUN)
    assert state is not None
    assert state.data["agents"] == {"bot": [ms(NOW - 3 * MINUTE), ms(NOW - MINUTE)]}
    assert state.data["beatsThrough"] == ms(NOW) // 300_000 - 1
    run(sqlite_store, NOW + DAY)
    state = sqlite_store.get(FOLD_RUN)
    assert state is not None
    assert state.data["beatsThrough"] == ms(NOW + DAY) // 300_000 - 1


# --- what it costs


def used(store: Store, now: datetime) -> Meter:
    before = store.meter.snapshot()
    run(store, now)
    return store.meter.since(before)


def test_without_points_and_agents_a_fold_reads_and_writes_nothing_more(sqlite_store: SqliteStore) -> None:
    GroupCommit(sqlite_store).append(batch_of([metric()]), NOW)
    first = used(sqlite_store, NOW)
    quiet = used(sqlite_store, NOW + 5 * MINUTE)
    assert (quiet.reads, quiet.writes, quiet.deletes) == (2, 0, 0)
    assert (first.reads, first.writes, first.deletes) == FOLD_OF_ONE_VALUE
    state = sqlite_store.get(FOLD_RUN)
    assert state is not None
    assert not {"agents", "beatsThrough"} & state.data.keys()


FOLD_OF_ONE_VALUE = (21, 4, 1)  # as it was before there were points


def test_a_fold_with_counters_and_beats_costs_a_handful_more_whatever_their_number(sqlite_store: SqliteStore) -> None:
    begin = NOW - timedelta(seconds=150) - timedelta(minutes=20)
    costs = []
    for n in range(4):
        for minute in range(5):
            at = begin + (5 * n + minute) * MINUTE
            points = [counter(ms(at), 5.0 * n + minute, ms(begin - DAY), model=m) for m in "abcdefghijklmnopqrst"]
            send(sqlite_store, points, f"cost-{n}-{minute}", at)
            for agent in ("one", "two", "three"):
                send(sqlite_store, [beat(ms(at), agent)], f"beat-{agent}-{n}-{minute}", at)
        costs.append(used(sqlite_store, begin + 5 * (n + 1) * MINUTE))
    assert [(c.reads - 20, c.writes) for c in costs[1:]] == [STEADY] * 3  # besides the 20 segments


STEADY = (45, 8)  # as values, the same would be 32 and 5

"""What was told before a notification of its firing: the same whether it is looked up by name or by its lane."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.delivery.episodes import Episodes
from shared.domain.notification import (
    MOST_EARLIER,
    episode_before,
    ids_before,
    new_notification,
    nobody_was_told,
    resolve_is_pointless,
)
from shared.store.protocol import Create, Doc, Query, Store
from tests.e2e.test_delivery import Wrapped

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Counting(Wrapped):
    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gets: list[Sequence[str]] = []
        self.queries: list[Query] = []

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self.gets.append(paths)
        return super().get_many(paths)

    def query(self, query: Query) -> list[Doc]:
        self.queries.append(query)
        return super().query(query)


def add(
    store: Store, seq: int, kind: Any, firing: int | None, state: str, alert: str = "api", channel: str = "slack"
) -> Doc:
    path, data = new_notification(alert, seq, channel, kind, {"firingSeq": firing}, NOW)
    data = {**data, "state": state, "open": state in ("pending", "sending")}
    store.commit([Create(path, data)])
    doc = store.get(path)
    assert doc
    return doc


def without_firing(doc: Doc) -> Doc:
    return Doc(doc.path, {**doc.data, "facts": {}}, doc.version)


def test_what_came_before_is_of_the_same_firing_and_channel_the_latest_first(store: Store) -> None:
    add(store, 1, "trigger", 1, "delivered")
    add(store, 2, "resolve", 1, "delivered")
    trigger = add(store, 3, "trigger", 3, "dead")
    add(store, 4, "trigger", 3, "delivered", channel="email")
    repeat = add(store, 5, "repeat", 3, "withheld")
    resolve = add(store, 6, "resolve", 3, "pending")
    assert Episodes(store).before(resolve) == [repeat.data, trigger.data]
    assert Episodes(store).before(trigger) == []
    assert resolve_is_pointless(Episodes(store).before(resolve))


def test_many_are_looked_up_in_one_call_and_each_costs_what_it_has(sqlite_store: Store) -> None:
    ends = []
    for n in range(50):
        add(sqlite_store, 1, "trigger", 1, "delivered", f"a{n}")
        ends.append(add(sqlite_store, 2, "resolve", 1, "pending", f"a{n}"))
    counting = Counting(sqlite_store)
    episodes, before = Episodes(counting), sqlite_store.meter.snapshot()
    episodes.look_up(ends)
    assert [len(episodes.before(end)) for end in ends] == [1] * 50
    assert (len(counting.gets), len(counting.queries)) == (1, 0)
    assert sqlite_store.meter.since(before).reads == 50


def test_looked_up_again_it_is_as_it_has_become(sqlite_store: Store) -> None:
    episodes = Episodes(sqlite_store)
    resolve = add(sqlite_store, 2, "resolve", 1, "pending")
    episodes.look_up([resolve])
    assert episodes.before(resolve) == []
    trigger = add(sqlite_store, 1, "trigger", 1, "delivered")
    assert episodes.before(resolve) == []
    episodes.look_up([resolve])
    assert episodes.before(resolve) == [trigger.data]


@pytest.mark.parametrize("firing", [None, 1])
def test_where_the_firing_is_not_known_or_long_ago_the_lane_is_asked(sqlite_store: Store, firing: int | None) -> None:
    seq = MOST_EARLIER + 2
    trigger = add(sqlite_store, 1, "trigger", firing, "delivered")
    resolve = add(sqlite_store, seq, "resolve", firing, "pending")
    assert ids_before(resolve.data) is None
    counting = Counting(sqlite_store)
    assert Episodes(counting).before(resolve) == [trigger.data]
    assert (len(counting.gets), len(counting.queries)) == (0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_by_name_it_comes_to_the_same_as_by_the_lane(sqlite_store: Store, seed: int) -> None:
    """Histories as alerts have them: a firing ends where it was told, and by a channel that joined it in between."""
    dice = random.Random(seed)
    channels, seq = ("slack", "email", "pagerduty"), 0
    for _ in range(4):
        firing, told = seq + 1, set()
        for number in range(dice.randint(1, 5)):
            seq += 1
            for channel in dice.sample(channels, dice.randint(1, 3)):
                kind = "trigger" if number == 0 or channel not in told else "repeat"
                told.add(channel)
                add(sqlite_store, seq, kind, firing, dice.choice(["delivered", "dead", "withheld"]), channel=channel)
        seq += 1
        for channel in sorted(told):
            resolve = add(sqlite_store, seq, "resolve", firing, "delivered", channel=channel)
            found = Episodes(sqlite_store).before(resolve)
            plainly = Episodes(sqlite_store).before(without_firing(resolve))
            assert episode_before(found) == episode_before(plainly)
            assert resolve_is_pointless(found) == resolve_is_pointless(plainly)
            assert nobody_was_told(episode_before(found)) == nobody_was_told(episode_before(plainly))

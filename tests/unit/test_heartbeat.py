"""Uptime from heartbeats: the seconds in which an agent was expected, and in which of them it was up."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.domain.building import BLOCK_MS
from shared.domain.heartbeat import FORGOTTEN_AFTER_MS, Agents, Pace, Seen, uptime
from shared.domain.rollup import Stats

START = 1_773_144_000_000 // BLOCK_MS * BLOCK_MS
DAY = 86_400_000
NAMED = Agents(agents={"support": Pace(intervalSeconds=600, graceSeconds=60)})


def second_by_second(beats: Iterable[int], start: int, expected_from: int, lasts: int) -> tuple[int, int]:
    """Seconds expected and up, asked for each second by itself."""
    expected = [s for s in range(start // 1000, start // 1000 + 300) if s >= expected_from // 1000]
    times = list(beats)
    return len(expected), sum(any(b // 1000 <= s < (b + lasts) // 1000 for b in times) for s in expected)


@settings(max_examples=200)
@given(
    st.lists(st.integers(START - 3 * BLOCK_MS, START + 2 * BLOCK_MS), max_size=12),
    st.integers(START - 2 * BLOCK_MS, START + 2 * BLOCK_MS),
    st.integers(1, 900).map(lambda s: s * 1000),
    st.randoms(use_true_random=False),
)
def test_it_is_what_counting_each_second_gives(
    beats: list[int], expected_from: int, lasts: int, rng: random.Random
) -> None:
    expected, up = second_by_second(beats, START, expected_from, lasts)
    given_beats = beats + [b for b in beats if rng.random() < 0.3]
    rng.shuffle(given_beats)
    stats = uptime(given_beats, START, expected_from, lasts)
    if not expected:
        assert stats is None
        return
    assert stats is not None
    assert (stats.count, stats.total) == (expected, up)
    assert stats.weighted == 0


def counts(stats: Stats | None) -> tuple[int, float]:
    return (0, 0.0) if stats is None else (stats.count, stats.total)


@pytest.mark.parametrize(
    ("beats", "expected_from", "seconds"),
    [
        ([], START, (300, 0)),
        ([START - 60_000], START - DAY, (300, 30)),  # it reaches over the border
        ([START + 240_000], START - DAY, (300, 60)),  # and the rest into the next block
        ([START + 290_000, START + 10_000, START + 10_000], START, (300, 100)),
        ([START + 100_000], START + 100_000, (200, 90)),  # its first beat
        ([START + 100_999], START + 100_999, (200, 90)),
        ([], START + BLOCK_MS, (0, 0)),
    ],
)
def test_single_cases(beats: list[int], expected_from: int, seconds: tuple[int, int]) -> None:
    assert counts(uptime(beats, START, expected_from, 90_000)) == seconds


def test_an_agent_is_expected_until_a_week_after_its_last_beat_unless_it_is_named() -> None:
    seen = Seen(START, START + DAY)
    assert NAMED.is_expected("other", seen, START + DAY + FORGOTTEN_AFTER_MS - 1)
    assert not NAMED.is_expected("other", seen, START + DAY + FORGOTTEN_AFTER_MS)
    assert NAMED.is_expected("support", seen, START + 400 * DAY)


def test_what_two_runs_know_of_an_agent_comes_together_in_any_order() -> None:
    one, other = Seen(START, START + DAY), Seen(START - DAY, START)
    assert NAMED.joined("a", one, other) == NAMED.joined("a", other, one) == Seen(START - DAY, START + DAY)


def test_an_agent_that_was_forgotten_begins_anew_and_a_named_one_never_does() -> None:
    before, again = Seen(START, START), Seen(START + 9 * DAY, START + 10 * DAY)
    assert NAMED.joined("a", before, again) == NAMED.joined("a", again, before) == again
    assert NAMED.joined("support", before, again) == Seen(START, START + 10 * DAY)


@given(st.integers(START, START + 3 * BLOCK_MS), st.sampled_from(["other", "support"]))
def test_the_blocks_that_hang_on_a_beat_are_those_that_it_makes_up(beat: int, agent: str) -> None:
    lasts = NAMED.pace_of(agent).lasts_ms
    up = {
        block
        for block in range(START // BLOCK_MS - 2, START // BLOCK_MS + 12)
        if counts(uptime([beat], block * BLOCK_MS, 0, lasts))[1]
    }
    assert up <= NAMED.reach(agent, [beat])
    assert len(NAMED.reach(agent, [beat]) - up) <= 1


@pytest.mark.parametrize("name", ["", "-a", "a b", "ä", "a" * 64, "a/b"])
def test_names_that_no_agent_can_have_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no name of an agent"):
        Agents(agents={name: Pace()})

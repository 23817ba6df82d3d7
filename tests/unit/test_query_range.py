"""The time of a metric query: what is accepted, how it is aligned, and which levels it is read from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.building import BLOCK_MS
from shared.domain.query_range import DAY, HOUR, Range, Stored, aligned, iso, moment, step_blocks, step_text, usual_step

NOW = datetime(2026, 3, 10, 12, 2, 30, tzinfo=UTC)


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def block(*parts: int) -> int:
    return ms(*parts) // BLOCK_MS


TODAY = block(2026, 3, 10)
ALL = Stored(block(2026, 3, 10, 12), TODAY - 8 * DAY, TODAY - 90 * DAY, range(30_000), TODAY // DAY - 1)


def levels(span: Range, stored: Stored = ALL) -> list[tuple[int, str, str]]:
    return [(piece.step, piece.level, iso(piece.start)[5:16]) for piece in span.pieces(stored)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("-6h", NOW - timedelta(hours=6)),
        ("-90d", NOW - timedelta(days=90)),
        ("+30m", NOW + timedelta(minutes=30)),
        ("2026-03-10T11:00:00Z", datetime(2026, 3, 10, 11, tzinfo=UTC)),
        ("2026-03-10T12:00:00+01:00", datetime(2026, 3, 10, 11, tzinfo=UTC)),
        ("2026-03-10T12:00:00 01:00", datetime(2026, 3, 10, 11, tzinfo=UTC)),  # + in an address means a space
        ("2026-03-10 11:00", datetime(2026, 3, 10, 11, tzinfo=UTC)),
        ("2026-03-10", datetime(2026, 3, 10, tzinfo=UTC)),
        (str(ms(2026, 3, 10, 11)), datetime(2026, 3, 10, 11, tzinfo=UTC)),
    ],
)
def test_a_time_may_be_given_in_many_ways(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == int(expected.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "yesterday", "-6", "6h", "2026-13-01", "-999999999w", "9" * 30, "٣", "1e9"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|looks"):
        moment(text, NOW)


def test_seconds_are_told_from_milliseconds() -> None:
    with pytest.raises(ValueError, match="looks like seconds"):
        moment(str(ms(2026, 3, 10) // 1000), NOW)


@pytest.mark.parametrize(
    ("text", "blocks"), [("5m", 1), ("15m", 3), ("60m", 12), ("1h", 12), ("25h", 300), ("1d", 288), ("1w", 2016)]
)
def test_a_step_is_a_number_of_blocks(text: str, blocks: int) -> None:
    assert step_blocks(text) == blocks
    assert step_blocks(step_text(blocks)) == blocks


@pytest.mark.parametrize("text", ["", "0m", "7m", "30s", "-1h", "1", "h", "1.5h", "9999999d"])
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="multiple of 5 minutes"):
        step_blocks(text)


# --- alignment


def test_a_range_is_rounded_outward_to_whole_blocks_and_ends_with_the_running_block() -> None:
    first, end = aligned(ms(2026, 3, 10, 9, 7), ms(2026, 3, 10, 11, 1), ALL)
    assert (iso(first), iso(end)) == ("2026-03-10T09:05:00Z", "2026-03-10T11:05:00Z")
    assert iso(aligned(ms(2026, 3, 10, 9, 7), ms(2026, 3, 10, 13), ALL)[1]) == "2026-03-10T12:05:00Z"


def test_a_range_may_be_had_without_the_running_block() -> None:
    for to, end in ((ms(2026, 3, 10, 13), "2026-03-10T12:00:00Z"), (ms(2026, 3, 10, 11, 1), "2026-03-10T11:05:00Z")):
        assert iso(aligned(ms(2026, 3, 10, 9, 7), to, ALL, running=False)[1]) == end
    first, end_block = aligned(ms(2026, 3, 10, 12), ms(2026, 3, 10, 13), ALL, running=False)
    assert first == end_block


def test_where_blocks_are_gone_a_range_is_rounded_outward_to_whole_hours() -> None:
    first, end = aligned(ms(2026, 2, 20, 9, 7), ms(2026, 2, 20, 11, 1), ALL)
    assert (iso(first), iso(end)) == ("2026-02-20T09:00:00Z", "2026-02-20T12:00:00Z")


def test_a_range_after_the_running_block_is_empty() -> None:
    first, end = aligned(ms(2026, 3, 10, 12, 5), ms(2026, 3, 10, 13), ALL)
    assert first == end
    assert Range(first, end, 1).points == 0
    assert list(Range(first, end, 1).steps()) == []


def test_a_range_is_empty_if_nothing_was_ever_folded() -> None:
    nothing = Stored(None, 0, 0, (), -1)
    first, end = aligned(ms(2026, 3, 10, 9), ms(2026, 3, 10, 11), nothing)
    assert first == end


# --- levels


def test_steps_of_blocks_are_read_from_blocks() -> None:
    assert levels(Range(TODAY + 1, TODAY + 4, 1)) == [
        (0, "m5", "03-10T00:05"),
        (1, "m5", "03-10T00:10"),
        (2, "m5", "03-10T00:15"),
    ]


def test_steps_of_hours_are_read_from_hours_and_ragged_edges_from_blocks() -> None:
    assert levels(Range(TODAY + 11, TODAY + 2 * HOUR + 1, HOUR)) == [
        (0, "m5", "03-10T00:55"),
        (1, "h1", "03-10T01:00"),
        (2, "m5", "03-10T02:00"),
    ]


def test_a_closed_day_is_read_whole_and_an_open_one_from_its_hours() -> None:
    span = Range(TODAY - DAY, TODAY + 2 * HOUR, DAY)
    assert levels(span) == [(0, "d1", "03-09T00:00"), (1, "h1", "03-10T00:00"), (1, "h1", "03-10T01:00")]


def test_a_whole_day_that_is_not_closed_yet_is_read_from_its_hours() -> None:
    stored = Stored(TODAY, ALL.blocks_from, ALL.hours_from, ALL.days, TODAY // DAY - 2)
    assert {level for _, level, _ in levels(Range(TODAY - DAY, TODAY, DAY), stored)} == {"h1"}


def test_a_day_without_data_is_not_read() -> None:
    stored = Stored(ALL.complete_until, ALL.blocks_from, ALL.hours_from, {TODAY // DAY}, ALL.closed_through)
    assert levels(Range(TODAY - 5 * DAY, TODAY + 1, DAY), stored) == [(5, "m5", "03-10T00:00")]


spans = st.builds(
    lambda first, length, step: Range(TODAY - first, TODAY - first + length, step),
    st.integers(0, 3 * DAY),
    st.integers(1, 3 * DAY),
    st.sampled_from([1, 2, 3, 5, 7, 11, 12, 24, 35, 144, 288, 576, 1000]),
)


@given(spans)
def test_steps_cover_the_range_once_and_pieces_cover_each_step_once(span: Range) -> None:
    steps = list(span.steps())
    assert len(steps) == span.points
    assert [start for start, _ in steps] == [span.first, *(stop for _, stop in steps[:-1])]
    assert steps[-1][1] == span.end
    assert all(start % span.step == 0 for start, _ in steps[1:])
    size = {"m5": 1, "h1": HOUR, "d1": DAY}
    read = [(p.step, b) for p in span.pieces(ALL) for b in range(p.start, p.start + size[p.level])]
    assert read == [(n, b) for n, (start, stop) in enumerate(steps) for b in range(start, stop)]


def test_the_usual_step_grows_with_the_range() -> None:
    assert [step_text(usual_step(TODAY - n * DAY, TODAY, ALL)) for n in (1, 7, 30, 90)] == ["5m", "1h", "1d", "1d"]
    assert step_text(usual_step(TODAY - 20 * DAY, TODAY - 19 * DAY, ALL)) == "1h"

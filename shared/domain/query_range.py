"""The time of a metric query: what is asked for, the steps, and which stored levels each step is read from.

Times are numbers of 5-minute blocks since 1970, so an hour is 12 and a UTC day 288, and every step is aligned to
midnight UTC by arithmetic alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from shared.domain.building import BLOCK_MS
from shared.domain.exclusion import Span, remaining

HOUR = 12
DAY = 288
MAX_POINTS = 1500
MAX_FINE_SPANS = 20
NICE_STEPS = (1, 3, 6, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 7 * DAY)

Level = Literal["m5", "h1", "d1"]
_SIZES: tuple[tuple[Level, int], ...] = (("d1", DAY), ("h1", HOUR), ("m5", 1))
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_RELATIVE = re.compile(r"([+-])(\d{1,9})([smhdw])")
_STEP = re.compile(r"(\d{1,6})([mhdw])")
_LATEST_MS = 253_402_300_799_000  # the last second of the year 9999


@dataclass(frozen=True, slots=True)
class Stored:
    """What there is to read. `complete_until`: the block in which the last complete fold ran; None if none ever did.

    All that had come by then of earlier blocks is folded. That block is the running one: it holds what was folded of
    it so far, and so may still grow.
    5-minute blocks are kept from block `blocks_from` on, hours and days from `hours_from` on. `days`: the numbers of
    the days since 1970 that have data; those up to `closed_through` have a rollup of the whole day, if not too old.
    """

    complete_until: int | None
    blocks_from: int
    hours_from: int
    days: Collection[int]
    closed_through: int


class Piece(NamedTuple):
    """One unit of a level: `start` is the first of its blocks. `step` numbers the step that it belongs to."""

    step: int
    level: Level
    start: int


@dataclass(frozen=True, slots=True)
class Range:
    """Blocks `first` … `end` - 1 in steps of `step` blocks. The first and the last step may be cut."""

    first: int
    end: int
    step: int

    def steps(self) -> Iterator[tuple[int, int]]:
        """First block and end of each step."""
        start = self.first
        while start < self.end:
            stop = min((start // self.step + 1) * self.step, self.end)
            yield start, stop
            start = stop

    @property
    def points(self) -> int:
        return -(-self.end // self.step) - self.first // self.step if self.end > self.first else 0

    def pieces(self, stored: Stored) -> Iterator[Piece]:
        """The coarsest units that fit each step, in order of time; days without data are left out."""
        for number, (start, stop) in enumerate(self.steps()):
            while start < stop:
                level, size = next(
                    (level, size)
                    for level, size in _SIZES
                    if start % size == 0
                    and start + size <= stop
                    and (size < DAY or start // DAY <= stored.closed_through)
                )
                if start // DAY in stored.days:
                    yield Piece(number, level, start)
                start += size


def without(first: int, end: int, excluded: Sequence[Span], blocks_from: int) -> list[tuple[int, int]]:
    """What is left of blocks `first` … `end` - 1 without `excluded`, which is merged: beginnings and ends.

    Where no blocks are kept (before `blocks_from`), or with very many exclusions, an hour that one of them touches is
    left out whole: so what it takes to read the rest is bounded.
    """
    spans = [(_block_of(span.start), _block_of(span.end)) for span in remaining(_time(first), _time(end), excluded)]
    if len(spans) > MAX_FINE_SPANS:
        blocks_from = end
    found = []
    for start, stop in spans:
        if first < start < blocks_from:
            start = -(-start // HOUR) * HOUR
        if stop < min(end, blocks_from):
            stop = stop // HOUR * HOUR
        if start < stop:
            found.append((start, stop))
    return found


def _time(block: int) -> datetime:
    return datetime.fromtimestamp(block * BLOCK_MS // 1000, UTC)


def _block_of(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000 // BLOCK_MS


def moment(text: str, now: datetime) -> int:
    """Milliseconds since 1970 of `now`, `-6h`, ISO 8601 (UTC unless it says otherwise) or milliseconds themselves.

    Raises ValueError with a sentence.
    """
    now_ms = int(now.timestamp() * 1000)
    if text == "now":
        return now_ms
    if relative := _RELATIVE.fullmatch(text):
        milliseconds = int(relative[2]) * _SECONDS[relative[3]] * 1000
        found = now_ms + (milliseconds if relative[1] == "+" else -milliseconds)
    elif text.isascii() and text.isdecimal():
        found = int(text[:18])
        if found < 100_000_000_000:
            raise ValueError("a number is milliseconds since 1970, and this looks like seconds")
    else:
        found = _iso_ms(text)
    if not 0 <= found <= _LATEST_MS:
        raise ValueError("must lie between 1970 and 9999")
    return found


def _iso_ms(text: str) -> int:
    try:
        if "T" in text:  # a plus sign that was not encoded in the address arrives as a space
            text = re.sub(r" (\d\d:?\d\d)$", r"+\1", text)
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        message = "must be ISO 8601 such as 2026-03-01T12:00:00Z, milliseconds since 1970, now, or relative such as -6h"
        raise ValueError(message) from None


def step_blocks(text: str) -> int:
    """Blocks of a step such as `5m`, `1h`, `1d`. Raises ValueError with a sentence."""
    found = _STEP.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if seconds == 0 or seconds * 1000 % BLOCK_MS:
        raise ValueError("must be a multiple of 5 minutes, such as 5m, 1h or 1d")
    return seconds * 1000 // BLOCK_MS


def step_text(blocks: int) -> str:
    """`5m`, `1h`, `1d`: the largest unit that fits."""
    for unit, size in (("d", DAY), ("h", HOUR)):
        if blocks % size == 0:
            return f"{blocks // size}{unit}"
    return f"{blocks * 5}m"


def usual_step(first: int, end: int, stored: Stored) -> int:
    """A step that reads cheaply and draws well: blocks for a day, hours for eight, then days."""
    if end - first <= DAY + HOUR and first >= stored.blocks_from:
        return 1
    return HOUR if end - first <= 8 * DAY + HOUR else DAY


def step_that_fits(blocks: int, smallest: int = 1) -> str:
    """The smallest usual step that makes no more than `MAX_POINTS` of so many blocks."""
    usual = (s for s in NICE_STEPS if s >= smallest and -(-blocks // s) < MAX_POINTS)
    return step_text(next(usual, NICE_STEPS[-1]))


def aligned(from_ms: int, to_ms: int, stored: Stored, *, running: bool = True) -> tuple[int, int]:
    """First block and end of what is really read: outward to whole blocks, where those are gone to whole hours.

    Never past the running block, and only up to it if `running` is false; nothing at all (the end is the first) if no
    fold was ever complete.
    """
    first, end = from_ms // BLOCK_MS, -(-to_ms // BLOCK_MS)
    end = min(end, first if stored.complete_until is None else stored.complete_until + running)
    if first < stored.blocks_from:
        first = first // HOUR * HOUR
    if end < stored.blocks_from:
        end = -(-end // HOUR) * HOUR
    return first, max(first, end)


def iso(block: int) -> str:
    """A block's beginning as ISO 8601 in UTC."""
    return datetime.fromtimestamp(block * BLOCK_MS // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""A chart of series over time in characters: braille dots, or letters where there is no braille or no colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from scripts.ops.screen import Screen, padded, width_of

HEIGHT = 12  # lines of the plot
DRAWN = 8  # series; more are only listed
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell, by row and column
_MINUTES = (5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 4320, 10_080, 20_160, 43_200)
_DAY = 1440
_SMALLEST, _LARGEST = 1e-300, 1e300  # beyond them even a difference of two values may be no number any more
_FLAT = 1e-9  # of the largest value: less than that between the highest and the lowest is drawn as a level line


@dataclass(frozen=True, slots=True)
class Line:
    """`points`: time (ms) in the middle of its step, and value; None where there is no data."""

    points: Sequence[tuple[float, float | None]]

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.points if value is not None]


def chart(lines: Sequence[Line], first: int, last: int, unit: str, screen: Screen) -> list[str]:
    """`first` and `last`: ms at the left and at the right edge. Series are told apart by colour, else by letters."""
    values = [_drawable(value) for line in lines for value in line.values]
    if not values or last <= first:
        return []
    ticks = _ticks(min(values), max(values))
    labels = [figure(tick, unit) for tick in ticks]
    margin = max(map(width_of, labels)) + 2
    columns = screen.width - margin - 1
    low, high = ticks[0], ticks[-1]
    letters = not screen.braille or (len(lines) > 1 and not screen.colours)
    canvas = _Canvas(columns, letters)
    across = 1 if letters else 2
    down = 1 if letters else 4
    for number, line in enumerate(lines):
        before: tuple[int, int] | None = None
        for moment, value in line.points:
            if value is None:
                before = None
                continue
            x = min(columns * across - 1, max(0, int((moment - first) / (last - first) * columns * across)))
            y = round((high - _drawable(value)) / (high - low) * (HEIGHT * down - 1))
            for dot in [(x, y)] if before is None or letters else _between(before, (x, y)):
                canvas.set(*dot, number)
            before = (x, y)
    at = {round((high - tick) / (high - low) * (HEIGHT - 1)): label for tick, label in zip(ticks, labels, strict=True)}
    bar, tee = ("│", "┤") if screen.braille else ("|", "+")
    plot = [
        padded(at.get(row, ""), margin - 1, right=True)
        + screen.dim(tee if row in at else bar)
        + canvas.row(row, screen)
        for row in range(HEIGHT)
    ]
    return [line.rstrip() for line in [*plot, *_time_axis(first, last, margin, columns, screen)]]


class _Canvas:
    def __init__(self, columns: int, letters: bool) -> None:
        self._letters = letters
        self._columns = columns
        self._cells: dict[tuple[int, int], tuple[int, int]] = {}  # row and column → dots and series

    def set(self, x: int, y: int, number: int) -> None:
        if self._letters:
            self._cells[y, x] = (0, number)
            return
        place = (y // 4, x // 2)
        dots, _ = self._cells.get(place, (0, number))
        self._cells[place] = (dots | _DOTS[y % 4][x % 2], number)

    def row(self, row: int, screen: Screen) -> str:
        cells = [self._cells.get((row, column), (0, -1)) for column in range(self._columns)]
        text = ""
        for number, run in groupby(cells, key=lambda cell: cell[1]):
            marks = "".join(letter(number) if self._letters else chr(0x2800 + dots) for dots, _ in run)
            text += " " * len(marks) if number < 0 else screen.paint(marks, number)
        return text


def letter(number: int) -> str:
    return chr(ord("a") + number % 26)


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Dots of a straight line, both ends included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for n in range(steps + 1):
        yield (
            start[0] + round((end[0] - start[0]) * n / steps),
            start[1] + round((end[1] - start[1]) * n / steps),
        )


def _drawable(value: float) -> float:
    """The value itself, or the nearest that can be reckoned with."""
    return 0.0 if abs(value) < _SMALLEST else min(max(value, -_LARGEST), _LARGEST)


def _ticks(low: float, high: float) -> list[float]:
    """Round values from below the lowest to above the highest; from 0 unless all lie close together far from it."""
    if low == high == 0:
        high = 1.0
    elif high - low < _FLAT * max(abs(low), abs(high)):
        low, high = min(low, 0.0), max(high, 0.0)
    elif low >= 0 and high - low > 0.25 * high:
        low = 0.0
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(start, max(stop, start + 1) + 1)]


def figure(value: float | None, unit: str) -> str:
    """A number with four digits that count, and its unit."""
    if value is None:
        return "–"
    if value == 0:
        text = "0"
    elif 1e-4 <= abs(value) < 1e15:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:.3g}"
    return text if unit == "count" else f"{text} {unit}"


def _time_axis(first: int, last: int, margin: int, columns: int, screen: Screen) -> list[str]:
    """The line below the plot and the times below it, in UTC."""
    minutes = (last - first) / 60_000
    interval = next((m for m in _MINUTES if minutes / m * 8 <= columns), _MINUTES[-1])
    rule = ["─" if screen.braille else "-"] * columns
    text = " " * (margin + columns + 8)
    free = 0
    for moment in _marks(first, last, interval):
        column = min(columns - 1, int((moment.timestamp() * 1000 - first) / (last - first) * columns))
        is_day = interval >= _DAY or (moment.hour, moment.minute) == (0, 0)
        label = f"{moment:%b} {moment.day}" if is_day else f"{moment:%H:%M}"
        start = min(margin + column, margin + columns - len(label))
        if start < free:
            continue
        rule[column] = "┬" if screen.braille else "+"
        text = text[:start] + label + text[start + len(label) :]
        free = start + len(label) + 1
    corner = "└" if screen.braille else "+"
    return [" " * (margin - 1) + screen.dim(corner + "".join(rule)), text]


def _marks(first: int, last: int, interval: int) -> Iterator[datetime]:
    """Times at whole multiples of the interval since midnight, or whole days."""
    day = utc(first).replace(hour=0, minute=0, second=0, microsecond=0)
    for n in range(10_000):
        moment = day + timedelta(minutes=n * interval)
        seconds = moment.timestamp() * 1000
        if seconds >= last:
            return
        if seconds >= first:
            yield moment


def utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)

"""The terminal: how wide it is, and whether it shows colours and braille. And tables that fit it."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

NARROWEST = 40
_COLOURS = (36, 33, 35, 32, 34, 31, 96, 93)
_DIM, _BOLD = 2, 1
_SHORTEST = 8  # columns that a cut cell keeps
_WRAPPED = 16  # and one that is wrapped


@dataclass(frozen=True, slots=True)
class Screen:
    """`whole`: tables are as wide as they need to be."""

    out: TextIO
    width: int
    colours: bool
    braille: bool
    whole: bool = False

    @staticmethod
    def of(out: TextIO, env: Mapping[str, str]) -> Screen:
        """Colours only on a terminal, and not where NO_COLOR is set (https://no-color.org). Off it nothing is cut."""
        terminal = out.isatty()
        colours = terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        try:
            "⣿│•…–≤".encode(out.encoding or "ascii")
            braille = True
        except (UnicodeError, LookupError):
            braille = False
        width = max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)
        return Screen(out, width, colours, braille, whole=not terminal)

    def write(self, text: str) -> None:
        if not self.braille:
            encoding = self.out.encoding or "ascii"
            plain = text.replace("…", ".").replace("–", "-")
            text = plain.encode(encoding, "replace").decode(encoding)
        self.out.write(text if text.endswith("\n") else text + "\n")
        self.out.flush()

    def paint(self, text: str, number: int) -> str:
        """In the colour of series `number`."""
        return self._painted(text, _COLOURS[number % len(_COLOURS)])

    def dim(self, text: str) -> str:
        return self._painted(text, _DIM)

    def bold(self, text: str) -> str:
        return self._painted(text, _BOLD)

    def _painted(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and text.strip() else text


def width_of(text: str) -> int:
    """Columns that a text takes: wide characters two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    kept = ""
    for character in text:
        if width_of(kept + character) > width - 1:
            break
        kept += character
    return kept + "…"


def padded(text: str, width: int, right: bool = False) -> str:
    space = " " * max(0, width - width_of(text))
    return space + text if right else text + space


def _narrowest(heads: Sequence[str], rows: Sequence[Sequence[str]], wrapped: int | None) -> int:
    """Columns that the table takes when nothing is cut, and `wrapped` is as narrow as it may be."""
    widths = [max(width_of(row[n]) for row in (heads, *rows)) for n in range(len(heads))]
    return sum(min(w, _WRAPPED) if n == wrapped else w for n, w in enumerate(widths)) + 2 * (len(widths) - 1)


def table(
    screen: Screen,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int],
    wrapped: int | None = None,
    kept: Sequence[int] = (),
    spare: Sequence[int] = (),
) -> list[str]:
    """Lines of a table. Columns in `numbers` are set to the right; they and those in `kept`, as ids are, are never cut.

    To fit the screen, unless it takes tables whole, the column `wrapped` goes on in further lines, those in `spare`
    are left out one by one, the first first, then the widest of the others are cut; where that is not enough, the last
    columns are left out.
    """
    if spare and not screen.whole and _narrowest(heads, rows, wrapped) > screen.width:
        gone = spare[0]

        def left(columns: Sequence[int]) -> list[int]:
            return [n - (n > gone) for n in columns if n != gone]

        rest = [[cell for n, cell in enumerate(row) if n != gone] for row in (heads, *rows)]
        wraps = left([] if wrapped is None else [wrapped])
        return table(screen, rest[0], rest[1:], left(numbers), wraps[0] if wraps else None, left(kept), left(spare))
    widths = [max(width_of(row[n]) for row in (heads, *rows)) for n in range(len(heads))]
    while sum(widths) + 2 * (len(widths) - 1) > screen.width and not screen.whole:
        cuttable = [n for n in range(len(widths)) if n not in (*numbers, *kept, wrapped)]
        widest = max(cuttable, key=lambda n: widths[n], default=None)
        if wrapped is not None and wrapped < len(widths) and widths[wrapped] > _WRAPPED:
            widths[wrapped] -= 1
        elif widest is not None and widths[widest] > _SHORTEST:
            widths[widest] -= 1
        else:
            widths.pop()

    def line(row: Sequence[str]) -> str:
        cells = (padded(cut(cell, w), w, n in numbers) for n, (cell, w) in enumerate(zip(row, widths, strict=False)))
        return "  ".join(cells).rstrip()

    def lines(row: Sequence[str]) -> list[str]:
        if wrapped is None or wrapped >= len(widths):
            return [line(row)]
        first, *more = textwrap.wrap(row[wrapped], widths[wrapped]) or [""]
        further = [["" if n != wrapped else part for n in range(len(row))] for part in more]
        return [line([*row[:wrapped], first, *row[wrapped + 1 :]]), *map(line, further)]

    return [screen.dim(line(heads)), *(text for row in rows for text in lines(row))]

"""What the demo says: sentences with times, colours and a live line only where somebody looks at a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_UNIT = re.compile(r"(\d) (ms|%|minutes?)")


class Terminal:
    """`clock` gives the time that is shown, in seconds since 1970."""

    def __init__(self, out: TextIO = sys.stdout, clock: Callable[[], float] | None = None) -> None:
        self.clock = clock
        self.is_tty = out.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = self.is_tty and not os.environ.get("NO_COLOR")
        self._out = out
        self._live = False

    def paint(self, text: str, colour: str) -> str:
        return f"\033[{_CODES[colour]}m{text}\033[0m" if self._colours and colour else text

    def plain(self, text: str = "") -> None:
        self._erase()
        self._out.write(text + "\n")
        self._out.flush()

    def title(self, text: str) -> None:
        self.plain()
        self.plain("  " + self.paint(text, "bold"))
        self.plain()

    def say(self, text: str, mark: str = " ", colour: str = "") -> None:
        """A sentence with the time before it."""
        time = self.paint(_hhmmss(self.clock()) if self.clock else " " * 8, "dim")
        first, *more = _wrap(text, self._width() - 14)
        self.plain(f"  {time}  {self.paint(mark, colour)} {self.paint(first, colour)}")
        for line in more:
            self.plain(" " * 14 + self.paint(line, colour))

    def box(self, lines: Iterable[str], colour: str) -> None:
        for text in lines:
            for line in _wrap(text, self._width() - 18):
                self.plain(" " * 14 + self.paint("│ ", colour) + line)

    def live(self, text: str) -> None:
        """Show `text` below everything, in the place of the one before; nothing where there is no terminal."""
        if self.is_tty:
            self._erase()
            self._out.write(self.paint("            · " + text[: self._width() - 14], "dim"))
            self._out.flush()
            self._live = True

    def _erase(self) -> None:
        if self._live:
            self._out.write("\r\033[2K")
            self._live = False

    def _width(self) -> int:
        return max(60, min(110, shutil.get_terminal_size().columns))


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width`; a number stays with its unit."""
    return textwrap.wrap(_UNIT.sub("\\1\u00a0\\2", text), width) or [""]


def _hhmmss(seconds: float) -> str:
    day = int(seconds) % 86_400
    return f"{day // 3600:02}:{day // 60 % 60:02}:{day % 60:02}"

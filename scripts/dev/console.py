"""What the terminal shows: one readable line for each thing that happens. Colours only on a terminal."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

_CODES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_SHADES = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow"}
_OF_LOG = ("severity", "message", "time", "stack", "exception", "logging.googleapis.com/trace")


class Console:
    """Lines go to `stream` whole, from any thread. `now` gives the time in front of them."""

    def __init__(self, stream: TextIO, now: Callable[[], datetime]) -> None:
        self._stream = stream
        self._now = now
        self._lock = threading.Lock()
        self._local = threading.local()
        self._colours = stream.isatty() and not os.environ.get("NO_COLOR")

    def paint(self, text: str, shade: str) -> str:
        return f"\x1b[{_CODES[shade]}m{text}\x1b[0m" if self._colours and text else text

    def write(self, text: str) -> None:
        with self._lock:
            try:
                self._stream.write(text + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                pass  # the terminal is gone; the server is about to be told so

    def tell(self, what: str, subject: str, text: str = "", shade: str = "") -> None:
        """`12:00:00  schedule  alertRules     200 in 12 ms …`"""
        time = self.paint(f"{self._now().astimezone(UTC):%H:%M:%S}", "dim")
        shown = self.paint(_printable(text), shade) if shade else _printable(text)
        self.write(f"{time}  {self.paint(f'{what:<8}', 'cyan')}  {_printable(subject):<14} {shown}".rstrip())

    @contextmanager
    def inside(self, function_id: str) -> Iterator[None]:
        """Log lines that this thread prints meanwhile bear the function's name."""
        self._local.function = function_id
        try:
            yield
        finally:
            self._local.function = ""

    def log_line(self, line: str) -> None:
        """A line that a function printed: shared/log.py's JSON made readable, others as they are."""
        try:
            entry: Any = json.loads(line)
        except ValueError:
            entry = None
        function = getattr(self._local, "function", "")
        if not isinstance(entry, dict) or "message" not in entry:
            if line.strip():
                self.tell("print", function, line)
            return
        severity = str(entry.get("severity", "INFO"))
        fields = " ".join(f"{k}={_short(v)}" for k, v in entry.items() if k not in _OF_LOG)
        problem = f"({entry['exception']})" if "exception" in entry else ""
        text = " ".join(part for part in (str(entry["message"]), problem, fields) if part)
        self.tell("log" if severity == "INFO" else severity.lower(), function, text, _SHADES.get(severity, ""))
        for frame in entry.get("stack", [])[-6:]:
            self.write(self.paint(f"{'':10}{'':25}{_printable(str(frame))}", "dim"))


class FunctionOutput:
    """Stands in for sys.stdout in the process that runs the functions; `print` comes in pieces, lines go out whole."""

    encoding = "utf-8"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._local = threading.local()

    def write(self, text: str) -> int:
        *lines, rest = (getattr(self._local, "rest", "") + text).split("\n")
        self._local.rest = rest
        for line in lines:
            self._console.log_line(line)
        return len(text)

    def flush(self) -> None:
        """Lines are flushed when they are whole."""

    def isatty(self) -> bool:
        return False


def of_terminal(now: Callable[[], datetime]) -> Console:
    return Console(sys.stdout, now)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:119] + "…"


def _printable(text: str) -> str:
    """What others sent must not steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)

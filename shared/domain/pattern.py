"""Patterns of matchers: regular expressions that always match whole texts, in time linear in the text.

Python's own engine backtracks, so that a pattern such as `(a+)+b`, typed by a person at night, could stop every
delivery. This one walks all ways at once (Thompson 1968) and never goes back. It knows literals, `.`, classes, groups,
`|`, `*`, `+`, `?` and `{m,n}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

LONGEST = 200  # characters of a pattern
MOST_STATES = 2000  # of the automaton: `{m,n}` copies what it repeats
MOST_REPEATS = 100
MOST_DEPTH = 40

_Ranges = tuple[tuple[str, str], ...]
_CLASSES: dict[str, _Ranges] = {
    "d": (("0", "9"),),
    "w": (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")),
    "s": ((" ", " "), ("\t", "\r")),
}
_LAST = "\U0010ffff"


class PatternError(ValueError):
    """A pattern that cannot be used; the text says why."""


class Pattern:
    """A compiled pattern. `matches` tells whether the whole of a text is one of its texts."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise PatternError(f"a pattern has at most {LONGEST} characters")
        self.text = text
        self._chars: list[tuple[_Ranges, int]] = []  # a state that reads one character: which, and the state after
        self._forks: dict[int, list[int]] = {}  # a state that reads nothing: the states that it may go on to
        end = self._add_fork([])
        self._end = end
        self._start = self._build(_Parser(text).whole(), end)

    def matches(self, text: str) -> bool:
        states = self._reach([self._start])
        for char in text:
            after = [self._chars[s][1] for s in states if s not in self._forks and _within(char, self._chars[s][0])]
            states = self._reach(after)
            if not states:
                return False
        return self._end in states

    def _reach(self, states: Iterable[int]) -> set[int]:
        seen: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in seen:
                seen.add(state)
                waiting += self._forks.get(state, ())
        return seen

    def _add(self, ranges: _Ranges, then: int) -> int:
        if len(self._chars) >= MOST_STATES:
            raise PatternError("the pattern repeats too much: write it with fewer or smaller {m,n}")
        self._chars.append((ranges, then))
        return len(self._chars) - 1

    def _add_fork(self, ways: list[int]) -> int:
        state = self._add((), -1)
        self._forks[state] = ways
        return state

    def _build(self, node: Any, then: int) -> int:
        """The state that reads `node` and goes on to `then`."""
        kind = node[0]
        if kind == "one":
            return self._add(node[1], then)
        if kind == "all":
            for part in reversed(node[1]):
                then = self._build(part, then)
            return then
        if kind == "any":
            return self._add_fork([self._build(part, then) for part in node[1]])
        _, part, least, most = node
        if most is None:
            fork = self._add_fork([])
            self._forks[fork] = [self._build(part, fork), then]
            start = fork
        else:
            start = then
            for _ in range(most - least):
                start = self._add_fork([self._build(part, start), then])
        for _ in range(least):
            start = self._build(part, start)
        return start


@lru_cache(maxsize=512)
def compiled(text: str) -> Pattern:
    """Raises `PatternError`."""
    return Pattern(text)


def _within(char: str, ranges: _Ranges) -> bool:
    return any(low <= char <= high for low, high in ranges)


def _complement(ranges: Iterable[tuple[str, str]]) -> _Ranges:
    found: list[tuple[str, str]] = []
    at = 0
    for low, high in sorted(ranges):
        if ord(low) > at:
            found.append((chr(at), chr(ord(low) - 1)))
        at = max(at, ord(high) + 1)
    if at <= ord(_LAST):
        found.append((chr(at), _LAST))
    return tuple(found)


class _Parser:
    def __init__(self, text: str) -> None:
        # Matching is always of the whole text, so that anchors at the ends say nothing new.
        self.text = text.removeprefix("^")
        if self.text.endswith("$") and not self._escaped_at(len(self.text) - 1):
            self.text = self.text[:-1]
        self.at = 0
        self.depth = 0

    def _escaped_at(self, place: int) -> bool:
        before = self.text[:place]
        return bool((len(before) - len(before.rstrip("\\"))) % 2)

    def whole(self) -> Any:
        node = self.ways()
        if self.at < len(self.text):
            raise PatternError(f"`{self.text[self.at]}` at place {self.at + 1} closes nothing")
        return node

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise PatternError("the pattern ends in the middle")
        self.at += 1
        return char

    def ways(self) -> Any:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise PatternError(f"groups are nested more than {MOST_DEPTH} deep")
        ways = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            ways.append(self.sequence())
        self.depth -= 1
        return ways[0] if len(ways) == 1 else ("any", ways)

    def sequence(self) -> Any:
        parts = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated())
        return ("all", parts)

    def repeated(self) -> Any:
        node = self.atom()
        limits = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self.peek() in limits and self.peek():
            node = ("repeat", node, *limits[self.take()])
        elif self.peek() == "{":
            node = ("repeat", node, *self.count())
        if self.peek() and self.peek() in "*+?{":
            raise PatternError(f"`{self.peek()}` at place {self.at + 1} repeats a repetition: put it in a group")
        return node

    def count(self) -> tuple[int, int | None]:
        end = self.text.find("}", self.at)
        inside = self.text[self.at + 1 : end] if end > 0 else ""
        least, comma, most = inside.partition(",")
        numbers = [least] if not most else [least, most]
        if not all(n.isascii() and n.isdecimal() and len(n) <= 3 for n in numbers):
            raise PatternError("`{` begins a number of repetitions, such as {2} or {1,3}; write \\{ for the sign")
        low = int(least)
        high = int(most) if most else (None if comma else low)
        if low > MOST_REPEATS or (high is not None and not low <= high <= MOST_REPEATS):
            raise PatternError(f"repetitions go from few to many, {MOST_REPEATS} at most")
        self.at = end + 1
        return low, high

    def atom(self) -> Any:
        char = self.take()
        if char == "(":
            if self.peek() == "?":
                if not self.text.startswith("?:", self.at):
                    raise PatternError("of the groups with (? only (?:…) is known")
                self.at += 2
            node = self.ways()
            if self.take() != ")":
                raise PatternError("a group is not closed")
            return node
        if char == "[":
            return ("one", self.char_class())
        if char == ".":
            return ("one", ((chr(0), _LAST),))
        if char == "\\":
            return ("one", self.escape())
        if char in "*+?{":
            raise PatternError(f"`{char}` at place {self.at} repeats nothing")
        if char in "^$":
            raise PatternError(
                f"`{char}` in the middle: a pattern always means the whole text; write \\{char} for the sign"
            )
        return ("one", ((char, char),))

    def escape(self) -> _Ranges:
        char = self.take()
        if char.lower() in _CLASSES:
            ranges = _CLASSES[char.lower()]
            return ranges if char.islower() else _complement(ranges)
        if char.isascii() and char.isalnum():
            raise PatternError(f"`\\{char}` is not known; there are \\d \\w \\s \\D \\W \\S and signs such as \\.")
        return ((char, char),)

    def char_class(self) -> _Ranges:
        negated = self.peek() == "^"
        self.at += negated
        ranges: list[tuple[str, str]] = []
        first = True
        while first or self.peek() != "]":
            first = False
            low = self.class_part()
            if (
                len(low) == 1
                and low[0][0] == low[0][1]
                and self.peek() == "-"
                and self.text[self.at + 1 : self.at + 2] != "]"
            ):
                self.at += 1
                high = self.class_part()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise PatternError("a range in a class goes from a low sign to a high one, such as a-z")
                low = ((low[0][0], high[0][0]),)
            ranges += low
        self.at += 1
        return _complement(ranges) if negated else tuple(ranges)

    def class_part(self) -> _Ranges:
        char = self.take()
        return self.escape() if char == "\\" else ((char, char),)

"""Agents that say from time to time that they are there; a missing beat is downtime."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.domain.building import BLOCK_MS
from shared.domain.rollup import Stats, stats_of

METRIC = "agent_uptime"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAX_AGENTS = 500
FORGOTTEN_AFTER_MS = 7 * 86_400_000  # an agent that is not named in the configuration, after its last beat
KEPT_MS = FORGOTTEN_AFTER_MS + 3 * 86_400_000  # what comes late may still change a block in which it was expected


class Pace(BaseModel):
    """An agent beats every `intervalSeconds`, and may be late by `graceSeconds`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intervalSeconds: int = Field(default=60, ge=1, le=3600)
    graceSeconds: int = Field(default=30, ge=0, le=3600)

    @property
    def lasts_ms(self) -> int:
        return (self.intervalSeconds + self.graceSeconds) * 1000


class Seen(NamedTuple):
    """Since when an agent is expected, and its last beat as far as it was noted (milliseconds)."""

    first: int
    last: int


class Agents(BaseModel):
    """`config/agents.json`. Those named here are expected always, others from their first beat on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Pace = Pace()
    agents: dict[str, Pace] = {}

    @model_validator(mode="after")
    def _names_are_sound(self) -> Agents:
        wrong = sorted(name for name in self.agents if not NAME.fullmatch(name))
        if wrong:
            raise ValueError(f"no name of an agent: {', '.join(map(repr, wrong))}; letters, digits, . _ and -")
        return self

    def pace_of(self, agent: str) -> Pace:
        return self.agents.get(agent, self.default)

    def is_expected(self, agent: str, seen: Seen, at: int) -> bool:
        """Whether it counts as down if it does not beat at that time."""
        return agent in self.agents or at < seen.last + FORGOTTEN_AFTER_MS

    def joined(self, agent: str, one: Seen, other: Seen) -> Seen:
        """What is known of an agent from two sides. One that had been forgotten begins anew."""
        earlier, later = sorted((one, other))
        if not self.is_expected(agent, earlier, later.first):
            return later
        return Seen(earlier.first, max(earlier.last, later.last))

    def reach(self, agent: str, beats: Iterable[int]) -> set[int]:
        """The blocks whose uptime hangs on these beats."""
        lasts = self.pace_of(agent).lasts_ms
        return {block for beat in beats for block in range(beat // BLOCK_MS, (beat + lasts) // BLOCK_MS + 1)}


def uptime(beats: Iterable[int], start: int, expected_from: int, lasts: int) -> Stats | None:
    """The block that begins at `start`: each second that the agent was expected, as 1 if it was up and else 0.

    Up is from a beat until `lasts` later. All in milliseconds; None if it was not expected at all.
    """
    first = max(start, expected_from) // 1000
    end = (start + BLOCK_MS) // 1000
    if first >= end:
        return None
    up = 0
    covered = first
    for beat in sorted(beats):
        begin, stop = max(covered, beat // 1000), min(end, (beat + lasts) // 1000)
        if stop > begin:
            up += stop - begin
            covered = stop
    return stats_of([0.0] * (end - first - up) + [1.0] * up, ())

"""The clock that functions and schedules go by: the real one, or for a demonstration one that runs fast."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MAX_SPEED = 1000.0


@dataclass(frozen=True, slots=True)
class Clock:
    """`start` None: the real time. Else the clock showed `start` at `began` (monotonic seconds) and runs at `speed`."""

    start: datetime | None = None
    speed: float = 1.0
    began: float = 0.0

    def now(self) -> datetime:
        if self.start is None:
            return datetime.now(UTC)
        return self.start + timedelta(seconds=(time.monotonic() - self.began) * self.speed)

    def sleep(self, seconds: float) -> None:
        """Wait until the clock has gone on by so many seconds."""
        time.sleep(seconds / self.speed)

    def real_seconds_until(self, moment: datetime) -> float:
        return (moment - self.now()).total_seconds() / self.speed


def from_environment(env: Mapping[str, str], last: datetime | None) -> Clock:
    """From DEV_CLOCK_SPEED and DEV_CLOCK_START (ISO 8601, or epoch milliseconds).

    `last`: how far a clock has come with this data. A fast clock without a start goes on from there, since time that
    goes backwards would make alertRules wait for it. Raises ValueError with a sentence for the user.
    """
    speed_text, start_text = env.get("DEV_CLOCK_SPEED", "").strip(), env.get("DEV_CLOCK_START", "").strip()
    if not speed_text and not start_text:
        return Clock()
    try:
        speed = float(speed_text or "1")
    except ValueError:
        speed = 0.0
    if not 0 < speed <= MAX_SPEED:
        raise ValueError(f"DEV_CLOCK_SPEED is {speed_text!r}: it is a number above 0, at most {MAX_SPEED:g}")
    start = _moment(start_text) if start_text else max(datetime.now(UTC), last or datetime.now(UTC))
    return Clock(start, speed, time.monotonic())


def _moment(text: str) -> datetime:
    try:
        if text.isdecimal():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"DEV_CLOCK_START is {text!r}: it is a time such as 2026-03-01T12:00:00Z, or epoch milliseconds"
        ) from None

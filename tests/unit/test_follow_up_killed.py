"""Acknowledging, repeating and passing on, cut short at each call of the store, and tried again as a person or the next
minute would: in the end all is as if nothing had happened, and nothing is announced twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.alerts.acknowledge import acknowledge
from shared.alerts.follow_up import follow_up
from shared.flags import FlagsUnknown
from shared.store.protocol import Put, Store, StoreError, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.unit.test_follow_up import ALERT, HOUR, MINUTE, alert, app_over, firing, outbox

CALLS = ("get", "get_many", "query", "commit")
TOLD = {"seq": 1, "state": "announced", "reason": None}


class Killed(BaseException):
    """The process is gone."""


class CutShort:
    """A store whose call number `at` fails with `error`, before or after it took effect. `calls`: how many so far."""

    def __init__(self, inner: Store, at: int, after: bool, error: type[BaseException]) -> None:
        self._inner, self._at, self._after, self._error = inner, at, after, error
        self.calls = 0
        self.meter = inner.meter

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        return self._around(call) if name in CALLS else call

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(*args: Any) -> Any:
            self.calls += 1
            now = self.calls == self._at
            if now and not self._after:
                raise self._error("cut short")
            result = call(*args)
            if now:
                raise self._error("cut short")
            return result

        return around


def take_on(store: Store, now: datetime) -> None:
    acknowledge(store, ALERT, "uid", "on it", now)


def look_after(store: Store, now: datetime) -> None:
    follow_up(app_over(store), now)


# what is done, when, and when again
CASES = {
    "acknowledged": (take_on, NOW + MINUTE, timedelta(0)),
    "passed on": (look_after, NOW + 15 * MINUTE, MINUTE),
    "repeated": (look_after, NOW + 4 * HOUR, MINUTE),
}


def begin(store: SqliteStore, case: str) -> None:
    """A critical alert that Slack and PagerDuty heard of; before it is repeated it was passed on."""
    store.commit([Put("config/flags", {"alerts": {"pagerduty": True}})])
    escalated = {"escalated": 1} if case == "repeated" else {}
    firing(store, channels={"slack": TOLD, "pagerduty": TOLD}, **escalated)


def state(store: Store) -> tuple[Any, ...]:
    """All that matters, but for the minute in which it came about."""
    data = alert(store)
    taken = data.get("acknowledged")
    told = {channel: was["seq"] for channel, was in data["channels"].items()}
    return outbox(store), data["seq"], told, taken and (taken["by"], taken["note"]), data.get("escalated")


@pytest.mark.parametrize("error", [Killed, Unavailable])
@pytest.mark.parametrize("case", CASES)
def test_cut_short_at_any_call_and_tried_again_it_is_done_once(
    case: str, error: type[BaseException], tmp_path_factory: pytest.TempPathFactory
) -> None:
    act, at, later = CASES[case]

    def life(number: int, after: bool, whole: tuple[Any, ...] = ()) -> tuple[tuple[Any, ...], int]:
        store = SqliteStore(tmp_path_factory.mktemp("life") / "store.db")
        begin(store, case)
        before = state(store)
        cut = CutShort(store, number, after, error)
        for n in range(2):
            try:
                act(cut, at + n * later)  # type: ignore[arg-type]
            except (Killed, StoreError, FlagsUnknown):  # as the handler does
                assert state(store) in (before, whole)  # all of it, or nothing
        calls, found = cut.calls, state(store)
        store.close()
        return found, calls

    promised, calls = life(0, False)
    assert len(promised[0]) > 1  # something was announced
    points = [(n, after) for n in range(1, calls + 1) for after in (False, True)]
    broken = {point: found for point in points if (found := life(*point, promised)[0]) != promised}
    assert broken == {}

"""The first request that waits does the work of all that wait, as nothing runs after a response on Cloud Functions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    """`turn` is released once the item is done, or once this request is the one to do all that wait."""

    item: Item
    error: BaseException | None = None
    done: bool = False
    turn: threading.Lock = field(default_factory=_held)


class Turns(Generic[Item]):
    """`do(key, items)` is called by one request at a time for each key, with the oldest `size(items)` of what waits."""

    def __init__(self, size: Callable[[Sequence[Item]], int], do: Callable[[str, Sequence[Item]], None]) -> None:
        self._size = size
        self._do = do
        self._waiting: dict[str, list[_Waiting[Item]]] = {}
        self._lock = threading.Lock()

    def run(self, key: str, item: Item) -> None:
        """Returns when the item is done. Raises what `do` raised for the items it was among."""
        mine = _Waiting(item)
        with self._lock:
            first = key not in self._waiting
            self._waiting.setdefault(key, []).append(mine)
        if not first:
            mine.turn.acquire()
        if not mine.done:
            self._do_waiting(key)
        if mine.error is not None:
            raise mine.error

    def _do_waiting(self, key: str) -> None:
        """Do what waits longest, let it go, and give the turn to the next one."""
        with self._lock:
            waiting = self._waiting[key]
            size = self._size([one.item for one in waiting])
            group, self._waiting[key] = waiting[:size], waiting[size:]
        try:
            self._do(key, [one.item for one in group])
        except BaseException as error:
            for one in group:
                one.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            for one in group:
                one.done = True
                one.turn.release()
            with self._lock:
                if self._waiting[key]:
                    self._waiting[key][0].turn.release()
                else:
                    del self._waiting[key]

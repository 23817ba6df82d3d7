"""Where the library `limits` counts: bounded, and without the thread that tidies up its own memory storage."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from limits.storage import Storage


class BoundedStorage(Storage):
    """Windows in the order in which they began, which is also that of their end."""

    STORAGE_SCHEME = None
    base_exceptions = Exception

    def __init__(self, monotonic: Callable[[], float], most: int) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._most = most
        self._windows: OrderedDict[str, list[float]] = OrderedDict()  # key → [count, end]
        self._lock = threading.Lock()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._monotonic()
        with self._lock:
            self._forget(now)
            window = self._windows.get(key)
            if window is None:
                if len(self._windows) >= self._most:
                    self._windows.popitem(last=False)
                window = self._windows[key] = [0, now + expiry]
            window[0] += amount
            return int(window[0])

    def get(self, key: str) -> int:
        with self._lock:
            window = self._windows.get(key)
            return int(window[0]) if window and window[1] > self._monotonic() else 0

    def get_expiry(self, key: str) -> float:
        with self._lock:
            window = self._windows.get(key)
            return window[1] if window else self._monotonic()

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        with self._lock:
            held = len(self._windows)
            self._windows.clear()
            return held

    def clear(self, key: str) -> None:
        with self._lock:
            self._windows.pop(key, None)

    def __len__(self) -> int:
        return len(self._windows)

    def _forget(self, now: float) -> None:
        """Windows that are over. Each is forgotten once, so a request pays for one on average."""
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window[1] > now:
                return
            del self._windows[key]

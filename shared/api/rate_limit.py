"""How many requests a client may make in a minute, in this instance. Every instance counts for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from shared.api.client_address import Range
from shared.config_file import read_json
from shared.domain.faults import WHOLE, ConfigError

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import FixedWindowRateLimiter

FILE = "limits.json"
WINDOW_SECONDS = 60
MOST_CLIENTS = 10_000  # about 3 MB; beyond it those whose minute began first are forgotten


@dataclass(frozen=True)
class Limits:
    """`proxies`: ranges of addresses whose entries in X-Forwarded-For are believed."""

    status_requests_per_minute: int
    proxies: tuple[Range, ...]


def load_limits(config_dir: Path) -> Limits:
    """`config/limits.json`. Raises `ConfigError` with every fault."""
    data = read_json(config_dir / FILE)
    if not isinstance(data, dict):
        raise ConfigError(FILE, [f"{WHOLE}: not an object"])
    faults = [f"{name}: unknown" for name in sorted(set(data) - {"statusRequestsPerMinute", "proxies"})]
    most = data.get("statusRequestsPerMinute")
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 1_000_000:
        faults.append("statusRequestsPerMinute: not a whole number from 1 to 1000000")
    written = data.get("proxies")
    if not isinstance(written, list):
        faults.append("proxies: not a list")
    proxies: list[Range] = []
    for n, text in enumerate(written if isinstance(written, list) else ()):
        try:
            proxies.append(ip_network(text if isinstance(text, str) else ""))
        except ValueError:
            faults.append(f"proxies[{n}]: not a range of addresses such as 192.0.2.0/24 or 2001:db8::/32")
    if faults:
        raise ConfigError(FILE, faults)
    return Limits(int(data["statusRequestsPerMinute"]), tuple(proxies))


class RateLimit:
    """A fixed window a client, which begins with its first request. Time is `monotonic`, in seconds."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float], most_clients: int = MOST_CLIENTS) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._most_clients = most_clients
        self._first: str | None = None  # the client of the instance's first request
        self._counting: tuple[FixedWindowRateLimiter, RateLimitItem] | None = None
        self._lock = threading.Lock()

    def seconds_to_wait(self, client: str) -> int:
        """0 if the request may be served; else the whole seconds after which the next one may."""
        with self._lock:
            if self._first is None:  # it cannot be too many, and a cold start does not wait for the library
                self._first = client
                return 0
            if self._counting is None:
                self._counting = self._begin(self._first)
            limiter, item = self._counting
        if limiter.hit(item, client):
            return 0
        left = limiter.get_window_stats(item, client).reset_time - self._monotonic()
        return max(1, -int(-left // 1))

    def _begin(self, first: str) -> tuple[FixedWindowRateLimiter, RateLimitItem]:
        from limits import RateLimitItemPerMinute
        from limits.strategies import FixedWindowRateLimiter

        from shared.api.rate_limit_storage import BoundedStorage

        class PerMinute(RateLimitItemPerMinute):
            def key_for(self, *identifiers: bytes | str | float) -> str:
                return str(identifiers[0])  # there is no other limit to tell it from

        limiter = FixedWindowRateLimiter(BoundedStorage(self._monotonic, self._most_clients))
        item = PerMinute(self._per_minute)
        limiter.hit(item, first)
        return limiter, item

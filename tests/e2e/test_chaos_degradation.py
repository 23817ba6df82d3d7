"""An endpoint goes down and comes back: the real local server, the real demo shop, all over HTTP.

The clock runs twenty times as fast, and so do the waits of healthProbe; it is run by hand, as the schedule would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import start_shop
from demo.story import Shop
from tests.dev_server import DevServer
from tests.emulator import free_port


class Watched:
    def __init__(self, server: DevServer, shop: Shop) -> None:
        self.server = server
        self.shop = shop

    def minute(self) -> dict[str, Any]:
        """What happens in a minute: a run of healthProbe, with its two rounds."""
        reply = self.server.run("healthProbe")
        assert reply.status_code == 200, reply.text
        told: dict[str, Any] = reply.json()
        return told

    def minutes_until(self, state: str) -> None:
        """Runs until a probe is in this state, and fails if it takes more than five."""
        for _ in range(5):
            entry_states = self.minute()["states"]
            if state in entry_states and (
                state != "operational" or set(entry_states) <= {"operational", "not_monitored"}
            ):
                return
        raise AssertionError(f"no probe became {state}")

    def now_ms(self) -> int:
        return int(self.server.get("/dev/clock").json()["now_ms"])

    def until(self, state: str) -> dict[str, Any]:
        """The health answer once it says so of API; an instance reads the snapshot every 5 seconds."""

        def shown() -> dict[str, Any] | None:
            health: dict[str, Any] = self.server.get("/api/status/healthz").json()
            if health["components"].get("API", {}).get("status") == state:
                return health
            time.sleep(1)  # a client may ask 60 times a minute
            return None

        return self.server.wait_for(shown)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    port = free_port()
    env = {"APP_BASE_URL": f"http://127.0.0.1:{port}", "DEV_CLOCK_SPEED": "20"}
    with DevServer(tmp_path / "data", "--no-schedules", **env) as server:
        process, token = start_shop(port, server.url, server.key, tmp_path)
        with process:
            shop = Shop(port, token)
            end = time.monotonic() + 60
            while not shop.answers():
                assert not process.ended, process.last_words()
                assert time.monotonic() < end, process.last_words()
                time.sleep(0.05)
            yield Watched(server, shop)


def test_an_endpoint_that_is_switched_off_is_degraded_within_60_seconds_and_operational_again_once_it_is_on(
    watched: Watched,
) -> None:
    watched.minute()
    health = watched.until("operational")
    assert health["components"]["API"]["latency"] > 0
    assert health["components"]["Database"]["status"] == "operational"
    assert health["components"]["Billing"]["status"] == "not_monitored"

    watched.shop.trouble(broken=True)
    off = watched.now_ms()
    assert watched.minute()["failed"] == ["API.health: status_unexpected"]
    health = watched.until("degraded")
    assert health["status"] == "degraded"
    # A run begins at most 30 s after a round of the one before, which is left out here: half of the time remains.
    assert health["publishedAt"] - off <= 60_000

    watched.minutes_until("outage")
    assert watched.until("outage")["status"] == "outage"
    assert watched.server.get("/api/status/healthz?strict=1").status_code == 503

    watched.shop.trouble(broken=False)
    watched.minutes_until("operational")
    assert watched.until("operational")["components"]["API"]["status"] == "operational"

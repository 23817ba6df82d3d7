"""Requests a minute and client, in bounded memory, on a clock that the test moves."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from scripts.manifest import ROOT
from shared.api.rate_limit import FILE, WINDOW_SECONDS, RateLimit, load_limits
from shared.api.rate_limit_storage import BoundedStorage
from shared.domain.faults import ConfigError


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


def waits(limit: RateLimit, client: str, n: int) -> list[int]:
    return [limit.seconds_to_wait(client) for _ in range(n)]


def test_sixty_are_served_and_the_next_is_told_how_long_to_wait(time: Time) -> None:
    limit = RateLimit(60, time)
    assert waits(limit, "a", 60) == [0] * 60
    assert limit.seconds_to_wait("a") == 60
    time.seconds += 12.5
    assert limit.seconds_to_wait("a") == 48
    time.seconds += 47.4
    assert limit.seconds_to_wait("a") == 1


def test_after_the_minute_it_begins_anew(time: Time) -> None:
    limit = RateLimit(2, time)
    assert waits(limit, "a", 3) == [0, 0, 60]
    time.seconds += WINDOW_SECONDS
    assert waits(limit, "a", 3) == [0, 0, 60]


def test_one_client_takes_nothing_from_another(time: Time) -> None:
    limit = RateLimit(1, time)
    assert waits(limit, "a", 2) == [0, 60]
    assert waits(limit, "b", 2) == [0, 60]


def test_of_many_threads_no_more_are_served(time: Time) -> None:
    limit = RateLimit(60, time)
    served: list[int] = []
    threads = [threading.Thread(target=lambda: served.extend(waits(limit, "a", 20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.count(0) == 60


def test_memory_is_bounded_and_those_whose_minute_began_first_are_forgotten(time: Time) -> None:
    storage = BoundedStorage(time, 100)
    for n in range(1000):
        storage.incr(f"client {n}", 60)
    assert len(storage) == 100
    assert (storage.get("client 0"), storage.get("client 999")) == (0, 1)


def test_what_is_over_is_forgotten(time: Time) -> None:
    storage = BoundedStorage(time, 100)
    for n in range(50):
        storage.incr(f"client {n}", 60)
    time.seconds += 60
    storage.incr("another", 60)
    assert len(storage) == 1


def test_the_first_request_of_an_instance_does_not_wait_for_the_library() -> None:
    code = (
        "import sys, time; from shared.api.rate_limit import RateLimit; limit = RateLimit(60, time.monotonic)\n"
        "limit.seconds_to_wait('a'); print('limits' in sys.modules)\n"
        "limit.seconds_to_wait('a'); print('limits' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "True"]


def test_no_thread_is_started(time: Time) -> None:
    before = threading.active_count()
    waits(RateLimit(60, time), "a", 3)
    assert threading.active_count() == before


def faults_of(folder: Path, data: Any) -> list[str]:
    (folder / FILE).write_text(json.dumps(data))
    with pytest.raises(ConfigError) as caught:
        load_limits(folder)
    return caught.value.faults


def test_what_ships_is_sixty_a_minute() -> None:
    assert load_limits(ROOT / "config").status_requests_per_minute == 60


@pytest.mark.parametrize("most", [0, -1, True, "60", 1.5, None])
def test_the_limit_is_a_whole_number(tmp_path: Path, most: object) -> None:
    faults = faults_of(tmp_path, {"statusRequestsPerMinute": most, "proxies": []})
    assert faults == ["statusRequestsPerMinute: not a whole number from 1 to 1000000"]


def test_every_fault_is_told_with_its_path(tmp_path: Path) -> None:
    assert faults_of(tmp_path, {"proxies": ["10.0.0.0/8", "10.0.0.1/8", 7, "proxy"], "more": 1}) == [
        "more: unknown",
        "statusRequestsPerMinute: not a whole number from 1 to 1000000",
        *(f"proxies[{n}]: not a range of addresses such as 192.0.2.0/24 or 2001:db8::/32" for n in (1, 2, 3)),
    ]
    assert faults_of(tmp_path, []) == ["(the whole): not an object"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_limits(tmp_path)
    assert caught.value.faults == ["(the whole): cannot be read: there is no such file"]

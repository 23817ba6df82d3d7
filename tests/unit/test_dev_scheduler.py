"""The local scheduler: one run at a time, with a token that the function can check, by a clock that may run fast."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest

from scripts.dev import clock as clocks
from scripts.dev import issuer
from scripts.dev.clock import Clock
from scripts.dev.console import Console
from scripts.dev.manifest import Function
from scripts.dev.scheduler import Busy, Scheduler, summary

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Slow:
    """A function that holds its calls until it is let go, and knows how many it had at once."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.entered, self.go = threading.Semaphore(0), threading.Event()
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with lock:
                    outer.calls.append({"path": self.path, **dict(self.headers.items())})
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                outer.entered.release()
                outer.go.wait(30)
                with lock:
                    outer.at_once -= 1
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.go.set()
    slow.server.shutdown()
    slow.server.server_close()


@pytest.fixture(scope="module")
def pem() -> bytes:
    return issuer.new_key()


def scheduler(slow: Slow, pem: bytes, clock: Clock, timeout: int = 30) -> Scheduler:
    port = slow.server.server_port
    signer = issuer.Issuer(pem, f"http://127.0.0.1:{port}")
    function = Function("alertRules", "alertRules", "us-central1", timeout, "* * * * *", UTC)
    return Scheduler([function], port, signer, clock, Console(io.StringIO(), clock.now))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_run_bears_what_cloud_scheduler_sends(slow: Slow, pem: bytes) -> None:
    slow.go.set()
    assert scheduler(slow, pem, Clock(NOW, 1.0, time.monotonic())).run("alertRules").status == 200
    (call,) = slow.calls
    assert call["path"] == "/_functions/alertRules/"
    assert call["X-CloudScheduler"] == "true"
    assert call["X-CloudScheduler-JobName"] == "firebase-schedule-alertRules-us-central1"
    claims = jwt.decode(call["Authorization"].removeprefix("Bearer "), options={"verify_signature": False})
    assert claims["email_verified"] is True
    assert claims["aud"].endswith("/alertRules")
    assert abs(claims["iat"] - NOW.timestamp()) < 60


def test_two_runs_of_a_function_never_overlap(slow: Slow, pem: bytes) -> None:
    runner = scheduler(slow, pem, Clock())
    threads = [threading.Thread(target=runner.run, args=("alertRules",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    slow.entered.acquire()
    slow.go.set()
    for thread in threads:
        thread.join()
    assert len(slow.calls) == 4
    assert slow.most_at_once == 1


class ClockByHand:
    """Shows what it is set to."""

    speed = 1.0

    def __init__(self) -> None:
        self.shown = NOW
        self.stands = False

    def now(self) -> datetime:
        return self.shown

    def real_seconds_until(self, moment: datetime) -> float:
        left = (moment - self.shown).total_seconds()
        return 3600.0 if self.stands else min(left, 0.01)


class Watched:
    """A lock that says when somebody has found it taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.found_taken = threading.Event()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking and self._lock.locked():
            self.found_taken.set()
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()


def test_a_run_by_hand_that_is_under_way_at_a_tick_takes_no_tick_away(slow: Slow, pem: bytes) -> None:
    """The schedule's run waits for it until the next tick has passed too: both are made, and then it waits."""
    clock, lock = ClockByHand(), Watched()
    runner = scheduler(slow, pem, clock)  # type: ignore[arg-type]
    runner._locks["alertRules"] = lock  # type: ignore[assignment]
    by_hand = threading.Thread(target=runner.run, args=("alertRules",))
    by_hand.start()
    slow.entered.acquire()
    runner.start()
    assert lock.found_taken.wait(30)
    clock.shown = NOW + timedelta(seconds=70)
    slow.go.set()
    until(lambda: len(slow.calls) >= 3)
    by_hand.join()
    time.sleep(0.1)
    clock.stands = True
    assert (len(slow.calls), slow.most_at_once) == (3, 1)


def test_a_run_that_does_not_end_keeps_others_away(slow: Slow, pem: bytes) -> None:
    runner = scheduler(slow, pem, Clock(), timeout=30)
    thread = threading.Thread(target=runner.run, args=("alertRules",))
    thread.start()
    slow.entered.acquire()
    impatient = scheduler(slow, pem, Clock(), timeout=0)
    impatient._locks = runner._locks
    with pytest.raises(Busy):
        impatient.run("alertRules")
    slow.go.set()
    thread.join()
    assert len(slow.calls) == 1


def test_a_function_that_does_not_answer_gives_a_504(slow: Slow, pem: bytes) -> None:
    assert scheduler(slow, pem, Clock(), timeout=1).run("alertRules").status == 504


def test_a_fast_clock_brings_the_schedule_forward(slow: Slow, pem: bytes) -> None:
    slow.go.set()
    scheduler(slow, pem, Clock(NOW, 600.0, time.monotonic())).start()
    until(lambda: len(slow.calls) >= 4)
    times = [datetime.fromisoformat(call["X-CloudScheduler-ScheduleTime"]) for call in slow.calls[:4]]
    minutes = [(moment - NOW).total_seconds() // 60 for moment in times]
    assert minutes == sorted(set(minutes))


def test_without_a_wish_the_clock_is_the_real_one() -> None:
    assert clocks.from_environment({}, NOW) == Clock()


@pytest.mark.parametrize(
    "start", ["2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00", "1772366400000"]
)
def test_a_start_is_a_time_or_milliseconds(start: str) -> None:
    assert clocks.from_environment({"DEV_CLOCK_START": start}, None).start == NOW


@pytest.mark.parametrize("env", [{"DEV_CLOCK_SPEED": s} for s in ("-1", "0", "inf", "nan", "fast", "1001")])
def test_an_impossible_speed_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="DEV_CLOCK_SPEED"):
        clocks.from_environment(env, None)


def test_a_fast_clock_goes_on_from_where_the_folders_data_ends() -> None:
    later = datetime(2099, 1, 1, tzinfo=UTC)
    assert clocks.from_environment({"DEV_CLOCK_SPEED": "30"}, later).start == later


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"delivered": 2, "stopped": null, "reason": "done"}', "delivered=2 stopped=null reason=done"),
        (b'{"code": "busy", "detail": "try again", "status": 503}', "busy: try again"),
        (b"plain\n  text", "plain text"),
        (b"\xff", "�"),
        (b"", ""),
    ],
)
def test_an_answer_is_told_on_one_line(body: bytes, line: str) -> None:
    assert summary(body) == line

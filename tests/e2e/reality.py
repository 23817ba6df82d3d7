"""What goes on around a deployment that may die: a client and a scheduler that try again, and a new instance.

One `Life` is the same story each time: 200 requests that are slow and partly fail, an evaluation, a minute's notifier,
a look at the status; then 200 good requests and the same again. Of the three alerts two share a message. Slack takes
the two messages of the breach; of those of the recovery it cannot take one for a minute, and refuses the other for
good. `Life.live` tells what became of the promise.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from shared.domain.notification import DEAD_LETTERS
from tests.e2e.kill_worker import Order, SharedClock, open_store
from tests.e2e.promise import ERRORS, FAILED, LATENCY, SENT, Kill, Outcome, check
from tests.e2e.support import (
    INGEST_KEY,
    ROOT,
    START,
    Answer,
    Scheduler,
    call,
    changed_config,
    collection,
    environment,
    next_mark,
    write_json,
)
from tests.fake_servers import Exchange, FakeSlack, normal

TRIES = 5  # of a client or the scheduler
ROUNDS = 2  # of the notifier, until all must be quiet
SLACK_IS_WELL_AGAIN = datetime(2026, 11, 23, 12, 11, tzinfo=UTC)


@cache
def configuration() -> Path:
    """A second alert on the errors, told in one message with the first; the slowness in one of its own.

    Thresholds alone: what burn rates tell goes on for half an hour, by the same steps.
    """

    def change(folder: Path) -> None:
        slos = json.loads((folder / "slo.json").read_text())
        for slo in slos["slos"]:
            slo["alert"].pop("burn_rates", None)
        alert = {"severity": "critical", "channels": ["slack"]}
        slos["slos"].append({**slos["slos"][0], "name": "API Errors", "threshold": 0.4, "alert": alert})
        write_json(folder / "slo.json", slos)
        policy = {"grouping": {"by": ["component", "severity"]}, "inhibit": []}
        write_json(folder / "notifications.json", policy)

    return changed_config("kill", change)


class Worker:
    """The process that forks instances, and a Slack of its own."""

    def __init__(self, folder: Path, scheduler: Scheduler, slack: FakeSlack) -> None:
        self.folder, self.scheduler, self.slack = folder, scheduler, slack
        self.log = (folder / "worker.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.kill_worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        self.instance: int | None = None

    def start(self, order: Order) -> str:
        """Start an instance; its URL."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        told = self.told()
        assert "pid" in told, f"an instance did not start, but told {told}: {self.log.name}"
        self.instance = told["pid"]
        return f"http://127.0.0.1:{told['port']}"

    def told(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the worker ended: {(self.folder / 'worker.log').read_text()[-2000:]}"
        return json.loads(line)

    def rest(self) -> Iterator[Mapping[str, Any]]:
        """Everything that was told by an instance that is gone."""
        while "signal" not in (told := self.told()):
            yield told
        assert told["signal"] == signal.SIGKILL, f"an instance ended by itself: {self.log.name}"
        self.instance = None

    def stop(self) -> list[Mapping[str, Any]]:
        """End the instance that runs."""
        if self.instance is None:
            return []
        with suppress(ProcessLookupError):  # it may just have died of something else
            os.kill(self.instance, signal.SIGKILL)
        return list(self.rest())

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()  # the instance and then the worker leave by themselves
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.log.close()


@contextmanager
def worker(folder: Path, scheduler: Scheduler) -> Iterator[Worker]:
    folder.mkdir()
    with FakeSlack() as slack:
        opened = Worker(folder, scheduler, slack)
        try:
            yield opened
        finally:
            opened.close()


class Life:
    """One deployment from its first metric to the last message, over the empty store at `place`."""

    def __init__(
        self, worker: Worker, place: Mapping[str, str], kill: Kill | None, fault: str | None, *, record: bool = False
    ) -> None:
        self.worker, self.place, self.kill = worker, dict(place), kill
        self.now = START
        clock_file = worker.folder / "clock"
        self.clock = SharedClock(clock_file)
        self.order: Order = {
            "store": self.place,
            "env": environment(worker.slack.url, worker.scheduler.keys_url) | {"CONFIG_DIR": str(configuration())},
            "clock": str(clock_file),
            "kill": kill,
            "record": record,
            "fault": fault,
            "threaded": False,
        }
        self.outcome = Outcome()
        self.url = ""
        self.store = open_store(self.place)  # a connection that no instance ever has

    def live(self) -> Outcome:
        """The whole story, and what became of the promise."""
        slack = self.worker.slack
        slack.received.clear()
        slack.shown.clear()
        slack.behave = self.slack
        try:
            self.move(0)
            self.url = self.worker.start(self.order)
            for latency, failed in ((600.0, FAILED), (100.0, 0)):
                self.send(f"batch-at-{self.now:%H-%M}", latency, failed)
                if not failed:  # the minute before, or alertRules would miss the notifier
                    self.move(180)
                    self.schedule("notifier", again_after=30.0)
                self.move((next_mark(self.now) - self.now).total_seconds())
                self.schedule("alertRules", again_after=5.0)
                self.move(60 - self.now.second)
                self.schedule("notifier", again_after=None)
                self.look()
            for _ in range(ROUNDS):
                self.move(150)
                self.schedule("notifier", again_after=30.0)  # as its next minute would
            self.schedule("alertRules", again_after=5.0)
            self.look(well="unknown")  # nothing was sent for five minutes: that is no health
            self.gone(self.worker.stop())
            check(self.outcome, self.store, slack)
        finally:
            self.worker.stop()
            self.clock.close()
            self.store.close()
        return self.outcome

    # --- what others do

    def send(self, batch_id: str, latency: float, failed: int) -> None:
        """As the client: the same body again until it is acknowledged, and never after."""
        milliseconds = int(self.now.timestamp() * 1000)
        metrics = [
            {
                "name": "api_latency",
                "value": latency + n % 7,
                "timestamp": milliseconds + n,
                "labels": {"endpoint": "/api/orders", "status": 500 if n < failed else 200},
            }
            for n in range(SENT)
        ]
        body = json.dumps({"batchId": batch_id, "metrics": metrics}).encode()

        def post() -> Answer:
            return call("POST", f"{self.url}/api/metrics", body, {"X-Api-Key": INGEST_KEY})

        assert self.until_answered(post, 1.0).status == 202

    def schedule(self, function_id: str, again_after: float | None) -> None:
        """As Cloud Scheduler: the alert rules are tried again soon, the notifier when its next minute comes."""

        def run() -> Answer:
            return self.worker.scheduler.call(self.url, function_id, self.now)

        if again_after is None:
            self.attempt(run)
        else:
            self.until_answered(run, again_after)

    def slack(self, exchange: Exchange) -> None:
        """As Slack on a bad day."""
        message = exchange.received.notification_id
        if message == f"{LATENCY}-2-slack":
            exchange.reply(410, "channel_is_archived")
        elif message == f"{ERRORS}-2-slack" and self.now < SLACK_IS_WELL_AGAIN:
            exchange.reply(500)
        else:
            normal(exchange)

    def look(self, well: str = "operational") -> None:
        """As a visitor's badge. Nobody is ever told that all is well while an alert fires, or the other way round."""
        answer = self.until_answered(lambda: call("GET", f"{self.url}/api/status/healthz"), 1.0)
        alerts = collection(self.store, "alerts")
        firing = any(alert["state"] == "firing" for name, alert in alerts.items() if name != DEAD_LETTERS)
        expected = "outage" if firing else well
        if answer.json["status"] != expected:
            self.outcome.broken.append(f"healthz said {answer.json['status']}, not {expected}")

    def until_answered(self, request: Callable[[], Answer], again_after: float) -> Answer:
        for _ in range(TRIES):
            answer = self.attempt(request)
            if answer is not None:
                return answer
            self.move(again_after)
        raise AssertionError("no answer, however often it was asked")

    def attempt(self, request: Callable[[], Answer]) -> Answer | None:
        """A good answer, or None. If the instance died of it there is a new one when this returns."""
        try:
            answer = request()
        except (OSError, http.client.HTTPException):
            self.gone(list(self.worker.rest()))
            self.order = {**self.order, "kill": None, "record": False}
            self.url = self.worker.start(self.order)
            return None
        return answer if answer.status < 300 else None

    def gone(self, told: list[Mapping[str, Any]]) -> None:
        """Keep what an instance told of its calls, and of its death."""
        for line in told:
            if "request" in line:
                self.outcome.begins.add(len(self.outcome.calls) + 1)
            elif "call" in line:
                self.outcome.calls.append(line["call"])
            elif "dying" in line:
                assert self.outcome.died_at is None
                self.outcome.died_at = line["dying"]

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.clock.set(self.now)

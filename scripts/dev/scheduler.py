"""Cloud Scheduler's part: calls scheduled functions over HTTP when they are due, never twice at once.

A run that fails is told and not repeated; the next one comes with the schedule.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from scripts.dev.clock import Clock
from scripts.dev.console import Console
from scripts.dev.issuer import Issuer
from scripts.dev.manifest import Function

_LONGEST_NAP = 30.0  # real seconds: the clock is looked at again, in case the computer slept


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes


class Busy(Exception):
    """The function's run before did not end in time."""


class Scheduler:
    """`port` is the local server's own; `start` must not come before the fork."""

    def __init__(
        self, functions: Sequence[Function], port: int, issuer: Issuer, clock: Clock, console: Console
    ) -> None:
        self.functions = {f.id: f for f in functions if f.schedule is not None}
        self._locks = {function_id: threading.Lock() for function_id in self.functions}
        self._port = port
        self._issuer = issuer
        self._clock = clock
        self._console = console

    def start(self) -> None:
        """Each function runs once now, so that there is something to see, and then by its schedule."""
        for function in self.functions.values():
            threading.Thread(target=self._keep, args=(function,), daemon=True, name=function.id).start()

    def run(self, function_id: str) -> Answer:
        """Run it now, after a run that is under way. Raises `Busy` if that one takes longer than the function may."""
        with self._turn(self.functions[function_id]):
            return self._call(self.functions[function_id], self._clock.now())

    @contextmanager
    def _turn(self, function: Function) -> Iterator[bool]:
        """Gives whether another run had to end first."""
        lock = self._locks[function.id]
        waits = not lock.acquire(blocking=False)
        if waits and not lock.acquire(timeout=function.timeout):
            raise Busy
        try:
            yield waits
        finally:
            lock.release()

    def _keep(self, function: Function) -> None:
        due = self._clock.now()
        while True:
            while (left := self._clock.real_seconds_until(due)) > 0:
                time.sleep(min(left, _LONGEST_NAP))
            waited = self._attempt(function)
            # A run by hand may put this one off beyond the next tick, which is then made up for: at once, and once.
            due = next(function.ticks(due if waited else self._clock.now()))

    def _attempt(self, function: Function) -> bool:
        """Whether it had to wait for a run by hand."""
        try:
            with self._turn(function) as waited:
                self._call(function, self._clock.now())
            return waited
        except Busy:
            self._console.tell("schedule", function.id, "the run before is not over yet; left out", "yellow")
            return False

    def _call(self, function: Function, now: datetime) -> Answer:
        started = time.monotonic()
        headers = {
            "Authorization": f"Bearer {self._issuer.token(function.id, now)}",
            "Content-Type": "application/octet-stream",
            "User-Agent": "Google-Cloud-Scheduler",
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": function.job,
            "X-CloudScheduler-ScheduleTime": now.isoformat(),
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=function.timeout)
        try:
            connection.request("POST", f"/_functions/{function.id}/", b"", headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers.get("Content-Type", ""), response.read())
        except (OSError, http.client.HTTPException) as error:
            detail = f"no answer within {function.timeout} s ({type(error).__name__})"
            answer = Answer(504, "text/plain", detail.encode())
        finally:
            connection.close()
        taken = round(1000 * (time.monotonic() - started))
        good = 200 <= answer.status < 300
        text = f"{answer.status} in {taken} ms  {summary(answer.body)}"
        self._console.tell("schedule", function.id, text, "" if good else "red")
        return answer


def summary(body: bytes, limit: int = 160) -> str:
    """An answer on one line: the detail of a problem, else `name=value` of a JSON object, else the text."""
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if isinstance(data, dict):
        if "code" in data and "detail" in data:
            text = f"{data['code']}: {data['detail']}"
        else:
            text = " ".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in data.items())
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"

"""Clients of usageApi who go on while the deployment under them is killed and started again.

Each asks until it is answered, as its promise wants it, but for the one who never asks twice. What they were told is in
`told`: calls that were acknowledged, and those of which that is not known.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.e2e.support import Answer, Scheduler, call
from tests.usage_api import USAGE_KEY, event

PRICED = {"claude-sonnet-4-5": "anthropic", "gpt-4": "openai"}
UNPRICED = "a-model-that-nobody-has-priced"
OF_THE_HASTY = "claude-opus-4"
USERS = ("ada", "bob", "cyd")
LIMITED = ("lin", "mia")
PLAN, TIGHT = "pro", "tight"
DAYS_AGO = (0, 1, 25)  # today; the day before, of which the metric still is; another month
MOST_INPUT, MOST_OUTPUT = 1000, 1000
EVENTS, HASTY_EVENTS, ATTEMPTS = 120, 16, 12
WAIT = 240.0


class Deployment:
    """The address of what is alive, which changes with each life."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.life = 0
        self._url = ""

    def publish(self, url: str) -> None:
        with self._changed:
            self.life, self._url = self.life + 1, url
            self._changed.notify_all()

    def alive(self, beyond: int) -> tuple[int, str]:
        """A life later than that one, and its address."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.life > beyond, WAIT), "no other instance was started"
            return self.life, self._url

    def seen(self) -> tuple[int, str]:
        with self._changed:
            return self.life, self._url

    def ask(self, path: str, body: Mapping[str, Any], *, times: int | None = None) -> Answer | None:
        """The answer, however often it must be asked for; None after so many times without one."""
        seen = asked = 0
        while times is None or asked < times:
            life, url = self.alive(seen)
            asked += 1
            try:
                answer = call("POST", url + path, json.dumps(body).encode(), {"X-Api-Key": USAGE_KEY})
            except (OSError, http.client.HTTPException):
                seen = life  # it died of this, or of what others asked
                continue
            if answer.status < 500:
                return answer
            time.sleep(0.01)
        return None


@dataclass
class Told:
    """Calls that were told or settled, as events. `perhaps`: no answer came. `open`: reservations left unsettled."""

    counted: list[dict[str, Any]] = field(default_factory=list)
    perhaps: list[dict[str, Any]] = field(default_factory=list)
    open: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Crowd:
    """`busy` until each has asked for all that it has to ask for. Raises in `join` what a client has stumbled over."""

    def __init__(self, deployment: Deployment, now: datetime, seed: int) -> None:
        self.deployment = deployment
        self.now = now
        self.told = Told()
        events = list(self._events(random.Random(seed)))
        tasks: list[Callable[[random.Random], None]] = [
            *(lambda rng, n=n: self._sender(events[n::3], rng) for n in range(3)),  # type: ignore[misc]
            *(lambda rng, n=n: self._caller(n, rng) for n in range(3)),  # type: ignore[misc]
            self._hasty,
        ]
        self._faults: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(task, random.Random(seed + n)), daemon=True)
            for n, task in enumerate(tasks)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> Told:
        for thread in self._threads:
            thread.join(WAIT)
        assert self._faults == []
        assert not self.busy
        return self.told

    def _guarded(self, task: Callable[[random.Random], None], rng: random.Random) -> None:
        try:
            task(rng)
        except BaseException as fault:  # noqa: BLE001 - told by `join`
            self._faults.append(fault)

    def _events(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Each of another size, so that one in the place of another shows."""
        for n in range(EVENTS):
            model = rng.choice([*PRICED, UNPRICED])
            at = self.now - timedelta(days=rng.choice(DAYS_AGO), minutes=rng.randint(0, 300))
            tokens = {"input": 1000 + n, "output": rng.randint(1, 300)}
            who = {"uid": rng.choice(USERS), "plan": PLAN, "provider": PRICED.get(model, "openai"), "model": model}
            yield event(f"request-{n:05}", at, **who, tokens=tokens, durationMs=n)

    def _sender(self, events: Sequence[dict[str, Any]], rng: random.Random) -> None:
        """Sends some at a time, and among them now and then some that were acknowledged before."""
        mine: list[dict[str, Any]] = []
        while len(mine) < len(events):
            new = list(events[len(mine) : len(mine) + rng.randint(1, 4)])
            body = [*new, *rng.sample(mine, min(len(mine), rng.randint(0, 2)))]
            rng.shuffle(body)
            answer = self.deployment.ask("/api/usage/events", {"events": body})
            assert answer is not None
            assert (answer.status, answer.json["accepted"]) == (202, len(body)), answer.body
            mine += new
            self.told.counted += new

    def _hasty(self, rng: random.Random) -> None:
        """Asks once for each. The sizes are powers of two, so that their sum tells which were counted."""
        for n in range(HASTY_EVENTS):
            tokens = {"input": 0, "output": 2**n}
            one = event(f"hasty-{n:05}", self.now, uid="hasty", plan=PLAN, model=OF_THE_HASTY, tokens=tokens)
            answer = self.deployment.ask("/api/usage/events", {"events": [one]}, times=1)
            told = self.told.perhaps if answer is None else self.told.counted
            told.append(one)
            time.sleep(rng.uniform(0, 0.1))

    def _caller(self, number: int, rng: random.Random) -> None:
        """Reserves calls, and settles, releases or forgets them."""
        for n in range(ATTEMPTS):
            uid = LIMITED[n % 2]
            what = {"uid": uid, "provider": "anthropic", "model": "claude-sonnet-4-5", "plan": TIGHT}
            most = {"maxInputTokens": MOST_INPUT, "maxOutputTokens": MOST_OUTPUT, "caching": "none"}
            name = f"caller-{number}-{n:03}"
            reserved = self.deployment.ask("/api/usage/reservations", {"requestId": name, **what, **most})
            assert reserved is not None
            if reserved.status == 429:
                self.told.refused.append(name)
                continue
            assert reserved.status == 201, reserved.body
            id_ = reserved.json["reservationId"]
            used = {**what, "tokens": {"input": 400 + n, "output": 100 + number}}
            fate = rng.choice(["settle", "settle", "release", "forget"])
            if fate == "forget":
                self.told.open.append((id_, used))
            elif fate == "release":
                self.finish(id_, "release", {"uid": uid})
            else:
                self.finish(id_, "settle", used)

    def finish(self, id_: str, how: str, body: Mapping[str, Any]) -> str:
        """The reason that was answered."""
        answer = self.deployment.ask(f"/api/usage/reservations/{id_}/{how}", body)
        assert answer is not None
        assert answer.status == 200, answer.body
        if how == "settle":
            self.told.counted.append({**body, "time": self.now.isoformat()})
        return str(answer.json["reason"])


class RollsUp:
    """Cloud Scheduler, which calls costRollup of whatever is alive, again and again, until it is stopped."""

    def __init__(self, deployment: Deployment, scheduler: Scheduler, clock: Callable[[], datetime]) -> None:
        self._deployment, self._scheduler, self._clock = deployment, scheduler, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(WAIT)

    def _run(self) -> None:
        dead = 0
        while not self._stop.wait(0.02):
            life, url = self._deployment.seen()
            if life == dead:
                continue
            try:
                self._scheduler.call(url, "costRollup", self._clock())
            except (OSError, http.client.HTTPException):
                dead = life

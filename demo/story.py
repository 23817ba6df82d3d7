"""The story, phase by phase. Each step waits, for a bounded time, until it can be seen as a user would see it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from demo.load import Load
from demo.processes import Process
from demo.terminal import Terminal
from demo.watch import Message, Ops

LATENCY, AVAILABILITY, TICKET = "API Latency (p95)", "API Availability (page)", "API Availability (ticket)"
SLOW_MS = 500
POLL = 0.25
RENEWS = 10  # seconds: the pace of an open status page
LOOK = RENEWS + 2.0  # at a terminal each trouble stays so long, for who wants to see it
FIVE_GOOD = "Once five whole minutes were good"
T = TypeVar("T")


class DidNotCome(Exception):
    """Something that the story needs was not seen in time. The text says what, and where to look."""


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop's address and the means to trouble it."""

    port: int
    token: str

    def trouble(self, *, slow_ms: int = 0, broken: bool = False) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            body = json.dumps({"slow_ms": slow_ms, "broken": broken})
            connection.request("POST", "/_demo", body, {"Authorization": f"Bearer {self.token}"})
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 204:
            raise DidNotCome(f"The shop did not take what the demo wants of it: it answered {status}.")

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Story:
    """`slot`: how many real seconds F0 Ops' five minutes take. A step may take three of them and half a minute more.

    The end of what pages may take eight of them.
    """

    def __init__(
        self, ops: Ops, shop: Shop, load: Load, terminal: Terminal, processes: Sequence[Process], slot: float
    ) -> None:
        self.ops = ops
        self.shop = shop
        self.load = load
        self.terminal = terminal
        self.processes = processes
        self.slot = slot
        self.limit = 3 * slot + 30
        self.told: list[Message] = []

    def tell(self) -> None:
        """Returns when the whole story was seen. Raises `DidNotCome`."""
        began = time.monotonic()
        self.healthy()
        self.slow()
        self.fast_again()
        self.broken()
        self.working_again()
        self.look_back(time.monotonic() - began)

    # The phases

    def healthy(self) -> None:
        self.terminal.title("1  All is well")
        self.say(
            "Visitors send 40 requests a second. F0 Ops waits for its first five minutes of measurements, and until "
            "then its status page does not claim that anything works."
        )
        self.wait("The status page did not become operational", "/status", self.is_measured)
        latency = self.ops.component("API").get("latency")
        self.seen(f"The status page says: operational. The API's p95 latency is {latency} ms.")
        self.load_figure()
        self.to_see(f"/status: the API is green. An open page renews itself every {RENEWS} seconds of yours")

    def slow(self) -> None:
        self.terminal.title(f"2  I slow the shop by {SLOW_MS} ms")
        self.shop.trouble(slow_ms=SLOW_MS)
        self.say("Every request now takes half a second longer. 95 % of them should finish within 400 ms.")
        self.expect("", 2, "an alert fires, Slack hears of it, and the status page says degraded")
        message = self.slack(LATENCY, "firing")
        self.seen(f"The alert “{LATENCY}” fires, a warning, and Slack hears of it:", "yellow")
        self.terminal.box(message.lines, "yellow")
        self.incident(message, "investigating")
        self.api("degraded", "yellow")
        self.load_figure()
        self.to_see("/status: the API is yellow", "/dev/inbox: the message", "/on-call/alerts: the alert", stays=True)

    def fast_again(self) -> None:
        self.terminal.title("3  I take the delay away")
        self.shop.trouble()
        self.expect(FIVE_GOOD, 2, "the alert clears, Slack is told, and the page is green again")
        self.cleared(LATENCY)
        self.to_see("/status: the API is green", "/dev/inbox: the second message")

    def broken(self) -> None:
        self.terminal.title("4  I break it: 5xx")
        self.begin_of_a_slot()
        self.shop.trouble(broken=True)
        self.say("Orders and users now fail with status 500. At most 0.5 % of all requests of 30 days may fail.")
        self.expect("Once these five minutes are over", 1, "an alert pages, Slack hears of it, the page says outage")
        message = self.slack(AVAILABILITY, "firing")
        self.seen(f"The alert “{AVAILABILITY}” fires, critical, and Slack hears of it, in one message:", "red")
        self.terminal.box(message.lines, "red")
        self.incident(message, "investigating")
        self.api("outage", "red")
        self.load_figure()
        self.to_see("/status: the API is red", "/dev/inbox: one message, for all that broke together", stays=True)

    def working_again(self) -> None:
        self.terminal.title("5  I repair it")
        self.shop.trouble()
        self.say("Orders and users are answered again.")
        self.expect(FIVE_GOOD, 2, "the page is green")
        self.api("operational", "green")
        self.wait(
            "The status page did not become operational", "/status", lambda: self.health()["status"] == "operational"
        )
        self.seen("The whole page says: operational.")
        self.expect("Once half an hour was good", 7, "who was paged hears that it is over")
        self.limit += 5 * self.slot
        self.cleared(AVAILABILITY)
        message = self.slack(TICKET, "firing")
        self.seen(
            "What the outage did to the error budget is a ticket: it wakes nobody, and came after the page.", "yellow"
        )
        self.terminal.box(message.lines[:2], "yellow")
        self.load_figure()
        self.to_see("/dev/inbox: five messages in all", "/status: what the outage took from the API's uptime")

    def look_back(self, seconds: float) -> None:
        self.terminal.title("That was the whole story")
        minutes, rest = divmod(round(seconds), 60)
        length = f"{minutes} min {rest} s" if minutes else f"{rest} s"
        self.say(f"{self.load.sent:,} requests in {length}, two incidents, five Slack messages.")
        known = {message.id for message in self.told}
        for message in self.ops.messages():
            if message.id not in known:
                self.terminal.say(f"Slack also heard: {message.title}", "!", "yellow")

    # What is waited for

    def slack(self, slo: str, word: str) -> Message:
        known = {message.id for message in self.told}

        def arrived() -> Message | None:
            fitting = (m for m in self.ops.messages() if m.id not in known and slo in m.title and word in m.title)
            return next(fitting, None)

        message = self.wait(f"The Slack message that “{slo}” is {word} did not come", "/dev/inbox", arrived)
        self.told.append(message)
        return message

    def incident(self, message: Message, status: str) -> dict[str, Any]:
        where = "/dev/inbox"
        if message.incident_id is None:
            raise DidNotCome(self.failure("The Slack message names no incident", where))
        incident_id = message.incident_id

        def stands() -> dict[str, Any] | None:
            found = self.ops.incident(incident_id)
            return found if found and found["status"] == status else None

        found = self.wait(f"The incident {incident_id} did not become {status}", where, stands)
        if status == "resolved":
            self.seen(f"The incident is resolved: {found['updates'][-1]['message']}")
        else:
            self.seen(f"An incident is open, for the team only, impact {found['impact']}: {found['title']}", "cyan")
        return found

    def begin_of_a_slot(self) -> None:
        """Wait until five minutes of F0 Ops begin: what breaks then is broken for the whole of them."""
        if self.terminal.clock is None:
            return
        left = 300 - self.terminal.clock() % 300
        end = time.monotonic() + left * self.slot / 300
        self.say("I wait until the next five minutes begin.")
        while time.monotonic() < end:
            self.terminal.live(str(self.load.figures()))
            time.sleep(min(POLL, max(0.0, end - time.monotonic())))

    def api(self, state: str, colour: str) -> None:
        """The component's state, in the health answer and in words on the page."""

        def shown() -> dict[str, Any] | None:
            component = self.ops.component("API")
            if component.get("status") != state:
                return None
            message = component.get("message", "")
            return component if message in self.ops.page() else None

        component = self.wait(f"The status page did not show the API as {state}", "/status", shown)
        message = f" “{component['message']}”." if component.get("message") else ""
        self.seen(f"The status page shows the API: {state}.{message}", colour)

    def cleared(self, slo: str) -> None:
        message = self.slack(slo, "resolved")
        self.seen(f"The alert “{slo}” clears, and Slack is told:")
        self.terminal.box(message.lines, "green")
        self.incident(message, "resolved")
        self.api("operational", "green")

    def wait(self, otherwise: str, where: str, look: Callable[[], T | None]) -> T:
        """What `look` returns once that is true. Raises `DidNotCome` with the sentence `otherwise`."""
        end = time.monotonic() + self.limit
        while True:
            found = look()
            if found:
                return found
            for process in self.processes:
                if process.ended:
                    raise DidNotCome(f"{otherwise}: {process.name} has ended. Its last words:\n{process.last_words()}")
            if time.monotonic() > end:
                raise DidNotCome(self.failure(otherwise, where))
            self.terminal.live(str(self.load.figures()))
            time.sleep(POLL)

    def failure(self, what: str, where: str) -> str:
        logs = " and ".join(str(process.log) for process in self.processes)
        return (
            f"{what} within {self.limit:.0f} s.\nLook at {self.ops.url}{where} and into {logs}.\n"
            f"The last health answer: {json.dumps(self.ops.health())}\nThe load: {self.load.figures()}"
        )

    def is_measured(self) -> bool:
        """The probe may find the API in order before its first requests are counted."""
        health = self.health()
        return health["status"] == "operational" and "latency" in health["components"]["API"]

    def health(self) -> dict[str, Any]:
        return self.ops.health() or {"status": None}

    # Words

    def expect(self, once: str, slots: int, what: str) -> None:
        """What comes next, and when at the latest, in seconds of who looks on."""
        within = f"within {slots * self.slot:.0f} seconds of yours"
        self.say(f"{once}, {within}: {what}." if once else f"{within.capitalize()}: {what}.")

    def to_see(self, *places: str, stays: bool = False) -> None:
        """Where what was just told can be seen. What `stays` does so until an open page has renewed itself."""
        for place in places:
            self.terminal.say(f"{self.ops.url}{place}", "→", "cyan")
        if stays and self.terminal.is_tty:
            self.say(f"I leave it so for {LOOK:.0f} seconds: an open page shows it by then.")
            end = time.monotonic() + LOOK
            while time.monotonic() < end:
                self.terminal.live(str(self.load.figures()))
                time.sleep(POLL)

    def say(self, text: str) -> None:
        self.terminal.say(text)

    def seen(self, text: str, colour: str = "green") -> None:
        self.terminal.say(text, "✓", colour)

    def load_figure(self) -> None:
        self.terminal.say(f"The load: {' '.join(str(self.load.figures()).split())}", "·", "dim")

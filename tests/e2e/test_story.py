"""The whole story on both stores: a metric arrives, an SLO breaks, Slack hears of it, the page shows it, all clears.

Everything goes over HTTP: a Flask shop measures itself and sends its metrics through the client, the scheduled
functions are called with the scheduler's signed token, Slack is a server that judges messages as Slack does. Only the
clock that handlers are given is moved by hand, and a hanging Slack is given up on sooner than after ten seconds.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from demo.shop import Trouble, build
from shared import bootstrap
from shared.bootstrap import App
from shared.metrics_client import MetricsClient
from shared.settings import Settings
from shared.store.protocol import Merge, Put, Store, Write
from tests.e2e.support import (
    INGEST_KEY,
    SLOT,
    Answer,
    Clock,
    Functions,
    Scheduler,
    call,
    collection,
    each_alone,
    environment,
    everywhere,
    served,
    values_in,
)
from tests.e2e.test_delivery import Hasty, Wrapped
from tests.fake_servers import Behaviour, FakeSlack, failing, hanging, losing_the_reply, normal, throttled

LATENCY, ERRORS = "api-latency-p95-threshold", "api-availability-threshold"
PAGE, TICKET = "api-availability-page", "api-availability-ticket"
METRICS = ("api_latency", "agent_success_rate", "firestore_write_latency")
FAST, SLOW = [100.0 + n % 7 for n in range(200)], [600.0 + n % 7 for n in range(200)]
VISITS = [("GET", "/api/orders")] * 16 + [("GET", "/api/users/8341")] * 8
VISITS += [("POST", "/api/orders")] * 8 + [("POST", "/api/agent")] * 8  # below min_events: these two judge nothing
AGENT, ORDERS = VISITS.count(("POST", "/api/agent")), VISITS.count(("POST", "/api/orders"))


class World:
    """A deployment, its scheduler, its Slack, and a shop that sends to it."""

    shop_url: str

    def __init__(self, store: Store, slack: FakeSlack, scheduler: Scheduler, url: str) -> None:
        self.store, self.slack, self.scheduler, self.url = store, slack, scheduler, url
        self.clock = Clock()
        self.settings = Settings.load(environment(slack.url, scheduler.keys_url))
        self.use(store)
        self.trouble = Trouble()
        self.measured = 0
        self.client = MetricsClient(
            url, INGEST_KEY, clock=lambda: self.clock.now.timestamp(), flush_seconds=60, max_batch=1000
        )

    def use(self, store: Store) -> None:
        bootstrap.install(App(self.settings, store, Hasty(), self.clock, self.clock.monotonic))

    def visit_the_shop(self) -> None:
        """Real requests to the shop; what it measured has arrived when this returns."""

        def visit(way: tuple[str, str]) -> int:
            body = json.dumps({"user": 8341, "item": "lamp", "question": "where is my lamp?"}).encode()
            return call(*way, body, {"Content-Type": "application/json"}).status

        with ThreadPoolExecutor(16) as visitors:
            list(visitors.map(visit, [(method, self.shop_url + path) for method, path in VISITS]))
        self.measured += len(VISITS) + AGENT + (0 if self.trouble.broken else ORDERS)  # these are two metrics each
        end = time.monotonic() + 30  # an answer may be there a moment before it is measured
        while self.client.stats.accepted < self.measured:
            assert self.client.flush(30)
            assert time.monotonic() < end, self.client.stats

    def send(self, latencies: Sequence[float], *, failed: int = 0, batch: str | None = None) -> Answer:
        """A batch of api_latency with exact values, the first `failed` of them with status 500."""
        milliseconds = int(self.clock.now.timestamp() * 1000)
        metrics = [
            {
                "name": "api_latency",
                "value": value,
                "timestamp": milliseconds + n,
                "labels": {"endpoint": "/api/orders", "status": 500 if n < failed else 200},
            }
            for n, value in enumerate(latencies)
        ]
        body = json.dumps({"batchId": batch or f"batch-{milliseconds}", "metrics": metrics}).encode()
        return call("POST", f"{self.url}/api/metrics", body, {"X-Api-Key": INGEST_KEY})

    def run(self, function_id: str) -> Any:
        if function_id == "alertRules":  # the notifier's minutes since then had nothing to tell
            self.store.commit([Put("runs/notifier", {"finishedAt": self.clock.now})])
        answer = self.scheduler.call(self.url, function_id, self.clock.now)
        assert answer.status == 200, answer.body
        return answer.json

    def evaluate(self) -> Any:
        """Let the slot end and the next run of the alert rules happen; what it answered."""
        self.clock.to_next_mark()
        return self.run("alertRules")

    def notify(self) -> Any:
        """Let a minute go by and the notifier run; what it answered."""
        self.clock.advance(60)
        return self.run("notifier")

    def healthz(self) -> Any:
        answer = call("GET", f"{self.url}/api/status/healthz")
        assert answer.status == 200
        return answer.json

    def api(self) -> str:
        """What healthz says of the API."""
        return str(self.healthz()["components"]["API"]["status"])

    def page(self) -> str:
        answer = call("GET", f"{self.url}/status")
        assert answer.status == 200
        return answer.body.decode()

    def flag(self, group: str, name: str, value: bool) -> None:
        """Throw a switch, and let what instances remember grow old."""
        self.store.commit([Merge("config/flags", {group: {name: value}})])
        self.clock.advance(9)

    def alerts(self) -> dict[str, tuple[str, int]]:
        return {name: (data["state"], data["seq"]) for name, data in collection(self.store, "alerts").items()}

    def notifications(self) -> dict[str, tuple[str, str | None]]:
        found = collection(self.store, "notifications")
        return {name: (data["state"], data["reason"]) for name, data in found.items()}

    def report(self) -> dict[str, dict[str, Any]]:
        """What the last run says of each SLO, by name."""
        return {slo["name"]: slo for slo in collection(self.store, "runs")["alertRules"]["slos"]}

    def incidents(self) -> dict[str, str]:
        return {name: data["status"] for name, data in collection(self.store, "incidents").items()}


@pytest.fixture(scope="module")
def functions() -> Functions:
    return Functions()


@pytest.fixture
def world(store: Store, functions: Functions, tmp_path: Path) -> Iterator[World]:
    scheduler = Scheduler()
    with FakeSlack() as slack, served(functions) as url:
        world = World(store, slack, scheduler, url)
        with served(build(world.client, tmp_path / "shop.db", world.trouble)) as shop_url:
            world.shop_url = shop_url
            yield world
        world.client.close()
    bootstrap.install(None)
    scheduler.close()


def texts(slack: FakeSlack) -> list[str]:
    return [message.payload["text"] for message in slack.shown]


def fields(message: Any) -> dict[str, str]:
    """The named fields of a Slack message."""
    lines = [f["text"] for block in message.payload["blocks"] for f in block.get("fields", [])]
    return {name.strip("*"): text for name, _, text in (line.partition("\n") for line in lines)}


def test_a_shop_slows_down_recovers_breaks_and_recovers(world: World) -> None:
    # Healthy traffic.
    world.visit_the_shop()
    assert world.evaluate()["fired"] == []
    assert (world.healthz()["status"], world.api()) == ("operational", "operational")
    assert "No known problems" in world.page()
    assert (world.alerts(), world.incidents(), world.notifications()) == ({}, {}, {})

    # Every request takes 500 ms longer.
    world.trouble.slow_ms = 500
    world.visit_the_shop()
    answer = world.evaluate()
    slow_since = world.clock.now
    assert answer["fired"] == [LATENCY]
    assert answer["delivered"]["delivered"] == 1
    assert world.alerts() == {LATENCY: ("firing", 1)}
    assert collection(world.store, "alerts")[LATENCY]["severity"] == "warning"
    assert world.notifications() == {f"{LATENCY}-1-slack": ("delivered", None)}
    assert world.incidents() == {f"{LATENCY}-1": "investigating"}
    assert world.slack.shown_ids == [f"{LATENCY}-1-slack"]
    [text] = texts(world.slack)
    assert text.startswith("🟡 API Latency (p95): firing. 95 % of requests should finish within 400 ms; ")
    measured = re.search(r"in the last 5 minutes p95 was ([\d,]+) ms", text)
    assert measured
    assert int(measured[1].replace(",", "")) >= 495  # 500 ms, to 1 %
    told = fields(world.slack.shown[0])
    assert told["Should be"] == "at most 400 ms"
    assert told["Counted"] == "0 of 40 were good (0 %)"
    assert f"<!date^{int(slow_since.timestamp())}^" in told["Since"]
    assert world.healthz()["status"] == "degraded"
    assert world.healthz()["components"]["API"]["message"] == "Slower than usual"
    assert world.healthz()["components"]["API"]["latency"] >= 495
    assert "Degraded: API" in world.page()
    assert world.notify()["delivered"] == 0

    # It is fast again.
    world.trouble.slow_ms = 0
    world.visit_the_shop()
    assert world.evaluate()["cleared"] == [LATENCY]
    assert world.alerts() == {LATENCY: ("resolved", 2)}
    assert world.slack.shown_ids[1:] == [f"{LATENCY}-2-slack"]
    assert texts(world.slack)[1].startswith("🟢 API Latency (p95): resolved. ")
    assert fields(world.slack.shown[1])["Lasted"] == "5 minutes"
    incident = collection(world.store, "incidents")[f"{LATENCY}-1"]
    assert (incident["status"], incident["resolvedAt"]) == ("resolved", world.clock.now)
    assert [update["status"] for update in incident["updates"]] == ["investigating", "resolved"]
    assert world.api() == "operational"

    # Orders and users answer 500. The threshold is broken, and the budget burns; what pages for that speaks for both.
    world.trouble.broken = True
    world.visit_the_shop()
    assert world.evaluate()["fired"] == [ERRORS, PAGE]
    assert {collection(world.store, "alerts")[name]["severity"] for name in (ERRORS, PAGE)} == {"critical"}
    assert world.slack.shown_ids[2:] == [f"{PAGE}-1-slack"]
    assert texts(world.slack)[2] == (
        "🔴 API Availability (page): firing. In the last hour 20 % of requests failed, and at most 0.5 % may."
        " That burns the error budget of 30 days 40 × as fast as it may, and 40 × the whole budget is spent."
    )
    assert fields(world.slack.shown[2])["Counted"] == "128 of 160 were good (80 %)"
    assert world.notifications()[f"{ERRORS}-1-slack"] == ("withheld", "inhibited")
    assert world.notifications()[f"{ERRORS}-1-email"] == ("withheld", "not_configured")
    assert {collection(world.store, "alerts")[name]["incidentId"] for name in (ERRORS, PAGE)} == {f"{ERRORS}-1"}
    assert (world.healthz()["status"], world.api()) == ("outage", "outage")
    assert "Outage: API" in world.page()

    # It works again: the page says so at once, the alert once the last half hour is good.
    world.trouble.broken = False
    for cleared in ([ERRORS], [], [], [], [], [PAGE]):
        world.visit_the_shop()
        assert len(world.slack.shown) == 3
        assert world.evaluate()["cleared"] == cleared
        assert world.notify()["delivered"] == 0
        assert (world.healthz()["status"], world.api()) == ("operational", "operational")
        assert "No known problems" in world.page()
    assert texts(world.slack)[3].startswith("🟢 API Availability (page): resolved. ")
    assert fields(world.slack.shown[3])["Lasted"] == "30 minutes"

    # Nothing more and nothing less than this is in the store, and everything measured counts once.
    assert world.alerts() == {LATENCY: ("resolved", 2), ERRORS: ("resolved", 2), PAGE: ("resolved", 3)}
    assert world.incidents() == {f"{LATENCY}-1": "resolved", f"{ERRORS}-1": "resolved"}
    assert world.notifications() == {
        f"{LATENCY}-1-slack": ("delivered", None),
        f"{LATENCY}-2-slack": ("delivered", None),
        f"{ERRORS}-1-slack": ("withheld", "inhibited"),
        f"{ERRORS}-1-email": ("withheld", "not_configured"),
        f"{ERRORS}-2-slack": ("cancelled", "trigger_not_sent"),
        f"{ERRORS}-2-email": ("withheld", "not_configured"),
        f"{PAGE}-1-slack": ("delivered", None),
        f"{PAGE}-1-email": ("withheld", "not_configured"),
        f"{PAGE}-2-pagerduty": ("withheld", "channel_disabled"),  # passed on after 15 minutes, if it were on
        f"{PAGE}-3-slack": ("delivered", None),
        f"{PAGE}-3-email": ("withheld", "not_configured"),
        f"{PAGE}-3-pagerduty": ("withheld", "channel_disabled"),
    }
    assert len(world.slack.received) == len(world.slack.shown) == 4
    assert everywhere(world.store, "segments") == []
    slots = [f"12:{minute:02}" for minute in range(0, 50, 5)]
    assert values_in(world.store, "api_latency") == dict.fromkeys(slots, len(VISITS))
    assert values_in(world.store, "agent_success_rate") == dict.fromkeys(slots, 8)
    stats = world.client.stats
    assert stats.accepted == sum(values_in(world.store, m)[at] for m in METRICS for at in slots)
    assert (stats.rejected, stats.lost, stats.dropped) == (0, 0, 0)


def test_latency_alert_trigger(world: World) -> None:
    """Smoke test 2 of the original plan: slow down, collect, evaluate, Slack says p95, be fast again, it clears."""
    assert world.send(SLOW).status == 202
    assert world.evaluate()["fired"] == [LATENCY]
    value = collection(world.store, "alerts")[LATENCY]["value"]
    assert abs(value - 606) <= 6.06  # p95 to 1 %
    assert f"p95 was {round(value)} ms" in texts(world.slack)[0]
    assert world.send(FAST).status == 202
    assert world.evaluate()["cleared"] == [LATENCY]
    assert world.alerts() == {LATENCY: ("resolved", 2)}
    assert world.slack.shown_ids == [f"{LATENCY}-1-slack", f"{LATENCY}-2-slack"]


def test_slo_violation_handling(world: World) -> None:
    """Smoke test 6: errors above 1 %, Slack is told, the email recorded, an incident opened; all returns to normal."""
    assert world.send(FAST * 8, failed=24).status == 202  # 1.5 %
    assert world.evaluate()["fired"] == [ERRORS]
    assert "in the last 5 minutes 1.5 % failed" in texts(world.slack)[0]
    assert world.notifications()[f"{ERRORS}-1-email"] == ("withheld", "not_configured")
    assert world.incidents() == {f"{ERRORS}-1": "investigating"}
    report = world.report()
    assert (report["API Availability"]["compliance"], report["API Availability"]["good"]) == ("missed", 1576)
    for _ in range(3):  # 6,376 of 6,400: above 99.5 % again
        assert world.send(FAST * 8).status == 202
        world.evaluate()
    report = world.report()
    assert (report["API Availability"]["compliance"], report["API Availability"]["good"]) == ("met", 6376)
    assert world.alerts() == {ERRORS: ("resolved", 2)}
    assert world.incidents() == {f"{ERRORS}-1": "resolved"}


def test_one_outage_is_one_message_and_what_it_did_to_the_budget_is_told_after_it(world: World) -> None:
    world.send(FAST, failed=100)
    assert world.evaluate()["fired"] == [ERRORS, PAGE, TICKET]
    assert world.slack.shown_ids == [f"{PAGE}-1-slack"]
    for muted in (ERRORS, TICKET):
        assert world.notifications()[f"{muted}-1-slack"] == ("withheld", "inhibited")
    assert world.incidents() == {f"{ERRORS}-1": "investigating"}
    assert collection(world.store, "alerts")[TICKET]["incidentId"] is None
    for _ in range(6):
        assert world.incidents() == {f"{ERRORS}-1": "investigating"}
        world.send(FAST)
        world.evaluate()
        world.notify()
        assert world.api() == "operational"
    assert world.incidents() == {f"{ERRORS}-1": "resolved"}
    assert world.alerts() == {ERRORS: ("resolved", 2), PAGE: ("resolved", 3), TICKET: ("firing", 2)}
    assert world.slack.shown_ids == [f"{PAGE}-1-slack", f"{PAGE}-3-slack", f"{TICKET}-2-slack"]
    assert texts(world.slack)[2].startswith("🟡 API Availability (ticket): firing. ")
    for _ in range(3):
        world.send(FAST)
        assert world.evaluate()["toldAgain"] == []
        world.notify()
    assert len(world.slack.received) == 3


def test_an_outage_that_grows_is_told_again_where_it_pages_and_its_end_as_often(world: World) -> None:
    world.send(FAST * 8, failed=24)  # 1.5 %
    assert world.evaluate()["fired"] == [ERRORS]
    world.send(FAST * 8, failed=400)  # 25 %
    assert world.evaluate()["fired"] == [PAGE, TICKET]
    assert world.slack.shown_ids == [f"{ERRORS}-1-slack", f"{PAGE}-1-slack"]
    for _ in range(6):
        world.send(FAST * 8)
        world.evaluate()
    assert world.slack.shown_ids[2:4] == [f"{ERRORS}-2-slack", f"{PAGE}-2-slack"]
    assert world.incidents() == {f"{ERRORS}-1": "resolved"}


def test_at_the_threshold_nothing_fires_and_just_beyond_it_does(world: World) -> None:
    world.send(FAST * 8, failed=8)  # 0.5 % exactly
    assert world.evaluate()["fired"] == []
    world.send(FAST[:199] * 8, failed=8)  # 0.5025 %
    assert world.evaluate()["fired"] == [ERRORS]


def test_alerts_switched_off_are_recorded_and_told_once_when_on_again(world: World) -> None:
    world.flag("alerts", "enabled", False)
    world.send(SLOW)
    assert world.evaluate()["fired"] == [LATENCY]
    assert world.notify()["delivered"] == 0
    assert world.alerts() == {LATENCY: ("firing", 1)}
    assert world.notifications() == {f"{LATENCY}-1-slack": ("withheld", "alerts_disabled")}
    assert world.api() == "degraded"
    world.send(SLOW)
    assert world.evaluate()["toldAgain"] == []
    world.flag("alerts", "enabled", True)
    for told in ([LATENCY], [], []):
        world.send(SLOW)
        assert world.evaluate()["toldAgain"] == told
        assert world.notify()["delivered"] == 0  # the run itself has sent it
    assert world.slack.shown_ids == [f"{LATENCY}-2-slack"]
    world.send(FAST)
    world.evaluate()
    assert world.slack.shown_ids == [f"{LATENCY}-2-slack", f"{LATENCY}-3-slack"]
    assert world.notifications() == {
        f"{LATENCY}-1-slack": ("withheld", "alerts_disabled"),
        f"{LATENCY}-2-slack": ("delivered", None),
        f"{LATENCY}-3-slack": ("delivered", None),
    }
    assert world.incidents() == {f"{LATENCY}-1": "resolved"}


def test_what_begins_and_ends_while_alerts_are_off_is_never_told(world: World) -> None:
    world.flag("alerts", "enabled", False)
    for latencies in (SLOW, FAST):
        world.send(latencies)
        world.evaluate()
    world.flag("alerts", "enabled", True)
    world.send(FAST)
    world.evaluate()
    world.notify()
    assert world.slack.received == []
    assert set(world.notifications().values()) == {("withheld", "alerts_disabled")}
    assert world.alerts() == {LATENCY: ("resolved", 2)}


def test_slos_not_enforced_are_reported_and_nothing_else(world: World) -> None:
    world.flag("ops", "slo_enforced", False)
    world.send(SLOW, failed=100)
    assert world.evaluate()["fired"] == []
    assert (world.alerts(), world.incidents(), world.notifications()) == ({}, {}, {})
    assert world.api() == "operational"
    report = world.report()
    assert report["API Availability"]["compliance"] == "missed"
    assert report["API Availability"]["reason"] == "not_enforced"
    world.flag("ops", "slo_enforced", True)
    world.send(SLOW, failed=100)
    assert world.evaluate()["fired"] == [ERRORS, PAGE, TICKET, LATENCY]
    assert world.api() == "outage"


def test_metrics_collection_switched_off_stores_nothing_and_says_so(world: World) -> None:
    world.flag("ops", "metrics_collection", False)
    answer = world.send(SLOW)
    assert (answer.status, answer.json["accepted"], answer.json["stored"]) == (202, 0, False)
    assert "switched off" in answer.json["notice"]
    assert everywhere(world.store, "segments") == []
    world.flag("ops", "metrics_collection", True)
    assert world.send(SLOW).json["accepted"] == 200
    world.evaluate()
    assert values_in(world.store, "api_latency") == {"12:00": 200}


def test_a_status_page_switched_off_shows_and_keeps_nothing(world: World) -> None:
    world.send(SLOW)
    world.evaluate()
    assert world.api() == "degraded"
    world.flag("ops", "public_status_page", False)
    assert world.healthz() == {"status": "disabled", "components": {}}
    assert "The status page is switched off" in world.page()
    assert "Slower than usual" not in world.page()
    world.send(SLOW)
    world.evaluate()
    snapshot = world.store.get("status/public")
    assert snapshot is not None
    assert (snapshot.data["components"], snapshot.data["incidents"]) == ([], [])
    world.flag("ops", "public_status_page", True)
    world.send(SLOW)
    world.evaluate()
    assert world.api() == "degraded"
    assert "Slower than usual" in world.page()


@pytest.mark.parametrize(
    ("behave", "copies"),
    [(throttled("30"), 1), (failing(500), 1), (hanging, 1), (losing_the_reply, 2)],
    ids=["429", "500", "timeout", "lost reply"],
)
def test_slack_in_trouble_is_told_later(world: World, behave: Behaviour, copies: int) -> None:
    world.slack.behave = behave
    world.send(SLOW)
    assert world.evaluate()["delivered"]["retried"] == 1
    assert world.notifications() == {f"{LATENCY}-1-slack": ("pending", None)}
    assert world.api() == "degraded"  # the page waits for nobody
    world.slack.behave = normal
    assert world.notify()["delivered"] == 1
    assert world.notify()["delivered"] == 0
    assert world.notifications() == {f"{LATENCY}-1-slack": ("delivered", None)}
    assert world.slack.shown_ids == [f"{LATENCY}-1-slack"] * copies


def test_slack_refusing_for_good_leaves_a_dead_letter_in_sight(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.slack.behave = failing(410, "channel_is_archived")
    world.send(SLOW)
    assert world.evaluate()["delivered"]["dead"] == 1
    assert world.notify() == {
        "delivered": 1, "retried": 0, "dead": 0, "withheld": 0, "cancelled": 0, "stopped": None
    }  # fmt: skip
    assert world.notifications() == {
        f"{LATENCY}-1-slack": ("dead", "channel_is_archived"),
        "dead-letters-1-email": ("withheld", "not_configured"),  # through the others that are there
        "dead-letters-1-inapp": ("delivered", None),
        "dead-letters-1-pagerduty": ("withheld", "channel_disabled"),
    }
    errors = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if line["severity"] == "ERROR"]
    assert [(e["notification"], e["reason"]) for e in errors] == [(f"{LATENCY}-1-slack", "channel_is_archived")]
    assert len(world.slack.received) == 1


def test_a_run_repeated_three_times_changes_nothing(world: World) -> None:
    def documents() -> dict[str, dict[str, Any]]:
        found = {name: collection(world.store, name) for name in ("alerts", "incidents", "notifications", "slo_days")}
        for name in ("segments", "m5", "h1", "slo", "metrics"):
            found[name] = {doc.path: doc.data for doc in everywhere(world.store, name)}
        return found

    for latencies in (SLOW, FAST):
        world.send(latencies)
        world.evaluate()
        before, messages = documents(), len(world.slack.received)
        for _ in range(3):
            answer = world.run("alertRules")
            assert (answer["fired"], answer["cleared"], answer["toldAgain"], answer["segments"]) == ([], [], [], 0)
            world.run("notifier")
        assert documents() == before
        assert len(world.slack.received) == messages


def test_a_batch_sent_three_times_counts_once(world: World) -> None:
    for _ in range(2):
        assert world.send(SLOW, batch="the-same-batch").status == 202
    sent_at = world.clock.now
    world.evaluate()
    world.clock.now, later = sent_at, world.clock.now
    assert world.send(SLOW, batch="the-same-batch").status == 202  # after the fold
    world.clock.now = later + SLOT
    world.run("alertRules")
    assert values_in(world.store, "api_latency") == {"12:00": 200}


class Meeting(Wrapped):
    """Two runs wait for each other where each of them is about to commit the first change of an alert."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._barrier = threading.Barrier(2)
        self._waited: set[int] = set()
        self.met = 0

    def commit(self, writes: Sequence[Write]) -> None:
        thread = threading.get_ident()
        if thread not in self._waited and any(write.path.startswith("alerts/") for write in writes):
            self._waited.add(thread)
            self._barrier.wait(30)
            self.met += 1
        super().commit(writes)


def test_two_runs_at_once_change_nothing_twice(world: World) -> None:
    world.settings = replace(world.settings, config_dir=each_alone())
    world.use(world.store)
    for seq, (latencies, failed) in enumerate([(SLOW * 4, 12), (FAST * 4, 0)], start=1):  # 1.5 % page nobody
        world.send(latencies, failed=failed)
        world.clock.to_next_mark()
        meeting = Meeting(world.store)
        world.use(meeting)
        with ThreadPoolExecutor(2) as runs:
            first, second = [runs.submit(world.run, "alertRules").result for _ in range(2)]
            answers: list[Mapping[str, Any]] = [first(), second()]
        changed = "fired" if seq == 1 else "cleared"
        assert sorted(name for answer in answers for name in answer[changed]) == [ERRORS, LATENCY]
        assert meeting.met == 2
        world.notify()
        assert world.alerts() == dict.fromkeys((ERRORS, LATENCY), ("firing" if seq == 1 else "resolved", seq))
        assert len(world.notifications()) == 3 * seq
        assert sorted(world.slack.shown_ids[-2:]) == [f"{ERRORS}-{seq}-slack", f"{LATENCY}-{seq}-slack"]
        assert len(world.slack.received) == 2 * seq
    assert world.incidents() == {f"{ERRORS}-1": "resolved", f"{LATENCY}-1": "resolved"}
    assert values_in(world.store, "api_latency") == {"12:00": 800, "12:05": 800}


def test_a_stranger_runs_nothing(world: World) -> None:
    stranger = Scheduler(generate_private_key(65537, 2048))  # the same claims and key id, signed with a key of its own
    world.send(SLOW)
    world.clock.to_next_mark()
    for function_id in ("alertRules", "notifier"):
        assert stranger.call(world.url, function_id, world.clock.now).status == 401
        assert call("POST", f"{world.url}/{function_id}", b"").status == 401
    stranger.close()
    assert len(everywhere(world.store, "segments")) == 1
    assert (world.alerts(), world.slack.received) == ({}, [])

"""The outbox is delivered over real HTTP from both stores: in order, until accepted, and never silently dropped."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.bootstrap import App
from shared.delivery.dead_letters import tell_of_dead_letters
from shared.delivery.deliver import COLLECTION, Delivered, dead_letters, deliver_due
from shared.domain import notification as outbox
from shared.domain.notification import DEAD_LETTERS, new_notification
from shared.outbound import HttpOutbound, Reply
from shared.settings import Settings
from shared.store.protocol import Create, Doc, Merge, Put, Query, Store, Unavailable, Write
from tests.e2e.support import each_alone
from tests.fake_servers import (
    Behaviour,
    Exchange,
    FakeSlack,
    closing,
    dripping,
    failing,
    garbage,
    half_an_answer,
    hanging,
    losing_the_reply,
    normal,
    throttled,
)
from tests.unit.test_slack_message import facts_of

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clock:
    """The time of day and the machine's seconds, moved by hand; the latter also go on by themselves."""

    def __init__(self) -> None:
        self.now = NOW
        self.skipped = 0.0

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.skipped += seconds


class Hasty(HttpOutbound):
    """The real thing with a shorter deadline, so that a server that hangs costs a test no ten seconds; and yet longer
    than a busy machine takes for an answer.
    """

    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        return super().post(url, body, headers, min(deadline, 3.0))


class Bench:
    """An App on `store` that sends to a fake Slack, with what tests do to it."""

    outbound: type[HttpOutbound] = Hasty

    def __init__(self, store: Store, slack: FakeSlack, config_dir: Path | None = None) -> None:
        self.store, self.slack, self.clock = store, slack, Clock()
        self.config_dir = config_dir or each_alone()
        self.app = self.app_over(store)

    def app_over(self, store: Store, **env: str) -> App:
        defaults = {"SLACK_WEBHOOK_URL": self.slack.url, "F0_STORE": "sqlite", "CONFIG_DIR": str(self.config_dir)}
        settings = Settings.load(defaults | env)
        return App(settings, store, self.outbound(), self.clock, self.clock.monotonic)

    def add(self, kind: Any, seq: int, alert: str = "api", channel: str = "slack", **changes: Any) -> str:
        """An outbox document as the alert rules create it, `changes` made to it; returns its id."""
        facts = facts_of("api-latency-p95", kind)
        path, data = new_notification(alert, seq, channel, kind, facts, self.clock.now)
        self.store.commit([Create(path, {**data, **changes})])
        return str(data["notificationId"])

    def put(self, data: Mapping[str, Any]) -> None:
        self.store.commit([Put(f"{COLLECTION}/{data['notificationId']}", dict(data))])

    def deliver(self, **more: Any) -> Delivered:
        return deliver_due(self.app, self.clock.now, **{"budget_seconds": 30.0, **more})

    def read(self, notification_id: str) -> dict[str, Any]:
        doc = self.store.get(f"{COLLECTION}/{notification_id}")
        assert doc is not None
        return doc.data

    def state(self, notification_id: str) -> tuple[str, str | None]:
        data = self.read(notification_id)
        return data["state"], data["reason"]

    def flag(self, name: str, value: bool) -> None:
        """Throw a switch, and let the cache of flags grow old."""
        self.store.commit([Merge("config/flags", {"alerts": {name: value}})])
        self.clock.skipped += 9


class Wrapped:
    """A store in front of another: what a test overrides is different, the rest goes through."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.meter = inner.meter

    def get(self, path: str) -> Doc | None:
        return self.inner.get(path)

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        return self.inner.get_many(paths)

    def commit(self, writes: Sequence[Write]) -> None:
        self.inner.commit(writes)

    def query(self, query: Query) -> list[Doc]:
        return self.inner.query(query)

    def count(self, query: Query) -> int:
        return self.inner.count(query)

    def purge(self, now_us: int, limit: int = 1000) -> int:
        return self.inner.purge(now_us, limit)

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    with FakeSlack() as slack:
        yield Bench(store, slack)


def fails_first(behave: Behaviour) -> Behaviour:
    """Misbehave on the first request, then be normal."""
    return lambda exchange: (behave if exchange.received.number == 0 else normal)(exchange)


def test_a_trigger_and_its_resolve_arrive_in_order_and_are_recorded(bench: Bench) -> None:
    trigger = bench.add("trigger", 1)
    assert bench.deliver().delivered == 1
    resolve = bench.add("resolve", 2)
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [trigger, resolve]
    data = bench.read(trigger)
    assert (data["state"], data["open"], data["deliveredAt"], data["owner"]) == ("delivered", False, NOW, None)
    assert [(a["outcome"], a["status"], a["detail"]) for a in data["attempts"]] == [("delivered", 200, "ok")]


def test_what_is_delivered_is_not_sent_again(bench: Bench) -> None:
    bench.add("trigger", 1)
    bench.deliver()
    bench.clock.advance(3600)
    assert bench.deliver() == Delivered()
    assert len(bench.slack.received) == 1


def test_a_quiet_minute_costs_one_read_and_a_message_three_writes(bench: Bench) -> None:
    start = bench.store.meter.snapshot()
    bench.deliver()
    quiet = bench.store.meter.since(start)
    assert (quiet.reads, quiet.writes) == (1, 0)
    bench.add("trigger", 1)
    start = bench.store.meter.snapshot()
    bench.deliver()
    busy = bench.store.meter.since(start)
    # Is anything due, all that is open, the flags, silences, maintenances, the channel's log, the claim; claimed with
    # the channel's log, delivered.
    assert (busy.reads, busy.writes) == (7, 3)


@pytest.mark.parametrize(
    ("behave", "outcome", "detail", "copies"),
    [
        (failing(500), "retry", "http_500", 1),
        (failing(503), "retry", "http_503", 1),
        (failing(408), "retry", "http_408", 1),
        (throttled("2"), "retry", "throttled", 1),
        (failing(200, "welcome"), "unknown", "unexpected_answer", 1),
        (hanging, "unknown", "timeout", 1),
        (dripping(b"HTTP/1.1 200 OK\r\nX: y\r\n", 0.05), "unknown", "timeout", 1),
        (closing, "unknown", "connection_lost", 1),
        (garbage, "unknown", "unreadable_answer", 1),
        (half_an_answer, "unknown", "incomplete_answer", 2),
        (losing_the_reply, "unknown", "connection_lost", 2),
    ],
)
def test_after_a_failure_it_is_sent_again(
    bench: Bench, behave: Behaviour, outcome: str, detail: str, copies: int
) -> None:
    bench.slack.behave = fails_first(behave)
    notification = bench.add("trigger", 1)
    assert bench.deliver().retried == 1
    assert bench.deliver() == Delivered()  # not before its time
    assert bench.state(notification) == ("pending", None)
    bench.clock.advance(7)
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [notification] * copies  # only a lost reply doubles, and under the same id
    first, second = bench.read(notification)["attempts"]
    assert (first["outcome"], first["detail"], second["outcome"]) == (outcome, detail, "delivered")


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (failing(404, "no_service"), "no_service"),
        (failing(403, "action_prohibited"), "action_prohibited"),
        (failing(301, "", {"Location": "http://127.0.0.1:1/"}), "http_301"),
        (failing(418, "<h1>no</h1>"), "http_418"),
    ],
)
def test_what_is_refused_for_good_is_a_visible_dead_letter(
    bench: Bench, behave: Behaviour, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.slack.behave = behave
    notification = bench.add("trigger", 1)
    assert bench.deliver().dead == 1
    assert bench.state(notification) == ("dead", reason)
    assert [doc.id for doc in dead_letters(bench.store)] == [notification]
    errors = [e for e in map(json.loads, capsys.readouterr().out.splitlines()) if e["severity"] == "ERROR"]
    assert [(e["notification"], e["reason"]) for e in errors] == [(notification, reason)]


def test_a_slack_that_is_down_is_told_elsewhere_after_a_quarter_of_an_hour_and_still_gets_its_message(
    bench: Bench,
) -> None:
    bench.slack.behave = failing(503)
    trigger = bench.add("trigger", 1)
    told = []
    for minute in range(30):
        bench.deliver()
        if tell_of_dead_letters(bench.app, bench.clock.now):
            told.append(minute)
        bench.clock.advance(60)
    assert len(told) == 1
    assert 15 <= told[0] <= 25  # it is tried every 10 minutes by then
    notices = {doc.id for doc in bench.store.query(Query(COLLECTION)) if doc.data["alertId"] == DEAD_LETTERS}
    assert notices == {f"{DEAD_LETTERS}-1-{channel}" for channel in ("email", "inapp", "pagerduty")}
    bench.slack.behave = normal
    bench.clock.advance(outbox.LONGEST_WAIT.total_seconds() * (1 + outbox.JITTER))
    bench.deliver()
    assert bench.state(trigger) == ("delivered", None)
    assert tell_of_dead_letters(bench.app, bench.clock.now) == "clear"  # it arrived: nothing is lost


def test_dead_letters_come_latest_first(bench: Bench) -> None:
    bench.slack.behave = failing(410)
    ids = []
    for alert in ("a", "b", "c"):
        ids.append(bench.add("trigger", 1, alert))
        bench.clock.advance(60)
    bench.deliver()
    assert [doc.id for doc in dead_letters(bench.store, 2)] == [ids[2], ids[1]]


def test_after_a_day_it_is_dead_and_the_lane_goes_on(bench: Bench) -> None:
    old = bench.add("trigger", 1)
    bench.clock.advance(86_400)
    new = bench.add("trigger", 2)
    assert bench.deliver() == Delivered(dead=1, delivered=1)
    assert bench.state(old) == ("dead", "deadline")
    assert bench.slack.shown_ids == [new]


def test_what_comes_later_in_a_lane_waits_and_other_lanes_do_not(bench: Bench) -> None:
    bench.slack.behave = fails_first(failing(503))
    first = bench.add("trigger", 1)
    bench.deliver()
    second = bench.add("trigger", 2)
    bench.clock.advance(1)
    other = bench.add("trigger", 1, "billing")
    bench.deliver()
    assert bench.slack.shown_ids == [other]
    bench.clock.advance(7)
    bench.deliver()
    assert bench.slack.shown_ids == [other, first, second]


def test_a_lane_that_waits_does_not_crowd_out_the_others(bench: Bench) -> None:
    bench.add("trigger", 1, dueAt=NOW + timedelta(minutes=5))
    facts = facts_of("api-latency-p95", "trigger")
    blocked = [new_notification("api", seq, "slack", "trigger", facts, NOW) for seq in range(2, 152)]
    bench.store.commit([Create(path, data) for path, data in blocked])
    bench.clock.advance(1)
    other = bench.add("trigger", 1, "billing")
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [other]


@pytest.mark.parametrize(("flag", "reason"), [("enabled", "alerts_disabled"), ("slack", "channel_disabled")])
def test_a_switch_that_is_off_withholds_and_says_so(bench: Bench, flag: str, reason: str) -> None:
    bench.flag(flag, False)
    notification = bench.add("trigger", 1)
    assert bench.deliver().withheld == 1
    assert bench.state(notification) == ("withheld", reason)
    assert bench.read(notification)["attempts"] == []
    assert bench.slack.received == []


def test_a_switch_thrown_during_a_run_stops_the_rest_of_it(bench: Bench) -> None:
    ids = [bench.add("trigger", 1, alert) for alert in "abc"]

    def behave(exchange: Exchange) -> None:
        bench.flag("enabled", False)
        normal(exchange)

    bench.slack.behave = behave
    assert bench.deliver() == Delivered(delivered=1, withheld=2)
    assert bench.slack.shown_ids == ids[:1]
    assert [bench.state(i) for i in ids[1:]] == [("withheld", "alerts_disabled")] * 2


def test_a_switch_thrown_between_claim_and_sending_still_counts(bench: Bench) -> None:
    class Thrown(Wrapped):
        def commit(self, writes: Sequence[Write]) -> None:
            super().commit(writes)
            if isinstance(writes[0], Put) and writes[0].data["state"] == "sending":
                bench.flag("slack", False)

    notification = bench.add("trigger", 1)
    bench.app = bench.app_over(Thrown(bench.store))
    assert bench.deliver().withheld == 1
    assert bench.state(notification) == ("withheld", "channel_disabled")
    assert (bench.slack.received, bench.read(notification)["attempts"]) == ([], [])


def test_while_the_flags_were_never_read_nothing_is_sent_and_nothing_lost(bench: Bench) -> None:
    class Blind(Wrapped):
        def get(self, path: str) -> Doc | None:
            if path == "config/flags":
                raise Unavailable("no answer")
            return super().get(path)

    notification = bench.add("trigger", 1)
    bench.app = bench.app_over(Blind(bench.store))
    assert bench.deliver().stopped == "flags_unknown"
    assert bench.state(notification) == ("pending", None)
    assert bench.slack.received == []
    bench.app = bench.app_over(bench.store)
    assert bench.deliver().delivered == 1


@pytest.mark.parametrize(
    ("channel", "reason"),
    [("slack", "not_configured"), ("email", "not_configured"), ("pagerduty", "channel_disabled")],
)
def test_a_channel_that_cannot_send_is_recorded_as_withheld(bench: Bench, channel: str, reason: str) -> None:
    bench.app = bench.app_over(bench.store, SLACK_WEBHOOK_URL="")
    notification = bench.add("trigger", 1, channel=channel)
    assert bench.deliver().withheld == 1
    assert bench.state(notification) == ("withheld", reason)


def test_nobody_hears_of_the_end_of_what_nobody_heard_of(bench: Bench) -> None:
    bench.slack.behave = failing(404, "no_service")
    bench.add("trigger", 1)
    bench.deliver()
    bench.slack.behave = normal
    dead = bench.add("resolve", 2)
    bench.flag("slack", False)
    bench.add("trigger", 1, "billing")
    bench.deliver()
    withheld = bench.add("resolve", 2, "billing")
    bench.flag("slack", True)
    told = bench.add("trigger", 3)
    bench.deliver()
    assert bench.state(withheld) == ("cancelled", "trigger_not_sent")
    assert bench.state(dead) == ("withheld", "channel_disabled")
    assert bench.slack.shown_ids == [told]


def test_the_resolve_of_a_dead_trigger_is_cancelled(bench: Bench) -> None:
    bench.slack.behave = failing(404, "no_service")
    bench.add("trigger", 1)
    bench.deliver()
    bench.slack.behave = normal
    resolve = bench.add("resolve", 2)
    assert bench.deliver().cancelled == 1
    assert bench.state(resolve) == ("cancelled", "trigger_not_sent")
    assert bench.slack.shown == []


def test_the_resolve_of_a_trigger_that_may_have_arrived_is_sent(bench: Bench) -> None:
    bench.slack.behave = fails_first(losing_the_reply)
    trigger = bench.add("trigger", 1)
    bench.deliver()
    bench.clock.advance(86_400)
    resolve = bench.add("resolve", 2)
    assert bench.deliver() == Delivered(dead=1, delivered=1)
    assert bench.state(trigger) == ("dead", "deadline")
    assert bench.slack.shown_ids == [trigger, resolve]


def test_a_trigger_nobody_tried_to_send_and_its_resolve_are_both_cancelled_at_once(bench: Bench) -> None:
    ids = [bench.add("trigger", 1), bench.add("trigger", 2), bench.add("resolve", 3)]
    later = bench.add("trigger", 4)
    assert bench.deliver() == Delivered(cancelled=3, delivered=1)
    assert [bench.state(i) for i in ids] == [("cancelled", "resolved_before_sent")] * 3
    assert bench.slack.shown_ids == [later]


def test_a_repeat_and_a_resolve_of_what_people_know_are_sent(bench: Bench) -> None:
    ids = [bench.add("trigger", 1)]
    bench.deliver()
    ids += [bench.add("trigger", 2), bench.add("resolve", 3)]
    assert bench.deliver().delivered == 2
    assert bench.slack.shown_ids == ids


def test_a_trigger_that_was_tried_is_not_cancelled_by_its_resolve(bench: Bench) -> None:
    bench.slack.behave = fails_first(failing(503))
    ids = [bench.add("trigger", 1)]
    bench.deliver()
    ids.append(bench.add("resolve", 2))
    bench.clock.advance(7)
    assert bench.deliver().delivered == 2
    assert bench.slack.shown_ids == ids


def test_a_trigger_whose_sender_died_is_not_cancelled_by_its_resolve(bench: Bench) -> None:
    ids = [bench.add("trigger", 1), bench.add("resolve", 2)]
    claimed = outbox.claim(bench.read(ids[0]), "somebody", NOW)
    assert claimed is not None
    bench.put(claimed)
    assert bench.deliver() == Delivered()  # the lease holds
    bench.clock.advance(31)
    assert bench.deliver().delivered == 2
    assert bench.slack.shown_ids == ids
    assert [a["detail"] for a in bench.read(ids[0])["attempts"]] == ["sender_lost", "ok"]


def test_a_sender_that_was_held_up_past_its_lease_does_not_send(bench: Bench) -> None:
    class Slow(Wrapped):
        def commit(self, writes: Sequence[Write]) -> None:
            super().commit(writes)
            bench.clock.now += 25 * SECOND  # five seconds of lease are left: less than an answer may take

    notification = bench.add("trigger", 1)
    bench.app = bench.app_over(Slow(bench.store))
    assert bench.deliver() == Delivered()
    assert bench.slack.received == []
    bench.app = bench.app_over(bench.store)
    bench.clock.advance(6)
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [notification]


@pytest.mark.parametrize("step", ["sending", "delivered"])
def test_a_lost_reply_of_the_store_is_recognised(bench: Bench, step: str) -> None:
    lost = []

    class Losing(Wrapped):
        def commit(self, writes: Sequence[Write]) -> None:
            super().commit(writes)
            if isinstance(writes[0], Put) and writes[0].data["state"] == step and not lost:
                lost.append(step)
                raise Unavailable("the reply was lost")

    notification = bench.add("trigger", 1)
    bench.app = bench.app_over(Losing(bench.store))
    assert bench.deliver() == Delivered(delivered=1)
    assert lost == [step]
    assert bench.slack.shown_ids == [notification]
    assert len(bench.read(notification)["attempts"]) == 1


def test_a_store_that_fails_for_a_moment_after_sending_makes_no_second_copy(bench: Bench) -> None:
    failures = []

    class Failing(Wrapped):
        def get(self, path: str) -> Doc | None:
            if path.startswith(COLLECTION) and len(failures) < 2:
                failures.append(path)
                raise Unavailable("no answer")
            return super().get(path)

    notification = bench.add("trigger", 1)
    bench.app = bench.app_over(Failing(bench.store))
    assert bench.deliver().delivered == 1
    assert len(failures) == 2
    assert bench.state(notification) == ("delivered", None)


def test_a_store_that_stays_down_after_sending_is_an_error_and_the_message_is_sent_again_under_its_id(
    bench: Bench,
) -> None:
    class Down(Wrapped):
        def get(self, path: str) -> Doc | None:
            if path.startswith(COLLECTION):
                raise Unavailable("no answer")
            return super().get(path)

    notification = bench.add("trigger", 1)
    bench.app = bench.app_over(Down(bench.store))
    with pytest.raises(Unavailable):
        bench.deliver()
    bench.app = bench.app_over(bench.store)
    bench.clock.advance(31)
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [notification] * 2


def test_an_outcome_that_comes_after_the_lease_was_taken_over_changes_nothing(bench: Bench) -> None:
    notification = bench.add("trigger", 1)

    def behave(exchange: Exchange) -> None:
        taken = outbox.claim(bench.read(notification), "other", NOW + 31 * SECOND)
        assert taken is not None
        bench.put(taken)
        normal(exchange)

    bench.slack.behave = behave
    assert bench.deliver() == Delivered()
    data = bench.read(notification)
    assert (data["state"], data["owner"]) == ("sending", "other")


def test_one_message_that_cannot_be_made_holds_up_nobody(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    broken = bench.add("trigger", 1, "a", facts={"sloName": "no more than a name"})
    whole = bench.add("trigger", 1, "b")
    assert bench.deliver() == Delivered(retried=1, delivered=1)
    assert bench.state(broken) == ("pending", None)
    assert bench.slack.shown_ids == [whole]
    assert "a sender failed" in capsys.readouterr().out


def test_a_channel_that_throttles_is_left_alone_for_the_time_it_asks(bench: Bench) -> None:
    bench.slack.behave = throttled("60")
    for alert in "abc":
        bench.add("trigger", 1, alert)
    assert bench.deliver(patient=True).retried == 1
    assert len(bench.slack.received) == 1


def test_a_patient_run_waits_for_a_channel_that_throttles_briefly(bench: Bench) -> None:
    bench.slack.behave = fails_first(throttled("1"))
    for alert in "abc":
        bench.add("trigger", 1, alert)
    assert bench.deliver(patient=True, pause=bench.clock.advance) == Delivered(retried=1, delivered=2)


def test_no_item_is_begun_once_the_budget_is_used(bench: Bench) -> None:
    def behave(exchange: Exchange) -> None:
        bench.clock.skipped += 20
        normal(exchange)

    bench.slack.behave = behave
    for alert in "abc":
        bench.add("trigger", 1, alert)
    assert bench.deliver(budget_seconds=30.0) == Delivered(delivered=2, stopped="budget")
    assert bench.deliver(limit=0).stopped == "limit"
    assert bench.deliver().delivered == 1


def test_two_deliverers_at_once_send_each_item_once_and_in_order(bench: Bench) -> None:
    ids = {f"alert{n}": [bench.add("trigger", seq, f"alert{n}") for seq in range(1, 6)] for n in range(6)}
    apps = [bench.app_over(bench.store) for _ in range(3)]
    barrier = threading.Barrier(len(apps))

    def run(app: App) -> None:
        barrier.wait()
        for _ in range(3):  # who meets another's lease leaves the lane and looks again
            deliver_due(app, NOW, budget_seconds=30.0)

    threads = [threading.Thread(target=run, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.deliver()
    shown = bench.slack.shown_ids
    assert Counter(shown) == Counter(i for lane in ids.values() for i in lane)
    for alert, lane in ids.items():
        assert [i for i in shown if i.startswith(f"{alert}-")] == lane


def test_with_a_third_of_all_requests_failing_everything_arrives_in_order(bench: Bench) -> None:
    dice = random.Random(20260301)
    lost: Counter[str] = Counter()
    faults = [failing(500), failing(503), throttled("1"), closing, garbage, failing(200, "hm"), losing_the_reply]

    def behave(exchange: Exchange) -> None:
        fault = dice.choice(faults) if dice.random() < 0.3 else normal
        if fault is losing_the_reply:
            lost[exchange.received.notification_id or ""] += 1
        fault(exchange)

    bench.slack.behave = behave
    lanes = {f"alert{n}": [f"alert{n}-{seq}-slack" for seq in range(1, 31)] for n in range(10)}
    for alert in lanes:
        for seq in range(1, 31):
            bench.add("trigger" if seq % 3 else "resolve", seq, alert, attempts=[tried_before(seq)])
    for _ in range(500):
        bench.deliver(budget_seconds=60.0)
        bench.clock.advance(31)
        if not bench.store.count(Query(COLLECTION, (("open", "==", True),))):
            break
    everything = {i for lane in lanes.values() for i in lane}
    assert {bench.state(i) for i in everything} == {("delivered", None)}
    assert sum(lost.values()) > 3
    shown = bench.slack.shown_ids
    assert Counter(shown) == Counter(everything) + lost
    for alert, lane in lanes.items():
        in_order = list(dict.fromkeys(i for i in shown if i.startswith(f"{alert}-")))
        assert in_order == lane


def tried_before(seq: int) -> dict[str, Any]:
    """An attempt on record, so that no resolve cancels its trigger."""
    return {"at": NOW, "durationMs": 1, "outcome": "retry", "status": 503, "detail": f"earlier{seq}"}


@pytest.mark.parametrize("behave", [normal, failing(404), failing(500), hanging, garbage, closing])
def test_the_webhooks_address_is_in_no_document_and_no_log(
    bench: Bench, behave: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.slack.behave = behave
    notification = bench.add("trigger", 1)
    bench.deliver()
    assert len(bench.slack.received) == 1
    written = json.dumps(bench.read(notification), default=str) + "".join(capsys.readouterr())
    assert "canary" not in written.lower()

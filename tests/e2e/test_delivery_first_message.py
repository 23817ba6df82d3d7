"""The first message of a Slack thread is brought up to date, over real HTTP and from both stores; what if it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.bootstrap import App
from shared.delivery.deliver import COLLECTION, Delivered, deliver_due
from shared.domain.first_message import FIRST_MESSAGES
from shared.domain.notification import new_notification
from shared.outbound import HttpOutbound
from shared.store.protocol import Conflict, Create, Doc, Query, Store, Unavailable, Write
from tests.core import CONFIG
from tests.e2e.test_delivery import Bench, Hasty, Wrapped
from tests.fake_servers import (
    BOT_TOKEN,
    UPDATE,
    Behaviour,
    Exchange,
    FakeSlackApi,
    closing,
    failing,
    garbage,
    half_an_answer,
    hanging,
    losing_the_reply,
    normal,
    throttled,
)
from tests.unit.test_slack_message import facts_of

FIRST = "1.000000"
INTERVAL = 300  # seconds until a group is told more


class Threaded(Bench):
    """One that sends by a bot's token."""

    outbound = HttpOutbound
    slack: FakeSlackApi

    def __init__(self, store: Store, slack: FakeSlackApi, config_dir: Path = CONFIG) -> None:
        super().__init__(store, slack, config_dir)

    def app_over(self, store: Store, **env: str) -> App:
        return super().app_over(store, **{"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_API_URL": self.slack.api, **env})

    def tell(self, alert: str, seq: int = 1, kind: Any = "trigger", firing: int = 1, **facts: Any) -> str:
        facts = {"component": "API", "rule": "threshold", "firingSeq": firing, "sloName": alert, **facts}
        facts = {**facts_of("agent-success-rate", kind), **facts}
        path, data = new_notification(alert, seq, "slack", kind, facts, self.clock.now)
        self.store.commit([Create(path, data)])
        return str(data["notificationId"])

    def outdated(self) -> list[str]:
        return sorted(doc.id for doc in self.store.query(Query(COLLECTION)) if "outdates" in doc.data)

    def first_messages(self) -> list[dict[str, Any]]:
        return [doc.data for doc in self.store.query(Query(FIRST_MESSAGES))]

    def seen(self, ts: str = FIRST) -> str:
        """What people read in this message now."""
        return json.dumps(self.slack.screen[ts], ensure_ascii=False)

    def headline(self, ts: str = FIRST) -> str:
        return str(self.slack.screen[ts]["blocks"][0]["text"]["text"])


@pytest.fixture
def bench(store: Store) -> Iterator[Threaded]:
    with FakeSlackApi() as slack:
        yield Threaded(store, slack)


@pytest.fixture
def brief(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Threaded]:
    """One that does not wait for long where a server hangs."""
    monkeypatch.setattr(Threaded, "outbound", Hasty)
    with FakeSlackApi() as slack:
        yield Threaded(store, slack)


def only_updates(behave: Behaviour) -> Behaviour:
    """Misbehave where a message is to be changed; take every message."""
    return lambda exchange: (behave if exchange.received.path == UPDATE else normal)(exchange)


def grown(bench: Threaded) -> None:
    """A message of one alert, and another one that was added to it."""
    bench.tell("errors", severity="high")
    bench.deliver()
    bench.clock.advance(INTERVAL)
    bench.tell("agents", severity="high")


def test_it_grows_with_its_group_and_the_thread_tells_what_was_added(bench: Threaded) -> None:
    grown(bench)
    assert bench.headline() == "🟠 errors: firing"
    assert bench.deliver() == Delivered(delivered=1)
    assert bench.headline() == "🟠 2 alerts: 2 firing"
    assert all(f"*{name}*: firing" in bench.seen() for name in ("errors", "agents"))
    assert "Notification `errors-1-slack`" in bench.seen()  # it is the same message still
    assert [post.payload.get("thread_ts") for post in bench.slack.shown] == [None, FIRST]
    assert bench.outdated() == []


def test_it_says_what_of_it_is_over_and_when_all_is(bench: Threaded) -> None:
    bench.tell("errors", severity="high")
    bench.tell("agents", severity="critical")
    bench.deliver()
    bench.clock.advance(60)
    bench.tell("agents", 2, "resolve", severity="critical")
    bench.deliver()
    assert bench.headline() == "🟠 2 alerts: 1 firing, 1 resolved"
    bench.clock.advance(60)
    bench.tell("errors", 2, "resolve", severity="high")
    bench.deliver()
    assert bench.headline() == "🟢 2 alerts: 2 resolved"
    assert len(bench.slack.shown) == 3


def test_a_message_of_one_alert_says_that_it_is_over(bench: Threaded) -> None:
    bench.tell("errors")
    bench.deliver()
    bench.clock.advance(60)
    bench.tell("errors", 2, "resolve")
    bench.deliver()
    assert bench.headline() == "🟢 errors: resolved"
    assert "Notification `errors-1-slack`" in bench.seen()
    assert [each.payload["ts"] for each in bench.slack.updates] == [FIRST]


def test_an_end_that_is_told_in_another_thread_is_seen_in_the_first_message_of_its_own(bench: Threaded) -> None:
    bench.tell("errors", component="API")
    bench.tell("logins", component="Auth")
    bench.deliver()
    assert len(bench.slack.shown) == 2
    bench.clock.advance(60)  # they end in one message, since what they are of has one name by now
    bench.tell("errors", 2, "resolve")
    bench.tell("logins", 2, "resolve")
    bench.deliver()
    assert [post.payload.get("thread_ts") for post in bench.slack.shown[2:]] == [FIRST]
    assert {bench.headline(f"{n}.000000") for n in (1, 2)} == {"🟢 2 alerts: 2 resolved", "🟢 logins: resolved"}


def test_what_begins_a_thread_outdates_nothing(bench: Threaded) -> None:
    bench.tell("errors")
    bench.deliver()
    assert (bench.outdated(), bench.slack.updates, bench.first_messages()) == ([], [], [])


def test_a_minute_without_news_asks_for_nothing_of_slack(bench: Threaded) -> None:
    grown(bench)
    bench.deliver()
    asked = len(bench.slack.received)
    start = bench.store.meter.snapshot()
    assert bench.deliver() == Delivered()
    used = bench.store.meter.since(start)
    assert (used.reads, used.writes, len(bench.slack.received)) == (2, 0, asked)


def test_to_bring_one_up_to_date_costs_three_writes_beside_those_of_its_message(bench: Threaded) -> None:
    grown(bench)
    start = bench.store.meter.snapshot()
    bench.deliver()
    used = bench.store.meter.since(start)
    # as any message: 8 and 3; the thread, what is outdated, what was told before, its document twice, the thread twice
    assert (used.reads, used.writes) == (15, 6)


def test_the_same_state_is_written_once_however_often_it_is_looked_at(bench: Threaded) -> None:
    grown(bench)
    bench.deliver()
    data = bench.read("agents-1-slack")
    bench.put({**data, "outdates": data["deliveredAt"]})  # as if its end had been lost
    bench.deliver()
    assert len(bench.slack.updates) == 1
    assert bench.outdated() == []


REFUSED_FOR_NOW = [
    failing(503),
    failing(200, '{"ok": false, "error": "update_failed"}'),
    failing(200, "<html>"),
    throttled("1"),
    hanging,
    closing,
    garbage,
    half_an_answer,
    losing_the_reply,
]


@pytest.mark.parametrize("behave", REFUSED_FOR_NOW)
def test_one_that_fails_keeps_no_message_back_and_is_tried_again_until_it_is_done(
    brief: Threaded, behave: Behaviour
) -> None:
    grown(brief)
    brief.slack.behave = only_updates(behave)
    assert brief.deliver() == Delivered(delivered=1)
    assert brief.outdated() == ["agents-1-slack"]
    brief.clock.advance(1)
    brief.tell("agents", 2, "resolve", severity="high")
    assert brief.deliver() == Delivered(delivered=1)  # before the next try is due
    tries = [each.path for each in brief.slack.received].count(UPDATE)
    assert tries == 1
    brief.slack.behave = normal
    brief.clock.advance(60)
    assert brief.deliver() == Delivered()
    assert brief.headline() == "🟠 2 alerts: 1 firing, 1 resolved"
    assert brief.outdated() == []
    assert len(brief.slack.shown_ids) == len(set(brief.slack.shown_ids)) == 3


def test_every_try_is_on_record(bench: Threaded) -> None:
    grown(bench)
    bench.slack.behave = only_updates(failing(503))
    bench.deliver()
    bench.slack.behave = normal
    bench.clock.advance(60)
    bench.deliver()
    (record,) = bench.first_messages()
    assert [(each["outcome"], each["status"], each["detail"]) for each in record["attempts"]] == [
        ("retry", 503, "http_503"),
        ("delivered", 200, "ok"),
    ]
    assert (record["reference"], record["notificationId"]) == (f"C0FAKE:{FIRST}", "errors-1-slack")
    assert record["expireAt"] == bench.clock.now + timedelta(days=90)


def test_a_slack_that_hangs_with_changes_is_asked_once_a_run(brief: Threaded) -> None:
    for n, component in enumerate(("API", "Auth", "Billing")):
        brief.tell(f"alert{n}", component=component)
    brief.deliver()
    brief.clock.advance(60)
    for n, component in enumerate(("API", "Auth", "Billing")):
        brief.tell(f"alert{n}", 2, "resolve", component=component)
    brief.slack.behave = only_updates(hanging)
    assert brief.deliver() == Delivered(delivered=3)
    assert [each.path for each in brief.slack.received].count(UPDATE) == 1


def test_a_minute_before_the_next_try_reads_little(bench: Threaded) -> None:
    grown(bench)
    bench.slack.behave = only_updates(failing(503))
    bench.deliver()
    start = bench.store.meter.snapshot()
    bench.deliver()
    assert bench.store.meter.since(start).reads == 3  # is anything due, what is outdated, when is it tried again


@pytest.mark.parametrize("word", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_one_that_is_refused_for_good_stays_as_it_is(bench: Threaded, word: str) -> None:
    grown(bench)
    bench.slack.behave = only_updates(failing(200, json.dumps({"ok": False, "error": word})))
    bench.deliver()
    assert (bench.headline(), bench.outdated()) == ("🟠 errors: firing", [])
    (record,) = bench.first_messages()
    assert [each["detail"] for each in record["attempts"]] == [word]
    assert bench.read("agents-1-slack")["state"] == "delivered"  # no dead letter: everybody was told


def test_after_a_day_it_stays_as_it_is(bench: Threaded) -> None:
    grown(bench)
    bench.slack.behave = only_updates(failing(503))
    bench.deliver()
    bench.clock.advance(86_400)
    asked = len(bench.slack.received)
    bench.deliver()
    assert (bench.outdated(), len(bench.slack.received)) == ([], asked)


@pytest.mark.parametrize("flag", ["enabled", "slack"])
def test_a_switch_stops_it_and_once_it_is_on_again_it_is_made_up_for(bench: Threaded, flag: str) -> None:
    def thrown(exchange: Exchange) -> None:
        if exchange.received.path != UPDATE:
            bench.flag(flag, False)
        normal(exchange)

    grown(bench)
    bench.slack.behave = thrown
    bench.deliver()
    assert bench.slack.updates == []
    bench.flag(flag, True)
    bench.slack.behave = normal
    bench.deliver()
    assert bench.headline() == "🟠 2 alerts: 2 firing"


def test_it_is_no_message_of_the_storm_limit(bench: Threaded) -> None:
    grown(bench)
    bench.deliver()
    log = bench.store.get("delivery/slack")
    assert log is not None
    assert len(log.data["sent"]) == len(bench.slack.shown) == 2


def test_a_run_that_is_over_leaves_it_to_the_next(bench: Threaded) -> None:
    grown(bench)
    bench.slack.behave = lambda exchange: (bench.clock.advance(40), normal(exchange))  # type: ignore[func-returns-value]
    assert bench.deliver().delivered == 1
    assert bench.slack.updates == []
    bench.slack.behave = normal
    bench.deliver()
    assert bench.headline() == "🟠 2 alerts: 2 firing"


class Cut(Wrapped):
    """Dies at the n-th commit, before it is made or after it."""

    def __init__(self, inner: Store, at: int, after: bool) -> None:
        super().__init__(inner)
        self.left, self.after = at, after

    def commit(self, writes: Sequence[Write]) -> None:
        self.left -= 1
        if self.left < 0:
            if self.left == -1 and self.after:
                super().commit(writes)
            raise SystemExit
        super().commit(writes)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(5))
def test_wherever_a_run_is_cut_off_the_message_comes_to_say_what_is(bench: Threaded, at: int, after: bool) -> None:
    grown(bench)
    with suppress(SystemExit):
        deliver_due(bench.app_over(Cut(bench.store, at, after)), bench.clock.now, budget_seconds=30.0)
    bench.clock.advance(60)  # whatever lease there is has ended
    bench.deliver()
    bench.clock.advance(60)
    bench.deliver()
    assert bench.headline() == "🟠 2 alerts: 2 firing"
    assert (bench.outdated(), len(bench.slack.screen)) == ([], len(bench.slack.shown))


def test_two_runs_at_once_never_put_older_news_over_newer(bench: Threaded) -> None:
    """The second one comes while the first has its text ready: it leaves the message to who has it, and the news stay
    due.
    """
    grown(bench)

    def meanwhile(exchange: Exchange) -> None:
        bench.slack.behave = normal
        bench.tell("agents", 2, "resolve", severity="high")
        bench.deliver()  # tells the end, and finds the message in other hands
        assert bench.slack.updates == []
        normal(exchange)

    bench.slack.behave = only_updates(meanwhile)
    bench.deliver()
    assert bench.headline() == "🟠 2 alerts: 2 firing"
    bench.deliver()
    assert bench.headline() == "🟠 2 alerts: 1 firing, 1 resolved"


def test_a_store_that_fails_then_costs_no_message_and_the_news_later(bench: Threaded) -> None:
    class Away(Wrapped):
        def query(self, query: Query) -> list[Doc]:
            if any(field == "outdates" for field, *_ in query.where):
                raise Unavailable("no answer")
            return super().query(query)

    grown(bench)
    done = deliver_due(bench.app_over(Away(bench.store)), bench.clock.now, budget_seconds=30.0)
    assert done == Delivered(delivered=1)
    bench.deliver()
    assert bench.headline() == "🟠 2 alerts: 2 firing"


def test_who_else_did_it_leaves_nothing_to_do(bench: Threaded) -> None:
    class Late(Wrapped):
        def commit(self, writes: Sequence[Write]) -> None:
            if any("outdates" not in w.data and "deliveredAt" in w.data and w.data["deliveredAt"] for w in writes):  # type: ignore[union-attr]
                raise Conflict("somebody else was faster")
            super().commit(writes)

    grown(bench)
    deliver_due(bench.app_over(Late(bench.store)), bench.clock.now, budget_seconds=30.0)
    bench.deliver()
    assert (bench.outdated(), len(bench.slack.updates)) == ([], 1)


def test_a_storm_s_summary_says_how_many_of_it_are_over(bench: Threaded) -> None:
    """Each of a component of its own: twenty messages, and one that tells the rest."""
    for n in range(30):
        bench.tell(f"alert{n:02}", component=f"Part {n}")
    bench.deliver()
    assert bench.headline("21.000000").endswith("10 alerts: 10 firing")
    bench.clock.advance(600)
    for n in range(20, 25):
        bench.tell(f"alert{n:02}", 2, "resolve", component=f"Part {n}")
    bench.deliver()
    assert bench.headline("21.000000").endswith("10 alerts: 5 firing, 5 resolved")

"""What broke together goes out as one message over real HTTP, from both stores; a storm becomes a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from shared.alerts.silences import add, expire
from shared.delivery.deliver import COLLECTION, Delivered
from shared.domain import grouping
from shared.domain.matcher import parse
from shared.domain.notification import new_notification
from shared.domain.silence import Silence
from shared.outbound import HttpOutbound
from shared.store.protocol import Create, Merge, Put, Query, Store, Unavailable, Write
from tests.core import CONFIG
from tests.e2e.test_delivery import NOW, Bench, Wrapped, fails_first
from tests.fake_servers import FakeSlack, closing, failing, losing_the_reply, normal
from tests.unit.test_slack_message import facts_of


class Patient(Bench):
    """No server hangs here."""

    outbound = HttpOutbound


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    with FakeSlack() as slack:
        yield Patient(store, slack, CONFIG)


def add_one(bench: Bench, alert: str, seq: int = 1, kind: Any = "trigger", **facts: Any) -> str:
    facts = {**facts_of("agent-success-rate", kind), "component": "API", "rule": "threshold", **facts}
    path, data = new_notification(alert, seq, "slack", kind, facts, bench.clock.now)
    bench.store.commit([Create(path, data)])
    return str(data["notificationId"])


def many(bench: Bench, count: int, **facts: Any) -> list[str]:
    return [add_one(bench, f"alert{n:04}", **facts) for n in range(count)]


def test_what_broke_together_is_one_message_and_each_record_says_so(bench: Bench) -> None:
    ids = [add_one(bench, "errors", severity="critical"), add_one(bench, "agents"), add_one(bench, "writes")]
    other = add_one(bench, "logins", component="Auth")
    assert bench.deliver() == Delivered(delivered=4)
    assert bench.slack.shown_ids == [ids[0], other]  # the most severe one leads
    assert {i: bench.read(i)["groupId"] for i in ids} == dict.fromkeys(ids, ids[0])
    assert bench.read(ids[0])["members"] == ids
    assert [bench.read(i)["attempts"] for i in ids] == [bench.read(ids[0])["attempts"]] * 3
    assert "groupId" not in bench.read(other)


def test_a_group_costs_two_writes_for_each_of_its_notifications_and_one_more(bench: Bench) -> None:
    many(bench, 10)
    start = bench.store.meter.snapshot()
    assert bench.deliver().delivered == 10
    used = bench.store.meter.since(start)
    # due, flags, silences, maintenances, what fires (a page would mute these), log; 10 open, 10 claimed
    assert (used.reads, used.writes) == (26, 21)
    assert len(bench.slack.received) == 1


def test_what_is_added_waits_for_the_interval_and_names_what_it_adds_to(bench: Bench) -> None:
    first = add_one(bench, "errors", severity="high")
    bench.deliver()
    bench.clock.advance(60)
    later = [add_one(bench, "agents", severity="high"), add_one(bench, "writes", severity="warning")]
    assert bench.deliver() == Delivered()
    until = NOW + timedelta(minutes=4)
    assert [bench.read(i)["waitsFor"] for i in later] == [{"reason": "group_interval", "until": until}] * 2
    bench.clock.advance(180)
    assert bench.deliver().delivered == 2
    assert bench.slack.shown_ids == [first, later[0]]
    assert bench.read(later[0])["addsTo"] == {"groupId": first, "at": NOW, "alerts": ["errors"]}


def test_what_is_more_severe_than_all_that_was_told_does_not_wait(bench: Bench) -> None:
    first = add_one(bench, "agents", severity="high")
    bench.deliver()
    worse = add_one(bench, "errors", severity="critical")
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [first, worse]


def test_once_all_is_resolved_the_next_one_begins_a_new_group(bench: Bench) -> None:
    ids = [add_one(bench, "errors"), add_one(bench, "agents")]
    bench.deliver()
    ends = [add_one(bench, "errors", 2, "resolve"), add_one(bench, "agents", 2, "resolve")]
    assert bench.deliver().delivered == 2
    again = add_one(bench, "errors", 3)
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [ids[1], ends[1], again]  # of the same severity and age, the first by name leads


def test_after_a_lost_reply_the_same_set_is_sent_under_the_same_id(bench: Bench) -> None:
    bench.slack.behave = fails_first(losing_the_reply)
    ids = many(bench, 3)
    assert bench.deliver().retried == 3
    bench.clock.advance(1)
    late = add_one(bench, "late", severity="critical")
    bench.clock.advance(6)
    assert bench.deliver().delivered == 4
    assert Counter(bench.slack.shown_ids) == {ids[0]: 2, late: 1}
    first, second = (m.payload for m in bench.slack.shown if m.notification_id == ids[0])
    assert first == second


@pytest.mark.parametrize("count", [1, 3])
def test_what_may_have_arrived_stays_as_it_is_also_after_it_was_refused(bench: Bench, count: int) -> None:
    answers = iter([losing_the_reply, failing(503), normal])
    bench.slack.behave = lambda exchange: next(answers, normal)(exchange)
    ids = many(bench, count)
    bench.deliver()
    bench.clock.advance(7)
    bench.deliver()
    late = add_one(bench, "late", severity="critical")
    bench.clock.advance(13)
    assert bench.deliver().delivered == count + 1
    assert Counter(bench.slack.shown_ids) == {ids[0]: 2, late: 1}


def test_what_surely_did_not_arrive_goes_out_with_what_broke_since(bench: Bench) -> None:
    bench.slack.behave = fails_first(failing(503))
    ids = many(bench, 3)
    assert bench.deliver().retried == 3
    assert ["groupId" in bench.read(i) for i in ids] == [False] * 3
    bench.clock.advance(240)
    late = add_one(bench, "late", severity="critical")
    assert bench.deliver().delivered == 4
    assert bench.slack.shown_ids == [late]


def test_a_message_that_did_not_arrive_makes_nothing_wait(bench: Bench) -> None:
    bench.slack.behave = fails_first(failing(503))
    first = add_one(bench, "errors")
    bench.deliver()
    bench.clock.advance(7)
    second = add_one(bench, "writes")
    assert bench.deliver().delivered == 2
    assert bench.slack.shown_ids == [first]
    assert bench.read(first)["addsTo"] is None
    log = bench.store.get("delivery/slack")
    assert log is not None
    assert (len(log.data["sent"]), log.data["groups"]["component=API"]["alerts"]) == (1, ["errors", "writes"])
    assert bench.read(second)["groupId"] == first


def test_a_refused_group_is_dead_as_a_whole(bench: Bench) -> None:
    bench.slack.behave = failing(404, "no_service")
    ids = many(bench, 3)
    assert bench.deliver().dead == 3
    assert [bench.state(i) for i in ids] == [("dead", "no_service")] * 3


def test_a_member_that_was_resolved_before_anything_was_sent_is_left_out(bench: Bench) -> None:
    ids = many(bench, 3)
    end = add_one(bench, "alert0001", 2, "resolve")
    assert bench.deliver() == Delivered(delivered=2, cancelled=2)
    assert bench.state(end) == bench.state(ids[1]) == ("cancelled", "resolved_before_sent")
    assert bench.read(ids[0])["members"] == [ids[0], ids[2]]


@pytest.mark.parametrize("step", ["sending", "delivered"])
def test_a_lost_reply_of_the_store_is_recognised_for_a_group_too(bench: Bench, step: str) -> None:
    lost = []

    class Losing(Wrapped):
        def commit(self, writes: Sequence[Write]) -> None:
            super().commit(writes)
            if isinstance(writes[0], Put) and writes[0].data.get("state") == step and not lost:
                lost.append(step)
                raise Unavailable("the reply was lost")

    ids = many(bench, 3)
    bench.app = bench.app_over(Losing(bench.store))
    assert bench.deliver() == Delivered(delivered=3)
    assert (lost, bench.slack.shown_ids) == ([step], [ids[0]])


class Dies(Wrapped):
    """Fails for good at the n-th commit."""

    def __init__(self, inner: Store, at: int) -> None:
        super().__init__(inner)
        self.left = at

    def commit(self, writes: Sequence[Write]) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("gone")
        super().commit(writes)


@pytest.mark.parametrize("commits", range(10))
def test_a_message_of_many_commits_arrives_once_wherever_it_is_cut_off(
    bench: Bench, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 5 chunks: 5 commits to claim it, the leader's the last; 5 for the outcome, the leader's the first."""
    monkeypatch.setattr("shared.delivery.records.CHUNK", 2)
    ids = many(bench, 10)
    bench.app = bench.app_over(Dies(bench.store, commits))
    with suppress(Unavailable):  # a claim that fails is given up quietly
        bench.deliver()
    bench.app = bench.app_over(bench.store)
    bench.clock.advance(31)
    bench.deliver()
    bench.clock.advance(31)
    bench.deliver()
    assert {bench.state(i) for i in ids} == {("delivered", None)}
    sent = Counter(bench.slack.shown_ids)
    assert sent == {ids[0]: 2 if commits == 5 else 1}  # claimed whole, and no outcome was recorded
    known = [a["detail"] for a in bench.read(ids[0])["attempts"]]
    assert known == (["sender_lost", "ok"] if commits == 5 else ["ok"])


# Storms


def test_a_storm_is_as_many_messages_as_the_limit_and_one_summary(bench: Bench) -> None:
    ids = [add_one(bench, f"a{n:03}", component=f"C{n:03}") for n in range(60)]
    assert bench.deliver().delivered == 60
    assert bench.slack.shown_ids == ids[:21]
    assert {bench.read(i).get("groupKey") for i in ids[20:]} == {grouping.EVERYTHING}
    assert bench.read(ids[20])["members"] == ids[20:]


def test_within_the_window_the_rest_waits_for_the_next_summary_and_is_told_then(bench: Bench) -> None:
    for n in range(30):
        add_one(bench, f"a{n:03}", component=f"C{n:03}")
    bench.deliver()
    more = [add_one(bench, f"b{n:03}", component=f"D{n:03}") for n in range(5)]
    assert bench.deliver() == Delivered()
    until = NOW + timedelta(minutes=10)
    assert [bench.read(i)["waitsFor"] for i in more] == [{"reason": "storm", "until": until}] * 5
    worse = add_one(bench, "worse", component="E", severity="critical")
    assert bench.deliver().delivered == 1  # what is worse than all of the summary does not wait for the next
    bench.clock.advance(601)
    assert bench.deliver().delivered == 5
    assert bench.slack.shown_ids[21:] == [worse, *more]  # the window is over: each for itself again


# What is held back just before it is sent


def silence(bench: Bench, text: str) -> str:
    one = Silence("s1", (parse(text),), NOW, NOW + timedelta(hours=2), "uid", NOW, "a deployment")
    add(bench.store, one, None, bench.clock.now)
    return one.id


def test_a_silence_made_since_holds_back_what_matches_and_says_which(bench: Bench) -> None:
    held, told = add_one(bench, "errors"), add_one(bench, "agents")
    silence(bench, 'alertId="errors"')
    assert bench.deliver() == Delivered(delivered=1, withheld=1)
    assert bench.state(held) == ("withheld", "silenced")
    assert bench.read(held)["heldBy"] == {"id": "s1", "until": NOW + timedelta(hours=2)}
    assert bench.slack.shown_ids == [told]


def test_what_people_know_of_is_resolved_in_spite_of_a_silence(bench: Bench) -> None:
    begin = add_one(bench, "errors")
    bench.deliver()
    silence(bench, 'alertId="errors"')
    end = add_one(bench, "errors", 2, "resolve")
    assert bench.deliver().delivered == 1
    assert bench.slack.shown_ids == [begin, end]


def test_a_silence_that_was_expired_holds_nothing(bench: Bench) -> None:
    expire(bench.store, silence(bench, 'alertId="errors"'), bench.clock.now)
    add_one(bench, "errors")
    assert bench.deliver().delivered == 1


def test_a_silence_made_during_a_run_counts_within_ten_seconds(bench: Bench) -> None:
    told, held = add_one(bench, "errors", severity="critical"), add_one(bench, "logins", component="Auth")

    def behave(exchange: Any) -> None:
        silence(bench, 'component="Auth"')
        bench.clock.skipped += 8
        normal(exchange)

    bench.slack.behave = behave
    assert bench.deliver() == Delivered(delivered=1, withheld=1)
    assert bench.slack.shown_ids == [told]
    assert bench.state(held) == ("withheld", "silenced")


def test_maintenance_of_its_component_holds_an_alert_back(bench: Bench) -> None:
    bench.store.commit([Create("maintenances/m1", {"status": "in_progress", "components": ["API"]})])
    bench.store.commit([Create("maintenances/m2", {"status": "scheduled", "components": ["Auth"]})])
    held, told = add_one(bench, "errors"), add_one(bench, "logins", component="Auth")
    assert bench.deliver() == Delivered(delivered=1, withheld=1)
    assert (bench.state(held), bench.read(held)["heldBy"]["id"]) == (("withheld", "maintenance"), "m1")
    assert bench.slack.shown_ids == [told]


def test_an_outage_that_fires_holds_the_latency_alert_of_its_component_back(bench: Bench) -> None:
    outage = {
        "state": "firing",
        "rule": "threshold",
        "severity": "critical",
        "component": "API",
        "metric": "error_rate",
    }
    bench.store.commit([Create("alerts/errors", outage)])
    latency = {"metric": "api_latency_p95", "severity": "warning"}
    held, told = add_one(bench, "latency", **latency), add_one(bench, "reads", component="Database", **latency)
    assert bench.deliver() == Delivered(delivered=1, withheld=1)
    assert (bench.state(held), bench.read(held)["heldBy"]["id"]) == (("withheld", "inhibited"), "errors")
    assert bench.slack.shown_ids == [told]


def test_nobody_open_is_left_after_all_this(bench: Bench) -> None:
    bench.slack.behave = fails_first(closing)
    many(bench, 4)
    bench.deliver()
    bench.clock.advance(86_400)
    bench.deliver()
    bench.deliver()
    assert bench.store.count(Query(COLLECTION, (("open", "==", True),))) == 0


class Counting(Wrapped):
    """Counts how often it is called: each is a way to Firestore and back."""

    calls = 0

    def get(self, path: str) -> Any:
        self.calls += 1
        return super().get(path)

    def get_many(self, paths: Sequence[str]) -> Any:
        self.calls += 1
        return super().get_many(paths)

    def query(self, query: Query) -> Any:
        self.calls += 1
        return super().query(query)

    def commit(self, writes: Sequence[Write]) -> None:
        self.calls += 1
        super().commit(writes)


@pytest.mark.parametrize("count", [3, 30])
def test_what_clears_together_takes_as_many_calls_however_many_it_is(bench: Bench, count: int) -> None:
    """Else the time of a run would be over before its first message, in every run anew."""
    many(bench, count, firingSeq=1)
    bench.deliver()
    ends = [add_one(bench, f"alert{n:04}", 2, "resolve", firingSeq=1) for n in range(count)]
    counting = Counting(bench.store)
    bench.app = bench.app_over(counting)
    assert bench.deliver().delivered == count
    assert bench.slack.shown_ids[1:] == ends[:1]
    # Is anything due, all that is open, the flags, what was told before, the log; the claim, the outcome read and told.
    assert counting.calls == 8


@pytest.mark.parametrize("count", [3, 30])
def test_what_was_over_before_it_was_sent_is_closed_together_and_holds_up_nothing(bench: Bench, count: int) -> None:
    ids = many(bench, count, firingSeq=1)
    ids += [add_one(bench, f"alert{n:04}", 2, "resolve", firingSeq=1) for n in range(count)]
    told = add_one(bench, "zzz", component="Auth")
    counting = Counting(bench.store)
    bench.app = bench.app_over(counting)
    assert bench.deliver() == Delivered(cancelled=2 * count, delivered=1)
    assert {bench.state(i) for i in ids} == {("cancelled", "resolved_before_sent")}
    assert bench.slack.shown_ids == [told]
    # Is anything due, all that is open, the flags, silences, maintenances, what fires; all closed; then of the message
    # the log, the claim, the outcome read and told.
    assert counting.calls == 11


def test_one_that_somebody_else_changed_keeps_no_other_from_being_closed(bench: Bench) -> None:
    class Changing(Wrapped):
        """Somebody touches the first one just before it is closed."""

        touched = False

        def commit(self, writes: Sequence[Write]) -> None:
            if not self.touched and any(write.path.endswith(ids[0]) for write in writes):
                self.touched = True
                self.inner.commit([Merge(f"{COLLECTION}/{ids[0]}", {"rev": "another"})])
            super().commit(writes)

    ids = many(bench, 3, firingSeq=1)
    ends = [add_one(bench, f"alert{n:04}", 2, "resolve", firingSeq=1) for n in range(3)]
    bench.app = bench.app_over(Changing(bench.store))
    assert bench.deliver() == Delivered(cancelled=4)
    assert [bench.state(i)[0] for i in (*ids, *ends)] == ["pending", "cancelled", "cancelled"] * 2
    assert bench.deliver() == Delivered(cancelled=2)
    assert bench.slack.shown_ids == []

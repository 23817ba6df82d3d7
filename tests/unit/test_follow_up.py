"""What happens to an alert that goes on firing: repeated, passed on, taken on, told after a silence."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.alerts.acknowledge import NotFiring, acknowledge, take_back
from shared.alerts.follow_up import follow_up
from shared.alerts.marks import Changed, UnknownAlert
from shared.alerts.silences import add, expire
from shared.alerts.watchdog import finished, ping, watch
from shared.bootstrap import App
from shared.delivery.dead_letters import tell_of_dead_letters
from shared.delivery.resending import resend
from shared.domain.matcher import parse
from shared.domain.notification import DEAD_LETTERS, new_notification
from shared.domain.silence import Silence
from shared.notify.own_wording import sentence
from shared.outbound import OutboundError, Reply
from shared.store.protocol import Create, Put, Query, Store
from tests.core import NOW, Clock, make_app
from tests.unit.test_slack_message import facts_of

ALERT = "api-availability-threshold"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def app_over(store: Store, **env: str) -> App:
    return make_app(store, Clock(NOW), SLACK_WEBHOOK_URL="http://127.0.0.1:9/x", **env)


def firing(store: Store, **changes: Any) -> None:
    facts = {**facts_of("api-availability", "trigger"), "sloId": "api-availability", "firedAt": NOW, "judgedAt": NOW}
    _, data = new_notification(ALERT, 1, "slack", "trigger", {**facts, "rule": "threshold"}, NOW)
    alert = {
        **facts, "alertId": ALERT, "rule": "threshold", "state": "firing", "seq": 1, "firingSeq": 1, "since": NOW,
        "updatedAt": NOW,
        "channels": {"slack": {"seq": 1, "state": "announced", "reason": None}}, "rev": "0" * 16, **changes,
    }  # fmt: skip
    store.commit([Create(f"alerts/{ALERT}", alert), Create(f"notifications/{ALERT}-1-slack", data)])


def alert(store: Store, name: str = ALERT) -> dict[str, Any]:
    doc = store.get(f"alerts/{name}")
    assert doc is not None
    return doc.data


def outbox(store: Store) -> dict[str, tuple[str, str, str | None]]:
    docs = store.query(Query("notifications", limit=1000))
    return {doc.id: (doc.data["kind"], doc.data["state"], doc.data["reason"]) for doc in docs}


def minutes(app: App, start: datetime, count: int) -> list[int]:
    """In which minutes after `start` something was announced."""
    return [n for n in range(count) if follow_up(app, start + n * MINUTE)]


def test_a_critical_alert_goes_to_the_next_channels_after_a_quarter_of_an_hour_once(store: Store) -> None:
    firing(store)
    assert minutes(app_over(store), NOW, 30) == [15]
    assert alert(store)["escalated"] == 1
    found = outbox(store)
    assert found[f"{ALERT}-2-pagerduty"] == ("trigger", "withheld", "channel_disabled")  # its switch is off
    assert f"{ALERT}-2-email" in found


def test_it_is_repeated_where_it_was_told(store: Store) -> None:
    firing(store, severity="high")
    app = app_over(store)
    assert [n for n in range(0, 60, 6) if follow_up(app, NOW + n * HOUR)] == [12, 24, 36, 48]
    assert outbox(store)[f"{ALERT}-5-slack"] == ("repeat", "pending", None)
    assert alert(store)["repeatedAt"] == NOW + 48 * HOUR


def test_who_takes_it_on_ends_repeating_and_escalation_until_it_is_given_back(store: Store) -> None:
    firing(store)
    app = app_over(store)
    acknowledge(store, ALERT, "uid", "on it", NOW + MINUTE)
    assert minutes(app, NOW, 20) == []
    assert follow_up(app, NOW + 5 * HOUR) == []
    take_back(store, ALERT, "uid", NOW + 6 * HOUR)
    assert follow_up(app, NOW + 6 * HOUR) == [ALERT]


def test_pagerduty_hears_that_somebody_has_it_if_it_was_paged(store: Store) -> None:
    told = {"seq": 1, "state": "announced", "reason": None}
    firing(store, channels={"slack": told, "pagerduty": told})
    after = acknowledge(store, ALERT, "uid", None, NOW)
    assert (after.data["acknowledged"], after.data["seq"]) == ({"by": "uid", "at": NOW, "note": None}, 2)
    assert outbox(store)[f"{ALERT}-2-pagerduty"] == ("acknowledge", "pending", None)
    assert acknowledge(store, ALERT, "another", None, NOW).data == after.data  # somebody has it already
    assert len(outbox(store)) == 2


def test_a_page_that_was_held_back_until_somebody_had_the_alert_is_told_once_and_acknowledged(store: Store) -> None:
    held = {"seq": 1, "state": "withheld", "reason": "silenced"}
    firing(store, channels={"slack": {**held, "state": "announced"}, "pagerduty": held})
    store.commit([Put("config/flags", {"alerts": {"pagerduty": True}})])
    acknowledge(store, ALERT, "uid", "on it", NOW)
    assert minutes(app_over(store, PAGERDUTY_ROUTING_KEY="k" * 32), NOW, 20) == [0]
    found = outbox(store)
    assert found[f"{ALERT}-2-pagerduty"] == ("trigger", "pending", None)
    assert found[f"{ALERT}-3-pagerduty"] == ("acknowledge", "pending", None)
    assert len(found) == 3


def test_only_what_fires_can_be_taken_on_and_only_as_it_was_seen(store: Store) -> None:
    with pytest.raises(UnknownAlert):
        acknowledge(store, ALERT, "uid", None, NOW)
    firing(store, state="resolved")
    with pytest.raises(NotFiring):
        acknowledge(store, ALERT, "uid", None, NOW)
    store.commit([Put(f"alerts/{ALERT}", {**alert(store), "state": "firing"})])
    with pytest.raises(Changed):
        acknowledge(store, ALERT, "uid", None, NOW, "another rev")


def test_what_a_silence_holds_back_is_not_followed_up_and_told_once_when_it_ends(store: Store) -> None:
    firing(store)
    held = store.get(f"notifications/{ALERT}-1-slack")
    assert held is not None
    store.commit([Put(held.path, {**held.data, "state": "withheld", "reason": "silenced", "open": False})])
    one = Silence("s1", (parse('component="API"'),), NOW, NOW + HOUR, "uid", NOW, "a deployment")
    add(store, one, None, NOW)
    app = app_over(store)
    assert minutes(app, NOW, 59) == []
    assert not alert(store).get("escalated")
    expire(store, "s1", NOW + 59 * MINUTE)
    assert minutes(app, NOW + HOUR, 5) == [0, 1]  # passed on, as it should have been; and told where it was held back
    assert outbox(store)[f"{ALERT}-3-slack"] == ("trigger", "pending", None)


# The watchdog


def ran(store: Store, function: str, at: datetime) -> None:
    store.commit([Put(f"runs/{function}", {"finishedAt": at})])


def test_a_function_that_stopped_is_told_once_and_so_is_that_it_is_back(store: Store) -> None:
    app = app_over(store)
    ran(store, "alertRules", NOW)
    assert [n for n in range(15) if watch(app, "notifier", NOW + n * MINUTE)] == [11]
    name = "watchdog-alertRules"
    assert (alert(store, name)["state"], alert(store, name)["severity"]) == ("firing", "critical")
    assert outbox(store)[f"{name}-1-slack"][0] == "trigger"
    ran(store, "alertRules", NOW + 20 * MINUTE)
    assert [n for n in range(20, 25) if watch(app, "notifier", NOW + n * MINUTE)] == [20]
    assert outbox(store)[f"{name}-2-slack"][0] == "resolve"


def test_alert_rules_looks_after_the_notifier_and_what_never_ran_is_not_missed(store: Store) -> None:
    app = app_over(store)
    assert watch(app, "alertRules", NOW) == watch(app, "notifier", NOW) == []
    finished(app, "notifier", NOW)
    assert watch(app, "alertRules", NOW + 2 * MINUTE) == []
    assert watch(app, "alertRules", NOW + 3 * MINUTE) == ["fire notifier"]


def test_no_silence_hides_that_alerting_stopped(store: Store) -> None:
    one = Silence("s1", (parse('severity="critical"'),), NOW, NOW + HOUR, "uid", NOW, "a deployment")
    add(store, one, None, NOW)
    ran(store, "alertRules", NOW)
    watch(app_over(store), "notifier", NOW + 11 * MINUTE)
    assert outbox(store)["watchdog-alertRules-1-slack"] == ("trigger", "pending", None)


class Takes:
    """Stands at the edge to the outside: what was posted where, and how it went."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        self.posted: list[str] = []

    def post(self, url: str, body: bytes, headers: Any, deadline: float) -> Reply:
        self.posted.append(url)
        assert deadline <= 5
        if self.status is None:
            raise OutboundError("timeout", sent=True)
        return Reply(self.status, {}, b"")


@pytest.mark.parametrize("status", [200, 500, None])
def test_the_heartbeat_never_fails_a_run_and_its_address_is_in_no_log(
    store: Store, status: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    app = app_over(store, HEARTBEAT_URL="https://beats.example/canary")
    taker: Any = Takes(status)
    app.outbound = taker
    ping(app)
    assert taker.posted == ["https://beats.example/canary"]
    assert "canary" not in "".join(capsys.readouterr()) + repr(app.settings)


# Dead letters


def letter(store: Store, name: str, channel: str = "slack", reason: str = "no_service") -> None:
    path, data = new_notification(name, 1, channel, "trigger", facts_of("api-availability", "trigger"), NOW)
    dead = {"state": "dead", "open": False, "reason": reason, "dueAt": None, "untold": True}
    store.commit([Create(path, {**data, **dead})])


def test_a_dead_channel_is_told_by_the_others_once_for_each_cause(store: Store) -> None:
    app = app_over(store)
    for n in range(5):
        letter(store, f"a{n}")
    assert tell_of_dead_letters(app, NOW) == "fire"
    told = [name for name in outbox(store) if name.startswith(DEAD_LETTERS)]
    assert told == [f"{DEAD_LETTERS}-1-{channel}" for channel in ("email", "inapp", "pagerduty")]
    letter(store, "again")
    assert tell_of_dead_letters(app, NOW + MINUTE) == "tell"
    assert [name for name in outbox(store) if name.startswith(DEAD_LETTERS)] == told  # counted, not told
    assert alert(store, DEAD_LETTERS)["value"] == 6
    letter(store, "other", reason="channel_is_archived")
    tell_of_dead_letters(app, NOW + 2 * MINUTE)
    assert f"{DEAD_LETTERS}-3-email" in outbox(store)
    assert tell_of_dead_letters(app, NOW + 3 * MINUTE) is None


def test_a_channel_that_takes_nothing_is_told_by_the_others_before_its_messages_are_given_up(store: Store) -> None:
    app = app_over(store)
    for n in range(2):
        path, data = new_notification(f"a{n}", 1, "slack", "trigger", facts_of("api-availability", "trigger"), NOW)
        store.commit([Create(path, {**data, "untold": True})])
    assert tell_of_dead_letters(app, NOW) == "fire"
    told = alert(store, DEAD_LETTERS)
    assert (told["reason"], told["value"], told["labels"]) == ("letters_overdue", 0, {"causes": "slack overdue"})
    assert sorted(told["channels"]) == ["email", "inapp", "pagerduty"]
    assert sentence(told, resolved=False) == (
        "For 15 minutes or more nothing could be delivered by slack; it is tried again for a day."
        " Whoever relies on that channel heard nothing."
    )
    assert outbox(store)["a0-1-slack"] == ("trigger", "pending", None)  # and goes on
    assert tell_of_dead_letters(app, NOW + MINUTE) is None
    letter(store, "b", reason="deadline")
    assert tell_of_dead_letters(app, NOW + DAY - MINUTE) == "tell"
    assert (alert(store, DEAD_LETTERS)["value"], f"{DEAD_LETTERS}-2-email" in outbox(store)) == (1, True)


def ends(store: Store, name: str, state: str, reason: str | None = None) -> None:
    doc = store.get(f"notifications/{name}-1-slack")
    assert doc is not None
    closed = {"state": state, "open": state == "pending", "reason": reason, "untold": state == "dead"}
    store.commit([Put(doc.path, {**doc.data, **closed}, doc.version)])


def test_once_what_was_late_has_arrived_it_is_over(store: Store) -> None:
    app = app_over(store)
    for name in ("a", "b"):
        path, data = new_notification(name, 1, "slack", "trigger", facts_of("api-availability", "trigger"), NOW)
        store.commit([Create(path, {**data, "untold": True})])
    assert tell_of_dead_letters(app, NOW) == "fire"
    ends(store, "a", "delivered")
    assert tell_of_dead_letters(app, NOW + MINUTE) is None  # the other one waits still
    ends(store, "b", "cancelled", "resolved_before_sent")
    assert tell_of_dead_letters(app, NOW + 2 * MINUTE) == "clear"
    over = alert(store, DEAD_LETTERS)
    assert (over["state"], over["reason"]) == ("resolved", "letters_delivered")
    assert sentence(over, resolved=True) == "Nothing waits to be delivered any more, and no message is lost."


def test_what_is_lost_keeps_it_until_it_was_sent_again(store: Store) -> None:
    app = app_over(store)
    letter(store, "a")
    tell_of_dead_letters(app, NOW)
    assert tell_of_dead_letters(app, NOW + HOUR) is None
    resend(store, "a-1-slack", "ada", NOW + HOUR)
    assert tell_of_dead_letters(app, NOW + HOUR) is None  # it is on its way
    ends(store, "a", "delivered")
    assert tell_of_dead_letters(app, NOW + HOUR + MINUTE) == "clear"
    assert alert(store, DEAD_LETTERS)["reason"] == "letters_delivered"


def test_what_is_lost_and_seen_ends_it_and_stays_on_record(store: Store) -> None:
    app = app_over(store)
    letter(store, "a")
    tell_of_dead_letters(app, NOW)
    acknowledge(store, DEAD_LETTERS, "ada", None, NOW + MINUTE)
    letter(store, "b")
    assert tell_of_dead_letters(app, NOW + 2 * MINUTE) == "tell"
    assert tell_of_dead_letters(app, NOW + 3 * MINUTE) is None  # another one, which she has not seen
    acknowledge(store, DEAD_LETTERS, "ada", None, NOW + 3 * MINUTE)
    assert tell_of_dead_letters(app, NOW + 4 * MINUTE) == "clear"
    over = alert(store, DEAD_LETTERS)
    assert over["reason"] == "letters_seen"
    assert "notify list --state dead" in (sentence(over, resolved=True) or "")
    assert outbox(store)["a-1-slack"] == ("trigger", "dead", "no_service")
    letter(store, "c")
    assert tell_of_dead_letters(app, NOW + 5 * MINUTE) == "fire"
    assert tell_of_dead_letters(app, NOW + 6 * MINUTE) is None  # nobody has seen this one


def test_after_a_day_without_another_one_it_is_over(store: Store) -> None:
    app = app_over(store)
    letter(store, "a")
    tell_of_dead_letters(app, NOW)
    assert tell_of_dead_letters(app, NOW + DAY - MINUTE) is None
    assert tell_of_dead_letters(app, NOW + DAY) == "clear"
    assert outbox(store)[f"{DEAD_LETTERS}-2-email"][0] == "resolve"
    letter(store, "b")
    assert tell_of_dead_letters(app, NOW + 2 * DAY) == "fire"

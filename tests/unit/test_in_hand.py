"""Who takes an alert or its incident on has all of the incident's alerts, those too that join it: nothing escalates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.alerts.acknowledge import acknowledge, take_back, together_with
from shared.alerts.follow_up import follow_up
from shared.alerts.silences import add
from shared.audited import Intent
from shared.bootstrap import App
from shared.delivery.deliver import deliver_due
from shared.domain import in_hand, incident, incident_alerts
from shared.domain.follow_up import speaks_again
from shared.domain.matcher import parse
from shared.domain.notification_policy import NotificationPolicy
from shared.domain.silence import Silence
from shared.flags import FlagsUnknown
from shared.incidents import incidents
from shared.notify import wording
from shared.store.protocol import Put, Query, Store, StoreError, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.fake_servers import ROUTING_KEY, FakePagerDuty
from tests.incidents_api import desk
from tests.ops_api import ops_api
from tests.unit.test_alerting import API, IN_SLOT, SLOT, Watch
from tests.unit.test_follow_up import app_over
from tests.unit.test_follow_up_killed import CutShort, Killed
from tests.unit.test_incident_alerts import FIRST, PAGE, broken, burning, by_ada, well

MINUTE = timedelta(minutes=1)
ALERTS = (API, PAGE)


def watching(store: Store) -> Watch:
    """An SLO with a threshold and a page, which tell Slack and PagerDuty."""
    data = burning()
    data["slos"][0]["alert"]["channels"] = ["slack", "pagerduty"]
    watch = Watch(store, data, channels={"slack": True, "pagerduty": True})
    watch.flags["alerts.pagerduty"] = True
    store.commit([Put("config/flags", {"alerts": {"pagerduty": True}})])
    return watch


@pytest.fixture
def watch(store: Store) -> Watch:
    return watching(store)


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Watch:
    return watching(sqlite_store)


def app(watch: Watch) -> App:
    return app_over(watch.store, PAGERDUTY_ROUTING_KEY="k" * 32)


def takers(watch: Watch) -> list[Any]:
    return [(watch.alert(name)["acknowledged"] or {}).get("by") for name in ALERTS]


def told(watch: Watch, kind: str, channel: str = "pagerduty") -> list[str]:
    found = watch.documents("notifications").values()
    return sorted(one["alertId"] for one in found if (one["kind"], one["channel"]) == (kind, channel))


def writes(watch: Watch, at: datetime, by: str = "ada", message: str = "On it.") -> None:
    """A person's update of the incident, as the API makes it."""
    intent = Intent("updated", by, at)
    incidents.change(watch.store, f"incidents/{FIRST}", lambda d: incident.updated(d, message, by, at), intent)


def joins_later(watch: Watch) -> None:
    """The threshold fires first, and the page five minutes later."""
    watch.requests(980, 20, IN_SLOT)
    assert set(watch.run(NOW).fired) & set(ALERTS) == {API}


# --- taking on


def test_who_takes_one_alert_on_has_every_alert_of_its_incident_once_each(watch: Watch) -> None:
    broken(watch, 0)
    at = NOW + MINUTE
    for n in range(3):
        acknowledge(watch.store, ALERTS[n % 2], "ada" if n == 0 else "bob", "rolling back", at + n * MINUTE)
    taken = {"by": "ada", "at": at, "note": "rolling back"}
    assert [watch.alert(name)["acknowledged"] for name in ALERTS] == [taken, taken]
    found = watch.doc(f"incidents/{FIRST}")
    assert (found["acknowledged"], found["acknowledgedAt"], found["touched"]) == (taken, at, False)
    assert told(watch, "acknowledge") == sorted(ALERTS)
    keys = {n["alertId"]: n["facts"]["firingSeq"] for n in watch.documents("notifications").values()}
    assert keys == {name: watch.alert(name)["firingSeq"] for name in keys}
    assert follow_up(app(watch), NOW + 5 * timedelta(hours=1)) == []


@pytest.mark.parametrize("touch", ["updated", "edited", "moved"])
def test_the_first_touch_of_the_incident_takes_its_alerts_on(watch: Watch, touch: str) -> None:
    broken(watch, 0)
    at = NOW + MINUTE
    if touch == "edited":
        by_ada(watch, FIRST, at, impact="high")
    else:
        intent = Intent("updated", "ada", at)
        to = "identified" if touch == "moved" else None
        change = lambda d: incident.updated(d, "m", "ada", at, status=to)  # noqa: E731  # as the API has it
        incidents.change(watch.store, f"incidents/{FIRST}", change, intent)
    writes(watch, at + MINUTE, "bob")
    taken = {"by": "ada", "at": at, "note": None}
    assert [watch.alert(name)["acknowledged"] for name in ALERTS] == [taken, taken]
    assert watch.doc(f"incidents/{FIRST}")["acknowledged"] == taken
    assert told(watch, "acknowledge") == sorted(ALERTS)
    assert follow_up(app(watch), NOW + timedelta(minutes=20)) == []


def test_who_resolves_what_still_fires_as_the_first_to_touch_it_has_its_alerts(quick: Watch) -> None:
    broken(quick, 0)
    intent = Intent("resolved", "ada", NOW)
    incidents.change(quick.store, f"incidents/{FIRST}", lambda d: incident.resolved(d, "ada", NOW), intent)
    assert takers(quick) == ["ada", "ada"]
    assert quick.doc(f"incidents/{FIRST}")["acknowledged"] is None


def resolve(watch: Watch, at: datetime) -> None:
    intent = Intent("resolved", "ada", at)
    incidents.change(watch.store, f"incidents/{FIRST}", lambda d: incident.resolved(d, "ada", at), intent)


def test_what_fires_on_after_it_was_resolved_by_hand_speaks_again_and_opens_the_incident_anew(watch: Watch) -> None:
    """After the time that a repetition takes; then nobody has it, and it is passed on and repeated as at first."""
    broken(watch, 0)
    acknowledge(watch.store, API, "ada", "on it", NOW)
    resolve(watch, NOW + MINUTE)
    every = timedelta(hours=4)
    assert follow_up(app(watch), NOW + every) == []
    again = NOW + MINUTE + every
    assert follow_up(app(watch), again) == [PAGE]  # while it fires, the threshold is held back and waits
    assert takers(watch) == ["ada", None]
    found = watch.doc(f"incidents/{FIRST}")
    assert (found["status"], found["acknowledged"], found["resolvedAt"]) == ("investigating", None, None)
    assert [u["message"] for u in found["updates"] if "Opened again" in u["message"]] == [
        f"Opened again: the alert {PAGE} fires on 4 h after this was resolved."
    ]
    heard = [n for n in watch.documents("notifications").values() if n.get("because") == "still_fires"]
    assert sorted((n["alertId"], n["channel"], n["kind"]) for n in heard) == [
        (PAGE, "pagerduty", "repeat"), (PAGE, "slack", "repeat"),
    ]  # fmt: skip
    assert wording.changes(heard[0]["facts"])[-1] == (
        "Its incident was resolved at 2026-03-10 12:03 UTC, and is open again since this fires."
    )
    assert follow_up(app(watch), again + timedelta(minutes=14)) == []
    assert follow_up(app(watch), again + timedelta(minutes=15)) == [PAGE]  # passed on: nobody has it
    assert follow_up(app(watch), again + every) == [PAGE]  # repeated
    acknowledge(watch.store, PAGE, "bob", "so it is me", again + every)
    assert takers(watch) == ["bob", "bob"]


def test_pagerduty_hears_that_it_was_resolved_by_hand_so_that_it_can_page_again(watch: Watch) -> None:
    broken(watch, 0)
    resolve(watch, NOW + MINUTE)
    assert told(watch, "resolve") == sorted(ALERTS)
    assert {n["channel"] for n in watch.documents("notifications").values() if n["kind"] == "resolve"} == {"pagerduty"}


def test_pagerduty_pages_again_for_what_fires_on_and_is_closed_with_it(quick: Watch) -> None:
    with FakePagerDuty() as pages:
        address = {"PAGERDUTY_ROUTING_KEY": ROUTING_KEY, "PAGERDUTY_URL": pages.url}

        def states(now: datetime) -> set[str]:
            deliver_due(app_over(quick.store, **address), now, budget_seconds=30)
            return {pages.states.get(f"{PAGE}-1", "unknown")}

        broken(quick, 0)
        assert states(NOW) == {"triggered"}
        acknowledge(quick.store, PAGE, "ada", "on it", NOW + MINUTE)
        assert states(NOW + MINUTE) == {"acknowledged"}
        resolve(quick, NOW + 2 * MINUTE)
        assert states(NOW + 2 * MINUTE) == {"resolved"}
        again = NOW + timedelta(hours=5)
        assert follow_up(app_over(quick.store, **address), again) == [PAGE]
        assert states(again) == {"triggered"}  # and not acknowledged, which would page nobody
        for n in range(61, 90):
            well(quick, n)
        assert states(again + timedelta(hours=3)) == {"resolved"}


def test_what_clears_in_time_after_it_was_resolved_by_hand_is_told_as_ever(watch: Watch) -> None:
    broken(watch, 0)
    resolve(watch, NOW + MINUTE)
    for n in range(1, 14):
        well(watch, n)
    assert [watch.alert(name)["state"] for name in ALERTS] == ["resolved", "resolved"]
    assert watch.doc(f"incidents/{FIRST}")["status"] == "resolved"
    assert follow_up(app(watch), NOW + timedelta(hours=5)) == []


def test_who_takes_it_on_after_it_was_resolved_has_it_for_good(watch: Watch) -> None:
    broken(watch, 0)
    resolve(watch, NOW + MINUTE)
    acknowledge(watch.store, API, "bob", "so it is me", NOW + 2 * MINUTE)
    assert takers(watch)[0] == "bob"
    assert API not in follow_up(app(watch), NOW + timedelta(hours=9))


def test_who_opens_it_again_in_time_has_its_alerts_for_good(watch: Watch) -> None:
    broken(watch, 0)
    resolve(watch, NOW + MINUTE)
    intent = Intent("reopened", "bob", NOW + 2 * MINUTE)
    path = f"incidents/{FIRST}"
    incidents.change(watch.store, path, lambda d: incident.reopened(d, "m", "bob", NOW + 2 * MINUTE), intent)
    assert follow_up(app(watch), NOW + timedelta(hours=9)) == []


def test_what_was_given_back_before_it_was_resolved_is_repeated_as_ever(watch: Watch) -> None:
    broken(watch, 0)
    acknowledge(watch.store, API, "ada", "on it", NOW)
    take_back(watch.store, API, "ada", NOW)
    resolve(watch, NOW + MINUTE)
    assert follow_up(app(watch), NOW + timedelta(minutes=15)) == [PAGE]


def test_while_a_silence_holds_it_back_it_waits_and_speaks_when_that_ends(watch: Watch) -> None:
    broken(watch, 0)
    resolve(watch, NOW + MINUTE)
    later = NOW + timedelta(hours=5)
    add(
        watch.store,
        Silence("s1", (parse('component="API"'),), NOW, later, "ada", NOW, "moving the database"),
        None,
        NOW,
    )
    assert follow_up(app(watch), later - MINUTE) == []
    assert takers(watch) == ["ada", "ada"]
    assert follow_up(app(watch), later + MINUTE) == [PAGE]


def test_a_severity_that_is_not_repeated_speaks_again_after_a_day() -> None:
    policy = NotificationPolicy.model_validate({"repeat": {}})
    known = {"state": "firing", "severity": "critical", "resolvedByHandAt": NOW, "firedAt": NOW, "channels": {}}
    assert speaks_again(known, policy) == NOW + timedelta(days=1)


def test_who_opens_it_again_has_it_and_who_writes_up_what_is_over_has_not(quick: Watch) -> None:
    broken(quick, 0)
    for action in ("resolved", "written up", "reopened"):
        change = {
            "resolved": lambda d: incident.resolved(d, "ada", NOW),
            "written up": lambda d: incident.edited(d, {"rootCause": "The moon."}, NOW),
            "reopened": lambda d: incident.reopened(d, "m", "bob", NOW),
        }[action]
        intent = Intent(action, "bob" if action == "reopened" else "ada", NOW)
        incidents.change(quick.store, f"incidents/{FIRST}", change, intent)
        held = quick.doc(f"incidents/{FIRST}")["acknowledged"]
        assert (held and held["by"]) == ("bob" if action == "reopened" else None)
    assert takers(quick) == ["ada", "ada"]


def test_what_is_given_back_is_nobodys_until_somebody_acknowledges_again(watch: Watch) -> None:
    broken(watch, 0)
    acknowledge(watch.store, API, "ada", None, NOW + MINUTE)
    for _ in range(2):
        take_back(watch.store, PAGE, "ada", NOW + 2 * MINUTE)
    assert takers(watch) == [None, None]
    writes(watch, NOW + 3 * MINUTE, message="I have to go.")
    assert (takers(watch), watch.doc(f"incidents/{FIRST}")["acknowledged"]) == ([None, None], None)
    assert follow_up(app(watch), NOW + 16 * MINUTE) == [PAGE]  # which mutes its threshold
    acknowledge(watch.store, PAGE, "bob", None, NOW + 17 * MINUTE)
    assert takers(watch) == ["bob", "bob"]
    actions = [e.data["action"] for e in watch.store.query(Query(f"incidents/{FIRST}/audit"))]
    assert actions[-4:] == ["alert_acknowledged", "alert_given_back", "updated", "alert_acknowledged"]
    assert watch.doc(f"incidents/{FIRST}")["acknowledgedAt"] == NOW + MINUTE  # when somebody first was at it


def test_alerts_of_another_incident_and_what_is_over_are_left_alone(quick: Watch) -> None:
    broken(quick, 0)
    other = {**quick.alert(PAGE), "incidentId": "another"}
    quick.store.commit([Put(f"alerts/{PAGE}", other)])
    assert together_with(quick.store, quick.store.get(f"alerts/{API}")) == []  # type: ignore[arg-type]
    acknowledge(quick.store, API, "ada", None, NOW)
    assert takers(quick) == ["ada", None]


def test_the_answer_names_what_is_acknowledged_with_it_and_the_incident_says_who_has_it(quick: Watch) -> None:
    broken(quick, 0)
    with ops_api(quick.store, NOW) as ops:
        for method, by in (("POST", "local-admin"), ("DELETE", None)):
            reply = ops.get(f"/api/ops/alerts/{API}/acknowledge", method=method)
            assert (reply.status, reply.json["together"]) == (200, [PAGE])
            assert takers(quick) == [by, by]
    with desk(quick.store) as on_call:
        assert on_call.incident(FIRST)["acknowledged"] is None
        on_call.edit(FIRST, impact="low")
        shown = on_call.update(FIRST, "On it.")
        assert (shown["acknowledged"], shown["firingAlertIds"]) == (None, [API, PAGE])  # it was given back
        acknowledge(quick.store, API, "ada", "on it", NOW)
        held = {"by": "ada", "at": "2026-03-10T12:02:30Z", "note": "on it"}
        assert on_call.incident(FIRST)["acknowledged"] == held


# --- joining later


def test_an_alert_that_joins_what_somebody_has_in_hand_is_told_once_and_passed_on_never(watch: Watch) -> None:
    joins_later(watch)
    acknowledge(watch.store, API, "ada", "on it", NOW + MINUTE)
    broken(watch, 1)
    assert takers(watch) == ["ada", "ada"]
    assert watch.alert(PAGE)["incidentId"] == FIRST
    for channel in ("slack", "pagerduty"):
        assert told(watch, "trigger", channel).count(PAGE) == 1
    assert told(watch, "acknowledge") == sorted(ALERTS)  # PagerDuty would pass it on by itself
    facts = watch.doc(f"notifications/{PAGE}-1-slack")["facts"]
    assert wording.told(facts, "trigger").startswith("Somebody is working on it already (on it). ")
    assert follow_up(app(watch), NOW + timedelta(hours=9)) == []


def test_what_joins_what_was_resolved_too_early_is_of_who_acknowledges_then(quick: Watch) -> None:
    """And not of who has an alert of it from before, and may be gone."""
    joins_later(quick)
    acknowledge(quick.store, API, "ada", "on it", NOW + MINUTE)
    intent = Intent("resolved", "ada", NOW + MINUTE)
    incidents.change(quick.store, f"incidents/{FIRST}", lambda d: incident.resolved(d, "ada", NOW + MINUTE), intent)
    broken(quick, 1)
    assert takers(quick) == ["ada", None]
    for _ in range(2):
        acknowledge(quick.store, API, "bob", "so it is me", NOW + 9 * MINUTE)
    assert takers(quick) == ["bob", "bob"]
    found = quick.doc(f"incidents/{FIRST}")
    assert found["acknowledged"] == {"by": "bob", "at": NOW + 9 * MINUTE, "note": "so it is me"}
    assert found["updatedAt"] == NOW + 9 * MINUTE


def test_an_alert_that_joins_what_was_given_back_is_not_taken_on_by_a_last_word(quick: Watch) -> None:
    joins_later(quick)
    acknowledge(quick.store, API, "ada", None, NOW + MINUTE)
    take_back(quick.store, API, "ada", NOW + 2 * MINUTE)
    broken(quick, 1)
    writes(quick, NOW + 6 * MINUTE, message="I have to go.")
    assert takers(quick) == [None, None]
    acknowledge(quick.store, PAGE, "bob", None, NOW + 7 * MINUTE)
    assert takers(quick) == ["bob", "bob"]


def test_what_joins_a_forgotten_incident_is_passed_on_and_the_next_who_touches_it_has_it(quick: Watch) -> None:
    quick.data = burning()
    quick.data["slos"][0]["alert"]["burn_rates"] = False
    broken(quick, 0)
    writes(quick, NOW + MINUTE)
    well(quick, 1)  # it stays open, since it is Ada's
    broken(quick, 26)
    assert quick.alert()["acknowledged"] is None
    assert quick.doc(f"incidents/{FIRST}")["acknowledged"] is None
    writes(quick, NOW + 27 * SLOT, "bob")
    assert quick.alert()["acknowledged"]["by"] == "bob"


def test_what_was_over_and_fires_again_is_nobodys(quick: Watch) -> None:
    broken(quick, 0)
    writes(quick, NOW)
    intent = Intent("resolved", "ada", NOW + MINUTE)
    change = lambda d: incident.resolved(d, "ada", NOW + MINUTE)  # noqa: E731  # as the API has it
    incidents.change(quick.store, f"incidents/{FIRST}", change, intent)
    well(quick, 1)
    assert quick.alert()["state"] == "resolved"
    broken(quick, 2)
    assert (quick.alert()["incidentId"], quick.alert()["acknowledged"]) == (FIRST, None)


def test_an_alert_that_joins_while_somebody_takes_the_incident_on_is_taken_on_too(watch: Watch) -> None:
    joins_later(watch)
    watch.requests(50, 50, IN_SLOT + SLOT)
    plain = watch.store

    class Meanwhile:
        """The page joins between what a person's request read and what it commits."""

        def __init__(self) -> None:
            self.done = False

        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

        def commit(self, writes: Any) -> None:
            if not self.done:
                self.done = True
                watch.run(NOW + SLOT)
            plain.commit(writes)

    acknowledge(Meanwhile(), API, "ada", None, NOW + SLOT)  # type: ignore[arg-type]
    assert watch.alert(PAGE)["state"] == "firing"
    assert takers(watch) == ["ada", "ada"]


def test_of_many_who_take_it_on_at_once_one_has_it(watch: Watch) -> None:
    broken(watch, 0)
    work: list[Callable[[], Any]] = [
        lambda: acknowledge(watch.store, API, "ada", None, NOW),
        lambda: acknowledge(watch.store, PAGE, "bob", None, NOW),
        lambda: writes(watch, NOW, "cem"),
        lambda: writes(watch, NOW, "dee"),
    ]
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = watch.doc(f"incidents/{FIRST}")
    assert takers(watch) == [found["acknowledged"]["by"]] * 2
    assert told(watch, "acknowledge") == sorted(ALERTS)
    assert len(found["updates"]) == 4


# --- cut short


def take_alert(store: Store) -> None:
    acknowledge(store, API, "ada", "on it", NOW + MINUTE)


def take_incident(store: Store) -> None:
    if any(u["message"] == "On it." for u in incidents.timeline(store, f"incidents/{FIRST}", _incident(store))):
        return  # the person sees that it is there
    writes(Watch(store), NOW + MINUTE)


def give_back(store: Store) -> None:
    take_back(store, PAGE, "ada", NOW + MINUTE)


def resolve_it(store: Store) -> None:
    if _incident(store)["status"] != "resolved":
        resolve(Watch(store), NOW + MINUTE)


def speak(store: Store) -> None:
    for n in range(2):  # what was cut short is done a minute later
        with suppress(FlagsUnknown):
            follow_up(app_over(store, PAGERDUTY_ROUTING_KEY="k" * 32), NOW + timedelta(hours=5) + n * MINUTE)


def join(store: Store) -> None:
    watch = watching(store)
    watch.run(NOW + SLOT)


def _incident(store: Store) -> dict[str, Any]:
    doc = store.get(f"incidents/{FIRST}")
    assert doc is not None
    return doc.data


class CutCommits(CutShort):
    """Cut short at commits alone: a run reads much, and what it has read is gone with it."""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        return self._around(call) if name == "commit" else call


CASES = {
    "an alert": take_alert,
    "the incident": take_incident,
    "given back": give_back,
    "joined": join,
    "resolved": resolve_it,
    "speaks": speak,
}
MIXED = ("joined", "resolved", "speaks")  # alerts of an incident that nobody has may be somebody's


def begin(store: SqliteStore, case: str) -> None:
    watch = watching(store)
    if case == "joined":
        joins_later(watch)
        take_alert(store)
        watch.requests(50, 50, IN_SLOT + SLOT)
    else:
        broken(watch, 0)
    if case == "given back":
        take_alert(store)
    if case == "speaks":
        resolve_it(store)


def state(store: Store) -> Any:
    """Who has what, what PagerDuty is to hear, and what the incident says; not when."""
    watch = Watch(store)
    found = _incident(store)
    docs = {name: data for name, data in watch.documents("alerts").items() if name in ALERTS}
    return (
        {name: (a["state"], a["seq"], (a["acknowledged"] or {}).get("by")) for name, a in docs.items()},
        sorted((n["notificationId"], n["kind"]) for n in watch.documents("notifications").values()),
        (found["acknowledged"] or {}).get("by"), found["givenBack"], len(found["updates"]), found["firingAlertIds"],
    )  # fmt: skip


@pytest.mark.parametrize("error", [Killed, Unavailable])
@pytest.mark.parametrize("case", CASES)
def test_cut_short_at_any_call_and_tried_again_all_of_it_is_done_once(
    case: str, error: type[BaseException], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def life(number: int, after: bool) -> tuple[Any, int]:
        store = SqliteStore(tmp_path_factory.mktemp("life") / "store.db")
        begin(store, case)
        cut = (CutCommits if case == "joined" else CutShort)(store, number, after, error)
        for _ in range(3):
            try:
                CASES[case](cut)  # type: ignore[arg-type]
                break
            except (Killed, StoreError):
                found = state(store)
                mixed = {by for _, _, by in found[0].values() if case not in MIXED} - {found[2]}
                assert case in MIXED or len({*mixed, found[2]}) == 1, found  # all of it, or nothing
        calls, found = cut.calls, state(store)
        store.close()
        return found, calls

    promised, calls = life(0, False)
    points = [(n, after) for n in range(1, calls + 1) for after in (False, True)]
    broken_at = {point: found for point in points if (found := life(*point)[0]) != promised}
    assert broken_at == {}


# --- the rules


STEPS = st.lists(
    st.tuples(st.sampled_from(["touch", "ack", "back", "join", "clear", "resolve", "reopen"]), st.integers(1, 200)),
    max_size=12,
)


@given(STEPS)
def test_who_has_an_incident_has_every_alert_of_it_that_fires(steps: list[tuple[str, int]]) -> None:
    """As the use cases put the rules together, on one incident with two alerts."""
    now = NOW
    found = incident_alerts.opened("t", "low", "API", "a", "m", now, cause="c")
    alerts: dict[str, Any] = {"a": None}  # firing alert → who has it

    def take(taker: Any) -> None:
        for name in alerts:
            alerts[name] = alerts[name] or taker

    for step, minutes in steps:
        now += minutes * MINUTE
        resolved = found["status"] == "resolved"
        if step in ("touch", "resolve", "reopen") and (step == "reopen") == resolved:
            move = {
                "touch": lambda d, at=now: incident.updated(d, "m", "ada", at),
                "resolve": lambda d, at=now: incident.resolved(d, "ada", at),
                "reopen": lambda d, at=now: incident.reopened(d, "m", "ada", at),
            }[step]
            before, found = found, move(found)
            taker = in_hand.taker(before, found, "ada", now)
            if taker:
                take(taker)
                found = in_hand.taken(found, taker)
        elif step == "ack" and alerts:
            taker = next(iter(alerts.values())) or {"by": "bob", "at": now, "note": None}
            take(taker)
            found = in_hand.acknowledged(found, taker) or found
        elif step == "back" and any(alerts.values()):
            alerts = dict.fromkeys(alerts)
            found = in_hand.given_back(found, now) or found
        elif step == "join" and len(alerts) < 2 and incident_alerts.takes(found, now):
            name = "b" if "a" in alerts else "a"
            found = incident_alerts.joined(found, "low", name, "m", now)
            alerts[name] = found["acknowledged"]
        elif step == "clear" and alerts:
            name = sorted(alerts)[0]
            del alerts[name]
            found = incident_alerts.cleared(found, name, "m", now)
        assert not (found["acknowledged"] and found["status"] == "resolved")
        assert not found["acknowledged"] or all(alerts.values())
        assert set(found["firingAlertIds"]) == set(alerts)

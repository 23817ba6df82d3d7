"""Incidents that alerts open: joined, opened again, left to people; by real runs of alertRules on both stores."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.alerts.acknowledge import acknowledge
from shared.audited import Intent
from shared.domain import incident, incident_alerts
from shared.domain.alert import DAMPED_FOR
from shared.domain.incident_policy import SHIPPED
from shared.incidents import incidents
from shared.store.protocol import Query, Store, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.unit.test_alerting import API, IN_SLOT, SLOT, Watch, only

PAGE = "api-availability-page"
FIRST = f"{API}-1"


@pytest.fixture
def watch(store: Store) -> Watch:
    return Watch(store)


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Watch:
    return Watch(sqlite_store)


def burning(name: str = "API Availability") -> dict[str, Any]:
    (slo,) = only(name)["slos"]
    return {"slos": [{**slo, "alert": {**slo["alert"], "burn_rates": True}}]}


def broken(watch: Watch, n: int) -> None:
    watch.requests(50, 50, IN_SLOT + n * SLOT)
    watch.run(NOW + n * SLOT)


def well(watch: Watch, n: int) -> None:
    watch.requests(1000, 0, IN_SLOT + n * SLOT)
    watch.run(NOW + n * SLOT)


def by_ada(watch: Watch, name: str, now: datetime, **changes: Any) -> None:
    """A person's touch, as the API makes it."""
    intent = Intent("edited", "ada", now)
    incidents.change(watch.store, f"incidents/{name}", lambda data: incident.edited(data, changes, now), intent)


def test_alerts_of_one_component_and_cause_have_one_incident(watch: Watch) -> None:
    watch.data = burning()
    broken(watch, 0)
    (only_one,) = watch.documents("incidents").items()
    assert only_one[0] == FIRST
    assert only_one[1]["cause"] == "API:error_rate"
    assert set(only_one[1]["firingAlertIds"]) == {API, PAGE} <= set(only_one[1]["alertIds"])
    assert {watch.alert(name)["incidentId"] for name in (API, PAGE)} == {FIRST}
    opened, joined = only_one[1]["updates"]
    assert opened["message"].startswith(f"Opened by the alert {API}: error rate 50 %")
    assert joined["message"].startswith(f"Joined by the alert {PAGE}: error budget of error rate burns")
    assert (opened["publicMessage"], joined["public"]) == ("Found by our monitoring.", False)


def test_an_incident_ends_with_the_last_of_its_alerts(quick: Watch) -> None:
    quick.data = burning()
    broken(quick, 0)
    n = 1
    while quick.doc(f"incidents/{FIRST}")["status"] != "resolved":
        before = quick.doc(f"incidents/{FIRST}")
        well(quick, n)
        n += 1
        assert n < 200
    assert len(before["firingAlertIds"]) == 1
    after = quick.doc(f"incidents/{FIRST}")
    assert (after["firingAlertIds"], after["resolvedAt"]) == ([], after["updates"][-1]["timestamp"])
    assert "Still firing" in after["updates"][-2]["message"]
    assert f"Resolved after {(n - 1) * 5} min" in after["updates"][-1]["publicMessage"].replace("1 h", "60 min")


def test_what_fires_again_within_the_grace_time_opens_the_same_incident_again(watch: Watch) -> None:
    watch.data = only()
    broken(watch, 0)
    well(watch, 1)
    assert watch.doc(f"incidents/{FIRST}")["status"] == "resolved"
    broken(watch, 7)  # half an hour after the resolution, to the second
    (found,) = watch.documents("incidents").values()
    assert (found["status"], found["resolvedAt"], found["reopened"]) == ("investigating", None, 1)
    assert watch.alert()["incidentId"] == FIRST
    assert found["updates"][-1]["message"].startswith("Opened again by the alert")
    well(watch, 8)
    assert watch.doc(f"incidents/{FIRST}")["status"] == "resolved"
    assert [e.data["action"] for e in watch.store.query(Query(f"incidents/{FIRST}/audit"))] == [
        "opened", "cleared", "refired", "cleared",
    ]  # fmt: skip


def test_what_fires_again_later_is_another_incident(quick: Watch) -> None:
    quick.data = only()
    broken(quick, 0)
    well(quick, 1)
    broken(quick, 8)
    assert set(quick.documents("incidents")) == {FIRST, f"{API}-3"}


@pytest.mark.parametrize("changes", [{"title": "Requests fail"}, {"publicVisible": True}, {"impact": "low"}])
def test_what_a_person_has_touched_automation_resolves_no_more(watch: Watch, changes: dict[str, Any]) -> None:
    watch.data = only()
    broken(watch, 0)
    by_ada(watch, FIRST, NOW + timedelta(minutes=1), **changes)
    well(watch, 1)
    found = watch.doc(f"incidents/{FIRST}")
    assert (found["status"], found["resolvedAt"], found["firingAlertIds"]) == ("investigating", None, [])
    assert found["updates"][-1]["message"].startswith("The alert cleared after 5 min")
    assert found["acknowledgedAt"] == NOW + timedelta(minutes=1)
    broken(watch, 2)
    assert {name: i["impact"] for name, i in watch.documents("incidents").items()} == {
        FIRST: changes.get("impact", "critical")
    }
    assert watch.doc(f"incidents/{FIRST}")["firingAlertIds"] == [API]


def test_who_takes_an_alert_on_acknowledges_its_incident_which_still_ends_by_itself(watch: Watch) -> None:
    watch.data = only()
    broken(watch, 0)
    at = NOW + timedelta(minutes=3)
    for _ in range(2):
        acknowledge(watch.store, API, "ada", None, at)
    found = watch.doc(f"incidents/{FIRST}")
    assert (found["acknowledgedAt"], found["auditSeq"], len(found["updates"])) == (at, 2, 1)
    (entry,) = [e.data for e in watch.store.query(Query(f"incidents/{FIRST}/audit")) if e.data["n"] == 2]
    assert (entry["action"], entry["by"]) == ("alert_acknowledged", "ada")
    well(watch, 1)
    assert watch.doc(f"incidents/{FIRST}")["status"] == "resolved"


def test_who_writes_up_what_has_ended_by_itself_has_not_acknowledged_it(quick: Watch) -> None:
    quick.data = only()
    broken(quick, 0)
    well(quick, 1)
    by_ada(quick, FIRST, NOW + timedelta(days=1), rootCause="The moon.")
    assert quick.doc(f"incidents/{FIRST}")["acknowledgedAt"] is None


def test_what_a_person_resolved_too_early_is_opened_again_and_stays_theirs(quick: Watch) -> None:
    quick.data = only()
    broken(quick, 0)
    intent = Intent("resolved", "ada", NOW)
    incidents.change(quick.store, f"incidents/{FIRST}", lambda data: incident.resolved(data, "ada", NOW), intent)
    well(quick, 1)
    assert quick.doc(f"incidents/{FIRST}")["status"] == "resolved"
    broken(quick, 2)
    assert quick.doc(f"incidents/{FIRST}")["status"] == "investigating"
    well(quick, 3)
    assert quick.doc(f"incidents/{FIRST}")["status"] == "investigating"


def test_an_older_incident_that_a_person_opened_again_takes_the_next_alert_in(quick: Watch) -> None:
    quick.data = only()
    for n in (0, 8):
        broken(quick, n)
        well(quick, n + 1)
    assert set(quick.documents("incidents")) == {FIRST, f"{API}-3"}
    at = NOW + 10 * SLOT
    intent = Intent("reopened", "ada", at)
    incidents.change(quick.store, f"incidents/{FIRST}", lambda data: incident.reopened(data, "m", "ada", at), intent)
    broken(quick, 17)
    assert quick.alert()["incidentId"] == FIRST
    assert len(quick.documents("incidents")) == 2


def test_a_graver_alert_raises_the_impact_of_what_nobody_touched() -> None:
    low = incident_alerts.opened("t", "medium", "API", "a", "m", NOW, cause="c")
    assert incident_alerts.joined(low, "critical", "b", "m", NOW)["impact"] == "critical"
    assert incident_alerts.joined(low, "low", "b", "m", NOW)["impact"] == "medium"
    theirs = incident.touched(low, NOW)
    assert incident_alerts.joined(theirs, "critical", "b", "m", NOW)["impact"] == "medium"


def opened_by_ada(watch: Watch, **changes: Any) -> str:
    made = {"title": "Requests fail", "impact": "low", "components": ["API"], **changes}
    data = incident.new_incident(**made, now=NOW - timedelta(hours=1), by="ada")
    created = incidents.create(watch.store, data, Intent("opened", "ada", NOW - timedelta(hours=1)))
    return created.path.removeprefix("incidents/")


def test_an_alert_joins_what_a_person_has_opened_on_its_component_and_leaves_it_theirs(watch: Watch) -> None:
    watch.data = only()
    name = opened_by_ada(watch)
    broken(watch, 0)
    (found,) = watch.documents("incidents").values()
    assert watch.alert()["incidentId"] == name
    assert (found["cause"], found["alertIds"], found["firingAlertIds"]) == ("API:error_rate", [API], [API])
    assert (found["title"], found["impact"], found["publicVisible"]) == ("Requests fail", "low", False)
    last = found["updates"][-1]
    assert last["message"].startswith(f"Joined by the alert {API}: error rate 50 %")
    assert last["message"].endswith("By itself it would be of critical impact.")
    assert last["public"] is False
    well(watch, 1)
    after = watch.doc(f"incidents/{name}")
    assert (after["status"], after["firingAlertIds"]) == ("investigating", [])
    assert after["updates"][-1]["message"].startswith("The alert cleared after 5 min")
    broken(watch, 2)
    assert watch.alert()["incidentId"] == name


def test_what_a_person_resolved_is_opened_again_by_the_alert_that_had_joined_it(quick: Watch) -> None:
    quick.data = only()
    name = opened_by_ada(quick)
    broken(quick, 0)
    at = NOW + SLOT
    intent = Intent("resolved", "ada", at)
    incidents.change(quick.store, f"incidents/{name}", lambda data: incident.resolved(data, "ada", at), intent)
    well(quick, 1)
    broken(quick, 2)
    assert {n: i["status"] for n, i in quick.documents("incidents").items()} == {name: "investigating"}


@pytest.mark.parametrize(
    ("changes", "joins"),
    [
        ({"components": ["Billing"]}, False),
        ({"components": []}, False),
        ({"components": ["Billing", "API"]}, True),
        ({"components": [], "alert_ids": [API]}, True),
    ],
)
def test_an_alert_joins_by_its_component_or_by_its_name(quick: Watch, changes: dict[str, Any], joins: bool) -> None:
    quick.data = only()
    name = opened_by_ada(quick, **changes)
    broken(quick, 0)
    assert (quick.alert()["incidentId"] == name) is joins
    assert len(quick.documents("incidents")) == (1 if joins else 2)


def test_what_is_over_or_has_another_cause_awaits_no_alert() -> None:
    theirs = incident.new_incident("t", "low", ["API"], NOW, by="ada")
    assert incident_alerts.awaits(theirs, "API", "a")
    assert not incident_alerts.awaits(theirs, None, "a")
    assert not incident_alerts.awaits(incident.resolved(theirs, "ada", NOW), "API", "a")
    assert not incident_alerts.awaits(incident_alerts.joined(theirs, "low", "a", "m", NOW, cause="API:x"), "API", "b")
    assert not incident_alerts.awaits(incident_alerts.opened("t", "low", "API", "a", "m", NOW), "API", "b")
    linked = incident_alerts.joined(theirs, "low", "a", "m", NOW, runbook="api-outage")
    assert linked["runbook"] == "api-outage"
    assert incident_alerts.joined(linked, "low", "b", "m", NOW, runbook="other")["runbook"] == "api-outage"


class Interrupts:
    """A store in which a commit's reply is lost, or a person edits the incident just before it."""

    def __init__(self, store: Any, name: str, edit: Any = None) -> None:
        self._store, self._name, self._edit = store, name, edit
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, writes: Any) -> None:
        if any(w.path == f"incidents/{self._name}" for w in writes):
            if self._edit is not None:
                edit, self._edit = self._edit, None
                edit()
            elif not self.lost:
                self.lost += 1
                self._store.commit(writes)
                raise Unavailable("the reply was lost")
        self._store.commit(writes)


def test_a_person_who_is_faster_than_the_clearing_alert_keeps_the_incident(watch: Watch) -> None:
    watch.data = only()
    broken(watch, 0)
    plain = watch.store
    watch.store = Interrupts(plain, FIRST, lambda: by_ada(replaced, FIRST, NOW, title="Mine"))
    replaced = Watch(plain)
    well(watch, 1)
    found = watch.doc(f"incidents/{FIRST}")
    assert (found["status"], found["title"], len(found["updates"])) == ("investigating", "Mine", 2)


def test_with_a_lost_reply_an_alert_joins_once(watch: Watch) -> None:
    watch.data = burning()
    watch.store = Interrupts(watch.store, FIRST)
    broken(watch, 0)
    found = watch.doc(f"incidents/{FIRST}")
    assert (len(found["updates"]), found["auditSeq"], len(found["alertIds"])) == (2, 2, 2)


def test_the_grace_time_is_as_long_as_the_damping_of_what_flaps() -> None:
    assert SHIPPED.reopen_within == DAMPED_FOR

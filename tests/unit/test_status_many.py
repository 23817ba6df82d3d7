"""What is open stays public, however much is newer; on both stores."""

from __future__ import annotations

from datetime import timedelta

from shared.status.publish import SNAPSHOT, publish_status
from shared.store.protocol import Data, Put, Store
from tests.unit.status_scenes import BILLING, COMPONENTS, NOW, PAST, app_on, incident, minutes


def published(store: Store, documents: dict[str, Data]) -> Data:
    store.commit([Put(path, data) for path, data in documents.items()])
    publish_status(store, COMPONENTS, app_on(store).flags, NOW)
    doc = store.get(SNAPSHOT)
    assert doc is not None
    return doc.data


def work(status: str, begin: timedelta) -> Data:
    return {
        "title": "The disks are renewed", "message": "", "status": status, "components": ["Storage"],
        "scheduledFor": NOW + begin, "scheduledUntil": NOW + begin + minutes(120), "updates": [], "publicVisible": True,
        "startedAt": None, "completedAt": None, "rev": "r1",
    }  # fmt: skip


def test_an_outage_that_lasts_is_there_behind_fifty_that_came_and_went(store: Store) -> None:
    past = {**PAST, "startedAt": NOW - minutes(40), "resolvedAt": NOW - minutes(30)}
    hidden = {**incident("Not for the public", "critical", ("Auth",), NOW - minutes(90)), "publicVisible": False}
    found = published(
        store,
        {"incidents/long": BILLING, "incidents/hidden": hidden} | {f"incidents/i{n:02}": past for n in range(50)},
    )
    assert [i["id"] for i in found["incidents"]][:2] == ["long", "i49"]
    assert len(found["incidents"]) == 51
    assert found["overall"] == "outage"
    assert {c["id"]: c["state"] for c in found["components"]}["Billing"] == "outage"


def test_a_maintenance_under_way_and_the_next_are_there_before_a_year_of_planned_ones(store: Store) -> None:
    weeks = {f"maintenances/w{n:02}": work("scheduled", timedelta(days=7 * n)) for n in range(1, 61)}
    found = published(store, {"maintenances/now": work("in_progress", -minutes(30)), **weeks})
    assert [m["id"] for m in found["maintenances"]][:3] == ["now", "w01", "w02"]
    assert {c["id"] for c in found["components"] if c.get("maintenance")} == {"Storage"}


def test_with_few_of_them_nothing_more_is_asked(store: Store) -> None:
    published(store, {"incidents/i1": PAST, "maintenances/m1": work("scheduled", minutes(60))})
    before = store.meter.snapshot()
    publish_status(store, COMPONENTS, app_on(store).flags, NOW)
    # snapshot; run, flags, probes, history; an incident, a maintenance
    assert store.meter.since(before).reads == 7

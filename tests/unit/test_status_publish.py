"""Publishing: one snapshot, nothing internal in it, and never an older view over a newer one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.status_api.handler import handle
from shared.domain import incident_alerts as incidents
from shared.status.publish import INCIDENTS, ITEMS, SNAPSHOT, UPDATES, publish_status
from shared.store.protocol import Conflict, Data, Doc, Meter, Query, Unavailable, Write, document_size
from shared.store.sqlite import SqliteStore
from tests.unit.status_scenes import (
    BILLING,
    COMPONENTS,
    NOW,
    PAST,
    SCENES,
    alert,
    app_on,
    fill,
    incident,
    minutes,
    run,
    update,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "store.db")
    yield made
    made.close()


def publish(store: Any, at: Any = NOW) -> int:
    return publish_status(store, COMPONENTS, app_on(store).flags, at, pause=lambda _: None)


def snapshot(store: SqliteStore) -> Data:
    doc = store.get(SNAPSHOT)
    assert doc is not None
    return doc.data


def states(store: SqliteStore) -> dict[str, str]:
    return {component["id"]: component["state"] for component in snapshot(store)["components"]}


class Between:
    """A real store, with something happening before the nth call of a method."""

    def __init__(self, store: SqliteStore, **happenings: Callable[[], None]) -> None:
        self.meter: Meter = store.meter
        self._store = store
        self._happenings = happenings

    def _happens(self, name: str) -> None:
        self._happenings.pop(name, lambda: None)()

    def get(self, path: str) -> Doc | None:
        self._happens("get")
        return self._store.get(path)

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self._happens("get_many")
        return self._store.get_many(paths)

    def query(self, query: Query) -> list[Doc]:
        self._happens("query")
        return self._store.query(query)

    def commit(self, writes: Sequence[Write]) -> None:
        self._happens("commit")
        self._store.commit(writes)
        self._happens("committed")


def test_the_snapshot_and_the_component_documents_are_written_together(store: SqliteStore) -> None:
    fill(store, SCENES["outage"])
    assert publish(store) == 1
    assert snapshot(store)["overall"] == "outage"
    item = store.get(f"{ITEMS}/API")
    assert item is not None
    assert item.data == {
        "name": "API",
        "state": "outage",
        "lastCheck": NOW - minutes(2.5),
        "metadata": {"latency": 212},
    }
    assert len(store.query(Query(ITEMS))) == 6


def test_seq_counts_up_by_one(store: SqliteStore) -> None:
    assert [publish(store), publish(store), publish(store)] == [1, 2, 3]


def test_only_component_documents_that_changed_are_written(store: SqliteStore) -> None:
    fill(store, SCENES["degraded"])
    publish(store)
    before = store.meter.snapshot()
    publish(store, NOW + minutes(1))
    assert store.meter.since(before).writes == 1
    fill(store, {"alerts/latency": alert("latency", "api_latency", "warning", state="resolved")})
    before = store.meter.snapshot()
    publish(store, NOW + minutes(2))
    assert store.meter.since(before).writes == 3  # the snapshot, the component, and the history, whose state changed


def test_the_document_of_a_component_that_is_configured_no_more_goes(store: SqliteStore) -> None:
    publish(store)
    fewer = COMPONENTS.model_copy(update={"components": COMPONENTS.components[:2]})
    publish_status(store, fewer, app_on(store).flags, NOW)
    assert [doc.id for doc in store.query(Query(ITEMS))] == ["API", "Auth"]


def test_uptime_is_time_and_no_share_of_requests_and_the_same_wherever_it_is_told(store: SqliteStore) -> None:
    """Nine minutes of operation and one of an outage, while 99.98 % of the requests of 30 days were good."""
    fill(store, {"alerts/errors": alert("errors", "error_rate", "critical")})
    for minute, open_alerts in ((0, ()), (9, ("errors",)), (10, ())):
        fill(store, {"runs/alertRules": run(alerts=open_alerts)})
        publish(store, NOW + minutes(minute))
        if minute == 0:
            assert not [c for c in snapshot(store)["components"] if "uptime90" in c]  # nothing is known yet
    app = app_on(store, NOW + minutes(10))
    health = json.loads(get(app, "/api/status/healthz"))
    assert health["components"]["API"]["uptime"] == 90.0
    assert health["uptimeSince"]["API"] == int(NOW.timestamp() * 1000)
    assert "90.00 % uptime since 10:07 UTC today" in get(app, "/status")
    item = store.get(f"{ITEMS}/API")
    assert item is not None
    assert item.data["metadata"]["uptime"] == 90.0
    assert "99.98" not in get(app, "/status") + json.dumps(health)


def test_what_only_incidents_are_known_of_has_no_uptime_yet_shows_its_outage(store: SqliteStore) -> None:
    fill(store, {"incidents/cards": incident("Cards are declined", "critical", ("Storage",), NOW)})
    for minute in (0, 9):
        publish(store, NOW + minutes(minute))
    (found,) = [c for c in snapshot(store)["components"] if c["id"] == "Storage"]
    assert found["state"] == "outage"
    assert found["history"]["days"][-1]["outage"] == 9 * 60
    assert not {"uptime90", "uptimeSince"} & set(found)


def test_a_view_that_was_overtaken_while_it_was_made_does_not_overwrite(store: SqliteStore) -> None:
    fill(store, SCENES["degraded"])

    def recovery_is_published() -> None:
        fill(store, {"alerts/latency": alert("latency", "api_latency", "warning", state="resolved")})
        assert publish(store) == 1

    # The racing writer comes after this one has read all its sources, so its own view is out of date.
    assert publish(Between(store, commit=recovery_is_published)) == 2
    assert states(store)["API"] == "operational"


def test_the_version_is_read_before_the_sources(store: SqliteStore) -> None:
    fill(store, SCENES["degraded"])

    def recovery_is_published() -> None:
        fill(store, {"alerts/latency": alert("latency", "api_latency", "warning", state="resolved")})
        publish(store)

    for place in ("get_many", "query"):
        fill(store, SCENES["degraded"])
        publish(Between(store, **{place: recovery_is_published}))
        assert states(store)["API"] == "operational"


def test_many_publishers_at_once_leave_the_last_truth_and_no_gap_in_seq(store: SqliteStore) -> None:
    fill(store, SCENES["degraded"])
    seqs: list[int] = []
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            doc = store.get(SNAPSHOT)
            seen.append(int(doc.data["seq"]) if doc else 0)

    def publish_often() -> None:
        for _ in range(5):
            seqs.append(publish_status(store, COMPONENTS, app_on(store).flags, NOW, attempts=500))

    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=publish_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    fill(store, {"alerts/latency": alert("latency", "api_latency", "warning", state="resolved")})
    seqs.append(publish_status(store, COMPONENTS, app_on(store).flags, NOW, attempts=500))
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert sorted(seqs) == list(range(1, 22))
    assert seen == sorted(seen)
    assert states(store)["API"] == "operational"


def test_a_commit_whose_reply_was_lost_is_recognised(store: SqliteStore) -> None:
    def lose_the_reply() -> None:
        raise Unavailable("deadline")

    assert publish(Between(store, committed=lose_the_reply)) == 1
    assert snapshot(store)["seq"] == 1


def test_a_commit_that_never_arrived_is_made_again(store: SqliteStore) -> None:
    def fail() -> None:
        raise Unavailable("deadline")

    assert publish(Between(store, commit=fail)) == 1
    assert snapshot(store)["seq"] == 1


def test_a_store_that_stays_down_is_an_error_and_the_last_view_stays(store: SqliteStore) -> None:
    publish(store)

    class Down(Between):
        def commit(self, writes: Sequence[Write]) -> None:
            raise Unavailable("deadline")

    with pytest.raises(Unavailable):
        publish(Down(store))
    assert snapshot(store)["seq"] == 1


def test_publishing_gives_up_in_the_end(store: SqliteStore) -> None:
    class Busy(Between):
        def commit(self, writes: Sequence[Write]) -> None:
            raise Conflict(SNAPSHOT)

    with pytest.raises(Conflict, match="30 attempts"):
        publish(Busy(store))


def test_switched_off_the_snapshot_is_blank_and_the_component_documents_go_on(store: SqliteStore) -> None:
    fill(store, SCENES["outage"])
    publish(store)
    fill(store, {"config/flags": {"ops": {"public_status_page": False}, "rev": "r1"}})
    publish(store)
    assert {k: snapshot(store)[k] for k in ("enabled", "overall", "components", "incidents")} == {
        "enabled": False,
        "overall": "unknown",
        "components": [],
        "incidents": [],
    }
    item = store.get(f"{ITEMS}/API")
    assert item is not None
    assert item.data["state"] == "outage"


def test_the_flag_is_read_with_the_sources_and_not_from_a_cache(store: SqliteStore) -> None:
    flags = app_on(store).flags
    assert flags.on("ops.public_status_page")
    fill(store, {"config/flags": {"ops": {"public_status_page": False}, "rev": "r1"}})
    publish_status(store, COMPONENTS, flags, NOW)
    assert snapshot(store)["enabled"] is False


def test_a_publish_costs_few_reads(store: SqliteStore) -> None:
    fill(store, SCENES["outage"])
    before = store.meter.snapshot()
    publish(store)
    # snapshot; run, flags, probes, history; two alerts, three incidents, and no maintenance, which costs one too
    often = 11
    assert store.meter.since(before).reads == often + 4  # the past is made too: three incidents, no maintenance
    before = store.meter.snapshot()
    publish(store, NOW + minutes(1))
    assert store.meter.since(before).reads == often


def test_incidents_are_asked_for_in_the_shape_that_the_index_serves() -> None:
    assert INCIDENTS.shape == ("incidents", (("publicVisible", "=="),), (("startedAt", "desc"),))


class TestBudget:
    def size(self, store: SqliteStore) -> int:
        return document_size(SNAPSHOT, snapshot(store))

    def resolved(self, n: int) -> Data:
        ended = NOW - timedelta(hours=n + 1)
        texts = [update(ended, "resolved", "ü" * 4000) for _ in range(4)]
        return incident(f"Past {n}", "low", (), ended - minutes(5), status="resolved", resolvedAt=ended, updates=texts)

    def current(self, n: int, updates: int) -> Data:
        texts = [update(NOW - minutes(updates - m), "investigating", f"{m} " + "€" * 3990) for m in range(updates)]
        return incident(f"Now {n}", "high", ("API",), NOW - minutes(300 + n), updates=texts)

    def test_the_oldest_resolved_incidents_go_first(self, store: SqliteStore, capsys: Any) -> None:
        fill(store, {f"incidents/p{n}": self.resolved(n) for n in range(25)})
        fill(store, {"incidents/now": self.current(0, 3)})
        publish(store)
        titles = [i["title"] for i in snapshot(store)["incidents"]]
        assert titles == ["Now 0", *(f"Past {n}" for n in range(len(titles) - 1))]
        assert 10 < len(titles) < 26
        assert len(snapshot(store)["incidents"][0]["updates"]) == 3
        assert 450_000 < self.size(store) <= 500_000
        assert "left out incidents" in capsys.readouterr().out

    def test_then_older_updates_go_and_their_number_is_told(self, store: SqliteStore) -> None:
        fill(store, {"incidents/now": self.current(0, 49)})
        publish(store)
        (found,) = snapshot(store)["incidents"]
        assert len(found["updates"]) + found["earlierUpdates"] == 49
        assert found["updates"][-1]["message"].startswith("48 ")
        assert self.size(store) <= 500_000

    def test_an_incident_whose_updates_do_not_fit_has_all_of_them_in_a_document_of_its_own(
        self, store: SqliteStore
    ) -> None:
        fill(store, {"incidents/now": self.current(0, 49), "incidents/small": self.current(1, 2)})
        publish(store)
        doc = store.get(f"{UPDATES}/now")
        assert doc is not None
        assert [u["message"].split()[0] for u in doc.data["updates"]] == [str(n) for n in range(49)]
        assert {u["message"] for u in doc.data["updates"]} >= {
            u["message"] for u in snapshot(store)["incidents"][0]["updates"]
        }
        assert "author" not in doc.data["updates"][0]
        assert store.get(f"{UPDATES}/small") is None

    def test_that_document_is_written_when_they_change_and_goes_when_the_incident_does(
        self, store: SqliteStore
    ) -> None:
        fill(store, {"incidents/now": self.current(0, 49)})
        publish(store)
        before = store.meter.snapshot()
        publish(store)
        assert store.meter.since(before).writes == 1
        fill(store, {"incidents/now": self.current(0, 50)})
        before = store.meter.snapshot()
        publish(store)
        assert store.meter.since(before).writes == 2
        doc = store.get(f"{UPDATES}/now")
        assert doc is not None
        assert len(doc.data["updates"]) == 50
        fill(store, {"incidents/now": {**self.current(0, 50), "publicVisible": False}})
        publish(store)
        assert store.get(f"{UPDATES}/now") is None

    def test_of_many_such_documents_each_publication_writes_what_it_can(self, store: SqliteStore) -> None:
        fill(store, {f"incidents/n{n}": self.current(n, 49) for n in range(4)})
        written = []
        for _ in range(5):
            before = store.meter.snapshot()
            publish(store)
            written.append(store.meter.since(before).writes - 1)
        assert sum(written[1:]) + written[0] - 6 - 1 == 4  # the first also writes six components and the history
        assert written[-1] == 0
        assert len(store.query(Query(UPDATES))) == 4
        fill(store, {"config/flags": {"ops": {"public_status_page": False}, "rev": "r1"}})
        publish(store)
        assert store.query(Query(UPDATES)) == []

    def test_at_last_texts_are_shortened_and_every_current_incident_stays(self, store: SqliteStore) -> None:
        fill(store, {f"incidents/n{n}": self.current(n, 12) for n in range(50)})
        publish(store)
        assert len(snapshot(store)["incidents"]) == 50
        assert self.size(store) <= 500_000


def test_nothing_internal_is_public(store: SqliteStore) -> None:
    secret = iter(f"canary{n}x" for n in range(1000))

    def poisoned(data: Data, *keep: str) -> Data:
        """Every text outside `keep` becomes a canary."""
        return {k: v if k in keep or not isinstance(v, str) else next(secret) for k, v in data.items()}

    slos = [poisoned(s, "metric", "component", "compliance") for s in run()["slos"]]
    public = {
        **poisoned(BILLING, "title", "impact", "status"),
        "alertIds": [next(secret)],
        "actionItems": [{"text": next(secret), "owner": next(secret)}],
        "uid": next(secret),
        "updates": [{**u, "author": next(secret), "audit": next(secret)} for u in BILLING["updates"]],
    }
    hidden = poisoned({**PAST, "publicVisible": False}, "status")
    hidden["updates"] = [{**u, "message": next(secret)} for u in hidden["updates"]]
    alert_id = next(secret)
    hidden_id = next(secret)
    fill(
        store,
        {
            "runs/alertRules": {**poisoned(run()), "slos": slos, "openAlerts": [alert_id]},
            f"alerts/{alert_id}": {
                **poisoned(alert("a1", "error_rate", "critical"), "metric", "state", "severity", "component"),
                "channels": {"slack": {"state": next(secret), "reason": next(secret)}},
            },
            "incidents/i1": public,
            f"incidents/{hidden_id}": hidden,
        },
    )
    publish(store)
    app = app_on(store)
    planted = next(secret)
    assert int(planted[len("canary") : -1]) > 50
    outside = [json.dumps(snapshot(store), default=str)]
    outside += [json.dumps(doc.data, default=str) for doc in store.query(Query(ITEMS))]
    for path in ("/status", "/api/status/healthz"):
        outside.append(get(app, path))
    for text in outside:
        assert "canary" not in text
        for internal in ("error_rate", "agent_success_rate", "runId", "threshold_exceeded"):
            assert internal not in text
    assert "Payments are failing" in outside[-2]


def test_an_incident_that_automation_opened_is_public_in_plain_words(store: SqliteStore) -> None:
    name = "SLO of error_rate"
    message = "Opened by the alert api-availability-threshold: error rate 12 %, threshold 0.5 %"
    alert = "api-availability-threshold"
    opened = incidents.opened(f"{name}: error rate 12 %", "critical", "API", alert, message, NOW)
    by_person = update(NOW + minutes(1), "identified", "A bad deployment.")
    touched = {**opened, "publicVisible": True, "updates": [*opened["updates"], by_person], "status": "identified"}
    cleared = incidents.cleared(
        touched, "api-availability-threshold", "The alert cleared: error rate 0 %", NOW + minutes(2)
    )
    fill(store, {"runs/alertRules": run(), "incidents/api-availability-threshold-1": cleared})
    publish(store)
    (found,) = snapshot(store)["incidents"]
    assert found["title"] == "A problem with API"
    assert [u["message"] for u in found["updates"]] == [
        "Found by our monitoring.",
        "A bad deployment.",
        "Our measurements are back to normal.",
    ]
    assert "threshold" not in json.dumps(snapshot(store), default=str)

    fill(store, {"incidents/api-availability-threshold-1": {**cleared, "title": "Requests fail since a deployment"}})
    publish(store)
    assert snapshot(store)["incidents"][0]["title"] == "Requests fail since a deployment"


def test_a_title_that_automation_wrote_stays_internal_when_its_slo_is_renamed(store: SqliteStore) -> None:
    opened = incidents.opened("Old name: error rate 12 %", "critical", "API", "errors", "Opened.", NOW)
    fill(store, {"runs/alertRules": run(), "incidents/errors-1": {**opened, "publicVisible": True}})
    publish(store)
    assert snapshot(store)["incidents"][0]["title"] == "A problem with API"


def get(app: Any, path: str) -> str:
    from flask import Flask, request

    flask = Flask(__name__)
    with flask.test_request_context(path):
        return handle(request, app).get_data(as_text=True)

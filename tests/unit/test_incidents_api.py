"""Incidents over real sockets on both stores: opened, led to an end, found again, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.incidents_api.handler import ROUTES
from shared.domain import incident, incident_alerts
from shared.domain.incident_stats import life_of
from shared.domain.timeline import Refused
from shared.incidents.incidents import KEPT_INLINE, MOST_INLINE
from shared.store.protocol import Create, Store, Unavailable
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.incidents_api import OUTAGE, Desk, desk
from tests.unit.test_ops_exclusions import LosesReplies

NOW_TEXT = "2026-03-10T12:02:30Z"
MOVES = ("investigating", "identified", "mitigating", "resolved", "resolve", "reopen", "fire", "clear")


@pytest.fixture
def on_call(store: Store) -> Iterator[Desk]:
    with desk(store) as found:
        yield found


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Iterator[Desk]:
    with desk(sqlite_store) as found:
        yield found


# --- a life


def test_an_incident_is_led_from_its_opening_to_its_end(on_call: Desk) -> None:
    name = on_call.open(publicVisible=True)
    on_call.wait(minutes=2)
    on_call.update(name, "Investigating payment failures")
    on_call.wait(minutes=3)
    on_call.update(name, "Identified Stripe webhook issue", "identified")
    on_call.wait(minutes=5)
    on_call.update(name, "Mitigated - redeployed webhook function", "mitigating")
    on_call.wait(minutes=7)
    ended = on_call.post(f"/api/incidents/{name}/resolve", {"rootCause": "A secret had expired."})
    assert [(u["timestamp"][11:16], u["status"], u["message"]) for u in ended["updates"]] == [
        ("12:02", "investigating", "We are looking into it."),
        ("12:04", "investigating", "Investigating payment failures"),
        ("12:07", "identified", "Identified Stripe webhook issue"),
        ("12:12", "mitigating", "Mitigated - redeployed webhook function"),
        ("12:19", "resolved", "Normal service is restored. Resolved after 17 min."),
    ]
    assert {u["author"] for u in ended["updates"]} == {ended["createdBy"]}
    assert (ended["startedAt"], ended["identifiedAt"]) == (NOW_TEXT, "2026-03-10T12:07:30Z")
    assert (ended["mitigatedAt"], ended["resolvedAt"]) == ("2026-03-10T12:12:30Z", "2026-03-10T12:19:30Z")
    assert ended["rootCause"] == "A secret had expired."
    assert ended["times"] == {
        "toAcknowledge": 0.0,
        "toResolve": 1020.0,
        "inState": {"investigating": 300.0, "identified": 300.0, "mitigating": 420.0},
    }
    assert (ended["allowed"], ended["postmortemDueAt"]) == (["reopen"], "2026-03-12T12:19:30Z")
    assert on_call.incident(name) == {key: value for key, value in ended.items() if key != "published"}


def test_unknown_names_are_told_together_with_every_other_fault(quick: Desk) -> None:
    def faulty(path: str, **sent: Any) -> list[str]:
        return [
            fault["path"]
            for fault in quick.post(path, {"title": "", "components": ["API", "Nope"], **sent}, 400)["errors"]
        ]

    assert faulty("/api/incidents", impact="huge", runbook="none") == ["title", "impact", "components[1]", "runbook"]
    assert faulty("/api/incidents", impact="low", components=[["API"], "Nope"], runbook="../secret") == [
        "title", "components[0]", "components[1]", "runbook",
    ]  # fmt: skip
    assert faulty("/api/maintenances", message="x") == ["title", "components[1]", "scheduledFor", "scheduledUntil"]


def test_a_preview_checks_what_would_be_opened_shows_it_and_stores_nothing(quick: Desk) -> None:
    wanted = {**OUTAGE, "publicVisible": True}
    before = quick.store.meter.snapshot()
    seen = quick.post("/api/incidents/preview", wanted, 200)
    assert (seen["id"], seen["publicUrl"], seen["audit"]) == (None, None, None)
    assert [(u["message"], u["public"]) for u in seen["updates"]] == [("We are looking into it.", True)]
    wrong = {**wanted, "components": ["Biling"], "impact": "huge"}
    refused = [quick.post(path, wrong, 400)["errors"] for path in ("/api/incidents/preview", "/api/incidents")]
    assert refused[0] == refused[1]
    assert {e["path"] for e in refused[0]} == {"components[0]", "impact"}
    assert quick.store.meter.since(before).writes == 0


def test_an_incident_leads_to_its_audit_log(quick: Desk) -> None:
    name = quick.open()
    quick.edit(name, runbook="billing-outage", publicVisible=True)
    found = quick.read(quick.incident(name)["audit"])["audit"]
    assert found[-1]["before"] == {"publicVisible": False, "runbook": None}
    assert found[-1]["after"] == {"publicVisible": True, "runbook": "billing-outage"}


def test_a_component_named_twice_is_there_once(quick: Desk) -> None:
    name = quick.open()
    changed = quick.call("PATCH", f"/api/incidents/{name}", {"components": ["API", "Auth", "API"]}, If_Match="*")
    assert changed.json["components"] == ["API", "Auth"]


@pytest.mark.parametrize(("sent", "told"), [("Done", "Done."), ("Done.", "Done."), ("Phew!\n", "Phew!")])
def test_how_long_it_took_is_a_sentence_of_its_own(quick: Desk, sent: str, told: str) -> None:
    name = quick.open()
    quick.wait(minutes=3)
    ended = quick.post(f"/api/incidents/{name}/resolve", {"message": sent})
    assert ended["updates"][-1]["message"] == f"{told} Resolved after 3 min."


def test_the_public_page_follows_with_the_answer(on_call: Desk) -> None:
    assert on_call.public() is None
    name = on_call.open(publicVisible=True)
    (shown,) = on_call.public()["incidents"]
    assert (shown["title"], shown["status"], on_call.public()["overall"]) == (
        "Billing Outage", "investigating", "outage"
    )  # fmt: skip
    on_call.post(f"/api/incidents/{name}/resolve")
    assert on_call.public()["incidents"][0]["status"] == "resolved"
    assert on_call.public()["overall"] != "outage"


def test_nothing_of_an_incident_that_is_not_visible_leaves(quick: Desk) -> None:
    name = quick.open()
    quick.update(name, "canary: the customer's data centre")
    assert quick.public()["incidents"] == []
    quick.edit(name, publicVisible=True)
    (shown,) = quick.public()["incidents"]
    assert [u["message"] for u in shown["updates"]] == ["We are looking into it."]
    assert "canary" not in str(quick.public())
    quick.update(name, "Payments fail. We are on it.")
    quick.update(name, "canary: it was us", public=False)
    (shown,) = quick.public()["incidents"]
    assert [u["message"] for u in shown["updates"]] == ["Payments fail. We are on it."]
    quick.edit(name, publicVisible=False)
    assert quick.public()["incidents"] == []


def test_a_resolved_incident_is_opened_again_and_counts_its_time_on(quick: Desk) -> None:
    name = quick.open(impact="low")
    quick.wait(minutes=10)
    quick.post(f"/api/incidents/{name}/resolve")
    quick.wait(hours=5)
    again = quick.post(f"/api/incidents/{name}/reopen", {"message": "It is back.", "status": "mitigating"})
    assert (again["status"], again["resolvedAt"], again["mitigatedAt"]) == ("mitigating", None, "2026-03-10T17:12:30Z")
    assert (again["reopened"], again["postmortemDueAt"]) == (1, None)
    quick.wait(minutes=1)
    in_state = quick.incident(name)["times"]["inState"]
    assert in_state == {"investigating": 600.0, "identified": 0.0, "mitigating": 60.0}


def test_going_back_takes_the_later_times_with_it(quick: Desk) -> None:
    name = quick.open()
    quick.update(name, "Found.", "identified")
    quick.update(name, "Rolled back.", "mitigating")
    back = quick.update(name, "That was not it.", "investigating")
    assert (back["identifiedAt"], back["mitigatedAt"]) == (None, None)


@pytest.mark.parametrize("verb", ["updates", "resolve"])
def test_a_resolved_incident_refuses_to_move_and_says_what_it_allows(quick: Desk, verb: str) -> None:
    name = quick.open()
    quick.post(f"/api/incidents/{name}/resolve")
    body = {"message": "On it.", "status": "mitigating"} if verb == "updates" else {}
    refused = quick.post(f"/api/incidents/{name}/{verb}", body, 409)
    assert (refused["code"], refused["statusNow"], refused["allowed"]) == ("move_not_allowed", "resolved", ["reopen"])
    assert quick.incident(name)["updateCount"] == 2
    noted = quick.update(name, "Customers were written to.")
    assert noted["lastUpdate"]["status"] == "resolved"


def test_an_open_incident_is_not_reopened_and_has_no_root_cause_yet(quick: Desk) -> None:
    name = quick.open()
    refused = quick.post(f"/api/incidents/{name}/reopen", {"message": "again"}, 409)
    assert (refused["code"], refused["allowed"]) == ("move_not_allowed", ["identified", "mitigating", "resolve"])
    early = quick.edit(name, 409, rootCause="The moon.")
    assert early["code"] == "not_resolved"


# --- people at the same time


def test_two_responders_never_overwrite_each_other(on_call: Desk) -> None:
    name = on_call.open()
    seen = on_call.call("GET", f"/api/incidents/{name}").headers["ETag"]
    first = on_call.edit(name, match=seen, title="Payments fail")
    late = on_call.call("PATCH", f"/api/incidents/{name}", {"title": "Stripe is down"}, 412, If_Match=seen)
    assert late.json["code"] == "version_changed"
    assert late.headers["ETag"] == f'"{late.json["version"]}"' == f'"{first["version"]}"'
    assert on_call.incident(name)["title"] == "Payments fail"
    blind = on_call.call("PATCH", f"/api/incidents/{name}", {"title": "x"}, 428)
    assert blind.json["code"] == "precondition_required"
    on_call.post(f"/api/incidents/{name}/updates", {"message": "Seen."}, 412, If_Match=seen)
    on_call.post(f"/api/incidents/{name}/resolve", {}, 412, If_Match='"nonsense"')


def test_a_key_stands_for_one_request_of_one_caller_and_route(on_call: Desk) -> None:
    first, again = (on_call.call("POST", "/api/incidents", OUTAGE, Idempotency_Key="k-1") for _ in range(2))
    assert (first.status, again.status, again.headers["Idempotency-Replayed"]) == (201, 200, "true")
    assert first.json["id"] == again.json["id"]
    name = first.json["id"]
    other = on_call.post("/api/incidents", {**OUTAGE, "title": "x"}, 422, Idempotency_Key="k-1")
    assert other["code"] == "idempotency_key_reused"
    path = f"/api/incidents/{name}/updates"
    for status in (201, 200):
        on_call.post(path, {"message": "Once."}, status, Idempotency_Key="k-1")
    assert on_call.incident(name)["updateCount"] == 2
    on_call.wait(days=7, seconds=1)
    on_call.post(path, {"message": "A week later."}, 201, Idempotency_Key="k-1")
    refused = on_call.post(path, {"message": "x"}, 400, Idempotency_Key="k" * 256)
    assert refused["code"] == "invalid_idempotency_key"


def test_lost_replies_change_once(store: Store) -> None:
    with desk(store) as found:
        name = found.open()
        found.ops.app.store = losing = LosesReplies(store)  # type: ignore[assignment]
        found.update(name, "Once.")
        made = found.open()
        found.ops.app.store = losing._store
        assert [u["message"] for u in found.incident(name)["updates"]] == ["We are looking into it.", "Once."]
        assert len(found.read("/api/incidents")["incidents"]) == 2
        assert found.read(f"/api/incidents/{made}/audit")["audit"][-1]["n"] == 1


def test_a_commit_that_lands_after_its_request_was_given_another_try_makes_no_second_incident(store: Store) -> None:
    class LandsLate:
        """The first commit is answered by nothing, and takes effect just before the second."""

        def __init__(self) -> None:
            self.late: Any = None

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def commit(self, writes: Any) -> None:
            if self.late is None:
                self.late = list(writes)
                raise Unavailable("no answer")
            if self.late:
                late, self.late = self.late, []
                store.commit(late)
            store.commit(writes)

    with desk(store) as found:
        found.ops.app.store = LandsLate()  # type: ignore[assignment]
        name = found.open()
        assert [one["id"] for one in found.read("/api/incidents")["incidents"]] == [name]
        assert len(found.read(f"/api/incidents/{name}/audit")["audit"]) == 1


def test_a_view_that_could_not_be_renewed_is_told_and_has_the_change_the_next_time(quick: Desk) -> None:
    real = quick.ops.app.store

    class NoView:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def commit(self, writes: Any) -> None:
            if any(write.path == "status/public" for write in writes):
                raise Unavailable("gone")
            real.commit(writes)

    quick.ops.app.store = NoView()  # type: ignore[assignment]
    made = quick.post("/api/incidents", {**OUTAGE, "publicVisible": True}, 201)
    assert (made["published"], quick.public()) == (False, None)
    quick.ops.app.store = real
    assert quick.update(made["id"], "Now.")["published"] is True
    assert [one["id"] for one in quick.public()["incidents"]] == [made["id"]]


@given(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(min_value=0, max_value=7200)), max_size=25))
def test_whatever_is_asked_of_it_times_entries_and_the_time_in_each_status_agree(steps: list[tuple[str, int]]) -> None:
    now = NOW
    data = incident.new_incident("t", "critical", ["API"], now, by="ada")
    for what, seconds in steps:
        now += timedelta(seconds=seconds)
        refused: Refused | None = None
        before = data
        try:
            if what == "resolve":
                data = incident.resolved(data, "ada", now)
            elif what == "reopen":
                data = incident.reopened(data, "m", "ada", now)
            elif what == "fire":
                data = incident_alerts.joined(data, "low", "a", "m", now)
            elif what == "clear":
                data = incident_alerts.cleared(data, "a", "m", now)
            else:
                data = incident.updated(data, "m", "ada", now, status=what)
        except Refused as refusal:
            refused = refusal
        assert refused is None or what not in refused.allowed
        assert data is before or len(data["updates"]) == len(before["updates"]) + 1
        stamps = [update["timestamp"] for update in data["updates"]]
        assert stamps == sorted(stamps)
        times = [data[name] for name in ("startedAt", *incident.REACHED.values()) if data[name]]
        assert times == sorted(times)
        assert (data["resolvedAt"] is None) == (data["status"] != "resolved")
        rank = incident.STATUSES.index(data["status"])
        assert all(data[name] is None for s, name in incident.REACHED.items() if incident.STATUSES.index(s) > rank)
        closed = (data.get("spentMicros") or {}).get("resolved", 0)
        here = 0 if data["status"] != "resolved" else (now - data["statusSince"]) // timedelta(microseconds=1)
        spent = sum(life_of(data, now).in_state.values())
        assert spent + closed + here == (now - NOW) // timedelta(microseconds=1)


# --- corrections, action items, long timelines


def test_times_are_corrected_and_the_correction_is_on_record(on_call: Desk) -> None:
    name = on_call.open()
    on_call.wait(hours=1)
    on_call.update(name, "Found.", "identified")
    on_call.edit(name, startedAt="2026-03-10T11:30:00Z", identifiedAt="2026-03-10T12:10:00Z")
    after = on_call.incident(name)
    assert (after["startedAt"], after["identifiedAt"]) == ("2026-03-10T11:30:00Z", "2026-03-10T12:10:00Z")
    assert after["times"]["inState"]["investigating"] == 3600 + 32 * 60 + 30
    last = on_call.read(f"/api/incidents/{name}/audit")["audit"][-1]
    assert (last["n"], last["action"], last["by"]) == (3, "edited", after["createdBy"])
    assert last["before"] == {
        "startedAt": NOW_TEXT, "identifiedAt": "2026-03-10T13:02:30Z", "spentMicros": {"investigating": 3_600_000_000},
    }  # fmt: skip
    assert last["after"]["startedAt"] == "2026-03-10T11:30:00Z"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"startedAt": "2026-03-10T14:00:00Z"}, "identifiedAt, startedAt"),
        ({"identifiedAt": "2026-03-10T14:00:00Z"}, "identifiedAt"),
        ({"identifiedAt": None}, "identifiedAt"),
        ({"mitigatedAt": "2026-03-10T12:03:00Z"}, "mitigatedAt"),
        ({"startedAt": None}, "startedAt"),
        ({"startedAt": "yesterday"}, "startedAt"),
        ({"startedAt": 5}, "startedAt"),
        ({"title": ""}, "title"),
        ({"impact": "huge"}, "impact"),
        ({"status": "resolved"}, "status"),
        ({"components": ["Billing", "Moon"]}, "components[1]"),
        ({}, "(the whole)"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(quick: Desk, changes: dict[str, Any], field: str) -> None:
    name = quick.open()
    quick.update(name, "Found.", "identified")
    refused = quick.edit(name, 400, **changes)
    assert refused["code"] == "invalid_body"
    assert ", ".join(error["path"] for error in refused["errors"]) == field


def test_every_fault_of_a_body_is_named_at_once(quick: Desk) -> None:
    refused = quick.post(
        "/api/incidents", {"title": "a\nb", "impact": 1, "componets": [], "publicVisible": "true"}, 400
    )  # fmt: skip
    assert sorted(e["path"] for e in refused["errors"]) == ["componets", "impact", "publicVisible", "title"]
    for body in (b"[]", b"{", b"\xff"):
        assert quick.post("/api/incidents", body, 400)["code"] == "invalid_body"
    assert quick.post("/api/incidents", b" " * 70_000, 413)["code"] == "body_too_large"
    assert quick.read("/api/incidents")["incidents"] == []


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"title": "", "components": ["Moon", "Billing"]}, ["title", "components[0]"]),
        ({"title": "", "startedAt": "2026-03-10T14:00:00Z"}, ["title", "startedAt"]),
        ({"components": ["Moon", 5, "Sun"], "runbook": "none-such", "impact": "huge", "startedAt": "2027-03-10"},
         ["impact", "components[0]", "components[1]", "components[2]", "runbook", "startedAt"]),
    ],
)  # fmt: skip
def test_no_fault_of_an_incident_hides_another(quick: Desk, changes: dict[str, Any], paths: list[str]) -> None:
    refused = quick.post("/api/incidents", {**OUTAGE, **changes}, 400)
    assert [error["path"] for error in refused["errors"]] == paths
    assert quick.read("/api/incidents")["incidents"] == []


def test_what_tells_a_person_is_taken_out_and_ids_stay(quick: Desk) -> None:
    name = quick.open(title="ada@example.com cannot pay")
    quick.update(name, "Since 3f2a9c1b.\nkey sk_live_abcdef123456 of 10.1.2.3")
    found = quick.incident(name)
    assert found["title"] == ":email cannot pay"
    assert found["lastUpdate"]["message"] == "Since 3f2a9c1b.\nkey :token of :ip"


def test_action_items_have_an_owner_a_day_and_a_state(quick: Desk) -> None:
    name = quick.open()
    path = f"/api/incidents/{name}/actions"
    quick.post(path, {"title": "Rotate the secret by itself", "owner": "ada", "dueAt": "2026-03-20T00:00:00Z"}, 201)
    quick.post(path, {"title": "Alert on its age"}, 201)
    quick.wait(days=1)
    after = quick.call("PATCH", f"{path}/1", {"state": "done"}).json
    assert [(i["id"], i["owner"], i["state"], i["dueAt"], i["doneAt"]) for i in after["actionItems"]] == [
        (1, "ada", "done", "2026-03-20T00:00:00Z", "2026-03-11T12:02:30Z"), (2, None, "open", None, None),
    ]  # fmt: skip
    assert quick.call("PATCH", f"{path}/1", {"state": "open"}).json["actionItems"][0]["doneAt"] is None
    assert quick.call("PATCH", f"{path}/3", {"state": "done"}, 404).json["code"] == "unknown_action_item"
    for _ in range(48):
        quick.post(path, {"title": "More"}, 201)
    assert quick.post(path, {"title": "Too much"}, 409)["code"] == "too_many_action_items"


def test_a_long_timeline_loses_nothing_and_its_document_stays_small(on_call: Desk) -> None:
    name = on_call.open(publicVisible=True)
    count = MOST_INLINE + KEPT_INLINE + 5
    for n in range(1, count):
        on_call.update(name, f"Update {n}", public=n % 2 == 0)
    found = on_call.incident(name)
    assert (found["updateCount"], len(found["updates"]) <= MOST_INLINE) == (count, True)
    messages, cursor = [], ""
    while cursor is not None:
        page = on_call.read(f"/api/incidents/{name}/updates", limit=40, **({"cursor": cursor} if cursor else {}))
        messages += [(u["n"], u["message"]) for u in page["updates"]]
        cursor = page["cursor"]
    first = [(0, "We are looking into it.")]
    assert messages == first + [(n, f"Update {n}") for n in range(1, count)]
    (shown,) = on_call.public()["incidents"]
    assert len(shown["updates"]) + shown["earlierUpdates"] == 1 + (count - 1) // 2
    audit = on_call.read(f"/api/incidents/{name}/audit", limit=200)["audit"]
    assert [entry["n"] for entry in audit] == list(range(1, count + 1))
    assert [e["after"]["updates"][0]["message"] for e in audit[1:]] == [f"Update {n}" for n in range(1, count)]


def test_a_correction_is_an_entry_that_names_what_it_corrects(quick: Desk) -> None:
    name = quick.open()
    assert quick.update(name, "It was the cache.", corrects=0)["lastUpdate"]["corrects"] == 0
    path = f"/api/incidents/{name}/updates"
    refused = quick.post(path, {"message": "x", "corrects": 2}, 400)
    assert [e["path"] for e in refused["errors"]] == ["corrects"]


# --- lists, audit, who may


def test_incidents_are_found_by_what_they_are(on_call: Desk) -> None:
    names = []
    for n, (impact, component) in enumerate([("low", "API"), ("high", "Billing"), ("critical", "API")]):
        names.append(on_call.open(title=f"Trouble {n}", impact=impact, components=[component]))
        on_call.wait(hours=1)
    on_call.post(f"/api/incidents/{names[0]}/resolve", {"rootCause": "A slow QUERY"})

    def ids(**query: Any) -> list[str]:
        return [one["id"] for one in on_call.read("/api/incidents", **query)["incidents"]]

    assert ids() == names[::-1]
    assert ids(status="open") == [names[2], names[1]]
    assert ids(status="resolved") == ids(text="slow query") == ids(impact="low") == [names[0]]
    assert ids(component="API") == [names[2], names[0]]
    assert ids(component="API", status="open") == [names[2]]
    assert ids(from_="2026-03-10T13:00:00Z", to="2026-03-10T14:00:00Z") == [names[1]]
    assert ids(status="open", from_="-90m") == [names[2]]
    first = on_call.read("/api/incidents", limit=2)
    second = on_call.read("/api/incidents", limit=2, cursor=first["cursor"])
    assert [one["id"] for one in (*first["incidents"], *second["incidents"])] == names[::-1]
    assert second["cursor"] is None


def test_a_list_that_cannot_be_is_refused_with_every_fault(quick: Desk) -> None:
    refused = quick.read(
        "/api/incidents", 400, status="closed", impact="huge", limit=0, cursor="x", from_="then", colour="red"
    )  # fmt: skip
    assert sorted(e["path"] for e in refused["errors"]) == ["colour", "cursor", "from", "impact", "limit", "status"]


def test_the_audit_log_says_who_did_what_and_cannot_be_altered(on_call: Desk) -> None:
    name = on_call.open()
    on_call.wait(minutes=1)
    on_call.edit(name, impact="low")
    audit = on_call.read(f"/api/incidents/{name}/audit")["audit"]
    assert [(e["n"], e["action"], e["at"]) for e in audit] == [
        (1, "opened", NOW_TEXT), (2, "edited", "2026-03-10T12:03:30Z"),
    ]  # fmt: skip
    assert (audit[0]["before"], audit[0]["after"]["title"]) == ({}, "Billing Outage")
    assert (audit[1]["before"], audit[1]["after"]) == ({"impact": "critical"}, {"impact": "low"})
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        on_call.call(method, f"/api/incidents/{name}/audit", {}, 405)
        on_call.call(method, f"/api/incidents/{name}/audit/1", {}, 404)
    on_call.edit(name, impact="low")
    assert len(on_call.read(f"/api/incidents/{name}/audit")["audit"]) == 3


def test_what_does_not_exist_is_not_found(quick: Desk) -> None:
    for name in ("nothing", "a.b", "..", "%2e%2e", "x" * 201, "ä"):
        assert quick.call("GET", f"/api/incidents/{name.encode().hex() if name == 'ä' else name}", expect=404).json
    for verb in ("updates", "resolve", "reopen", "actions"):
        body = {"title": "x"} if verb == "actions" else {"message": "x"}
        assert quick.post(f"/api/incidents/nothing/{verb}", body, 404)["code"] == "unknown_incident"


def test_every_route_is_for_admins_alone(quick: Desk) -> None:
    for route in ROUTES:
        path = route.path.replace("{id}", "x").replace("{item}", "1").replace("{name}", "x")
        for method in route.methods:
            assert quick.ops.get(path, method=method, token=None).status == 401, (method, path)


def test_an_incident_of_an_earlier_release_is_read_and_led_on(quick: Desk) -> None:
    old = {
        "title": "API: error rate 12 %", "impact": "critical", "status": "investigating", "components": ["API"],
        "startedAt": NOW, "identifiedAt": None, "mitigatedAt": None, "resolvedAt": None, "rootCause": None,
        "updates": [{"timestamp": NOW, "status": "investigating", "message": "Opened.", "author": "f0-ops"}],
        "actionItems": [], "publicVisible": False, "alertIds": ["api"], "autoCreated": True, "rev": "0" * 16,
    }  # fmt: skip
    quick.store.commit([Create("incidents/api-1", old)])
    assert quick.incident("api-1")["updates"][0]["public"] is True
    quick.wait(minutes=4)
    after = quick.update("api-1", "Found.", "identified")
    assert (after["acknowledgedAt"], after["times"]["toAcknowledge"]) == ("2026-03-10T12:06:30Z", 240.0)
    assert quick.read("/api/incidents/api-1/audit")["audit"][0]["n"] == 1

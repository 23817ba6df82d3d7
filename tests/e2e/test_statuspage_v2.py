"""Statuspage's API v2: every answer held against its schema, and a published client that reads it unmodified."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from shared.bootstrap import App
from tests.e2e.status_support import V2, cut_off, get, served
from tests.unit.status_scenes import NOW, minutes, scene_app
from tests.unit.status_views import (
    PAST,
    PAYMENTS,
    PLANNED,
    RUNNING,
    SLOW,
    VIEWS,
    component,
    components,
    incident,
    maintenance,
    snapshot,
    view_app,
)

SCHEMA = json.loads((Path(__file__).parents[1] / "statuspage_v2.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
DONE = maintenance(
    "done",
    "New disks",
    "completed",
    NOW - timedelta(days=2),
    1,
    ["Storage"],
    completedAt=NOW - timedelta(days=2) + minutes(40),
)
CANCELLED = maintenance("off", "Not to be", "cancelled", NOW + timedelta(days=2), 1, ["Storage"])
FULL = snapshot(
    "outage",
    components(
        API={"state": "degraded", "message": "Slower than usual"},
        Billing={"state": "outage"},
        Storage={"maintenance": True},
        Auth={"state": "not_monitored"},
        Database={"state": "no_data"},
    ),
    incidents=[PAYMENTS, SLOW, *PAST],
    maintenances=[RUNNING, PLANNED, DONE, CANCELLED],
)

Serve = Callable[[Any], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves a snapshot, or an App."""
    with ExitStack() as stack:
        yield lambda what: stack.enter_context(served(what if isinstance(what, App) else view_app(tmp_path, what)))


def exchange(url: str, path: str) -> dict[str, Any]:
    answer = get(url + path)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return {"path": path, "status": answer.status_code, "headers": headers, "body": answer.json()}


def faults(found: dict[str, Any]) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(found)]


def body(url: str, name: str) -> Any:
    return get(f"{url}/api/v2/{name}.json").json()


@pytest.mark.parametrize("view", [*(v for v in VIEWS if v != "disabled"), "full"])
def test_every_answer_fits_the_schema(serve: Serve, view: str) -> None:
    url = serve(FULL if view == "full" else VIEWS[view])
    assert {path: faults(exchange(url, path)) for path in V2} == {path: [] for path in V2}


@pytest.mark.parametrize("scene", ["operational", "degraded", "outage", "mix"])
def test_what_is_really_published_fits_the_schema(tmp_path: Path, serve: Serve, scene: str) -> None:
    url = serve(scene_app(tmp_path, scene))
    assert {path: faults(exchange(url, path)) for path in V2} == {path: [] for path in V2}


class TestTheSchemaFindsFaults:
    """What the schema lets pass proves nothing unless it stops what is wrong."""

    @pytest.fixture
    def sound(self, serve: Serve) -> dict[str, Any]:
        return exchange(serve(FULL), "/api/v2/summary.json")

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("body.status.indicator", "outage"),
            ("body.components.0.status", "degraded"),
            ("body.incidents.0.status", "mitigating"),
            ("body.incidents.0.status", "resolved"),
            ("body.incidents.0.impact", "high"),
            ("body.incidents.0.incident_updates.0.status", "mitigating"),
            ("body.scheduled_maintenances.0.status", "completed"),
            ("body.scheduled_maintenances.0.impact", "minor"),
            ("body.page.updated_at", "2026-03-04T10:07:30Z"),
            ("body.page.updated_at", "2026-13-04T10:07:30.000Z"),
            ("body.page.updated_at", 1772618850000),
            ("body.components.0.created_at", None),
            ("body.incidents.0.started_at", "2026-03-04 10:07:30.000Z"),
            ("body.incidents.0.resolved_at", ""),
            ("body.scheduled_maintenances.0.scheduled_for", "4 March"),
            ("body.components.0.start_date", "2026-03-04T00:00:00.000Z"),
            ("headers.access-control-allow-origin", "https://app.example.com"),
            ("headers.access-control-allow-origin", None),
            ("headers.content-type", "text/html"),
            ("status", 503),
        ],
    )
    def test_a_planted_fault(self, sound: dict[str, Any], path: str, value: object) -> None:
        assert faults(sound) == []
        planted = copy.deepcopy(sound)
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = planted
        for part in way:
            place = place[part]
        if value is None and way == ["headers"]:
            del place[last]
        else:
            place[last] = value
        assert faults(planted) != []

    @pytest.mark.parametrize("field", ["page", "status", "components", "incidents", "scheduled_maintenances"])
    def test_a_field_that_is_missing(self, sound: dict[str, Any], field: str) -> None:
        del sound["body"][field]
        assert faults(sound) != []


class TestWhatIsSaid:
    @pytest.mark.parametrize(
        ("view", "indicator", "description"),
        [
            (VIEWS["operational"], "none", "All Systems Operational"),
            (snapshot("degraded", components(API={"state": "degraded"})), "minor", "Partially Degraded Service"),
            (VIEWS["degraded"], "major", "Partial System Outage"),  # an incident of medium impact
            (VIEWS["outage"], "major", "Partial System Outage"),
            (snapshot("outage", [component("API", state="outage")]), "critical", "Major Service Outage"),
            (VIEWS["maintenance"], "maintenance", "Service Under Maintenance"),
            (snapshot("operational", incidents=[{**SLOW, "impact": "low"}]), "minor", "Minor Service Outage"),
            (snapshot("operational", incidents=[{**SLOW, "impact": "critical"}]), "critical", "Major Service Outage"),
            (VIEWS["no_data"], "minor", "Status Unknown"),
        ],
    )
    def test_the_whole_in_one_word(self, serve: Serve, view: Any, indicator: str, description: str) -> None:
        assert body(serve(view), "status")["status"] == {"indicator": indicator, "description": description}

    def test_states_have_their_words(self, serve: Serve) -> None:
        found = {c["id"]: c["status"] for c in body(serve(FULL), "components")["components"]}
        assert found == {
            "API": "degraded_performance",
            "Billing": "major_outage",
            "AI_Providers": "operational",
            "Storage": "under_maintenance",
        }

    def test_what_is_not_known_is_left_out_and_never_up(self, serve: Serve) -> None:
        assert body(serve(VIEWS["no_data"]), "components")["components"] == []

    def test_an_incident_has_its_words_its_link_and_its_updates_newest_first(self, serve: Serve) -> None:
        (first, second) = body(serve(FULL), "incidents/unresolved")["incidents"]
        assert (first["status"], first["impact"], second["impact"]) == ("monitoring", "critical", "major")
        assert first["shortlink"] == "http://127.0.0.1:8080/status/incidents/payments"
        assert first["started_at"] == "2026-03-04T09:03:30.000Z"
        assert [(u["id"], u["status"]) for u in first["incident_updates"]] == [
            ("payments-3", "monitoring"),
            ("payments-2", "identified"),
            ("payments-1", "investigating"),
        ]
        assert {c["id"] for c in second["components"]} == {"AI_Providers", "API"}

    def test_an_update_keeps_its_id_when_older_ones_are_left_out(self, serve: Serve) -> None:
        shorter = {**PAYMENTS, "updates": PAYMENTS["updates"][1:], "earlierUpdates": 1}
        (found,) = body(serve(snapshot("outage", incidents=[shorter])), "incidents")["incidents"]
        assert [u["id"] for u in found["incident_updates"]] == ["payments-3", "payments-2"]

    def test_each_list_has_what_its_name_says(self, serve: Serve) -> None:
        url = serve(FULL)

        def ids(name: str) -> list[str]:
            found = body(url, name)
            return [item["id"] for item in found.get("incidents", found.get("scheduled_maintenances"))]

        assert ids("incidents") == ["slow", "payments", "signin", "mails"]
        assert ids("incidents/unresolved") == ["payments", "slow"]
        assert ids("scheduled-maintenances") == ["move", "upgrade", "done"]
        assert ids("scheduled-maintenances/upcoming") == ["move"]
        assert ids("scheduled-maintenances/active") == ["upgrade"]
        summary = body(url, "summary")
        assert [m["id"] for m in summary["scheduled_maintenances"]] == ["upgrade", "move"]
        assert [i["id"] for i in summary["incidents"]] == ["payments", "slow"]

    def test_what_is_outdated_says_that_it_does_not_know(self, tmp_path: Path, serve: Serve) -> None:
        url = serve(view_app(tmp_path, VIEWS["operational"], NOW + minutes(12)))
        assert body(url, "status")["status"] == {"indicator": "minor", "description": "Status Unknown"}
        assert body(url, "status")["page"]["updated_at"] == "2026-03-04T10:07:30.000Z"

    def test_a_component_begins_when_something_is_known_of_it(self, serve: Serve) -> None:
        begin = NOW - timedelta(days=8)
        url = serve(snapshot("operational", components(API={"uptimeSince": begin})))
        api, auth, *_ = get(url + "/api/v2/components.json").json()["components"]
        assert (api["created_at"], api["start_date"]) == ("2026-02-24T10:07:30.000Z", "2026-02-24")
        assert (auth["created_at"], auth["start_date"]) == ("2025-12-05T00:00:00.000Z", "2025-12-05")

    def test_of_an_older_snapshot_it_says_what_is_there(self, serve: Serve) -> None:
        old = {k: v for k, v in VIEWS["operational"].items() if k != "maintenances"}
        old["components"] = [{"id": "API", "name": "API", "state": "operational"}]
        url = serve(old)
        assert {path: faults(exchange(url, path)) for path in V2} == {path: [] for path in V2}


class TestProtocol:
    @pytest.mark.parametrize("path", V2)
    def test_who_has_it_is_told_so(self, serve: Serve, path: str) -> None:
        url = serve(FULL)
        tag = get(url + path).headers["ETag"]
        again = get(url + path, If_None_Match=tag)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["Access-Control-Allow-Origin"] == "*"

    def test_a_browser_of_another_site_may_ask_first(self, serve: Serve) -> None:
        answer = requests.options(serve(FULL) + "/api/v2/summary.json", timeout=20)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")

    @pytest.mark.parametrize(
        "path", ["/api/v2", "/api/v2/", "/api/v2/x.json", "/api/v2/status", "/api/v2/incidents/x.json"]
    )
    def test_nothing_else_is_there(self, serve: Serve, path: str) -> None:
        answer = get(serve(FULL) + path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    @pytest.mark.parametrize("path", V2)
    def test_switched_off_it_says_so(self, serve: Serve, path: str) -> None:
        answer = get(serve(VIEWS["disabled"]) + path)
        assert (answer.status_code, answer.json()["code"]) == (503, "disabled")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"

    def test_before_anything_was_measured_it_says_so(self, serve: Serve) -> None:
        answer = get(serve(None) + "/api/v2/summary.json")
        assert (answer.status_code, answer.json()["code"]) == (503, "no_data")

    def test_with_the_store_down_from_the_start_it_says_so(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, FULL)
        cut_off(app)
        answer = get(serve(app) + "/api/v2/summary.json")
        assert (answer.status_code, answer.json()["code"]) == (503, "status_unknown")

    def test_with_the_store_down_the_last_view_stays(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, FULL)
        url = serve(app)
        before = get(url + "/api/v2/summary.json").json()
        cut_off(app)
        assert get(url + "/api/v2/summary.json").json() == before


def test_a_long_list_ends_at_fifty(serve: Serve) -> None:
    many = [incident(f"i{n}", f"Number {n}", "low", ["API"], NOW - minutes(n)) for n in range(60)]
    url = serve(snapshot("degraded", incidents=many))
    assert [i["id"] for i in body(url, "incidents")["incidents"]] == [f"i{n}" for n in range(50)]


CLIENT = """
import json, sys
from statuspage_prometheus_exporter import service_checker
print(json.dumps(service_checker.check_service_status("f0", service_checker.SERVICES["f0"])))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("statuspage_prometheus_exporter") is None,
    reason="statuspage-prometheus-exporter is not installed: .venv/bin/python -m pip install -r requirements-dev.txt",
)
@pytest.mark.parametrize(("view", "status"), [("operational", 1), ("outage", 0), ("maintenance", 0)])
def test_a_published_client_reads_it_unmodified(serve: Serve, tmp_path: Path, view: str, status: int) -> None:
    """statuspage-prometheus-exporter, which polls the status pages of others, with our address in its configuration."""
    url = serve(VIEWS[view])
    services = {"f0": {"name": "F0", "type": "status_page", "url": f"{url}/api/v2/summary.json"}}
    (tmp_path / "services.json").write_text(json.dumps(services))
    ran = subprocess.run(
        [sys.executable, "-c", CLIENT],
        cwd=tmp_path,
        env={**os.environ, "SERVICES_JSON_PATH": str(tmp_path / "services.json")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert (found["success"], found["status"]) == (True, status)
    assert {c["name"]: c["status_value"] for c in found["component_metadata"]}["Auth"] == 1
    if view == "outage":
        assert [i["name"] for i in found["incident_metadata"]] == [PAYMENTS["title"], SLOW["title"]]
        assert found["incident_metadata"][0]["affected_components"] == ["Billing"]
        assert found["incident_metadata"][0]["shortlink"].endswith("/status/incidents/payments")
    assert "Database moves to a new region" in [m["name"] for m in found["maintenance_metadata"]]

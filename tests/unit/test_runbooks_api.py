"""Runbooks as admins read them, over a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.manifest import ROOT
from shared.incidents.runbooks import all_runbooks, runbook
from shared.store.sqlite import SqliteStore
from tests.incidents_api import desk


def test_all_are_listed_with_what_they_are_for(sqlite_store: SqliteStore) -> None:
    with desk(sqlite_store) as on_call:
        found = on_call.read("/api/runbooks")["runbooks"]
    assert [one["name"] for one in found] == sorted(p.stem for p in (ROOT / "runbooks").glob("[a-z]*.md"))
    assert found[0]["name"] == "api-outage"
    assert all(one["title"] and one["summary"].endswith(".") for one in found)
    assert {one["severity"] for one in found} == {"Critical", "High"}


def test_one_is_read_as_json_or_as_it_is_written(sqlite_store: SqliteStore) -> None:
    written = (ROOT / "runbooks" / "api-outage.md").read_text()
    with desk(sqlite_store) as on_call:
        assert on_call.read("/api/runbooks/api-outage")["markdown"] == written
        plain = on_call.call("GET", "/api/runbooks/api-outage", Accept="text/markdown")
    assert plain.text == written
    assert plain.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert plain.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("name", ["README", "no-such", "..%2FREADME", "api-outage.md", "%2e%2e"])
def test_what_is_no_runbook_is_not_found(sqlite_store: SqliteStore, name: str) -> None:
    with desk(sqlite_store) as on_call:
        problem = on_call.read(f"/api/runbooks/{name}", expect=404)
    assert problem["code"] in ("unknown_runbook", "not_found")


def test_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("# Secret")
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "bare.md").write_text("text without a title")
    assert runbook("../secret", tmp_path / "runbooks") is None
    (bare,) = all_runbooks(tmp_path / "runbooks")
    assert (bare.title, bare.summary, bare.severity) == ("bare", "text without a title", None)


def test_an_incident_names_a_runbook_that_there_is(sqlite_store: SqliteStore) -> None:
    with desk(sqlite_store) as on_call:
        wanted = {"title": "t", "impact": "low", "components": ["Nowhere"], "runbook": "no-such"}
        faults = on_call.post("/api/incidents", wanted, 400)["errors"]
        assert [fault["path"] for fault in faults] == ["components[0]", "runbook"]
        name = on_call.open(runbook="api-outage")
        assert on_call.edit(name, 400, runbook="no-such")["errors"][0]["path"] == "runbook"
        assert on_call.edit(name, runbook=None)["runbook"] is None

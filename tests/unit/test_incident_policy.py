"""`config/incidents.json`: what is shipped, faults with their paths, and that API and alerts go by it."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts import configuration
from shared.domain import incident, incident_alerts
from shared.domain.faults import ConfigError
from shared.domain.incident_policy import SHIPPED, IncidentPolicy
from shared.incidents.policy import incident_policy, load_incident_policy
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW, make_app
from tests.incidents_api import desk
from tests.unit.test_alerting import API, Watch
from tests.unit.test_incident_alerts import broken, well

SHORT = {"reopen": "0m", "postmortem": {"impacts": ["low"], "within": "5h", "remind": "1h"}}


def folder(path: Path, policy: Any) -> Path:
    shutil.copytree(CONFIG, path, dirs_exist_ok=True)
    (path / "incidents.json").write_text(json.dumps(policy))
    return path


def test_what_is_shipped_is_what_an_empty_or_missing_file_means(tmp_path: Path) -> None:
    assert load_incident_policy(CONFIG) == SHIPPED
    assert load_incident_policy(tmp_path) == SHIPPED
    assert load_incident_policy(folder(tmp_path, {})) == SHIPPED


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (
            {"reopen": "soon", "postmortem": {"impacts": ["huge"], "within": "0m"}, "grace": 1},
            [
                "reopen: a duration is a number with m, h, d or w, such as '5m' or '30d'",
                "postmortem.impacts[0]: must be 'low', 'medium', 'high' or 'critical'",
                "postmortem.within: a duration must be a multiple of 5 minutes",
                "grace: there is no such field",
            ],
        ),
        ({"postmortem": {"within": "1h"}}, ["postmortem: `remind` must be shorter than `within`"]),
    ],
)
def test_every_fault_is_told_with_its_path(tmp_path: Path, data: Any, faults: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_incident_policy(folder(tmp_path, data))
    assert list(caught.value.faults) == faults
    assert configuration.faults(tmp_path) == [f"incidents.json: {fault}" for fault in faults]


def test_a_policy_that_cannot_be_used_keeps_no_incident_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app(None, config_dir=folder(tmp_path, {"reopen": 7}))  # type: ignore[arg-type]  # it is not asked
    assert incident_policy(app) == SHIPPED
    assert "incidents.json is not usable" in capsys.readouterr().out


def test_people_who_resolve_are_due_by_the_policy(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    with desk(sqlite_store, CONFIG_DIR=str(folder(tmp_path, SHORT))) as on_call:
        grave, slight, updated = on_call.open(), on_call.open(impact="low"), on_call.open(impact="low")
        for name in (grave, slight):
            on_call.post(f"/api/incidents/{name}/resolve")
        on_call.update(updated, "Over.", "resolved")
        due = {name: on_call.incident(name)["postmortemDueAt"] for name in (grave, slight, updated)}
        assert due == {grave: None, slight: "2026-03-10T17:02:30Z", updated: "2026-03-10T17:02:30Z"}
        on_call.edit(grave, impact="low")
        assert on_call.incident(grave)["postmortemDueAt"] == "2026-03-10T17:02:30Z"
        stored = sqlite_store.get(f"incidents/{slight}")
        assert stored is not None
        assert stored.data["postmortemRemindAt"] == NOW + timedelta(hours=4)


def test_alerts_open_and_end_incidents_by_the_policy(sqlite_store: SqliteStore) -> None:
    watch = Watch(sqlite_store, policy=IncidentPolicy.model_validate(SHORT))
    broken(watch, 0)
    well(watch, 1)
    assert watch.doc(f"incidents/{API}-1")["postmortemDueAt"] is None
    broken(watch, 2)  # five minutes after the end, and no grace time
    assert set(watch.documents("incidents")) == {f"{API}-1", f"{API}-3"}


def test_the_grace_time_ends_to_the_second() -> None:
    begun = incident_alerts.opened("t", "low", "API", "a", "m", NOW)
    ended = incident.resolved(begun, "ada", NOW)
    assert incident_alerts.takes(ended, NOW + timedelta(minutes=30))
    assert not incident_alerts.takes(ended, NOW + timedelta(minutes=30, seconds=1))

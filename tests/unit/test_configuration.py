"""A broken configuration: every fault is told at once with its path, whoever meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request

from main import metricsIngest
from scripts import configuration
from scripts.deploy.__main__ import main
from scripts.manifest import ROOT
from shared import bootstrap
from shared.store.sqlite import SqliteStore
from tests.core import make_app

FAULTS = [
    "slo.json: slos[0].window: a duration is a number with m, h, d or w, such as '5m' or '30d'",
    "slo.json: slos[0].metric: unknown metric 'eror_rate'; known: agent_latency, agent_success_rate, agent_uptime, "
    "api_latency, availability, dropped_labels, error_rate, firestore_read_latency, firestore_write_latency, "
    "probe_latency, probe_success, storage_usage, token_cost",
    "slo.json: slos[1].threshold: is missing",
    "slo.json: slos[3].metric: error_rate is a ratio and has no p95",
    "slo.json: slos[3].threshold: 200 is no percentage",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "config", tmp_path / "config"))


def rewrite(file: Path, change: Callable[[Any], object]) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def break_slos(data: Any) -> None:
    data["slos"][0] |= {"window": "30 days", "metric": "eror_rate"}
    del data["slos"][1]["threshold"]
    data["slos"][3]["metric"] = "error_rate_p95"


@pytest.fixture
def broken(folder: Path) -> Path:
    rewrite(folder / "slo.json", break_slos)
    return folder


def test_the_shipped_configuration_has_no_fault() -> None:
    assert configuration.faults(ROOT / "config") == []


def test_every_fault_of_the_slos_is_told_at_once(broken: Path) -> None:
    assert configuration.faults(broken) == FAULTS


def test_a_runbook_that_is_not_there_is_a_fault(folder: Path) -> None:
    rewrite(folder / "slo.json", lambda data: data["slos"][1]["alert"].update(runbook="no-such"))
    (fault,) = configuration.faults(folder)
    assert fault.startswith("slo.json: slos[1].alert.runbook: there is no 'no-such'; there are api-outage, ")


def test_the_faults_of_all_files_are_told_together(broken: Path) -> None:
    rewrite(broken / "components.json", lambda data: data["components"][0].update(colour="red"))
    (broken / "flags.json").write_text("{")
    found = configuration.faults(broken)
    assert found[: len(FAULTS)] == FAULTS
    assert [fault.partition(":")[0] for fault in found[len(FAULTS) :]] == ["components.json", "flags.json"]


def test_every_fault_of_the_flags_is_told(folder: Path) -> None:
    rewrite(folder / "flags.json", lambda data: data["alerts"].update(enabled="off", enabeld=False))
    enabled, enabeld = configuration.faults(folder)
    assert enabled == "flags.json: alerts.enabled: must be true or false"
    assert enabeld.startswith("flags.json: alerts.enabeld: there is no such flag; there are alerts.enabled, ")


def test_flags_that_are_left_out_are_no_fault(folder: Path) -> None:
    (folder / "flags.json").write_text('{"alerts": {"enabled": false}}')
    assert configuration.faults(folder) == []


def test_a_fault_of_the_registry_is_told_once(folder: Path) -> None:
    rewrite(folder / "metrics.json", lambda data: data["metrics"]["api_latency"].update(bonds=[1]))
    assert configuration.faults(folder) == ["metrics.json: metrics.api_latency.bonds: there is no such field"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"slos": 3}', "[]"])
def test_a_file_that_is_no_configuration_is_a_fault(folder: Path, text: str) -> None:
    (folder / "slo.json").write_text(text)
    (fault,) = configuration.faults(folder)
    assert fault.startswith("slo.json: ")


def test_a_file_that_is_missing_is_a_fault(folder: Path) -> None:
    (folder / "slo.json").unlink()
    (fault,) = configuration.faults(folder)
    assert fault.startswith("slo.json: ")


def test_the_local_server_does_not_start_on_a_broken_configuration(broken: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "scripts.dev", "--port", "0", "--data-dir", str(tmp_path / "data")]
    env = {"CONFIG_DIR": str(broken), "PATH": ""}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    for fault in FAULTS:
        assert fault in done.stderr


def test_a_broken_configuration_is_not_deployed(
    monkeypatch: pytest.MonkeyPatch, broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.deploy.__main__.ROOT", broken.parent)
    files = ["--manifest", str(ROOT / "functions.yaml"), "--env-file", str(ROOT / ".env.example")]
    assert main(["--project", "ops-prod", "--dry-run", *files]) == 2
    told = capsys.readouterr().err
    assert [fault for fault in FAULTS if fault not in told] == []


@pytest.fixture
def app_on(broken: Path, tmp_path: Path) -> Iterator[None]:
    store = SqliteStore(tmp_path / "store.db")
    bootstrap.install(make_app(store, config_dir=broken))
    yield
    bootstrap.install(None)
    store.close()


@pytest.mark.usefixtures("app_on")
def test_a_function_answers_with_a_code_and_its_log_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    headers = {"Authorization": "Bearer f0_a-key-for-tests"}
    with Flask("test").test_request_context("/api/metrics", method="POST", data=b"{}", headers=headers):
        answer = metricsIngest(request._get_current_object())  # type: ignore[attr-defined]
    assert (answer.status_code, answer.get_json()["code"]) == (500, "configuration_not_usable")
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [f"slo.json: {fault}" for fault in line["faults"]] == FAULTS

"""The pages about deploying, held true: every function, setting, dependency and command."""

from __future__ import annotations

import re
import shlex

import pytest

from scripts.deploy.__main__ import main
from scripts.deploy.plan import BASE_APIS, Command, Target, steps
from scripts.manifest import ROOT, load, table
from shared.settings import NAMES
from tests.gcloud import faults_of, require_gcloud

DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
MANIFEST = load()


def first_cells(page: str) -> list[str]:
    """The first column of all tables of a page, without their heads."""
    text = (ROOT / "docs" / page).read_text()
    cells = [line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("|")]
    return [cell for cell in cells if not cell.startswith("---") and cell not in ("setting", "package")]


def shown_commands() -> list[list[str]]:
    """Every command in the shell blocks of docs/deploy.md, parts of a pipe apart."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", DEPLOY, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(part) for line in lines for part in line.split(" | ")]


def gcloud_commands() -> list[list[str]]:
    planned = [step.argv for step in steps(MANIFEST, Target("ops-prod"), {}) if isinstance(step, Command)]
    return [argv for argv in [*shown_commands(), *planned] if argv[0] == "gcloud"]


@pytest.mark.parametrize("argv", gcloud_commands(), ids=lambda argv: " ".join(argv[1:4]))
def test_every_gcloud_command_and_flag_exists(argv: list[str]) -> None:
    require_gcloud()
    assert faults_of(argv) == []


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("gcloud firestore databse create", "gcloud firestore needs one of"),
        ("gcloud firestore databases create --databse=x", "has no flag --databse"),
        ("gcloud firestore databases update --enable-pitr=x", "takes no value"),
    ],
)
def test_a_planted_fault_in_a_gcloud_command_is_found(command: str, fault: str) -> None:
    require_gcloud()
    (found,) = faults_of(command.split())
    assert fault in found


def test_the_table_of_functions_is_the_manifest() -> None:
    assert table(MANIFEST) in DEPLOY, f"run scripts.manifest and copy its table:\n{table(MANIFEST)}"


def test_every_secret_and_every_api_is_made_on_the_page() -> None:
    secrets = {s.secret for e in MANIFEST.endpoints.values() for s in e.secret_environment_variables}
    assert {argv[3] for argv in shown_commands() if argv[:3] == ["gcloud", "secrets", "create"]} == secrets
    (enable,) = [argv for argv in shown_commands() if argv[:3] == ["gcloud", "services", "enable"]]
    assert {*BASE_APIS, *(a.api for a in MANIFEST.required_apis)} <= set(enable)


def test_the_deploy_commands_of_the_page_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    ours = [argv[3:] for argv in shown_commands() if argv[:3] == [".venv/bin/python", "-m", "scripts.deploy"]]
    assert len(ours) == 2
    for argv in ours:
        assert main([*argv, "--env-file", str(ROOT / ".env.example"), "--dry-run"]) == 0
    assert "gcloud functions deploy" in capsys.readouterr().out


def test_every_script_of_the_page_exists() -> None:
    modules = {argv[2] for argv in shown_commands() if argv[:2] == [".venv/bin/python", "-m"]}
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_every_setting_is_documented_and_no_other() -> None:
    assert first_cells("settings.md") == list(NAMES)


def test_every_dependency_has_its_reason_and_no_other() -> None:
    files = [(ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt")]
    lines = [line for text in files for line in text.splitlines()]
    names = {re.split(r"[=\[]", line)[0] for line in lines if not line.startswith("-r")}
    assert set(first_cells("dependencies.md")) == names

"""`./ops` as somebody on call has it: from any folder, by a link, and on a machine where nothing is installed yet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.manifest import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """F0 Ops in a folder with a blank in its name, installed."""
    folder = tmp_path / "f0 ops"
    (folder / ".venv").mkdir(parents=True)
    for part in Path(sys.prefix).iterdir():
        (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv" / ".ready").unlink(missing_ok=True)
    (folder / ".venv" / ".ready").touch()
    (folder / "scripts").symlink_to(ROOT / "scripts")
    (folder / "shared").symlink_to(ROOT / "shared")
    shutil.copy(ROOT / "ops", folder)
    return folder


def run(command: Path | str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OPS_", "PYTHON"))}
    return subprocess.run(
        [str(command), *arguments], cwd=cwd, env=clean, capture_output=True, text=True, timeout=60, check=False
    )


def test_it_runs_from_any_folder_and_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ops").symlink_to("../f0 ops/ops")
    for command, cwd in (("./ops", folder), (folder / "ops", Path("/")), (tmp_path / "bin" / "ops", tmp_path)):
        done = run(command, "--help", cwd=cwd)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: ./ops ")


def test_a_folder_that_has_scripts_of_its_own_does_not_come_between(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "app" / "scripts" / "ops").mkdir(parents=True)
    for place in ("scripts", "scripts/ops"):
        (tmp_path / "app" / place / "__init__.py").touch()
    (tmp_path / "app" / "scripts" / "ops" / "__main__.py").write_text("raise SystemExit('not this one')")
    assert run(folder / "ops", "--help", cwd=tmp_path / "app").returncode == 0


def test_a_file_that_is_named_is_that_of_the_folder_one_is_in(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_text("date,model,cost_usd\n2026-11-18,claude-sonnet-4-5,0.03\n")
    arguments = ("reconcile", "bill.csv", "--provider", "anthropic", "--url", "http://127.0.0.1:9")
    assert run(folder / "ops", *arguments, cwd=tmp_path).returncode == 3  # it was read; nobody answers
    assert run(folder / "ops", *arguments, cwd=folder).returncode == 2


def test_its_exit_code_is_that_of_the_command(folder: Path) -> None:
    assert run("./ops", "status", "--url", "http://127.0.0.1:9", cwd=folder).returncode == 3
    assert run("./ops", "nonsense", cwd=folder).returncode == 2


@pytest.mark.parametrize("left", ["nothing", "a half"])
def test_where_nothing_is_installed_it_says_what_to_do(folder: Path, left: str) -> None:
    if left == "nothing":
        shutil.rmtree(folder / ".venv")
    else:  # as an installation that broke off leaves it
        (folder / ".venv" / ".ready").unlink()
    done = run(folder / "ops", "status", cwd=Path("/"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f'F0 Ops is not installed yet. Once, with Python 3.11 or later: make -C "{folder}" install\n'
    )


def test_the_command_that_it_names_is_a_target_of_make() -> None:
    done = subprocess.run(["make", "-n", "-C", str(ROOT), "install"], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

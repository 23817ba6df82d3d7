"""What is uploaded and where it is imported from."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pathspec
import pytest

from scripts.manifest import ROOT

DEPLOYED = {"main.py", "requirements.txt", "functions", "shared", "config", "runbooks"}
JUNK = [  # what a working folder may hold besides
    ".env", ".env.ops-prod", ".env.local", ".secret.local", ".venv/bin/python", "venv/bin/python", ".git/config",
    ".f0ops/store.db", "node_modules/a/index.js", "web/src/main.ts", "tests/unit/test_a.py", "demo/app.py",
    "bench/b.py", "scripts/deploy/plan.py", "docs/deploy.md", "public/index.html", "shared/__pycache__/log.pyc",
    "firebase-debug.log", "functions/.env", "functions.yaml", "firebase.json", "pyproject.toml", "README.md",
    "requirements-dev.txt", "ops", ".mypy_cache/x", "shared/store/.coverage", "config/slo.local", "firestore.rules",
]  # fmt: skip
WANTED = [
    "main.py", "requirements.txt", "functions/__init__.py", "functions/alert_rules/handler.py", "shared/log.py",
    "shared/store/sqlite.py", "shared/status_page/page.html", "shared/status_page/page.css", "config/slo.json",
    "runbooks/billing-outage.md",
]  # fmt: skip


def uploaded_by_gcloud(paths: list[str]) -> set[str]:
    """A file is left out with its folder: what is excluded as a whole is not looked into."""
    spec = pathspec.PathSpec.from_lines("gitignore", (ROOT / ".gcloudignore").read_text().splitlines())

    def left_out(path: str) -> bool:
        folders = [str(folder) + "/" for folder in Path(path).parents if str(folder) != "."]
        return any(spec.match_file(part) for part in [path, *folders])

    return {path for path in paths if not left_out(path)}


def uploaded_by_firebase(paths: list[str]) -> set[str]:
    """Its patterns have no slash, and such a pattern holds for every part of a path."""
    patterns = json.loads((ROOT / "firebase.json").read_text())["functions"][0]["ignore"]
    assert not any("/" in pattern for pattern in patterns)
    return {p for p in paths if not any(fnmatch.fnmatchcase(part, i) for part in p.split("/") for i in patterns)}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if listed.returncode != 0:
        pytest.skip("not a git repository: the tracked files cannot be listed")
    return listed.stdout.splitlines()


@pytest.mark.parametrize("package", ["functions", "shared", "main"])
def test_packages_come_from_this_repository(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)


def test_every_folder_with_modules_is_a_package() -> None:
    for top in ("functions", "shared"):
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), module


def test_nothing_makes_the_firebase_cli_take_the_runtime_for_node() -> None:
    assert not (ROOT / "package.json").exists()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_to_one_version(name: str) -> None:
    for line in (ROOT / name).read_text().splitlines():
        if line != "-r requirements.txt":
            assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[0-9][0-9A-Za-z.]*", line), line


def test_both_command_lines_upload_what_the_functions_run_on_and_nothing_else() -> None:
    paths = [*WANTED, *JUNK]
    assert uploaded_by_gcloud(paths) == set(WANTED)
    assert uploaded_by_firebase(paths) == set(WANTED)


def test_both_command_lines_upload_the_same_of_what_is_tracked() -> None:
    paths = tracked()
    uploaded = uploaded_by_gcloud(paths)
    assert uploaded == uploaded_by_firebase(paths)
    assert {path.partition("/")[0] for path in uploaded} <= DEPLOYED
    run_on = {p for p in paths if p.startswith(("functions/", "shared/", "config/", "runbooks/"))}
    assert uploaded >= run_on - {"runbooks/README.md"}  # the index is for readers of the repository


def test_gcloud_itself_lists_the_same_files(tmp_path: Path) -> None:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        pytest.skip("gcloud is not installed: its reading of .gcloudignore is not tested")
    for path in [*WANTED, *JUNK]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    shutil.copy(ROOT / ".gcloudignore", tmp_path)
    argv = [gcloud, "meta", "list-files-for-upload", str(tmp_path)]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    assert set(listed) == set(WANTED)

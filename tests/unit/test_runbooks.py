"""The runbooks, held true: their form, each command by its own program, and every name that they use."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.manifest import ROOT, load
from scripts.ops.__main__ import parser
from shared.domain.alert import rules_of
from shared.domain.slo_file import parse_slos
from shared.slo_loader import load_file, load_registry
from tests.gcloud import faults_of, require_gcloud

FOLDER = ROOT / "runbooks"
INDEX = FOLDER / "README.md"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path != INDEX)
NEEDED = {
    "billing-outage",
    "provider-degradation",
    "firestore-hotspot",
    "auth-issues",
    "ddos-attack",
    "data-corruption",
}
PARTS = (
    r"Severity: (Critical|High|Warning)", "Detection", r"Initial response \(5 minutes\)", r"Diagnosis \(15 minutes\)",
    "Mitigation", "Resolution", "Prevention",
)  # fmt: skip
NAMED = (  # command of gcloud → what of it names a thing of the user's app
    r"functions logs read (\S+)", r"run services update(?:-traffic)? (\S+)", r"--service=(\S+)",
    r"service_name=\"([^\"]+)", r"secrets versions (?:list|add) (\S+)", r"jobs pause (\S+)",
    r"--collection-group=(\S+)", r"--security-policy=(\S+)",
    r"gs://([^/\s]+)", r"--update-secrets=\w+=([^:]+)", r"--(?:destination-)?database=([a-z]\S*)",
)  # fmt: skip


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    return [(path.stem, block.strip()) for path in RUNBOOKS for block in blocks(path, "sh")]


def of(program: str) -> list[Any]:
    """The commands of a program, each once."""
    found = {command: runbook for runbook, command in commands() if command.startswith(program)}
    return [pytest.param(command, id=f"{runbook}: {command[:60]}") for command, runbook in found.items()]


def spans(path: Path) -> set[str]:
    """What stands in `code` outside of blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)))


@functools.cache
def names_of_the_app() -> frozenset[str]:
    table = INDEX.read_text().partition("## Names of your app")[2]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return frozenset(name for row in rows for name in re.findall(r"`([^`]+)`", row))


def alerts() -> set[str]:
    config = load_file(ROOT / "config" / "slo.json", load_registry(ROOT / "config"))
    return {rule.alert_id for slo in config.slos for rule in rules_of(slo, config)}


def alerts_to_be_added(path: Path) -> set[str]:
    """Of the SLOs that a runbook shows, which must be usable as they stand."""
    registry = load_registry(ROOT / "config")
    found = set()
    for block in blocks(path, "json"):
        config = parse_slos({"slos": [json.loads(block)]}, registry, source=path.name, digest="")
        found |= {rule.alert_id for slo in config.slos for rule in rules_of(slo, config)}
    return found


def test_the_needed_ones_are_there_and_the_index_has_them_all() -> None:
    assert {path.stem for path in RUNBOOKS} >= NEEDED
    rows = re.findall(r"^\| \[([\w-]+\.md)\]\(\1\) \|", INDEX.read_text(), re.MULTILINE)
    assert sorted(rows) == [path.name for path in RUNBOOKS]


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_the_parts_of_the_template_in_their_order(path: Path) -> None:
    heads = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
    assert len(heads) == len(PARTS), heads
    assert all(re.fullmatch(part, head) for part, head in zip(PARTS, heads, strict=True)), heads


def test_the_template_has_these_parts_too() -> None:
    text = (ROOT / "docs" / "RUNBOOK_TEMPLATE.md").read_text()
    assert [head.partition(":")[0] for head in re.findall(r"^## (.+)$", text, re.MULTILINE)] == [
        part.partition(":")[0].replace("\\", "") for part in PARTS
    ]


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_the_index_tells_severity_component_and_alerts_as_the_runbook_does(path: Path) -> None:
    (row,) = [line for line in INDEX.read_text().splitlines() if line.startswith(f"| [{path.name}]")]
    _, _, severity, component, named = (cell.strip() for cell in row.strip("|").split("|"))
    text = path.read_text()
    assert f"## Severity: {severity.capitalize()}" in text
    components = {c["id"] for c in json.loads((ROOT / "config" / "components.json").read_text())["components"]}
    assert component in components
    assert f"--component {component} " in text
    assert f"--runbook {path.stem} " in text
    assert all(f"`{alert}`" in text for alert in re.findall(r"`([^`]+)`", named))


@pytest.mark.parametrize("path", [*RUNBOOKS, INDEX], ids=lambda path: path.stem)
def test_every_alert_flag_and_path_that_is_named_exists_or_is_the_apps_own(path: Path) -> None:
    flags = json.loads((ROOT / "config" / "flags.json").read_text())
    known = {f"{group}.{name}" for group, switches in flags.items() for name in switches}
    known_alerts = alerts().union(*(alerts_to_be_added(runbook) for runbook in RUNBOOKS))
    faults = []
    for name in (span.partition(" = ")[0] for span in spans(path)):
        if re.fullmatch(r"[a-z0-9-]+-(threshold|page|ticket)", name) and name not in known_alerts:
            faults.append(f"alert {name}")
        is_flag = re.fullmatch(r"[a-z]+\.[a-z_]+", name) and not name.endswith(
            (".md", ".json", ".rules", ".txt", ".ops")
        )
        if is_flag and name not in known | names_of_the_app():
            faults.append(f"flag {name}")
        is_file = re.fullmatch(r"(config|docs|runbooks|shared)/[\w./-]+|[\w-]+\.(md|rules)", name)
        if is_file and not any((base / name).exists() for base in (ROOT, FOLDER)):
            faults.append(f"file {name}")
    assert faults == []


@pytest.mark.parametrize("path", [*RUNBOOKS, INDEX, ROOT / "docs" / "RUNBOOK_TEMPLATE.md"], ids=lambda path: path.stem)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        assert page.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_each_command_stands_alone_in_its_block_and_is_of_a_program_that_is_checked() -> None:
    assert len(commands()) >= 60
    for runbook, command in commands():
        assert "\n" not in command, (runbook, command)
        assert command.split()[0] in ("./ops", "gcloud", "curl", "firebase"), (runbook, command)


@pytest.mark.parametrize("command", of("gcloud"))
def test_gcloud_knows_the_command(command: str) -> None:
    require_gcloud()
    assert faults_of(shlex.split(command)) == []


@pytest.mark.parametrize("command", of("gcloud"))
def test_what_a_command_names_is_of_this_package_or_the_apps_own(command: str) -> None:
    ours = set(load(ROOT / "functions.yaml").endpoints)
    named = {name for pattern in NAMED for name in re.findall(pattern, command)}
    assert named <= names_of_the_app() | ours | {"(default)"}, named


@pytest.mark.parametrize("command", of("./ops"))
def test_ops_takes_the_command(command: str) -> None:
    words = shlex.split(command)
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        try:
            options = parser().parse_args(words[1:])
        except SystemExit:
            pytest.fail(told.getvalue())
    metric = getattr(options, "metric", None)
    assert metric is None or metric in load_registry(ROOT / "config").metrics


@functools.cache
def options_of_curl() -> frozenset[str]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: its commands are not tested")
    told = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=True, timeout=300).stdout
    return frozenset(re.findall(r"(?<![\w-])--?[a-zA-Z0-9][a-z0-9-]*", told))


@pytest.mark.parametrize("command", of("curl"))
def test_curl_knows_the_options(command: str) -> None:
    words = shlex.split(command)
    long = {word for word in words if word.startswith("--")}
    short = {f"-{letter}" for word in words if re.fullmatch(r"-[a-zA-Z]+", word) for letter in word[1:]}
    assert long | short <= options_of_curl()
    assert "--max-time" in long, "a call without a deadline hangs just when it matters"
    assert words[-1].startswith("https://")


@pytest.mark.parametrize("command", of("firebase"))
def test_firebase_deploys_what_is_there_or_the_apps_own(command: str) -> None:
    words = shlex.split(command)
    assert words[:3] == ["firebase", "deploy", "--only"]
    what, _, name = words[3].partition(":")
    if what == "functions":
        assert name in names_of_the_app() | set(load(ROOT / "functions.yaml").endpoints)
    else:
        assert what in json.loads((ROOT / "firebase.json").read_text())
    if shutil.which("firebase") is None:
        pytest.skip("the Firebase CLI is not installed: that it knows the command is not tested")
    told = subprocess.run(
        ["firebase", "deploy", "--help"], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert "--only" in told

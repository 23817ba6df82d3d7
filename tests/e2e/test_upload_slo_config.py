"""`scripts.upload_slo_config` as an operator has it: real processes on both stores, with their exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from shared.alerts.alerting import run_alert_rules
from shared.slo_loader import DOCUMENT, VERSIONS
from shared.store.protocol import Delete, Doc, Put, Query, Store
from shared.store.sqlite import SqliteStore
from tests.contract.tcp import LossyProxy, silent_server
from tests.core import CONFIG, NOW, make_app
from tests.dev_server import ROOT, DevServer

GOLDEN = ROOT / "tests" / "golden" / "slo_config"
QUESTION = "Put this in force? [y/N] "
_OURS = re.compile(r"F0_STORE|GOOGLE_|GCLOUD_|CLOUDSDK_|FIRESTORE_|SQLITE_PATH|CONFIG_DIR|NO_COLOR|HOME$")


@dataclass
class Place:
    """A store, and how a command line names it."""

    store: Store
    arguments: list[str]
    env: dict[str, str]
    folder: Path

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        clean = {k: v for k, v in os.environ.items() if not _OURS.match(k)}
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.upload_slo_config", *self.arguments, *arguments],
            cwd=ROOT,
            env={**clean, "HOME": str(self.folder), "PYTHONIOENCODING": "utf-8", **self.env, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, **env: str) -> tuple[str, str]:
        """What it prints on its two outputs. Nobody is there to answer a question."""
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        return out, err

    def file(self, content: Any, name: str = "new.json") -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def upload(self, target: float, *arguments: str, code: int = 0) -> tuple[str, str]:
        path = self.file(shipped(target), f"{target}.json")
        return self.run("--file", path, "--yes", *arguments, code=code)

    def versions(self) -> list[Doc]:
        return self.store.query(Query(VERSIONS, order=(("version", "asc"),)))

    def in_force(self) -> dict[str, Any]:
        doc = self.store.get(DOCUMENT)
        assert doc
        return doc.data


@pytest.fixture(params=["sqlite", "firestore"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    store: Any = request.getfixturevalue(f"{request.param}_store")
    store.get(DOCUMENT)  # makes the file
    if request.param == "sqlite":
        return Place(store, ["--sqlite", str(tmp_path / "store.db")], {}, tmp_path)
    project = store._database.split("/")[1]
    emulator = {"FIRESTORE_EMULATOR_HOST": os.environ["FIRESTORE_EMULATOR_HOST"]}
    return Place(store, ["--project", project], emulator, tmp_path)


@pytest.fixture
def local(sqlite_store: Any, tmp_path: Path) -> Place:
    sqlite_store.get(DOCUMENT)
    return Place(sqlite_store, ["--sqlite", str(tmp_path / "store.db")], {}, tmp_path)


def shipped(target: float | None = None, **slo: Any) -> dict[str, Any]:
    """The shipped configuration, with another target of the first SLO."""
    content: dict[str, Any] = json.loads((CONFIG / "slo.json").read_text())
    content["slos"][0] |= ({} if target is None else {"target": target}) | slo
    return content


def until(stream: IO[str] | None, text: str) -> str:
    assert stream
    read = ""
    while text not in read:
        character = stream.read(1)
        assert character, f"ended before {text!r}: {read}"
        read += character
    return read


@pytest.mark.parametrize("script", ["upload_slo_config", "backtest"])
def test_a_script_that_is_run_by_its_path_says_how_to_use_it(script: str, tmp_path: Path) -> None:
    argv = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), "--help"]
    asked = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (asked.returncode, f"usage: .venv/bin/python -m scripts.{script}" in asked.stdout) == (0, True)


def test_a_new_configuration_is_in_force_and_is_version_1(place: Place) -> None:
    out, _ = place.upload(99.9, "--by", "ada@example.com", "--note", "tighter")
    assert "target  99.5 % good → 99.9 % good" in out
    assert "In force is now version 1, by ada@example.com." in out
    doc, (version,) = place.in_force(), place.versions()
    assert doc["slos"] == version.data["content"]["slos"] == shipped(99.9)["slos"]
    assert (doc["version"], doc["updatedBy"], doc["hash"]) == (1, "ada@example.com", version.data["hash"])
    assert doc["updatedAt"] == version.data["uploadedAt"]
    assert {k: version.data[k] for k in ("version", "uploadedBy", "note")} == {
        "version": 1, "uploadedBy": "ada@example.com", "note": "tighter",
    }  # fmt: skip
    assert version.id == "1"


def test_the_next_run_goes_by_it_and_its_report_says_the_version(place: Place) -> None:
    app = make_app(place.store)
    run_alert_rules(app, NOW, lambda: True)
    report = place.store.get("runs/alertRules")
    assert report
    assert report.data["configVersion"] is None
    place.upload(99.9)
    run_alert_rules(app, NOW, lambda: True)
    report = place.store.get("runs/alertRules")
    assert report
    assert (report.data["configVersion"], report.data["configHash"]) == (1, place.versions()[0].data["hash"])
    assert report.data["slos"][0]["objective"] == "99.9"


def test_while_the_local_server_runs_its_next_run_goes_by_it(tmp_path: Path) -> None:
    with DevServer(tmp_path / "data", "--no-schedules") as server:
        store = SqliteStore(tmp_path / "data" / "store.db")
        place = Place(store, ["--sqlite", str(tmp_path / "data" / "store.db")], {}, tmp_path)
        assert server.run("alertRules").status_code == 200
        place.upload(99.9)
        assert server.run("alertRules").status_code == 200
        report = store.get("runs/alertRules")
        store.close()
    assert report
    assert (report.data["configVersion"], report.data["slos"][0]["objective"]) == (1, "99.9")


def test_nothing_is_written_where_nothing_changes_however_it_is_spelled(place: Place) -> None:
    content = shipped(99.50)
    content["slos"][1]["window"] = "1d"
    content["slos"][1]["metric"] = "req_latency_ms_p95"
    content["slos"][2]["id"] = "agent-success-rate"
    content["slos"][2]["alert"]["min_events"] = 10
    out, _ = place.run("--file", place.file(content), "--yes")
    assert out.endswith("\nNo change.\n")
    assert place.store.get(DOCUMENT) is None
    place.upload(99.9)
    assert place.upload(99.9)[0].endswith("\nNo change.\n")
    assert len(place.versions()) == 1


def test_a_dry_run_and_a_missing_confirmation_write_nothing(place: Place) -> None:
    path = place.file(shipped(99.9))
    assert "Nothing was written (--dry-run)." in place.run("--file", path, "--dry-run")[0]
    assert "Not confirmed" in place.run("--file", path, code=5)[1]
    process = place.start("--file", path)
    assert "Not confirmed" in process.communicate("yess\n", timeout=60)[1]
    assert process.returncode == 5
    assert (place.store.get(DOCUMENT), place.versions()) == (None, [])


def test_who_uploads_meanwhile_is_not_written_over(place: Place) -> None:
    place.upload(99.6)
    slow = place.start("--file", place.file(shipped(99.9)))
    until(slow.stdout, QUESTION)
    place.upload(99.7, "--by", "bob")
    _, err = slow.communicate("y\n", timeout=60)
    assert slow.returncode == 3
    assert re.search(r"Now in force: config/slo, version 2 of .* UTC by bob\.\nNothing was written\.", err)
    assert [v.data["content"]["slos"][0]["target"] for v in place.versions()] == [99.6, 99.7]
    assert place.in_force()["version"] == 2


def test_a_document_written_by_hand_meanwhile_is_not_written_over_either(place: Place) -> None:
    slow = place.start("--file", place.file(shipped(99.9)))
    until(slow.stdout, QUESTION)
    place.store.commit([Put(DOCUMENT, shipped(99.1))])
    _, err = slow.communicate("y\n", timeout=60)
    assert slow.returncode == 3
    assert "Now in force: config/slo, written by hand." in err
    assert (place.in_force(), place.versions()) == (shipped(99.1), [])


def test_after_a_lost_reply_it_is_read_again_and_not_written_twice(firestore_store: Any, tmp_path: Path) -> None:
    proxy = LossyProxy(os.environ["FIRESTORE_EMULATOR_HOST"])
    project = firestore_store._database.split("/")[1]
    place = Place(firestore_store, ["--project", project], {"FIRESTORE_EMULATOR_HOST": proxy.address}, tmp_path)
    try:
        process = place.start("--file", place.file(shipped(99.9)))
        until(process.stdout, QUESTION)
        proxy.lose_next_reply()
        out, err = process.communicate("y\n", timeout=60)
    finally:
        proxy.close()
    assert (process.returncode, proxy.lost) == (0, 1), err
    assert "In force is now version 1" in out
    assert [v.data["version"] for v in place.versions()] == [place.in_force()["version"]] == [1]


def test_of_many_at_once_each_is_a_version_of_its_own_or_told_to_look_again(place: Place) -> None:
    targets = (99.1, 99.2, 99.3)
    started = [place.start("--file", place.file(shipped(t), f"{t}.json"), "--yes") for t in targets]
    for process in started:
        process.communicate(timeout=60)
    codes = [process.returncode for process in started]
    assert set(codes) <= {0, 3}
    found = place.versions()
    assert [v.data["version"] for v in found] == list(range(1, codes.count(0) + 1))
    assert {v.data["content"]["slos"][0]["target"] for v in found} == {
        t for t, code in zip(targets, codes, strict=True) if code == 0
    }
    assert place.in_force()["hash"] == found[-1].data["hash"]


def test_a_version_is_restored_as_a_new_one(place: Place) -> None:
    place.upload(99.6, "--note", "first")
    place.upload(99.7)
    out, _ = place.run("--restore", "1", "--yes", "--by", "ada")
    assert "target  99.7 % good → 99.6 % good" in out
    assert [v.data["hash"] for v in place.versions()][0::2] == [place.in_force()["hash"]] * 2
    lines = place.run("--history")[0].splitlines()
    assert lines[0].split() == ["version", "uploaded", "(UTC)", "hash", "by", "note"]
    assert [(line.split()[0], line.split()[4:]) for line in lines[1:4]] == [
        ("3", ["ada", "restored", "version", "1"]), ("2", ["unknown"]), ("1", ["unknown", "first"]),
    ]  # fmt: skip
    assert re.fullmatch(r"In force: config/slo, version 3 of \d{4}-\d\d-\d\d \d\d:\d\d UTC by ada", lines[-1])
    assert "There is no version 9" in place.run("--restore", "9", code=2)[1]


def test_a_version_that_is_shown_can_be_uploaded(place: Place) -> None:
    place.upload(99.6)
    place.upload(99.7)
    out, err = place.run("--show", "1")
    assert "Version 1 of" in err
    assert place.run("--file", place.file(out), "--dry-run")[0].count("→") == 1


def test_a_restored_version_must_still_be_usable(local: Place) -> None:
    local.upload(99.6)
    (version,) = local.versions()
    version.data["content"]["slos"][0]["metric"] = "of_another_release"
    local.store.commit([Put(version.path, version.data)])
    _, err = local.run("--restore", "1", "--yes", code=1)
    assert "version 1: slos[0].metric: unknown metric 'of_another_release'" in err
    assert len(local.versions()) == 1


def test_a_version_number_is_never_given_twice_even_after_the_document_was_deleted(place: Place) -> None:
    place.upload(99.6)
    place.store.commit([Delete(DOCUMENT)])
    place.upload(99.7)
    assert [v.data["version"] for v in place.versions()] == [1, 2]
    assert place.in_force()["version"] == 2


def test_a_document_changed_by_hand_is_said_to_be(local: Place) -> None:
    local.upload(99.6)
    doc = local.in_force()
    doc["slos"][0]["target"] = 99.4
    local.store.commit([Put(DOCUMENT, doc)])
    out, _ = local.upload(99.7)
    assert "In force: config/slo, changed by hand since version 1\n" in out
    assert "99.4 % good → 99.7 % good" in out
    assert local.in_force()["version"] == 2


def test_a_broken_document_is_told_and_mended(local: Place) -> None:
    local.store.commit([Put(DOCUMENT, shipped(99.5, window="soon"))])
    out, _ = local.upload(99.7)
    assert "is not usable (slos[0].window: a duration is a number" in out
    assert "In its place: the file slo.json" in out
    assert local.in_force()["slos"][0]["target"] == 99.7


def test_where_the_deployed_file_is_another_one_all_is_shown(local: Place, tmp_path: Path) -> None:
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    for path in CONFIG.iterdir():
        (deployed / path.name).write_bytes(path.read_bytes())
    content = shipped(99)
    content["slos"].append(content["slos"][0] | {"name": "Gone"})
    (deployed / "slo.json").write_text(json.dumps(content))
    run_alert_rules(make_app(local.store, config_dir=deployed), NOW, lambda: True)
    out, _ = local.run("--yes")
    assert "In force: the file that the functions were deployed with; slo.json here is another one" in out
    assert out.count("\n= ") == 4
    assert "- Gone (gone)\n    Taken out" in out
    assert local.in_force()["slos"] == shipped()["slos"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"slos": [', "(the whole): is not readable as JSON: Expecting value: line 1 column 11"),
        ('{"slos": [], "slos": []}', "'slos' is there twice, in an object of slos, slos"),
        ('{"slos": [], "version": 3}', "version: there is no such field"),
        ('{"slos": NaN}', "(the whole): is not readable as JSON: NaN is no number in JSON"),
        (json.dumps(shipped()).replace("99.5", "99.50000000000000001"), "slos[0].target: 99.50000000000000001 has"),
        (json.dumps(shipped(101, metric="eror_rate")), "slos[0].metric: unknown metric 'eror_rate'"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_file_and_path_and_nothing_is_written(local: Place, text: str, told: str) -> None:
    path = local.file(text)
    out, err = local.run("--file", path, "--yes", code=1)
    assert f"{path}: {told}" in err
    assert err.endswith("\nNothing was written.\n")
    assert (out, local.store.get(DOCUMENT), local.versions()) == ("", None, [])


def test_every_fault_is_told_at_once(local: Place) -> None:
    content = shipped(99.5, window="soon")
    content["slos"][2] |= {"target": 101}
    _, err = local.run("--file", local.file(content), code=1)
    assert [line.split(": ")[1] for line in err.splitlines()[:-1]] == ["slos[0].window", "slos[2].target"]


def test_a_file_that_cannot_be_read_is_told(local: Place) -> None:
    assert "cannot be read: there is no such file" in local.run("--file", str(local.folder / "none.json"), code=1)[1]
    assert "cannot be read: it is a folder" in local.run("--file", str(local.folder), code=1)[1]
    (local.folder / "latin.json").write_bytes(b'{"slos": "\xe4"}')
    assert "is not UTF-8, at byte 10" in local.run("--file", str(local.folder / "latin.json"), code=1)[1]


def test_openslo_is_uploaded_in_our_form_and_its_faults_say_document_and_path(place: Place) -> None:
    page = (ROOT / "docs" / "SLO.md").read_text()
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    out, _ = place.run("--file", place.file(shown, "slos.openslo.yaml"), "--yes")
    assert "document 2 (SLO pay-fast): spec.service" in out
    assert [slo["id"] for slo in place.in_force()["slos"]] == ["pay-fast", "api-promised", "api-aimed-at"]
    broken = place.file(shown.replace("Occurrences", "Timeslices", 1), "broken.yaml")
    _, err = place.run("--file", broken, "--yes", code=1)
    assert f"{broken}: document 2 (SLO pay-fast): spec.budgetingMethod: only Occurrences" in err
    assert len(place.versions()) == 1


def test_the_difference_reads_as_in_the_golden_file(local: Place) -> None:
    content = shipped(99.9)
    one, two, three, _ = content["slos"]
    two |= {"threshold": 350, "window": "7d"}
    three["alert"] |= {"channels": ["inapp"], "severity": "critical"}
    search = {**one, "name": "Search", "metric": "availability", "target": 99, "threshold": 95}
    pay = {**two, "name": "Paying", "id": "pay", "metric": "api_latency", "labels": {"endpoint": "/api/pay"}}
    pay |= {"under": 300, "target": 99, "threshold": 95, "window": {"calendar": "month", "timeZone": "Europe/Berlin"}}
    content["slos"] = [one, three, two, search, pay]
    out, _ = local.run("--file", local.file(content), "--dry-run")
    shown = out.replace(str(local.folder), "FOLDER")
    path = GOLDEN / "difference.txt"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown)
    assert shown == path.read_text()
    assert "\x1b" not in out


def test_on_a_terminal_the_difference_has_colours(local: Place) -> None:
    path = local.file(shipped(99.9))
    for env, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        parent, child = pty.openpty()
        clean = {k: v for k, v in os.environ.items() if not _OURS.match(k)}
        argv = [sys.executable, "-m", "scripts.upload_slo_config", *local.arguments, "--file", path, "--dry-run"]
        done = subprocess.run(argv, cwd=ROOT, env={**clean, **env}, stdout=child, timeout=60, check=True)
        os.close(child)
        assert done.returncode == 0
        assert ("\x1b[33m~ API Availability" in os.read(parent, 10_000).decode()) == coloured
        os.close(parent)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    nowhere = Place(None, ["--sqlite", str(tmp_path / "x" / "store.db")], {}, tmp_path)  # type: ignore[arg-type]
    assert "There is no store at" in nowhere.run("--history", code=2)[1]
    assert not (tmp_path / "x").exists()


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("not a database, but long enough to look like one " * 30)
    other = Place(None, ["--sqlite", str(tmp_path / "store.db")], {}, tmp_path)  # type: ignore[arg-type]
    assert "did not take part: file is not a database" in other.run("--history", code=4)[1]


def test_a_store_that_does_not_answer_is_told_within_its_deadline(tmp_path: Path) -> None:
    with silent_server() as silent:
        place = Place(None, ["--project", "ops-test"], {"FIRESTORE_EMULATOR_HOST": silent}, tmp_path)  # type: ignore[arg-type]
        _, err = place.run("--yes", code=4)
    assert "The store (Firestore of ops-test) did not take part: DEADLINE_EXCEEDED" in err
    assert "try once more" in err


def test_without_credentials_for_firestore_it_says_so(tmp_path: Path) -> None:
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")}
    place = Place(None, ["--project", "ops-test"], env, tmp_path)  # type: ignore[arg-type]
    assert "no credentials for Firestore" in place.run("--yes", code=4)[1]


@pytest.mark.parametrize(
    "arguments",
    [["--show", "0"], ["--show", "x"], ["--note", "two\nlines"], ["--history", "--show", "1"], ["--project", "No !"]],
)
def test_arguments_that_cannot_be_right_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    place = Place(None, [], {}, tmp_path)  # type: ignore[arg-type]
    out, err = place.run(*arguments, code=2)
    assert out == ""
    assert err


def gcloud(folder: Path) -> None:
    made = folder / ".config" / "gcloud"
    (made / "configurations").mkdir(parents=True)
    (made / "active_config").write_text("work\n")
    (made / "configurations" / "config_work").write_text("[core]\naccount = ada@example.com\nproject = p\n")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, "ada@example.com"),
        ({"type": "service_account", "client_email": "ci@p.iam.gserviceaccount.com"}, "ci@p.iam.gserviceaccount.com"),
        ({"type": "external_account"}, "unknown"),
    ],
)
def test_the_account_that_googles_tools_know_is_on_record(
    firestore_store: Any, tmp_path: Path, key: dict[str, str] | None, expected: str
) -> None:
    gcloud(tmp_path)
    env = {"FIRESTORE_EMULATOR_HOST": os.environ["FIRESTORE_EMULATOR_HOST"], "USER": "somebody"}
    if key:
        (tmp_path / "key.json").write_text(json.dumps(key))
        env["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "key.json")
    place = Place(firestore_store, ["--project", firestore_store._database.split("/")[1]], env, tmp_path)
    place.upload(99.9)
    assert place.in_force()["updatedBy"] == place.versions()[0].data["uploadedBy"] == expected

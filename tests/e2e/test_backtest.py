"""`scripts.backtest` as an operator has it, on both stores."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from functions.ops_api.backtest import CHANGES
from scripts.backtest import main
from shared.slo.backtest import MAX_DAYS
from shared.slo.backtest_json import LISTED
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW
from tests.dev_server import ROOT
from tests.unit.test_backtest import feed

GOLDEN = ROOT / "tests" / "golden" / "backtest"
_OURS = re.compile(r"F0_STORE|GOOGLE_|GCLOUD_|FIRESTORE_DATABASE|SQLITE_PATH|CONFIG_DIR")


def proposal(folder: Path, **alert: Any) -> str:
    """The shipped SLOs: another alert of the first, another threshold of the second, one less and one more."""
    content = json.loads((CONFIG / "slo.json").read_text())
    slos = content["slos"]
    slos[0]["alert"] |= alert
    slos[1]["threshold"] = 475
    del slos[3]
    slos.append(
        {**slos[0], "name": "API, strictly", "threshold": 0.1, "alert": {**slos[0]["alert"], "severity": "high"}}
    )
    path = folder / "proposed.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture(params=["sqlite", "firestore"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, list[str]]:
    """A store with three days of traffic and an outage of 20 minutes, and how a command line names it."""
    store: Any = request.getfixturevalue(f"{request.param}_store")
    feed(store, days=3)
    if request.param == "sqlite":
        return store, ["--sqlite", str(tmp_path / "store.db")]
    return store, ["--project", store._database.split("/")[1]]


def test_todays_and_the_proposed_alerts_are_shown_side_by_side(
    place: tuple[Any, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, arguments = place
    config = shutil.copytree(CONFIG, tmp_path / "config")
    burn = json.loads((config / "burn_windows.json").read_text())
    burn["rules"] = [rule | {"min_failures": 5} for rule in burn["rules"]]  # whatever is shipped
    (config / "burn_windows.json").write_text(json.dumps(burn))
    file = proposal(tmp_path, **{"burn_rates": True, "for": "10m"})
    assert main([*arguments, "--file", file, "--days", "7"], {"CONFIG_DIR": str(config)}, NOW) == 0
    out, err = capsys.readouterr()
    expected = GOLDEN / "compared.txt"
    shown = out.replace(str(tmp_path), "FOLDER")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(shown)
    assert shown == expected.read_text()
    assert err.splitlines()[0] == "counting 2026-03-07, 1 of 4 days: not in the store for what is proposed"


def test_as_a_process_it_answers_in_json_and_with_its_exit_codes(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    feed(sqlite_store, days=3)
    where = ["--sqlite", str(tmp_path / "store.db")]

    def run(*arguments: str) -> tuple[int, str, str]:
        env = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
        argv = [sys.executable, "-m", "scripts.backtest", *arguments]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    code, out, _ = run(*where, "--json", "--slo", "api-availability")
    assert code == 0
    (slo,) = json.loads(out)["slos"]
    assert slo["today"] == slo["proposal"]
    assert slo["today"]["rules"][0]["firings"] == [{"from": "2026-03-08T09:05:00Z", "to": "2026-03-08T09:25:00Z"}]

    wrong = proposal(tmp_path, window="7m", severity="loud")
    code, _, err = run(*where, "--file", wrong)
    assert (code, len(err.splitlines())) == (1, 3)  # the SLO that was added has one of them too
    assert f"{wrong}: slos[0].alert.window: a duration must be a multiple of 5 minutes" in err
    assert run(*where, "--slo", "nothing")[0] == 2
    assert run(*where, "--days", "0")[0] == 2
    assert run("--sqlite", str(tmp_path / "none.db"))[0] == 2


def test_the_table_in_the_docs_is_one_that_is_printed() -> None:
    section = (ROOT / "docs" / "SLO.md").read_text().partition("## Backtest\n")[2].partition("\n## ")[0]
    (shown,) = [block for block in section.split("```")[1::2] if block.startswith("\nAPI Availability")]
    assert shown.strip() in (GOLDEN / "compared.txt").read_text()


def test_the_parameters_in_the_docs_are_those_of_the_api() -> None:
    section = (ROOT / "docs" / "SLO.md").read_text().partition("## Backtest\n")[2].partition("\n## ")[0]
    asked = section.partition("/backtest` with ")[2].partition("Its answer")[0]
    assert set(re.findall(r"`([a-z_]+)`", asked)) == {"days", *CHANGES}
    assert f"at\nmost {MAX_DAYS})" in asked
    assert f"latest\n{LISTED} `firings`" in section

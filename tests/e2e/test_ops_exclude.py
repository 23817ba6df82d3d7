"""`./ops exclude`: a real process that asks before it changes anything, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.dev_server import ROOT, DevServer

ADD = ("add", "--from=-2h", "--to", "now", "--reason", "moved the database")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("exclude") / "data", "--no-schedules") as server:
        yield server


def exclude(server: DevServer, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OPS_") and k not in ("NO_COLOR", "COLUMNS", "TZ")}
    return subprocess.run(
        [sys.executable, "-m", "scripts.ops", "exclude", *arguments, "--url", server.url],
        cwd=ROOT,
        env={**clean, "COLUMNS": "80", "TZ": "UTC"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listed(server: DevServer) -> list[dict[str, str | None]]:
    done = exclude(server, "list", "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["exclusions"])


def test_an_exclusion_is_added_listed_and_cancelled_after_a_clear_yes(server: DevServer) -> None:
    assert exclude(server, "list").stdout == "Nothing is excluded.\n"
    for answer in ("n\n", "", "perhaps\n"):
        refused = exclude(server, *ADD, typed=answer)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "from all SLOs? That time will count neither good nor bad" in refused.stderr
        assert "Nothing was changed" in refused.stderr
    assert listed(server) == []

    done = exclude(server, *ADD, typed="yes\n")
    assert done.returncode == 0, done.stderr
    words, undo = done.stdout.splitlines()
    assert re.fullmatch(r"Excluded 20.* to 20.* of all SLOs\.( It was widened to whole 5 minutes\.)?", words)
    (one,) = listed(server)
    assert undo == f"Undo it: ./ops exclude cancel {one['id']}"

    head, line = exclude(server, "list").stdout.splitlines()
    assert head.split() == ["id", "from", "(UTC)", "minutes", "of", "state", "reason"]
    assert re.fullmatch(rf"{one['id']}  20.{{14}} +12[05]  all SLOs  in force  moved the database", line)

    kept = exclude(server, "cancel", str(one["id"]), typed="n\n")
    assert kept.returncode == 2
    assert listed(server) == [one]
    assert "counts again." in exclude(server, "cancel", str(one["id"]), "--yes").stdout
    (cancelled,) = listed(server)
    assert cancelled["cancelledAt"]
    assert "cancelled" in exclude(server, "list").stdout


def test_an_exclusion_may_be_of_some_slos_and_json_is_nothing_but_json(server: DevServer) -> None:
    done = exclude(server, *ADD, "--slo", "api-availability", "--component", "Database", "--json", typed="y\n")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["slos"], made["components"]) == (["api-availability"], ["Database"])
    assert "from api-availability, Database?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "--from=-2h"), "`exclude add` needs --to, --reason."),
        (("add", "x", *ADD[1:]), "`add` takes no id."),
        (("list", "--slo", "x"), "takes no time"),
        (("list", "x"), "Name one"),
        (("cancel",), "Name one"),
        (("cancel", "nope", "--yes"), "there is none of this id"),
        ((*ADD, "--yes", "--slo", "nope"), "slos[0]: there is no such SLO; there are api-availability, "),
        (("add", "--from=-91d", *ADD[2:], "--yes"), "from: at most 90 days back"),
    ],
)
def test_what_cannot_be_right_is_told_and_changes_nothing(
    server: DevServer, arguments: tuple[str, ...], told: str
) -> None:
    before = listed(server)
    done = exclude(server, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert listed(server) == before

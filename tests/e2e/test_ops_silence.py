"""`./ops silence` and `alert`: real processes against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.dev_server import ROOT, DevServer

ADD = ("silence", "add", "--match", 'component="API"', "--minutes", "60", "--comment", "moving the database")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("silence") / "data", "--no-schedules") as server:
        yield server


def ops(server: DevServer, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OPS_") and k not in ("NO_COLOR", "COLUMNS", "TZ")}
    return subprocess.run(
        [sys.executable, "-m", "scripts.ops", *arguments, "--url", server.url],
        cwd=ROOT,
        env={**clean, "COLUMNS": "120", "TZ": "UTC"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_silence_is_made_after_a_clear_yes_listed_and_expired(server: DevServer) -> None:
    assert ops(server, "silence", "list").stdout == "Nothing is silenced.\n"
    refused = ops(server, *ADD, typed="perhaps\n")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Silence what matches (known alerts: 0, firing: 0) for 60 minutes?" in refused.stderr
    done = ops(server, *ADD, typed="yes\n")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(ops(server, "silence", "list", "--json").stdout)["silences"]
    assert done.stdout.splitlines()[1] == f"End it: ./ops silence expire {one['id']}"
    assert "moving the database" in ops(server, "silence", "list").stdout
    assert "Expired" in ops(server, "silence", "expire", one["id"]).stdout
    assert ops(server, "silence", "list").stdout == "Nothing is silenced.\n"


def test_a_fault_is_told_in_the_servers_words(server: DevServer) -> None:
    wrong = ops(server, "silence", "preview", "--match", 'severity=~".*"')
    assert wrong.returncode == 2
    assert "these matchers hold for an alert without any label" in wrong.stderr
    assert ops(server, "silence", "preview", "--match", "component=API").stdout == "No known alert matches.\n"
    assert "needs --comment" in ops(server, "silence", "add", "--match", "a=b", "--minutes", "5").stderr


def test_an_alert_that_never_began_cannot_be_taken_on(server: DevServer) -> None:
    for action in ("ack", "unack", "why"):
        done = ops(server, "alert", action, "nothing")
        assert (done.returncode, done.stdout) == (2, "")
        assert "no alert of this id ever began" in done.stderr

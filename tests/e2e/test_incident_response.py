"""docs/INCIDENT_RESPONSE.md, run line by line against a real server; the commands' questions, tables and refusals."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.dev_server import ROOT, DevServer

PAGE = (ROOT / "docs" / "INCIDENT_RESPONSE.md").read_text()
COMMANDS = [
    line.strip()
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
PREFIX = "./ops "


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("response") / "data", "--no-schedules") as server:
        yield server


def ops(server: DevServer, *arguments: str, typed: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OPS_") and k not in ("NO_COLOR", "COLUMNS", "TZ")}
    return subprocess.run(
        [sys.executable, "-m", "scripts.ops", *arguments, "--url", server.url],
        cwd=cwd,
        env={**clean, "COLUMNS": "100", "TZ": "UTC", "PYTHONPATH": str(ROOT)},
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def done(server: DevServer, *arguments: str, typed: str = "") -> Any:
    ended = ops(server, *arguments, "--json", typed=typed)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_command_of_the_page_does_what_the_page_says(server: DevServer, tmp_path: Path) -> None:
    """In the page's order. `ID` is the incident that the page opens, and before that one of an alert."""
    name = done(server, "incident", "open", "--title", "Of an alert", "--impact", "low")["id"]
    for command in COMMANDS:
        assert command.startswith(PREFIX), command
        words, _, file = command.removeprefix(PREFIX).partition(" > ")
        arguments = [name if word == "ID" else word for word in shlex.split(words)]
        if "--write" in arguments:  # by then somebody has written what the draft leaves open
            written = tmp_path / arguments[-1]
            written.write_text(re.sub(r"_[A-Z…][^_\n]*_", "Written.", written.read_text()))
        ended = ops(server, *arguments, typed="y\n", cwd=tmp_path)
        if "2099" in command:
            assert (ended.returncode, "at most 366 days ahead" in ended.stderr) == (2, True)
            continue
        assert ended.returncode == 0, (command, ended.stderr)
        if arguments[:2] == ["incident", "open"]:
            name = ended.stdout.partition(":")[0]
        if file:
            (tmp_path / file).write_text(ended.stdout)
    found = done(server, "incident", "show", name)
    assert (found["status"], found["reopened"], found["title"]) == ("resolved", 1, "Some payments fail")
    assert found["postmortemAt"]
    (item,) = found["actionItems"]
    assert (item["owner"], item["dueAt"], item["state"]) == ("ada", "2031-01-31T00:00:00Z", "done")
    assert done(server, "flag", "list")["changed"] == []


def test_what_a_todo_lacks_is_told(server: DevServer) -> None:
    for arguments, told in (
        (("--owner", "ada"), "needs --title"),
        (("--title", "t", "--state", "done"), "name it by --item"),
        (("--item", "1"), "needs something to change"),
    ):
        refused = ops(server, "incident", "todo", "any", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert told in refused.stderr


def test_of_two_who_edit_a_post_mortem_the_second_is_told(server: DevServer, tmp_path: Path) -> None:
    name = done(server, "incident", "open", "--title", "Twice", "--impact", "high")["id"]
    draft = tmp_path / "draft.md"
    draft.write_text(ops(server, "incident", "postmortem", name).stdout)
    assert draft.read_text().splitlines()[-1].startswith('<!-- edited from version "')
    for text, code in (("First.", 0), ("Second.", 2)):
        written = tmp_path / f"{text}md"
        written.write_text(draft.read_text().replace("# Post-mortem", f"{text}\n\n# Post-mortem"))
        kept = ops(server, "incident", "postmortem", name, "--write", str(written))
        assert kept.returncode == code, kept.stderr
    assert "it was changed since you read it" in kept.stderr
    plain = tmp_path / "plain.md"
    plain.write_text("Mine.")
    asked = ops(server, "incident", "postmortem", name, "--write", str(plain), typed="n\n")
    assert (asked.returncode, "Overwrite what is kept now?" in asked.stderr) == (2, True)
    found = done(server, "incident", "postmortem", name)["markdown"]
    assert found.startswith("First.")
    assert "edited from" not in found


def test_what_the_public_would_see_is_asked_about_and_only_a_yes_is_one(server: DevServer) -> None:
    opening = ("incident", "open", "--title", "Seen by all", "--impact", "high", "--component", "API", "--visible")
    for typed in ("n\n", "", "perhaps\n"):
        refused = ops(server, *opening, typed=typed)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "  Seen by all\n" in refused.stderr
        assert "Open an incident that everybody can see?" in refused.stderr
    assert "Seen by all" not in ops(server, "incident", "list").stdout
    opened = ops(server, *opening, typed="y\n").stdout
    name, page = opened.partition(":")[0], opened.splitlines()[-1]
    assert "Seen by all" in requests.get(page, timeout=20).text
    for reading in (("incident", "show", name), ("incident", "list"), ("status",)):
        assert page in ops(server, *reading).stdout
    asked = ops(server, "incident", "update", name, "-m", "For everybody.", typed="n\n")
    assert (asked.returncode, "For everybody." in asked.stderr) == (2, True)
    quiet = ops(server, "incident", "update", name, "-m", "For the team.", "--internal")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    for action in ("resolve", "edit"):
        more = ("--impact", "low") if action == "edit" else ()
        assert ops(server, "incident", action, name, *more, typed="n\n").returncode == 2
    assert done(server, "incident", "show", name)["updateCount"] == 2
    assert done(server, "incident", "resolve", name, "--yes")["status"] == "resolved"


def test_tables_are_readable_and_refusals_say_what_is_allowed(server: DevServer) -> None:
    opening = ("--title", "A small thing", "--impact", "low", "--component", "Auth", "--runbook", "auth-issues")
    name = done(server, "incident", "open", *opening)["id"]
    head, line = ops(server, "incident", "list", "--text", "small thing").stdout.splitlines()
    assert head.split() == ["id", "impact", "status", "seen", "started", "(UTC)", "took", "title"]
    assert re.fullmatch(rf"{name} +low +investigating +internal +20\S+ \d\d:\d\d +– +A small thing", line)
    shown = ops(server, "incident", "show", name).stdout
    assert "low impact, investigating, for the team only. Auth." in shown
    assert "runbook: auth-issues" in shown
    edited = done(server, "incident", "edit", name, "--runbook", "api-outage")
    assert edited["runbook"] == "api-outage"
    assert "next: identified, mitigating, resolve" in shown
    refused = ops(server, "incident", "reopen", name, "-m", "again")
    assert (refused.returncode, "allowed: identified, mitigating, resolve" in refused.stderr) == (2, True)
    for arguments, said in (
        (("update", name), "needs --message"),
        (("open",), "needs --title, --impact"),
        (("show",), "Name one"),
        (("show", "nothing"), "no incident of this id"),
        (("edit", name), "something to change"),
    ):
        ended = ops(server, "incident", *arguments)
        assert (ended.returncode, said in ended.stderr) == (2, True), ended.stderr


def test_maintenance_and_flags_are_led_from_a_terminal(server: DevServer) -> None:
    now = server.get("/dev/clock").json()["now_ms"] / 1000
    start = datetime.fromtimestamp(now, UTC) + timedelta(hours=1)
    span = ("--from", start.isoformat(), "--to", (start + timedelta(hours=2)).isoformat())
    plan = ("maintenance", "plan", "--title", "Move", "-m", "Slow.", "--component", "Database", *span)
    assert ops(server, *plan, "--visible", typed="n\n").returncode == 2
    name = done(server, *plan, "--visible", typed="y\n")["id"]
    assert done(server, "maintenance", "begin", name, "--yes")["status"] == "in_progress"
    told = ops(server, "status").stdout
    assert "Move" in told
    assert f"The maintenance {name} is in force" in told
    assert "it needs APP_BASE_URL" in told or "Its probes were not asked yet" in told
    longer = done(server, "maintenance", "extend", name, "--to", (start + timedelta(hours=3)).isoformat(), "--yes")
    assert longer["updates"][-1]["message"].startswith("Now planned until")
    assert ops(server, "maintenance", "cancel", name, "--yes").returncode == 2
    assert done(server, "maintenance", "complete", name, "--yes")["status"] == "completed"
    assert "completed" in ops(server, "maintenance", "list").stdout

    kept = ops(server, "flag", "set", "alerts.slack", "false", typed="n\n")
    assert (kept.returncode, "from true to false" in kept.stderr) == (2, True)
    assert done(server, "flag", "set", "alerts.slack", "false", "--yes")["changed"] == ["alerts.slack"]
    assert "0.8 is 80 %" in ops(server, "flag", "set", "quotas.soft_limit_warning", "80", "--yes").stderr
    assert ops(server, "flag", "set", "alerts.slack", "maybe", "--yes").returncode == 2
    assert ops(server, "flag", "set", "alerts.sms", "true", "--yes").returncode == 2
    assert done(server, "flag", "reset", "alerts.slack", "--yes")["changed"] == []
    assert ops(server, "flag", "reset", "alerts.slack").stdout == "alerts.slack has its default already: true.\n"

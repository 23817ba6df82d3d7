"""The section on querying, held true: its examples run, its parameters and limits are the code's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.manifest import ROOT
from shared.domain.metric_query import MAX_DOCUMENTS, PARAMETERS, PLAIN, QUANTILES
from shared.domain.query_cells import MAX_GROUPS
from shared.domain.query_range import MAX_POINTS
from tests.dev_server import DevServer

PAGE = (ROOT / "docs" / "METRICS_GUIDE.md").read_text()
SECTION = PAGE.partition("\n## Querying\n")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"^```console\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
LOCAL = "http://127.0.0.1:8080"


NOON = 1_773_144_000_000  # 2026-03-10T12:00:00Z


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """Two minutes after noon, with 104 requests of the last whole five minutes and 12 of the running ones, folded."""
    folder = tmp_path_factory.mktemp("docs") / "data"
    with DevServer(folder, "--no-schedules", DEV_CLOCK_START=str(NOON + 120_000)) as server:
        sent = [{"name": "api_latency", "value": 90.0 + n, "timestamp": NOON - 150_000} for n in range(104)]
        sent += [{"name": "api_latency", "value": 84.0 + n, "timestamp": NOON + 60_000} for n in range(12)]
        assert server.send("query-docs-1", *sent).status_code == 202
        assert server.run("alertRules").status_code == 200
        yield server


def run(example: str, url: str) -> str:
    """What the commands of an example print, with this server in the place of the one shown."""
    commands = [line[2:] for line in example.splitlines() if line.startswith("$ ")]
    script = "\n".join(["set -e", *commands]).replace(LOCAL, url).replace("./ops ", f"{sys.executable} -m scripts.ops ")
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "OPS_URL": url, "TZ": "UTC"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_of_the_page_gets_the_answer_that_is_shown(server: DevServer) -> None:
    example = next(text for text in EXAMPLES if "curl" in text)
    answer, shown = json.loads(run(example, server.url)), json.loads(example[example.index("\n{") :])
    points, shown_points = (of["series"][0].pop("points") for of in (answer, shown))
    for point, shown_point in zip(points, shown_points, strict=True):
        assert point == pytest.approx(shown_point, rel=0.001)  # the page shows four digits
    assert answer == shown


def test_the_command_of_the_page_draws_a_chart(server: DevServer) -> None:
    (example,) = [text for text in EXAMPLES if "./ops " in text]
    told = run(example, server.url)
    assert told.startswith("api_latency p95, ")
    assert "within 1 %" in told
    assert "still growing" in told


def test_every_parameter_and_aggregation_is_described_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", SECTION, re.MULTILINE)
    assert [name for cell, _ in rows for name in re.findall(r"`(\w+)`", cell)] == list(PARAMETERS)
    aggregations = dict(rows)["`agg`"].partition("of a ratio")[0]
    assert set(re.findall(r"`(\w+)`", aggregations)) == {*QUANTILES, *PLAIN}


def test_the_limits_in_the_text_are_those_of_the_code() -> None:
    text = " ".join(SECTION.split())
    assert f"At most {MAX_POINTS:,} points a series and {MAX_GROUPS} groups" in text
    assert f"At most {MAX_DOCUMENTS:,} documents" in text

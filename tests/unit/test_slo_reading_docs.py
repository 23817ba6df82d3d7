"""The section on reading SLOs, held true: its examples run, and its figures and words are the code's."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from typing import get_args

import pytest

from functions.ops_api.slos import MOST_OVER, USUAL_OVER
from scripts.manifest import ROOT
from shared.domain.budget import Reason
from shared.domain.query_range import DAY
from shared.slo.contributors import MOST
from shared.slo.report import BURN_WINDOWS, FORECAST_BY, MAX_DAYS
from tests.dev_server import DevServer
from tests.unit.test_query_docs import NOON, run

PAGE = (ROOT / "docs" / "SLO.md").read_text()
SECTION = PAGE.partition("\n## Reading it\n")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"^```console\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """Two minutes after noon: a request a minute, the older the slower, and twenty others, one of them failed."""
    folder = tmp_path_factory.mktemp("docs") / "data"
    with DevServer(folder, "--no-schedules", DEV_CLOCK_START=str(NOON + 120_000)) as server:
        orders, carts = ({"endpoint": name, "status": "200"} for name in ("/api/orders", "/api/carts"))
        sent = [
            {"name": "api_latency", "value": 90.0 + n, "timestamp": NOON - 150_000 - n * 60_000, "labels": orders}
            for n in range(230)
        ]
        sent += [
            {"name": "api_latency", "value": 84.0, "timestamp": NOON - 1_200_000, "labels": {**carts, "status": status}}
            for status in [*["200"] * 19, "500"]
        ]
        assert server.send("slo-docs-1", *sent).status_code == 202
        assert server.run("alertRules").status_code == 200
        yield server


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_of_the_page_gets_the_answer_that_is_shown(server: DevServer) -> None:
    (example,) = [text for text in EXAMPLES if "curl" in text]
    answer, shown = json.loads(run(example, server.url)), json.loads(example[example.index("\n{") :])
    for of in (answer, shown):
        assert re.fullmatch(r"[0-9a-f]{16}", of.pop("configHash"))
    for name in ("endpoint", "status"):
        for one, shown_one in zip(answer["worst"]["labels"][name], shown["worst"]["labels"][name], strict=True):
            assert one.pop("sli") == pytest.approx(shown_one.pop("sli"), abs=0.00005)  # the page shows four digits
    assert answer == shown


def test_the_command_of_the_page_prints_what_is_shown(server: DevServer) -> None:
    (example,) = [text for text in EXAMPLES if "./ops " in text]
    assert run(example, server.url) == example.partition("\n")[2]


def test_every_reason_of_a_forecast_is_described_and_no_other() -> None:
    described = SECTION.partition("`reason` says which: ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", described)) == set(get_args(Reason))


def test_the_limits_in_the_text_are_those_of_the_code() -> None:
    text = " ".join(SECTION.split())
    assert (min(BURN_WINDOWS.values()), max(BURN_WINDOWS.values()), FORECAST_BY) == (300, 3 * 86_400, 3600)
    assert "over 5 minutes to 3 days" in text
    assert "`forecast.window`, the last hour" in text
    assert f"the latest {MAX_DAYS}" in text
    assert (MOST, USUAL_OVER, MOST_OVER) == (10, "1d", 30 * DAY)
    assert "the ten values with the most bad events of the last day, or of `over` (`1h` to `30d`)" in text

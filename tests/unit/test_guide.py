"""What the metrics guide says in words and in form, held true; its examples and tables of figures are in test_docs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from scripts.manifest import ROOT
from shared.domain.scrub import is_personal_key, scrub_value
from shared.metrics_client import MetricsClient
from tests.dev_server import DevServer

PAGE = (ROOT / "docs" / "METRICS_GUIDE.md").read_text()
TEXT = " ".join(PAGE.split())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("guide") / ".f0ops", "--no-schedules") as server:
        yield server


@pytest.fixture
def client(server: DevServer) -> Iterator[MetricsClient]:
    client = MetricsClient(server.url, server.key)
    yield client
    client.close()


def test_before_the_first_example_the_shell_is_given_address_and_key(server: DevServer, tmp_path: Path) -> None:
    """A user of that line and of the first example, copied, sends metrics that are accepted."""
    before, _, rest = PAGE.partition("```python\n")
    (line,) = re.findall(r"^export .*$", before, re.MULTILINE)
    (tmp_path / "app.py").write_text(rest.partition("```")[0])
    (tmp_path / "metrics_client.py").write_text((ROOT / "shared" / "metrics_client.py").read_text())
    (tmp_path / ".f0ops").mkdir()
    (tmp_path / ".f0ops" / "ingest.key").write_text(server.key)
    script = f"{line.replace('http://127.0.0.1:8080', server.url)}\n{sys.executable} app.py"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert "accepted=4, rejected=0" in done.stdout


def test_every_row_of_a_table_has_the_cells_of_its_head() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    assert len(tables) > 10
    for rows in tables:
        cells = [row.replace("\\|", "").count("|") for row in rows.splitlines()]
        assert set(cells) == {cells[0]}, rows


def test_a_wsgi_answer_counts_once_it_is_read_or_closed(client: MetricsClient) -> None:
    assert "recorded when its answer has been read to the end or closed" in TEXT
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "a teapot")
    app.wsgi_app = client.wsgi(app.wsgi_app)  # type: ignore[method-assign]

    def recorded() -> int:
        client.flush()
        return client.stats.accepted

    unread, closed = app.test_client().get("/"), app.test_client().get("/")
    assert recorded() == 0
    closed.close()
    assert recorded() == 1
    assert unread.data == b"a teapot"
    assert recorded() == 2


def test_what_the_net_does_not_catch_is_as_the_guide_says(server: DevServer) -> None:
    ((label, value),) = re.findall(r"plain name as a value \(`(\w+)=([^`]+)`\)", TEXT)
    (unknown,) = re.findall(r"name of a label that no metric keeps \(`(\w+)`\)", TEXT)
    assert scrub_value(value) == value
    assert not is_personal_key(label)
    at = server.get("/dev/clock").json()["now_ms"]
    answer = server.send(
        "guide-batch-1", {"name": "api_latency", "value": 1.0, "timestamp": at, "labels": {unknown: "x"}}
    )
    assert answer.json()["droppedLabels"] == {unknown: 1}
    assert server.run("alertRules").status_code == 200
    token = server.post("/dev/token").json()["token"]
    query = "/api/ops/metrics/query?metric=dropped_labels&from=-10m&to=now&step=5m&group_by=label"
    found = server.get(query, headers={"Authorization": f"Bearer {token}"})
    assert unknown in json.dumps(found.json()["series"])

"""`./ops` as an admin has it: a real process against a real server, with its exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.alerts.alerting import run_alert_rules
from shared.store.sqlite import SqliteStore
from tests.core import NOW, batch_of, make_app, metric
from tests.dev_server import ROOT, DevServer
from tests.ops_api import ops_api


def ops(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OPS_") and k not in ("NO_COLOR", "COLUMNS", "TZ")}
    return subprocess.run(
        [sys.executable, "-m", "scripts.ops", *arguments],
        cwd=ROOT,
        env={**clean, "COLUMNS": "80", "TZ": "UTC", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def failed(code: int, *arguments: str, **env: str) -> str:
    done = ops(*arguments, **env)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """With twenty requests of ten minutes ago, folded."""
    with DevServer(tmp_path_factory.mktemp("ops") / "data", "--no-schedules") as server:
        at = server.get("/dev/clock").json()["now_ms"] - 600_000
        sent: list[dict[str, Any]] = [
            metric(100.0 + n, at=at, labels={"endpoint": f"/api/{'orders' if n % 2 else 'carts'}", "status": "200"})
            for n in range(20)
        ]
        assert server.send("ops-batch-1", *sent).status_code == 202
        assert server.run("alertRules").status_code == 200
        yield server


def test_a_chart_of_the_local_server_needs_no_token(server: DevServer) -> None:
    done = ops("metrics", "api_latency", "--agg", "p95", "--last", "1h", "--url", server.url)
    assert done.returncode == 0, done.stderr
    title, *lines = done.stdout.splitlines()
    assert re.fullmatch(r"api_latency p95, \d{4}-\d\d-\d\d \d\d:\d\d – .* UTC, a point every 5m", title)
    assert [line for line in lines if re.search("[\u2801-\u28ff]", line)]
    assert "within 1 %" in done.stdout
    assert "\x1b" not in done.stdout
    assert re.search(r"all +\d+(\.\d+)? ms .* 20$", done.stdout, re.MULTILINE)


def newcomer(server: DevServer) -> str:
    """What is shown to somebody who does what the banner says: sends a metric, runs alertRules, looks at the metric."""
    banner = server.output()
    sent = subprocess.run(
        ["bash", "-c", banner.partition("Send a metric:")[2].partition("Times are UTC")[0]], check=True, timeout=60
    )
    assert sent.returncode == 0
    assert server.run("alertRules").status_code == 200
    (look,) = re.findall(r"^  Metrics +\./ops (.*)$", banner, re.MULTILINE)
    return ops(*look.split()).stdout


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_who_sends_a_metric_as_the_banner_says_sees_it_at_once(tmp_path: Path) -> None:
    """Once more, with a folder of its own, should a five-minute mark pass meanwhile."""
    told = ""
    for attempt in range(5):
        with DevServer(tmp_path / str(attempt), "--no-schedules") as server:
            mark = time.time() // 300
            told = newcomer(server)
        if time.time() // 300 == mark:
            break
    assert re.search(r"^   all +123 ms +123 ms +123 ms +1  still growing$", told, re.MULTILINE)
    assert "The last point is still growing" in told


def test_the_address_may_be_in_the_environment(server: DevServer) -> None:
    assert ops("metrics", "error_rate", OPS_URL=server.url).returncode == 0


def test_groups_filters_and_json(server: DevServer) -> None:
    arguments = (
        "--step",
        "1h",
        "--group-by",
        "endpoint",
        "--filter",
        "endpoint:/api/orders",
        "--agg",
        "count",
        "--json",
    )
    answer = json.loads(ops("metrics", "api_latency", *arguments, "--last", "2h", "--url", server.url).stdout)
    (series,) = answer["series"]
    assert series["labels"] == {"endpoint": "/api/orders"}
    assert sum(point["value"] or 0 for point in series["points"]) == 10


def test_csv(server: DevServer) -> None:
    done = ops("metrics", "api_latency", "--from=-1h", "--to", "now", "--step", "5m", "--csv", "--url", server.url)
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert sum(int(row["count"]) for row in rows) == 20
    assert list(rows[0]) == ["time", "value", "low", "high", "count", "estimated"]


def test_the_tables(server: DevServer) -> None:
    catalog = ops("metrics", "--catalog", "--url", server.url).stdout
    assert re.search(r"^api_latency +ms +distribution +p95 +2 .*, version$", catalog, re.MULTILINE)  # piped: one line
    costs = ops("metrics", "--cardinality", "--url", server.url).stdout
    assert re.search(r"^api_latency +2 +[\d,]+ +0\.0 % +endpoint +2 +1$", costs, re.MULTILINE)
    assert json.loads(ops("metrics", "--cardinality", "--json", "--url", server.url).stdout)["metrics"]


def test_slos_as_a_table_as_one_and_as_json(server: DevServer) -> None:
    table = ops("slos", "--url", server.url).stdout
    assert re.search(r"^API Availability +100\.00 % +99\.5 % +█+ +100 % +0\.00 +0\.00 +lasts +ok$", table, re.MULTILINE)
    assert "\x1b" not in table
    one = ops("slos", "api-availability", "--over", "1h", "--url", server.url).stdout
    assert "(20 of 20 good), objective 99.5 %: met" in one
    assert json.loads(ops("slos", "api-availability", "--json", "--url", server.url).stdout)["total"] == 20


def test_an_unknown_slo_is_told_with_those_there_are(server: DevServer) -> None:
    assert "api-availability" in failed(2, "slos", "api-availabilty", "--url", server.url)
    assert "must be from 1h to 30d" in failed(2, "slos", "api-availability", "--over", "31d", "--url", server.url)


def test_an_unknown_metric_is_told_with_the_nearest(server: DevServer) -> None:
    told = failed(2, "metrics", "api_latncy", "--url", server.url)
    assert "nearest: api_latency" in told


def test_every_fault_is_told_on_a_line_of_its_own(server: DevServer) -> None:
    told = failed(2, "metrics", "api_latency", "--agg", "p42", "--step", "7m", "--url", server.url)
    assert [line.partition(":")[0] for line in told.splitlines()] == ["agg", "step"]


def test_a_token_that_is_not_accepted(server: DevServer) -> None:
    assert "token was not accepted" in failed(4, "metrics", "api_latency", "--token", "nonsense", "--url", server.url)


def test_no_admin(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    app = make_app(store)
    app.group_commit.append(batch_of([metric(at=NOW - timedelta(minutes=20))]), NOW)
    run_alert_rules(app, NOW, lambda: True)
    with ops_api(store, NOW) as api:
        url = f"http://127.0.0.1:{api.port}"
        assert ops("metrics", "api_latency", "--token", api.token(), "--url", url).returncode == 0
        claims = {"iss": "http://127.0.0.1:1/dev/admins", "aud": "ops-test", "sub": "u", "auth_time": 1, "iat": 1}
        token = api.admins.sign({**claims, "exp": int(NOW.timestamp()) + 60})
        assert "Not allowed" in failed(4, "metrics", "api_latency", "--token", token, "--url", url)
        # no local server, so it gives no token; then the environment's is taken
        assert ops("metrics", "api_latency", "--url", url, OPS_TOKEN=api.token()).returncode == 0
        assert "OPS_TOKEN" in failed(4, "metrics", "api_latency", "--url", url)
    store.close()


def test_no_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        assert "make dev" in failed(3, "metrics", "api_latency", "--url", url)


def test_a_token_is_never_sent_unencrypted_to_another_machine() -> None:
    assert "https" in failed(2, "metrics", "api_latency", "--url", "http://ops.example.com", "--token", "t")


def test_in_the_cloud_a_token_must_be_given() -> None:
    assert "OPS_TOKEN" in failed(4, "metrics", "api_latency", "--url", "https://ops.invalid")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("metrics",),
        ("metrics", "api_latency", "--catalog"),
        ("metrics", "--catalog", "--csv"),
        ("metrics", "--catalog", "--cardinality"),
        ("metrics", "api_latency", "--last", "6h", "--to", "now"),
        ("metrics", "api_latency", "--json", "--csv"),
        ("metrics", "api_latency", "--url", "nonsense"),
        ("slos", "--over", "1d"),
        ("incidents",),
    ],
)
def test_arguments_that_cannot_be_right(arguments: tuple[str, ...]) -> None:
    assert failed(2, *arguments)


def test_the_help_has_the_exit_codes() -> None:
    done = ops("--help")
    assert done.returncode == 0
    assert re.findall(r"^  (\d)  ", done.stdout, re.MULTILINE) == ["0", "1", "2", "3", "4"]


def test_a_reader_that_has_seen_enough_causes_no_complaint(server: DevServer) -> None:
    ours = f"{sys.executable} -m scripts.ops metrics --catalog --url {server.url}"
    command = f"{ours} | head -1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_report_of_a_server_that_runs(server: DevServer) -> None:
    for period, name in (("week", "MTTR"), ("month", "SLO compliance")):
        done = ops("report", "--period", period, "--to", "now", "--url", server.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(rf"^{name}\b", done.stdout, re.MULTILINE)
    assert json.loads(ops("report", "--json", "--url", server.url).stdout)["period"] == "week"
    assert "to: " in failed(2, "report", "--to", "yesterday", "--url", server.url)

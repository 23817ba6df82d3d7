"""The local server as a developer has it: a real process, real HTTP, real signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Request
from werkzeug.test import EnvironBuilder

from shared.api.admin import require_admin
from shared.settings import Settings
from tests.dev_server import ROOT, DevServer

MESSAGE = {
    "text": "API Availability: firing",
    "blocks": [
        {"type": "header", "text": {"type": "plain_text", "text": "API <Availability>"}},
        {
            "type": "section",
            "text": {"type": "mrkdwn", "text": "*5 %* of requests, see <https://example.com/a|the page>"},
        },
    ],
}


def metric(server: DevServer, value: float = 123.0) -> dict[str, object]:
    now = server.get("/dev/clock").json()["now_ms"]
    labels = {"endpoint": "/api/orders"}
    return {"name": "api_latency", "value": value, "labels": labels, "timestamp": now, "aggregation": "p95"}


def raw(server: DevServer, request: str) -> str:
    """The answer's status line to a request that is sent as it stands."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(request.encode())
        return connection.makefile().readline()


def waited_for(port: int, client: int) -> bool:
    """Whether the server's end of a connection still belongs to a process; a closed one has no inode."""
    ends = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        (int(end[1].rpartition(":")[2], 16), int(end[2].rpartition(":")[2], 16)) == (port, client) and end[9] != "0"
        for end in ends
    )


def start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to be refused."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.dev", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("dev") / "data", "--no-schedules") as server:
        yield server


def test_the_addresses_of_the_banner_answer(server: DevServer) -> None:
    assert server.run("alertRules").status_code == 200  # the first snapshot
    urls = re.findall(r"(?:Status page|Health|Inbox) +(\S+)", server.output())
    assert len(urls) == 3
    assert [requests.get(url, timeout=30).status_code for url in urls] == [200, 200, 200]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_banners_curl_line_sends_a_metric(server: DevServer) -> None:
    command = server.output().partition("Send a metric:")[2].partition("Times are UTC")[0]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert "202" in done.stdout.splitlines()[0]
    assert json.loads(done.stdout.splitlines()[-1])["accepted"] == 1


def test_a_rewrite_leads_to_its_function_and_a_refusal_is_told_in_the_terminal(server: DevServer) -> None:
    assert server.send("batch-one", metric(server)).json()["accepted"] == 1
    refused = server.post("/api/metrics", json={})
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    server.wait_for(lambda: server.found(r"request +metricsIngest +POST /api/metrics +401 +unauthorized"))


def test_what_no_rewrite_answers_is_not_found(server: DevServer) -> None:
    assert server.get("/api/nothing").status_code == 404


def test_a_browser_is_led_back_by_a_page(server: DevServer) -> None:
    missing = server.get("/nothing", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert '<a href="/status">See the current status</a>' in missing.text
    assert server.get("/nothing").json()["code"] == "not_found"


def test_the_root_leads_to_the_status_page(server: DevServer) -> None:
    page = server.get("/")
    assert [reply.status_code for reply in (*page.history, page)] == [302, 200]
    assert page.url == f"{server.url}/status"


def test_of_a_refused_requests_path_the_terminal_does_not_show_who_it_names(server: DevServer) -> None:
    headers = {"Authorization": f"Bearer {server.key}"}
    assert server.post("/api/metrics/heartbeat/bob@canary.io", headers=headers).status_code == 400
    server.wait_for(lambda: server.found(r"POST /api/metrics/heartbeat/:email +400 +invalid_agent"))
    assert "canary.io" not in server.output()


def test_a_client_that_keeps_its_connection_open_holds_up_nobody(server: DevServer) -> None:
    """Another is answered while the server waits for the first to close (2 s: a slow machine may try again)."""

    def answered_meanwhile() -> bool:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as held:
            held.sendall(f"GET /dev/clock HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            assert b" 200 " in held.makefile("rb").read()  # up to its end: the server has begun to close
            assert server.get("/dev/clock").status_code == 200
            return waited_for(port, held.getsockname()[1])

    assert any(answered_meanwhile() for _ in range(5))


def test_a_scheduled_function_runs_by_hand_and_gives_its_answer(server: DevServer) -> None:
    answer = server.run("notifier")
    assert answer.status_code == 200
    assert "delivered" in answer.json()
    server.wait_for(lambda: server.found(r"schedule +notifier +200 in \d+ ms"))


def test_only_scheduled_functions_run_by_hand_and_only_by_post(server: DevServer) -> None:
    assert server.run("metricsIngest").status_code == 404
    assert server.get("/_scheduler/notifier").status_code == 405


@pytest.mark.parametrize("function_id", ["alertRules", "notifier"])
def test_a_scheduled_function_refuses_whoever_has_no_token(server: DevServer, function_id: str) -> None:
    assert server.post(f"/_functions/{function_id}/").status_code == 401
    assert server.post(f"/_functions/{function_id}/", headers={"X-CloudScheduler": "true"}).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example"]
)
def test_a_foreign_host_name_is_refused(server: DevServer, host: str) -> None:
    port = server.url.rpartition(":")[2]
    assert server.get("/status", headers={"Host": host.format(port=port)}).status_code == 403
    assert server.get("/dev/inbox", headers={"Host": host.format(port=port)}).status_code == 403


def test_a_request_without_a_host_name_is_refused(server: DevServer) -> None:
    assert " 403 " in raw(server, "GET /dev/inbox HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_own_names_are_accepted(server: DevServer, host: str) -> None:
    port = server.url.rpartition(":")[2]
    assert server.get("/dev/clock", headers={"Host": f"{host}:{port}"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", ""]
)
def test_a_page_of_another_origin_may_not_change_anything(server: DevServer, origin: str) -> None:
    headers = {"Origin": origin.format(port=server.url.rpartition(":")[2])}
    for path in ("/_scheduler/notifier", "/dev/slack", "/api/metrics"):
        answer = server.post(path, json=MESSAGE, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


def test_a_token_of_an_admin_is_to_be_had_and_holds(server: DevServer) -> None:
    answer = server.post("/dev/token")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    body = answer.json()
    now = datetime.fromtimestamp(server.get("/dev/clock").json()["now_ms"] / 1000, UTC)
    assert 3500 < (datetime.fromisoformat(body["expiresAt"]) - now).total_seconds() <= 3600
    settings = Settings.load(
        {"DEV_ADMIN_ISSUER": f"{server.url}/dev/admins", "DEV_ADMIN_JWKS_URL": f"{server.url}/dev/admin-jwks.json"}
    )
    request = Request(EnvironBuilder(headers={"Authorization": f"Bearer {body['token']}"}).get_environ())
    assert require_admin(request, settings, now) == "local-admin"


def test_a_token_of_an_admin_is_for_programs_of_this_machine_and_its_own_pages(tmp_path: Path) -> None:
    with DevServer(tmp_path / "data", "--no-schedules", CORS_ORIGINS="https://app.example.com") as server:
        for origin in ("https://evil.example", "null", "https://app.example.com"):
            refused = server.post("/dev/token", headers={"Origin": origin})
            assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
        assert server.post("/dev/token", headers={"Host": "evil.example"}).json()["code"] == "foreign_host"
        assert server.get("/dev/token").status_code == 405
        assert server.post("/dev/token", headers={"Origin": server.url}).status_code == 200


def test_the_admins_key_is_the_folders_own_and_stays(tmp_path: Path) -> None:
    keys = []
    for folder in ("one", "one", "two"):
        with DevServer(tmp_path / folder, "--no-schedules") as server:
            keys.append((server.get("/dev/admin-jwks.json").json(), server.get("/dev/jwks.json").json()))
    assert keys[0] == keys[1]
    assert len({json.dumps(key) for pair in (keys[0], keys[2]) for key in pair}) == 4
    assert stat.S_IMODE((tmp_path / "one" / "admin-key.pem").stat().st_mode) == 0o600


def test_the_own_origin_may(server: DevServer) -> None:
    assert server.post("/_scheduler/notifier", headers={"Origin": server.url}).status_code == 200


def test_a_slack_message_is_kept_shown_and_told(server: DevServer) -> None:
    answer = server.post("/dev/slack", json=MESSAGE)
    assert (answer.status_code, answer.text) == (200, "ok")
    newest: dict[str, Any] = server.get("/dev/inbox.json").json()["messages"][0]
    assert (newest["kind"], newest["payload"]) == ("slack", MESSAGE)
    page = server.get("/dev/inbox")
    assert "<strong>5 %</strong> of requests" in page.text
    assert "API &lt;Availability&gt;" in page.text
    assert '<a href="https://example.com/a" rel="noreferrer">the page</a>' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    server.wait_for(lambda: server.found(r"slack +received +API Availability: firing"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"text": ""}', json.dumps({"blocks": [{"type": "divider"}] * 51}).encode()]
)
def test_what_slack_would_not_take_is_refused(server: DevServer, body: bytes) -> None:
    answer = server.post("/dev/slack", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.text) == (400, "invalid_payload")


def test_the_key_and_the_database_are_readable_by_their_owner_alone(server: DevServer) -> None:
    folder = Path(server.wait_for(lambda: server.found(r"Data folder +(\S+)")).group(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("ingest.key", "scheduler-key.pem"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_a_second_server_on_the_folder_is_refused_with_the_name_of_the_first(server: DevServer) -> None:
    folder = server.wait_for(lambda: server.found(r"Data folder +(\S+)")).group(1)
    refused = start("--port", "0", "--data-dir", folder)
    assert refused.returncode == 1
    assert f"process {server.process.pid} at {server.url}" in refused.stderr
    assert "--data-dir" in refused.stderr
    assert server.get("/dev/clock").status_code == 200


def test_a_port_in_use_is_named_with_the_way_to_choose_another(server: DevServer, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    refused = start("--port", port, "--data-dir", str(tmp_path / "other"))
    assert refused.returncode == 1
    assert f"Port {port} is in use" in refused.stderr
    assert f"make dev PORT={int(port) + 1}" in refused.stderr


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"K_SERVICE": "alertrules"}, "K_SERVICE"),
        ({"PORT": "eighty"}, "eighty"),
        ({"DEV_CLOCK_SPEED": "0"}, "DEV_CLOCK_SPEED"),
        ({"DEV_CLOCK_SPEED": "nan"}, "DEV_CLOCK_SPEED"),
        ({"DEV_CLOCK_START": "soon"}, "DEV_CLOCK_START"),
        ({"INGEST_KEYS": "secret"}, "INGEST_KEYS[0]"),
        ({"F0_STORE": "firestore", "FIRESTORE_EMULATOR_HOST": ""}, "FIRESTORE_EMULATOR_HOST"),
    ],
)
def test_a_start_that_cannot_be_right_is_refused_in_a_sentence(env: dict[str, str], said: str, tmp_path: Path) -> None:
    port = [] if "PORT" in env else ["--port", "0"]
    refused = start(*port, "--data-dir", str(tmp_path / "data"), **env)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_metrics_messages_and_the_key_survive_a_restart(tmp_path: Path) -> None:
    with DevServer(tmp_path / "data", "--no-schedules") as first:
        assert first.send("batch-kept", metric(first)).status_code == 202
        first.post("/dev/slack", json=MESSAGE)
        assert first.stop() == 0
    with DevServer(tmp_path / "data", "--no-schedules") as second:
        assert second.key == first.key
        assert second.get("/dev/inbox.json").json()["messages"][0]["payload"] == MESSAGE
        assert second.run("alertRules").json()["batches"] == 1


def test_schedules_run_by_themselves_at_the_start_and_then_by_the_clock(tmp_path: Path) -> None:
    with DevServer(tmp_path / "data", DEV_CLOCK_SPEED="60") as server:
        server.wait_for(lambda: len(re.findall(r"schedule +notifier +200", server.output())) >= 3)
        server.wait_for(lambda: len(re.findall(r"schedule +alertRules +200", server.output())) >= 2)


def test_a_fast_clock_goes_on_after_a_restart_from_where_it_was(tmp_path: Path) -> None:
    clock = {"DEV_CLOCK_SPEED": "500"}
    with DevServer(tmp_path / "data", "--no-schedules", DEV_CLOCK_START="2031-05-01T12:00:00Z", **clock) as first:
        seen = first.get("/dev/clock").json()
        assert seen["speed"] == 500
        assert seen["now_ms"] >= datetime(2031, 5, 1, 12, tzinfo=UTC).timestamp() * 1000
        seen = first.get("/dev/clock").json()
        first.stop()
    with DevServer(tmp_path / "data", "--no-schedules", **clock) as second:
        assert second.get("/dev/clock").json()["now_ms"] > seen["now_ms"]
        second.stop()
    with DevServer(tmp_path / "data", "--no-schedules") as third:
        assert "A fast clock has come to 2031" in third.output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_group_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    with DevServer(tmp_path / "data") as server:
        assert len(server.processes()) >= 2
        os.killpg(server.group, number)
        server.process.wait(30)
        server.wait_for(lambda: not server.processes())
        assert "Stopped. The data stays in" in server.output()
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_the_parent_alone_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    with DevServer(tmp_path / "data") as server:
        server.stop(number)
    with DevServer(tmp_path / "data") as again:  # neither the folder nor anything else is held
        assert again.get("/dev/clock").status_code == 200


def test_a_worker_ends_with_its_killed_parent_even_in_the_middle_of_a_request(tmp_path: Path) -> None:
    with DevServer(tmp_path / "data", "--no-schedules") as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as unfinished:
            unfinished.sendall(
                f"POST /api/metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {server.key}\r\n"
                "Content-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert " 100 " in unfinished.makefile().readline()
            server.stop(signal.SIGKILL)


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with DevServer(tmp_path / "data", "--no-schedules") as server:
        (worker,) = [pid for pid in server.processes() if pid != server.process.pid]
        os.kill(worker, signal.SIGKILL)
        server.wait_for(lambda: server.found("started anew"))
        assert server.run("notifier").status_code == 200


@pytest.mark.parametrize(
    ("channel", "kind", "shown"),
    [
        ("email", "mail", "Test message · info"),
        ("webhook", "webhook", "&quot;title&quot;: &quot;Test message: test&quot;"),
        ("inapp", None, "An admin asked for a test of this channel."),
    ],
)
def test_every_channel_without_an_address_of_its_own_ends_in_the_inbox(
    server: DevServer, channel: str, kind: str | None, shown: str
) -> None:
    token = server.post("/dev/token").json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    told = server.post("/api/ops/notifications/test", json={"channel": channel}, headers=headers).json()
    assert (told["outcome"], told["detail"]) == ("delivered", "ok")
    assert shown in server.get("/dev/inbox").text
    if kind is not None:
        newest = server.get("/dev/inbox.json").json()["messages"][0]
        assert newest["kind"] == kind
        if kind == "mail":
            mail = server.get(f"/dev/inbox/{newest['id']}")
            assert "Nothing is wrong" in mail.text
            assert "sandbox" in mail.headers["Content-Security-Policy"]


def test_a_page_is_taken_as_pagerduty_would(server: DevServer) -> None:
    event = {"routing_key": "0" * 32, "event_action": "resolve", "dedup_key": "an-alert-1"}
    assert server.post("/dev/pagerduty", json=event).status_code == 202
    newest = server.get("/dev/inbox.json").json()["messages"][0]
    assert (newest["kind"], newest["payload"]) == ("page", {"event_action": "resolve", "dedup_key": "an-alert-1"})
    assert "Resolve: an-alert-1" in server.get("/dev/inbox").text
    assert server.post("/dev/pagerduty", json={**event, "routing_key": "short"}).status_code == 400


def test_where_the_clock_runs_fast_a_client_may_ask_as_often_by_that_clock(tmp_path: Path) -> None:
    """The probe of the page itself comes from here too, twice in a minute that is over in 0.1 s."""
    with DevServer(tmp_path / "data", "--no-schedules", DEV_CLOCK_SPEED="600") as server:
        assert {server.get("/api/status/healthz").status_code for _ in range(90)} == {200}

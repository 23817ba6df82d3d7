"""The function as it is deployed: functions-framework on gunicorn, set up by its environment alone."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.metrics.fold import fold
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, KEY, Client, metric, ms, registry, shipped

ROOT = CONFIG.parent


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "functions-framework", "--target", "metricsIngest", "--source", "main.py"]
    environment = {
        **os.environ,
        "F0_STORE": "sqlite",
        "SQLITE_PATH": str(tmp_path / "store.db"),
        "INGEST_KEYS": hashlib.sha256(KEY.encode()).hexdigest(),
        "THREADS": "8",
    }
    arguments = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(arguments, cwd=ROOT, env=environment) as process:
        try:
            while not _listens(port):
                assert process.poll() is None
            yield Client(port)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        threading.Event().wait(0.02)
        return False
    return True


def now_ms() -> int:
    return ms(datetime.now(UTC))


def test_bodies_of_known_length_and_in_chunks_are_taken_up_to_one_mebibyte(served: Client, tmp_path: Path) -> None:
    at = now_ms()
    sent = json.dumps({"batchId": "batch-0001", "metrics": [metric(5, at=at)] * 100}).encode()
    full = sent + b" " * ((1 << 20) - len(sent))
    assert served.send(full)[1] == {"accepted": 100, "rejected": [], "duplicate": False}
    chunks = iter([full[n : n + 7919] for n in range(0, len(full), 7919)])
    assert served.send(chunks)[1] == {"accepted": 100, "rejected": [], "duplicate": True}
    assert served.send(full + b" ")[0] == 413
    with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was read
        assert served.send(iter([full, b" "]))[0] == 413
    store = SqliteStore(tmp_path / "store.db")
    found = fold(store, registry(), shipped().definitions, datetime.now(UTC))
    assert found.blocks[at // 300_000]["api_latency{}"].count == 100
    store.close()


def test_a_request_without_a_key_is_refused_in_json(served: Client) -> None:
    status, answer, _ = served.send(b"{}", key=None)
    assert (status, answer["code"]) == (401, "unauthorized")


def test_a_client_that_goes_away_amid_its_body_harms_nobody(served: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.putrequest("POST", "/")
    connection.putheader("Authorization", f"Bearer {KEY}")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'{"batchId": "batch-0001", "metrics": [')
    connection.close()
    status, answer, _ = served.send({"batchId": "batch-0002", "metrics": [metric(at=now_ms())]})
    assert (status, answer["accepted"]) == (202, 1)

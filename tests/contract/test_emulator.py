"""The emulator ends with the test run, however that ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.conftest import *
"""
WAITING = """
import time

def test_waiting(emulator):
    print("emulator at", emulator, flush=True)
    time.sleep(300)
"""
SECONDS = 30


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_emulator_ends_with_the_test_run(emulator: str, tmp_path: Path, how: signal.Signals) -> None:
    if os.environ.get("FIRESTORE_EMULATOR_HOST"):
        pytest.skip("a given emulator is not ours to end")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_waiting.py").write_text(WAITING)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    with subprocess.Popen([*command, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        found = None
        while not found and (line := run.stdout.readline()):
            found = re.search(r"emulator at (\S+):(\d+)", line)
        assert found, "the emulator did not start"
        assert _listens(found[1], int(found[2]))
        run.send_signal(how)
        run.stdout.read()
    end = time.monotonic() + SECONDS
    while _listens(found[1], int(found[2])):
        assert time.monotonic() < end, "the emulator outlives the test run"
        time.sleep(0.1)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True

"""The local server's folder: one server at a time, and the refused one is told whom to stop."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.dev.folder import Folder, FolderInUse

ROOT = Path(__file__).parent.parent.parent
# A server: it says its worker's process, ends when its input does, and leaves the worker behind.
SERVER = """
import os, sys, time
from pathlib import Path
from scripts.dev.folder import Folder

folder = Folder(Path(sys.argv[1]))
folder.lock()
folder.name_url("http://127.0.0.1:8080")
told, tell = os.pipe()
if os.fork() == 0:
    folder.name_worker(os.getpid())
    os.write(tell, b"%d" % os.getpid())
    sys.stdout.close(), os.close(1)
    time.sleep(600)
print(os.read(told, 20).decode(), flush=True)
sys.stdin.read()
"""


def refusal(folder: Path) -> str:
    with pytest.raises(FolderInUse) as refused:
        Folder(folder).lock()
    return refused.value.holder


def test_the_holder_is_named_and_after_its_death_the_worker_that_holds_on(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        worker = int(server.stdout.readline())
        try:
            assert refusal(tmp_path) == f"process {server.pid} at http://127.0.0.1:8080"
            server.kill()
            server.wait()
            told = f"process {worker}, a worker that process {server.pid} at http://127.0.0.1:8080 has left behind"
            assert refusal(tmp_path) == told
        finally:
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "another process"),
        ("{", "{"),
        ("[]", "[]"),
        ("process 7", "process 7"),
        pytest.param(f'{{"process": {os.getpid()}}}', f"process {os.getpid()}", id="silent"),  # it does not answer yet
    ],
)
def test_a_note_that_says_less_is_made_the_best_of(text: str, told: str, tmp_path: Path) -> None:
    with (tmp_path / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (tmp_path / "server.lock").write_text(text)
        assert refusal(tmp_path) == told

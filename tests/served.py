"""A function as it is deployed: functions-framework on gunicorn, in processes of its own, set up by its environment."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.core import CONFIG, KEY

ROOT = CONFIG.parent
PATIENCE = 60.0


@dataclass(frozen=True)
class Served:
    port: int
    pid: int

    def peak_memory(self) -> int:
        """The most bytes that the server's processes ever held, added up."""
        return sum(_peak(pid) for pid in [self.pid, *_children(self.pid)])


@contextmanager
def served_function(store: Path, target: str = "metricsIngest", **env: str) -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "functions-framework"), "--target", target, "--source", "main.py"]
    environment = {
        **os.environ,
        "F0_STORE": "sqlite",
        "SQLITE_PATH": str(store),
        "INGEST_KEYS": hashlib.sha256(KEY.encode()).hexdigest(),
        "THREADS": "8",
        **env,
    }
    arguments = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(arguments, cwd=ROOT, env=environment) as process:
        try:
            while not _listens(port):
                assert process.poll() is None
            yield Served(port, process.pid)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        threading.Event().wait(0.02)
        return False
    return True


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def _peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024

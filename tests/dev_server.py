"""Starts the real local server as a process of its own, for tests that go through it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import requests

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
_OURS = (
    "PORT",
    "K_SERVICE",
    "F0_STORE",
    "INGEST_KEYS",
    "USAGE_KEYS",
    "SLACK_WEBHOOK_URL",
    "STATUS_PAGE_URL",
    "CONSOLE_URL",
    "CORS_ORIGINS",
)

Found = TypeVar("Found")


class DevServer:
    """`.venv/bin/python -m scripts.dev` on a free port with the data in `folder`. Its output is in `output()`."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        self._log = (folder.parent / f"{folder.name}.{time.monotonic_ns()}.log").open("wb")
        clean = {k: v for k, v in os.environ.items() if k not in _OURS and not k.startswith("DEV_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.dev", "--port", "0", "--data-dir", str(folder), *arguments],
            cwd=ROOT,
            env={**clean, **env},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.group = self.process.pid

    def __enter__(self) -> DevServer:
        self.url = self.wait_for(lambda: self.found(r"Status page +(\S+)/status")).group(1)
        self.key = self.wait_for(lambda: self.found(r"Authorization: Bearer (\S+)'")).group(1)
        self.wait_for(lambda: "Times are UTC" in self.output())
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        self.process.wait()
        self._log.close()

    def output(self) -> str:
        return Path(self._log.name).read_text(errors="replace")

    def found(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, self.output())

    def wait_for(self, condition: Callable[[], Found | None]) -> Found:
        """What `condition` gives once it is true; the server's output is in the failure."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.05)
        raise AssertionError(f"waited in vain; the server said:\n{self.output()}")

    def get(self, path: str, **options: object) -> requests.Response:
        return requests.get(self.url + path, timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def post(self, path: str, **options: object) -> requests.Response:
        return requests.post(self.url + path, timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def put(self, path: str, **options: object) -> requests.Response:
        return requests.put(self.url + path, timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def send(self, batch_id: str, *metrics: dict[str, object]) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return self.post("/api/metrics", json={"batchId": batch_id, "metrics": list(metrics)}, headers=headers)

    def run(self, function_id: str) -> requests.Response:
        """Run a scheduled function now."""
        return self.post(f"/_scheduler/{function_id}")

    def processes(self) -> list[int]:
        """Those of the server's process group that live; a zombie does not."""
        living = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if int(group) == self.group and state not in "ZX":
                living.append(int(stat.parent.name))
        return living

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the server as `kill` does, wait until no process is left, and give its exit code."""
        os.kill(self.process.pid, number)
        code = self.process.wait(PATIENCE)
        self.wait_for(lambda: not self.processes())
        return code

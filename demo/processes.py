"""The demo's own processes: the local F0 Ops server and the shop, each ended with everything it started."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
GRACE = 8.0  # seconds between SIGTERM and SIGKILL

# The demo shows what is shipped: nothing of the user's own settings may reach its server, least of all a real webhook.
_SETTINGS = ("DEV_", "FIRESTORE_", "SCHEDULER_", "SLACK_", "GUNICORN_", "PROBE_")
_MORE_SETTINGS = {
    "F0_STORE", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "K_SERVICE", "INGEST_KEYS", "STATUS_PAGE_URL", "CONFIG_DIR",
    "OPS_EMAIL", "CORS_ORIGINS", "SQLITE_PATH", "PORT", "APP_BASE_URL", "FIREBASE_API_KEY", "STRIPE_API_KEY",
    "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "CONSOLE_URL",
}  # fmt: skip


class PortInUse(Exception):
    """The text says which, and what to do."""


class Process:
    """A child in a session of its own, its output in a log file. `with` ends it."""

    def __init__(self, name: str, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = log
        self._stopped = False
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env=clean_environment(os.environ) | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends its children in order
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ended(self) -> bool:
        return self._child.poll() is not None

    def last_words(self, lines: int = 12) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """On return neither the process nor any child of it is left."""
        if self._stopped:
            return
        self._stopped = True
        self._child.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(GRACE)
        with suppress(ProcessLookupError):  # raised where the whole group has ended
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without any setting of F0 Ops."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(_SETTINGS) and name not in _MORE_SETTINGS
    }


def start_ops(port: int, folder: Path, speed: float) -> Process:
    arguments = ["scripts.dev", "--port", str(port), "--data-dir", str(folder / "data")]
    return Process("F0 Ops", arguments, folder / "server.log", {"DEV_CLOCK_SPEED": f"{speed:g}"})


def start_shop(port: int, ops_url: str, key: str, folder: Path) -> tuple[Process, str]:
    """The shop, and the token for its control endpoint."""
    token = secrets.token_urlsafe(16)
    environment = {
        "OPS_URL": ops_url,
        "OPS_KEY": key,
        "OPS_FLUSH_SECONDS": "0.25",
        "SHOP_DB": str(folder / "shop.db"),
        "DEMO_TOKEN": token,
    }
    arguments = ["gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "48"]
    arguments += ["--keep-alive", "15", "--graceful-timeout", "5", "--no-control-socket", "demo.shop:create_app()"]
    return Process("the shop", arguments, folder / "shop.log", environment), token


def require_free(port: int, what: str) -> None:
    """Raises `PortInUse`."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(
                f"Port {port} is in use, and {what} needs it. Choose another:"
                f" .venv/bin/python -m demo --port {port + 10}"
            ) from error


def wait_for_file(path: Path, process: Process, seconds: float) -> str:
    """The text of a file that `process` writes, or an empty one if it ends or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not process.ended:
        if path.exists() and (text := path.read_text().strip()):
            return text
        time.sleep(0.05)
    return ""

"""Google's own Firestore emulator, found on this machine and run for the time of a test session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_JAR = Path("platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
_MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_JAVA = ("java", "-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Duser.language=en")
# The shell ends Java as soon as its own input closes: also when the test run is killed and can tidy up nothing.
_LEASH = '"$@" & java=$!; cat >/dev/null; kill -9 $java 2>/dev/null; wait $java'
_START_SECONDS = 60.0


class EmulatorMissing(Exception):
    """No emulator can be run here; the text says what would help."""


def find_jar() -> Path:
    gcloud = shutil.which("gcloud")
    if gcloud is None or shutil.which("java") is None:
        raise EmulatorMissing(
            "the Firestore emulator needs gcloud and java: install them, or set FIRESTORE_EMULATOR_HOST"
        )
    root = subprocess.run(
        [gcloud, "info", "--format=value(installation.sdk_root)"], capture_output=True, text=True, check=False
    ).stdout.strip()
    jar = Path(root) / _JAR
    if not root or not jar.is_file():
        raise EmulatorMissing(
            "gcloud has no cloud-firestore-emulator: install that component, or set FIRESTORE_EMULATOR_HOST"
        )
    return jar


@contextmanager
def running(*, own: bool = False) -> Iterator[str]:
    """The address, `host:port`, of an emulator: the one in FIRESTORE_EMULATOR_HOST, or one that ends with the block.

    `own`: always one that ends with the block, and with it all that it held: also what is deleted stays in its memory.
    Raises `EmulatorMissing` if there is none to run, `RuntimeError` if it does not come up.
    """
    given = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if given and not own:
        yield given
        return
    jar = find_jar()
    port = free_port()
    java = [*_JAVA, "-cp", str(jar), _MAIN, "--host=127.0.0.1", f"--port={port}"]
    with tempfile.TemporaryFile() as log:
        shell = subprocess.Popen(
            ["sh", "-c", _LEASH, "sh", *java],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the tests alone, which then end it in order
        )
        try:
            if not _answers(port):
                log.seek(0)
                raise RuntimeError("the Firestore emulator did not start:\n" + log.read().decode(errors="replace"))
            yield f"127.0.0.1:{port}"
        finally:
            assert shell.stdin is not None
            shell.stdin.close()
            shell.wait()


def forget(address: str, project: str) -> None:
    """Empty a project, so that nothing is left to be found. The emulator keeps it in memory all the same."""
    url = f"http://{address}/emulator/v1/projects/{project}/databases/(default)/documents"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30) as answer:
        answer.read()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2):
                return True
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    return False

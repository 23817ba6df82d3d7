"""The local server's data folder: the database, keys made once, what was sent to nobody, and a lock."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from scripts.make_key import make_key


class FolderInUse(Exception):
    """Another server has the folder. `holder` says which, as far as it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class Folder:
    """`lock` must come before everything else; it lasts as long as the process and its children."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[str] | None = None
        self._holder: dict[str, Any] = {}

    @property
    def database(self) -> Path:
        return self.path / "store.db"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox.json"

    def lock(self) -> None:
        """For this process. Raises `FolderInUse`, or OSError if the folder cannot be made or written."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self.path / "server.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read().strip()
            lock.close()
            raise FolderInUse(_holder(other)) from None
        self._lock = lock
        self._name(process=os.getpid())

    def name_url(self, url: str) -> None:
        """Where the server that has the lock answers, for the one that is refused."""
        self._name(url=url)

    def name_worker(self, worker: int) -> None:
        """The child that has the lock too, and keeps it should its parent be killed."""
        self._name(worker=worker)

    def _name(self, **known: Any) -> None:
        self._holder |= known
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.write(json.dumps(self._holder))
            self._lock.flush()

    def ingest_key(self) -> str:
        return self.secret("ingest.key", make_key()[0].encode()).decode()

    def usage_key(self) -> str:
        return self.secret("usage.key", make_key()[0].encode()).decode()

    def secret(self, name: str, new: bytes) -> bytes:
        """What the file holds; made of `new`, readable by its owner alone, if it is not there."""
        path = self.path / name
        if not path.exists():
            self.write(name, new)
        return path.read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Replace the file whole, so that a kill leaves the old one or the new one."""
        unfinished = self.path / f"{name}.new"
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        unfinished.replace(self.path / name)

    def last_time(self) -> datetime | None:
        """How far a clock that was not the real one has come in this folder."""
        try:
            return datetime.fromtimestamp(json.loads((self.path / "clock.json").read_text())["ms"] / 1000, UTC)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def set_last_time(self, seconds: float) -> None:
        self.write("clock.json", json.dumps({"ms": int(seconds * 1000)}).encode())


def _holder(text: str) -> str:
    """Whom to stop, of what the file of the lock says."""
    try:
        known = json.loads(text)
        process, worker, url = known["process"], known.get("worker"), known.get("url")
    except (ValueError, KeyError, TypeError, AttributeError):
        return text or "another process"
    place = f" at {url}" if url else ""
    if worker is None or _lives(process):
        return f"process {process}{place}"
    return f"process {worker}, a worker that process {process}{place} has left behind"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True

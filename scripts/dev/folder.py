"""The local server's data folder: the database, keys made once, what was sent to nobody, and a lock."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

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

    @property
    def database(self) -> Path:
        return self.path / "store.db"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox.json"

    def lock(self, holder: str) -> None:
        """Raises `FolderInUse`, or OSError if the folder cannot be made or written."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (self.path / "server.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            other = lock.read().strip()
            lock.close()
            raise FolderInUse(other or "another process") from None
        self._lock = lock
        self.name_holder(holder)

    def name_holder(self, holder: str) -> None:
        """What a second server is told about this one, which has the lock."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.write(holder)
            self._lock.flush()

    def ingest_key(self) -> str:
        return self.secret("ingest.key", make_key()[0].encode()).decode()

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

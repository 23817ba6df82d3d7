"""The store in one SQLite file: the embedded default, for a laptop and for tests. Same rules as Firestore's adapter."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from shared.store import check
from shared.store.protocol import (
    Conflict,
    Create,
    Data,
    Delete,
    Doc,
    Merge,
    Meter,
    Put,
    Query,
    StoreError,
    Unavailable,
    Write,
)
from shared.store.sqlite_query import comparable, keys_of, sql_of

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS docs (
  path TEXT PRIMARY KEY, parent TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
  data BLOB NOT NULL, keys TEXT, expire_us INTEGER
);
CREATE INDEX IF NOT EXISTS docs_name ON docs (name, path);
CREATE INDEX IF NOT EXISTS docs_expire ON docs (expire_us) WHERE expire_us IS NOT NULL;
CREATE TABLE IF NOT EXISTS versions (last INTEGER NOT NULL);
INSERT INTO versions SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM versions);
PRAGMA user_version = 1;
COMMIT;
"""


_encode = msgspec.msgpack.Encoder(order="deterministic").encode  # equal documents are equal bytes
_decode = msgspec.msgpack.Decoder().decode


class _Connection(sqlite3.Connection):
    """One that can be referred to weakly: it closes when its thread ends."""


class SqliteStore:
    """`path` is the database file. `deadline` bounds the wait for another writer, in seconds.

    Each thread opens a connection at its first call; so does a process that was forked.
    """

    def __init__(self, path: Path, *, deadline: float = 5.0) -> None:
        self.meter = Meter()
        self._path = path
        self._deadline = deadline
        self._local = threading.local()
        self._pid = -1
        self._opened: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._inherited: list[Any] = []
        self._lock = threading.Lock()

    def get(self, path: str) -> Doc | None:
        return self.get_many([path])[0]

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        wanted = list(dict.fromkeys(paths))
        for path in wanted:
            check.check_path(path)
        found: dict[str, Doc] = {}
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            marks = ",".join("?" * len(part))
            for row in self._run(f"SELECT path, data, version FROM docs WHERE path IN ({marks})", part):
                found[row[0]] = Doc(row[0], _decode(row[1]), str(row[2]))
        self.meter.reads += len(wanted)
        return [found.get(path) for path in paths]

    def commit(self, writes: Sequence[Write]) -> None:
        check.check_writes(writes)
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                (version,) = connection.execute("UPDATE versions SET last = last + 1 RETURNING last").fetchone()
                for write in writes:
                    self._apply(connection, write, version)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _translated(error) from error
        deletes = sum(isinstance(w, Delete) for w in writes)
        self.meter.deletes += deletes
        self.meter.writes += len(writes) - deletes

    def query(self, query: Query) -> list[Doc]:
        where, values, order = sql_of(query)
        sql = f"SELECT path, data, version FROM docs WHERE {where} ORDER BY {order} LIMIT ?"
        docs = [Doc(p, _decode(d), str(v)) for p, d, v in self._run(sql, [*values, query.limit])]
        self.meter.reads += max(1, len(docs))
        return docs

    def count(self, query: Query) -> int:
        where, values, _ = sql_of(query)
        found: int = self._run(f"SELECT count(*) FROM docs WHERE {where}", values)[0][0]
        self.meter.reads += max(1, -(-found // 1000))
        return found

    def purge(self, now_us: int, limit: int = 1000) -> int:
        gone = self._run(
            "DELETE FROM docs WHERE path IN (SELECT path FROM docs WHERE expire_us <= ? LIMIT ?) RETURNING path",
            [now_us, limit],
        )
        self.meter.deletes += len(gone)
        return len(gone)

    def close(self) -> None:
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._local = threading.local()

    def _run(self, sql: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._connection().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error) from error

    def _connection(self) -> _Connection:
        """This thread's connection. One that came through a fork is kept but never used: even closing it is unsafe."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._inherited += [self._local, *self._opened]
                    self._opened = weakref.WeakSet()
                    self._local = threading.local()
                    self._pid = os.getpid()
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._open()
            self._local.connection = connection
        return connection

    def _open(self) -> _Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path,
                timeout=self._deadline,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection,
            )
            self._make_tables(connection)
            connection.execute("PRAGMA synchronous=FULL")
        except OSError as error:
            raise Unavailable(f"{self._path}: {error}") from error
        except sqlite3.Error as error:
            raise _translated(error) from error
        with self._lock:
            self._opened.add(connection)
        return connection

    def _make_tables(self, connection: _Connection) -> None:
        """Where there are tables this takes no lock. SQLite does not wait for others while it turns WAL on: we do."""
        end = time.monotonic() + self._deadline
        while True:
            try:
                if not connection.execute("PRAGMA user_version").fetchone()[0]:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.executescript(_SCHEMA)
                return
            except sqlite3.OperationalError as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                    raise
                time.sleep(0.005)

    def _apply(self, connection: sqlite3.Connection, write: Write, version: int) -> None:
        path = write.path
        if isinstance(write, Create):
            if not self._insert(connection, path, write.data, version, "DO NOTHING"):
                raise Conflict(f"{path} exists")
        elif isinstance(write, Merge):
            row = connection.execute("SELECT data FROM docs WHERE path=?", (path,)).fetchone()
            data = _merged(_decode(row[0]) if row else {}, write)
            check.check_size(path, data)
            self._insert(connection, path, data, version, _REPLACE)
        else:
            if (
                write.version is not None
                and not connection.execute(
                    "SELECT 1 FROM docs WHERE path=? AND version=?", (path, int(write.version))
                ).fetchone()
            ):
                raise Conflict(f"{path} has changed")
            if isinstance(write, Put):
                self._insert(connection, path, write.data, version, _REPLACE)
            else:
                connection.execute("DELETE FROM docs WHERE path=?", (path,))

    @staticmethod
    def _insert(connection: sqlite3.Connection, path: str, data: Data, version: int, on_conflict: str) -> int:
        parent = path.rpartition("/")[0]
        blob, version, keys, expire = _row(data, version)
        return connection.execute(
            "INSERT INTO docs (path, parent, name, data, version, keys, expire_us) VALUES (?,?,?,?,?,?,?)"
            f" ON CONFLICT (path) {on_conflict}",
            (path, parent, parent.rpartition("/")[2], blob, version, keys, expire),
        ).rowcount


# A write that changes nothing keeps the version, as Firestore keeps the update time.
_REPLACE = (
    "DO UPDATE SET version = CASE docs.data WHEN excluded.data THEN docs.version ELSE excluded.version END,"
    " data=excluded.data, keys=excluded.keys, expire_us=excluded.expire_us"
)


def _row(data: Data, version: int) -> tuple[bytes, int, str | None, int | None]:
    expire = data.get("expireAt")
    return _encode(data), version, keys_of(data), comparable(expire) if isinstance(expire, datetime) else None


def _merged(data: Data, write: Merge) -> Data:
    data.update(write.data)
    for name, amount in write.increments.items():
        before = data.get(name)
        if isinstance(before, int | float) and not isinstance(before, bool):
            amount += before
        data[name] = max(-(1 << 63), min(amount, (1 << 63) - 1)) if isinstance(amount, int) else amount
    return data


def _translated(error: sqlite3.Error) -> StoreError:
    """Locked, full or unreadable may pass; a file that is no database will not."""
    return Unavailable(str(error)) if isinstance(error, sqlite3.OperationalError) else StoreError(str(error))

"""The store in one SQLite file: the embedded default, for a laptop and for tests. Same rules as Firestore's adapter."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from shared.store.check import check_query, check_writes
from shared.store.protocol import (
    Conflict,
    Create,
    Data,
    Delete,
    Doc,
    Meter,
    Put,
    Query,
    StoreError,
    Unavailable,
    Write,
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS docs (
  path TEXT PRIMARY KEY, parent TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
  data BLOB NOT NULL, keys TEXT, expire_us INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS docs_parent ON docs (parent, path);
CREATE INDEX IF NOT EXISTS docs_name ON docs (name, path);
CREATE INDEX IF NOT EXISTS docs_expire ON docs (expire_us) WHERE expire_us IS NOT NULL;
CREATE TABLE IF NOT EXISTS versions (last INTEGER NOT NULL);
INSERT INTO versions SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM versions);
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SQL_OPERATOR = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def _comparable(value: Any) -> Any:
    """The form in which a value is compared in SQL: times as microseconds, booleans as 0 and 1."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    return int(value) if isinstance(value, bool) else value


def _keys(data: Data) -> str | None:
    """The document's top-level scalars as JSON, for filters and orders."""
    keys = {k: _comparable(v) for k, v in data.items() if isinstance(v, str | int | float | datetime) and v == v}
    return json.dumps(keys) if keys else None


class SqliteStore:
    """`path` is the database file. `deadline` bounds the wait for another writer, in seconds."""

    def __init__(self, path: Path, *, deadline: float = 5.0) -> None:
        self.meter = Meter()
        self._path = path
        self._deadline = deadline
        self._local = threading.local()
        self._pid = -1
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def get(self, path: str) -> Doc | None:
        return self.get_many([path])[0]

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        self.meter.reads += len(paths)
        found: dict[str, Doc] = {}
        for start in range(0, len(paths), 500):
            part = list(paths[start : start + 500])
            marks = ",".join("?" * len(part))
            for row in self._run(f"SELECT path, data, version FROM docs WHERE path IN ({marks})", part):
                found[row[0]] = Doc(row[0], _decode(row[1]), str(row[2]))
        return [found.get(path) for path in paths]

    def commit(self, writes: Sequence[Write]) -> None:
        check_writes(writes)
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                (version,) = connection.execute("UPDATE versions SET last = last + 1 RETURNING last").fetchone()
                for write in writes:
                    self._apply(connection, write, version)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise Unavailable(str(error)) from error
        deletes = sum(isinstance(w, Delete) for w in writes)
        self.meter.deletes += deletes
        self.meter.writes += len(writes) - deletes

    def query(self, query: Query) -> list[Doc]:
        where, values, order = self._sql(query)
        sql = f"SELECT path, data, version FROM docs WHERE {where} ORDER BY {order} LIMIT ?"
        docs = [Doc(p, _decode(d), str(v)) for p, d, v in self._run(sql, [*values, query.limit])]
        self.meter.reads += max(1, len(docs))
        return docs

    def count(self, query: Query) -> int:
        where, values, _ = self._sql(query)
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

    def _sql(self, query: Query) -> tuple[str, list[Any], str]:
        check_query(query)
        conditions = ["name = ?" if query.group else "parent = ?"]
        values: list[Any] = [query.collection]
        for name, op, value in query.where:
            field = _field(name)
            if op == "in":
                conditions.append(f"{field} IN ({','.join('?' * len(value))})")
                values += [_comparable(v) for v in value]
            else:
                conditions.append(f"{field} {_SQL_OPERATOR[op]} ?")
                values.append(_comparable(value))
        columns = [(_field(name), direction) for name, direction in query.order]
        conditions += [f"{column} IS NOT NULL" for column, _ in columns]
        last = columns[-1][1] if columns else "asc"  # Firestore's tie-break takes the direction of the last field
        columns.append(("path", last))
        if query.after is not None:
            conditions.append(_after(columns))
            place = [_comparable(v) for v in query.after]
            for n in range(len(columns)):
                values += place[: n + 1]
        return " AND ".join(conditions), values, ", ".join(f"{c} {d}" for c, d in columns)

    def _run(self, sql: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._connection().execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            raise Unavailable(str(error)) from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection; a process that was forked opens its own."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._opened = []
                    self._local = threading.local()
                    self._pid = os.getpid()
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._open()
            self._local.connection = connection
        return connection

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=self._deadline, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA)
        except (OSError, sqlite3.OperationalError) as error:
            raise Unavailable(f"{self._path}: {error}") from error
        with self._lock:
            self._opened.append(connection)
        return connection

    def _apply(self, connection: sqlite3.Connection, write: Write, version: int) -> None:
        path = write.path
        if isinstance(write, Create):
            if not self._insert(connection, path, write.data, version, "DO NOTHING"):
                raise Conflict(f"{path} exists")
        elif isinstance(write, Put) and write.version is None:
            self._insert(connection, path, write.data, version, _REPLACE)
        elif isinstance(write, Put):
            changed = connection.execute(
                "UPDATE docs SET data=?, version=?, keys=?, expire_us=? WHERE path=? AND version=?",
                (*_row(write.data, version), path, int(write.version or 0)),
            ).rowcount
            if not changed:
                raise Conflict(f"{path} has changed")
        elif isinstance(write, Delete):
            sql = "DELETE FROM docs WHERE path=?"
            if write.version is None:
                connection.execute(sql, (path,))
            elif not connection.execute(sql + " AND version=?", (path, int(write.version))).rowcount:
                raise Conflict(f"{path} has changed")
        else:
            row = connection.execute("SELECT data FROM docs WHERE path=?", (path,)).fetchone()
            data: Data = _decode(row[0]) if row else {}
            data.update(write.data)
            for name, amount in write.increments.items():
                before = data.get(name)
                if isinstance(before, int | float) and not isinstance(before, bool):
                    amount += before
                data[name] = amount
            self._insert(connection, path, data, version, _REPLACE)

    @staticmethod
    def _insert(connection: sqlite3.Connection, path: str, data: Data, version: int, on_conflict: str) -> int:
        parent = path.rpartition("/")[0]
        blob, version, keys, expire = _row(data, version)
        return connection.execute(
            "INSERT INTO docs (path, parent, name, data, version, keys, expire_us) VALUES (?,?,?,?,?,?,?)"
            f" ON CONFLICT (path) {on_conflict}",
            (path, parent, parent.rpartition("/")[2], blob, version, keys, expire),
        ).rowcount


_REPLACE = (
    "DO UPDATE SET data=excluded.data, version=excluded.version, keys=excluded.keys, expire_us=excluded.expire_us"
)


def _row(data: Data, version: int) -> tuple[bytes, int, str | None, int | None]:
    expire = data.get("expireAt")
    return _encode(data), version, _keys(data), _comparable(expire) if isinstance(expire, datetime) else None


def _field(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise StoreError(f"not a field name: {name!r}")
    return f"json_extract(keys, '$.{name}')"


def _after(columns: Sequence[tuple[str, str]]) -> str:
    """Rows behind a place in the order: (a > ?) or (a = ? and b > ?) …"""
    parts = []
    for n, (column, direction) in enumerate(columns):
        same = [f"{earlier} = ?" for earlier, _ in columns[:n]]
        parts.append("(" + " AND ".join([*same, f"{column} {'>' if direction == 'asc' else '<'} ?"]) + ")")
    return "(" + " OR ".join(parts) + ")"

"""What a write or a query must be on every adapter, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.store.protocol import (
    MAX_COMMIT_BYTES,
    MAX_COMMIT_WRITES,
    MAX_DOCUMENT_BYTES,
    MAX_IN_VALUES,
    Delete,
    InvalidWrite,
    Merge,
    Query,
    Write,
    document_size,
    write_size,
)

_INT64 = 1 << 63


def check_path(path: str) -> None:
    parts = path.split("/")
    if len(parts) % 2 or not all(parts) or any(p in (".", "..") or len(p.encode()) > 1500 for p in parts):
        raise InvalidWrite(f"not a document path: {path!r}")


def check_value(value: Any, where: str) -> None:
    if isinstance(value, bool | float | str | bytes) or value is None:
        return
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise InvalidWrite(f"{where}: {value} does not fit in 64 bits")
    elif isinstance(value, datetime):
        if value.utcoffset() != timedelta(0):
            raise InvalidWrite(f"{where}: a time must be in UTC")
    elif isinstance(value, list | tuple):
        for n, item in enumerate(value):
            if isinstance(item, list | tuple):
                raise InvalidWrite(f"{where}[{n}]: a list may not hold a list")
            check_value(item, f"{where}[{n}]")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not key:
                raise InvalidWrite(f"{where}: a field name must be a non-empty text")
            check_value(item, f"{where}.{key}")
    else:
        raise InvalidWrite(f"{where}: a {type(value).__name__} cannot be stored")


def check_writes(writes: Sequence[Write]) -> None:
    """Raise `InvalidWrite` for a commit that Firestore would refuse, so that SQLite refuses it too."""
    if not writes:
        raise InvalidWrite("a commit needs at least one write")
    if len(writes) > MAX_COMMIT_WRITES:
        raise InvalidWrite(f"{len(writes)} writes in a commit, at most {MAX_COMMIT_WRITES}")
    if len({w.path for w in writes}) != len(writes):
        raise InvalidWrite("a path appears twice in one commit")
    for write in writes:
        check_path(write.path)
        if isinstance(write, Delete):
            continue
        check_value(write.data, write.path)
        if isinstance(write, Merge):
            check_value(write.increments, write.path)
        size = document_size(write.path, write.data)
        if size > MAX_DOCUMENT_BYTES:
            raise InvalidWrite(f"{write.path}: {size} bytes, at most {MAX_DOCUMENT_BYTES}")
    total = sum(map(write_size, writes))
    if total > MAX_COMMIT_BYTES:
        raise InvalidWrite(f"{total} bytes in a commit, at most {MAX_COMMIT_BYTES}")


def check_query(query: Query) -> None:
    for name, op, value in query.where:
        if value is None:
            raise InvalidWrite(f"a filter on {name} needs a value")
        if op == "in" and not 1 <= len(value) <= MAX_IN_VALUES:
            raise InvalidWrite(f"'in' on {name} takes 1 to {MAX_IN_VALUES} values")
    if query.group and (query.order or query.where):
        raise InvalidWrite("a query of a collection group takes neither filter nor order")
    ranged = {name for name, op, _ in query.where if op not in ("==", "in")}
    if len(ranged) > 1 or (ranged and [name for name, _ in query.order][:1] != list(ranged)):
        raise InvalidWrite("a range filter takes one field, and that field comes first in the order")
    if not 1 <= query.limit <= 1000:
        raise InvalidWrite("limit must be 1 to 1000")

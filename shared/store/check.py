"""What a write or a query must be on every adapter, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.store.protocol import (
    MAX_COMMIT_BYTES,
    MAX_COMMIT_WRITES,
    MAX_DOCUMENT_BYTES,
    MAX_IN_VALUES,
    MAX_VALUE_BYTES,
    Data,
    Delete,
    InvalidWrite,
    Merge,
    Query,
    Write,
    document_size,
    size_of,
    write_size,
)

_INT64 = 1 << 63
_MAX_DEPTH = 20
_MAX_NAME_BYTES = 1500
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_QUERY_FIELD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


def check_path(path: str) -> None:
    parts = path.split("/")
    if len(parts) % 2 or not all(map(_is_name, parts)) or "." in parts or ".." in parts:
        raise InvalidWrite(f"not a document path: {path!r}")


def check_value(value: Any, where: str, depth: int = 0) -> None:
    if isinstance(value, str | bytes):
        if len(value) > MAX_VALUE_BYTES // 4 and size_of(value) > MAX_VALUE_BYTES:
            raise InvalidWrite(f"{where}: a value of more than {MAX_VALUE_BYTES} bytes")
        return
    if isinstance(value, bool | float) or value is None:
        return
    if depth > _MAX_DEPTH:
        raise InvalidWrite(f"{where}: nested deeper than {_MAX_DEPTH} levels")
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
            check_value(item, f"{where}[{n}]", depth + 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not _is_name(key):
                raise InvalidWrite(f"{where}: {key!r} cannot be a field's name")
            check_value(item, f"{where}.{key}", depth + 1)
    else:
        raise InvalidWrite(f"{where}: a {type(value).__name__} cannot be stored")


def check_size(path: str, data: Data) -> int:
    """The document's size in bytes; raises `InvalidWrite` if it is over the limit."""
    try:
        size = document_size(path, data)
    except UnicodeEncodeError as error:
        raise InvalidWrite(f"{path}: a text is not valid Unicode") from error
    if size > MAX_DOCUMENT_BYTES:
        raise InvalidWrite(f"{path}: {size} bytes, at most {MAX_DOCUMENT_BYTES}")
    return size


def check_writes(writes: Sequence[Write]) -> None:
    """Raise `InvalidWrite` for a commit that Firestore would refuse, so that SQLite refuses it too."""
    if not writes:
        raise InvalidWrite("a commit needs at least one write")
    if len(writes) > MAX_COMMIT_WRITES:
        raise InvalidWrite(f"{len(writes)} writes in a commit, at most {MAX_COMMIT_WRITES}")
    if len({w.path for w in writes}) != len(writes):
        raise InvalidWrite("a path appears twice in one commit")
    total = 0
    for write in writes:
        check_path(write.path)
        if isinstance(write, Delete):
            continue
        check_value(write.data, write.path)
        if isinstance(write, Merge):
            check_value(write.increments, write.path)
            for name, amount in write.increments.items():
                if isinstance(amount, bool) or not isinstance(amount, int | float):
                    raise InvalidWrite(f"{write.path}.{name}: {amount!r} cannot be added")
        total += check_size(write.path, write.data)
    if total < MAX_COMMIT_BYTES // 4:  # nothing is sent at more than four times its size: no need to look closer
        return
    total = sum(map(write_size, writes))
    if total > MAX_COMMIT_BYTES:
        raise InvalidWrite(f"{total} bytes in a commit, at most {MAX_COMMIT_BYTES}")


def check_query(query: Query) -> None:
    parts = query.collection.split("/")
    if (len(parts) != 1 if query.group else len(parts) % 2 == 0) or not all(map(_is_name, parts)):
        raise InvalidWrite(f"not a collection: {query.collection!r}")
    for name in {name for name, *_ in (*query.where, *query.order)}:
        if not _QUERY_FIELD.fullmatch(name):
            raise InvalidWrite(f"not a field that a query can use: {name!r}")
    if query.after is not None and len(query.after) != len(query.order) + 1:
        raise InvalidWrite("a cursor has a value for each ordered field, and a path")
    check_value(query.after, "after")
    for name, op, value in query.where:
        if value is None:
            raise InvalidWrite(f"a filter on {name} needs a value")
        check_value(value, name)
        if op == "in" and not 1 <= len(value) <= MAX_IN_VALUES:
            raise InvalidWrite(f"'in' on {name} takes 1 to {MAX_IN_VALUES} values")
    if query.group and (query.order or query.where):
        raise InvalidWrite("a query of a collection group takes neither filter nor order")
    ranged = {name for name, op, _ in query.where if op not in ("==", "in")}
    if len(ranged) > 1 or (ranged and [name for name, _ in query.order][:1] != list(ranged)):
        raise InvalidWrite("a range filter takes one field, and that field comes first in the order")
    if not 1 <= query.limit <= 1000:
        raise InvalidWrite("limit must be 1 to 1000")


def _is_name(text: str) -> bool:
    """Whether Firestore takes it as a name of a field, a collection or a document."""
    try:
        return 0 < len(text.encode()) <= _MAX_NAME_BYTES and not _RESERVED.fullmatch(text)
    except UnicodeEncodeError:
        return False

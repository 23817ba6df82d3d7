"""Queries as SQL over the table of documents, with Firestore's order: nulls first, ties broken by path."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.store import check
from shared.store.protocol import Data, Query

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCALAR = str | int | float | datetime
_SQL_OPERATOR = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_PATH_BY_PART = "replace(path, '/', char(1))"  # across collections, Firestore orders paths part by part


def comparable(value: Any) -> Any:
    """The form in which a value is compared in SQL: times as microseconds, booleans as 0 and 1, no infinity."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, float):
        return max(-sys.float_info.max, min(value, sys.float_info.max))
    return int(value) if isinstance(value, bool) else value


def keys_of(data: Data) -> str | None:
    """The document's top-level scalars as JSON, for filters and orders."""
    keys = {k: comparable(v) for k, v in data.items() if v is None or (isinstance(v, _SCALAR) and v == v)}
    return json.dumps(keys) if keys else None


def sql_of(query: Query) -> tuple[str, list[Any], str]:
    """The condition, its values and the order of a query, as SQL. Raises `InvalidWrite` for a query of no sense."""
    check.check_query(query)
    conditions = ["name = ?"]
    values: list[Any] = [query.collection.rpartition("/")[2]]
    if not query.group:  # the range makes the index on (name, path) serve; `parent` leaves deeper collections out
        conditions.append("path > ? AND path < ? AND parent = ?")
        values += [f"{query.collection}/", f"{query.collection}0", query.collection]
    for name, op, value in query.where:
        if op == "in":
            conditions.append(f"{_field(name)} IN ({','.join('?' * len(value))})")
            values += [comparable(v) for v in value]
        else:
            conditions.append(f"{_field(name)} {_SQL_OPERATOR[op]} ?")
            values.append(comparable(value))
    conditions += [f"json_type(keys, '$.{name}') IS NOT NULL" for name, _ in query.order]
    last = query.order[-1][1] if query.order else "asc"  # Firestore's tie-break goes the way of the last field
    columns = [(_field(name), direction) for name, direction in query.order]
    columns.append((_PATH_BY_PART if query.group else "path", last))
    if query.after is not None:
        place = [comparable(v) for v in query.after]
        if query.group:
            place[-1] = place[-1].replace("/", "\x01")
        condition, after_values = _after(columns, place)
        conditions.append(condition)
        values += after_values
    return " AND ".join(conditions), values, ", ".join(f"{c} {d}" for c, d in columns)


def _field(name: str) -> str:
    return f"json_extract(keys, '$.{name}')"


def _after(columns: Sequence[tuple[str, str]], place: Sequence[Any]) -> tuple[str, list[Any]]:
    """Rows behind a place in the order, null before all: (a > ?) or (a = ? and b > ?) …, and the values for it."""
    parts: list[str] = []
    values: list[Any] = []
    for n, (column, direction) in enumerate(columns):
        if direction == "asc":
            behind = f"({column} > ? OR ? IS NULL AND {column} IS NOT NULL)"
        else:
            behind = f"({column} < ? OR ? IS NOT NULL AND {column} IS NULL)"
        parts.append("(" + " AND ".join([*(f"{earlier} IS ?" for earlier, _ in columns[:n]), behind]) + ")")
        values += [*place[: n + 1], place[n]]
    return "(" + " OR ".join(parts) + ")", values

"""Documents, values and queries as raw protobuf messages: the official client's wrappers cost four times the CPU."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.firestore_v1.types import document, query, write

from shared.store.protocol import Create, Data, Delete, Doc, Merge, Put, Query, Write

PbDocument = document.Document.pb()
PbQuery = query.StructuredQuery.pb()
PbWrite = write.Write.pb()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_OPERATOR = {
    "==": PbQuery.FieldFilter.Operator.EQUAL,
    "<": PbQuery.FieldFilter.Operator.LESS_THAN,
    "<=": PbQuery.FieldFilter.Operator.LESS_THAN_OR_EQUAL,
    ">": PbQuery.FieldFilter.Operator.GREATER_THAN,
    ">=": PbQuery.FieldFilter.Operator.GREATER_THAN_OR_EQUAL,
    "in": PbQuery.FieldFilter.Operator.IN,
}
_DIRECTION = {"asc": PbQuery.Direction.ASCENDING, "desc": PbQuery.Direction.DESCENDING}


def encode_write(message: Any, item: Write, root: str) -> None:
    """Fill a raw Write. `root` is the name of the database's documents with a slash at its end."""
    if isinstance(item, Delete):
        message.delete = root + item.path
        _expect_version(message, item.version)
        return
    message.update.name = root + item.path
    _fill(message.update.fields, item.data)
    if isinstance(item, Create):
        message.current_document.exists = False
    elif isinstance(item, Put):
        _expect_version(message, item.version)
    elif isinstance(item, Merge):
        message.update_mask.SetInParent()  # an empty mask means: change no field; none at all: replace the document
        message.update_mask.field_paths.extend(map(_field_path, item.data))
        for name, amount in item.increments.items():
            transform = message.update_transforms.add(field_path=_field_path(name))
            encode_value(transform.increment, amount)


def encode_query(query: Query, root: str, limit: int | None) -> Any:
    message = PbQuery()
    message.from_.add(collection_id=query.collection.rpartition("/")[2], all_descendants=query.group)
    if query.where:
        message.where.composite_filter.op = PbQuery.CompositeFilter.Operator.AND
    for name, op, value in query.where:
        condition = message.where.composite_filter.filters.add().field_filter
        condition.field.field_path = _field_path(name)
        condition.op = _OPERATOR[op]
        encode_value(condition.value, list(value) if op == "in" else value)
    last = query.order[-1][1] if query.order else "asc"
    for name, direction in query.order:
        message.order_by.add(direction=_DIRECTION[direction]).field.field_path = _field_path(name)
    message.order_by.add(direction=_DIRECTION[last]).field.field_path = "__name__"
    if query.after is not None:
        *values, path = query.after
        message.start_at.before = False
        for value in values:
            encode_value(message.start_at.values.add(), value)
        message.start_at.values.add().reference_value = root + path
    if limit is not None:
        message.limit.value = limit
    return message


def encode_value(message: Any, value: Any) -> None:
    if isinstance(value, str):
        message.string_value = value
    elif isinstance(value, bool):
        message.boolean_value = value
    elif isinstance(value, int):
        message.integer_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif value is None:
        message.null_value = 0
    elif isinstance(value, bytes):
        message.bytes_value = value
    elif isinstance(value, datetime):
        since = value - _EPOCH
        message.timestamp_value.SetInParent()
        message.timestamp_value.seconds = since.days * _DAY_SECONDS + since.seconds
        message.timestamp_value.nanos = since.microseconds * 1000
    elif isinstance(value, Mapping):
        message.map_value.SetInParent()
        _fill(message.map_value.fields, value)
    else:
        message.array_value.SetInParent()
        values = message.array_value.values
        for item in value:
            encode_value(values.add(), item)


def decode_document(message: Any, root: str) -> Doc:
    data = {name: decode_value(value) for name, value in message.fields.items()}
    time = message.update_time
    return Doc(message.name.removeprefix(root), data, f"{time.seconds}.{time.nanos:09}")


def decode_value(message: Any) -> Any:
    kind = message.WhichOneof("value_type")
    if kind == "map_value":
        return {name: decode_value(value) for name, value in message.map_value.fields.items()}
    if kind == "array_value":
        return [decode_value(value) for value in message.array_value.values]
    if kind == "timestamp_value":
        time = message.timestamp_value
        return _EPOCH + timedelta(seconds=time.seconds, microseconds=time.nanos // 1000)
    if kind == "null_value":
        return None
    return getattr(message, kind)


def _fill(fields: Any, data: Data | Mapping[str, Any]) -> None:
    for name, value in data.items():
        encode_value(fields[name], value)


def _expect_version(message: Any, version: str | None) -> None:
    if version is not None:
        seconds, _, nanos = version.partition(".")
        message.current_document.update_time.seconds = int(seconds)
        message.current_document.update_time.nanos = int(nanos)


def _field_path(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name):
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"

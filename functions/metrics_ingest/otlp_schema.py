"""OTLP's messages as they are read here: what nobody reads is left out, and what is read in another way is `bytes`.

Built in a pool of our own under names of our own, so that they never meet generated classes in the same process.
Bytes cost 16 bytes of memory each until they are looked at, where an empty message of two bytes would cost 50 and more.
A message field that is no repeated one in OTLP is to be joined: protobuf merges a message that comes twice.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "f0ops.otlp"
# message → its fields: number, name, type; `?` marks fields with presence, `*` repeated ones, `|` those of a oneof.
_MESSAGES: dict[str, str] = {
    "Request": "1 resource_metrics *bytes",
    "ResourceMetrics": "1 resource *bytes, 2 scope_metrics *bytes",
    "ScopeMetrics": "1 scope *bytes, 2 metrics *bytes",
    "Metric": "1 name string, 3 unit string, 5 gauge |Data, 7 sum |Data, 9 histogram |Data,"
    "10 exponential_histogram |Data, 11 summary |Data",
    "Data": "1 data_points *bytes, 2 aggregation_temporality int32, 3 is_monotonic bool",
    "Number": "2 start ?fixed64, 3 time ?fixed64, 4 as_double |double, 6 as_int |sfixed64, 7 attributes *bytes,"
    "8 flags uint32",
    "Histogram": "2 start ?fixed64, 3 time ?fixed64, 4 count ?fixed64, 5 sum ?double, 6 counts *fixed64,"
    "7 bounds *double, 9 attributes *bytes, 10 flags uint32, 11 min ?double, 12 max ?double",
    "Exponential": "1 attributes *bytes, 2 start fixed64, 3 time fixed64, 4 count fixed64, 5 sum ?double,"
    "6 scale sint32, 7 zero_count fixed64, 8 positive Buckets, 9 negative Buckets, 10 flags uint32,"
    "12 min ?double, 13 max ?double, 14 zero_threshold double",
    "Buckets": "1 offset sint32, 2 counts *uint64",
    "Resource": "1 attributes *bytes",
    "Scope": "1 name string, 2 version string, 3 attributes *bytes",
    "KeyValue": "1 key string, 2 value Value",
    "Value": "1 string |string, 2 bool |bool, 3 int |int64, 4 double |double, 5 array |bytes, 6 map |bytes,"
    "7 bytes |bytes",
    "Response": "1 partial_success Partial",
    "Partial": "1 rejected_data_points int64, 2 error_message string",
    "Status": "1 code int32, 2 message string, 3 details *Any",
    "Any": "1 type_url string, 2 value bytes",
    "BadRequest": "1 field_violations *Violation",
    "Violation": "1 field string, 2 description string",
}


@cache
def messages() -> dict[str, Any]:
    """The message classes by name."""
    file = FileDescriptorProto(name="f0ops/otlp.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        _add(file, name, fields)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


def _add(file: Any, name: str, fields: str) -> None:
    message = file.message_type.add(name=name)
    if "|" in fields:
        message.oneof_decl.add(name="one")
    for entry in fields.split(","):
        number, field_name, kind = entry.split()
        mark, type_ = (kind[0], kind[1:]) if kind[0] in "?*|" else ("", kind)
        field = message.field.add(name=field_name, number=int(number))
        field.label = FieldDescriptorProto.LABEL_REPEATED if mark == "*" else FieldDescriptorProto.LABEL_OPTIONAL
        if type_ in _MESSAGES:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{type_}"
        else:
            field.type = FieldDescriptorProto.Type.Value(f"TYPE_{type_.upper()}")
        if mark == "|":
            field.oneof_index = 0
        elif mark == "?":
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field_name}")

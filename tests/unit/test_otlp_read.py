"""Reading OTLP: whatever the layout of a request, we read what the generated classes of opentelemetry-proto read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from functions.metrics_ingest import otlp_proto, otlp_read
from functions.metrics_ingest.otlp_json import JsonReader
from functions.metrics_ingest.otlp_proto import ProtobufReader
from functions.metrics_ingest.otlp_read import Attributes, Metric, TooMany, Unreadable

# A message on the wire as a list of fields: number, wire type, content. The content may be a message again.
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
Field = tuple[int, int, Any]


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def wire(fields: list[Field]) -> bytes:
    out = b""
    for number, kind, content in fields:
        out += varint(number << 3 | kind)
        if kind == VARINT:
            out += varint(content)
        elif kind == BYTES:
            data = wire(content) if isinstance(content, list) else content
            out += varint(len(data)) + data
        else:
            out += content
    return out


def fixed(number: int) -> st.SearchStrategy[Field]:
    return st.integers(0, 2**64 - 1).map(lambda n: (number, EIGHT, struct.pack("<Q", n)))


def double(number: int) -> st.SearchStrategy[Field]:
    return st.floats(allow_nan=False).map(lambda x: (number, EIGHT, struct.pack("<d", x)))


def small(number: int) -> st.SearchStrategy[Field]:
    return st.integers(0, 2**32 - 1).map(lambda n: (number, VARINT, n))


def zigzag(number: int) -> st.SearchStrategy[Field]:
    return st.integers(-(2**31), 2**31 - 1).map(lambda n: (number, VARINT, (n << 1) ^ (n >> 31)))


def text(number: int) -> st.SearchStrategy[Field]:
    return st.text(max_size=4).map(lambda t: (number, BYTES, t.encode()))


def inner(number: int, *fields: st.SearchStrategy[Field], most: int = 4) -> st.SearchStrategy[Field]:
    """A message of any of these fields, in any order, each any number of times."""
    return st.lists(st.one_of(fields), max_size=most).map(lambda chosen: (number, BYTES, chosen))


def around(number: int, core: st.SearchStrategy[Field], *others: st.SearchStrategy[Field]) -> st.SearchStrategy[Field]:
    """A message with one to three of `core` at least, among others, in any order."""
    parts = st.tuples(st.lists(core, min_size=1, max_size=3), st.lists(st.one_of(others), max_size=3))
    return parts.flatmap(lambda p: st.permutations(p[0] + p[1])).map(lambda fields: (number, BYTES, fields))


def packed(number: int, form: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Field]:
    return st.lists(values, max_size=20).map(lambda v: (number, BYTES, struct.pack(f"<{len(v)}{form}", *v)))


UNKNOWN = st.one_of(
    st.integers(0, 2**64 - 1).map(lambda n: (99, VARINT, n)),
    st.binary(max_size=9).map(lambda b: (1000, BYTES, b)),
    st.binary(min_size=4, max_size=4).map(lambda b: (98, FOUR, b)),
    st.binary(min_size=8, max_size=8).map(lambda b: (97, EIGHT, b)),
)
VALUE = inner(
    2, text(1), st.booleans().map(lambda b: (2, VARINT, int(b))), small(3), double(4), inner(5, most=0), UNKNOWN, most=2
)


def attribute(number: int) -> st.SearchStrategy[Field]:
    usual = st.tuples(text(1), VALUE).map(lambda pair: (number, BYTES, list(pair)))
    return st.one_of(usual, inner(number, text(1), VALUE, UNKNOWN, most=3))


EXEMPLAR_VALUE = inner(5, double(3), most=1)
COUNTS = st.integers(0, 2**64 - 1)
NUMBER = (fixed(2), fixed(3), double(4), fixed(6), EXEMPLAR_VALUE, attribute(7), small(8), UNKNOWN)
HISTOGRAM = (
    fixed(2), fixed(3), fixed(4), double(5), packed(6, "Q", COUNTS), fixed(6),
    packed(7, "d", st.floats(allow_nan=False)), double(7),
    inner(8, double(3), most=1), attribute(9), small(10), double(11), double(12), UNKNOWN,
)  # fmt: skip
BUCKETS = (
    zigzag(1), st.integers(0, 2**40).map(lambda n: (2, VARINT, n)),
    st.lists(st.integers(0, 2**40), max_size=5).map(lambda v: (2, BYTES, b"".join(map(varint, v)))),
)  # fmt: skip
EXPONENTIAL = (
    attribute(1), fixed(2), fixed(3), fixed(4), double(5), zigzag(6), fixed(7), inner(8, *BUCKETS), inner(9, *BUCKETS),
    small(10), double(12), double(13), double(14), UNKNOWN,
)  # fmt: skip


def usual(fields: list[st.SearchStrategy[Any]]) -> st.SearchStrategy[Field]:
    """A point with its fields as an SDK sends them."""
    return st.tuples(*fields).map(lambda parts: (1, BYTES, [f for f in parts if f is not None]))


def maybe(field: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | field


USUAL_NUMBER = usual([maybe(fixed(2)), fixed(3), double(4) | fixed(6), attribute(7), maybe(small(8)), maybe(UNKNOWN)])
USUAL_HISTOGRAM = usual(
    [fixed(2), fixed(3), fixed(4), double(5), packed(6, "Q", COUNTS), packed(7, "d", st.floats(allow_nan=False)),
     attribute(9), maybe(small(10)), double(11), double(12)]
)  # fmt: skip


def data(number: int, point: tuple[Any, ...], usual: st.SearchStrategy[Field] | None = None) -> Any:
    points = inner(1, *point, most=8) if usual is None else usual | inner(1, *point, most=8)
    flags = st.integers(0, 5).map(lambda n: (2, VARINT, n)) | st.booleans().map(lambda b: (3, VARINT, int(b)))
    return around(number, points, flags)


DATA = st.one_of(
    data(5, NUMBER, USUAL_NUMBER), data(7, NUMBER, USUAL_NUMBER),
    data(9, HISTOGRAM, USUAL_HISTOGRAM), data(10, EXPONENTIAL), data(11, (attribute(7), fixed(3))),
)  # fmt: skip
METRIC = around(2, DATA, text(1), text(2), text(3), UNKNOWN)
SCOPE = around(2, METRIC, inner(1, text(1), text(2), attribute(3)), text(3), UNKNOWN)
RESOURCE = around(1, SCOPE, inner(1, attribute(1), UNKNOWN), text(3), UNKNOWN)
REQUESTS = st.lists(RESOURCE, min_size=1, max_size=2).map(wire)


def attributes_of(pairs: Any, **more: object) -> dict[str, object]:
    values: dict[str, object] = {}
    for pair in pairs:
        which = pair.value.WhichOneof("value")
        value = getattr(pair.value, which) if which else None
        values[pair.key] = value.SerializeToString() if which in ("array_value", "kvlist_value") else value
    return values | more


def expected(body: bytes) -> list[dict[str, object]]:
    """The request as the generated classes read it."""
    read = []
    for in_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for in_scope in in_resource.scope_metrics:
            scope = in_scope.scope
            for m in in_scope.metrics:
                kind = m.WhichOneof("data") or "none"
                points = list(getattr(m, kind).data_points) if kind != "none" else []
                has_time = kind in ("sum", "histogram", "exponential_histogram")
                named = {"scope.name": scope.name, "scope.version": scope.version}
                read.append(
                    {
                        "resource": attributes_of(in_resource.resource.attributes),
                        "scope": attributes_of(scope.attributes, **named),
                        "name": m.name,
                        "unit": m.unit,
                        "kind": kind,
                        "temporality": getattr(m, kind).aggregation_temporality if has_time else None,
                        "is_monotonic": m.sum.is_monotonic if kind == "sum" else None,
                        "count": len(points),
                        "points": [_READ[kind](p) for p in points] if kind in _READ else [],
                    }
                )
    return read


def _number(p: Any) -> list[object]:
    which = p.WhichOneof("value")
    value = getattr(p, which) if which else None
    return [attributes_of(p.attributes), p.start_time_unix_nano, p.time_unix_nano, value, p.flags]


def _extremes(p: Any) -> list[object]:
    start = [attributes_of(p.attributes), p.start_time_unix_nano, p.time_unix_nano, p.flags, p.count]
    return start + [getattr(p, name) if p.HasField(name) else None for name in ("sum", "min", "max")]


def _exponential(p: Any) -> list[object]:
    positive = [p.positive.offset, tuple(p.positive.bucket_counts)]
    return [*_extremes(p), p.scale, p.zero_count, p.zero_threshold, *positive, any(p.negative.bucket_counts)]


_READ: dict[str, Callable[[Any], list[object]]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": lambda p: [*_extremes(p), tuple(p.bucket_counts), tuple(p.explicit_bounds)],
    "exponential_histogram": _exponential,
}


def plain(metrics: list[Metric]) -> list[dict[str, object]]:
    """What was read, in the form of `expected`."""
    read = []
    for m in metrics:
        numbers: list[list[object]] = [list(p) for p in m.numbers]
        structs = [[getattr(p, name) for name in p.__struct_fields__] for p in (*m.histograms, *m.exponentials)]
        points = [[f.values if isinstance(f, Attributes) else f for f in p] for p in numbers + structs]
        read.append(
            {
                "resource": m.resource.values,
                "scope": m.scope.values,
                "name": m.name,
                "unit": m.unit,
                "kind": m.kind,
                "temporality": m.temporality if m.kind in ("sum", "histogram", "exponential_histogram") else None,
                "is_monotonic": m.is_monotonic if m.kind == "sum" else None,
                "count": m.count,
                "points": points,
            }
        )
    return read


@settings(max_examples=40)
@given(st.lists(REQUESTS, min_size=1, max_size=3))
def test_any_layout_is_read_as_the_generated_classes_read_it_however_full_the_cache(bodies: list[bytes]) -> None:
    reader = ProtobufReader()
    for body in [*bodies, *bodies]:
        assert plain(reader.read(body)) == expected(body)


@settings(max_examples=40)
@given(REQUESTS, st.data())
def test_damaged_bytes_are_unreadable_or_read_as_the_generated_classes_read_them(body: bytes, data: Any) -> None:
    at = data.draw(st.integers(0, max(0, len(body) - 1)))
    damaged = data.draw(st.sampled_from([body[:at], body[:at] + b"\xff" + body[at + 1 :], body[:at] + body[at + 1 :]]))
    try:
        wanted = expected(damaged)
    except DecodeError:
        with suppress(Unreadable):  # what is broken in a part that nobody reads may be read all the same
            ProtobufReader().read(damaged)
        return
    assert repr(plain(ProtobufReader().read(damaged))) == repr(wanted)  # by text, since damage can make a NaN


@settings(max_examples=40)
@given(REQUESTS)
def test_json_is_read_as_the_same_request_in_protobuf(body: bytes) -> None:
    sent = json_format.MessageToDict(ExportMetricsServiceRequest.FromString(body), use_integers_for_enums=True)
    read, wanted = (without_bytes(m) for m in (plain(JsonReader().read(json.dumps(sent).encode())), expected(body)))
    assert read == wanted


def without_bytes(value: Any) -> Any:
    """Lists and maps among attributes stay in the form that they were sent in, so they differ."""
    if isinstance(value, dict):
        return {k: without_bytes(v) for k, v in value.items()}
    return "bytes" if isinstance(value, bytes) else [*map(without_bytes, value)] if isinstance(value, list) else value


def request(*points: pb.NumberDataPoint, kind: str = "gauge", name: str = "api_latency") -> ExportMetricsServiceRequest:
    made = ExportMetricsServiceRequest()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    getattr(metric, kind).data_points.extend(points)
    return made


def test_a_later_field_that_hides_behind_the_attributes_is_not_overlooked() -> None:
    point = pb.NumberDataPoint(start_time_unix_nano=1, time_unix_nano=2, as_double=3)
    point.attributes.add(key="a").value.string_value = "b"
    twice = point.SerializeToString() + pb.NumberDataPoint(time_unix_nano=9, as_int=4).SerializeToString()
    body = wire([(1, BYTES, [(2, BYTES, [(2, BYTES, [(5, BYTES, [(1, BYTES, twice)])])])])])
    reader = ProtobufReader()
    for _ in range(2):
        ((_, start, time, value, _),) = reader.read(body)[0].numbers
        assert (start, time, value) == (1, 9, 4)


def test_the_attributes_of_a_number_are_never_taken_for_the_bounds_of_a_histogram() -> None:
    number = wire([(3, EIGHT, bytes(8)), (4, EIGHT, bytes(8)), (7, BYTES, wire([(1, BYTES, b"abcdef")]))])
    eight = struct.pack("<Q", 1)
    start = [(2, EIGHT, eight), (3, EIGHT, eight), (4, EIGHT, eight), (5, EIGHT, eight), (6, BYTES, eight)]
    histogram = wire([*start, (7, BYTES, eight), (7, BYTES, wire([(1, BYTES, b"abcdef")]))])
    metrics = [(2, BYTES, [(5, BYTES, [(1, BYTES, number)])]), (2, BYTES, [(9, BYTES, [(1, BYTES, histogram)])])]
    body = wire([(1, BYTES, [(2, BYTES, metrics)])])
    assert plain(ProtobufReader().read(body)) == expected(body)


def test_the_usual_points_are_read_at_fixed_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the figures of the benchmark would not hold."""
    monkeypatch.setattr(ProtobufReader, "_any_number", None)
    monkeypatch.setattr(ProtobufReader, "_any_histogram", None)
    numbers = [pb.NumberDataPoint(start_time_unix_nano=s, time_unix_nano=2, as_double=3) for s in (0, 1)]
    numbers += [pb.NumberDataPoint(start_time_unix_nano=s, time_unix_nano=2, as_int=3) for s in (0, 1)]
    for point in numbers:
        point.attributes.add(key="a").value.int_value = 200
    assert len(ProtobufReader().read(request(*numbers).SerializeToString())[0].numbers) == 4
    histogram = pb.HistogramDataPoint(start_time_unix_nano=1, time_unix_nano=2, count=16, sum=3, min=1, max=4)
    histogram.bucket_counts.extend([1] * 16)
    histogram.explicit_bounds.extend(range(15))
    histogram.attributes.add(key="a").value.string_value = "b"
    made = ExportMetricsServiceRequest()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="api_latency")
    metric.histogram.data_points.append(histogram)
    (read,) = ProtobufReader().read(made.SerializeToString())[0].histograms
    assert read.counts == (1,) * 16


def test_the_cache_is_emptied_before_it_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_read, "MAX_CACHED", 50)
    reader = ProtobufReader()
    for n in range(200):
        point = pb.NumberDataPoint(time_unix_nano=2, as_double=3)
        point.attributes.add(key="a").value.string_value = str(n)
        (read,) = reader.read(request(point).SerializeToString())[0].numbers
        assert read[0].values == {"a": str(n)}
    kept = (reader._numbers_rest, reader._histograms_rest, reader._cache.found)
    assert sum(map(len, kept)) <= 52


@pytest.mark.parametrize("field", [1, 2])
def test_more_than_a_bounded_number_of_points_is_too_many(field: int) -> None:
    many = wire([(1, BYTES, b"")]) * (otlp_read.MAX_POINTS + 1)
    body = many if field == 1 else wire([(1, BYTES, [(2, BYTES, [(2, BYTES, [(5, BYTES, many)])])])])
    with pytest.raises(TooMany):
        ProtobufReader().read(body)
    points = ",".join(["{}"] * (otlp_read.MAX_POINTS + 1))
    with pytest.raises(TooMany):
        JsonReader().read(f'{{"resourceMetrics":[{points}]}}'.encode())


@pytest.mark.parametrize("where", ["resource", "scope", "point"])
def test_more_than_a_bounded_number_of_attributes_of_one_is_too_many_in_both_forms(where: str) -> None:
    sent = request(pb.NumberDataPoint(time_unix_nano=2, as_double=3))
    in_scope = sent.resource_metrics[0].scope_metrics[0]
    point = in_scope.metrics[0].gauge.data_points[0]
    attributes = {"resource": sent.resource_metrics[0].resource, "scope": in_scope.scope, "point": point}[
        where
    ].attributes

    def read_both() -> list[list[Metric]]:
        as_json = json_format.MessageToJson(sent).encode()
        return [ProtobufReader().read(sent.SerializeToString()), JsonReader().read(as_json)]

    for n in range(otlp_read.MAX_ATTRIBUTES):
        attributes.add(key=f"a{n}").value.int_value = n
    assert [len(metrics) for metrics in read_both()] == [1, 1]
    attributes.add(key="one more").value.int_value = 1
    with pytest.raises(TooMany):
        ProtobufReader().read(sent.SerializeToString())
    with pytest.raises(TooMany):
        JsonReader().read(json_format.MessageToJson(sent).encode())


def test_json_takes_64_bit_integers_as_texts_or_numbers_and_ignores_unknown_fields() -> None:
    body = {
        "resourceMetrics": [
            {
                "new": {"x": [1]},
                "scopeMetrics": [
                    {
                        "metrics": [
                            {
                                "name": "api_latency",
                                "unit": None,
                                "gauge": {
                                    "dataPoints": [
                                        {"timeUnixNano": "1700000000000000001", "asInt": "-5", "unknown": 1},
                                        {"timeUnixNano": 1700000000000000001, "asInt": 7, "flags": 1},
                                        {"timeUnixNano": None, "asDouble": "NaN"},
                                    ]
                                },
                            }
                        ]
                    }
                ],
            }
        ]
    }
    (metric,) = JsonReader().read(json.dumps(body).encode())
    assert [p[2:] for p in metric.numbers[:2]] == [(1700000000000000001, -5, 0), (1700000000000000001, 7, 1)]
    assert str(metric.numbers[2][3]) == "nan"


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"{", b"[]", b'{"resourceMetrics": {}}', b'{"resourceMetrics": [1]}', b"\xff",
        b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"\xff"}]},"scopeMetrics":[]}]}',
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"aggregationTemporality":"DELTA"}}]}]}]}',
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asInt":"1e5"}]}}]}]}]}',
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asDouble":"secret"}]}}]}]}]}',
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"timeUnixNano":-1}]}}]}]}]}',
        b'{"resourceMetrics":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_json_that_is_no_otlp_is_unreadable_and_nothing_of_it_is_quoted(sent: bytes) -> None:
    with pytest.raises(Unreadable) as told:
        JsonReader().read(sent)
    assert "secret" not in str(told.value)


def test_the_same_attributes_in_any_order_are_the_same_for_a_stream() -> None:
    one, other = Attributes({"a": "1", "b": 2}), Attributes({"b": 2, "a": "1"})
    assert one.canonical() == other.canonical()
    assert one.canonical() != Attributes({"a": "1", "b": "2"}).canonical()


def test_the_quick_way_is_tried_for_each_point_by_itself() -> None:
    assert otlp_proto._START_TIME_VALUE[0x21].size == 27
    odd = pb.NumberDataPoint(time_unix_nano=2, as_double=3, flags=1)
    odd.exemplars.add(as_double=1)
    usual_one = pb.NumberDataPoint(time_unix_nano=2, as_double=3)
    body = request(odd, usual_one, odd).SerializeToString()
    assert plain(ProtobufReader().read(body)) == expected(body)

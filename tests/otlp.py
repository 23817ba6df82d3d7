"""What the tests of OTLP share: requests made with the generated classes, sent over a real socket, answers read."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.core import KEY, NOW, ms

PROTOBUF = "application/x-protobuf"
DELTA, CUMULATIVE = 1, 2


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def accepted(self) -> tuple[int, str]:
        """Rejected points and the message of a success."""
        assert self.status == 200, self.error
        assert self.headers["content-type"] == PROTOBUF
        partial = ExportMetricsServiceResponse.FromString(self.body).partial_success
        return partial.rejected_data_points, partial.error_message

    @property
    def error(self) -> Status:
        """The Status of an error in protobuf."""
        assert self.headers["content-type"] == PROTOBUF
        return Status.FromString(self.body)


def post(
    port: int,
    body: bytes | Iterator[bytes] | ExportMetricsServiceRequest,
    *,
    headers: Mapping[str, str] | None = None,
    key: str | None = KEY,
    method: str = "POST",
    path: str = "/v1/metrics",
) -> Answer:
    given = {"Content-Type": PROTOBUF, **({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
    data = body.SerializeToString() if isinstance(body, ExportMetricsServiceRequest) else body
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, data, given, encode_chunked=isinstance(data, Iterator))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, 1)


def nanos(at: datetime | int = NOW) -> int:
    return (ms(at) if isinstance(at, datetime) else at) * 1_000_000


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    made = []
    for key, value in values.items():
        pair = KeyValue(key=key)
        kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}.get(type(value))
        if kind is None:
            pair.value.array_value.values.add().string_value = "item"
        else:
            setattr(pair.value, kind, value)
        made.append(pair)
    return made


class Export:
    """A request under construction. `add` adds a metric with one point, or a point to the metric added before."""

    def __init__(self, **resource: Any) -> None:
        self.request = ExportMetricsServiceRequest()
        self._in_resource = self.request.resource_metrics.add()
        self._in_resource.resource.attributes.extend(attributes({k.replace("_", "."): v for k, v in resource.items()}))
        self._scope = self._in_resource.scope_metrics.add()

    def _data(self, name: str, unit: str, kind: str, temporality: int | None) -> Any:
        metrics = self._scope.metrics
        if not metrics or metrics[-1].name != name or not metrics[-1].HasField(kind):
            metrics.add(name=name, unit=unit)
        data = getattr(metrics[-1], kind)
        if temporality is not None:
            data.aggregation_temporality = temporality
        return data

    def gauge(self, value: float, name: str = "api_latency", unit: str = "ms", **point: Any) -> Export:
        self._number(self._data(name, unit, "gauge", None), value, **point)
        return self

    def sum(
        self, value: float, name: str, unit: str = "", temporality: int = DELTA, monotonic: bool = True, **point: Any
    ) -> Export:
        data = self._data(name, unit, "sum", temporality)
        data.is_monotonic = monotonic
        self._number(data, value, **point)
        return self

    def histogram(
        self,
        counts: list[int],
        bounds: list[float],
        name: str = "api_latency",
        unit: str = "ms",
        temporality: int = DELTA,
        at: datetime | int = NOW,
        labels: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Export:
        point = self._data(name, unit, "histogram", temporality).data_points.add(
            **{"count": sum(counts), "sum": 10.0 * sum(counts), "bucket_counts": counts, "explicit_bounds": bounds}
            | {"start_time_unix_nano": nanos(at) - 10**9, "time_unix_nano": nanos(at)}
            | fields
        )
        point.attributes.extend(attributes(labels or {}))
        return self

    def exponential(
        self, unit: str = "ms", temporality: int = DELTA, labels: Mapping[str, Any] | None = None, **fields: Any
    ) -> Export:
        point = self._data("api_latency", unit, "exponential_histogram", temporality).data_points.add(
            **{"time_unix_nano": nanos(), "start_time_unix_nano": nanos() - 10**9} | fields
        )
        point.attributes.extend(attributes(labels or {}))
        return self

    def _number(
        self, data: Any, value: float, at: datetime | int = NOW, labels: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        kind = "as_int" if isinstance(value, int) else "as_double"
        point = data.data_points.add(**{"time_unix_nano": nanos(at), kind: value} | fields)
        point.attributes.extend(attributes(labels or {}))

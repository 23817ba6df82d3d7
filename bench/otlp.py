"""OTLP: CPU from body to commit, against parsing a body and reading every field with opentelemetry-proto."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from bench.data import CONFIG, NOW_MS, PER_BATCH, fresh_store, labels
from bench.report import heading, median_ratio, row
from functions.metrics_ingest.decode import parse_labels
from functions.metrics_ingest.otlp import Otlp
from functions.metrics_ingest.otlp_answer import PROTOBUF
from functions.metrics_ingest.otlp_read import CUMULATIVE, DELTA
from shared.domain.series import SeriesTable
from shared.metrics.group_commit import GroupCommit
from shared.slo_loader import SloLoader
from shared.store.sqlite import SqliteStore

BATCHES = 40
A_COMMIT = 10
BOUNDS = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
NAMES = {"endpoint": "http.route", "method": "http.request.method", "status": "http.response.status_code"}
CASES = (
    ("gauge", 20, DELTA, 0.5),
    ("gauge", 500, DELTA, None),
    ("sum", 20, DELTA, 0.5),
    ("sum", 20, CUMULATIVE, 0.5),
    ("sum", 500, CUMULATIVE, None),
    ("histogram", 20, DELTA, 0.5),
    ("histogram", 500, DELTA, None),
    ("histogram", 20, CUMULATIVE, 0.5),
    ("histogram", 500, CUMULATIVE, None),
)


def bodies(kind: str, series: int, temporality: int = DELTA, seed: int = 1) -> list[bytes]:
    """Requests of 500 points as an SDK lays them out."""
    source = random.Random(seed)
    return [_body(kind, series, temporality, source) for _ in range(BATCHES)]


def _body(kind: str, series: int, temporality: int, source: random.Random) -> bytes:
    request: Any = ExportMetricsServiceRequest()
    in_resource = request.resource_metrics.add()
    in_resource.resource.attributes.append(_attribute("service.name", "shop"))
    metric = in_resource.scope_metrics.add().metrics.add(name="api_latency", unit="ms")
    data = getattr(metric, kind)
    if kind != "gauge":
        data.aggregation_temporality = temporality
    if kind == "sum":
        data.is_monotonic = True
    for n in range(PER_BATCH):
        at = (NOW_MS - source.randrange(10_000)) * 1_000_000
        point = data.data_points.add(time_unix_nano=at)
        point.attributes.extend(_attribute(NAMES[name], value) for name, value in labels(n % series).items())
        if kind == "gauge":
            point.as_double = round(source.lognormvariate(4.5, 0.5), 3)
            continue
        point.start_time_unix_nano = at - 60_000_000_000
        if kind == "sum":
            point.as_double = round(source.lognormvariate(4.5, 0.5), 3)
            continue
        counts = [source.randrange(5) if 3 <= bucket <= 9 else 0 for bucket in range(len(BOUNDS) + 1)]
        point.bucket_counts.extend(counts)
        point.explicit_bounds.extend(BOUNDS)
        point.count, point.sum, point.min, point.max = sum(counts), 100.0 * sum(counts), 11.0, 740.0
    return bytes(request.SerializeToString())


def _attribute(name: str, value: str) -> KeyValue:
    made = KeyValue(key=name)
    if value.isdigit():
        made.value.int_value = int(value)
    else:
        made.value.string_value = value
    return made


def read_every_field(sent: Sequence[bytes], kind: str) -> None:
    """What a plain receiver does first: the runtime parses lazily, so only reading shows what parsing costs."""
    for body in sent:
        request: Any = ExportMetricsServiceRequest.FromString(body)
        for in_resource in request.resource_metrics:
            _attributes(in_resource.resource.attributes)
            for in_scope in in_resource.scope_metrics:
                for metric in in_scope.metrics:
                    for point in getattr(metric, kind).data_points:
                        _attributes(point.attributes)
                        _ = point.start_time_unix_nano, point.time_unix_nano, point.flags
                        if kind == "histogram":
                            _ = point.count, point.sum, point.min, point.max
                            _ = list(point.bucket_counts), list(point.explicit_bounds)
                        else:
                            _ = getattr(point, point.WhichOneof("value"))


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def append_all(store: SqliteStore, sent: Sequence[bytes], otlp: Otlp, table: SeriesTable) -> None:
    commits = GroupCommit(store)
    waiting = []
    for body in sent:
        batch, intake = otlp.read(body, PROTOBUF, table, NOW_MS)
        assert intake.accepted == PER_BATCH, intake.refused.text()
        waiting.append(batch)
        if len(waiting) == A_COMMIT:
            commits.write(waiting, "2027-01-15")
            waiting = []


def _named(kind: str, temporality: int) -> str:
    return kind if kind == "gauge" else f"{'delta' if temporality == DELTA else 'cumulative'} {kind}"


def cpu() -> None:
    heading("OTLP protobuf: CPU of the whole path from body to commit (SQLite, synchronous=FULL), HTTP aside")
    for kind, series, temporality, limit in CASES:
        sent = bodies(kind, series, temporality)
        store = fresh_store()
        loader = SloLoader(store, CONFIG, time.monotonic)
        table = SeriesTable(loader.registry, loader.current().bounds(loader.registry), parse_labels)
        otlp = Otlp()
        append_all(store, sent, otlp, table)

        def path(
            sent: list[bytes] = sent, store: SqliteStore = store, otlp: Otlp = otlp, table: SeriesTable = table
        ) -> None:
            append_all(store, sent, otlp, table)

        def generated(sent: list[bytes] = sent, kind: str = kind) -> None:
            read_every_field(sent, kind)

        ratio, ours, base = median_ratio(path, generated)
        per = 1e9 / (len(sent) * PER_BATCH)
        row(
            f"{_named(kind, temporality)}, {series} series: {ours * per:.0f} ns a point, generated {base * per:.0f}",
            f"{ratio:.2f} ×",
            f"≤ {limit} × parse + every field" if limit else "beside parse + every field",
            None if limit is None else ratio <= limit,
        )

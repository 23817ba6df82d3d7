"""The forms that a batch of POST /api/metrics comes in, and their limits."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec

from shared.domain.aggregate import aggregate_weighted
from shared.domain.building import Batch
from shared.domain.series import SeriesTable

MAX_METRICS = 10_000  # and series
MAX_WEIGHT = 1000
BATCH_ID = re.compile(r"[A-Za-z0-9._:\-]{8,128}")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # RecursionError: nested too deeply

Rejected = list[dict[str, object]]


class Metric(msgspec.Struct, gc=False):
    """`labels` stays JSON as sent. `aggregation` is checked only: how a metric is read stands in the registry."""

    name: str
    value: float
    timestamp: int
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    aggregation: Literal["sum", "avg", "p95", "count"] | None = None


Weight = Annotated[int, msgspec.Meta(ge=1, le=MAX_WEIGHT)]


class WeightedMetric(Metric, gc=False):
    """`weight`: how many events the sample stands for."""

    weight: Weight = 1


class SeriesPoints(msgspec.Struct, gc=False):
    """The compact form of the metrics of one series: the n-th timestamp is of the n-th value."""

    name: str
    times: list[int]
    values: list[float]
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    weight: Weight = 1


def aggregate_metrics(metrics: list[WeightedMetric], batch_hash: bytes, table: SeriesTable, now_ms: int) -> Batch:
    return aggregate_weighted(metrics, batch_hash, table, now_ms)  # type: ignore[arg-type]  # Raw is a buffer


def hash_of(batch_id: str) -> bytes:
    return blake2b(batch_id.encode(), digest_size=8).digest()

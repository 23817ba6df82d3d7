"""A segment: the batches of one group commit as bytes, each batch apart from the others, with one table of series.

The bytes: `m` (plain) or `z` (compressed), a CRC-32 of what follows, and the segment as MessagePack.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from shared.domain.building import Batch, Block, DeltaHistogram, Part, Reading
from shared.domain.cumulative import Histogram, Point, Value
from shared.domain.rollup import Stats
from shared.metrics.points_codec import PackedPoint, pack
from shared.metrics.rollup_codec import packed

VERSION = 1
VERSION_WITH_MORE = 2  # has wholes or points, which version 1 cannot read
VERSION_WITH_HISTOGRAMS = 3  # has histograms or readings besides
COMPRESS_FROM = 600_000  # raw values hardly shrink: only what would not fit is worth the work
MAX_BYTES = 900_000

_encode = msgspec.msgpack.Encoder().encode


class _Whole(msgspec.Struct, array_like=True, gc=False):
    """A series' number and its rollup, in the order of `packed`."""

    number: int
    count: int
    total: float
    low: float
    high: float
    up_to: dict[float, int]
    estimated: set[float]
    buckets: dict[int, int]
    spans: dict[tuple[int, int], int] = {}
    weighted: int = 0

    def stats(self) -> Stats:
        return Stats(
            self.count, self.total, self.low, self.high, self.up_to, self.buckets, self.estimated, self.spans,
            self.weighted,
        )  # fmt: skip


class _Block(msgspec.Struct, array_like=True, gc=False):
    number: int
    raw_series: bytes
    raw_values: bytes
    parts: list[tuple[int, float, float, float, list[int], bytes]]
    wholes: list[_Whole] = []
    points: list[tuple[int, PackedPoint]] = []
    histograms: list[DeltaHistogram] = []
    readings: list[Reading] = []


class _Batch(msgspec.Struct, array_like=True, gc=False):
    hash: bytes
    blocks: list[_Block]
    bounds: list[tuple[float, ...]] = []


class _Segment(msgspec.Struct, array_like=True):
    """`series`: number → (key, place of its bounds in `bounds`)."""

    version: int
    bounds: list[tuple[float, ...]]
    series: dict[int, tuple[str, int]]
    batches: list[_Batch]


_decode = msgspec.msgpack.Decoder(_Segment).decode


class CorruptSegment(Exception):
    """Bytes that no instance of ours wrote."""


@dataclass(slots=True)
class StoredBlock:
    """What one batch brings to one 5-minute block. `points`: the batch's readings too."""

    number: int
    raw_series: array[int]
    raw_values: array[float]
    parts: list[Part]
    wholes: list[tuple[int, Stats]]
    points: list[tuple[int, Point]]
    histograms: list[DeltaHistogram]


@dataclass(slots=True)
class StoredBatch:
    hash: bytes
    series: dict[int, tuple[str, tuple[float, ...]]]
    blocks: list[StoredBlock]
    bounds: list[tuple[float, ...]]


def encode_segment(batches: Sequence[Batch]) -> bytes:
    """The payload; batches of one instance share series numbers."""
    places: dict[tuple[float, ...], int] = {}
    touched = {number: series for batch in batches for number, series in batch.series.items()}
    series = {n: (s.key, places.setdefault(s.bounds, len(places))) for n, s in touched.items()}
    version = max((_version(block) for batch in batches for block in batch.blocks), default=VERSION)
    body = _encode(
        (
            version,
            list(places),
            series,
            [(batch.hash, [_packed_block(block) for block in batch.blocks], batch.bounds) for batch in batches],
        )
    )
    kind, body = (b"z", zlib.compress(body, 1)) if len(body) > COMPRESS_FROM else (b"m", body)
    return kind + zlib.crc32(body).to_bytes(4, "big") + body


def _version(block: Block) -> int:
    if block.histograms or block.readings:
        return VERSION_WITH_HISTOGRAMS
    return VERSION_WITH_MORE if block.wholes or block.points else VERSION


def _packed_block(block: Block) -> tuple[Any, ...]:
    fields = (block.number, block.raw_series.tobytes(), block.raw_values.tobytes(), block.parts)
    version = _version(block)
    if version == VERSION:
        return fields
    wholes = [(number, *packed(stats)) for number, stats in block.wholes]
    points = [(number, pack(point)) for number, point in block.points]
    more = (block.histograms, block.readings) if version == VERSION_WITH_HISTOGRAMS else ()
    return (*fields, wholes, points, *more)


def decode_segment(payload: bytes) -> list[StoredBatch]:
    """Raises `CorruptSegment`."""
    try:
        body = payload[5:]
        if payload[:1] not in (b"m", b"z") or payload[1:5] != zlib.crc32(body).to_bytes(4, "big"):
            raise CorruptSegment("checksum")
        segment = _decode(zlib.decompress(body) if payload[:1] == b"z" else body)
        if segment.version not in (VERSION, VERSION_WITH_MORE, VERSION_WITH_HISTOGRAMS):
            raise CorruptSegment("version")
        series = {number: (key, segment.bounds[place]) for number, (key, place) in segment.series.items()}
        return [
            StoredBatch(
                batch.hash,
                series,
                [
                    StoredBlock(
                        b.number,
                        array("I", b.raw_series),
                        array("d", b.raw_values),
                        b.parts,
                        [(whole.number, whole.stats()) for whole in b.wholes],
                        [(number, point.unpack()) for number, point in b.points]
                        + [_point(reading, batch.bounds) for reading in b.readings],
                        b.histograms,
                    )
                    for b in batch.blocks
                ],
                batch.bounds,
            )
            for batch in segment.batches
        ]
    except (zlib.error, msgspec.DecodeError, ValueError, IndexError) as error:
        raise CorruptSegment(type(error).__name__) from error


def _point(reading: Reading, bounds: Sequence[tuple[float, ...]]) -> tuple[int, Point]:
    number, stream, start, time, value = reading
    read: Value
    if isinstance(value, tuple):
        place, total, counts = value
        read = Histogram(sum(counts), total, bounds[place], counts)
    else:
        read = value
    return number, Point(stream, start, time, read)

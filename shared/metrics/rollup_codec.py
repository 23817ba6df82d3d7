"""Rollups and SLO slots as bytes in documents."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.domain.fit import fit
from shared.domain.rollup import Stats
from shared.domain.slots import SLOTS_A_DAY, SlotDay, SlotRow

COMPRESS_FROM = 300_000
MAX_PAYLOAD = 700_000


class _Series(msgspec.Struct, array_like=True, gc=False):
    key: str
    count: int
    total: float
    low: float
    high: float
    up_to: dict[float, int]
    estimated: set[float]
    buckets: dict[int, int]
    spans: dict[tuple[int, int], int] = {}
    weighted: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode_series = msgspec.msgpack.Decoder(list[_Series]).decode


class _Slots(msgspec.Struct, array_like=True, gc=False):
    good: int
    total: int
    goods: bytes
    totals: bytes
    estimates: bytes = b""


_decode_slots = msgspec.msgpack.Decoder(dict[str, _Slots]).decode


def encode_rollup(rollup: Mapping[str, Stats]) -> bytes:
    rows = [(key, *packed(stats)) for key, stats in rollup.items()]
    return zlib.compress(_encode(rows), 1)


def packed(stats: Stats) -> tuple[Any, ...]:
    """A rollup's fields in the order of `_Series`; the last two only where there is something in them."""
    fields = (stats.count, stats.total, stats.low, stats.high, stats.up_to, stats.estimated, stats.buckets)
    return (*fields, stats.spans, stats.weighted) if stats.spans or stats.weighted else fields


def encode_fitted(rollup: dict[str, Stats], limit: int = MAX_PAYLOAD) -> bytes:
    """Like `encode_rollup`, with the smallest series put together if it takes more than `limit` bytes."""
    payload = encode_rollup(rollup)
    if len(payload) <= limit:
        return payload
    return encode_rollup(fit(rollup, lambda r: len(encode_rollup(r)), limit))


def decode_rollup(payload: bytes) -> dict[str, Stats]:
    return {
        row.key: Stats(
            row.count, row.total, row.low, row.high, row.up_to, row.buckets, row.estimated, row.spans, row.weighted
        )
        for row in _decode_series(zlib.decompress(payload))
    }


def encode_slots(day: SlotDay) -> bytes:
    body = _encode({digest: _packed_row(row) for digest, row in day.items()})
    return b"z" + zlib.compress(body, 1) if len(body) > COMPRESS_FROM else b"m" + body


def _packed_row(row: SlotRow) -> tuple[Any, ...]:
    fields = (row.good, row.total, row.goods.tobytes(), row.totals.tobytes())
    return (*fields, row.estimates.to_bytes(SLOTS_A_DAY // 8, "little")) if row.estimates else fields


def decode_slots(payload: bytes) -> SlotDay:
    body = zlib.decompress(payload[1:]) if payload[:1] == b"z" else payload[1:]
    return {
        digest: SlotRow(
            row.good, row.total, _slots(row.goods), _slots(row.totals), int.from_bytes(row.estimates, "little")
        )
        for digest, row in _decode_slots(body).items()
    }


def _slots(packed: bytes) -> array[int]:
    return array("I" if len(packed) == 4 * SLOTS_A_DAY else "Q", packed)

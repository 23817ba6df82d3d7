"""Rollups and SLO slots as bytes in documents."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping

import msgspec

from shared.domain.fit import fit
from shared.domain.rollup import Stats
from shared.domain.slots import SlotDay, SlotRow

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


_encode = msgspec.msgpack.Encoder().encode
_decode_series = msgspec.msgpack.Decoder(list[_Series]).decode
_decode_slots = msgspec.msgpack.Decoder(dict[str, tuple[int, int, bytes, bytes]]).decode


def encode_rollup(rollup: Mapping[str, Stats]) -> bytes:
    rows = [(k, s.count, s.total, s.low, s.high, s.up_to, s.estimated, s.buckets) for k, s in rollup.items()]
    return zlib.compress(_encode(rows), 1)


def encode_fitted(rollup: dict[str, Stats], limit: int = MAX_PAYLOAD) -> bytes:
    """Like `encode_rollup`, with the smallest series put together if it takes more than `limit` bytes."""
    payload = encode_rollup(rollup)
    if len(payload) <= limit:
        return payload
    return encode_rollup(fit(rollup, lambda r: len(encode_rollup(r)), limit))


def decode_rollup(payload: bytes) -> dict[str, Stats]:
    return {
        row.key: Stats(row.count, row.total, row.low, row.high, row.up_to, row.buckets, row.estimated)
        for row in _decode_series(zlib.decompress(payload))
    }


def encode_slots(day: SlotDay) -> bytes:
    body = _encode({h: (r.good, r.total, r.goods.tobytes(), r.totals.tobytes()) for h, r in day.items()})
    return b"z" + zlib.compress(body, 1) if len(body) > COMPRESS_FROM else b"m" + body


def decode_slots(payload: bytes) -> SlotDay:
    body = zlib.decompress(payload[1:]) if payload[:1] == b"z" else payload[1:]
    return {
        h: SlotRow(good, total, array("I", goods), array("I", totals))
        for h, (good, total, goods, totals) in _decode_slots(body).items()
    }

"""Where metrics live: paths, and how long each level is kept. Days are `YYYY-MM-DD` in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b

from shared.domain.building import BLOCK_MS

FOLD_RUN = "runs/fold"
BLOCKS_A_DAY = 288
KEEP = {"m5": timedelta(days=8), "h1": timedelta(days=90), "day": timedelta(days=90), "slo_days": timedelta(days=400)}


def start_of(block: int) -> datetime:
    """The beginning of a 5-minute block, which is numbered from 1970."""
    return datetime.fromtimestamp(block * BLOCK_MS // 1000, UTC)


@lru_cache(4096)
def day_of(block: int) -> str:
    return start_of(block).strftime("%Y-%m-%d")


def first_block(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000 // BLOCK_MS


@lru_cache(4096)  # a fold asks for the same ones again and again
def block_path(block: int, shard: int) -> str:
    start = start_of(block)
    return f"ops_metrics/{start:%Y-%m-%d}/m5/{start:%H%M}-{shard}"


def hour_path(day: str, hour: int, shard: int) -> str:
    return f"ops_metrics/{day}/h1/{hour:02}-{shard}"


def points_path(block: int, shard: int) -> str:
    return block_path(block, shard).replace("/m5/", "/points/")


def whole_day_path(day: str, shard: int) -> str:
    return f"ops_metrics/{day}/d1/{shard}"


def slots_path(day: str) -> str:
    return f"ops_metrics/{day}/slo/all"


def series_path(day: str, key: str) -> str:
    digest = blake2b(key.encode(), digest_size=6).hexdigest()
    return f"ops_metrics/{day}/metrics/{key.partition('{')[0]}-{digest}"


def month_path(day: str) -> str:
    return f"slo_days/{day[:7]}"


def expiry(level: str, day: str) -> datetime:
    """When a document of this level and day may go; never before its level's time is over."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1) + KEEP[level]

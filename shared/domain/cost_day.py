"""A day of the whole organisation: each user's parts in rows, and their sums. A row is replaced, never added to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from shared.domain.cost import add, cents, plain
from shared.domain.ledger import Data, Part, shown_cost
from shared.domain.usage import Tokens

SHARDS = 16
ERASED = ""  # the row of users whose usage was erased: the totals stay
ERASED_UNPRICED = "/"  # the row of what such users used that has no price yet; no uid is like it
DIMENSIONS = ("model", "plan", "user", "day", "provider")


def shard_of(uid: str) -> str:
    return f"{blake2b(uid.encode(), digest_size=1).digest()[0] % SHARDS:02d}"


def summed(rows: Iterable[Iterable[Part]]) -> list[Part]:
    """By provider, model and plan."""
    sums: dict[tuple[str, str, str], Part] = {}
    for row in rows:
        for part in row:
            key = (part.provider, part.model, part.plan)
            sums[key] = joined(sums[key], part) if key in sums else part
    return [sums[key] for key in sorted(sums)]


def joined(one: Part, other: Part) -> Part:
    return Part(
        one.provider,
        one.model,
        one.plan,
        one.calls + other.calls,
        one.tokens + other.tokens,
        one.duration_ms + other.duration_ms,
        add((one.cost, other.cost)),
        one.unpriced_calls + other.unpriced_calls,
        one.unpriced_tokens + other.unpriced_tokens,
        one.reason or other.reason,
        one.kinds + other.kinds,
        one.unpriced_searches + other.unpriced_searches,
    )


def part_data(part: Part) -> Data:
    return {
        "provider": part.provider,
        "model": part.model,
        "plan": part.plan,
        "calls": part.calls,
        "tokens": part.tokens,
        "durationMs": part.duration_ms,
        "costUsd": plain(part.cost),
        "unpricedCalls": part.unpriced_calls,
        "unpricedTokens": part.unpriced_tokens,
        "reason": part.reason,
        "kinds": part.kinds.values(),
        "unpricedSearches": part.unpriced_searches,
    }


def part_of(data: Mapping[str, Any]) -> Part:
    return Part(
        data["provider"],
        data["model"],
        data["plan"],
        data["calls"],
        data["tokens"],
        data["durationMs"],
        Decimal(data["costUsd"]),
        data["unpricedCalls"],
        data["unpricedTokens"],
        data["reason"],
        Tokens(*data["kinds"]),
        data.get("unpricedSearches", 0),
    )


def spent(parts: Iterable[Part]) -> Decimal:
    """USD."""
    return add(part.cost for part in parts)


def group_row(parts: Iterable[Part]) -> Data:
    """One line of an answer: `cost` in cents and `estimated_cost_usd`, in full; 'unpriced' if nothing has a price."""
    parts = list(parts)
    cost, unpriced = spent(parts), any(part.unpriced for part in parts)
    return {
        "calls": sum(part.calls for part in parts),
        "tokens": sum(part.tokens for part in parts),
        "duration": sum(part.duration_ms for part in parts),
        "cost": shown_cost(cents(cost), unpriced),
        "estimated_cost_usd": shown_cost(cost, unpriced),
        "unpriced_calls": sum(part.unpriced_calls for part in parts),
        "unpriced_tokens": sum(part.unpriced_tokens for part in parts),
        "unpriced_searches": sum(part.unpriced_searches for part in parts),
    }


def grouped(parts: Iterable[tuple[str, Part]], key: Callable[[str, Part], str]) -> dict[str, list[Part]]:
    """Of (day, part), by what `key` gives."""
    found: dict[str, list[Part]] = {}
    for day, part in parts:
        found.setdefault(key(day, part), []).append(part)
    return found

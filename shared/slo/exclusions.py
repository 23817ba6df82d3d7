"""The exclusions of all SLOs, in one document, so that whoever counts reads one more at most.

What ended more than 400 days ago, the longest window, is dropped when something is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shared.domain.exclusion import Exclusion, Span
from shared.store.protocol import Data, Doc, Store, compare_and_set

EXCLUSIONS = "slo_exclusions/all"
MOST = 500
MOST_BYTES = 900_000  # of what they say; a document holds 1 MiB
KEPT = timedelta(days=400)


class TooMany(Exception):
    """There is no room for another one: so many are kept, with so many bytes, the first of them until `room_at`."""

    def __init__(self, kept: int, size: int, room_at: datetime) -> None:
        super().__init__(kept)
        self.kept, self.size, self.room_at = kept, size, room_at


class KeyReused(Exception):
    """Another exclusion was made with the same key."""


def exclusions_of(doc: Doc | None) -> tuple[Exclusion, ...]:
    """From `slo_exclusions/all`, in the order in which they were made."""
    return tuple(_of(data) for data in doc.data["exclusions"]) if doc else ()


def add(store: Store, wanted: Exclusion, now: datetime) -> tuple[Exclusion, bool]:
    """Put it in force. One of the same id and request is left as it is: that one, and True.

    Raises `KeyReused` for one of the same id and another request, `TooMany`, and `StoreError`.
    """
    known: list[Exclusion] = []

    def decide(doc: Doc | None) -> Data | None:
        before = exclusions_of(doc)
        known[:] = [one for one in before if one.id == wanted.id]
        if known:
            return None
        return {"exclusions": _fitting([*before, wanted], now)}

    compare_and_set(store, EXCLUSIONS, decide)
    if known and known[0].request != wanted.request:
        raise KeyReused
    return (known[0], True) if known else (wanted, False)


def hold(store: Store, owner: str, wanted: Exclusion | None, now: datetime) -> None:
    """Make `wanted` the only exclusion in force that `owner` has; its id is made here. None: it has none.

    Once more changes nothing. Raises `TooMany`, and `StoreError`.
    """

    def decide(doc: Doc | None) -> Data | None:
        before = exclusions_of(doc)
        mine = [one for one in before if one.id.startswith(f"{owner}-")]
        held = [one for one in mine if one.cancelled_at is None]
        if (wanted is None and not held) or (wanted and [_force(one) for one in held] == [_force(wanted)]):
            return None
        after = [replace(one, cancelled_at=now) if one in held else one for one in before]
        if wanted is not None:
            after.append(replace(wanted, id=f"{owner}-{len(mine) + 1}"))
        return {"exclusions": _fitting(after, now)}

    compare_and_set(store, EXCLUSIONS, decide)


def _force(one: Exclusion) -> tuple[Span, tuple[str, ...] | None, tuple[str, ...] | None]:
    return one.span, one.slos, one.components


def cancel(store: Store, wanted: str, now: datetime) -> Exclusion | None:
    """End its force, now and for the past, and keep it for the record; None if there is none of this id.

    One that is cancelled already stays as it is. Raises `StoreError`.
    """
    found: list[Exclusion] = []

    def decide(doc: Doc | None) -> Data | None:
        before = exclusions_of(doc)
        found[:] = [one for one in before if one.id == wanted]
        if not found or found[0].cancelled_at is not None:
            return None
        found[0] = replace(found[0], cancelled_at=now)
        after = [found[0] if one.id == wanted else one for one in before]
        return {"exclusions": [_data(one) for one in after if now - one.span.end <= KEPT or one.id == wanted]}

    compare_and_set(store, EXCLUSIONS, decide)
    return found[0] if found else None


def _fitting(exclusions: Sequence[Exclusion], now: datetime) -> list[dict[str, Any]]:
    """Without those that are over for too long. Raises `TooMany` if they do not fit, the last of them being the new."""
    kept = [one for one in exclusions if now - one.span.end <= KEPT]
    data = [_data(one) for one in kept]
    if len(data) > MOST or _size(data) > MOST_BYTES:
        first = min((one.span.end for one in kept[:-1]), default=now)
        raise TooMany(len(data) - 1, _size(data[:-1]), first + KEPT)
    return data


def _size(data: list[dict[str, Any]]) -> int:
    return len(json.dumps(data, default=str, ensure_ascii=False).encode())


def _of(data: Data) -> Exclusion:
    def names(key: str) -> tuple[str, ...] | None:
        return None if data[key] is None else tuple(data[key])

    return Exclusion(
        id=data["id"],
        span=Span(data["from"], data["to"]),
        reason=data["reason"],
        created_by=data["createdBy"],
        created_at=data["createdAt"],
        slos=names("slos"),
        components=names("components"),
        cancelled_at=data["cancelledAt"],
        request=data["request"],
    )


def _data(one: Exclusion) -> dict[str, Any]:
    return {
        "id": one.id,
        "from": one.span.start,
        "to": one.span.end,
        "slos": None if one.slos is None else list(one.slos),
        "components": None if one.components is None else list(one.components),
        "reason": one.reason,
        "createdBy": one.created_by,
        "createdAt": one.created_at,
        "cancelledAt": one.cancelled_at,
        "request": one.request,
    }

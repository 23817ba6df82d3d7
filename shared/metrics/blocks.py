"""Batches into their 5-minute block, each exactly once: the block holds the receipts of those that it has."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from shared.domain.fit import limit_series
from shared.domain.metric import Registry
from shared.domain.rollup import SHARDS, merge_all
from shared.metrics.gather import Entry, gather
from shared.metrics.layout import block_path, day_of, expiry
from shared.metrics.rollup_codec import MAX_PAYLOAD, decode_rollup, encode_fitted
from shared.store.protocol import Conflict, Create, Doc, Store, Unavailable, Write, new_rev, over

MAX_BLOCK = 1_000_000  # payload and receipts
RECEIPTS_PAGE = 400_000  # bytes; beyond them, older receipts go to pages of their own
RECEIPT = 8


def fold_block(store: Store, block: int, entries: Sequence[Entry], registry: Registry) -> None:
    """Merge what is not among the receipts. A reply that was lost needs no care: reading again shows the receipts."""
    paths = [block_path(block, shard) for shard in range(SHARDS)]
    for attempt in range(60):
        docs = store.get_many(paths)
        receipts = [_receipts(store, doc) for doc in docs]
        fresh, added = gather(entries, receipts)
        writes: list[Write] = []
        for shard, doc in enumerate(docs):
            if fresh[shard]:
                before = [decode_rollup(doc.data["payload"])] if doc else []
                rollup = merge_all([*before, *({key: g.stats()} for (key, _), g in fresh[shard].items())])
                rollup = limit_series(rollup, registry.series_limits)
                known, new = doc.data["receipts"] if doc else b"", b"".join(added[shard])
                pages = doc.data.get("pages", 0) if doc else 0
                expire = expiry("m5", day_of(block))
                if len(known) + len(new) > RECEIPTS_PAGE and known:
                    writes.append(Create(_page_path(paths[shard], pages), {"receipts": known, "expireAt": expire}))
                    known, pages = b"", pages + 1
                derived = doc.data.get("derived", b"") if doc else b""
                room = MAX_BLOCK - len(known) - len(new) - len(derived)
                data = {
                    "payload": encode_fitted(rollup, min(MAX_PAYLOAD, room)),
                    "derived": derived,
                    "receipts": known + new,
                    "pages": pages,
                    "expireAt": expire,
                    "rev": new_rev(),
                }
                writes.append(over(doc, paths[shard], data))
        if not writes:
            return
        try:
            store.commit(writes)
            return
        except Conflict:
            time.sleep(random.uniform(0, min(0.25, 0.005 * 2**attempt)))
        except Unavailable:
            if attempt >= 2:
                raise
    raise Conflict(f"{paths[0]} kept changing")


def _receipts(store: Store, doc: Doc | None) -> set[bytes]:
    """All receipts of a block's shard. Pages are written in the commit that names them, and never change."""
    if doc is None:
        return set()
    packed = [doc.data["receipts"]]
    pages = doc.data.get("pages", 0)
    if pages:
        packed += [p.data["receipts"] for p in store.get_many([_page_path(doc.path, n) for n in range(pages)]) if p]
    return {part[i : i + RECEIPT] for part in packed for i in range(0, len(part), RECEIPT)}


def _page_path(block: str, page: int) -> str:
    return f"{block.replace('/m5/', '/receipts/')}-{page}"

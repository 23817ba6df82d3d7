"""Keeps a rollup within a document: series with few events fold into `other`, so that a fold can never be stuck."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.domain.rollup import Stats, merge_all
from shared.domain.series import key_of, split_key

KEPT_LABELS = ("status",)  # what other metrics are derived from


def fit(rollup: dict[str, Stats], size: Callable[[Mapping[str, Stats]], int], limit: int) -> dict[str, Stats]:
    """The rollup, with as many of its smallest series folded into `other` as it takes; sums and counts stay."""
    while size(rollup) > limit and len(rollup) > 1:
        small = sorted(rollup, key=lambda key: rollup[key].count)[: max(1, len(rollup) // 2)]
        kept = {key: stats for key, stats in rollup.items() if key not in set(small)}
        folded = merge_all([kept, *({_other(key): rollup[key]} for key in small)])
        if len(folded) == len(rollup):
            return folded
        rollup = folded
    return rollup


def _other(key: str) -> str:
    metric, labels = split_key(key)
    return key_of(metric, {"other": "true", **{k: v for k, v in labels.items() if k in KEPT_LABELS}})

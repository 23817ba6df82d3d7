"""Keeps a rollup within a document: series with few events fold into `other`, so that a fold can never be stuck."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.domain.rollup import Stats, merge_all
from shared.domain.series import key_of, split_key

KEPT_LABEL = "status"  # what other metrics are derived from; only if it is one of few: a number of three digits at most
OTHER = {"other": "true"}


def fit(rollup: dict[str, Stats], size: Callable[[Mapping[str, Stats]], int], limit: int) -> dict[str, Stats]:
    """The rollup, with as many of its smallest series folded into `other` as it takes; sums and counts stay.

    Larger than `limit` only if nothing is left to fold.
    """
    while size(rollup) > limit:
        single = sorted((key for key in rollup if not is_other(key)), key=lambda key: rollup[key].count)
        if not single:
            break
        small = single[: max(1, len(single) // 2)]
        kept = {key: rollup[key] for key in rollup.keys() - set(small)}
        rollup = merge_all([kept, *({_other(key): rollup[key]} for key in small)])
    return rollup


def is_other(key: str) -> bool:
    return '"other":"true"' in key and _other(key) == key


def _other(key: str) -> str:
    metric, labels = split_key(key)
    status = labels.get(KEPT_LABEL, "")
    kept = {KEPT_LABEL: status} if status.isdecimal() and len(status) <= 3 else {}
    return key_of(metric, {**OTHER, **kept})

"""Keeps a rollup within its limits: series with few events fold into `other`, so that a fold can never be stuck."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.domain.rollup import Stats, merge_all
from shared.domain.series import other_key, split_key


def limit_series(rollup: dict[str, Stats], limits: Mapping[str, int]) -> dict[str, Stats]:
    """The rollup with at most so many series of each metric; those with the most events stay, and `other` besides."""
    if len(rollup) <= min(limits.values(), default=0):
        return rollup
    by_metric: dict[str, list[str]] = {}
    for key in rollup:
        by_metric.setdefault(key.partition("{")[0], []).append(key)
    small: set[str] = set()
    for metric, keys in by_metric.items():
        if len(keys) > limits.get(metric, len(keys)):
            single = sorted((key for key in keys if not is_other(key)), key=lambda key: (-rollup[key].count, key))
            small.update(single[limits[metric] :])
    return _fold_into_other(rollup, small) if small else rollup


def fit(rollup: dict[str, Stats], size: Callable[[Mapping[str, Stats]], int], limit: int) -> dict[str, Stats]:
    """The rollup, with as many of its smallest series folded into `other` as it takes; sums and counts stay.

    Larger than `limit` only if nothing is left to fold.
    """
    while size(rollup) > limit:
        single = sorted((key for key in rollup if not is_other(key)), key=lambda key: rollup[key].count)
        if not single:
            break
        rollup = _fold_into_other(rollup, set(single[: max(1, len(single) // 2)]))
    return rollup


def _fold_into_other(rollup: Mapping[str, Stats], small: set[str]) -> dict[str, Stats]:
    kept = {key: rollup[key] for key in rollup.keys() - small}
    return merge_all([kept, *({other_key(*split_key(key)): rollup[key]} for key in sorted(small))])


def is_other(key: str) -> bool:
    return '"other":"true"' in key and other_key(*split_key(key)) == key

"""Each priced call as a sample of the metric token_cost, so that cost can be queried and alerted on like latency.

Every call is a batch of its own, named by its request id: however calls are sent again and in whatever company, the
fold counts each once. No label tells whose call it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

from shared.domain.aggregate import OLDEST_MS
from shared.domain.building import BLOCK_MS, Batch, BatchBuilder
from shared.domain.cost import cost_of
from shared.domain.price import Unpriced, rates_of
from shared.domain.series import SeriesTable
from shared.domain.usage import Usage
from shared.metrics.group_commit import MAX_BATCHES, GroupCommit
from shared.usage.accounts import Accounts, accounts_for

if TYPE_CHECKING:
    from shared.bootstrap import App

METRIC = "token_cost"
OTHER_PLAN = "other"


class TokenCost:
    def __init__(self, commits: GroupCommit, table: SeriesTable, accounts: Accounts) -> None:
        self._commits = commits
        self._table = table
        self._accounts = accounts

    def append(self, usages: Sequence[Usage], now: datetime) -> None:
        """Raises `StoreError`; the same calls may then be appended again."""
        recent = [usage for usage in usages if usage.at > now - timedelta(milliseconds=OLDEST_MS)]
        batches = [batch for usage in recent if (batch := self._batch(usage)) is not None]
        for start in range(0, len(batches), MAX_BATCHES):
            first, *more = batches[start : start + MAX_BATCHES]
            self._commits.append(first, now, *more)

    def _batch(self, usage: Usage) -> Batch | None:
        """None for what has no price: an unpriced call is no call that cost nothing."""
        prices = self._accounts.prices
        priced = rates_of(prices, usage.provider, usage.model, usage.at.date(), usage.tier)
        cost = None if isinstance(priced, Unpriced) else cost_of(usage.tokens, priced.rates)
        if cost is None:
            return None
        plan = usage.plan if usage.plan in self._accounts.plans.plans else OTHER_PLAN  # senders' words stay out
        series = self._table.own(METRIC, {"model": priced.model, "provider": usage.provider, "plan": plan})
        if series is None:
            return None
        builder = BatchBuilder(self._table)
        builder.values(series, int(usage.at.timestamp() * 1000) // BLOCK_MS, [float(cost)])
        name = f"{METRIC} {usage.day} {usage.uid} {usage.request_id}"
        return builder.batch(blake2b(name.encode(), digest_size=8).digest(), 1)


def token_cost_for(app: App) -> TokenCost:
    """The metric of this instance: `app.part(token_cost_for)`."""
    registry = app.slos.registry
    table = SeriesTable(registry, app.slos.current().bounds(registry), json.loads)
    return TokenCost(app.group_commit, table, app.part(accounts_for))

"""Usage that was told: booked at once, or appended for costRollup to book, as `costs.realtime_tracking` says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from shared.domain.account_work import Record
from shared.domain.usage import Usage
from shared.usage.accounts import accounts_for
from shared.usage.segments import UsageLog
from shared.usage.token_cost import token_cost_for

if TYPE_CHECKING:
    from shared.bootstrap import App

REALTIME = "costs.realtime_tracking"
METRICS = "ops.metrics_collection"


@dataclass(frozen=True, slots=True)
class Recorded:
    """`booked`: new calls; None where they are appended, since only the booking tells."""

    stored: str  # summaries, or segments
    booked: int | None


def record(app: App, usages: Sequence[Usage], now: datetime) -> Recorded:
    """Returns when every call is stored. Raises `StoreError`, `Erasing`, `FlagsUnknown`: the same may be sent again."""
    if not app.flags.on(REALTIME):
        app.part(usage_log_for).append(usages)
        return Recorded("segments", None)
    accounts = app.part(accounts_for)
    by_user: dict[str, list[Usage]] = defaultdict(list)
    for usage in usages:
        by_user[usage.uid].append(usage)
    booked = 0
    for uid, theirs in by_user.items():
        step = Record(theirs)
        accounts.do(uid, step, now)
        booked += step.booked
    tell_metric(app, usages, now)
    return Recorded("summaries", booked)


def tell_metric(app: App, usages: Sequence[Usage], now: datetime) -> None:
    """The metric last: if it fails, the caller sends the calls again, which count once in both."""
    if app.flags.on(METRICS):
        app.part(token_cost_for).append(usages, now)


def usage_log_for(app: App) -> UsageLog:
    return UsageLog(app.store)

"""Users' accounts and days in the store. All that waits for one user in this instance shares one commit.

Documents: `quota/{uid}` (the account) and `usage_summary/{uid}/daily/{dayId}` (a day with its receipts), both changed
by compare-and-set in one commit, and `usage_summary/{uid}/receipts/{dayId}-{n}`, written once. A retry, on any
instance and by any way in, has the same request id and time, and so meets its receipt.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from shared import log
from shared.domain.account_work import Step, Work, stored_amount
from shared.domain.ledger import Ledger
from shared.domain.plans import Plans
from shared.domain.quota import Account, Thresholds
from shared.domain.usage import user_key
from shared.store.protocol import Conflict, Create, Doc, Store, Unavailable, Write, new_rev, over
from shared.turns import Turns
from shared.usage.plans import load_plans
from shared.usage.prices import PublishedPrices, prices_for
from shared.usage.quota_warning import quota_warning

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_STEPS = 200  # of a user in one commit
MOST_DAYS = 8
ATTEMPTS = 60
UNANSWERED = 3  # commits in a row
MOST_PAGES = 500  # of receipts that an instance keeps


class Erasing(Exception):
    """The user's usage is being erased just now."""


def account_path(uid: str) -> str:
    return f"quota/{uid}"


def day_path(uid: str, day: str) -> str:
    return f"usage_summary/{uid}/daily/{day}"


class Accounts:
    """`do` returns when a step's effect is stored. Raises `StoreError`, or `Erasing`."""

    def __init__(self, store: Store, prices: PublishedPrices, plans: Plans, flags: Callable[[], Thresholds]) -> None:
        self._store = store
        self.prices = prices
        self.plans = plans
        self._thresholds = flags
        self._turns: Turns[tuple[Step, datetime]] = Turns(_size_of_group, self._do)
        self._lock = threading.Lock()
        self._pages: OrderedDict[str, bytes] = OrderedDict()

    def do(self, uid: str, step: Step, now: datetime) -> None:
        self._turns.run(uid, (step, now))

    def _do(self, uid: str, group: Sequence[tuple[Step, datetime]]) -> None:
        self._apply(uid, [step for step, _ in group], max(now for _, now in group))

    def _apply(self, uid: str, steps: Sequence[Step], now: datetime) -> None:
        """Read, apply, commit; on conflict anew. A lost reply is recognised by the account's `rev`."""
        sent: set[str] = set()
        unanswered = 0
        for attempt in range(ATTEMPTS):
            hub, days = self._read(uid, sorted({day for step in steps for day in step.days}))
            if hub is not None and hub.data["rev"] in sent:
                return
            work = self._work(uid, hub, days, now)
            if work.account.erasing:
                raise Erasing
            for step in steps:
                step.apply(work)
            if not work.changed:
                return
            rev = new_rev()
            try:
                self._store.commit(self._writes(uid, hub, days, work, rev))
                for warning in work.warnings:
                    log.info("a user has used much of a quota", limit=warning.standing.id, percent=warning.percent)
                return
            except Conflict:
                unanswered = 0
            except Unavailable:
                sent.add(rev)
                found = self._store.get(account_path(uid))
                if found is not None and found.data["rev"] in sent:
                    return
                unanswered += 1
                if unanswered == UNANSWERED:
                    raise
            time.sleep(random.uniform(0, min(0.25, 0.005 * 2 ** min(attempt, 6))))
        raise Conflict(f"an account kept changing: {ATTEMPTS} attempts")

    def _read(self, uid: str, days: Sequence[str]) -> tuple[Doc | None, dict[str, Doc | None]]:
        hub, *found = self._store.get_many([account_path(uid), *(day_path(uid, day) for day in days)])
        return hub, dict(zip(days, found, strict=True))

    def _work(self, uid: str, hub: Doc | None, days: Mapping[str, Doc | None], now: datetime) -> Work:
        account = Account(hub.data if hub else None, self.plans, now)
        ledgers = {
            day: Ledger(day, doc.data if doc else None, self._older(uid, day, doc.data["pages"] if doc else 0))
            for day, doc in days.items()
        }
        sums = {day: stored_amount(doc.data if doc else None) for day, doc in days.items()}
        return Work(account, ledgers, self.prices, self._thresholds(), now, sums)

    def _older(self, uid: str, day: str, pages: int) -> list[bytes]:
        """The receipts on pages, which never change: read once."""
        paths = [page_path(uid, day, n) for n in range(pages)]
        with self._lock:
            known = {path: self._pages[path] for path in paths if path in self._pages}
        missing = [path for path in paths if path not in known]
        if missing:
            read = self._store.get_many(missing)
            known |= {path: doc.data["receipts"] for path, doc in zip(missing, read, strict=True) if doc}
            with self._lock:
                self._pages |= known
                while len(self._pages) > MOST_PAGES:
                    self._pages.popitem(last=False)
        return list(known.values())

    def _writes(self, uid: str, hub: Doc | None, days: Mapping[str, Doc | None], work: Work, rev: str) -> list[Write]:
        account = {**work.account.data(), "key": user_key(uid), "rev": rev, "updatedAt": work.now}
        writes: list[Write] = [over(hub, account_path(uid), account)]
        for day, ledger in work.ledgers.items():
            if not ledger.changed:
                continue
            percent = work.account.percent_of_day(day, work.sums[day])
            data = ledger.data(work.parts(day), percent, self.prices.pricing.key, self.prices.hash)
            writes.append(over(days[day], day_path(uid, day), {**data, "updatedAt": work.now}))
            writes += [Create(page_path(uid, day, n), {"receipts": page}) for n, page in ledger.new_pages]
        for warning in work.warnings:
            writes.append(quota_warning(user_key(uid), warning, work.now))
        return writes


def _size_of_group(waiting: Sequence[tuple[Step, datetime]]) -> int:
    days: set[str] = set()
    for size, (step, _) in enumerate(waiting[:MOST_STEPS]):
        days |= step.days
        if size and len(days) > MOST_DAYS:
            return size
    return min(len(waiting), MOST_STEPS)


def page_path(uid: str, day: str, number: int) -> str:
    return f"usage_summary/{uid}/receipts/{day}-{number}"


def thresholds_of(flags: Mapping[str, Any]) -> Thresholds:
    """From the flags in force; numbers are read as they are written."""
    return Thresholds(
        flags["quotas.enabled"] is True,
        Decimal(str(flags["quotas.soft_limit_warning"])),
        Decimal(str(flags["quotas.hard_limit_block"])),
    )


def accounts_for(app: App) -> Accounts:
    """The accounts of this instance: `app.part(accounts_for)`."""
    plans = load_plans(app.settings.config_dir)
    return Accounts(app.store, app.part(prices_for), plans, lambda: thresholds_of(app.flags.all()))

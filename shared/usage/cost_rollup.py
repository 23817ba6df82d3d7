"""One run of costRollup: each part may be killed after, and run twice, without a wrong figure or a second message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from shared import log
from shared.alerts.firings import all_that_fires
from shared.domain.account_work import Expire, Reprice
from shared.domain.cost import add
from shared.domain.cost_day import ERASED, ERASED_UNPRICED, SHARDS
from shared.domain.ledger import Part, cells_of
from shared.domain.price import RATE_NAMES, Priced, PriceSource, Unpriced, rates_of
from shared.domain.spending import (
    ORGANISATION,
    Finding,
    Scope,
    Spending,
    UnpricedModel,
    budget_findings,
    forecast_finding,
    forgotten_finding,
    spike_finding,
    unpriced_finding,
)
from shared.domain.usage import day_of, is_uid, user_key
from shared.notify.registry import configured
from shared.store.protocol import Doc, Put, Query, Store
from shared.usage.accounts import Accounts, Erasing, accounts_for, day_path
from shared.usage.cost_days import costs_path, month_path, parts_in, reprice_erased, roll_up, rows_of, shard_path
from shared.usage.record import tell_metric
from shared.usage.segments import fold_usage
from shared.usage.spending import SpendingAlerts, load_spending
from shared.usage.unknown_plans import tell_unknown_plans

if TYPE_CHECKING:
    from shared.bootstrap import App

PAGE = 100
UNPRICED_DAYS = 35  # as far back as usage may come
LOOKED_AT = 20  # users of a shard, for the tiers of what has no price
REPRICED = "runs/repricing"

Costs = dict[str, Decimal]  # by day


def run(app: App, now: datetime, may_go_on: Callable[[], bool]) -> dict[str, Any]:
    """What was done. Raises `StoreError`."""
    accounts = app.part(accounts_for)
    folded = fold_usage(app.store, accounts, lambda usages: tell_metric(app, usages, now), now, may_go_on)
    expired = give_back(app.store, accounts, now)
    repriced = reprice(app.store, accounts, now, may_go_on)
    rolled = roll_up(app.store, accounts, now, may_go_on)
    alerts = judge(app, rolled.accounts, now)
    return {
        "booked": folded["calls"],
        "expiredReservations": expired,
        "repriced": repriced,
        "users": rolled.users,
        "days": sorted(rolled.days),
        "left": folded["left"] or rolled.left,
        "fired": alerts.fired,
        "cleared": alerts.cleared,
    }


def give_back(store: Store, accounts: Accounts, now: datetime) -> int:
    """Reservations that nobody settled, of users who have asked for nothing since."""
    found = store.query(Query("quota", (("holdsUntil", "<=", now),), (("holdsUntil", "asc"),), PAGE))
    expired = 0
    for doc in found:
        step = Expire()
        try:
            accounts.do(doc.id, step, now)
        except Erasing:
            continue
        expired += step.expired
    return expired


def reprice(store: Store, accounts: Accounts, now: datetime, may_go_on: Callable[[], bool]) -> int:
    """Days of users with usage that had no price and has one by now. Each is worked out anew, whole.

    What had no price in its tier, or for a kind of its tokens, is tried once with each new price list: the rows tell
    neither. `REPRICED` has the list of the last run that got through.
    """
    days = _last(now, UNPRICED_DAYS)
    last = store.get(REPRICED)
    anew = last is None or last.data["pricesHash"] != accounts.prices.hash

    def worth_it(part: Part, day: str) -> bool:
        return (anew and part.unpriced) or _has_a_price_now(part, day, accounts)

    done = 0
    for day, doc in zip(days, store.get_many([costs_path(day) for day in days]), strict=True):
        if doc is None or not any(worth_it(part, day) for part in parts_in(doc)):
            continue
        shards = sorted(doc.data["shards"])
        for shard_id, shard in zip(shards, store.get_many([shard_path(day, s) for s in shards]), strict=True):
            for uid, parts in rows_of(shard).items():
                if not may_go_on():
                    return done
                if uid == ERASED or not any(worth_it(part, day) for part in parts):
                    continue
                try:
                    if uid == ERASED_UNPRICED:
                        reprice_erased(store, day, shard_id, accounts.prices, now)
                    else:
                        accounts.do(uid, Reprice(day), now)
                    done += 1
                except Erasing:
                    log.info("a user who is being erased is not repriced")
    if anew:
        store.commit([Put(REPRICED, {"pricesHash": accounts.prices.hash, "at": now})])
    return done


def _has_a_price_now(part: Part, day: str, accounts: Accounts) -> bool:
    """Which tier it was of is not told in a row; that the standard one has a price is enough to try."""
    if not part.unpriced_calls or part.reason not in ("unknown_model", "not_priced_by_token"):
        return False
    return isinstance(rates_of(accounts.prices, part.provider, part.model, date.fromisoformat(day), "standard"), Priced)


def judge(app: App, changed: Iterable[Doc], now: datetime) -> SpendingAlerts:
    """Budgets, the month's end, spikes, unpriced models and forgotten reservations, of all and of who has changed."""
    policy = load_spending(app.settings.config_dir)
    days = _last(now, UNPRICED_DAYS)
    docs = app.store.get_many([costs_path(day) for day in days])
    by_day = {day: parts_in(doc) for day, doc in zip(days, docs, strict=True)}
    firing = [doc for doc in all_that_fires(app.store) if doc.id.startswith("cost-")]
    known_firing = {doc.id: doc.data for doc in firing}
    tell_unknown_plans(app.store, by_day, app.part(accounts_for).plans, now)
    alerts = SpendingAlerts(app.store, policy, app.flags.all(), configured(app), known_firing, now)
    accounts = {doc.id: doc for doc in [*changed, *_accounts_of(app.store, firing)]}
    for finding in [*_of_all(by_day, policy, now), *_of_users(app.store, accounts.values(), policy, now)]:
        alerts.apply(finding)
    unpriced = _unpriced(by_day, app.part(accounts_for).prices)
    for model in unpriced.values():
        finding = unpriced_finding(model, UNPRICED_DAYS)
        if finding.id not in known_firing:  # only a message needs the tiers, which are read for it
            alerts.apply(unpriced_finding(_with_tiers(app.store, model, app.part(accounts_for).prices), UNPRICED_DAYS))
    for doc in firing:
        if doc.id.startswith("cost-unpriced-") and doc.data["labels"]["model"] not in unpriced:
            alerts.apply(unpriced_finding(UnpricedModel(doc.data["labels"]["model"]), UNPRICED_DAYS))
    late = forgotten_finding(sum(doc.data["expired"].get(day_of(now), 0) for doc in accounts.values()), policy)
    if late and (late.firing or any(doc.id == late.id and day_of(doc.data["firedAt"]) < day_of(now) for doc in firing)):
        alerts.apply(late)  # a run sees only accounts that have changed, so what has fired today stands for today
    return alerts


def _accounts_of(store: Store, firing: Iterable[Doc]) -> list[Doc]:
    """The accounts of users of whom an alert fires: it must clear though they use nothing any more."""
    keys = {doc.data["labels"]["user"] for doc in firing if "user" in doc.data["labels"]}
    return [doc for key in sorted(keys) for doc in store.query(Query("quota", (("key", "==", key),), limit=1))]


def _of_all(by_day: Mapping[str, list[Part]], policy: Spending, now: datetime) -> list[Finding]:
    today = now.astimezone(UTC).date()
    found: list[Finding] = []
    costs: dict[Scope, Costs] = defaultdict(dict)
    for day, parts in by_day.items():
        for part in parts:
            for scope in (ORGANISATION, ("plan", part.plan), ("model", part.model)):
                costs[scope][day] = add((costs[scope].get(day, Decimal(0)), part.cost))
    named: list[Scope] = [("plan", name) for name in policy.budgets.plans]
    named += [("model", name) for name in policy.budgets.models]
    for scope in {ORGANISATION: None, **dict.fromkeys(named), **dict.fromkeys(costs)}:
        spent = add(cost for day, cost in costs[scope].items() if day[:7] == today.isoformat()[:7])
        found += budget_findings(scope, scope[1], spent, today, policy)
        if policy.spike is not None:
            spike = spike_finding(scope, scope[1], costs[scope], today, policy.spike)
            found += [spike] if spike else []
    expected = forecast_finding(costs[ORGANISATION], today, policy)
    found += [expected] if expected else []
    return found


def _of_users(store: Store, changed: Iterable[Doc], policy: Spending, now: datetime) -> list[Finding]:
    """Of users whose account has changed. Their months tell their own normal; no text names them."""
    today = now.astimezone(UTC).date()
    month = today.isoformat()[:7]
    previous = (today.replace(day=1) - timedelta(days=1)).isoformat()[:7]
    found: list[Finding] = []
    for account in changed:
        uid, key = account.id, user_key(account.id)
        costs: Costs = {}
        for doc in store.get_many([month_path(uid, previous), month_path(uid, month)]):
            for day, parts in (doc.data["days"] if doc else {}).items():
                costs[day] = add(Decimal(part["costUsd"]) for part in parts)
        spent = add(cost for day, cost in costs.items() if day[:7] == month)
        found += budget_findings(("user", uid), key, spent, today, policy)
        if policy.spike is not None:
            spike = spike_finding(("user", uid), key, costs, today, policy.spike)
            found += [spike] if spike else []
    return found


def _unpriced(by_day: Mapping[str, list[Part]], prices: PriceSource) -> dict[str, UnpricedModel]:
    """By the model's own id: what of it has no price, since when, and why (the reason of the last day)."""
    found: dict[str, UnpricedModel] = {}
    for day, parts in sorted(by_day.items()):
        for part in parts:
            if not part.unpriced:
                continue
            before = found.get(part.model) or UnpricedModel(part.model, since=day)
            found[part.model] = replace(
                before,
                calls=before.calls + part.unpriced_calls,
                tokens=before.tokens + part.unpriced_tokens,
                searches=before.searches + part.unpriced_searches,
                rates=tuple(sorted({*before.rates, *_missing_rates(part, day, prices)})),
                reason=part.reason or before.reason,
                providers=tuple(sorted({*before.providers, part.provider})),
            )
    return found


def _missing_rates(part: Part, day: str, prices: PriceSource) -> list[str]:
    """Of a model that has prices, those that it lacks for what was used of it."""
    if part.reason != "no_price_for_kind":
        return []
    found = rates_of(prices, part.provider, part.model, date.fromisoformat(day), "standard")
    if isinstance(found, Unpriced):
        return []
    return [name for name in RATE_NAMES if getattr(part.kinds, name) and getattr(found.rates, name) is None]


def _with_tiers(store: Store, found: UnpricedModel, prices: PriceSource) -> UnpricedModel:
    """Rows do not tell tiers, users' days do. Only those of the first day are looked at: one is enough to be told."""
    if found.reason != "no_price_for_tier":
        return found
    tiers: set[str] = set()
    for shard in store.get_many([shard_path(found.since, f"{n:02d}") for n in range(SHARDS)]):
        rows = rows_of(shard).items()
        uids = [uid for uid, parts in rows if is_uid(uid) and any(p.model == found.model and p.unpriced for p in parts)]
        for day in store.get_many([day_path(uid, found.since) for uid in uids[:LOOKED_AT]]):
            for provider, model, _, tier, _ in cells_of(day.data) if day else ():
                rates = rates_of(prices, provider, model, date.fromisoformat(found.since), tier)
                if isinstance(rates, Unpriced) and rates.model == found.model:
                    tiers.add(tier)
    return replace(found, tiers=tuple(sorted(tiers)))


def _last(now: datetime, days: int) -> list[str]:
    today = now.astimezone(UTC).date()
    return [(today - timedelta(days=n)).isoformat() for n in range(days)]

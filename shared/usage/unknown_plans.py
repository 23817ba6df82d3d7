"""Usage under a plan that `config/plans.json` does not know: kept under its name, and told to who can mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from shared import log
from shared.domain.ledger import OTHER, Part
from shared.domain.notification import RETENTION
from shared.domain.plans import Plans
from shared.domain.usage import day_of
from shared.notify.inapp import COLLECTION
from shared.store.protocol import Conflict, Create, Data, Store

NAMED = 10  # plans of a message


def plan_warnings(plans: Plans, plan: str | None) -> list[str]:
    """What the sender is told. It quotes nothing that was sent, and the usage is taken all the same."""
    if plan is None or plan in plans.plans:
        return []
    return [
        "plan: config/plans.json does not know it. The usage is kept under its name, and the limits of the default "
        f"plan ({plans.default}) hold, unless the user has a plan of their own"
    ]


def unknown_plans(parts: Iterable[Part], plans: Plans) -> dict[str, int]:
    """Plan → calls, the most frequent ones first."""
    calls: Counter[str] = Counter()
    for part in parts:
        if part.plan not in plans.plans and part.plan != OTHER:
            calls[part.plan] += part.calls
    return dict(calls.most_common())


def tell_unknown_plans(store: Store, by_day: Mapping[str, Iterable[Part]], plans: Plans, now: datetime) -> None:
    """One message in the admins' inbox for each of the last two days of usage, however often it is asked for."""
    for day in (day_of(now), day_of(now - timedelta(days=1))):
        found = unknown_plans(by_day.get(day, ()), plans)
        path = f"{COLLECTION}/unknown-plan-{day}"
        if not found or store.get(path) is not None:
            continue
        try:
            store.commit([Create(path, _message(day, found, plans.default, now))])
        except Conflict:
            continue  # another run was first
        log.warning("usage names plans that config/plans.json does not know", plans=len(found), day=day)


def _message(day: str, found: Mapping[str, int], default: str, now: datetime) -> Data:
    named = ", ".join(f"{plan} ({_calls(count)})" for plan, count in list(found.items())[:NAMED])
    more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return {
        "notificationId": f"unknown-plan-{day}",
        "alertId": None,
        "kind": "plan",
        "severity": "warning",
        "component": "Costs",
        "incidentId": None,
        "title": "Usage under an unknown plan",
        "message": f"On {day} usage named a plan that config/plans.json does not know: {named}{more}. It is kept under"
        f" that name, and the limits of {default} hold for those users. Add the plan to config/plans.json and deploy,"
        " or mend what names it.",
        "links": [],
        "createdAt": now,
        "arrivedAt": now,
        "expireAt": now + RETENTION,
    }


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"

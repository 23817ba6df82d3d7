"""Dead letters are told through another channel: once for each cause, and not for each letter.

A letter says that nobody was told of its death; the commit that announces it takes that back. So none is passed over,
whoever dies in between, and the alert's own letters never say it: a notice about a notice would have no end. What
nobody accepts for a while says it too, long before it is given up: a channel that hangs leaves people just as ignorant.

It is over once nothing that was told waits any more and none of it is lost: late messages arrived, dead ones were sent
again. What stays lost ends it when somebody has seen it, which is to acknowledge the alert, or after a calm day; the
letters themselves stay on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.alerts.own_alerts import Decided, channels_of_all, own_facts, settle
from shared.delivery.deliver import COLLECTION
from shared.domain.alert import Step
from shared.domain.notification import DEAD_LETTERS, OVERDUE
from shared.store.protocol import Doc, Put, Query, new_rev

if TYPE_CHECKING:
    from shared.bootstrap import App

RULE = "dead_letters"
AT_ONCE = 100  # letters a commit
MOST_TOLD = 1000  # letters of one firing that are looked at: of more, only a calm day is the end
CALM = timedelta(hours=24)  # without another one, until it is over
OTHERS = ("email", "inapp")  # where a dead channel is told, besides where SLOs are


def tell_of_dead_letters(app: App, now: datetime) -> str | None:
    """Announce causes of death that are new; end the alert once nothing is left to be done. Raises `StoreError`."""
    letters = app.store.query(Query(COLLECTION, (("untold", "==", True),), limit=AT_ONCE))
    if letters:
        return settle(app, DEAD_LETTERS, RULE, lambda alert: _died(app, alert, letters, now), now)
    alert = app.store.get(f"alerts/{DEAD_LETTERS}")
    if alert is None or _over(app, alert, now) is None:
        return None
    return settle(app, DEAD_LETTERS, RULE, lambda found: _ended(app, found, now), now)


def _over(app: App, alert: Doc, now: datetime) -> Step | None:
    """How the alert ends, or None."""
    data = alert.data
    if data["state"] != "firing":
        return None
    if now - data["judgedAt"] >= CALM:
        return Step("resolved", "no_letter_died", "clear")
    told = Query(COLLECTION, (("toldAt", ">=", data["firedAt"]),), (("toldAt", "asc"),), MOST_TOLD)
    letters = app.store.query(told)
    if len(letters) == MOST_TOLD or any(doc.data["open"] for doc in letters):
        return None
    if not any(doc.data["state"] == "dead" for doc in letters):
        return Step("resolved", "letters_delivered", "clear")
    seen = data.get("acknowledged")
    return Step("resolved", "letters_seen", "clear") if seen and seen["at"] >= data["judgedAt"] else None


def _died(app: App, alert: Doc | None, letters: Sequence[Doc], now: datetime) -> Decided:
    """New causes are told on the channels that they did not come from; else the letters are only counted."""
    before = alert.data if alert and alert.data["state"] == "firing" else {}
    known = set((before.get("labels") or {}).get("causes", "").split("; ")) - {""}
    died = [doc for doc in letters if not doc.data["open"]]
    causes = {f"{doc.data['channel']} {OVERDUE if doc.data['open'] else doc.data['reason']}" for doc in letters}
    new = sorted(causes - known)
    taken = Step("firing", "letters_died" if died else "letters_overdue", None if before else "fire")
    dead = {cause.partition(" ")[0] for cause in causes | known}
    channels = [c for c in sorted({*channels_of_all(app), *OTHERS}) if c not in dead] if new else []
    facts = own_facts(
        DEAD_LETTERS, alert, taken, now, sloName="Messages that could not be delivered", severity="high",
        metric="dead_letters", unit="count", threshold=0.0, value=float(len(died)) + (before.get("value") or 0.0),
        labels={"causes": "; ".join(sorted(causes | known))[:1000]}, aggregation="count",
    )  # fmt: skip
    rev = new_rev()
    marks = [Put(doc.path, {**doc.data, "untold": False, "toldAt": now, "rev": rev}, doc.version) for doc in letters]
    return taken, facts, channels, marks


def _ended(app: App, alert: Doc | None, now: datetime) -> Decided | None:
    taken = _over(app, alert, now) if alert else None
    if alert is None or taken is None:
        return None
    kept = {name: alert.data.get(name) for name in ("sloName", "severity", "metric", "unit", "threshold", "labels")}
    facts = own_facts(DEAD_LETTERS, alert, taken, now, **kept, value=0.0, aggregation="count")
    return taken, facts, sorted(alert.data["channels"]), ()

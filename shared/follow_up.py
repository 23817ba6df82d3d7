"""Every minute: alerts that go on firing are told again, passed on, and told where something held them back.

An alert's document is changed by compare-and-set in one commit with the notifications. Whoever loses leaves it to the
next minute: alertRules commits the same documents in the same way.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from shared import log
from shared.alert_writes import AlertWrites
from shared.announcing import FACTS, HEARS, acknowledging, announced
from shared.domain.follow_up import FollowUp, next_follow_up
from shared.notification_policy import PolicyLoader
from shared.notify.registry import configured
from shared.quiet import quiet_reader
from shared.store.protocol import Conflict, Data, Doc, Query, Store, Unavailable, Write, over

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST = 1000  # alerts that are looked at


def follow_up(app: App, now: datetime) -> list[str]:
    """The ids of alerts of which something was announced. Raises `StoreError` and `FlagsUnknown`."""
    found = app.store.query(Query("alerts", (("state", "==", "firing"),), limit=MOST))
    if not found:
        return []
    policy = app.part(PolicyLoader).policy
    writes = AlertWrites(app.store, app.flags.all(), configured(app), now, quiet_reader(app))
    done = []
    for alert in found:
        due = next_follow_up(alert.data, policy, now) or _held_before(app.store, alert)
        if due is not None and _announce(writes, alert, due):
            log.info("an alert was followed up", alert=alert.id, reason=due.reason)
            done.append(alert.id)
    return done


def _held_before(store: Store, alert: Doc) -> FollowUp | None:
    """The channels on which the last notification was withheld."""
    told = alert.data["channels"]
    names = {channel: f"notifications/{alert.id}-{was['seq']}-{channel}" for channel, was in told.items()}
    docs = dict(zip(names, store.get_many(list(names.values())), strict=True)) if names else {}
    held = [c for c, doc in docs.items() if (doc.data if doc else told[c])["state"] == "withheld"]
    return FollowUp("trigger", tuple(sorted(held)), "told_again", {}) if held else None


def _announce(writes: AlertWrites, alert: Doc, due: FollowUp) -> bool:
    """Commit it for the channels that may speak now; an escalation is recorded also where a switch withholds it.

    What a silence or the like holds back is not followed up: that waits until the end of the silence.
    """
    data, rule = alert.data, alert.data.get("rule") or ""
    facts: Data = {**{name: data.get(name) for name in FACTS}, "rule": rule}
    if data.get("acknowledged"):
        facts["acknowledged"] = data["acknowledged"]
    seq, told = data["seq"] + 1, dict(data["channels"])
    changes: list[Write] = []
    waits = False
    for channel in due.channels:
        if writes.quiet is not None and writes.quiet.hold(channel, alert.id, rule, data, writes.now):
            waits = True
            continue
        hold = writes.withheld(channel, alert.id, rule, data, due.kind)
        if hold is not None and due.reason != "escalated":
            continue
        write, told[channel] = announced(alert.id, seq, channel, due.kind, facts, writes.now, hold)
        changes.append(write)
    if not changes and (waits or not due.changes):
        return False
    after = {**data, **due.changes, "channels": told, "seq": seq if changes else data["seq"], "updatedAt": writes.now}
    if data.get("acknowledged") and told.get(HEARS) != data["channels"].get(HEARS):  # paged only now
        after, more = acknowledging(after, writes.now)
        changes += more
    try:
        writes.store.commit([*changes, over(alert, alert.path, after)])
    except (Conflict, Unavailable) as error:  # if it was committed after all, the next minute finds it done
        log.info("an alert changed while it was followed up", alert=alert.id, kind=type(error).__name__)
        return False
    return bool(changes)

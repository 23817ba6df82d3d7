"""Every minute: alerts that go on firing are told again, passed on, and told where something held them back.

An alert's document is changed by compare-and-set in one commit with the notifications. Whoever loses leaves it to the
next minute: alertRules commits the same documents in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from shared import log
from shared.alerts.announcing import FACTS, HEARS, acknowledging, announced
from shared.alerts.firings import all_that_fires
from shared.alerts.quiet import quiet_reader
from shared.alerts.writes import AlertWrites
from shared.delivery.policy import PolicyLoader
from shared.domain import incident_alerts
from shared.domain.follow_up import STILL_FIRES, FollowUp, next_follow_up
from shared.domain.notification import was_pointless
from shared.incidents import incidents
from shared.notify.registry import configured
from shared.store.protocol import Conflict, Data, Doc, Store, Unavailable, Write, over

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST = 1000  # alerts of which something is announced in a run: the next one goes on with the others
AT_ONCE = 60  # alerts whose last notifications are looked up in one call


def follow_up(app: App, now: datetime) -> list[str]:
    """The ids of alerts of which something was announced. Raises `StoreError` and `FlagsUnknown`."""
    found = all_that_fires(app.store)
    if not found:
        return []
    policy = app.part(PolicyLoader).policy
    writes = AlertWrites(app.store, app.flags.all(), configured(app), now, quiet_reader(app))
    done: list[str] = []
    for n in range(0, len(found), AT_ONCE):
        part = found[n : n + AT_ONCE]
        dues = {alert.id: next_follow_up(alert.data, policy, now) for alert in part}
        last = _last_told(app.store, [alert for alert in part if dues[alert.id] is None])
        for alert in part:
            due = dues[alert.id]
            each = _not_told(alert, last[alert.id]) if due is None else [due]
            done_now = next((one for one in each if _announce(writes, alert, one)), None)
            if done_now is not None:
                log.info("an alert was followed up", alert=alert.id, reason=done_now.reason)
                done.append(alert.id)
                if len(done) == MOST:
                    return done
    return done


def _last_told(store: Store, alerts: Sequence[Doc]) -> dict[str, dict[str, Data]]:
    """By alert and channel: the last notification, or what the alert says of it where its record is gone."""
    told = [(alert.id, channel, was) for alert in alerts for channel, was in alert.data["channels"].items()]
    docs = store.get_many([f"notifications/{name}-{was['seq']}-{channel}" for name, channel, was in told])
    found: dict[str, dict[str, Data]] = {alert.id: {} for alert in alerts}
    for (name, channel, was), doc in zip(told, docs, strict=True):
        found[name][channel] = doc.data if doc else was
    return found


def _not_told(alert: Doc, last: Mapping[str, Data]) -> list[FollowUp]:
    """What may be made up for: channels that were spared while somebody had the alert, if nobody has it any more; those
    on which the last notification was withheld. Nothing of one that another alert speaks for.
    """
    if alert.data.get("saidBy"):
        return []
    spared = [] if alert.data.get("acknowledged") else [c for c, was in last.items() if was_pointless(was)]
    held = [channel for channel, was in last.items() if was["state"] == "withheld"]
    both = (("escalated", spared), ("told_again", held))
    return [FollowUp("trigger", tuple(sorted(channels)), reason, {}) for reason, channels in both if channels]


def _opened_again(writes: AlertWrites, alert: Doc) -> list[Write]:
    """Its incident is not over while it fires, whoever has resolved it."""
    name = alert.data.get("incidentId")
    incident = writes.store.get(incidents.path_of(name)) if name else None
    after = incident_alerts.still_fires(incident.data, alert.id, writes.now) if incident else None
    return incidents.automated(incident, incident.path, after, "still_fires", writes.now) if incident and after else []


def _announce(writes: AlertWrites, alert: Doc, due: FollowUp) -> bool:
    """Commit it for the channels that may speak now; an escalation is recorded also where a switch withholds it.

    What a silence or the like holds back is not followed up: that waits until the end of the silence.
    """
    data, rule = {**alert.data, **due.changes}, alert.data.get("rule") or ""
    facts: Data = {**{name: data.get(name) for name in FACTS}, "rule": rule}
    if due.reason == STILL_FIRES:
        facts["resolvedByHandAt"] = alert.data["resolvedByHandAt"]
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
        if hold is not None and due.reason not in ("escalated", STILL_FIRES):
            continue
        write, told[channel] = announced(alert.id, seq, channel, due.kind, facts, writes.now, hold, due.reason)
        changes.append(write)
    if not changes and (waits or not due.changes):
        return False
    if due.reason == STILL_FIRES:
        changes += _opened_again(writes, alert)
    after = {**data, "channels": told, "seq": seq if changes else data["seq"], "updatedAt": writes.now}
    if data.get("acknowledged") and told.get(HEARS) != data["channels"].get(HEARS):  # paged only now
        after, more = acknowledging(after, writes.now)
        changes += more
    try:
        writes.store.commit([*changes, over(alert, alert.path, after)])
    except (Conflict, Unavailable) as error:  # if it was committed after all, the next minute finds it done
        log.info("an alert changed while it was followed up", alert=alert.id, kind=type(error).__name__)
        return False
    return bool(changes)

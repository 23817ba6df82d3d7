"""Whether what was sent is counted. While it is not, no SLO can be judged, and somebody has to hear of that.

Segments are folded in no order of time or kind: a part of them may be all errors while the successes still wait. No
verdict on a part is certain, not even that one event was bad, since a counter's point that comes late can take it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.domain.alert import State, Step

ALERT = "f0ops-counting"
RULE = "behind"
LATE_AFTER = timedelta(minutes=10)  # three runs in a row


def step_counting(state: State, since: datetime | None, at: datetime) -> Step:
    """`since`: end of the facts of the first run in a row whose fold was not complete; None if this one's is."""
    if since is None:
        return Step("resolved", "counted_again", "clear") if state == "firing" else Step("ok", "counted")
    if state == "firing":
        return Step("firing", "still_behind")
    return Step("firing", "counting_behind", "fire") if at - since >= LATE_AFTER else Step(state, "facts_incomplete")


def facts_of(taken: Step, complete_until: datetime, before: Mapping[str, Any], at: datetime, now: datetime) -> Any:
    """What the alert says, in the fields that an SLO's has. `complete_until`: all that came by then is counted."""
    fires = taken.transition == "fire"
    return {
        "sloId": ALERT,
        "sloName": "Counting has fallen behind",
        "severity": "high",
        "metric": "counting_delay",
        "unit": "min",
        "under": None,
        "labels": {},
        "aggregation": "delay",
        "value": 0.0 if taken.transition == "clear" else (at - complete_until).total_seconds() / 60,
        "threshold": LATE_AFTER.total_seconds() / 60,
        "comparison": "above",
        "good": None,
        "total": None,
        "windowSeconds": int(LATE_AFTER.total_seconds()),
        "component": None,
        "firedAt": now if fires else before.get("firedAt"),
        "resolvedAt": now if taken.transition == "clear" else None,
        "incidentId": None,
        "reason": taken.reason,
        "burn": None,
    }

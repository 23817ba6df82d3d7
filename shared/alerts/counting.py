"""The alert that what is sent is not counted in time, so that no SLO can be judged."""

from __future__ import annotations

from datetime import datetime

from shared import log
from shared.alerts.run_result import RunResult
from shared.alerts.stored import StoredAlerts, open_state
from shared.alerts.writes import AlertWrites
from shared.domain import counting
from shared.domain.slo import SloConfig
from shared.metrics.fold import Folded
from shared.run_guard import RunGuard
from shared.store.protocol import Conflict, Doc

TRIES = 20


def incomplete_since(guard: RunGuard, folded: Folded) -> datetime | None:
    """End of the facts of the first run in a row whose fold was not complete; None if this one's is."""
    if folded.complete:
        return None
    before = guard.run.data if guard.run else {}
    return before.get("incompleteSince") or guard.facts_at


def tell_of_counting(
    config: SloConfig,
    guard: RunGuard,
    stored: StoredAlerts,
    writes: AlertWrites,
    known: Doc | None,
    now: datetime,
    result: RunResult,
) -> None:
    """Whoever hears of any SLO hears that none can be judged."""
    alert, since, at = known, incomplete_since(guard, result.folded), guard.facts_at
    channels = sorted({channel for slo in config.slos for channel in slo.alert.channels})
    for _ in range(TRIES):
        taken = counting.step_counting(open_state(alert), since, at)
        if not taken.transition:
            return
        alert = alert or stored.get(counting.ALERT)
        before = alert.data if alert else {}
        seq = before.get("seq", 0) + 1
        until = (guard.run.data.get("foldedUntil") if guard.run else None) or since or at
        facts = counting.facts_of(taken, until, before, at, now)
        heard = before["channels"] if taken.transition == "clear" else ()
        own = writes.own(counting.ALERT, counting.RULE, facts, taken, alert, seq, sorted({*channels, *heard}))
        if stored.commit(counting.ALERT, taken.state, own):
            (result.fired if taken.transition == "fire" else result.cleared).append(counting.ALERT)
            if taken.transition == "fire":
                log.warning("what is sent is not counted in time", complete_until=until.isoformat())
            return
        alert = stored.get(counting.ALERT)
    raise Conflict(f"alerts/{counting.ALERT} kept changing")

"""What a probe found, and what state that makes: one failure is no outage, one success no recovery. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain.probe import ROUND_SECONDS, AnyProbe, Expect, FeedProbe, JsonCondition, at_path

# good: as it should be. slow: that, but beyond `slowMs`. impaired, out: what it told us itself. failed: no answer, or
# not the one that is expected. unknown: nothing can be said, for instance because our key was refused.
Outcome = Literal["good", "slow", "impaired", "failed", "out", "unknown"]
RANK: tuple[Outcome, ...] = ("good", "slow", "impaired", "out", "failed", "unknown")
APART = timedelta(seconds=15)  # rounds that are closer count as one towards a threshold
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one attempt, or of all those of a round. `reason` is a word, `detail` never holds what was sent.

    `latency` is in ms, None without an answer.
    """

    outcome: Outcome
    reason: str
    detail: str | None = None
    latency: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


def best(findings: Sequence[Finding]) -> Finding:
    """Of the attempts of a round: one good answer is enough, and the first of those that are as good."""
    return min(findings, key=lambda found: RANK.index(found.outcome))


def not_set_up(setting: str, entry: Entry | None, at: datetime) -> Entry:
    """The entry of a probe that needs a setting which is not there."""
    since = entry["since"] if entry and entry["state"] == "not_monitored" else at
    return {"state": "not_monitored", "reason": "setting_missing", "detail": setting, "since": since}


def advanced(entry: Entry | None, probe: AnyProbe, found: Finding, at: datetime) -> Entry:
    """The entry after a round. Failures and successes are counted in rounds in a row.

    Of what is unknown the state stays as it was, and becomes stale by itself, since `checkedAt` is not renewed.
    """
    before = entry if entry and entry["state"] != "not_monitored" else _FIRST
    last = before.get("roundAt")
    step = 1 if last is None or at - last >= APART else 0
    if found.outcome == "unknown":
        state = before["state"] or "no_data"
        return _entry({**before, "reason": found.reason, "detail": found.detail}, state, before["state"], at)
    failures = before["failures"] + step if found.outcome == "failed" else 0
    successes = before["successes"] + step if found.outcome == "good" else 0
    if found.outcome == "failed":
        failures = max(failures, 1)
        state = "outage" if failures >= probe.outage_after or before["state"] == "outage" else "degraded"
    elif found.outcome == "out":
        state = "outage"
    elif found.outcome in ("slow", "impaired"):
        state = "degraded"
    elif before["state"] in ("degraded", "outage") and successes < probe.recover_after:
        state = before["state"]
    else:
        state = "operational"
    reason = "recovering" if found.outcome == "good" and state != "operational" else found.reason
    more = {
        "reason": reason,
        "detail": found.detail,
        "failures": failures,
        "successes": successes,
        "checkedAt": at,
        "latency": None if found.latency is None else round(found.latency, 1),
        "figures": {name: round(value, 1) for name, value in found.figures.items()},
    }
    return _entry({**before, **more}, state, before["state"], at)


_FIRST: Entry = {
    "state": None, "since": None, "failures": 0, "successes": 0, "checkedAt": None, "latency": None, "figures": {},
}  # fmt: skip


def _entry(entry: Entry, state: str, before: str | None, at: datetime) -> Entry:
    return {**entry, "state": state, "since": entry["since"] if state == before else at, "roundAt": at}


def is_due(entry: Entry | None, probe: AnyProbe, at: datetime) -> bool:
    """Whether the probe's own pause is over; a few seconds early counts, since rounds are not exact.

    One that is asked in every round is: a run by hand just before takes nothing from the schedule's next one.
    """
    last = entry.get("roundAt") if entry else None
    if last is None or probe.every_seconds <= ROUND_SECONDS:
        return True
    return at - last >= timedelta(seconds=probe.every_seconds) - APART  # type: ignore[no-any-return]


def judged(expect: Expect, status: int, body: bytes, certificate_ends: datetime | None, now: datetime) -> Finding:
    """An HTTP answer against what is expected of it; without the time it took."""
    if not expect.takes(status):
        return Finding("failed", "status_unexpected", str(status))
    text = body.decode("utf-8", "replace")
    if expect.contains is not None and expect.contains not in text:
        return Finding("failed", "text_missing")
    if expect.matches is not None and not re.search(expect.matches, text):
        return Finding("failed", "pattern_missing")
    if expect.json_:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return Finding("failed", "not_json")
        for condition in expect.json_:
            if not _holds(condition, data):
                return Finding("failed", "json_condition", condition.path)
    if expect.certificate_days is not None and certificate_ends is not None:
        left = (certificate_ends - now).days
        if left < expect.certificate_days:
            return Finding("impaired", "certificate_expires", f"{left} days left")
    return Finding("good", "answered")


def _holds(condition: JsonCondition, data: Any) -> bool:
    there, value = at_path(data, condition.path)
    if not there:
        return False
    if condition.at_least is not None or condition.at_most is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value >= condition.at_least if condition.at_least is not None else value <= (condition.at_most or 0)
    wanted = condition.one_of or (condition.equals,)
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in wanted)


_OF_COMPONENTS: Mapping[str, Outcome] = {
    "operational": "good",
    "degraded_performance": "impaired",
    "partial_outage": "impaired",
    "under_maintenance": "impaired",
    "major_outage": "out",
}
_OF_ALL: Mapping[str, Outcome] = {
    "none": "good", "minor": "impaired", "maintenance": "impaired", "major": "impaired", "critical": "out",
}  # fmt: skip
_REASONS: Mapping[Outcome, str] = {"good": "feed_operational", "impaired": "feed_degraded", "out": "feed_outage"}


def told_by_feed(probe: FeedProbe, body: bytes) -> Finding:
    """What a provider's `summary.json` says, of the named components or of the whole."""
    try:
        data = json.loads(body)
        if probe.components:
            found = [c["status"] for c in data["components"] if c["name"] in probe.components]
            outcomes = [_OF_COMPONENTS[status] for status in found]
        else:
            outcomes = [_OF_ALL[data["status"]["indicator"]]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Finding("unknown", "feed_unreadable")
    if not outcomes:
        return Finding("unknown", "feed_lacks_component")
    worst = max(outcomes, key=RANK.index)
    return Finding(worst, _REASONS[worst])

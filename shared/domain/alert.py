"""Alert decisions. Pure: the state, the facts and the configuration give the next state and a named reason.

    ok ──breach──► pending ──for──► firing ──within──► resolved
                      │               │  ▲
                      └──within──► ok └─calm─┘ until keep_firing_for is over

Every SLO has the alert of its threshold, and with `burn_rates` those of config/burn_windows.json.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from shared.domain.alert_policy import Channel, Severity
from shared.domain.burn import Burning, Pair, Verdict, can_fire, scaled
from shared.domain.definition import Counts
from shared.domain.durations import SLOT_SECONDS
from shared.domain.scrub import scrub_value
from shared.domain.slo import Slo, SloConfig

State = Literal["ok", "pending", "firing", "resolved"]
Transition = Literal["fire", "clear", "wait", "give_up", "calm_down", "burn_again"]
THRESHOLD = "threshold"
TOLD: frozenset[Transition | None] = frozenset({"fire", "clear"})  # the others only change the alert's document

IMPACT = {"critical": "critical", "high": "high", "warning": "medium"}
FLAPPING_FIRES = 3  # within FLAPPING_SPAN: then it goes on firing until it was calm for DAMPED_FOR
FLAPPING_SPAN = timedelta(hours=1)
DAMPED_FOR = timedelta(minutes=30)
WIDEST = 6 * 3600  # seconds; what fires is judged by no more than that, or by its own window if that is longer
_KEPT_FIRES = 5


class _Words(NamedTuple):
    """The reasons of a kind of rule: beyond its limit, within, and back within."""

    exceeded: str
    within: str
    back: str


_OF_THRESHOLD = _Words("threshold_exceeded", "within_threshold", "back_within_threshold")
_OF_BURN_RATE = _Words("burn_rate_exceeded", "within_burn_rate", "back_within_burn_rate")
_OF_SILENCE = _Words("no_data_alert", "no_data_ok", "no_data_ok")


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert of an SLO. With `pairs` it is judged by burn rates, else by the threshold. `incident`: it opens one."""

    slo: Slo
    name: str
    severity: Severity
    channels: tuple[Channel, ...]
    min_failures: int
    pairs: tuple[Pair, ...] = ()
    incident: bool = True

    @property
    def alert_id(self) -> str:
        return f"{self.slo.id}-{self.name}"


def rules_of(slo: Slo, config: SloConfig) -> tuple[Rule, ...]:
    """The alerts of an SLO, that of the threshold first."""
    policy = slo.alert
    rules = [Rule(slo, THRESHOLD, policy.severity, policy.channels, policy.min_failures, incident=policy.incident)]
    if policy.burn_rates and config.burn is not None:
        for burn in config.burn.rules:
            channels = tuple(c for c in policy.channels if c not in burn.without) or policy.channels
            failures = max(policy.min_failures, burn.min_failures)
            pairs = scaled(burn.windows, config.burn.period, slo.period)
            severity, incident = burn.severity or policy.severity, policy.incident and burn.incident
            rules.append(Rule(slo, burn.name, severity, channels, failures, pairs, incident))
    return tuple(rules)


def warnings_of(config: SloConfig) -> list[str]:
    """What is allowed and will not do what it seems to."""
    unmatched = [
        f"{slo.name}: no series has {label} {value!r}: it is stored as {stored!r}, as it may tell of a person"
        for slo in config.slos
        for label, value in slo.labels
        if (stored := scrub_value(value)) != value
    ]
    return unmatched + [
        f"{slo.name}: {rule.name} at {float(pair.factor):g} times can never fire: with an objective of "
        f"{slo.good_percent:f} % a complete outage burns only {float(100 / (100 - slo.good_percent)):g} times as fast"
        for slo in config.slos
        for rule in rules_of(slo, config)
        for pair in rule.pairs
        if not can_fire(pair.factor, slo.good_share)
    ]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule was judged by. `complete`: everything that was sent is in the counts.

    `burning`: by pair of windows, the one to be told about first; then `counts` are those over its long window.
    `excluded`: half of the window or more is; so if nothing came in the rest of it, that is no silence.
    `seconds`: what `counts` are over, where that is more than the threshold's window. `heard`: something came at some
    time; if nothing ever did, there is nothing that could have fallen silent.
    """

    counts: Counts
    complete: bool = True
    burning: tuple[Burning, ...] = ()
    excluded: bool = False
    seconds: int | None = None
    heard: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """What an alert remembers: since when it is pending, since when it is calm while firing, when it fired lately."""

    since: datetime | None = None
    calm_since: datetime | None = None
    fired: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of an alert: its state, why, and what has to be written or told, if anything."""

    state: State
    reason: str
    transition: Transition | None = None


def widened(rule: Rule, counts: Counts, last: Callable[[int], Counts]) -> tuple[Counts, int | None]:
    """What a threshold that fires is judged by: its window, or as much more as holds `min_events` events.

    Else it would fire on for as long as few events come, however well they go. `last`: the counts of so many seconds.
    With it comes how many seconds were taken; None where the window is enough, or silent, or `WIDEST` is not enough.
    """
    window, least = rule.slo.alert.window, rule.slo.alert.min_events
    if not 0 < counts.total < least:
        return counts, None
    slots = range(window // SLOT_SECONDS + 1, WIDEST // SLOT_SECONDS + 1)
    found = bisect_left(slots, least, key=lambda n: last(n * SLOT_SECONDS).total)
    if found == len(slots):
        return counts, None
    seconds = slots[found] * SLOT_SECONDS
    return last(seconds), seconds


def judge(rule: Rule, facts: Facts) -> Verdict:
    """Whether the rule's windows are beyond its limit; too few events or failures decide nothing."""
    policy, counts = rule.slo.alert, facts.counts
    if rule.pairs:
        verdicts = {one.verdict(rule.slo.good_share, policy.min_events, rule.min_failures) for one in facts.burning}
        # A pair of which nothing is left may still burn, so the others cannot say that all is well again.
        order: Sequence[Verdict] = ("breach", "too_few_failures", "excluded", "no_data", "within", "too_few_events")
        return next((verdict for verdict in order if verdict in verdicts), "no_data")
    if counts.total == 0:
        return "excluded" if facts.excluded else "no_data"
    if counts.total < policy.min_events:
        return "too_few_events"
    if not rule.slo.exceeds(counts):
        return "within"
    return "breach" if counts.bad >= rule.min_failures else "too_few_failures"


def step(state: State, rule: Rule, facts: Facts, memory: Memory, at: datetime) -> Step:
    """The next state. Too few events keep the state, and facts of which a part is missing keep everything as it is.

    `at`: the end of the facts. What no events mean is the SLO's policy, once there have been any.
    """
    if not facts.complete:
        return Step(state, "facts_incomplete")
    policy = rule.slo.alert
    verdict = judge(rule, facts)
    words = _OF_BURN_RATE if rule.pairs else _OF_THRESHOLD
    if verdict == "no_data" and not facts.heard and state == "ok":
        return Step("ok", "no_data_yet")
    if verdict == "no_data" and policy.no_data == "alert" and facts.heard and not rule.pairs:
        verdict, words = "breach", _OF_SILENCE
    if verdict == "no_data" and policy.no_data == "ok":
        verdict, words = "within", _OF_SILENCE
    if verdict == "breach":
        return _breach(state, timedelta(seconds=policy.pending_for), memory, at, words.exceeded)
    if verdict != "within":
        if state == "pending":  # it must hold without a gap
            return Step("ok", verdict, "give_up")
        return Step(state, verdict, "burn_again" if verdict == "too_few_failures" and memory.calm_since else None)
    if state == "pending":
        return Step("ok", words.back, "give_up")
    if state == "firing":
        return _calm(timedelta(seconds=policy.keep_firing_for), memory, at, words.back)
    return Step(state, words.within)


def _breach(state: State, pending_for: timedelta, memory: Memory, at: datetime, reason: str) -> Step:
    if state == "firing":
        return Step("firing", "still_exceeded", "burn_again" if memory.calm_since else None)
    if state == "pending":
        waited = at - (memory.since or at)
        return Step("firing", reason, "fire") if waited >= pending_for else Step("pending", "still_pending")
    return Step("pending", "pending", "wait") if pending_for else Step("firing", reason, "fire")


def _calm(keep_firing_for: timedelta, memory: Memory, at: datetime, reason: str) -> Step:
    flapping = sum(at - fired <= FLAPPING_SPAN for fired in memory.fired) >= FLAPPING_FIRES
    needed = max(keep_firing_for, DAMPED_FOR) if flapping else keep_firing_for
    if at - (memory.calm_since or at) >= needed:
        return Step("resolved", reason, "clear")
    return Step("firing", "flapping" if flapping else "kept_firing", None if memory.calm_since else "calm_down")


def remembered(taken: Step, memory: Memory, at: datetime) -> tuple[State, Memory]:
    """What an alert is and remembers after a transition at the end of a slot; a resolved one is as good as ok."""
    fired = memory.fired
    match taken.transition:
        case "wait":
            return "pending", Memory(since=at, fired=fired)
        case "fire":
            return "firing", Memory(fired=(*fired, at)[-_KEPT_FIRES:])
        case "calm_down":
            return "firing", Memory(calm_since=at, fired=fired)
        case "burn_again":
            return "firing", Memory(fired=fired)
        case _:
            return "ok", Memory(fired=fired)

"""Judging the slots that no run has judged, and again those whose data came late. Pure.

A run judges an alert by every slot since it was last judged, in their order, as runs in time would have; and by the
last few before them again if something came late for them, by what they hold now. What was told stays told: slots up to
the last message are never judged again. A run tells one change of an alert at most, that which leads to the state after
the last slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.domain.alert import TOLD, WIDEST, Facts, Memory, Rule, State, Step, remembered, step
from shared.domain.definition import Counts
from shared.domain.durations import SLOT_SECONDS

SLOT = timedelta(seconds=SLOT_SECONDS)
LATE = timedelta(minutes=10)  # so long after a slot's end it may still change what its alerts do
CATCH_UP = timedelta(hours=6)  # slots that nobody judged for longer are never judged


class Judged(NamedTuple):
    """How far an alert is judged, in ends of slots: all up to `until`; those after `after` may be judged again.

    `held`: what it says stands as long as the facts end then. It fired, and was over before anybody could be told.
    `seen`: good and total of all that the last few slots are judged by. While they are the same, nothing came late.
    """

    after: datetime
    until: datetime
    held: datetime | None = None
    seen: list[int] | None = None


class Decided(NamedTuple):
    """What becomes of an alert. `at`: the end of the slot by which that was decided, `facts` are those of then.

    `memory`: what it remembers afterwards; `judged`: how far it is judged then.
    """

    step: Step
    at: datetime
    facts: Facts
    memory: Memory
    judged: Judged


class _Told(NamedTuple):
    step: Step
    at: datetime
    facts: Facts
    memory: Memory


def catch_up(
    state: State,
    rule: Rule,
    memory: Memory,
    judged: Judged | None,
    end: datetime,
    facts_of: Callable[[datetime, bool], Facts],
    seen_of: Callable[[datetime], Counts],
    *,
    anew: bool = False,
) -> Decided:
    """Judge by every slot up to the one that ends at `end`.

    `state` and `memory`: of the alert as it stands. `judged`: None where it never was; then the last slot decides
    alone. `facts_of`: the facts at the end of a slot, of an alert that fires then or does not. `seen_of`: the counts of
    `seconds_seen` until the end of a slot; they only ever grow. `anew`: by another rule or other exclusions than the
    run before, so what is pending must have held by these.
    """
    known = judged or Judged(end - SLOT, end - SLOT)
    latest = facts_of(end, state == "firing")
    if not latest.complete:
        return Decided(Step(state, "facts_incomplete"), end, latest, memory, known)
    if known.held == end:
        return Decided(Step(state, "over_already"), end, latest, memory, known)
    same = known.seen is not None and known.seen == _as_list(seen_of(known.until))
    at = _beginning(known, end, nothing_late=same)
    held = _still_held(rule, memory, known.until, facts_of) if anew and state == "pending" else memory
    now, mind = _as_of(at, state, held, gap=judged is None or known.until < at)
    told: dict[str, _Told] = {}
    while True:
        at += SLOT
        is_latest = at == end and (now == "firing") == (state == "firing")
        facts = latest if is_latest else facts_of(at, now == "firing")
        taken = step(now, rule, facts, mind, at)
        if taken.transition is not None:
            now, mind = remembered(taken, mind, at)
            if taken.transition in TOLD:
                told[taken.transition] = _Told(taken, at, facts, mind)
        if at >= end:
            break
    if (now == "firing") != (state == "firing"):
        return _change(told["fire" if now == "firing" else "clear"])
    if "fire" in told and now != "firing":
        fired = told["fire"]
        return _change(fired._replace(step=replace(fired.step, reason="over_already")), held=end)
    after = told["fire"].at if "fire" in told else known.after
    return Decided(_untold(state, now, memory, mind, taken), end, facts, mind, _judged(after, end, seen_of))


def seconds_seen(rules: Iterable[Rule]) -> int:
    """How far back the facts of any slot reach that may be judged again, from the end of the last one."""
    longest = [max([WIDEST, r.slo.alert.window, *(max(p.long, p.short) for p in r.pairs)]) for r in rules]
    return max(longest) + round((LATE + SLOT).total_seconds())


def _judged(after: datetime, end: datetime, seen_of: Callable[[datetime], Counts]) -> Judged:
    return Judged(after, end, None, _as_list(seen_of(end)))


def _as_list(counts: Counts) -> list[int]:
    return [counts.good, counts.total]


def _beginning(known: Judged, end: datetime, *, nothing_late: bool) -> datetime:
    """The end of the slot before the first that is judged; the last one always is."""
    first = known.until if nothing_late else max(known.after, min(known.until, end - SLOT - LATE))
    return min(max(first, end - CATCH_UP), end - SLOT)


def _still_held(rule: Rule, memory: Memory, until: datetime, facts_of: Callable[[datetime, bool], Facts]) -> Memory:
    """With the slot since which, up to `until`, every one is a breach by this rule; None if that one is none."""
    since, at = None, until
    while memory.since is not None and at >= max(memory.since, until - CATCH_UP):
        if step("pending", rule, facts_of(at, False), Memory(at), at).state == "ok":
            break
        since, at = at, at - SLOT
    return replace(memory, since=since)


def _as_of(at: datetime, state: State, memory: Memory, *, gap: bool) -> tuple[State, Memory]:
    """What the alert was at the end of an earlier slot. With a `gap` before it nothing is known to have held."""
    since = None if gap or memory.since is None or memory.since > at else memory.since
    calm_since = None if gap or memory.calm_since is None or memory.calm_since > at else memory.calm_since
    if state == "pending" and since is None:
        state = "ok"
    return state, Memory(since, calm_since, memory.fired)


def _change(told: _Told, held: datetime | None = None) -> Decided:
    """A change that is told. What came after it is judged by the next run, from there on."""
    return Decided(told.step, told.at, told.facts, told.memory, Judged(told.at, told.at, held))


def _untold(state: State, now: State, before: Memory, mind: Memory, taken: Step) -> Step:
    """The step to a state that nobody is told of. It has a transition if the alert's document has to change."""
    if now == "pending":
        return Step("pending", taken.reason, None if before.since == mind.since and state == now else "wait")
    if now == "ok":
        return Step("ok", taken.reason, "give_up" if state == "pending" else None)
    if before.calm_since == mind.calm_since and before.fired == mind.fired:
        return Step("firing", taken.reason)
    return Step("firing", taken.reason, "calm_down" if mind.calm_since else "burn_again")

"""Alert decisions over history: when a rule fires and clears, slot by slot, exactly as `judge` and `step` decide.

The verdict on every slot comes from prefix sums and integer numerators; `step` itself is asked only where a verdict can
change the state. Facts are taken to be complete: what was late then is in the history now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import accumulate, chain, repeat

from shared.domain.alert import WIDEST, Facts, Memory, Rule, State, Step, judge, remembered, step, widened
from shared.domain.burn import Burning, Pair, Verdict
from shared.domain.definition import Counts
from shared.domain.durations import SLOT_SECONDS
from shared.domain.exclusion import Span

SLOT = timedelta(seconds=SLOT_SECONDS)
# Of several pairs of windows the one furthest to the right counts, as `judge` has it.
VERDICTS: tuple[Verdict, ...] = ("too_few_events", "within", "no_data", "excluded", "too_few_failures", "breach")
_TOO_FEW, _WITHIN, _NO_DATA, _EXCLUDED, _FEW_FAILURES, _BREACH = range(len(VERDICTS))


class Slots:
    """Counts of one definition in the 5-minute slots from `start` on; before it there is nothing.

    What lies in `excluded`, which is merged, does not count.
    """

    def __init__(
        self, start: datetime, goods: Sequence[int], totals: Sequence[int], excluded: Iterable[Span] = ()
    ) -> None:
        self.start = start
        self.unheard = next((n for n, total in enumerate(totals) if total), len(totals))  # slots before the first event
        self.excluded: list[int] = []  # as the other sums; empty where nothing is
        spans = [(max(0, (s.start - start) // SLOT), min(len(totals), (s.end - start) // SLOT)) for s in excluded]
        if spans := [(first, end) for first, end in spans if first < end]:
            goods, totals, marks = [*goods], [*totals], [0] * len(totals)
            for first, end in spans:
                goods[first:end] = totals[first:end] = [0] * (end - first)
                marks[first:end] = [1] * (end - first)
            self.excluded = [0, *accumulate(marks)]
        self.goods = [0, *accumulate(goods)]
        self.totals = [0, *accumulate(totals)]

    def __len__(self) -> int:
        return len(self.totals) - 1

    def last(self, end: int, seconds: int) -> Counts:
        """The counts of so many seconds before the slot `end`."""
        first = max(0, end - seconds // SLOT_SECONDS)
        return Counts(self.goods[end] - self.goods[first], self.totals[end] - self.totals[first])

    def excludes(self, end: int, seconds: int) -> bool:
        """Whether half of so many seconds before the slot `end`, or more, is excluded."""
        length = seconds // SLOT_SECONDS
        return bool(self.excluded) and 2 * (self.excluded[end] - self.excluded[max(0, end - length)]) >= length

    def at(self, end: int) -> datetime:
        return self.start + end * SLOT


@dataclass(frozen=True, slots=True)
class Firing:
    """`cleared` is None where it still fires at the end."""

    fired: datetime
    cleared: datetime | None


def replay(rule: Rule, slots: Slots, first: int = 0) -> list[Firing]:
    """When the rule fires and clears. What lies before slot `first` is counted in windows, and not judged."""
    firings: list[Firing] = []
    for at, taken in transitions(rule, slots, first):
        if taken.transition == "fire":
            firings.append(Firing(at, None))
        elif taken.transition == "clear":
            firings[-1] = Firing(firings[-1].fired, at)
    return firings


def transitions(rule: Rule, slots: Slots, first: int = 0) -> Iterator[tuple[datetime, Step]]:
    """Every step with a transition, and the moment of its facts. It begins as `ok`."""
    plain = verdicts(rule, slots)
    codes, while_firing = _as_policy_has_it(rule, slots, plain), b""
    state: State = "ok"
    memory = Memory()
    slot = first
    while True:
        if state == "firing" and not while_firing:
            while_firing = _as_policy_has_it(rule, slots, _widened(rule, slots, plain))
        slot = _next_that_matters(while_firing if state == "firing" else codes, slot, state, memory)
        if slot < 0:
            return
        at = slots.at(slot + 1)
        taken = step(state, rule, facts(rule, slots, slot, firing=state == "firing"), memory, at)
        if taken.transition is not None:
            yield at, taken
            state, memory = remembered(taken, memory, at)
        slot += 1


def facts(rule: Rule, slots: Slots, slot: int, *, firing: bool = False) -> Facts:
    """What the rule, which fires already or does not, is judged by at the end of a slot."""
    end = slot + 1
    if not rule.pairs:
        window = rule.slo.alert.window
        counts, seconds = slots.last(end, window), None
        if firing:
            counts, seconds = widened(rule, counts, lambda seconds: slots.last(end, seconds))
        heard = slot >= slots.unheard
        return Facts(counts, excluded=slots.excludes(end, window), seconds=seconds, heard=heard)
    burning = tuple(_burning(pair, slots, end) for pair in rule.pairs)
    return Facts(burning[0].long, burning=burning)


def _burning(pair: Pair, slots: Slots, end: int) -> Burning:
    long, short = slots.last(end, pair.long), slots.last(end, pair.short)
    nothing_left = (long.total == 0 and slots.excludes(end, pair.long)) or (
        short.total == 0 and slots.excludes(end, pair.short)
    )
    return Burning(pair, long, short, nothing_left)


def verdicts(rule: Rule, slots: Slots) -> bytes:
    """The verdict at the end of each slot, as its place in `VERDICTS`."""
    if not rule.pairs:
        window = rule.slo.alert.window
        return _verdicts(rule, slots, threshold_share(rule), window, window)
    allowed = 1 - rule.slo.good_share
    of_pairs = [_verdicts(rule, slots, pair.factor * allowed, pair.long, pair.short) for pair in rule.pairs]
    return of_pairs[0] if len(of_pairs) == 1 else bytes(map(max, *of_pairs))


def threshold_share(rule: Rule) -> Fraction:
    """The share of bad events above which `Slo.exceeds` says yes."""
    slo = rule.slo
    if slo.quantile is not None:
        return 1 - Fraction(slo.quantile, 100)
    share = Fraction(slo.threshold) / 100
    return share if slo.more_is_worse else 1 - share


def _verdicts(rule: Rule, slots: Slots, limit: Fraction, long: int, short: int) -> bytes:
    """`limit`: the share of bad events that both windows must be above; `long` is what the least numbers hold for.

    bad > limit · total is bad · denominator - numerator · total > 0, whose left side has prefix sums of its own.
    """
    n, d = limit.numerator, limit.denominator
    bads = [total - good for good, total in zip(slots.goods, slots.totals, strict=True)]
    excess = [d * bad - n * total for bad, total in zip(bads, slots.totals, strict=True)]
    least, failures = rule.slo.alert.min_events, rule.min_failures
    columns = zip(
        _differences(slots.totals, long),
        _differences(slots.totals, short),
        _differences(bads, long),
        _differences(excess, long),
        _differences(excess, short),
        strict=True,
    )
    codes = bytearray(
        [
            _NO_DATA if total == 0 or now == 0
            else _TOO_FEW if total < least
            else _WITHIN if over_long <= 0 or over_short <= 0
            else _FEW_FAILURES if bad < failures
            else _BREACH
            for total, now, bad, over_long, over_short in columns
        ]
    )  # fmt: skip
    for seconds in {long, short} if slots.excluded else ():
        left = zip(_differences(slots.totals, seconds), _differences(slots.excluded, seconds), strict=True)
        for n, (total, excluded) in enumerate(left):
            if total == 0 and 2 * excluded * SLOT_SECONDS >= seconds:
                codes[n] = _EXCLUDED
    return bytes(codes)


def _widened(rule: Rule, slots: Slots, codes: bytes) -> bytes:
    """The verdicts on an alert that fires: with too few events, its window is wider."""
    if rule.pairs or rule.slo.alert.window >= WIDEST:
        return codes
    wide = bytearray(codes)
    slot = codes.find(_TOO_FEW)
    while slot >= 0:
        wide[slot] = VERDICTS.index(judge(rule, facts(rule, slots, slot, firing=True)))
        slot = codes.find(_TOO_FEW, slot + 1)
    return bytes(wide)


def _differences(sums: Sequence[int], seconds: int) -> Iterator[int]:
    """What each window that ends with a slot adds up to, of prefix sums."""
    starts = chain(repeat(0, seconds // SLOT_SECONDS), sums[1:])
    return (end - start for end, start in zip(sums[1:], starts, strict=False))


def _as_policy_has_it(rule: Rule, slots: Slots, codes: bytes) -> bytes:
    """No data means what the SLO says that it means, from the first event on."""
    unheard = slots.unheard
    meaning = {"alert": _NO_DATA if rule.pairs else _BREACH, "ok": _WITHIN, "keep": _NO_DATA}[rule.slo.alert.no_data]
    return codes[:unheard] + codes[unheard:].replace(bytes([_NO_DATA]), bytes([meaning]))


def _next_that_matters(codes: bytes, slot: int, state: State, memory: Memory) -> int:
    """The next slot whose verdict may change something; -1 if none does."""
    breach, within = bytes([_BREACH]), bytes([_WITHIN])
    if state == "ok":
        return codes.find(breach, slot)
    if state == "firing" and memory.calm_since is None:
        return codes.find(within, slot)
    for n in range(slot, len(codes)):
        if state == "pending" or codes[n] in (_WITHIN, _FEW_FAILURES, _BREACH):
            return n
    return -1

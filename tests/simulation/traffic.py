"""Months of a service's traffic, and what the product's own decisions (`rules_of`, `judge`, `step`) make of them.

A month has the curve of the day, nights of about 3 requests in 5 minutes, 0.05 % of failures at random, bursts, lost
slots, and one or two failures by themselves at night. Outages are planted into it. All of it comes from a seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from shared.domain.alert import Facts, Memory, Rule, State, Step, rules_of, step
from shared.domain.replay import Firing, Slots, facts, replay
from shared.domain.slo import SloConfig
from shared.domain.slo_file import parse_slos
from shared.domain.slots import SLOTS_A_DAY
from shared.slo_loader import load_burn_windows, load_file, load_registry

CONFIG = Path(__file__).parent.parent.parent / "config"
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
HOUR = 12  # slots
NIGHT_UNTIL = 7 * HOUR  # from midnight
NIGHT_REQUESTS = 3
ERRORS = 0.0005
PEAKS = (100, 400, 1500, 6000)  # requests in 5 minutes at noon


def slo_of_999(alert: Mapping[str, Any] | None = None) -> SloConfig:
    """API Availability as shipped, but for 99.9 % over 30 days."""
    registry = load_registry(CONFIG)
    policy = {"severity": "critical", "channels": ["slack"], "burn_rates": True, **(alert or {})}
    entry = {"name": "API", "target": 99.9, "window": "30d", "metric": "error_rate", "threshold": 0.5, "alert": policy}
    found = parse_slos({"slos": [entry]}, registry, source="simulation", digest="simulation")
    return SloConfig(found.slos, found.hash, burn=load_burn_windows(CONFIG))


def as_shipped() -> dict[str, SloConfig]:
    """Each SLO of config/slo.json by itself, by its id."""
    found = load_file(CONFIG / "slo.json", load_registry(CONFIG))
    return {slo.id: SloConfig((slo,), found.hash, burn=load_burn_windows(CONFIG)) for slo in found.slos}


class Outage(NamedTuple):
    """`share` of the requests of these slots fail besides."""

    share: float
    first: int
    slots: int

    @property
    def end(self) -> int:
        return self.first + self.slots


@dataclass(slots=True)
class Traffic:
    """Requests in each 5-minute slot, and how many of them failed."""

    totals: list[int]
    bads: list[int]


def month(seed: int, days: int = 30, outages: Sequence[Outage] = ()) -> Traffic:
    """The same seed gives the same month, but for what its outages do."""
    source, failing = random.Random(seed), random.Random(f"{seed} outages")
    peak = PEAKS[seed % len(PEAKS)] * source.uniform(0.7, 1.4)
    slots = days * SLOTS_A_DAY
    rates = [_rate(n, peak) for n in range(slots)]
    for _ in range(3 * days):
        first, times = source.randrange(slots), source.uniform(2, 8)
        for n in range(first, min(slots, first + source.randint(1, 6))):
            rates[n] *= times
    totals = [_poisson(source, rate) for rate in rates]
    bads = [failures(source, total, ERRORS) for total in totals]
    for day in range(days):
        night = [n for n in range(day * SLOTS_A_DAY, day * SLOTS_A_DAY + NIGHT_UNTIL) if totals[n] > bads[n]]
        for n in source.sample(night, source.randint(0, 2)):
            bads[n] += 1
    lost = {source.randrange(slots) + n for _ in range(2 * days) for n in range(source.randint(1, 3))}
    first = source.randrange(slots)
    for n in lost | set(range(first, first + HOUR)):
        if n < slots:
            totals[n] = bads[n] = 0
    for outage in outages:
        for n in range(outage.first, outage.end):
            bads[n] += failures(failing, totals[n] - bads[n], outage.share)
    return Traffic(totals, bads)


def _rate(slot: int, peak: float) -> float:
    """Requests to be expected: few at night, most at half past three, less at weekends."""
    of_day = slot % SLOTS_A_DAY
    if of_day < NIGHT_UNTIL:
        return NIGHT_REQUESTS
    part = math.sin(math.pi * (of_day - NIGHT_UNTIL) / (SLOTS_A_DAY - NIGHT_UNTIL)) ** 2
    return NIGHT_REQUESTS + peak * part * (0.4 if slot // SLOTS_A_DAY % 7 >= 5 else 1)


def _poisson(source: random.Random, rate: float) -> int:
    if rate > 50:
        return max(0, round(source.gauss(rate, math.sqrt(rate))))
    left, count = math.exp(-rate), 0
    product = source.random()
    while product > left:
        product *= source.random()
        count += 1
    return count


def failures(source: random.Random, total: int, share: float) -> int:
    """How many of so many requests fail, each by chance: from one to the next it is a geometric step."""
    if share >= 1:
        return total
    count, at, scale = 0, 0, math.log1p(-share)
    while True:
        at += 1 + int(math.log(1 - source.random()) / scale)
        if at > total:
            return count
        count += 1


@dataclass(slots=True)
class Watch:
    """One alert, stepped as a run steps it; it remembers what the alert's document does."""

    rule: Rule
    state: State = "ok"
    since: datetime | None = None
    calm_since: datetime | None = None
    fired: list[datetime] = field(default_factory=list)

    def see(self, facts: Facts, at: datetime) -> Step:
        since = self.since if self.state == "pending" else None
        taken = step(self.state, self.rule, facts, Memory(since, self.calm_since, tuple(self.fired)), at)
        if taken.transition is not None:
            self.calm_since = at if taken.transition == "calm_down" else None
            if taken.state != self.state:
                self.since = at
            if taken.transition == "fire":
                self.fired = [*self.fired, at][-5:]
        self.state = "ok" if taken.state == "resolved" else taken.state  # as a run reads an alert that is over
        return taken


def slots_of(traffic: Traffic) -> Slots:
    return Slots(START, [t - b for t, b in zip(traffic.totals, traffic.bads, strict=True)], traffic.totals)


def firings(config: SloConfig, traffic: Traffic) -> dict[str, list[Firing]]:
    """When each rule fires and clears over this traffic, with a run after every slot."""
    slots = slots_of(traffic)
    return {rule.name: replay(rule, slots) for rule in rules_of(config.slos[0], config)}


def firings_step_by_step(config: SloConfig, traffic: Traffic) -> dict[str, list[Firing]]:
    """The same without any short cut: every slot is judged and stepped."""
    slots = slots_of(traffic)
    found: dict[str, list[Firing]] = {}
    for rule in rules_of(config.slos[0], config):
        watch, own = Watch(rule), found.setdefault(rule.name, [])
        for slot in range(len(slots)):
            match watch.see(facts(rule, slots, slot), slots.at(slot + 1)).transition:
                case "fire":
                    own.append(Firing(slots.at(slot + 1), None))
                case "clear":
                    own[-1] = Firing(own[-1].fired, slots.at(slot + 1))
    return found

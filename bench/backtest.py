"""A year of 5-minute slots replayed through the threshold and the burn rates of an SLO."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime

from bench.data import CONFIG
from bench.report import heading, median, row
from shared.domain.alert import rules_of
from shared.domain.replay import Firing, Slots, replay
from shared.slo_loader import load_file, load_registry

YEAR = 365 * 288
LIMIT = 5.0
ROUNDS = 5


def year(seed: int = 1) -> tuple[list[int], list[int]]:
    """Good and total: days of 0.05 % errors, nights of 3 requests, an outage of 10 minutes to an hour each week."""
    source = random.Random(seed)
    totals = [3 if slot % 288 < 96 else source.randrange(800, 1200) for slot in range(YEAR)]
    goods = [total - sum(source.random() < 0.0005 for _ in range(min(total, 100))) for total in totals]
    for week in range(52):
        begin = week * 2016 + source.randrange(2000)
        for slot in range(begin, begin + source.randrange(2, 12)):
            goods[slot] = totals[slot] // 2
    return goods, totals


def replays() -> None:
    heading(f"A year of 5-minute slots ({YEAR:,}): threshold, page and ticket, median of {ROUNDS} rounds")
    config = load_file(CONFIG / "slo.json", load_registry(CONFIG))
    slo = config.slos[0]
    slo = replace(slo, alert=slo.alert.model_copy(update={"burn_rates": True}))
    goods, totals = year()
    taken: list[float] = []
    found: dict[str, list[Firing]] = {}
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        slots = Slots(datetime(2025, 1, 1, tzinfo=UTC), goods, totals)
        found = {rule.name: replay(rule, slots) for rule in rules_of(slo, config)}
        taken.append(time.perf_counter() - begin)
    fired = ", ".join(f"{name} {len(firings)}" for name, firings in found.items())
    row(f"replay ({fired} times fired)", f"{median(taken):.2f} s", f"≤ {LIMIT:g} s", median(taken) <= LIMIT)

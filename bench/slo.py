"""Alerts: how many minutes they take, and the CPU of judging an SLO beside the package slo-generator."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import venv
from array import array
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import cpu_seconds, heading, median, row
from shared.domain.alert import Facts, Memory, Rule, judge, rules_of
from shared.domain.budget import burn_rate, error_budget
from shared.domain.burn import Burning
from shared.domain.catch_up import Judged, catch_up, seconds_seen
from shared.domain.definition import Counts, Definition
from shared.domain.replay import Slots, replay
from shared.domain.slots import SLOTS_A_DAY, SlotRow
from shared.slo.history import Window
from tests.simulation.traffic import START, failures, slo_of_999

TRAFFIC = {"by day": 3000, "at night": 3}  # requests in 5 minutes
SHARES = (1.0, 0.1, 0.02, 0.01)
BEFORE, LASTS, AFTER = 3 * SLOTS_A_DAY, 72, SLOTS_A_DAY
OFFSETS = range(0, 300, 30)  # where in its slot the outage begins, seconds
CASES = 5  # of chance, for each
COLUMNS = ("traffic", "fails", "threshold", "clears", "page", "clears", "ticket", "clears")
ROUNDS = 200


def minutes() -> None:
    heading(
        "Minutes to alert and to clear, average / worst, 99.9 % over 30 days; a run every 5 minutes, and each minute"
    )
    for cadence in (300, 60):
        print(f"\nevery {cadence // 60} min\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in table(cadence)))


def table(cadence: int) -> list[tuple[str, ...]]:
    """Rows of cells. `cadence`: seconds between runs, which judge the slots that have ended."""
    config = slo_of_999()
    rules = rules_of(config.slos[0], config)
    rows: list[tuple[str, ...]] = [COLUMNS]
    for (when, rate), share in product(TRAFFIC.items(), SHARES):
        cells = [cell for rule in rules for cell in _cells(rule, rate, share, cadence)]
        rows.append((when, f"{share:.0%}".replace("%", " %"), *cells))
    return rows


def _cells(rule: Rule, rate: int, share: float, cadence: int) -> tuple[str, str]:
    told: list[float] = []
    cleared: list[float] = []
    for offset, case in product(OFFSETS, range(CASES)):
        slots = _outage(random.Random(f"{rate} {share} {offset} {case}"), rate, share, offset)
        begins = START + timedelta(seconds=300 * BEFORE + offset)
        ends = begins + timedelta(seconds=300 * LASTS)
        found = [one for one in replay(rule, slots) if one.fired <= ends + timedelta(minutes=5)]
        if found:
            told.append(_minutes(begins, found[0].fired, cadence))
            last = found[-1].cleared
            if last is not None:
                cleared.append(max(0.0, _minutes(ends, last, cadence)))
    cases = len(OFFSETS) * CASES
    return _cell(told, cases), _cell(cleared, len(told))


def _minutes(since: datetime, mark: datetime, cadence: int) -> float:
    """Until the first run that sees the slot which ends at `mark`."""
    late = -(mark - START).total_seconds() % cadence
    return ((mark - since).total_seconds() + late) / 60


def _cell(found: list[float], cases: int) -> str:
    if not found:
        return "–"
    told = f"{sum(found) / len(found):.0f} / {max(found):.0f}"
    return told if len(found) == cases else f"{told} ({len(found) / cases:.0%})".replace("%", " %")


def _outage(source: random.Random, rate: int, share: float, offset: int) -> Slots:
    """An even stream of requests; of those within the outage a share fails, by chance."""
    bads = [0] * (BEFORE + LASTS + 1 + AFTER)
    first = failures(source, rate, offset / 300) if offset else 0  # requests before the outage began
    bads[BEFORE] = failures(source, rate - first, share)
    for n in range(BEFORE + 1, BEFORE + LASTS):
        bads[n] = failures(source, rate, share)
    bads[BEFORE + LASTS] = failures(source, first, share)
    return Slots(START, [rate - bad for bad in bads], [rate] * len(bads))


# --- CPU

_COUNTS = """
from itertools import accumulate
goods, totals = [0, *accumulate([2998] * 9000)], [0, *accumulate([3000] * 9000)]
class Counts:
    def __init__(self, client=None): pass
    def good_bad(self, timestamp, window, config):
        good, total = (sums[-1] - sums[-1 - window // 300] for sums in (goods, totals))
        return good, total - good
"""

_THEIRS = """
import json, sys, time
from slo_generator.compute import compute
windows, rounds = json.loads(sys.argv[1]), int(sys.argv[2])
steps = [dict(name=str(n), window=seconds, burn_rate_threshold=factor, alert=True, message_alert="a", message_ok="b")
         for n, (seconds, factor) in enumerate(windows)]
config = dict(backends={"counts.Counts": {}}, exporters={},
              error_budget_policies={"default": {"steps": steps}})
slo = dict(metadata=dict(name="api", labels={}), spec=dict(description="api", backend="counts.Counts",
           method="good_bad", exporters=[], service_level_indicator={}, goal=0.999))
assert all(report["valid"] and report["good_events_count"] for report in compute(slo, config)), compute(slo, config)
begin = time.process_time()
for _ in range(rounds):
    compute(slo, config)
print((time.process_time() - begin) / rounds)
"""


def beside_slo_generator() -> None:
    """From counts in memory, without I/O. Theirs reports on each window: SLI, burn rate, budget, whether it alerts.

    Ours is the same (the counts of 8 windows, and `judge`), with and without burn rate and budget of each; and what a
    run does where nothing happens and nothing came late: all three alerts are judged.
    """
    heading("CPU of one SLO with 8 windows")
    config = slo_of_999()
    slo = config.slos[0]
    rules = [rule for rule in rules_of(slo, config) if rule.pairs]
    days = 31
    totals, goods = array("I", [3000] * SLOTS_A_DAY), array("I", [2998] * SLOTS_A_DAY)
    rows = {slo.objective.hash: SlotRow(sum(goods), sum(totals), goods, totals)}
    window = Window([START + timedelta(days=n) for n in range(days)], [rows] * days)
    end = START + timedelta(days=days)

    def counts(definition: Definition, seconds: int, until: datetime) -> Counts:
        return window.count(definition, until - timedelta(seconds=seconds), until)

    def ours(report: bool) -> None:
        for rule in rules:
            burning = []
            for pair in rule.pairs:
                pairs = []
                for seconds in (pair.long, pair.short):
                    pairs.append(counts(slo.objective, seconds, end))
                    if report:
                        burn_rate(pairs[-1], slo.good_share)
                        error_budget(pairs[-1], slo.good_share, seconds)
                burning.append(Burning(pair, pairs[0], pairs[1]))
            judge(rule, Facts(burning[0].long, True, tuple(burning)))

    def facts(rule: Rule, until: datetime, firing: bool) -> Facts:
        if not rule.pairs:
            return Facts(counts(slo.trigger, slo.alert.window, until))
        burning = tuple(
            Burning(pair, counts(slo.objective, pair.long, until), counts(slo.objective, pair.short, until))
            for pair in rule.pairs
        )
        return Facts(burning[0].long, True, burning)

    reach, before = seconds_seen(rules_of(slo, config)), end - timedelta(seconds=300)
    seen_before = counts(slo.objective, reach, before)

    def quiet_run() -> None:
        seen = {until: counts(slo.objective, reach, until) for until in (before, end)}  # of all alerts
        known = Judged(end - timedelta(days=1), before, None, [seen_before.good, seen_before.total])
        for rule in rules_of(slo, config):
            catch_up("ok", rule, Memory(), known, end, partial(facts, rule), seen.__getitem__)

    spans = [(s, float(pair.factor)) for rule in rules for pair in rule.pairs for s in (pair.long, pair.short)]

    def rounds(work: Callable[[], None]) -> None:
        for _ in range(ROUNDS):
            work()

    own = {
        what: median([cpu_seconds(partial(rounds, work)) for _ in range(5)]) / ROUNDS
        for what, work in (
            ("8 windows counted and judged", partial(ours, False)),
            ("and burn rate and budget of each", partial(ours, True)),
            ("a quiet run: all three alerts judged", quiet_run),
        )
    }
    theirs = _slo_generator(spans)
    if theirs is None:
        row("slo-generator cannot be installed here, or not run: nothing to compare", "–")
    else:
        row("slo-generator: compute() over the same counts, 8 reports", f"{theirs * 1e6:.0f} µs")
    for what, cpu in own.items():
        row(f"ours, {what}", f"{cpu * 1e6:.0f} µs")
        if theirs is not None:
            row("÷ slo-generator", f"{cpu / theirs:.3f} ×", "≤ 0.1 ×", cpu / theirs <= 0.1)


def _slo_generator(spans: Iterable[tuple[int, float]]) -> float | None:
    """CPU seconds of one computation in an environment of its own; None where it cannot be installed."""
    with TemporaryDirectory(prefix="f0-bench-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        wanted = [python, "-m", "pip", "install", "--quiet", "setuptools<81", "slo-generator"]
        if subprocess.run(wanted, capture_output=True).returncode:
            return None
        (Path(folder) / "counts.py").write_text(_COUNTS)
        (Path(folder) / "theirs.py").write_text(_THEIRS)
        command = [python, "theirs.py", json.dumps(list(spans)), str(ROUNDS)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return None
        return float(done.stdout.split()[-1])

"""Months of traffic: nobody is woken by chance, and everybody by an outage."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from bench.slo import table
from shared.domain.replay import Firing
from tests.simulation.traffic import (
    HOUR,
    START,
    Outage,
    as_shipped,
    firings,
    firings_step_by_step,
    month,
    slo_of_999,
)

MONTHS = int(os.environ.get("SLO_MONTHS", "24"))  # more for a longer look: SLO_MONTHS=500
PAGE = Path(__file__).parent.parent.parent / "docs" / "SLO.md"
DAY = 24 * HOUR
SLOT = timedelta(minutes=5)
# Share that fails, when it begins in the day (slots), for how long (slots), and the most slots until somebody is paged.
OUTAGES = {
    "all, by day": (1.0, 13 * HOUR, 3, 1),
    "all, at night": (1.0, 2 * HOUR, HOUR, 8),
    "10 %, by day": (0.1, 14 * HOUR, HOUR, 9),
    "10 %, at night": (0.1, 1 * HOUR, 8 * HOUR, 7 * HOUR),
    "2 %, by day": (0.02, 11 * HOUR, 6 * HOUR, 4 * HOUR),
    "2 %, night into day": (0.02, 3 * HOUR, 12 * HOUR, 9 * HOUR),
}


def days_of(seed: int) -> int:
    return 28 + seed // 4 % 4


@pytest.mark.parametrize("seed", range(MONTHS))
def test_a_month_without_an_outage_pages_nobody_and_opens_no_ticket(seed: int) -> None:
    found = firings(slo_of_999(), month(seed, days_of(seed)))
    assert found == {"threshold": [], "page": [], "ticket": []}


@pytest.mark.parametrize("seed", range(MONTHS))
def test_every_outage_pages_and_clears(seed: int) -> None:
    """One of each kind, three days apart, so that each is told by itself."""
    kinds = list(OUTAGES.values())
    outages = [Outage(share, (4 * n + 3) * DAY + at, slots) for n, (share, at, slots, _) in enumerate(kinds)]
    traffic = month(seed, days_of(seed), outages)
    found = firings(slo_of_999(), traffic)
    for outage, (name, (*_, most)) in zip(outages, OUTAGES.items(), strict=True):
        began, ended = START + outage.first * SLOT, START + outage.end * SLOT
        pages = [one for one in found["threshold"] + found["page"] if began < one.fired <= ended + SLOT]
        assert pages, name
        told = (min(one.fired for one in pages) - START) // SLOT
        assert sum(total > 0 for total in traffic.totals[outage.first : told]) <= most, (
            name
        )  # what is lost tells nothing
        for one in pages:
            assert one.cleared is not None
            assert one.cleared <= ended + timedelta(hours=12), name
    assert all(_belongs(one, outages) for one in found["threshold"] + found["page"])


@pytest.mark.parametrize("seed", range(MONTHS // 3))
def test_the_shipped_file_alerts_nobody_by_chance_and_pages_for_every_outage_day_and_night(seed: int) -> None:
    planted = {name: outage for name, outage in OUTAGES.items() if outage[0] > 0.02}
    outages = [Outage(share, (4 * n + 3) * DAY + at, slots) for n, (share, at, slots, _) in enumerate(planted.values())]
    quiet, broken = month(seed, days_of(seed)), month(seed, days_of(seed), outages)
    for slo, config in as_shipped().items():
        assert not any(firings(config, quiet).values()), slo
        if slo not in ("api-availability", "agent-success-rate"):
            continue
        found = firings(config, broken)
        pages = found["threshold"] + found["page"]
        assert all(_belongs(one, outages) for one in pages), slo
        for outage, (name, (*_, most)) in zip(outages, planted.items(), strict=True):
            began, ended = START + outage.first * SLOT, START + outage.end * SLOT
            told = [(one.fired - START) // SLOT for one in pages if began < one.fired <= ended + SLOT]
            assert told, (slo, name)
            assert sum(total > 0 for total in broken.totals[outage.first : min(told)]) <= most, (slo, name)


def _belongs(one: Firing, outages: list[Outage]) -> bool:
    """Whether it fired while an outage was in its windows."""
    return any(START + o.first * SLOT < one.fired <= START + (o.end + 6 * HOUR) * SLOT for o in outages)


@pytest.mark.parametrize("policy", [{}, {"for": "10m", "keep_firing_for": "15m"}])
@pytest.mark.parametrize("seed", range(2))
def test_every_step_taken_by_itself_says_the_same(seed: int, policy: dict[str, str]) -> None:
    config, traffic = slo_of_999(policy), month(seed, 8, [Outage(0.1, 3 * DAY + 14 * HOUR, HOUR)])
    assert firings(config, traffic) == firings_step_by_step(config, traffic) != {}


def test_without_a_least_number_of_failures_chance_alone_would_page() -> None:
    """Why there is one: the months above have what it takes to page falsely."""
    found = firings(slo_of_999({"min_failures": 0}), month(0))
    assert len(found["threshold"]) > 20
    assert len(found["page"]) > 20
    assert found["ticket"] == []  # it has a number of its own


@pytest.mark.parametrize("cadence", [300, 60])
def test_the_minutes_in_the_documentation_are_those_of_the_code(cadence: int) -> None:
    shown = PAGE.read_text().partition("\n## How fast it pages\n")[2].partition("\n## ")[0].splitlines()
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in shown if line.startswith("|")]
    assert [cells[0], *cells[2:]] == table(cadence)

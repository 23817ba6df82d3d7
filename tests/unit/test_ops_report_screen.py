"""What the terminal shows of the report, whole as golden files, and that no missed target looks met."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.ops.report import overview
from scripts.ops.screen import width_of
from tests.unit.test_ops_chart import assert_golden, screen


def line(name: str, value: float | None, target: float, comparison: str = "at least", **more: Any) -> dict[str, Any]:
    """As opsApi answers."""
    return {
        "name": name,
        "value": value,
        "unit": "%",
        "target": target,
        "comparison": comparison,
        "verdict": "no_data",
        "counts": {},
        "estimated": False,
        "how": f"how {name} is counted, in words that are many enough to fill more than a line of a narrow screen",
        "reason": None,
        **more,
    }


WEEK = {
    "period": "week",
    "from": "2026-03-03T12:00:00Z",
    "to": "2026-03-10T12:00:00Z",
    "metrics": [
        line("Service availability", 99.4999, 99.5, verdict="missed", counts={"good": 994_999, "total": 1_000_000}),
        line("False positive alerts", 0.0, 1, "at most", verdict="met", counts={"markedFalse": 0, "firings": 4}),
        line("p95 API latency", 311.2, 400, "at most", verdict="met", unit="ms", estimated=True, counts={"n": 9}),
        line("MTTR", 2.0001, 2, "below", verdict="missed", unit="h", counts={"incidents": 2, "resolved": 2}),
        line("Cost tracking accuracy", 99.5, 99, verdict="met", counts={"bills": 1, "billedUsd": "1204.055000001"}),
        line("Status page uptime", None, 100, reason="nothing probes the status page yet"),
    ],
    "reads": 9,
}


def test_a_week() -> None:
    assert_golden("report.txt", overview(WEEK, screen()))


def test_a_week_in_colours_with_how_it_was_counted() -> None:
    assert_golden("report_coloured.txt", overview(WEEK, screen(colours=True), how=True))


@pytest.mark.parametrize(
    ("versions", "shown"),
    [
        ([], "SLOs: the deployed file."),
        ([2], "SLOs: version 2 since 2026-03-02 09:30 UTC."),
        ([2, 3, 4, 5], "SLOs: 1 earlier, version 3 since 2026-03-03 09:30 UTC, version 4 since"),
    ],
)
def test_it_says_which_slos_were_in_force(versions: list[int], shown: str) -> None:
    found = [{"version": n, "hash": f"hash-{n}", "since": f"2026-03-0{n}T09:30:00Z"} for n in versions]
    assert shown in " ".join(overview({**WEEK, "configurations": found}, screen()))


@pytest.mark.parametrize(
    ("value", "comparison", "shown"),
    [
        (99.4999, "at least", "99.49 %"),
        (99.5, "at least", "99.5 %"),
        (1.00001, "at most", "1.01 %"),
        (0.29, "at most", "0.29 %"),
        (100.0, "at least", "100 %"),
        (99.99999, "at least", "99.99 %"),
    ],
)
def test_no_value_is_rounded_over_its_target(value: float, comparison: str, shown: str) -> None:
    answer = {**WEEK, "metrics": [line("x", value, 99.5, comparison, verdict="met")]}
    assert f"  {shown}  " in overview(answer, screen())[1]


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        (228 / 3600, "3 min 48 s"),
        (0.5 / 3600, "1 s"),
        (1.25, "1 h 15 min"),
        (2.0001, "2 h 1 min"),
        (27.01, "1 d 4 h"),
        (0.0, "0 s"),
    ],
)
def test_a_mean_time_reads_as_people_say_it_and_is_called_a_mean(hours: float, shown: str) -> None:
    answer = {**WEEK, "metrics": [line("MTTR", hours, 2, "below", verdict="met", unit="h")]}
    told = overview(answer, screen())[1]
    assert told.startswith("MTTR (mean)")
    assert f"  {shown}  " in told


def test_a_screen_without_signs_gets_letters() -> None:
    assert ">= 99.5 %" in overview(WEEK, screen(braille=False))[1]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_it_fits_the_screen(width: int) -> None:
    assert [text for text in overview(WEEK, screen(width), how=True) if width_of(text) > width] == []

"""What the terminal shows of SLOs, whole as golden files, and what holds for all of it.

To renew the golden files after a change that is meant: `RENEW_GOLDEN=1 .venv/bin/python -m pytest
tests/unit/test_ops_slos_screen.py`, then look at the difference.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from scripts.ops.screen import NARROWEST, width_of
from scripts.ops.slos import detail, overview
from tests.unit.test_ops_chart import assert_golden, screen

END = datetime(2026, 3, 10, 12, tzinfo=UTC)


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def slo(name: str, good: int, total: int, objective: str = "99.5", days: int = 30, **more: Any) -> dict[str, Any]:
    """As opsApi answers."""
    allowed = total * (1 - Fraction(objective) / 100)
    left = float(1 - (total - good) / allowed) if allowed else None
    minutes = days * 1440 * float(1 - Fraction(objective) / 100)
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    return {
        "id": re.sub(r"\W+", "-", name.lower()),
        "name": name,
        "metric": "error_rate",
        "labels": {},
        "kind": "ratio",
        "under": None,
        "unit": "%",
        "component": "API",
        "objective": objective,
        "target": objective,
        "threshold": "0.5",
        "window": {"seconds": days * 86_400, "from": iso(END - timedelta(days=days)), "to": iso(END)},
        "excluded": {"minutes": 0, "list": []},
        "sli": good / total if total else None,
        "good": good,
        "total": total,
        "everHadData": bool(total),
        "compliance": "no_data" if not total else "met" if good * 100 >= Fraction(objective) * total else "missed",
        "estimated": False,
        "budget": {
            "events": float(allowed),
            "eventsLeft": float(allowed - total + good),
            "minutes": minutes,
            "minutesLeft": None if left is None else minutes * left,
            "left": left,
        },
        "burnRates": [
            {"window": w, "rate": 0.4 * n if total else None, "good": 0, "total": 0} for n, w in enumerate(windows)
        ],
        "forecast": {"exhaustedAt": None, "reason": "burns_slowly" if total else "no_data", "window": "1h"},
        "alert": {"state": "ok", "since": None, "reason": None},
        "backfilling": False,
        **more,
    }


FIRING = {"state": "firing", "since": iso(END - timedelta(minutes=7)), "reason": "threshold_exceeded"}
ALL = {
    "factsAt": iso(END),
    "configHash": "ab",
    "configVersion": 3,
    "slos": [
        slo("API Availability", 9_995_120, 10_000_000),
        slo(
            "API Latency (p95)",
            93_900,
            100_000,
            "95",
            1,
            alert=FIRING,
            forecast={"exhaustedAt": None, "reason": "used_up", "window": "1h"},
        ),
        slo("Checkout, with a name that is longer than others", 1_999_999, 2_000_000, "99.999", 28),
        slo("Agent Success Rate", 0, 0, "99", 7),
        slo(
            "Payments",
            99_970,
            100_000,
            "99.95",
            forecast={"exhaustedAt": iso(END + timedelta(days=3, hours=5)), "reason": "at_this_rate", "window": "1h"},
            backfilling=True,
        ),
        slo("Nothing may fail", 999_999, 1_000_000, "100", burnRates=[
            {"window": "1h", "rate": "infinite", "good": 9, "total": 10},
            {"window": "6h", "rate": 123_456.0, "good": 9, "total": 10},
        ]),
    ],
}  # fmt: skip
DAYS = [(1000 - n * n // 4 % 40, 1000) if n % 9 else (0, 0) for n in range(30)]
ONE = {
    **slo("API Availability", 9_995_120, 10_000_000, alert=FIRING),
    "factsAt": iso(END),
    "configHash": "ab",
    "configVersion": None,
    "history": [
        {"day": f"2026-02-{8 + n:02}" if n < 21 else f"2026-03-{n - 20:02}", "good": good, "total": total}
        for n, (good, total) in enumerate(DAYS)
    ],
    "worst": {
        "from": iso(END - timedelta(days=1)),
        "to": iso(END),
        "good": 1500,
        "total": 2000,
        "labels": {
            "endpoint": [
                {"value": "/api/orders", "bad": 400, "total": 500, "shareOfBad": 0.8, "sli": 0.2},
                {"value": "", "bad": 99, "total": 1000, "shareOfBad": 0.198, "sli": 0.901},
                {"value": None, "bad": 1, "total": 500, "shareOfBad": 0.002, "sli": 0.998},
            ],
            "status": [{"value": "503\x1b[2J", "bad": 500, "total": 500, "shareOfBad": 1.0, "sli": 0.0}],
        },
    },
}
CALENDAR: dict[str, Any] = {
    **copy.deepcopy(ONE),
    "kind": "share",
    "metric": "api_latency",
    "under": "300 ms",
    "labels": {"endpoint": "/api/pay"},
    "estimated": True,
    "window": {**ONE["window"], "calendar": "month", "timeZone": "Europe/Berlin"},
    "forecast": {"exhaustedAt": None, "reason": "window_ends_first", "window": "1h"},
    "worst": {**ONE["worst"], "good": 2000},
}


def test_all_slos_on_a_plain_screen() -> None:
    assert_golden("slos.txt", overview(ALL, screen(80)))


def test_all_slos_on_a_wide_screen_with_colours() -> None:
    assert_golden("slos_coloured.txt", overview(ALL, screen(120, colours=True)))


def test_all_slos_without_special_characters() -> None:
    lines = overview(ALL, screen(80, braille=False))
    assert all(set(line) <= set(map(chr, range(32, 127))) | {"–", "…"} for line in lines)  # the screen replaces these
    assert_golden("slos_ascii.txt", lines)


def test_one_slo_on_a_plain_screen() -> None:
    assert_golden("slo.txt", detail(ONE, screen(80)))


def test_one_slo_by_the_calendar_in_colours() -> None:
    assert_golden("slo_coloured.txt", detail(CALENDAR, screen(80, colours=True)))


@pytest.mark.parametrize("width", [NARROWEST, 60, 80, 100, 200])
@pytest.mark.parametrize("show", [lambda s: overview(ALL, s), lambda s: detail(ONE, s), lambda s: detail(CALENDAR, s)])
def test_it_fits_the_terminal(width: int, show: Callable[[Any], list[str]]) -> None:
    assert [line for line in show(screen(width)) if width_of(line) > width] == []


def test_without_colours_no_escape_reaches_the_terminal() -> None:
    assert "\x1b" not in "".join([*overview(ALL, screen()), *detail(ONE, screen())])


def cell(lines: list[str], name: str, column: int) -> str:
    """Columns are parted by two spaces at least."""
    (line,) = [line for line in lines if line.startswith(name)]
    return re.split(r" {2,}", line)[column]


@pytest.mark.parametrize(
    ("bad", "objective", "shown"),
    [(0, "99.5", "100.00 %"), (1, "99.5", "99.99 %"), (1, "99.9999999", "99.99999 %"), (500, "99", "99.9 %")],
)
def test_an_sli_is_never_rounded_up(bad: int, objective: str, shown: str) -> None:
    one = slo("A", 10_000_000 - bad, 10_000_000, objective)
    assert cell(overview({**ALL, "slos": [one]}, screen(120)), "A", 1) == shown


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        (0, "██████████ 100 %"),
        (1, "██████████  99 %"),
        (999, "█░░░░░░░░░   0 %"),
        (1000, "░░░░░░░░░░   0 %"),
        (1001, "░░░░░░░░░░  -1 %"),
        (99_999, "░░░░░░░░░░ < -999 %"),
    ],
)
def test_a_bar_is_empty_only_where_nothing_is_left(bad: int, shown: str) -> None:
    lines = overview({**ALL, "slos": [slo("A", 1_000_000 - bad, 1_000_000, "99.9")]}, screen(120))
    assert shown in lines[1]


@pytest.mark.parametrize(
    ("rate", "shown"), [(6.0, "6.00"), (14.4, "14.4"), (14.5, "14.5"), (20.0, "20"), (144.4, "144")]
)
def test_a_burn_rate_is_told_from_the_factors_of_alerts(rate: float, shown: str) -> None:
    burns = [{"window": "5m", "rate": rate, "good": 0, "total": 1}]
    assert f"burn      5m {shown}" in detail({**ONE, "burnRates": burns}, screen(80))


def test_a_name_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in "".join(overview({**ALL, "slos": [slo("A\x1b[2J", 1, 1)]}, screen()))


def test_what_is_excluded_is_said_with_its_reasons() -> None:
    reasons = ({"reason": "moved the \x1bdatabase"}, {"reason": "a drill"}, {"reason": "a drill"})
    lines = detail({**ONE, "excluded": {"minutes": 1065, "list": reasons}}, screen(80))
    assert "excluded  1,065 minutes of the window: moved the \N{REPLACEMENT CHARACTER}database; a drill" in lines


def test_without_slos_or_before_the_first_run_it_is_said() -> None:
    assert overview({**ALL, "slos": []}, screen()) == ["There are no SLOs in force."]
    assert "Nothing has been folded yet" in overview({**ALL, "factsAt": None}, screen())[-1]

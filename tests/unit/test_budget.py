"""Error budgets, burn rates and forecasts: exact, at equality and one event either side of it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.domain.budget import budget_spent, burn_rate, error_budget, forecast
from shared.domain.definition import Counts
from tests.core import shipped

DAY = 86_400
MONTH = 30 * DAY
THREE_NINES = Decimal("0.999")

totals = st.integers(1, 10**12)
objectives = st.integers(0, 10**6).map(lambda n: Fraction(n, 10**6))
shares = st.fractions(min_value=Fraction(1, 1000), max_value=1)
rates = st.fractions(min_value=0, max_value=2000)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    total = draw(totals)
    return Counts(draw(st.integers(0, total)), total)


# --- the budget


def test_a_budget_in_events_and_in_time() -> None:
    budget = error_budget(Counts(999_600, 1_000_000), THREE_NINES, MONTH)
    assert (budget.events, budget.events_left) == (1000, 600)
    assert budget.seconds / 60 == Fraction(432, 10)  # the 43.2 minutes a month of 99.9 %
    assert budget.left == Fraction(6, 10)
    assert budget.seconds_left == budget.seconds * Fraction(6, 10)


@pytest.mark.parametrize(("bad", "left"), [(999, Fraction(1, 1000)), (1000, 0), (1001, Fraction(-1, 1000))])
def test_a_budget_is_used_up_exactly_at_its_last_event(bad: int, left: Fraction) -> None:
    assert error_budget(Counts(1_000_000 - bad, 1_000_000), THREE_NINES, MONTH).left == left


def test_a_part_of_an_event_is_not_rounded_away() -> None:
    budget = error_budget(Counts(1499, 1500), THREE_NINES, MONTH)
    assert (budget.events, budget.events_left, budget.left) == (Fraction(3, 2), Fraction(1, 2), Fraction(1, 3))


def test_without_events_no_share_is_known_and_no_event_may_be_bad() -> None:
    budget = error_budget(Counts(0, 0), THREE_NINES, MONTH)
    assert (budget.events, budget.left, budget.seconds_left) == (0, None, None)
    assert budget_spent(0, budget) is None


def test_an_objective_of_100_percent_has_no_budget_and_one_bad_event_is_too_many() -> None:
    good, bad = (error_budget(Counts(10 - n, 10), Decimal(1), MONTH) for n in (0, 1))
    assert (good.events, good.seconds, good.left) == (0, 0, 1)
    assert (bad.events_left, bad.left, budget_spent(1, bad)) == (-1, 0, None)


@given(counts(), objectives)
@example(Counts(999, 1000), Fraction(999, 1000))
@example(Counts(998, 1000), Fraction(999, 1000))
@example(Counts(9, 10), Fraction(1))
def test_what_is_left_says_whether_the_objective_holds(of: Counts, objective: Fraction) -> None:
    left = error_budget(of, objective, MONTH).left
    assert left is not None
    met = Fraction(of.good, of.total) >= objective
    assert met == (left >= 0 if objective < 1 else left == 1)


@given(st.lists(counts(), min_size=1, max_size=6), objectives.filter(lambda share: share < 1))
def test_what_the_parts_spent_is_what_is_missing(parts: list[Counts], objective: Fraction) -> None:
    whole = error_budget(Counts(sum(p.good for p in parts), sum(p.total for p in parts)), objective, MONTH)
    spent = [budget_spent(part.bad, whole) for part in parts]
    assert whole.left is not None
    assert sum(s for s in spent if s is not None) == 1 - whole.left


def test_what_is_left_is_what_the_report_of_a_run_says() -> None:
    for slo in shipped().slos:
        for of in (Counts(0, 0), Counts(10, 10), Counts(997, 1000), Counts(0, 7)):
            left = error_budget(of, Fraction(slo.good_percent) / 100, slo.window).left
            told = slo.budget_left(of)
            assert (left is None) == (told is None)
            assert left is None or told is None or float(left) == float(told)


# --- the burn rate


@pytest.mark.parametrize(
    ("bad", "rate"),
    [(0, 0), (143, Fraction(143, 10)), (144, Fraction(144, 10)), (145, Fraction(145, 10)), (10_000, 1000)],
)
def test_a_burn_rate_is_exact(bad: int, rate: Fraction) -> None:
    assert burn_rate(Counts(10_000 - bad, 10_000), THREE_NINES) == rate


def test_a_burn_rate_of_no_events_is_none_and_of_no_budget_infinite() -> None:
    assert burn_rate(Counts(0, 0), THREE_NINES) is None
    assert burn_rate(Counts(10, 10), Decimal(1)) == 0
    assert burn_rate(Counts(9, 10), Decimal(1)) == "infinite"


@given(counts(), objectives.filter(lambda share: share < 1))
def test_a_burn_rate_over_the_whole_window_is_the_share_of_the_budget_that_is_used(of: Counts, at: Fraction) -> None:
    left = error_budget(of, at, MONTH).left
    assert left is not None
    assert burn_rate(of, at) == 1 - left


# --- the forecast


@pytest.mark.parametrize(("rate", "days"), [(1, 30), (2, 15), (10, 3), (1000, Fraction(3, 100))])
def test_an_untouched_budget_lasts_as_long_as_the_workbooks_table_says(rate: int, days: Fraction) -> None:
    found = forecast(Fraction(1), Fraction(rate), MONTH, rolling=True)
    assert (found.seconds, found.reason) == (days * DAY, "at_this_rate")


@pytest.mark.parametrize(
    ("left", "rate", "reason"),
    [
        (None, None, "no_data"),
        (Fraction(0), Fraction(5), "used_up"),
        (Fraction(-1), None, "used_up"),
        (Fraction(1, 2), None, "no_recent_events"),
        (Fraction(1, 2), Fraction(0), "burns_slowly"),
        (Fraction(1, 1000), Fraction(999, 1000), "burns_slowly"),
    ],
)
@pytest.mark.parametrize("rolling", [True, False])
def test_where_no_end_is_foretold_it_is_said_why(
    left: Fraction | None, rate: Fraction | None, reason: str, rolling: bool
) -> None:
    found = forecast(left, rate, MONTH, rolling=rolling)
    assert (found.seconds, found.reason) == (None, reason)


def test_a_rate_of_exactly_one_ends_a_rolling_budget_with_its_window_and_a_calendars_never() -> None:
    assert forecast(Fraction(1, 3), Fraction(1), MONTH, rolling=True).seconds == MONTH
    assert forecast(Fraction(1, 3), Fraction(1), MONTH, rolling=False).reason == "burns_slowly"


def test_an_infinite_burn_leaves_no_time() -> None:
    assert forecast(Fraction(1), "infinite", MONTH, rolling=False).seconds == 0


@given(shares, rates, st.integers(300, 90 * DAY))
def test_a_rolling_budget_ends_just_when_the_burn_exceeds_what_falls_out(
    left: Fraction, rate: Fraction, window: int
) -> None:
    """By the share that is used in the window after t seconds, of which the older part was burnt evenly."""
    used = 1 - left
    found = forecast(left, rate, window, rolling=True)

    def used_after(t: Fraction) -> Fraction:
        return used * (1 - t / window) + rate * t / window

    if found.seconds is None:
        assert max(used_after(Fraction(0)), used_after(Fraction(window))) < 1
    else:
        assert 0 < found.seconds <= window
        assert used_after(found.seconds) == 1
        assert used_after(found.seconds * Fraction(99, 100)) < 1


@given(counts(), st.fractions(min_value=0, max_value=Fraction(99, 100)), st.fractions(min_value=0, max_value=1))
def test_a_calendar_budget_ends_when_bad_events_reach_what_is_allowed(
    of: Counts, objective: Fraction, bad_share: Fraction
) -> None:
    """By counts: events go on at the pace of the window so far, of which `bad_share` are bad."""
    budget = error_budget(of, objective, MONTH)
    assume(budget.left is not None and budget.left > 0)
    found = forecast(budget.left, bad_share / (1 - objective), MONTH, rolling=False)
    if found.seconds is None:
        assert bad_share <= 1 - objective
    else:
        more = of.total * found.seconds / MONTH
        assert of.bad + bad_share * more == (1 - objective) * (of.total + more)

"""The terminal's chart and tables, whole as golden files, and what holds for all of them.

To renew the golden files after a change that is meant, and then look at the difference:
`RENEW_GOLDEN=1 .venv/bin/python -m pytest tests/unit/test_ops_chart.py`.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.ops.chart import Line, chart, figure
from scripts.ops.metrics import cardinality, catalog, drawn
from scripts.ops.screen import NARROWEST, Screen, cut, width_of

GOLDEN = Path(__file__).parent.parent / "golden" / "ops"
START = 1_773_136_800_000  # 2026-03-10T10:00:00Z
STEP = 300_000


def screen(width: int = 80, *, colours: bool = False, braille: bool = True) -> Screen:
    return Screen(io.StringIO(), width, colours, braille)


def point(n: int, value: float | None, low: float = 0.99, high: float | None = 1.01, **more: Any) -> dict[str, Any]:
    edges = {"low": None, "high": None}
    if value is not None:
        edges = {"low": value * low, "high": None if high is None else value * high}
    return {"t": START + n * STEP, "value": value, "count": 10 if value else 0, "estimated": False, **edges, **more}


def wave(n: int) -> float | None:
    return None if 30 < n < 38 else 200 + 150 * math.sin(n / 6) + n % 7 * 9


def answer(
    *series: tuple[dict[str, str], Callable[[int], float | None]], steps: int = 72, **more: Any
) -> dict[str, Any]:
    return {
        "metric": "api_latency",
        "agg": "p95",
        "unit": "ms",
        "from": "2026-03-10T10:00:00Z",
        "to": "2026-03-10T16:00:00Z",
        "step": "5m",
        "level": ["m5"],
        "complete_until": "2026-03-10T16:00:00Z",
        "reads": 74,
        "series": [{"labels": labels, "points": [point(n, f(n)) for n in range(steps)]} for labels, f in series],
        **more,
    }


ONE = answer(({}, wave))
GROUPS = answer(
    ({"endpoint": "/api/orders"}, lambda n: 120.0 + n),
    ({"endpoint": "/api/carts"}, lambda n: None if n % 5 else 300.0 - n),
    ({"endpoint": ""}, lambda n: 80.0),
    ({"other": "true"}, lambda n: 40.0 + n % 2),
    folded_groups=17,
)
GROWING = answer(
    ({"endpoint": "/api/orders"}, lambda n: 120.0 + n),
    ({"endpoint": "/api/carts"}, lambda n: 80.0 if n < 72 else None),
    steps=73,
    to="2026-03-10T16:05:00Z",
    reads=75,
)
METRICS: dict[str, Any] = {
    "metrics": [
        {
            "name": "api_latency",
            "unit": "ms",
            "kind": "distribution",
            "aggregation": "p95",
            "series": 1204,
            "labels": ["endpoint", "method", "status", "service", "region", "version", "deployment", "zone"],
        },
        {
            "name": "queue_depth",
            "unit": "count",
            "kind": "distribution",
            "aggregation": "avg",
            "series": 0,
            "labels": None,
        },
    ]
}
COSTS = {
    "day": "2026-03-10",
    "metrics": [
        {
            "metric": "api_latency",
            "series": 987,
            "limit": 1000,
            "other_percent": 12.345,
            "labels": [
                {"label": "endpoint", "values": 240, "without": 12},
                {"label": "status", "values": 6, "without": 400},
            ],
        },
        {"metric": "token_cost", "series": 1, "limit": 500, "other_percent": 0.0, "labels": []},
    ],
    "dropped_labels": [
        {"metric": "api_latency", "label": "trace", "samples": 120_345},
        {"metric": "", "label": "", "samples": 3},
    ],
}


def assert_golden(name: str, lines: Sequence[str]) -> None:
    path, text = GOLDEN / name, "\n".join(lines) + "\n"
    if os.environ.get("RENEW_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(
    ("name", "given", "on"),
    [
        ("one.txt", ONE, screen()),
        ("one_coloured.txt", ONE, screen(colours=True)),
        ("one_ascii.txt", ONE, screen(braille=False)),
        ("one_narrow.txt", ONE, screen(40)),
        ("groups.txt", GROUPS, screen()),
        ("groups_coloured.txt", GROUPS, screen(100, colours=True)),
        ("growing.txt", GROWING, screen()),
        ("growing_narrow.txt", GROWING, screen(40)),
    ],
)
def test_a_chart(name: str, given: dict[str, Any], on: Screen) -> None:
    assert_golden(name, drawn(given, on))


@pytest.mark.parametrize(("name", "width"), [("catalog.txt", 80), ("catalog_wide.txt", 140)])
def test_the_table_of_metrics(name: str, width: int) -> None:
    assert_golden(name, catalog(METRICS, screen(width)))


def test_off_a_terminal_a_metric_is_one_line_however_wide() -> None:
    assert_golden("catalog_piped.txt", catalog(METRICS, replace(screen(40), whole=True)))


def test_off_a_terminal_what_labels_cost_is_not_cut() -> None:
    dropped = {"metric": "api_latency", "label": "a" * 60, "samples": 1}
    costs = {**COSTS, "dropped_labels": [dropped]}
    assert "a" * 60 in "\n".join(cardinality(costs, replace(screen(40), whole=True)))
    assert "a" * 60 not in "\n".join(cardinality(costs, screen(40)))


@given(st.integers(80, 200))
def test_the_table_of_metrics_has_every_label_whole(width: int) -> None:
    lines = catalog(METRICS, screen(width))
    assert "…" not in "".join(lines)
    assert max(map(width_of, lines)) <= width
    column = lines[0].index("labels")
    assert " ".join(line[column:].strip() for line in lines[1:-1]) == ", ".join(METRICS["metrics"][0]["labels"])


def test_the_table_of_what_labels_cost() -> None:
    assert_golden("cardinality.txt", cardinality(COSTS, screen()))


def test_without_series_the_tables_say_so() -> None:
    assert (
        cardinality({"day": "2026-03-10", "metrics": [], "dropped_labels": []}, screen())[-1] == "There are none yet."
    )


def test_without_data_the_chart_says_so_and_until_when_it_knows() -> None:
    text = "\n".join(drawn(answer(({}, lambda n: None)), screen()))
    assert "There is no data in this time." in text
    assert "Complete until 2026-03-10 16:00 UTC" in text
    assert "alertRules" in "\n".join(drawn(answer(series=[], complete_until=None), screen()))


@pytest.mark.parametrize(
    ("to", "grows"),
    [
        ("2026-03-10T10:10:00Z", False),  # complete until then exactly
        ("2026-03-10T10:15:00Z", True),
    ],
)
def test_a_point_still_grows_if_its_step_ends_later_than_all_is_folded(to: str, grows: bool) -> None:
    given = answer(({}, lambda n: 5.0), steps=2, to=to, complete_until="2026-03-10T10:10:00Z")
    told = "\n".join(drawn(given, screen()))
    assert ("The last point is still growing" in told) == grows
    assert bool(re.search(r"^   all .* still growing$", told, re.MULTILINE)) == grows


def test_a_point_without_a_value_does_not_grow() -> None:
    assert "growing" not in "\n".join(drawn(answer(({}, lambda n: None if n == 72 else 5.0), steps=73), screen()))


# --- what holds for every chart

SPECIAL = [0.0, -0.0, 5e-324, 1e-280, 99.99, 100.0, 1e15, 1.7976931348623157e308, math.inf]
numbers = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([*SPECIAL, *(-value for value in SPECIAL)]))


@given(
    values=st.lists(st.lists(numbers, min_size=1, max_size=90), min_size=1, max_size=12),
    width=st.integers(NARROWEST, 200),
    colours=st.booleans(),
    braille=st.booleans(),
    unit=st.sampled_from(["ms", "%", "count", "1/s", "USD"]),
)
def test_no_line_is_wider_than_the_screen(
    values: list[list[float | None]], width: int, colours: bool, braille: bool, unit: str
) -> None:
    given = answer(unit=unit)
    given["series"] = [
        {"labels": {"endpoint": "/api/" + "x" * 90}, "points": [point(n, v) for n, v in enumerate(vs)]} for vs in values
    ]
    for line in drawn(given, screen(width, colours=colours, braille=braille)):
        assert width_of(re.sub(r"\x1b\[\d+m", "", line)) <= width, line


some_values = st.lists(numbers.filter(lambda value: value is not None), min_size=1, max_size=60)


@given(some_values)
@example([5e-324])
@example([-0.0])
@example([-5.0, -5.0])
@example([math.inf])
@example([-1.7976931348623157e308, 1.7976931348623157e308])
@example([3.0, 3.0000000000000004])
@example([0.1 + 0.2, 0.3])
def test_the_highest_and_the_lowest_value_lie_within_the_axis(values: list[float]) -> None:
    highest, lowest = Line([(0.5, max(values))]), Line([(1.5, min(values))])
    lines = chart([highest, lowest], 0, 2, "count", screen(60))  # two: letters
    assert len(lines) == 14
    plot = [re.split("[│┤]", line, maxsplit=1)[1] for line in lines[:12]]
    row = {mark: n for n, text in enumerate(plot) for mark in text.replace(" ", "")}
    assert row.keys() == {"a", "b"}
    assert row["a"] <= row["b"]


@given(some_values)
@example([-7.0])
def test_the_values_at_the_axis_rise(values: list[float]) -> None:
    """The labels are the values rounded, so that neighbours may read alike; none is below the one under it."""
    lines = chart([Line([(n + 0.5, v) for n, v in enumerate(values)])], 0, len(values), "count", screen(60))
    told = [float(line.partition("┤")[0].replace(",", "")) for line in lines if "┤" in line]
    assert len(told) >= 2
    assert told == sorted(told, reverse=True)


def test_a_gap_is_left_where_there_is_no_data() -> None:
    values = [1.0, 1.0, None, None, None, None, 1.0, 1.0]
    lines = chart([Line([(n + 0.5, v) for n, v in enumerate(values)])], 0, 8, "count", screen(60))
    (drawn_line,) = [line for line in lines if re.search("[\u2801-\u28ff]", line)]
    assert re.search("[\u2801-\u28ff] {20,}[\u2801-\u28ff]", drawn_line)


def test_a_point_between_two_gaps_is_seen() -> None:
    lines = chart([Line([(0.5, None), (1.5, 7.0), (2.5, None)])], 0, 3, "count", screen(60))
    assert len(re.findall("[\u2801-\u28ff]", "".join(lines))) == 1


def test_figures_close_together_use_the_whole_height() -> None:
    lines = chart([Line([(0.5, 99.90), (1.5, 99.99)])], 0, 2, "%", screen(60))
    assert not [line for line in lines if line.lstrip().startswith("0 ")]
    assert sum(bool(re.search("[\u2801-\u28ff]", line)) for line in lines) > 6


def test_the_times_are_in_utc_and_midnight_bears_its_date() -> None:
    first = START + 11 * 3_600_000  # 21:00
    lines = chart([Line([(first + 1.0, 5.0)])], first, first + 6 * 3_600_000, "ms", screen())
    assert lines[-1].split() == ["21:00", "22:00", "23:00", "Mar", "11", "01:00", "02:00"]


def test_over_many_days_whole_days_are_marked() -> None:
    first = 1_774_566_000_000  # 2026-03-26T23:00Z
    last = first + 5 * 86_400_000 - 3_600_000
    lines = chart([Line([(first + 1.0, 5.0)])], first, last, "ms", screen())
    assert lines[-1].split() == ["Mar", "27", "Mar", "28", "Mar", "29", "Mar", "30", "Mar", "31"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "–"),
        (0, "ms", "0 ms"),
        (1234.5678, "ms", "1,235 ms"),
        (0.012345, "USD", "0.01235 USD"),
        (99.987, "%", "99.99 %"),
        (100.0, "%", "100 %"),
        (120345, "count", "120,345"),
        (1e-280, "ms", "1e-280 ms"),
        (1e15, "ms", "1e+15 ms"),
    ],
)
def test_a_figure_has_four_digits_that_count(value: float | None, unit: str, text: str) -> None:
    assert figure(value, unit) == text


# --- what is said about the error


def notes(points: list[dict[str, Any]], **more: Any) -> str:
    return " ".join(" ".join(drawn(answer(series=[{"labels": {}, "points": points}], **more), screen())).split())


def test_the_error_of_a_quantile_is_told_in_words() -> None:
    assert "Each p95 is within 1 % of the exact value." in notes([point(0, 100.0)])
    wide = [point(0, 100.0), point(1, 200.0, 0.5, 1.25)]
    assert "where it is least certain, the p95 lies between 100 ms and 250 ms" in notes(wide)
    open_ended = [point(0, 100.0), point(1, 200.0, 0.5, None)]
    assert (
        "1 of 2 points come from histograms whose last bucket has no upper edge: there the p95 is 100 ms or more."
        in (notes(open_ended))
    )


def test_estimates_are_told() -> None:
    told = notes([point(0, 100.0, estimated=True), point(1, 100.0), point(2, None)])
    assert "1 of 2 points are estimates" in told


def test_an_average_has_no_error() -> None:
    plain = {k: v for k, v in point(0, 100.0).items() if k not in ("low", "high")}
    assert "within" not in notes([plain], agg="avg")


# --- the terminal


def test_what_others_sent_does_not_steer_the_terminal() -> None:
    hostile = answer(({"endpoint": "\x1b[2J\x07\n\u202eevil"}, wave))
    text = "\n".join(drawn(hostile, screen()))
    assert not set("\x1b\x07\u202e") & set(text)


@pytest.mark.parametrize(
    ("text", "width", "shown"), [("abcdef", 4, "abc…"), ("日本語", 6, "日本語"), ("日本語", 5, "日本…")]
)
def test_a_text_is_cut_by_the_columns_that_it_takes(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown
    assert width_of(shown) <= width


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them() -> None:
    assert Screen.of(Terminal(), {}).colours
    assert not Screen.of(Terminal(), {"NO_COLOR": "1"}).colours
    assert not Screen.of(Terminal(), {"TERM": "dumb"}).colours
    assert not Screen.of(io.TextIOWrapper(io.BytesIO(), "utf-8"), {}).colours


def test_only_terminals_have_an_edge() -> None:
    assert not Screen.of(Terminal(), {}).whole
    assert Screen.of(io.TextIOWrapper(io.BytesIO(), "utf-8"), {}).whole


def test_an_output_that_cannot_show_braille_gets_plain_characters() -> None:
    raw = io.BytesIO()
    plain = Screen.of(io.TextIOWrapper(raw, "ascii"), {})
    assert not plain.braille
    plain.write("\n".join(drawn(ONE, plain)))
    assert b"aaaa" in raw.getvalue()

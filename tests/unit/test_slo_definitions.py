"""docs/SLO_DEFINITIONS.md: its generated part is that of today's configuration, and says what is configured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.slo_definitions import BEGIN, END, PAGE, generated, put_into
from tests.core import CONFIG


def with_slo(folder: Path, **slo: Any) -> str:
    """The generated text of a single SLO."""
    config = folder / "config"
    shutil.copytree(CONFIG, config)
    alert = {"severity": "high", "channels": ["slack"], **slo.pop("alert", {})}
    given = {"name": "Pay", "window": "30d", "metric": "error_rate", "target": 99.9, "threshold": 1, **slo}
    (config / "slo.json").write_text(json.dumps({"slos": [{**given, "alert": alert}]}))
    return generated(config)


def test_the_page_is_that_of_the_configuration() -> None:
    page = PAGE.read_text()
    assert page == put_into(page, generated(CONFIG)), "run `.venv/bin/python -m scripts.slo_definitions --write`"


def test_every_slo_and_every_success_metric_is_on_the_page() -> None:
    page = PAGE.read_text()
    names = [slo["name"] for slo in json.loads((CONFIG / "slo.json").read_text())["slos"]]
    names += ["Service availability", "MTTR", "Alert delivery success", "SLO compliance", "Cost variance"]
    assert [name for name in names if name not in page] == []


@pytest.mark.parametrize(
    ("slo", "expected"),
    [
        ({}, "| objective | over 30 days at least 99.9 % of events are good |"),
        ({}, "| error budget | 0.1 % of events, or 43.2 minutes in which all are bad |"),
        ({}, "| alert | over 5 minutes more than 1 % of events are bad |"),
        ({}, "| burn-rate alerts | none |"),
        (
            {"metric": "api_latency_p95", "target": 300, "threshold": 400, "alert": {"window": "1h"}},
            "| alert | over 1 hour fewer than 95 % of events are at most 400 ms |",
        ),
        (
            {"metric": "api_latency", "under": 250, "target": 99, "threshold": 90},
            "| objective | over 30 days at least 99 % of events are at most 250 ms |",
        ),
        (
            {"window": {"calendar": "month", "timeZone": "Europe/Berlin"}},
            "| objective | in each month (Europe/Berlin) at least 99.9 % of events are good |",
        ),
        ({"alert": {"burn_rates": True}}, "`page` (high): over 14.4 × during 1 hour and 5 minutes, or over 6 ×"),
        ({"alert": {"burn_rates": True}, "target": 90}, "over 14.4 × during 1 hour and 5 minutes (can never fire)"),
        ({"alert": {"burn_rates": True}, "window": "7d"}, "over 14.4 × during 15 minutes and 5 minutes"),
        ({"alert": {"for": "10m", "no_data": "alert"}}, "| waits, holds on | 10 minutes, none |\n| silence | raises"),
        ({}, "| `ticket` | 3 × | 1 day | 2 hours | warning |"),
        ({}, "| `page` | 14.4 × | 1 hour | 5 minutes | the SLO's |"),
        ({"labels": {"endpoint": "/api/pay"}}, "| counted | `error_rate`, `endpoint` = `/api/pay`: Share of requests"),
    ],
)
def test_an_slo_is_told_as_it_is_configured(tmp_path: Path, slo: dict[str, Any], expected: str) -> None:
    assert expected in with_slo(tmp_path, **slo)


def test_what_is_written_by_hand_stays() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_into(page, "new\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}\n{BEGIN}\n"])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        put_into(page, "new")

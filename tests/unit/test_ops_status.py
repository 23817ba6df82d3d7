"""GET /api/ops/status and what the terminal makes of it: the same figures as the page, and the reasons behind them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.ops.screen import Screen
from scripts.ops.status import overview
from shared.status.publish import publish_status
from shared.store.sqlite import SqliteStore
from tests.ops_api import Ops, ops_api
from tests.unit.status_scenes import COMPONENTS, NOW, alert, app_on, fill, minutes, run

MISSING = {"state": "not_monitored", "reason": "setting_missing", "since": NOW}
PROBES = {
    "Auth": {"api": {**MISSING, "detail": "FIREBASE_API_KEY"}},
    "AI_Providers": {
        "claude": {**MISSING, "detail": "ANTHROPIC_API_KEY"},
        "claude_feed": {**MISSING, "detail": "PROBE_FEEDS"},
        "openai": {"state": "operational", "reason": "answered", "checkedAt": NOW + minutes(3), "latency": 300.0},
    },
}


@pytest.fixture
def ops(sqlite_store: SqliteStore) -> Iterator[Ops]:
    """For three minutes all was well; since then the errors of the API are too many."""
    fill(sqlite_store, {"alerts/errors": alert("errors", "error_rate", "critical")})
    fill(sqlite_store, {"runs/healthProbe": {"roundAt": NOW, "probes": PROBES, "rev": "r"}})
    for minute, firing in ((0, ()), (3, ("errors",)), (4, ("errors",))):
        fill(sqlite_store, {"runs/alertRules": run(alerts=firing)})
        publish_status(sqlite_store, COMPONENTS, app_on(sqlite_store).flags, NOW + minutes(minute))
    with ops_api(sqlite_store, NOW + minutes(4)) as ops:
        yield ops


def parts(ops: Ops) -> dict[str, Any]:
    reply = ops.get("/api/ops/status")
    assert reply.status == 200, reply.text
    return {part["id"]: part for part in reply.json["components"]}


def test_it_says_why_and_since_when(ops: Ops) -> None:
    api = parts(ops)["API"]
    assert (api["state"], api["since"], api["reason"]) == (
        "outage", "2026-03-04T10:10:30Z", "alert errors: threshold_exceeded",
    )  # fmt: skip
    assert api["why"] == ["The alert errors fires, critical: threshold exceeded."]


def test_uptime_is_the_pages_own_figure(ops: Ops) -> None:
    api = parts(ops)["API"]
    assert (api["uptime"], api["uptimeSince"]) == (75.0, "2026-03-04T10:07:30Z")
    assert parts(ops)["Auth"]["uptime"] is None


def test_it_names_the_setting_that_is_missing(ops: Ops) -> None:
    auth = parts(ops)["Auth"]
    assert (auth["state"], auth["why"]) == ("not_monitored", [])
    assert auth["notSetUp"] == [
        {
            "probe": "api",
            "setting": "FIREBASE_API_KEY",
            "why": "The probe api is not set up: it needs FIREBASE_API_KEY.",
        }
    ]
    claude = parts(ops)["AI_Providers"]["providers"][0]
    assert [lack["setting"] for lack in claude["notSetUp"]] == ["ANTHROPIC_API_KEY", "PROBE_FEEDS"]


def test_before_anything_was_published_it_answers_too(sqlite_store: SqliteStore) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        reply = ops.get("/api/ops/status").json
        assert (reply["overall"], reply["publishedAt"], reply["components"][0]["since"]) == ("unknown", None, None)


def shown(ops: Ops, width: int = 100, flags: Any = None) -> list[str]:
    screen = Screen(io.StringIO(), width, colours=False, braille=True)
    answer = {
        "status": ops.get("/api/ops/status").json,
        "alerts": [],
        "incidents": {"incidents": [], "cursor": None},
        "maintenances": [],
        "postmortems": {"incidents": [], "cursor": None},
        "flags": flags or {"alerts.enabled": {"value": True, "default": True}},
    }
    return overview(answer, screen)


def test_the_terminal_shows_each_state_with_its_reason_and_what_to_do(ops: Ops) -> None:
    assert shown(ops) == [
        "Status: outage.",
        "  API             outage         since 2026-03-04 10:10 UTC, uptime 75.00 % since 10:07 UTC today",
        "    The alert errors fires, critical: threshold exceeded.",
        "  Auth            not monitored",
        "    The probe api is not set up: it needs FIREBASE_API_KEY.",
        "  Billing         not monitored",
        "    Its probes were not asked yet. healthProbe asks them every minute.",
        "  AI Providers    operational    uptime 100 % since 10:07 UTC today",
        "    Its metrics come in, and none of its alerts fires.",
        "    Claude        operational",
        "      The probe claude is not set up: it needs ANTHROPIC_API_KEY.",
        "      The probe claude_feed reads the provider's status page: PROBE_FEEDS=on sets it up.",
        "    OpenAI        operational",
        "  Database        operational    uptime 100 % since 10:07 UTC today",
        "    Its metrics come in, and none of its alerts fires.",
        "  Storage         not monitored",
        "    Its probes were not asked yet. healthProbe asks them every minute.",
        "  What each setting is: docs/probes.md",
        "",
        "Firing",
        "Nothing.",
        "",
        "Open incidents",
        "There are none.",
    ]


def test_what_was_switched_stands_first(ops: Ops) -> None:
    flags = {"alerts.enabled": {"value": False, "default": True}, "quotas.enabled": {"value": True, "default": True}}
    assert shown(ops, flags=flags)[:3] == [
        "Status: outage.",
        "The switch alerts.enabled is false; as shipped it is true.",
        *shown(ops)[1:2],
    ]


def test_on_a_narrow_screen_sentences_go_on_below(ops: Ops) -> None:
    assert max(len(line) for line in shown(ops, 40) if line.startswith("    ")) <= 40

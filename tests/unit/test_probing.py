"""What a round found, and what state that makes: one failure is no outage, one success no recovery."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.domain.probe import AnyProbe, Expect, FeedProbe
from shared.domain.probing import Entry, Finding, advanced, best, is_due, judged, not_set_up, told_by_feed

START = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
GOOD = Finding("good", "answered", latency=12.34)
SLOW = Finding("slow", "slow", latency=5000.0)
FAILED = Finding("failed", "timeout")
UNKNOWN = Finding("unknown", "key_refused", "401")
_PROBE: TypeAdapter[AnyProbe] = TypeAdapter(AnyProbe)


def probe(**more: Any) -> AnyProbe:
    return _PROBE.validate_python({"id": "health", "kind": "http", "url": "http://127.0.0.1/", **more})


def after(*found: Finding, every: float = 30, **more: Any) -> Entry:
    """The entry after these rounds, `every` seconds apart."""
    entry: Entry | None = None
    for n, finding in enumerate(found):
        entry = advanced(entry, probe(**more), finding, START + timedelta(seconds=n * every))
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ([GOOD], "operational"),
        ([FAILED], "degraded"),
        ([GOOD, FAILED], "degraded"),
        ([FAILED] * 3, "degraded"),
        ([FAILED] * 4, "outage"),
        ([FAILED] * 3 + [SLOW, FAILED], "degraded"),
        ([SLOW], "degraded"),
        ([SLOW] * 20, "degraded"),
        ([FAILED] * 4 + [SLOW], "degraded"),
        ([FAILED, GOOD], "degraded"),
        ([FAILED, GOOD, GOOD], "operational"),
        ([FAILED] * 4 + [GOOD], "outage"),
        ([FAILED] * 4 + [GOOD, FAILED], "outage"),
        ([FAILED] * 4 + [GOOD, GOOD], "operational"),
        ([FAILED, GOOD] * 5, "degraded"),
        ([Finding("impaired", "certificate_expires")], "degraded"),
        ([Finding("out", "feed_outage")], "outage"),
        ([UNKNOWN], "no_data"),
        ([GOOD, UNKNOWN], "operational"),
        ([UNKNOWN, GOOD], "operational"),
    ],
)
def test_the_state_follows_from_the_rounds_in_a_row(found: list[Finding], state: str) -> None:
    assert after(*found)["state"] == state


def test_the_thresholds_are_configured() -> None:
    assert after(FAILED, outageAfter=1)["state"] == "outage"
    assert after(FAILED, GOOD, recoverAfter=1)["state"] == "operational"
    assert after(*[FAILED] * 9, outageAfter=10)["state"] == "degraded"


def test_rounds_that_come_twice_count_once_towards_a_threshold() -> None:
    assert after(*[FAILED] * 8, every=1)["failures"] == 1
    assert after(*[FAILED] * 8, every=1)["state"] == "degraded"


def test_an_entry_says_since_when_and_why() -> None:
    entry = after(GOOD, FAILED, FAILED)
    assert entry["since"] == START + timedelta(seconds=30)
    assert (entry["reason"], entry["failures"], entry["latency"]) == ("timeout", 2, None)
    assert after(FAILED, GOOD)["reason"] == "recovering"
    assert after(GOOD)["latency"] == 12.3


def test_what_is_unknown_becomes_stale_by_itself() -> None:
    entry = after(GOOD, UNKNOWN, UNKNOWN)
    assert (entry["checkedAt"], entry["roundAt"]) == (START, START + timedelta(seconds=60))
    assert (entry["reason"], entry["detail"]) == ("key_refused", "401")


def test_a_probe_that_is_not_set_up_starts_afresh_once_it_is() -> None:
    entry = not_set_up("APP_BASE_URL", after(*[FAILED] * 3), START)
    assert (entry["state"], entry["detail"]) == ("not_monitored", "APP_BASE_URL")
    assert advanced(entry, probe(), FAILED, START)["failures"] == 1
    later = not_set_up("APP_BASE_URL", entry, START + timedelta(minutes=1))
    assert later["since"] == START


def test_one_good_attempt_of_a_round_is_enough() -> None:
    assert best([FAILED, GOOD]) == GOOD
    assert best([SLOW, FAILED]) == SLOW
    assert best([FAILED, FAILED]) == FAILED


def test_a_probe_with_a_longer_pause_is_due_after_it() -> None:
    entry = after(GOOD, everySeconds=120)
    slow = probe(everySeconds=120)
    due = [is_due(entry, slow, START + timedelta(seconds=s)) for s in (30, 90, 120)]
    assert due == [False, False, True]
    assert is_due(entry, probe(), START + timedelta(seconds=30))
    assert is_due(None, slow, START)


def test_a_run_by_hand_just_before_takes_nothing_from_the_next_round_and_counts_with_it_as_one() -> None:
    entry = after(FAILED)
    assert is_due(entry, probe(), START + timedelta(seconds=1))
    at_once = advanced(entry, probe(), FAILED, START + timedelta(seconds=1))
    assert (entry["failures"], at_once["failures"]) == (1, 1)
    assert advanced(at_once, probe(), FAILED, START + timedelta(seconds=31))["failures"] == 2


@given(st.lists(st.sampled_from([GOOD, SLOW, FAILED]), min_size=1, max_size=30))
def test_an_outage_needs_its_rounds_and_so_does_a_recovery(found: list[Finding]) -> None:
    entry = after(*found)
    last_four = found[-4:] == [FAILED] * 4
    if entry["state"] == "outage":
        assert any(found[n : n + 4] == [FAILED] * 4 for n in range(len(found)))
    assert not last_four or entry["state"] == "outage"
    if entry["state"] == "operational":
        assert found[-1] == GOOD


def judge(expect: dict[str, Any], status: int = 200, body: bytes = b"", days: int | None = None) -> Finding:
    ends = START + timedelta(days=days) if days is not None else None
    return judged(Expect.model_validate(expect), status, body, ends, START)


@pytest.mark.parametrize(
    ("expect", "answer", "reason"),
    [
        ({}, {"status": 204}, "answered"),
        ({}, {"status": 301}, "status_unexpected"),
        ({"status": ["200", "301-303"]}, {"status": 302}, "answered"),
        ({"contains": "ready"}, {"body": b"all is ready"}, "answered"),
        ({"contains": "ready"}, {"body": b"\xff\x00"}, "text_missing"),
        ({"matches": "v[0-9]+"}, {"body": b"v12"}, "answered"),
        ({"matches": "^v[0-9]+$"}, {"body": b"version"}, "pattern_missing"),
        ({"json": [{"path": "a.b[1].c", "equals": "x"}]}, {"body": b'{"a": {"b": [0, {"c": "x"}]}}'}, "answered"),
        ({"json": [{"path": "a", "equals": 1}]}, {"body": b'{"a": true}'}, "json_condition"),
        ({"json": [{"path": "a", "equals": None}]}, {"body": b'{"a": null}'}, "answered"),
        ({"json": [{"path": "a", "equals": None}]}, {"body": b"{}"}, "json_condition"),
        ({"json": [{"path": "a[3]", "equals": 1}]}, {"body": b'{"a": [1]}'}, "json_condition"),
        ({"json": [{"path": "a", "oneOf": ["ok", "warm"]}]}, {"body": b'{"a": "warm"}'}, "answered"),
        ({"json": [{"path": "n", "atLeast": 3}]}, {"body": b'{"n": 3}'}, "answered"),
        ({"json": [{"path": "n", "atMost": 0}]}, {"body": b'{"n": 1}'}, "json_condition"),
        ({"json": [{"path": "n", "atLeast": 3}]}, {"body": b'{"n": "9"}'}, "json_condition"),
        ({"json": [{"path": "a", "equals": 1}]}, {"body": b"<html>"}, "not_json"),
        ({"json": [{"path": "a", "equals": 1}]}, {"body": b"[" * 60_000}, "not_json"),
        ({"certificateDays": 14}, {"days": 14}, "answered"),
        ({"certificateDays": 14}, {"days": 13}, "certificate_expires"),
        ({"certificateDays": 14}, {"days": None}, "answered"),
    ],
)
def test_an_answer_is_judged_by_each_condition(expect: dict[str, Any], answer: dict[str, Any], reason: str) -> None:
    assert judge(expect, **answer).reason == reason


def feed(data: Any, *components: str) -> Finding:
    spec = FeedProbe(id="f", kind="feed", url="https://status.example.com/api/v2/summary.json", components=components)
    return told_by_feed(spec, data if isinstance(data, bytes) else json.dumps(data).encode())


def summary(indicator: str, **components: str) -> dict[str, Any]:
    return {
        "status": {"indicator": indicator},
        "components": [{"name": name, "status": status} for name, status in components.items()],
    }


@pytest.mark.parametrize(
    ("indicator", "outcome"),
    [("none", "good"), ("minor", "impaired"), ("major", "impaired"), ("critical", "out"), ("maintenance", "impaired")],
)
def test_a_status_page_is_read_by_its_indicator(indicator: str, outcome: str) -> None:
    assert feed(summary(indicator)).outcome == outcome


def test_of_a_status_page_the_named_components_count_and_the_worst_of_them() -> None:
    data = summary("critical", API="operational", Console="major_outage", Other="partial_outage")
    assert feed(data, "API").outcome == "good"
    assert feed(data, "API", "Other").outcome == "impaired"
    assert feed(data, "Console", "Other").outcome == "out"
    assert feed(data, "Renamed").reason == "feed_lacks_component"


@pytest.mark.parametrize(
    "garbage", [b"", b"<html>", b"[]", b"{}", b'{"status": {"indicator": "new"}}', b"null", b"[" * 60_000]
)
def test_a_status_page_that_cannot_be_read_says_nothing(garbage: bytes) -> None:
    assert feed(garbage).outcome == "unknown"

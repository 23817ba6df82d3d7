"""What people read in Slack. `.venv/bin/python -m tests.unit.test_slack_message` renews the golden files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.notification import new_notification
from shared.notify import wording
from shared.notify.figures import span
from shared.notify.links import Links
from shared.notify.slack_message import cut, escape, message
from tests.fake_servers import blocks_are_valid

GOLDEN = Path(__file__).parent / "golden" / "slack"
STATUS_URL = "https://status.example.com/status?lang=en&x=1"
LINKS = Links(STATUS_URL)
FIRED = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
COMMON = {"windowSeconds": 300, "firedAt": FIRED, "resolvedAt": None, "incidentId": "inc-20260301-1205"}
# SLO → facts of the trigger, value and good of the resolve
SLOS: dict[str, tuple[dict[str, Any], float, int]] = {
    "api-availability": (
        {"sloName": "API Availability", "severity": "critical", "component": "API", "metric": "error_rate", "unit": "%"}
        | {"aggregation": "avg", "threshold": 0.5, "comparison": "above", "value": 3.2, "good": 484, "total": 500},
        0.2,
        499,
    ),
    "api-latency-p95": (
        {"sloName": "API Latency (p95)", "severity": "warning", "component": "API", "metric": "api_latency_p95"}
        | {"aggregation": "p95", "unit": "ms", "threshold": 400, "comparison": "above", "value": 612.3}
        | {"good": 1290, "total": 1500},
        211.0,
        1499,
    ),
    "agent-success-rate": (
        {"sloName": "Agent Success Rate", "severity": "high", "component": "AI_Providers", "unit": "%"}
        | {"metric": "agent_success_rate", "aggregation": "avg", "threshold": 95.0, "comparison": "below"}
        | {"value": 94.96, "good": 9496, "total": 10000},
        100.0,
        10000,
    ),
    "database-write-latency": (
        {"sloName": "Database Write Latency", "severity": "warning", "component": "Database", "unit": "ms"}
        | {"metric": "firestore_write_latency_p95", "aggregation": "p95", "threshold": 200, "comparison": "above"}
        | {"value": 200.4, "good": 18, "total": 20},
        78.0,
        20,
    ),
}


def facts_of(slo: str, kind: str) -> dict[str, Any]:
    facts, value, good = SLOS[slo]
    if kind == "trigger":
        return {**COMMON, **facts, "reason": "threshold_exceeded"}
    over = {
        "value": value,
        "good": good,
        "resolvedAt": FIRED + timedelta(minutes=25),
        "reason": "back_within_threshold",
    }
    return {**COMMON, **facts, **over}


def rendered(slo: str, kind: Any, **changes: Any) -> dict[str, Any]:
    facts = {**facts_of(slo, kind), **changes}
    _, data = new_notification(f"{slo}-threshold", 1 if kind == "trigger" else 2, "slack", kind, facts, FIRED)
    return message([data], LINKS)


def golden_text(slo: str, kind: str) -> str:
    return json.dumps(rendered(slo, kind), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("kind", ["trigger", "resolve"])
@pytest.mark.parametrize("slo", SLOS)
def test_a_message_is_as_its_golden_file(slo: str, kind: str) -> None:
    assert golden_text(slo, kind) == (GOLDEN / f"{slo}-{kind}.json").read_text()


@pytest.mark.parametrize("kind", ["trigger", "resolve"])
@pytest.mark.parametrize("slo", SLOS)
def test_slack_takes_the_blocks(slo: str, kind: str) -> None:
    assert blocks_are_valid(rendered(slo, kind)["blocks"])


def test_every_slo_of_the_shipped_configuration_has_its_golden_files() -> None:
    shipped = json.loads((Path(__file__).parents[2] / "config" / "slo.json").read_text())["slos"]
    assert [slo["name"] for slo in shipped] == [facts["sloName"] for facts, _, _ in SLOS.values()]


@pytest.mark.parametrize(
    ("slo", "kind", "text"),
    [
        ("api-availability", "trigger", "At most 0.5 % of requests may fail; in the last 5 minutes 3.2 % failed."),
        (
            "api-latency-p95",
            "trigger",
            "95 % of requests should finish within 400 ms; in the last 5 minutes p95 was 612 ms.",
        ),
        (
            "agent-success-rate",
            "trigger",
            "At least 95 % of agent runs should succeed; in the last 5 minutes 94.96 % succeeded.",
        ),
        (
            "database-write-latency",
            "resolve",
            "95 % of database writes should finish within 200 ms, and that holds again: in the last 5 minutes p95 was"
            " 78 ms.",
        ),
    ],
)
def test_it_says_in_plain_words_what_broke(slo: str, kind: str, text: str) -> None:
    assert wording.sentence(facts_of(slo, kind), resolved=kind == "resolve") == text


@pytest.mark.parametrize(
    ("minutes", "reason", "text"),
    [
        (4, "threshold_exceeded", "; in the last 5 minutes 3.2 % failed."),
        (5, "threshold_exceeded", "; in the 5 minutes until 12:00 UTC 3.2 % failed."),
        (65, "over_already", "; in the 5 minutes until 11:00 UTC 3.2 % failed. That was over when it was judged."),
    ],
)
def test_what_was_judged_late_says_when_it_was_and_whether_it_is_over(minutes: int, reason: str, text: str) -> None:
    facts = facts_of("api-availability", "trigger") | {"judgedAt": FIRED - timedelta(minutes=minutes), "reason": reason}
    assert wording.sentence(facts, resolved=False) == f"At most 0.5 % of requests may fail{text}"


def test_an_end_that_was_judged_late_says_when_it_was() -> None:
    facts = facts_of("api-availability", "resolve") | {"judgedAt": FIRED + timedelta(minutes=5), "windowSeconds": 3600}
    assert wording.sentence(facts, resolved=True) == (
        "At most 0.5 % of requests may fail, and that holds again: in the hour until 12:10 UTC 0.2 % failed."
    )


def test_costs_are_in_dollars() -> None:
    money = {"metric": "token_cost", "unit": "USD", "aggregation": "sum", "threshold": 7.5, "value": 1234.5678}
    text = wording.sentence({**facts_of("api-latency-p95", "trigger"), **money, "windowSeconds": 3600}, resolved=False)
    assert text == (
        "The sum of token_cost should be at most 7.50 USD; in the last hour the sum of token_cost was 1,234.57 USD."
    )


def test_no_data_is_said_and_not_called_good() -> None:
    text = wording.sentence({**facts_of("api-latency-p95", "resolve"), "value": None}, resolved=True)
    assert text.endswith("in the last 5 minutes there was no data, so the alert is closed.")


@pytest.mark.parametrize(
    ("value", "threshold", "unit", "shown"),
    [
        (400.4, 400, "ms", "400.4 ms"),  # not '400 ms', which would be fine
        (400, 400, "ms", "400 ms"),
        (0.50001, 0.5, "%", "0.50001 %"),
        (99.97, 95.0, "%", "99.97 %"),  # not '100 %'
        (0.04, 0.5, "%", "0.04 %"),  # not '0 %'
        (100, 95.0, "%", "100 %"),
        (0, 0.5, "%", "0 %"),
        (612.5, 400, "ms", "613 ms"),
        (12345.6, 400, "ms", "12,346 ms"),
        (7.5, 5, "USD", "7.50 USD"),
        (3, 2, "count", "3"),
    ],
)
def test_rounding_never_hides_a_difference(value: float, threshold: float, unit: str, shown: str) -> None:
    assert wording.value({"value": value, "threshold": threshold, "unit": unit}) == shown


def test_a_threshold_is_shown_as_it_is_configured() -> None:
    assert wording.threshold({"threshold": 99.95, "unit": "%"}) == "99.95 %"
    assert wording.threshold({"threshold": 1e3, "unit": "ms"}) == "1,000 ms"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than a second"),
        (1, "1 second"),
        (300, "5 minutes"),
        (3_900, "1 hour 5 minutes"),
        (90_061, "1 day 1 hour"),
        (86_460, "1 day 1 minute"),
    ],
)
def test_a_length_of_time_has_two_units_at_most(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_a_resolve_says_how_long_it_lasted_and_a_trigger_does_not() -> None:
    assert "*Lasted*\\n25 minutes" in json.dumps(rendered("api-latency-p95", "resolve"))
    assert "Lasted" not in json.dumps(rendered("api-latency-p95", "trigger"))


def test_a_foreign_text_cannot_call_the_channel_or_make_a_link() -> None:
    text = json.dumps(rendered("api-latency-p95", "trigger", sloName="<!channel> & <https://x|y>\n*now*"))
    assert "<!channel>" not in text
    assert "<https://x" not in text
    assert "&lt;!channel&gt; &amp; &lt;https://x|y&gt; *now*" in text


def many(count: int, kind: str = "trigger") -> dict[str, Any]:
    """One message for `count` notifications."""
    names = sorted(SLOS)
    documents = []
    for n in range(count):
        facts = {**facts_of(names[n % len(names)], kind), "sloName": f"SLO {n}"}
        documents.append(new_notification(f"slo-{n}-threshold", 1, "slack", kind, facts, FIRED)[1])  # type: ignore[arg-type]
    return message(documents, LINKS)


def test_a_few_alerts_in_one_message_are_told_each_and_the_first_one_gives_its_id() -> None:
    body = many(3)
    assert blocks_are_valid(body["blocks"])
    text = json.dumps(body, ensure_ascii=False)
    assert body["blocks"][0]["text"]["text"] == "🔴 3 alerts: 3 firing"
    assert [f"*SLO {n}*: firing" in text for n in range(3)] == [True] * 3
    assert "Notification `slo-0-threshold-1-slack` and 2 more" in text


def test_many_alerts_in_one_message_are_counted_and_the_ten_worst_are_named() -> None:
    body = many(1000)
    assert blocks_are_valid(body["blocks"])
    text = json.dumps(body, ensure_ascii=False)
    assert "*By severity:* 250 critical, 250 high, 500 warning" in text
    assert "*By component:* 500 API, 250 AI_Providers, 250 Database" in text
    assert (text.count("*: firing"), text.count("🔴 *SLO")) == (10, 10)
    assert "and 990 more" in text


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("repeat", "🟡 API Latency (p95): still firing"),
        ("acknowledge", "🟡 API Latency (p95): acknowledged"),
        ("resolve", "🟢 API Latency (p95): resolved"),
    ],
)
def test_the_header_says_what_became_of_the_alert(kind: str, header: str) -> None:
    body = rendered("api-latency-p95", kind)
    assert body["blocks"][0]["text"]["text"] == header
    assert blocks_are_valid(body["blocks"])


@given(name=st.text(max_size=400), component=st.text(max_size=3000), incident=st.none() | st.text(max_size=3000))
def test_slack_takes_the_blocks_whatever_the_names_are(name: str, component: str, incident: str | None) -> None:
    body = rendered("api-latency-p95", "trigger", sloName=name, component=component, incidentId=incident)
    assert blocks_are_valid(body["blocks"])
    json.dumps(body, ensure_ascii=False).encode()


@given(st.text(alphabet="a&<>… \n", max_size=60), st.integers(6, 40))
def test_escaping_and_cutting_break_no_entity_and_keep_the_limit(text: str, limit: int) -> None:
    for result in (escape(text, limit), cut(escape(text, 1000), limit)):
        assert len(result) <= limit
        rest = result
        for entity in ("&amp;", "&lt;", "&gt;"):
            rest = rest.replace(entity, "")
        assert not set("&<>") & set(rest)


if __name__ == "__main__":
    for each in SLOS:
        for which in ("trigger", "resolve"):
            (GOLDEN / f"{each}-{which}.json").write_text(golden_text(each, which))

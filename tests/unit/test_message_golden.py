"""Every channel's whole message in every scene. To renew them: `.venv/bin/python -m tests.unit.test_message_golden`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.domain.alert import Step
from shared.domain.catch_up import SLOT
from shared.domain.counting import facts_of as facts_of_counting
from shared.domain.first_message import Shown, shown
from shared.domain.notification import Kind, new_notification
from shared.domain.spending import (
    Spending,
    Spike,
    UnpricedModel,
    budget_findings,
    forecast_finding,
    forgotten_finding,
    spike_finding,
    unpriced_finding,
)
from shared.notify import pagerduty, slack_message, webhook
from shared.notify.links import Links
from shared.notify.mail_message import message as mail
from shared.usage.spending import spending_facts
from tests.fake_servers import blocks_are_valid
from tests.unit.test_slack_message import FIRED, SLOS, facts_of

GOLDEN = Path(__file__).parent / "golden" / "messages"
CONSOLE = Links("https://status.example.com/status", "https://console.example.com")
KNOWN: dict[str, Any] = {
    "firingSeq": 1,
    "budget": {"periodSeconds": 30 * 86_400, "left": 0.712, "rate": 6.42},
    "worst": {"label": "endpoint", "value": "/api/pay", "bad": 181, "total": 240, "allBad": 210, "allTotal": 1500},
    "config": {"version": 12, "at": FIRED - timedelta(minutes=8)},
    "runbook": "runbooks/provider-degradation.md",
}
ADDS_TO = {
    "groupId": "api-errors-threshold-1-slack",
    "at": FIRED - timedelta(minutes=5),
    "alerts": ["api-errors-threshold", "api-latency-p99-threshold"],
}
KINDS: tuple[Kind, ...] = ("trigger", "repeat", "acknowledge", "resolve")
OWN = ("stopped", "dead-letters", "counting")  # what F0 Ops tells of itself
BUDGETS = ("budget", "budget-far-over", "budget-held", "month-end", "spike")
COSTS = (*BUDGETS, "unpriced", "unpriced-tier", "unpriced-part", "forgotten")
GROWN = ("grown", "grown-over")  # of a first message that is brought up to date
SCENES = (*KINDS, "bare", "group", "adds", "adds-many", "summary", *OWN, *COSTS, *GROWN)
CHANNELS = ("slack", "email", "pagerduty", "webhook")
CASES = [
    (channel, scene)
    for channel in CHANNELS
    for scene in SCENES
    if (channel == "slack" or scene not in GROWN)
    if channel != "pagerduty" or scene not in ("group", "adds", "adds-many", "summary")
]


def one(channel: str, kind: Kind, n: int = 0, *, slo: str = "api-latency-p95", **known: Any) -> dict[str, Any]:
    seq = KINDS.index(kind) + 1
    facts = {**facts_of(slo, kind), **known}
    if kind == "acknowledge":
        facts["acknowledged"] = {"by": "a-uid", "at": FIRED + timedelta(minutes=3), "note": "rolling back"}
    alert_id = f"{slo}-threshold" + (f"-{n}" if n else "")
    return new_notification(alert_id, seq, channel, kind, facts, FIRED + timedelta(seconds=10))[1]


def own(channel: str, scene: str) -> dict[str, Any]:
    alert: dict[str, Any] = {
        "stopped": {"sloId": "watchdog-alertRules", "sloName": "alertRules has stopped", "value": 11.2, "unit": "min"},
        "dead-letters": {
            "sloId": "dead-letters",
            "sloName": "Messages that could not be delivered",
            "value": 3.0,
            "labels": {"causes": "email bad_address; slack no_service"},
        },
        "counting": facts_of_counting(Step("firing", "counting_behind", "fire"), FIRED - SLOT * 3, {}, FIRED, FIRED),
    }[scene]
    facts = {**facts_of("api-latency-p95", "trigger"), "component": None, "incidentId": None, "labels": {}, **alert}
    return new_notification(facts["sloId"], 1, channel, "trigger", facts, FIRED)[1]


def of_costs(channel: str, scene: str) -> dict[str, Any]:
    policy = Spending.model_validate({"budgets": {"organisation": "1000", "plans": {"free": "2"}}})
    day = FIRED.date()
    costs = {(day - timedelta(days=n)).isoformat(): Decimal(8) for n in range(1, 15)} | {day.isoformat(): Decimal(45)}
    unknown = UnpricedModel("our-own-model", 12, 34_000, 0, "2026-02-18", "unknown_model", ("openai",))
    tier = UnpricedModel("gpt-4o", 3, 3_600, 0, "2026-02-27", "no_price_for_tier", ("openai",), tiers=("own-tier",))
    part = UnpricedModel("gpt-4o", 0, 0, 7, "2026-02-27", "no_price_for_kind", ("openai",), ("file_searches",))
    finding = {
        "budget": budget_findings(("plan", "free"), "free", Decimal("1.64"), day, policy)[0],
        "budget-far-over": budget_findings(("plan", "free"), "free", Decimal("40"), day, policy)[0],
        "budget-held": budget_findings(("plan", "free"), "free", Decimal("0.004"), day, policy)[1],
        "month-end": forecast_finding({name: cost * 20 for name, cost in costs.items()}, day, policy),
        "spike": spike_finding(("model", "gpt-4o"), "gpt-4o", costs, day, Spike()),
        "unpriced": unpriced_finding(unknown, 35),
        "unpriced-tier": unpriced_finding(tier, 35),
        "unpriced-part": unpriced_finding(part, 35),
        "forgotten": forgotten_finding(73, policy),
    }[scene]
    assert finding is not None
    kind: Kind = "trigger" if finding.firing else "resolve"
    facts = spending_facts(finding, FIRED, FIRED if kind == "trigger" else FIRED + timedelta(hours=3))
    return new_notification(finding.id, 1, channel, kind, facts, facts["judgedAt"])[1]


def notifications(channel: str, scene: str) -> list[dict[str, Any]]:
    """`bare`: of an alert of which nothing more is known, as with earlier releases."""
    if scene == "bare":
        return [one(channel, "trigger")]
    if scene == "group":
        kinds: Sequence[Kind] = ("trigger", "resolve", "repeat")
        return [one(channel, kind, slo=slo, **KNOWN) for kind, slo in zip(kinds, SLOS, strict=False)]
    if scene == "adds":
        return [one(channel, "trigger", **KNOWN) | {"addsTo": ADDS_TO}]
    if scene == "adds-many":
        first, second = sorted(SLOS)[:2]
        adds_to = ADDS_TO | {"more": 3}
        return [one(channel, "trigger", slo=first, **KNOWN) | {"addsTo": adds_to}, one(channel, "trigger", slo=second)]
    if scene in OWN:
        return [own(channel, scene)]
    if scene in COSTS:
        return [of_costs(channel, scene)]
    if scene == "summary":
        return [one(channel, "trigger", n, slo=sorted(SLOS)[n % len(SLOS)], **KNOWN) for n in range(37)]
    return [one(channel, next(kind for kind in KINDS if kind == scene), **KNOWN)]


def grown(scene: str) -> Shown:
    """Of a message of two alerts, to which one was added and of which one is over; of one that is over."""
    slos = sorted(SLOS)[:3]
    of: list[dict[str, Any]] = [one("slack", "trigger", slo=slo, **KNOWN) for slo in slos] if scene == "grown" else []
    of.append(one("slack", "resolve", slo=slos[0], **KNOWN))
    minutes = range(5, 5 * len(of) + 1, 5)
    told = [{**data, "deliveredAt": FIRED + timedelta(minutes=n)} for data, n in zip(of, minutes, strict=True)]
    found = shown(told, ())
    assert found is not None
    return found


def drawn(channel: str, scene: str) -> str:
    if scene in GROWN:
        return _json(slack_message.revised(grown(scene), CONSOLE))
    documents = notifications(channel, scene)
    if channel == "email":
        return mail(documents, "f0-ops@example.com", "oncall@example.com", CONSOLE).as_bytes().decode()
    if channel == "pagerduty":
        return _json(pagerduty.event(documents[0], CONSOLE))
    if channel == "slack":
        return _json(slack_message.message(documents, CONSOLE))
    return _json(json.loads(webhook.body(documents, CONSOLE)))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def file_of(channel: str, scene: str) -> Path:
    return GOLDEN / f"{channel}-{scene}.{'eml' if channel == 'email' else 'json'}"


@pytest.mark.parametrize(("channel", "scene"), CASES)
def test_a_message_is_as_its_golden_file(channel: str, scene: str) -> None:
    assert drawn(channel, scene).encode() == file_of(channel, scene).read_bytes()


@pytest.mark.parametrize("scene", SCENES)
def test_slack_takes_every_one(scene: str) -> None:
    assert blocks_are_valid(json.loads(drawn("slack", scene))["blocks"])


def test_there_is_no_golden_file_of_nothing() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {file_of(*case).name for case in CASES}


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        file_of(*case).write_bytes(drawn(*case).encode())

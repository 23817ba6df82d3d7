"""Why a component is in its state, in plain words for the team."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.domain import why
from shared.domain.status import derive
from shared.store.protocol import Data
from tests.unit.status_scenes import COMPONENTS as SHIPPED
from tests.unit.status_scenes import MEASURED, NO_DATA, NOW, alert, incident, minutes, run
from tests.unit.test_status_probed import NOT_SET_UP, ai, of, probed, said, view, work

ROOT = Path(__file__).parents[2]
RAISED = {"OutboundError": 0, "BucketError": 0, "Finding": 1}  # and which of its arguments is the reason


def reasons() -> Iterator[str]:
    """Every word that the code has for what came of a probe."""
    for path in (
        ROOT / "shared" / "outbound.py",
        ROOT / "shared" / "domain" / "probing.py",
        *(ROOT / "shared" / "probes").glob("*.py"),
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED:
                given = node.args[RAISED[node.func.id]]
                yield from (
                    n.value for n in ast.walk(given) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                )


def test_every_word_for_what_came_of_a_probe_has_its_sentence() -> None:
    found = {*reasons(), "recovering", "probe_stale", "slow"}
    assert len(found) > 30
    assert sorted(found - why._OF_PROBES.keys()) == []


def test_a_probe_is_told_with_its_detail() -> None:
    assert why.probe("health", "status_unexpected", "500") == (
        "The probe health was answered with a status that is not expected (500)."
    )
    assert why.probe("health", "a_new_word") == "The probe health a new word."


def test_each_cause_is_told_the_worst_first() -> None:
    bad = probed(API={"health": said("degraded", "timeout")})
    down = incident("Down", "critical", ("API",), NOW)
    api = of(view(bad, [alert("a1", "error_rate", "critical")], [down], last=run()), "API")
    assert api.why == (
        "The incident i0 is open, public, and of critical impact.",
        "The alert a1 fires, critical: threshold exceeded.",
        "The probe health was not answered in time.",
    )


def test_a_provider_is_told_by_what_its_probe_found() -> None:
    status = of(view(ai(claude=said("outage", "connection_refused"), openai=said("operational"))), "AI")
    assert status.why == ("Claude: The probe claude could not connect: nobody listens there.",)


def test_a_probe_that_says_nothing_tells_why_as_long_as_it_is_asked() -> None:
    refused = said("operational", "key_refused", ago=9, roundAt=NOW - minutes(0.5), detail="401")
    claude, *_ = of(view(ai(claude=refused)), "AI").providers
    (told,) = claude.why
    assert (claude.state, told.partition(" has a key that is refused")[0]) == ("no_data", "The probe claude")
    assert "(401)" in told
    asked_long_ago = said("operational", "key_refused", ago=9, roundAt=NOW - minutes(9))
    claude, *_ = of(view(ai(claude=asked_long_ago)), "AI").providers
    assert claude.why == ("The probe claude was not answered lately: does healthProbe run?",)


def test_of_what_is_not_set_up_it_says_what_is_missing() -> None:
    missing = {**NOT_SET_UP, "detail": "ANTHROPIC_API_KEY"}
    feeds = {**NOT_SET_UP, "detail": "PROBE_FEEDS"}
    status = of(view(ai(claude=missing, claude_feed=feeds)), "AI")
    assert (status.state, status.why) == ("not_monitored", ())
    assert [(lack.provider, lack.setting, lack.why) for lack in status.lacks] == [
        ("Claude", "ANTHROPIC_API_KEY", "The probe claude is not set up: it needs ANTHROPIC_API_KEY."),
        ("Claude", "PROBE_FEEDS", "The probe claude_feed reads the provider's status page: PROBE_FEEDS=on sets it up."),
    ]


@pytest.mark.parametrize(
    ("last", "name", "told"),
    [
        (run(), "API", why.MEASURED),
        (run(), "Billing", why.NEVER_ASKED),
        (None, "API", why.NEVER_JUDGED),
        (run(facts_at=NOW - minutes(21)), "API", why.NOT_JUDGED_LATELY),
        (run(MEASURED[:2] + NO_DATA), "AI_Providers", "Nothing came in lately of agent_success_rate."),
        (run([{**NO_DATA[0], "reason": "excluded"}]), "AI_Providers", why.EXCLUDED),
    ],
    ids=["measured", "never asked", "never judged", "not judged lately", "silent", "excluded"],
)
def test_what_is_quiet_says_why_too(last: Data | None, name: str, told: str) -> None:
    assert of(derive(SHIPPED, last, [], [], NOW), name).why == (told,)


def test_maintenance_and_answers_are_told() -> None:
    good = probed(API={"health": said("operational")})
    assert of(view(good), "API").why == (why.ANSWERED,)
    assert "maintenance m1" in of(view(good, works=[work()]), "API").why[0]

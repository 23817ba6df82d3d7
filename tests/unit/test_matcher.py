"""Matchers, silences and inhibition: Alertmanager's semantics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.inhibition import Inhibition, Inhibitors
from shared.domain.matcher import Labels, Matcher, all_match, labels_of, matcher, parse
from shared.domain.silence import Silence, matcher_faults, silenced_by, time_faults

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
OUTAGE = {"alertId": "api-availability", "severity": "critical", "component": "API"}
LATENCY = {"alertId": "api-latency", "severity": "warning", "component": "API", "metric": "api_latency"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('severity="warning"', True), ("severity=warning", True), ('severity!="warning"', False),
        ('component=~"A.I|Auth"', True), ('component=~"A"', False), ('component!~"A"', True),
        ('region=""', True), ('region!=""', False), ('region=~".*"', True), ('region=~".+"', False),
        ('component=~"^API$"', True),
    ],
)  # fmt: skip
def test_a_matcher_compares_whole_texts_and_a_missing_label_is_the_empty_text(text: str, holds: bool) -> None:
    assert parse(text).matches(LATENCY) is holds


@pytest.mark.parametrize("text", ["", "severity", "=x", 'a="b', "1a=b", 'a=~"("', "a=" + "x" * 201, 7, None])
def test_what_is_no_matcher_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        parse(text)


@given(st.sampled_from(["=", "!=", "=~", "!~"]), st.text("ab \"\\'ü", max_size=8).map(lambda t: t.replace("\\", "")))
def test_a_matcher_is_read_as_it_is_written(operator: str, value: str) -> None:
    one = matcher("severity", operator, value)
    assert parse(str(one)) == one


def test_an_alerts_own_names_win_over_labels_of_the_same_name() -> None:
    facts = {"severity": "high", "component": None, "labels": {"severity": "fake", "region": "eu", "component": "x"}}
    assert labels_of("a-threshold", "threshold", facts) == {
        "alertId": "a-threshold", "rule": "threshold", "severity": "high", "region": "eu", "component": "x",
    }  # fmt: skip


# Silences


def silence(ends_in: timedelta = HOUR, starts_in: timedelta = -HOUR, *texts: str, name: str = "one") -> Silence:
    matchers = tuple(parse(text) for text in texts or ('component="API"',))
    return Silence(name, matchers, NOW + starts_in, NOW + ends_in, "uid", NOW, "a deployment")


def test_a_silence_holds_from_its_beginning_until_before_its_end() -> None:
    one = silence(HOUR, timedelta())
    times = (NOW - timedelta(seconds=1), NOW, NOW + HOUR - timedelta(seconds=1), NOW + HOUR)
    assert [one.in_force(at) for at in times] == [False, True, True, False]
    assert [one.state(at) for at in times] == ["pending", "active", "active", "expired"]


def test_all_its_matchers_must_hold_and_the_longest_one_is_named() -> None:
    both = silence(3 * HOUR, -HOUR, 'component="API"', 'severity="critical"', name="both")
    short = silence(HOUR, name="short")
    assert silenced_by([both, short], LATENCY, NOW) == short
    assert silenced_by([both, short], OUTAGE, NOW) == both
    assert silenced_by([both, short], OUTAGE, NOW + 4 * HOUR) is None


def test_a_silence_that_would_hold_for_everything_is_refused() -> None:
    assert matcher_faults([parse('severity=~".*"')])
    assert matcher_faults([parse('severity!="critical"')])
    assert matcher_faults([])
    assert matcher_faults([parse('severity!="critical"'), parse('component="API"')]) == []


def test_it_ends_later_than_it_begins_and_within_a_month() -> None:
    assert time_faults(NOW, NOW + HOUR, NOW) == []
    assert [f for f, _ in time_faults(NOW, NOW, NOW)] == ["endsAt"]
    assert [f for f, _ in time_faults(NOW - 2 * HOUR, NOW - HOUR, NOW)] == ["endsAt"]
    assert [f for f, _ in time_faults(NOW, NOW + timedelta(days=31), NOW)] == ["endsAt"]
    assert [f for f, _ in time_faults(NOW + timedelta(days=91), NOW + timedelta(days=92), NOW)] == ["startsAt"]


# Inhibition


def rule(source: str, target: str, *equal: str) -> Inhibition:
    return Inhibition("r", (parse(source),), (parse(target),), equal)


def inhibited_by(
    rules: Sequence[Inhibition], target: Labels, firing: Sequence[Labels]
) -> tuple[Inhibition, str] | None:
    return Inhibitors(rules, firing).of(target)


OUTAGE_MUTES = rule('severity="critical"', 'metric=~".*latency"', "component")


def test_an_outage_holds_the_latency_alert_of_the_same_component_back() -> None:
    assert inhibited_by([OUTAGE_MUTES], LATENCY, [OUTAGE]) == (OUTAGE_MUTES, "api-availability")
    assert inhibited_by([OUTAGE_MUTES], LATENCY, [{**OUTAGE, "component": "Auth"}]) is None
    assert inhibited_by([OUTAGE_MUTES], OUTAGE, [LATENCY]) is None


def test_labels_that_both_do_not_have_are_equal() -> None:
    same = rule('severity="critical"', 'metric=~".*latency"', "region")
    assert inhibited_by([same], LATENCY, [OUTAGE]) is not None
    assert inhibited_by([same], {**LATENCY, "region": ""}, [OUTAGE]) is not None
    assert inhibited_by([same], {**LATENCY, "region": "eu"}, [OUTAGE]) is None


def test_alerts_that_match_both_sides_do_not_hold_each_other_back_nor_themselves() -> None:
    both = rule('component="API"', 'component="API"')
    assert inhibited_by([both], LATENCY, [OUTAGE, LATENCY]) is None
    wide = rule('component="API"', 'metric="api_latency"')
    assert inhibited_by([wide], LATENCY, [LATENCY]) is None
    assert inhibited_by([wide], LATENCY, [OUTAGE]) == (wide, "api-availability")


LABELS = st.fixed_dictionaries(
    {"alertId": st.sampled_from("abcd")},
    optional={"severity": st.sampled_from(["critical", "warning"]), "component": st.sampled_from(["API", "Auth"])},
)
MATCHERS = st.builds(
    Matcher, st.sampled_from(["severity", "component"]), st.sampled_from(["=", "!="]),
    st.sampled_from(["critical", "warning", "API", ""]),
)  # fmt: skip
RULES = st.builds(
    lambda s, t, e: Inhibition("r", (s,), (t,), tuple(e)), MATCHERS, MATCHERS,
    st.lists(st.sampled_from(["component", "severity"]), max_size=2),
)  # fmt: skip


@given(RULES, st.lists(LABELS, max_size=5, unique_by=lambda labels: labels["alertId"]))
def test_while_something_is_held_back_somebody_who_holds_it_is_told(
    one: Inhibition, firing: list[dict[str, str]]
) -> None:
    held = [alert for alert in firing if inhibited_by([one], alert, firing)]
    sources = [alert for alert in firing if one.source[0].matches(alert)]
    assert not held or any(source not in held for source in sources)


def told_plainly(rules: Sequence[Inhibition], target: Labels, firing: Sequence[Labels]) -> set[tuple[str, str]]:
    """By the words of the rule, each against each: (alert that holds it back, name of the rule), of the first alert."""
    found = [
        (source["alertId"], one.name)
        for source in firing
        for one in rules
        if source["alertId"] != target["alertId"]
        and all_match(one.source, source)
        and all_match(one.target, target)
        and all(source.get(name, "") == target.get(name, "") for name in one.equal)
        and not (all_match(one.source, target) and all_match(one.target, source))
    ]
    return {pair for pair in found if pair[0] == min(found)[0]}


@given(
    st.lists(RULES, max_size=3),
    st.lists(LABELS, max_size=4, unique_by=lambda labels: labels["alertId"]),
    LABELS,
)
def test_sorted_firing_alerts_hold_back_what_each_by_itself_would(
    rules: list[Inhibition], firing: list[dict[str, str]], target: dict[str, str]
) -> None:
    named = [replace(one, name=f"r{n}") for n, one in enumerate(rules)]
    found = inhibited_by(named, target, firing)
    plainly = told_plainly(named, target, firing)
    assert (found and (found[1], found[0].name)) == (min(plainly) if plainly else None)

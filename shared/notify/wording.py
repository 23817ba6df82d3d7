"""An alert's facts in plain words, for every channel: what should hold, what was measured, since when. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from shared.domain.durations import SLOT_SECONDS
from shared.notify import cost_wording, own_wording
from shared.notify.figures import exact, rounded, span, utc, with_unit

Facts = Mapping[str, Any]

# a notification's kind, as the state it tells of
STATES = {"trigger": "firing", "repeat": "still firing", "acknowledge": "acknowledged", "resolve": "resolved"}

# what one sample of a metric is, in the plural, and what it should do
_SUBJECTS = {
    "api_latency": ("requests", "finish"),
    "firestore_write_latency": ("database writes", "finish"),
    "firestore_read_latency": ("database reads", "finish"),
}
_SHARES = {
    "error_rate": ("of requests may fail", "failed"),
    "agent_success_rate": ("of agent runs should succeed", "succeeded"),
    "agent_uptime": ("of agent checks should be answered", "were answered"),
    "probe_success": ("of probes should be answered", "were answered"),
}
# what is bad of a metric that has no limit of its own
_BAD = {
    "error_rate": "of requests failed",
    "agent_success_rate": "of agent runs failed",
    "agent_uptime": "of agent checks were not answered",
    "probe_success": "of probes were not answered",
}
_DECIMALS = {"ms": 0, "%": 1, "USD": 2, "GB": 1, "count": 0, "×": 1}
_QUANTILE = re.compile(r"p(\d\d?)")
_SLOT = timedelta(seconds=SLOT_SECONDS)


def name(facts: Facts) -> str:
    """What an alert is called: 'API Availability', and where it is one of burn rates 'API Availability (page)'."""
    rule = facts.get("rule") if facts.get("burn") else None
    return f"{facts['sloName']} ({rule})" if rule else str(facts["sloName"])


def expectation(facts: Facts) -> str:
    """What should hold: '95 % of requests should finish within 400 ms (endpoint /api/pay)'."""
    return _expectation(facts) + _where(facts)


def _where(facts: Facts) -> str:
    labels = facts.get("labels") or {}  # alerts of earlier releases have none
    where = ", ".join(f"{name} {value}" for name, value in sorted(labels.items()))
    return f" ({where})" if where else ""


def _expectation(facts: Facts) -> str:
    metric, limit = _metric(facts), threshold(facts)
    most = "at least" if facts["comparison"] == "below" else "at most"
    if facts.get("burn"):
        burn = facts["burn"]
        budget = f"The error budget of {metric} over {span(burn['budgetSeconds'])} ({burn['objective']} good)"
        return f"{budget} should burn at most {limit} as fast as it may"
    if facts["aggregation"] == "delay":
        return f"What is sent should be counted within {limit}"
    if facts.get("under"):
        subject, verb = _SUBJECTS.get(metric, (f"{metric} measurements", "stay"))
        return f"{most.capitalize()} {limit} of {subject} should {verb} within {facts['under']}"
    quantile = _QUANTILE.fullmatch(str(facts["aggregation"]))
    if quantile and facts["unit"] == "ms" and facts["comparison"] == "above":
        subject, verb = _SUBJECTS.get(metric, (f"{metric} measurements", "stay"))
        return f"{quantile[1]} % of {subject} should {verb} within {limit}"
    if facts["unit"] == "%":
        share = _SHARES.get(metric)
        return f"{most.capitalize()} {limit} {share[0]}" if share else f"{metric} should be {most} {limit}"
    return f"{_measure(facts)} should be {most} {limit}"


def measurement(facts: Facts) -> str:
    """What was measured: 'in the last 5 minutes p95 was 612 ms'."""
    if facts["aggregation"] == "delay":
        late = f"what came in the last {value(facts)} is not all counted, so no SLO can be judged"
        return late if facts["value"] else "all of it is counted"
    when = _when(facts)
    if facts["value"] is None:
        return f"{when} there was no data"
    if facts.get("burn"):
        return f"{when} it burned {value(facts)} as fast{_left(facts['burn']['budgetLeft'])}"
    if facts.get("under"):
        return f"{when} {value(facts)} did"
    share = _SHARES.get(_metric(facts))
    if facts["unit"] == "%" and share:
        return f"{when} {value(facts)} {share[1]}"
    return f"{when} {_measure(facts, short=True)} was {value(facts)}"


def told(facts: Facts, kind: str) -> str:
    """What a notification of this kind says first."""
    what = sentence(facts, resolved=kind == "resolve")
    taken = facts.get("acknowledged")
    note = f" ({taken['note']})" if taken and taken.get("note") else ""
    if kind == "acknowledge":
        return f"Somebody is working on it{note}. {what}"
    if kind == "trigger" and taken:
        return f"Somebody is working on it already{note}. {what}"
    if kind == "repeat" and facts.get("firedAt"):
        return f"Since {utc(facts['firedAt'])} and still so: {what}"
    return what


def budget(facts: Facts) -> str | None:
    """'That burns the error budget of 30 days 6.4 × as fast as it may, and 71 % of it is left; at this pace …'

    None where nothing burns, or where the message says so already.
    """
    known = facts.get("budget")
    rate = known["rate"] if known else None
    if not known or rate is None or rate <= 0:
        return None
    left, until = known["left"], ""
    if left is not None and left > 0:
        until = f"at this pace it is used up in {span(round(left * known['periodSeconds'] / rate))}"
    if facts.get("burn"):  # how fast, and how much is left, stand in the sentence
        return f"{until[0].upper()}{until[1:]}." if until else None
    speed = with_unit(rounded(exact(rate), 1, [Decimal(0), Decimal(1)]), "×")
    period = span(known["periodSeconds"])
    burns = f"That burns the error budget of {period} {speed} as fast as it may{_left(left)}"
    return f"{burns}; {until}." if until else f"{burns}."


def changes(facts: Facts) -> list[str]:
    """What the bad ones have in common, and what came in force shortly before."""
    found = []
    worst, config = facts.get("worst"), facts.get("config")
    if worst:
        where = f"{worst['label']} {worst['value']}"
        of_bad = rounded(Decimal(100 * worst["bad"]) / worst["allBad"], 0, [Decimal(0), Decimal(100)])
        found.append(
            f"{of_bad} % of what is bad has {where}: {worst['bad']:,} of its {worst['total']:,} are bad,"
            f" of all others {worst['allBad'] - worst['bad']:,} of {worst['allTotal'] - worst['total']:,}."
        )
    if config and facts.get("firedAt"):
        before = span(max(0, round((facts["firedAt"] - config["at"]).total_seconds())))
        found.append(f"Version {config['version']} of the SLO configuration came in force {before} before.")
    if facts.get("resolvedByHandAt"):
        found.append(
            f"Its incident was resolved at {utc(facts['resolvedByHandAt'])}, and is open again since this fires."
        )
    return found


def first_step(facts: Facts) -> str | None:
    """What to do first, where a runbook or F0 Ops itself knows it."""
    if facts.get("runbook"):
        return f"Follow the runbook {runbook_name(facts['runbook'])}."
    return own_wording.first_step(facts) or cost_wording.first_step(facts)


def added(told: Mapping[str, Any] | None) -> str | None:
    """'This comes on top of what was told by 2026-03-01 12:05 UTC: api-latency-p95-threshold.'

    `told`: what a message adds to, as its leader's document has it.
    """
    if not told or not told["alerts"]:
        return None
    names, more = ", ".join(told["alerts"]), told.get("more") or 0
    others = f" and {more:,} more" if more else ""
    return f"This comes on top of what was told by {utc(told['at'])}: {names}{others}."


def runbook_name(path: str) -> str:
    """`billing-outage` of `runbooks/billing-outage.md`."""
    return path.removeprefix("runbooks/").removesuffix(".md")


def sentence(facts: Facts, *, resolved: bool) -> str:
    """What broke, or that it holds again."""
    own = own_wording.sentence(facts, resolved=resolved) or cost_wording.sentence(facts, resolved=resolved)
    if own is not None:
        return own
    if not resolved:
        over = ". That was over when it was judged" if facts.get("reason") == "over_already" else ""
        return f"{_burning(facts) or f'{expectation(facts)}; {measurement(facts)}'}{over}."
    if facts.get("reason") == "slo_removed":
        return f"{expectation(facts)}: that is no longer configured, so the alert is closed."
    if facts["value"] is None:
        return f"{expectation(facts)}; {measurement(facts)}, so the alert is closed."
    return f"{expectation(facts)}, and that holds again: {measurement(facts)}."


def _burning(facts: Facts) -> str | None:
    """'In the last hour 8.3 % of requests failed, and at most 0.5 % may. That burns the error budget of 30 days …'

    None of a threshold, or where nothing was counted.
    """
    burn, good, total = facts.get("burn"), facts["good"], facts["total"]
    if not burn or facts["value"] is None or good is None or not total:
        return None
    metric, may = _metric(facts), Decimal(100) - Decimal(str(burn["objective"]).removesuffix(" %"))
    bad = with_unit(rounded(Decimal(100 * (total - good)) / total, 1, [Decimal(0), may, Decimal(100)]), "%")
    subject = _SUBJECTS.get(metric, (f"{metric} measurements", ""))[0]
    what = f"of {subject} did not stay within {facts['under']}" if facts.get("under") else f"of {metric} was bad"
    when = _when(facts)
    bad = f"{when[0].upper()}{when[1:]} {bad} {_BAD.get(metric, what)}{_where(facts)}"
    speed = f"{value(facts)} as fast as it may{_left(burn['budgetLeft'])}"
    return (
        f"{bad}, and at most {with_unit(f'{may:f}', '%')} may."
        f" That burns the error budget of {span(burn['budgetSeconds'])} {speed}"
    )


def value(facts: Facts) -> str:
    """The value with its unit. It never looks like the threshold, nothing or everything when it is not."""
    if facts["value"] is None:
        return "no data"
    unit = str(facts["unit"])
    unlike = [exact(facts["threshold"]), Decimal(0), *([Decimal(100)] if unit == "%" else [])]
    return with_unit(rounded(exact(facts["value"]), _DECIMALS.get(unit, 2), unlike), unit)


def threshold(facts: Facts) -> str:
    """The threshold as it is configured, not rounded."""
    return with_unit(f"{exact(facts['threshold']):,f}", str(facts["unit"]))


def counts(facts: Facts) -> str | None:
    """'470 of 500 were good (94 %)', or None where nothing was counted."""
    good, total = facts["good"], facts["total"]
    if good is None or not total:
        return None
    share = rounded(Decimal(100 * good) / total, 1, [Decimal(0), Decimal(100)])
    return f"{good:,} of {total:,} were good ({share} %)"


def duration(facts: Facts) -> str | None:
    """How long it lasted, once it is over."""
    if facts["resolvedAt"] is None or facts["firedAt"] is None:
        return None
    return span(max(0, round((facts["resolvedAt"] - facts["firedAt"]).total_seconds())))


def _left(share: float | None) -> str:
    """', and 71 % of it is left', or how far it is overspent: by so much, or, from twice as much, how often over."""
    if share is None:
        return ""
    if share <= -1:
        return f", and {rounded(1 - exact(share), 1)} × the whole budget is spent"
    percent = with_unit(rounded(abs(exact(share)) * 100, 0, [Decimal(0), Decimal(100)]), "%")
    return f", and it is overspent by {percent}" if share < 0 else f", and {percent} of it is left"


def _when(facts: Facts) -> str:
    """'in the last 5 minutes', or of a slot that was judged late 'in the 5 minutes until 12:05 UTC'."""
    judged, told_at = facts.get("judgedAt"), facts.get("resolvedAt") or facts.get("firedAt")
    if judged is None or told_at is None or told_at - judged < _SLOT:
        return f"in the last {_window(facts)}"
    return f"in the {_window(facts)} until {judged:%H:%M} UTC"


def _window(facts: Facts) -> str:
    """'5 minutes', and of one unit only 'hour'."""
    text = span(facts["windowSeconds"])
    return text.removeprefix("1 ") if text.count(" ") == 1 else text


def _metric(facts: Facts) -> str:
    """The metric's own name: SLOs may name an aggregation with it, as in api_latency_p95."""
    return re.sub(r"_p\d\d?$", "", str(facts["metric"]))


def _measure(facts: Facts, *, short: bool = False) -> str:
    aggregation, metric = str(facts["aggregation"]), _metric(facts)
    if _QUANTILE.fullmatch(aggregation) and short:
        return aggregation
    words = {"sum": "the sum of", "avg": "the average of", "count": "the number of"}.get(
        aggregation, aggregation + " of"
    )
    text = f"{words} {metric}"
    return text if short else text[0].upper() + text[1:]

"""The success metrics of the first week and the first month: their targets, and what the counts make of them.

A metric without data says so and why, and is never taken for 100 %. Nothing is rounded before it is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from shared.domain.cost import add, plain
from shared.domain.definition import Counts
from shared.domain.price import EXACT
from shared.domain.slo import Compliance

Period = Literal["week", "month"]
Verdict = Literal["met", "missed", "no_data"]
Comparison = Literal["at least", "at most", "below"]

DAYS: Mapping[Period, int] = {"week": 7, "month": 30}
P95_LIMIT = 400  # ms
RESOLVED_WITHIN = timedelta(hours=2)


class Target(NamedTuple):
    """What a metric should come to. `metric` says which measurement it is held against."""

    metric: str
    name: str
    comparison: Comparison
    value: Fraction
    unit: str
    how: str

    def holds(self, value: Fraction) -> bool:
        return {
            "at least": value >= self.value,
            "at most": value <= self.value,
            "below": value < self.value,
        }[self.comparison]


_AVAILABILITY = Target(
    "availability", "Service availability", "at least", Fraction("99.5"), "%",
    "requests without a status of 500 to 599, of all requests, as error_rate counts them; without what is excluded",
)  # fmt: skip
_FALSE = Target(
    "false_positives", "False positive alerts", "at most", Fraction(1), "%",
    "firings that a responder marked false, of all firings that began in the period",
)  # fmt: skip
_VARIANCE = (
    "what each bill and what was counted differ by, of what was billed; of the reconciled bills whose last day is in "
    "the period, each day of a provider once"
)
TARGETS: Mapping[Period, Sequence[Target]] = {
    "week": (
        _AVAILABILITY,
        _FALSE,
        Target(
            "p95", "p95 API latency", "at most", Fraction(P95_LIMIT), "ms",
            "over all requests of the period; judged by the count: at least 95 % of them took at most 400 ms",
        ),
        Target(
            "mttr", "MTTR", "below", Fraction(2), "h",
            "mean time from startedAt to resolvedAt of the incidents that began in the period and are resolved",
        ),
        Target(
            "status_page", "Status page uptime", "at least", Fraction(100), "%",
            "probes of the status page that were answered, of all: samples of probe_success whose probe is status_page",
        ),
        Target(
            "cost_accuracy", "Cost tracking accuracy", "at least", Fraction(99), "%",
            f"100 % less the cost variance: {_VARIANCE}",
        ),
        Target(
            "delivery", "Alert delivery success", "at least", Fraction("99.9"), "%",
            "notifications created in the period: delivered, of delivered and dead; what was withheld or cancelled was "
            "not to arrive, and what is still being sent is not decided: neither counts",
        ),
    ),
    "month": (
        _AVAILABILITY,
        _FALSE._replace(name="False positive rate"),
        Target(
            "p95_hours", "p95 latency at most 400 ms", "at least", Fraction(90), "% of hours",
            "hours in which at least 95 % of the requests took at most 400 ms, of the hours with requests",
        ),
        Target(
            "resolved", "Incidents resolved within 2 h", "at least", Fraction(80), "%",
            "of the incidents that began in the period and are resolved, or have lasted longer than 2 h",
        ),
        Target(
            "slos", "SLO compliance", "at least", Fraction(100), "%",
            "SLOs that are met over their own windows, of all; an SLO without data leaves it open whether all are met",
        ),
        Target(
            "cost_variance", "Cost variance", "below", Fraction(5), "%", _VARIANCE,
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted; amounts of money are texts, in full.

    `value` None: no data, and `reason` says why. `holds`: judged by counts, not by the value.
    """

    value: Fraction | None
    counts: Mapping[str, int | str] = field(default_factory=dict)
    reason: str | None = None
    estimated: bool = False
    holds: bool | None = None


def verdict(target: Target, measured: Measured) -> Verdict:
    if measured.value is None:
        return "no_data"
    holds = target.holds(measured.value) if measured.holds is None else measured.holds
    return "met" if holds else "missed"


def no_source(reason: str) -> Measured:
    return Measured(None, reason=reason)


def _share(part: int, whole: int, counts: Mapping[str, int], nothing: str, *, estimated: bool = False) -> Measured:
    if whole == 0:
        return Measured(None, counts, nothing)
    return Measured(Fraction(100 * part, whole), counts, estimated=estimated)


def availability(counts: Counts) -> Measured:
    told = {"good": counts.good, "total": counts.total}
    return _share(counts.good, counts.total, told, "no requests", estimated=counts.estimated)


def probed(counts: Counts) -> Measured:
    """`counts`: probes that were answered are good ones."""
    told = {"answered": counts.good, "probes": counts.total}
    return _share(counts.good, counts.total, told, "nothing probed the status page", estimated=counts.estimated)


def false_positives(marked: Iterable[bool]) -> Measured:
    """`marked`: of each firing, whether it was marked false."""
    given = list(marked)
    counts = {"markedFalse": sum(given), "firings": len(given)}
    return _share(sum(given), len(given), counts, "no alert fired")


def is_fast(counts: Counts) -> bool:
    """Whether the p95 is at most the limit: count(<= limit) >= 0.95 n."""
    return counts.good * 100 >= 95 * counts.total


def p95(counts: Counts, quantile: float | None) -> Measured:
    """`counts`: requests of at most 400 ms are good ones. `quantile`: the value, for people."""
    told = {"within400ms": counts.good, "requests": counts.total}
    if counts.total == 0 or quantile is None:
        return Measured(None, told, "no requests")
    return Measured(Fraction(quantile), told, estimated=counts.estimated, holds=is_fast(counts))


def p95_hours(hours: Iterable[Counts]) -> Measured:
    given = [counts for counts in hours if counts.total]
    met = sum(map(is_fast, given))
    told = {"hoursMet": met, "hours": len(given)}
    return _share(met, len(given), told, "no requests", estimated=any(c.estimated for c in given))


class Incident(NamedTuple):
    started: datetime
    resolved: datetime | None


def mttr(incidents: Iterable[Incident]) -> Measured:
    """In hours."""
    given = list(incidents)
    took = [one.resolved - one.started for one in given if one.resolved is not None]
    counts = {"incidents": len(given), "resolved": len(took), "open": len(given) - len(took)}
    if not took:
        return Measured(None, counts, "none of them is resolved yet" if given else "no incidents")
    whole = sum(took, timedelta()) // timedelta(microseconds=1)
    return Measured(Fraction(whole, len(took) * 3_600_000_000), counts)


def resolved_in_time(incidents: Iterable[Incident], now: datetime) -> Measured:
    """An incident that is open and younger than 2 h is not decided."""
    given = list(incidents)
    in_time = sum(one.resolved is not None and one.resolved - one.started <= RESOLVED_WITHIN for one in given)
    undecided = sum(one.resolved is None and now - one.started <= RESOLVED_WITHIN for one in given)
    counts = {"withinTwoHours": in_time, "incidents": len(given), "undecided": undecided}
    nothing = "none of them is decided yet" if given else "no incidents"
    return _share(in_time, len(given) - undecided, counts, nothing)


def delivery(states: Mapping[str, int]) -> Measured:
    """`states`: how many notifications are in each state."""
    delivered = states["delivered"]
    return _share(delivered, delivered + states["dead"], states, "no notification was delivered or given up")


def slo_compliance(found: Iterable[Compliance]) -> Measured:
    given = list(found)
    counts = {"met": given.count("met"), "missed": given.count("missed"), "noData": given.count("no_data")}
    if not counts["missed"] and (counts["noData"] or not given):
        return Measured(None, counts, f"{counts['noData']} of {len(given)} SLOs have no data" if given else "no SLOs")
    return Measured(Fraction(100 * counts["met"], len(given)), counts)


def cost_variance(bills: Iterable[tuple[Decimal, Decimal]]) -> Measured:
    """`bills`: of each, what was billed and what was counted, in USD. One that is too high makes up for no other."""
    given = list(bills)
    billed = add(one for one, _ in given)
    differs = add(abs(EXACT.subtract(one, counted)) for one, counted in given)
    counts: dict[str, int | str] = {
        "bills": len(given),
        "billedUsd": plain(billed),
        "countedUsd": plain(add(counted for _, counted in given)),
        "differenceUsd": plain(differs),
    }
    if billed <= 0:
        return Measured(None, counts, "nothing was billed" if given else "no bill was reconciled")
    return Measured(100 * Fraction(differs) / Fraction(billed), counts)


def cost_accuracy(bills: Iterable[tuple[Decimal, Decimal]]) -> Measured:
    """100 % less the variance, and never less than nothing."""
    found = cost_variance(bills)
    return found if found.value is None else replace(found, value=max(Fraction(0), 100 - found.value))

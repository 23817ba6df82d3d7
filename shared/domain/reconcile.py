"""The provider's bill against what was counted: by model and day, what differs and what explains it.

variance = (bill − what its tokens cost by our prices) + (what its tokens cost by our prices − what we counted). The
first is of prices (`repriced`); the second of quantities: what was billed on a neighbouring day (`late`), billed and
never told to us (`missing`), told and not billed (`not_billed`), and counted without a price (`unpriced`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from decimal import Decimal

from shared.domain.bill import Bill, Billed
from shared.domain.cost import add, cost_of, plain
from shared.domain.ledger import Part
from shared.domain.price import EXACT, Rates
from shared.domain.pricing import undated
from shared.domain.usage import Tokens

KINDS = tuple(f.name for f in fields(Tokens) if f.name != "reasoning")
RatesOf = Callable[[str, str], Rates | None]  # of a day and a model


@dataclass(frozen=True, slots=True)
class Cause:
    """`name`: late, missing, not_billed, unpriced, repriced, tiers_or_batches; `usd`: its part of the variance."""

    name: str
    usd: Decimal
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    day: str
    model: str
    counted: Decimal
    billed: Decimal
    causes: tuple[Cause, ...]

    @property
    def variance(self) -> Decimal:
        return EXACT.subtract(self.billed, self.counted)

    @property
    def unexplained(self) -> Decimal:
        return EXACT.subtract(self.variance, add(cause.usd for cause in self.causes))


def reconcile(bill: Bill, counted: Mapping[tuple[str, str], Part], rates_of: RatesOf) -> list[Line]:
    """`counted`: by day and model (its own id). A bill's dated ids are taken for the model's own."""
    billed: Bill = {}
    for (day, model), one in bill.items():
        key = (day, _own(model, counted))
        before = billed.get(key)
        billed[key] = one if before is None else Billed(EXACT.add(before.usd, one.usd), _add(before.tokens, one.tokens))
    billed = {key: _as_counted(one, counted.get(key)) for key, one in billed.items()}
    keys = sorted({*billed, *counted})
    differences = {key: _difference(billed.get(key), counted.get(key)) for key in keys}
    late = _late(differences)
    return [_line(key, billed.get(key), counted.get(key), differences[key], late[key], rates_of(*key)) for key in keys]


def _as_counted(billed: Billed, counted: Part | None) -> Billed:
    """A bill's tokens have audio in them, and do not tell searches: both are taken as they were counted."""
    if billed.tokens is None or counted is None:
        return billed
    heard = min(counted.kinds.input_audio, billed.tokens.input)
    spoken = min(counted.kinds.output_audio, billed.tokens.output)
    tokens = replace(
        billed.tokens,
        input=billed.tokens.input - heard,
        output=billed.tokens.output - spoken,
        input_audio=heard,
        output_audio=spoken,
        web_searches=counted.kinds.web_searches,
        file_searches=counted.kinds.file_searches,
    )
    return Billed(billed.usd, tokens)


def _own(model: str, counted: Mapping[tuple[str, str], Part]) -> str:
    known = {name for _, name in counted}
    return model if model in known else undated(model) or model


def _add(one: Tokens | None, other: Tokens | None) -> Tokens | None:
    return one + other if one is not None and other is not None else None


Counts = dict[str, int]  # by kind; may be negative


def _difference(billed: Billed | None, counted: Part | None) -> Counts | None:
    """Billed tokens without those that were counted; None where the bill tells none."""
    if billed is not None and billed.tokens is None:
        return None
    theirs = billed.tokens if billed and billed.tokens else Tokens()
    ours = counted.kinds if counted else Tokens()
    return {name: getattr(theirs, name) - getattr(ours, name) for name in KINDS}


def _late(differences: Mapping[tuple[str, str], Counts | None]) -> dict[tuple[str, str], dict[str, Counts]]:
    """By day and model, then by the neighbouring day: what is too much here and missing there, or the reverse.

    Day after day, so that nothing is taken for late twice.
    """
    left = {key: dict(counts) for key, counts in differences.items() if counts is not None}
    found: dict[tuple[str, str], dict[str, Counts]] = {key: {} for key in differences}
    for day, model in sorted(left):
        next_day = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        if (next_day, model) not in left:
            continue
        here, there = left[day, model], left[next_day, model]
        moved = _moved(here, there)
        if any(moved.values()):
            found[day, model][next_day] = moved
            found[next_day, model][day] = {name: -count for name, count in moved.items()}
            left[day, model] = {name: here[name] - moved[name] for name in KINDS}
            left[next_day, model] = {name: there[name] + moved[name] for name in KINDS}
    return found


def _moved(mine: Counts, theirs: Counts) -> Counts:
    """Of each kind, what stands here with one sign and there with the other."""
    return {
        name: (1 if mine[name] > 0 else -1) * min(abs(mine[name]), abs(theirs[name]))
        if mine[name] * theirs[name] < 0
        else 0
        for name in mine
    }


def _without(counts: Counts, taken: Mapping[str, Counts]) -> Counts:
    return {name: count - sum(part.get(name, 0) for part in taken.values()) for name, count in counts.items()}


def _line(
    key: tuple[str, str],
    billed: Billed | None,
    counted: Part | None,
    difference: Counts | None,
    late: Mapping[str, Counts],
    rates: Rates | None,
) -> Line:
    day, model = key
    ours, theirs = counted.cost if counted else Decimal(0), billed.usd if billed else Decimal(0)
    causes: list[Cause] = []
    if rates is None or difference is None:
        if theirs != ours:
            causes += _without_tokens(billed, counted, rates)
        return Line(day, model, ours, theirs, tuple(causes))
    for other, moved in late.items():
        amount = _priced(moved, rates)
        where = "billed here and counted on" if sum(moved.values()) > 0 else "counted here and billed on"
        count = abs(sum(moved.values()))
        causes.append(Cause("late", amount, count, f"{count:,} tokens were {where} {other}"))
    rest = _without(difference, late)
    for name, sign, text in (
        ("missing", 1, "tokens were billed that nobody told us of"),
        ("not_billed", -1, "tokens were counted and not billed"),
    ):
        part = {kind: count for kind, count in rest.items() if count * sign > 0}
        if part:
            count = abs(sum(part.values()))
            causes.append(Cause(name, _priced(part, rates), count, f"{count:,} {text}"))
    if counted is not None and counted.unpriced_tokens:
        amount = EXACT.subtract(_cost(counted.kinds, rates), ours)
        causes.append(
            Cause("unpriced", amount, counted.unpriced_tokens, f"{counted.unpriced_tokens:,} tokens had no price yet")
        )
    elif counted is not None and (own := EXACT.subtract(_cost(counted.kinds, rates), ours)):
        text = "tiers or batches: what was counted cost other than the standard price"
        causes.append(Cause("tiers_or_batches", own, counted.tokens, text))
    if billed is not None and billed.tokens is not None:
        expected = _cost(billed.tokens, rates)
        if billed.usd != expected:
            ratio = f": {billed.usd / expected * 100:.2f} % of our price" if expected else ""
            price = EXACT.subtract(billed.usd, expected)
            causes.append(Cause("repriced", price, billed.tokens.total, f"billed at another price{ratio}"))
    return Line(day, model, ours, theirs, tuple(cause for cause in causes if cause.usd or cause.tokens))


def _without_tokens(billed: Billed | None, counted: Part | None, rates: Rates | None) -> Sequence[Cause]:
    """What can be said where the bill tells no tokens, or we have no price."""
    if counted is None and billed is not None:
        return [Cause("missing", billed.usd, 0, "billed, and nobody told us of any call")]
    if billed is None and counted is not None:
        return [Cause("not_billed", -counted.cost, counted.tokens, "counted, and not on the bill")]
    if rates is None and counted is not None and billed is not None:
        return [
            Cause(
                "unpriced",
                EXACT.subtract(billed.usd, counted.cost),
                counted.unpriced_tokens,
                "the model has no price here",
            )
        ]
    return []


def _priced(counts: Counts, rates: Rates) -> Decimal:
    """Counts may be negative: then so is what they cost."""
    positive = Tokens(**{kind: count for kind, count in counts.items() if count > 0})
    negative = Tokens(**{kind: -count for kind, count in counts.items() if count < 0})
    return EXACT.subtract(_cost(positive, rates), _cost(negative, rates))


def _cost(tokens: Tokens, rates: Rates) -> Decimal:
    """At the standard price of a short prompt: a bill does not tell the size of single calls."""
    return cost_of(tokens, rates, 0) or Decimal(0)


def shown(line: Line) -> dict[str, object]:
    """As an answer has it."""
    return {
        "day": line.day,
        "model": line.model,
        "counted_usd": plain(line.counted),
        "billed_usd": plain(line.billed),
        "variance_usd": plain(line.variance),
        "causes": [
            {"cause": c.name, "usd": plain(c.usd), "tokens": c.tokens, "explanation": c.text} for c in line.causes
        ],
        "unexplained_usd": plain(line.unexplained),
    }

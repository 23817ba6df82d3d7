"""A backtest as a table of text: each rule of today's beside those of the proposal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.slo import Slo
from shared.slo.backtest import Backtest, RuleRun, SloRun

LISTED = 5  # firings of a rule, the latest
_HEAD = ("", "rule", "severity", "fired", "longest", "total", "pages a week", "first", "last")
_TO_THE_RIGHT = range(3, 7)


@dataclass(frozen=True, slots=True)
class Compared:
    """One SLO: None where it is new, or taken out."""

    today: SloRun | None
    proposed: SloRun | None

    @property
    def slo(self) -> Slo:
        (first, *_) = (run.slo for run in (self.today, self.proposed) if run)
        return first

    @property
    def is_same(self) -> bool:
        return self.today is not None and self.today == self.proposed

    @property
    def runs(self) -> list[tuple[str, SloRun]]:
        """In whose name, and the run; once where nothing changes."""
        both = (("today", self.today), ("proposed", self.proposed))
        found = [(whose, run) for whose, run in both if run]
        return [("both", found[0][1])] if self.is_same else found


def table(found: Backtest, compared: Sequence[Compared]) -> str:
    rows = [_HEAD, *(_row(whose, rule) for one in compared for whose, run in one.runs for rule in run.rules)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_HEAD))]
    blocks = [_block(one, found, widths) for one in compared]
    sums = [
        f"{name} {_number(sum(run.pages_a_week or 0 for run in runs))}"
        for name, runs in zip(("today", "proposed"), found.runs, strict=True)
        if runs
    ]
    return "\n\n".join("\n".join(block) for block in [*blocks, [f"Pages a week, of all SLOs: {', '.join(sums)}."]])


def _block(one: Compared, found: Backtest, widths: Sequence[int]) -> list[str]:
    lines = [f"{one.slo.name} ({one.slo.id})", _line(_HEAD, widths)]
    for whose, run in one.runs:
        lines += [_line(_row(whose if n == 0 else "", rule), widths) for n, rule in enumerate(run.rules)]
    for whose, run in one.runs:
        of = "" if one.is_same else f" of {whose}"
        lines += [line for rule in run.rules for line in _firings(rule, of)]
    return [*lines, *_notes([run for _, run in one.runs], found)]


def _row(whose: str, run: RuleRun) -> tuple[str, ...]:
    return (
        whose,
        run.rule.name,
        run.rule.severity,
        str(len(run.firings)),
        _length(run.longest),
        _length(run.total),
        "–" if run.pages_a_week is None else _number(run.pages_a_week),
        _moment(run.firings[0].fired) if run.firings else "–",
        _moment(run.firings[-1].fired) if run.firings else "–",
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    aligned = [cell.rjust(w) if n in _TO_THE_RIGHT else cell.ljust(w) for n, (cell, w) in enumerate(cells)]
    return f"  {'  '.join(aligned)}".rstrip()


def _firings(run: RuleRun, of: str) -> list[str]:
    if not run.firings:
        return []
    which = f", the latest {LISTED}" if len(run.firings) > LISTED else ""
    lines = [f"  {run.rule.name}{of} fired{which}:"]
    for firing, length in list(zip(run.firings, run.lengths, strict=True))[-LISTED:]:
        until = f"to {_moment(firing.cleared)}" if firing.cleared else "and still fires"
        lines.append(f"    {_moment(firing.fired)} {until} ({_length(length)})")
    return lines


def _notes(runs: Sequence[SloRun], found: Backtest) -> list[str]:
    rules = [rule for run in runs for rule in run.rules]
    notes = []
    for start in sorted({rule.start for rule in rules if rule.start > found.start}):
        names = ", ".join(dict.fromkeys(rule.rule.name for rule in rules if rule.start == start))
        words = f"replayed from {_moment(start)} on, where its history begins."
        notes.append(f"  {names}: {words if start < found.end else 'there is no history to replay.'}")
    if any(run.counted_anew for run in runs):
        notes.append(
            "  Counted for this: of days more than a week ago all events of an hour are in its first 5 minutes."
        )
    return notes


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _number(pages: float) -> str:
    return f"{pages:.2f}"


def _length(length: timedelta) -> str:
    """The two largest units: `2 d 3 h`, `1 h 5 min`; a dash for none."""
    minutes = length // timedelta(minutes=1)
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")]
    return " ".join(f"{count} {unit}" for count, unit in [p for p in parts if p[0]][:2]) or "–"

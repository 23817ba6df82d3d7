"""Writes the generated part of docs/SLO_DEFINITIONS.md from config/ and the report's targets.

`.venv/bin/python -m scripts.slo_definitions` prints it; `--write` puts it into the page, between its two marks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from scripts.manifest import ROOT
from shared.components import load_components
from shared.domain.burn import BurnWindows, Pair, can_fire, scaled
from shared.domain.component import Components
from shared.domain.metric import Registry
from shared.domain.report import DAYS, TARGETS
from shared.domain.slo import Slo
from shared.slo_loader import load_burn_windows, load_file, load_registry

PAGE = ROOT / "docs" / "SLO_DEFINITIONS.md"
BEGIN = "<!-- made by `.venv/bin/python -m scripts.slo_definitions --write`; do not change by hand -->"
END = "<!-- made until here -->"
_SILENCE = {"keep": "keeps the alert as it is", "ok": "counts as within the limit", "alert": "raises the alert"}
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m scripts.slo_definitions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into docs/SLO_DEFINITIONS.md")
    text = generated(ROOT / "config")
    if parser.parse_args(argv).write:
        PAGE.write_text(put_into(PAGE.read_text(), text))
    else:
        sys.stdout.write(text)
    return 0


def put_into(page: str, text: str) -> str:
    """The page with `text` between its marks."""
    before, found, rest = page.partition(f"{BEGIN}\n")
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError("the page has lost its marks")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def generated(config_dir: Path) -> str:
    registry = load_registry(config_dir)
    slos = load_file(config_dir / "slo.json", registry).slos
    burn, components = load_burn_windows(config_dir), load_components(config_dir)
    parts = ["## SLOs", *(_slo(slo, registry, components, burn) for slo in slos), _windows(burn), *_targets()]
    return "\n\n".join(parts) + "\n"


# --- SLOs


def _slo(slo: Slo, registry: Registry, components: Components, burn: BurnWindows) -> str:
    policy = slo.alert
    labels = "".join(f", `{name}` = `{value}`" for name, value in slo.labels)
    rows = [
        ("id", f"`{slo.id}`"),
        ("counted", f"`{slo.metric}`{labels}: {registry.metrics[slo.metric].description}"),
        ("objective", _promise(slo)),
        ("error budget", _budget(slo)),
        ("alert", _alert(slo)),
        ("severity, channels", f"{policy.severity}; {', '.join(policy.channels)}"),
        ("fewest events, failures", f"{policy.min_events}, {policy.min_failures}"),
        ("waits, holds on", f"{_span(policy.pending_for)}, {_span(policy.keep_firing_for)}"),
        ("silence", _SILENCE[policy.no_data]),
        ("component", components.component_of(slo.metric, slo.labels) or "none"),
        ("burn-rate alerts", "; ".join(_burn(slo, burn)) if policy.burn_rates else "none"),
        ("runbook", f"[{policy.runbook}](../runbooks/{policy.runbook}.md)" if policy.runbook else "none"),
    ]  # fmt: skip
    return "\n".join([f"### {slo.name}", "", "| what | value |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def _promise(slo: Slo) -> str:
    return f"{_over(slo)} at least {_number(slo.good_percent)} % of {_good(slo, slo.target)}"


def _good(slo: Slo, limit: Decimal) -> str:
    if slo.kind == "ratio":
        return "events are good"
    return f"events are at most {slo.under_text or f'{_number(limit)} {slo.unit}'}"


def _budget(slo: Slo) -> str:
    bad = 100 - slo.good_percent
    minutes = Decimal(slo.period) / 60 * bad / 100
    return f"{_number(bad)} % of events, or {_number(minutes)} minutes in which all are bad"


def _alert(slo: Slo) -> str:
    over = f"over {_span(slo.alert.window)}"
    if slo.kind == "quantile":
        return f"{over} fewer than {slo.quantile} % of {_good(slo, slo.threshold)}"
    if slo.more_is_worse:
        return f"{over} more than {_number(slo.threshold)} % of events are bad"
    return f"{over} fewer than {_number(slo.threshold)} % of {_good(slo, slo.target)}"


def _burn(slo: Slo, burn: BurnWindows) -> Iterator[str]:
    for rule in burn.rules:
        pairs = scaled(rule.windows, burn.period, slo.period)
        yield f"`{rule.name}` ({rule.severity or slo.alert.severity}): {', or '.join(_pair(p, slo) for p in pairs)}"


def _pair(pair: Pair, slo: Slo) -> str:
    never = "" if can_fire(pair.factor, slo.good_share) else " (can never fire)"
    return f"over {float(pair.factor):g} × during {_span(pair.long)} and {_span(pair.short)}{never}"


def _windows(burn: BurnWindows) -> str:
    lines = [
        "## Burn windows",
        "",
        f"Of an SLO over {_span(burn.period)}; those of another are scaled with its window.",
        "",
        "| burn-rate alert | budget burns faster than | during the last | and the last | severity |",
        "|---|---|---|---|---|",
    ]
    for rule in burn.rules:
        for pair in rule.windows:
            factor = f"{_number(pair.factor)} ×"
            cells = (f"`{rule.name}`", factor, _span(pair.long), _span(pair.short), rule.severity or "the SLO's")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# --- the report


def _targets() -> Iterator[str]:
    yield "## The report's metrics"
    for period, targets in TARGETS.items():
        lines = [f"### {period.capitalize()} ({DAYS[period]} days)", ""]
        lines += ["| success metric | target | how it is computed |", "|---|---|---|"]
        lines += [f"| {t.name} | {t.comparison} {float(t.value):g} {t.unit} | {t.how} |" for t in targets]
        yield "\n".join(lines)


# --- words


def _over(slo: Slo) -> str:
    if isinstance(slo.window, int):
        return f"over {_span(slo.window)}"
    return f"in each {slo.window.calendar} ({slo.window.timeZone})"


def _span(seconds: int) -> str:
    """The largest unit that fits; a week and more in days."""
    if not seconds:
        return "none"
    size, name = next((size, name) for size, name in _UNITS if seconds % size == 0)
    return f"{seconds // size} {name}{'s' if seconds != size else ''}"


def _number(number: Decimal) -> str:
    return f"{number.normalize():f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

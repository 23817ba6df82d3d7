"""How figures are printed: one line each, with the limit that it is held against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def heading(text: str) -> None:
    print(f"\n{text}\n{'─' * len(text)}", flush=True)


def row(what: str, figure: str, limit: str = "", ok: bool | None = None) -> None:
    mark = " " if ok is None else "✓" if ok else "✗"
    print(f"{mark} {what:<66} {figure:>14}  {limit}", flush=True)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def median_ratio(
    ours: Callable[[], object], baseline: Callable[[], object], rounds: int = 9
) -> tuple[float, float, float]:
    """Median of ours ÷ baseline over pairs taken in turn, and the medians of both in CPU seconds."""
    pairs = []
    for _ in range(rounds):
        base = cpu_seconds(baseline)
        pairs.append((cpu_seconds(ours), base))
    return median([a / b for a, b in pairs]), median([a for a, _ in pairs]), median([b for _, b in pairs])


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))

"""What a run of alertRules came to: the alerts that were told of, by their ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shared.metrics.fold import Folded


@dataclass(slots=True)
class RunResult:
    facts_at: datetime
    folded: Folded = field(default_factory=lambda: Folded(complete=False))
    fired: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    told_again: list[str] = field(default_factory=list)
    overtaken: bool = False

"""Inhibition: while one alert fires, others that only follow from it are not told. Semantics are Alertmanager's.

An alert that matches both sides of a rule is not held back by one that does so too, and never by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.domain.matcher import Labels, Matcher, all_match


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert of `source` fires, those of `target` with the same values of `equal` are held back.

    A label that both do not have is the same: both read as the empty text.
    """

    name: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    def concerns(self, labels: Labels) -> bool:
        return all_match(self.target, labels)

    def holds(self, source: Labels, target: Labels) -> bool:
        """Whether `source`, which fires, holds `target` back."""
        if not (all_match(self.source, source) and self.concerns(target)):
            return False
        if any(source.get(name, "") != target.get(name, "") for name in self.equal):
            return False
        both = all_match(self.source, target) and all_match(self.target, source)
        return not both


def inhibited_by(
    rules: Sequence[Inhibition], target: Labels, firing: Iterable[Labels]
) -> tuple[Inhibition, str] | None:
    """The rule, and the id of the firing alert that holds this one back; None if nothing does."""
    concerned = [rule for rule in rules if rule.concerns(target)]
    if not concerned:
        return None
    for source in sorted(firing, key=lambda labels: labels.get("alertId", "")):
        for rule in concerned:
            if source.get("alertId") != target.get("alertId") and rule.holds(source, target):
                return rule, source.get("alertId", "")
    return None

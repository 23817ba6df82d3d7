"""Inhibition: while one alert fires, others that only follow from it are not told. Semantics are Alertmanager's.

An alert that matches both sides of a rule is not held back by one that does so too, and never by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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

    def values(self, labels: Labels) -> tuple[str, ...]:
        """Of the labels that source and target must have in common."""
        return tuple(labels.get(name, "") for name in self.equal)


class Inhibitors:
    """What may hold alerts back now. Sorted once, since in a storm each of thousands is asked for, and fires itself."""

    def __init__(self, rules: Sequence[Inhibition], firing: Iterable[Labels]) -> None:
        self._rules = rules
        self._sources: list[dict[tuple[str, ...], _Sources]] = [{} for _ in rules]
        for labels in sorted(firing, key=lambda labels: labels.get("alertId", "")):
            for rule, sources in zip(rules, self._sources, strict=True):
                if all_match(rule.source, labels):
                    of = sources.setdefault(rule.values(labels), _Sources([], []))
                    of.every.append(labels)
                    if not rule.concerns(labels):
                        of.one_sided.append(labels)

    def of(self, target: Labels) -> tuple[Inhibition, str] | None:
        """The rule, and the id of the first firing alert that holds this one back; None if nothing does."""
        found: tuple[Inhibition, str] | None = None
        for rule, sources in zip(self._rules, self._sources, strict=True):
            own = sources.get(rule.values(target))
            if own is None or not rule.concerns(target):
                continue
            able = own.one_sided if all_match(rule.source, target) else own.every
            others = (name for source in able if (name := source.get("alertId", "")) != target.get("alertId", ""))
            first = next(others, None)
            if first is not None and (found is None or first < found[1]):
                found = rule, first
        return found


class _Sources(NamedTuple):
    """Of one rule, with the same values of `equal`, by id. `one_sided`: those that do not match the target as well."""

    every: list[Labels]
    one_sided: list[Labels]

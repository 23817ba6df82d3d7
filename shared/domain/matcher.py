"""Matchers: `severity="critical"`, `component=~"API|Auth"`. Semantics are Alertmanager's.

`=` and `!=` compare whole texts; `=~` and `!~` match the whole text with a pattern (`pattern.py`). A label that an
alert does not have reads as the empty text. Several matchers must all hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from shared.domain.pattern import PatternError, compiled

OWN = ("alertId", "sloId", "rule", "severity", "component", "metric")  # names that every alert has
OPERATORS = ("=", "!=", "=~", "!~")
LONGEST_NAME = 64
LONGEST_VALUE = 200
_TEXT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.:]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:]*")

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Matcher:
    name: str
    operator: str
    value: str

    def matches(self, labels: Labels) -> bool:
        found = labels.get(self.name, "")
        holds = found == self.value if self.operator in ("=", "!=") else compiled(self.value).matches(found)
        return holds is (self.operator in ("=", "=~"))

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{json.dumps(self.value, ensure_ascii=False)}"


def matcher(name: Any, operator: Any, value: Any) -> Matcher:
    """Raises ValueError with a sentence."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise ValueError(f"a name is one of {', '.join(OWN)}, or that of a label")
    if operator not in OPERATORS:
        raise ValueError(f"an operator is one of {' '.join(OPERATORS)}")
    if not isinstance(value, str) or len(value) > LONGEST_VALUE:
        raise ValueError(f"a value is a text of at most {LONGEST_VALUE} characters")
    if operator in ("=~", "!~"):
        try:
            compiled(value)
        except PatternError as error:
            raise ValueError(str(error)) from None
    return Matcher(name, operator, value)


def parse(text: Any) -> Matcher:
    """From `name="value"`; the marks may be left out. Raises ValueError with a sentence."""
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('a matcher is a text such as severity="critical" or component=~"API|Auth"')
    name, operator, value = match.groups()
    if value.startswith('"'):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"the value of {name} begins with a quotation mark and is no quoted text") from None
    return matcher(name, operator, value)


def warnings_of(matchers: Iterable[Matcher], labels: Iterable[str]) -> list[str]:
    """Matchers of a label that is neither among `labels` nor one of every alert: a slip that silences nothing, or all.

    A label that no alert has yet may come with the next one, so this refuses nothing.
    """
    known = list(dict.fromkeys((*OWN, *sorted(labels))))
    found = []
    for one in matchers:
        if one.name not in known:
            near = get_close_matches(one.name, known, n=1, cutoff=0.6)
            meant = f"did you mean {near[0]}?" if near else f"they have {', '.join(known)}"
            found.append(f"{one}: no alert has a label {one.name}; {meant}")
    return found


def all_match(matchers: Iterable[Matcher], labels: Labels) -> bool:
    return all(one.matches(labels) for one in matchers)


def labels_of(alert_id: str, rule: str, facts: Mapping[str, Any]) -> dict[str, str]:
    """What matchers see of an alert: the labels of its SLO, and above them what every alert has."""
    own = {name: facts.get(name) for name in OWN} | {"alertId": alert_id, "rule": rule}
    return {str(k): str(v) for k, v in (facts.get("labels") or {}).items()} | {
        name: value for name, value in own.items() if isinstance(value, str)
    }

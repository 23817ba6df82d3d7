"""What would change, SLO by SLO and field by field, and what each change means."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.domain.alert_policy import AlertPolicy
from shared.domain.slo import Slo, SloConfig
from shared.domain.slo_file import SloSpec

Paint = Callable[[str, str], str]  # text and sign: +, -, ~

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))
_WIDTH, _INDENT = 100, " " * 4

NEW = "New: it is counted from the history first (backfilled), and may alert only once that is done."
NEW_COUNTED = "New, on counts that are made already: it may alert from the next run of alertRules on."
RECOUNTED = "What is counted changes: it is counted from the history first (backfilled), and may not alert until then."
JUDGED = "The counts stay: the next run of alertRules judges them anew."
WORDS = "What is counted and judged stays: an alert goes by this from what it tells next."
REMOVED = "Taken out: an alert of it that is open ends (slo_removed), and its counts are not made any more."
RENAMED = "Its id changes from {old}: an alert of {old} that is open ends (slo_removed)."


@dataclass(frozen=True, slots=True)
class Difference:
    """`text` has no end of line at its end; it is empty where nothing changes."""

    text: str
    changes: bool


def plain(text: str, sign: str) -> str:
    return text


def difference(old: SloConfig | None, names: Mapping[str, str], new: SloConfig, paint: Paint = plain) -> Difference:
    """`old` is None where what is in force is known by the `names` of its SLOs only: then all of `new` is shown."""
    before = {slo.id: slo for slo in old.slos} if old else {}
    after = {slo.id: slo for slo in new.slos}
    counted = {d.hash for d in old.definitions} if old else set()
    removed = [slo_id for slo_id in names if slo_id not in after]
    blocks: list[list[str]] = []
    added = changed = 0
    for slo in new.slos:
        if slo.id not in before:
            sign = "+" if old or slo.id not in names else "="
            added += sign == "+"
            blocks.append(_shown(slo, sign, counted if old else None, _former(slo, names, removed), paint))
        elif lines := _changes(before[slo.id], slo, counted, paint):
            changed += 1
            blocks.append(lines)
    blocks += [[paint(f"- {names[i]} ({i})", "-"), *_wrapped(REMOVED)] for i in removed]
    order = [i for i in after if i in before]
    if order != [i for i in before if i in after]:
        blocks.append([paint("~ The order", "~"), *_wrapped(", ".join(order))])
    if not blocks:
        return Difference("", not old)
    if old:
        same = len(after) - added - changed
        counts = ((added, "added"), (changed, "changed"), (len(removed), "removed"), (same, "as before"))
        blocks.append([", ".join(f"{count} {what}" for count, what in counts if count) + "."])
    return Difference("\n\n".join("\n".join(block) for block in blocks), True)


def _former(slo: Slo, names: Mapping[str, str], removed: list[str]) -> str | None:
    """The id that an SLO of this name had."""
    return next((i for i in removed if names[i] == slo.name), None)


def _shown(slo: Slo, sign: str, counted: set[str] | None, former: str | None, paint: Paint) -> list[str]:
    said = said_of(slo)
    width = max(map(len, said))
    lines = [f"{_INDENT}{name:<{width}}  {value}" for name, value in said.items() if name != "name"]
    if sign == "=":
        return [f"= {slo.name} ({slo.id})", *lines]
    missing = counted is None or {slo.objective.hash, slo.trigger.hash} - counted
    meaning = [NEW if missing else NEW_COUNTED] + ([RENAMED.format(old=former)] if former else [])
    return [paint(f"+ {slo.name} ({slo.id})", "+"), *lines, *(line for m in meaning for line in _wrapped(m))]


def _changes(old: Slo, new: Slo, counted: set[str], paint: Paint) -> list[str]:
    was, is_ = said_of(old), said_of(new)
    differ = [name for name in {**was, **is_} if was.get(name) != is_.get(name)]
    if not differ:
        return []
    width = max(map(len, differ))
    lines = [f"{_INDENT}{name:<{width}}  {was.get(name, 'none')} → {is_.get(name, 'none')}" for name in differ]
    if {new.objective.hash, new.trigger.hash} - counted:
        meaning = RECOUNTED
    elif set(differ) <= {"name", "alert.severity", "alert.channels"}:
        meaning = WORDS
    else:
        meaning = JUDGED
    return [paint(f"~ {new.name} ({new.id})", "~"), *lines, *_wrapped(meaning)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False)


def said_of(slo: Slo) -> dict[str, str]:
    """Each field of an SLO in plain words. Two SLOs that mean the same say the same."""
    unit = slo.unit if slo.quantile is not None else "%"
    said = {name: _word(getattr(slo, name)) for name in SloSpec.model_fields if name not in ("id", "alert")}
    said["metric"] = slo.metric if slo.quantile is None else f"{slo.metric}_p{slo.quantile}"
    target, threshold = _word(slo.target), _word(slo.threshold)
    if slo.quantile is not None:
        said["target"], said["threshold"] = f"at most {target} {unit}", f"over {threshold} {unit}"
    else:
        said["target"] = f"{target} % good"
        said["threshold"] = f"over {threshold} % bad" if slo.more_is_worse else f"under {threshold} % good"
    if slo.under_text is not None:
        said["under"] += f" {slo.under_text.rpartition(' ')[2]}"
    said["window"] = _window(slo.window)
    said |= {
        f"alert.{field.alias or name}": _policy(slo.alert, name) for name, field in AlertPolicy.model_fields.items()
    }
    return {name: value for name, value in said.items() if value}


def _policy(policy: AlertPolicy, name: str) -> str:
    """One field of an alert. Empty for what is as it is unless said otherwise, but for its window and least events."""
    value = getattr(policy, name)
    if name == "window":
        return _window(value)
    if name == "channels":
        return ", ".join(sorted(value))
    if name != "min_events" and value == AlertPolicy.model_fields[name].default:
        return ""
    if name in ("pending_for", "keep_firing_for"):
        return _window(value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else _word(value)


def _window(window: Any) -> str:
    if not isinstance(window, int):
        return f"the calendar {window.calendar} ({window.timeZone})"
    size, unit = next((size, unit) for size, unit in _UNITS if window % size == 0)
    count = window // size
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _word(value: Any) -> str:
    """Empty for what is not said at all."""
    if value is None or value == ():
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
    if isinstance(value, tuple):
        return ", ".join(": ".join(map(str, i)) if isinstance(i, tuple) else str(i) for i in value)
    return str(value)

"""The audit log of an incident or a maintenance in a terminal: who changed what, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scripts.ops.asking import cell_time, shown_time
from scripts.ops.client import Client, printable
from scripts.ops.screen import Screen, table

# What is told of a change, in this order; the rest is the server's own and stands in `--json`.
NAMES = {
    "title": "title", "impact": "impact", "status": "status", "components": "components", "publicVisible": "seen",
    "scheduledFor": "planned from", "scheduledUntil": "planned until", "excludeFromSlos": "excluded from SLOs",
    "startedAt": "started", "identifiedAt": "identified", "mitigatedAt": "mitigated", "resolvedAt": "resolved",
    "completedAt": "completed", "alertIds": "alerts", "runbook": "runbook", "rootCause": "cause", "message": "message",
    "acknowledged": "in hand", "actionItems": "to do", "postmortemAt": "post-mortem written", "updates": "said",
}  # fmt: skip
_TIMES = ("scheduledFor", "scheduledUntil")

Answer = Mapping[str, Any]


def entries(client: Client, path: str) -> list[Answer]:
    """Every change of the document at `path`, the first first."""
    found: list[Answer] = []
    more = [("limit", "200")]
    while True:
        page = client.json(f"{path}/audit", more)
        found += page["audit"]
        if not page["cursor"]:
            return found
        more = [("limit", "200"), ("cursor", page["cursor"])]


def told(audit: Iterable[Answer], screen: Screen) -> list[str]:
    rows = [
        [
            cell_time(entry["at"]), entry["action"].replace("_", " "), printable(entry["by"]),
            "; ".join(changes(entry, NAMES)),
        ]
        for entry in audit
    ]  # fmt: skip
    return table(screen, ["time (UTC)", "what", "who", "changed"], rows, (), wrapped=3, kept=(0, 1))


def changes(entry: Answer, names: Iterable[str]) -> list[str]:
    """`impact: low → high` for each of these fields that changed; of what is new `impact: low`."""
    before, after = entry["before"], entry["after"]
    said = []
    for name in names:
        if name not in after:
            continue
        if name in ("updates", "actionItems"):
            known = before.get(name) or ()
            new = [_value(name, one) for one in after[name] or () if one not in known]
            said += [f"{NAMES[name]}: {text}" for text in new]
        elif name in before:
            said.append(f"{NAMES[name]}: {_value(name, before[name])} → {_value(name, after[name])}")
        elif after[name] not in (None, [], False) or name == "publicVisible":
            said.append(f"{NAMES[name]}: {_value(name, after[name])}")
    return said


def item_told(item: Answer) -> str:
    """`1: Watch the age of secrets (ada, due 2031-01-31, open)`."""
    due = f", due {item['dueAt'][:10]}" if item["dueAt"] else ""
    return f"{item['id']}: {item['title']} ({item['owner'] or 'nobody'}{due}, {item['state'].replace('_', ' ')})"


def line(text: str) -> str:
    return printable(" ".join(text.split()))


def _value(name: str, value: Any) -> str:
    if value is None or value == []:
        return "nobody" if name == "acknowledged" else "none"
    if name == "publicVisible":
        return "public" if value else "internal"
    if name.endswith("At") or name in _TIMES:
        return shown_time(value)
    if name == "acknowledged":
        return line(value["by"])
    if name == "actionItems":
        return line(item_told(value))
    if name == "updates":
        return line(value["message"])
    if isinstance(value, bool):
        return "yes" if value else "no"
    return line(", ".join(value) if isinstance(value, list) else str(value).replace("_", " "))

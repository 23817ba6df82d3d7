"""Incidents as a terminal shows them: a list, one with its timeline, and how their post-mortems stand."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scripts.ops.asking import cell_time, shown_span, shown_time
from scripts.ops.audit import changes, item_told, line
from scripts.ops.client import printable
from scripts.ops.screen import Screen, table

# Of an incident: whoever reads its timeline sees that they were changed. The second are what `edit` may change; times
# and the rest follow from moves, too, which have an entry of their own.
_GIST = ("title", "impact", "components")
_EDITED = (
    *_GIST, "publicVisible", "startedAt", "identifiedAt", "mitigatedAt", "resolvedAt", "alertIds", "runbook",
    "rootCause",
)  # fmt: skip
_COLOURS = {"critical": 5, "high": 5, "medium": 1, "low": 3}

Answer = Mapping[str, Any]


def listed(answer: Answer, screen: Screen) -> list[str]:
    """The latest first."""
    if not answer["incidents"]:
        return ["There are none."]
    rows = [
        [
            printable(one["id"]), one["impact"], one["status"], "public" if one["publicVisible"] else "internal",
            cell_time(one["startedAt"]), shown_span(one["times"]["toResolve"]), printable(one["title"]),
        ]
        for one in answer["incidents"]
    ]  # fmt: skip
    heads = ["id", "impact", "status", "seen", "started (UTC)", "took", "title"]
    head, *lines = table(screen, heads, rows, (5,), wrapped=6, kept=(0, 4), spare=(5, 3, 4))
    public = [
        f"{printable(one['id'])}: {printable(one['publicUrl'])}" for one in answer["incidents"] if one["publicUrl"]
    ]
    seen = ["", screen.dim("On the status page:"), *public] if public else []
    more = ["", screen.dim("There are more: ask for a shorter time.")] if answer["cursor"] else []
    return [head, *lines, *seen, *more]


def postmortems(answer: Answer, screen: Screen) -> list[str]:
    """How the post-mortems of incidents stand, in their order."""
    if not answer["incidents"]:
        return ["There are none."]
    rows = [
        [
            printable(one["id"]), one["impact"], one["postmortemState"] or "–",
            *(cell_time(one[name]) for name in ("postmortemDueAt", "postmortemAt")), printable(one["title"]),
        ]
        for one in answer["incidents"]
    ]  # fmt: skip
    heads = ["id", "impact", "post-mortem", "due (UTC)", "written (UTC)", "title"]
    head, *lines = table(screen, heads, rows, (), wrapped=5, kept=(0, 2, 3, 4), spare=(4, 1))
    more = ["", screen.dim("There are more: ask for a shorter time.")] if answer["cursor"] else []
    return [head, *lines, *more]


def shown(one: Answer, audit: Sequence[Answer], screen: Screen) -> list[str]:
    """What it is, and its timeline; changes of what it is stand in that too, from its audit log."""
    seen = "on the status page" if one["publicVisible"] else "for the team only"
    times = one["times"]
    facts = [
        f"{one['impact']} impact, {one['status']}, {seen}. {', '.join(one['components']) or 'No component'}.",
        f"Started {shown_time(one['startedAt'])}; acknowledged after {shown_span(times['toAcknowledge'])}; "
        f"{'resolved after ' + shown_span(times['toResolve']) if one['resolvedAt'] else 'not resolved'}.",
    ]
    held = one["acknowledged"]
    facts += [f"in the hands of {held['by']} since {shown_time(held['at'])}"] if held else []
    for name, text in (
        ("alerts", ", ".join(f"{a} (firing)" if a in one["firingAlertIds"] else a for a in one["alertIds"])),
        ("runbook", one["runbook"]),
        ("cause", one["rootCause"]),
    ):
        facts += [f"{name}: {text}"] if text else []
    written = {"due": f"due {shown_time(one['postmortemDueAt'])}", "written": "written"}
    written["overdue"] = f"overdue since {shown_time(one['postmortemDueAt'])}"
    facts += [f"post-mortem: {written[one['postmortemState']]}"] if one["postmortemState"] else []
    for item in one["actionItems"]:
        facts.append(f"to do {item_told(item)}")
    timed = [(update["timestamp"], _numbered(update)) for update in one["updates"]]
    timed += [(entry["at"], _change(entry)) for entry in audit]
    timed.sort(key=lambda entry: datetime.fromisoformat(entry[0]))
    rows = [row for _, entry in timed for row in entry]
    earlier = [screen.dim(f"{one['earlierUpdates']} earlier entries are left out.")] if one["earlierUpdates"] else []
    return [
        screen.paint(printable(one["title"]), _COLOURS[one["impact"]]),
        *(line for fact in facts for line in textwrap.wrap(printable(fact), screen.width)),
        *([printable(one["publicUrl"])] if one["publicUrl"] else []),
        "",
        *earlier,
        *table(screen, ["time (UTC)", "status", "for", "who", "#", "message"], rows, (4,), wrapped=5, kept=(0, 1, 2)),
        "",
        screen.dim(f"next: {', '.join(one['allowed'])}"),
        screen.dim(f"every change of it: ./ops incident audit {printable(one['id'])}"),
    ]


def entry_rows(update: Answer) -> list[list[str]]:
    """What the team reads and, where that is something else, below it what the public does."""
    said, outside = update["message"], update.get("publicMessage")
    seen = "public" if update["public"] and not outside else "team"
    status = update["status"].replace("_", " ")
    row = [cell_time(update["timestamp"]), status, seen, printable(update["author"]), line(said)]
    return [row, ["", "", "public", "", line(outside)]] if update["public"] and outside else [row]


def _numbered(update: Answer) -> list[list[str]]:
    """With the number by which a later entry can correct it."""
    first, *public = entry_rows(update)
    corrects = f"corrects {update['corrects']}: " if "corrects" in update else ""
    row = [*first[:4], str(update["n"]), f"{corrects}{first[4]}"]
    return [row, *([*more[:4], "", more[4]] for more in public)]


def _change(entry: Answer) -> list[list[str]]:
    """`impact: low → high`; nothing of what changed nothing that it is."""
    names = _EDITED if entry["action"] == "edited" else _GIST
    said = changes(entry, names) if entry["before"] else []
    row = [cell_time(entry["at"]), "changed", "team", printable(entry["by"]), "", "; ".join(said)]
    return [row] if said else []

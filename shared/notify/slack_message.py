"""A notification as a Slack message in Block Kit. Pure. Everything foreign is escaped and cut to Slack's limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.notify import wording

HEADER_CHARS, SECTION_CHARS, FIELD_CHARS, CONTEXT_CHARS = 150, 3000, 2000, 2000
_SYMBOLS = {"critical": "🔴", "high": "🟠", "warning": "🟡"}
_RESOLVED = "🟢"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_NAME_CHARS, _WORD_CHARS = 120, 200

Block = dict[str, Any]


def message(notification: Mapping[str, Any], status_url: str) -> dict[str, Any]:
    """The webhook's JSON body for a notification's document: `blocks`, and `text` for where blocks cannot be shown."""
    facts = notification["facts"]
    resolved = notification["kind"] == "resolve"
    symbol = _RESOLVED if resolved else _SYMBOLS.get(facts["severity"], "⚪")
    title = f"{symbol} {escape(facts['sloName'], _NAME_CHARS)}: {'resolved' if resolved else 'firing'}"
    what = wording.sentence(facts, resolved=resolved)
    return {
        "text": f"{title}. {escape(what, SECTION_CHARS)}",
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": cut(title, HEADER_CHARS), "emoji": True}},
            {"type": "section", "text": _markdown(escape(what, SECTION_CHARS))},
            {"type": "section", "fields": _fields(facts)},
            {"type": "section", "text": _markdown(_links(status_url))},
            {"type": "context", "elements": [_markdown(_footer(notification))]},
        ],
    }


def escape(text: Any, limit: int) -> str:
    """On one line, Slack's three control characters as entities, at most `limit` characters, no entity broken."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    escaped = "".join(_ESCAPES.get(c, c) for c in plain)
    if len(escaped) <= limit:
        return escaped
    kept: list[str] = []
    size = 1  # the ellipsis
    for character in plain:
        piece = _ESCAPES.get(character, character)
        if size + len(piece) > limit:
            break
        kept.append(piece)
        size += len(piece)
    return "".join(kept) + "…"


def cut(text: str, limit: int) -> str:
    """Text that is escaped already, cut before an entity rather than in it."""
    if len(text) <= limit:
        return text
    short = text[: limit - 1]
    start = short.rfind("&")
    return (short[:start] if start >= 0 and ";" not in short[start:] else short) + "…"


def slack_time(moment: datetime) -> str:
    """Shown in the reader's own time zone, and in UTC where that is not possible."""
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} at {{time}}|{wording.utc(moment)}>"


def _fields(facts: Mapping[str, Any]) -> list[Block]:
    side = "at least" if facts["comparison"] == "below" else "at most"
    rows: list[tuple[str, str | None]] = [
        ("Measured", escape(wording.value(facts), _WORD_CHARS)),
        ("Should be", escape(f"{side} {wording.threshold(facts)}", _WORD_CHARS)),
        ("Counted", wording.counts(facts)),
        ("Component", escape(facts["component"], _WORD_CHARS)),
        ("Severity", escape(facts["severity"], _WORD_CHARS)),
        ("Since", slack_time(facts["firedAt"]) if facts["firedAt"] else None),
        ("Resolved", slack_time(facts["resolvedAt"]) if facts["resolvedAt"] else None),
        ("Lasted", wording.duration(facts)),
    ]
    return [_markdown(f"*{name}*\n{text}", FIELD_CHARS) for name, text in rows if text]


def _links(status_url: str) -> str:
    url = status_url.replace("|", "%7C").replace(">", "%3E").replace("<", "%3C").replace("&", "&amp;")
    return f"<{url}|Status page>"


def _footer(notification: Mapping[str, Any]) -> str:
    facts = notification["facts"]
    parts = [f"Notification `{escape(notification['notificationId'], _WORD_CHARS)}`"]
    if facts.get("incidentId"):
        parts.append(f"incident `{escape(facts['incidentId'], _WORD_CHARS)}`")
    if facts.get("reason"):
        parts.append(escape(str(facts["reason"]).replace("_", " "), _WORD_CHARS))
    return cut(" · ".join(parts), CONTEXT_CHARS)


def _markdown(text: str, limit: int = SECTION_CHARS) -> Block:
    return {"type": "mrkdwn", "text": cut(text, limit)}

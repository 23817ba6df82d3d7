"""A notification as a Slack message in Block Kit. Pure. Everything foreign is escaped and cut to Slack's limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.notify import wording

HEADER_CHARS, SECTION_CHARS, FIELD_CHARS, CONTEXT_CHARS = 150, 3000, 2000, 2000
_SYMBOLS = {"critical": "🔴", "high": "🟠", "warning": "🟡"}
_RESOLVED = "🟢"
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_NAME_CHARS, _WORD_CHARS, _LINE_CHARS = 120, 200, 800
SHOWN = 10  # notifications of one message that are told one by one
_COUNTED = 6  # words that are counted by name

Block = dict[str, Any]


def message(notifications: Sequence[Mapping[str, Any]], status_url: str) -> dict[str, Any]:
    """The JSON body that tells these notifications' documents: `blocks`, and `text` where blocks cannot be shown."""
    blocks, text = _one(notifications[0]) if len(notifications) == 1 else _many(notifications)
    return {
        "text": text,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            *blocks,
            {"type": "section", "text": _markdown(_links(status_url))},
            {"type": "context", "elements": [_markdown(_footer(notifications))]},
        ],
    }


def _one(notification: Mapping[str, Any]) -> tuple[list[Block], str]:
    facts, kind = notification["facts"], notification["kind"]
    title = f"{_symbol(notification)} {escape(facts['sloName'], _NAME_CHARS)}: {wording.STATES[kind]}"
    what = escape(wording.told(facts, kind), SECTION_CHARS)
    blocks: list[Block] = [
        _header(title),
        {"type": "section", "text": _markdown(what)},
        {"type": "section", "fields": _fields(facts)},
    ]
    return blocks, f"{title}. {what}"


def _many(notifications: Sequence[Mapping[str, Any]]) -> tuple[list[Block], str]:
    """What broke together: each in a line of its own, or, of more than `SHOWN`, counts and the first by name."""
    states = Counter(wording.STATES[notification["kind"]] for notification in notifications)
    worst = next((s for s in map(_symbol, _by_severity(notifications)) if s != _RESOLVED), _RESOLVED)
    title = f"{worst} {len(notifications):,} alerts: {_counted(states)}"
    shown = notifications if len(notifications) <= SHOWN else _by_severity(notifications)[:SHOWN]
    blocks: list[Block] = [_header(title)]
    if len(notifications) > SHOWN:
        severities = Counter(notification["facts"]["severity"] for notification in notifications)
        components = Counter(notification["facts"]["component"] for notification in notifications)
        lines = f"*By severity:* {_counted(severities)}\n*By component:* {_counted(components)}"
        blocks.append({"type": "section", "text": _markdown(lines)})
    blocks += [{"type": "section", "text": _markdown(_line(notification))} for notification in shown]
    if len(shown) < len(notifications):
        more = f"and {len(notifications) - len(shown):,} more"
        blocks.append({"type": "section", "text": _markdown(more)})
    return blocks, title


def _line(notification: Mapping[str, Any]) -> str:
    facts, kind = notification["facts"], notification["kind"]
    name = escape(facts["sloName"], _NAME_CHARS)
    return f"{_symbol(notification)} *{name}*: {wording.STATES[kind]}\n{escape(wording.told(facts, kind), _LINE_CHARS)}"


def _counted(counts: Counter[str]) -> str:
    """`3 critical, 1 warning`, the most frequent ones first."""
    words = [f"{count:,} {escape(word, _WORD_CHARS)}" for word, count in counts.most_common(_COUNTED)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(_COUNTED))
    return ", ".join([*words, f"{rest:,} other"] if rest else words)


def _by_severity(notifications: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    order = list(_SYMBOLS)

    def rank(notification: Mapping[str, Any]) -> tuple[bool, int]:
        severity = notification["facts"]["severity"]
        return notification["kind"] == "resolve", order.index(severity) if severity in order else len(order)

    return sorted(notifications, key=rank)


def _symbol(notification: Mapping[str, Any]) -> str:
    if notification["kind"] == "resolve":
        return _RESOLVED
    return _SYMBOLS.get(notification["facts"]["severity"], "⚪")


def _header(title: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": cut(title, HEADER_CHARS), "emoji": True}}


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


def _footer(notifications: Sequence[Mapping[str, Any]]) -> str:
    first, *others = notifications
    facts = first["facts"]
    parts = [f"Notification `{escape(first['notificationId'], _WORD_CHARS)}`"]
    if others:
        parts[0] += f" and {len(others):,} more"
    if facts.get("incidentId"):
        parts.append(f"incident `{escape(facts['incidentId'], _WORD_CHARS)}`")
    if facts.get("reason"):
        parts.append(escape(str(facts["reason"]).replace("_", " "), _WORD_CHARS))
    return cut(" · ".join(parts if not others else parts[:1]), CONTEXT_CHARS)


def _markdown(text: str, limit: int = SECTION_CHARS) -> Block:
    return {"type": "mrkdwn", "text": cut(text, limit)}

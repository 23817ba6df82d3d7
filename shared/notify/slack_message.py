"""Notifications as a Slack message in Block Kit. Pure. Everything foreign is escaped and cut to Slack's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.first_message import Shown
from shared.notify.brief import Brief, Row, Summary, brief, summary
from shared.notify.figures import utc
from shared.notify.links import Link, Links

HEADER_CHARS, SECTION_CHARS, FIELD_CHARS, CONTEXT_CHARS = 150, 3000, 2000, 2000
URL_CHARS = 1000
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_NAME_CHARS, _WORD_CHARS, _LINE_CHARS = 120, 200, 800

Block = dict[str, Any]


def message(notifications: Sequence[Mapping[str, Any]], links: Links) -> dict[str, Any]:
    """The JSON body that tells these notifications' documents: `blocks`, and `text` where blocks cannot be shown."""
    told = _told(notifications, links)
    return {"text": told["text"], "unfurl_links": False, "unfurl_media": False, "blocks": told["blocks"]}


def revised(shown: Shown, links: Links) -> dict[str, Any]:
    """What the first message of a thread says once more is known: as a message of all of it would, under its own id."""
    latest = [{**data, "addsTo": None} for data in shown.latest]
    told = _told(latest, links)
    *above, foot = told["blocks"]
    was = f"Notification {_code(shown.notification_id)} · as of {slack_time(shown.at)}; what came when is in the thread"
    return {"text": told["text"], "blocks": [*above, {**foot, "elements": [_markdown(cut(was, CONTEXT_CHARS))]}]}


def _told(notifications: Sequence[Mapping[str, Any]], links: Links) -> dict[str, Any]:
    if len(notifications) == 1:
        one = brief(notifications[0], links)
        title, blocks, footer = _title(one), _one(one), _footer(one)
        text, shown = f"{title}. {escape(one.what, SECTION_CHARS)}", one.links
    else:
        many = summary(notifications, links)
        title = text = f"{many.symbol} {escape(many.title, _NAME_CHARS)}"
        blocks, footer, shown = _many(many), f"Notification {_code(many.id)} and {many.others:,} more", many.links
    return {
        "text": text,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": cut(title, HEADER_CHARS), "emoji": True}},
            *blocks,
            {"type": "section", "text": _markdown(" · ".join(map(_link, shown)))},
            {"type": "context", "elements": [_markdown(cut(footer, CONTEXT_CHARS))]},
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
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} at {{time}}|{utc(moment)}>"


def _title(one: Brief) -> str:
    return f"{one.symbol} {escape(one.name, _NAME_CHARS)}: {one.state}"


def _one(one: Brief) -> list[Block]:
    parts = [part for part in (one.what, one.budget, one.adds) if part]
    blocks: list[Block] = [{"type": "section", "text": _markdown(escape(" ".join(parts), SECTION_CHARS))}]
    blocks += [{"type": "section", "text": _markdown(escape(change, _LINE_CHARS))} for change in one.changed]
    if one.first:
        blocks.append({"type": "section", "text": _markdown(f"*First:* {escape(one.first, _LINE_CHARS)}")})
    return [*blocks, {"type": "section", "fields": [_field(row) for row in one.rows]}] if one.rows else blocks


def _many(many: Summary) -> list[Block]:
    lines = "\n".join(f"*{name}:* {escape(text, _LINE_CHARS)}" for name, text in many.counts)
    told = "\n".join(part for part in (lines, many.adds and escape(many.adds, SECTION_CHARS - len(lines) - 1)) if part)
    blocks: list[Block] = [{"type": "section", "text": _markdown(told)}] if told else []
    for one in many.shown:
        parts = [f"{one.symbol} *{escape(one.name, _NAME_CHARS)}*: {one.state}", escape(one.what, _LINE_CHARS)]
        if not many.more:  # of a few there is room for what a message of one says
            parts += [escape(text, _LINE_CHARS) for text in (one.budget,) if text]
            parts += [f"*First:* {escape(one.first, _LINE_CHARS)}"] if one.first else []
            parts += [" · ".join(map(_link, one.links[:-1]))] if one.links[:-1] else []
        blocks.append({"type": "section", "text": _markdown("\n".join(parts))})
    if many.more:
        blocks.append({"type": "section", "text": _markdown(f"and {many.more:,} more")})
    return blocks


def _field(row: Row) -> Block:
    name, value = row
    text = slack_time(value) if isinstance(value, datetime) else escape(value, _WORD_CHARS)
    return _markdown(f"*{name}*\n{text}", FIELD_CHARS)


def _link(link: Link) -> str:
    url = link.url[:URL_CHARS].replace("|", "%7C").replace(">", "%3E").replace("<", "%3C").replace("&", "&amp;")
    return f"<{url}|{escape(link.label, _WORD_CHARS)}>"


def _footer(one: Brief) -> str:
    parts = [f"Notification {_code(one.id)}"]
    parts += [f"incident {_code(one.incident)}"] if one.incident else []
    parts += [escape(one.reason, _WORD_CHARS)] if one.reason else []
    return " · ".join(parts)


def _code(text: Any) -> str:
    return f"`{escape(text, _WORD_CHARS)}`"


def _markdown(text: str, limit: int = SECTION_CHARS) -> Block:
    return {"type": "mrkdwn", "text": cut(text, limit)}

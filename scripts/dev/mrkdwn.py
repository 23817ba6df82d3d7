"""Slack's mrkdwn as HTML. Everything is escaped; links lead only to http, https and mailto."""

from __future__ import annotations

import re
from html import escape

_PIECE = re.compile(
    r"```(?P<pre>.+?)```"
    r"|`(?P<code>[^`\n]+)`"
    r"|<(?P<link>[^<>\n]+)>"
    r"|(?<!\w)\*(?P<strong>[^*\s](?:[^*\n]*[^*\s])?)\*(?!\w)"
    r"|(?<!\w)_(?P<em>[^_\s](?:[^_\n]*[^_\s])?)_(?!\w)"
    r"|(?<!\w)~(?P<s>[^~\s](?:[^~\n]*[^~\s])?)~(?!\w)",
    re.DOTALL,
)
_SAFE = ("http://", "https://", "mailto:")


def plain(text: str) -> str:
    """Slack escapes & < > alone; these become HTML again, with everything else."""
    return escape(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def html(text: str) -> str:
    out, end = [], 0
    for match in _PIECE.finditer(text):
        out.append(plain(text[end : match.start()]).replace("\n", "<br>"))
        out.append(_piece(match))
        end = match.end()
    out.append(plain(text[end:]).replace("\n", "<br>"))
    return "".join(out)


def link(url: str, label: str) -> str:
    if not url.startswith(_SAFE):
        return plain(label)
    return f'<a href="{plain(url)}" rel="noreferrer">{plain(label)}</a>'


def _piece(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    inside = match[kind]
    if kind in ("pre", "code"):
        return f"<{kind}>{plain(inside)}</{kind}>"
    if kind == "link":
        target, _, label = inside.partition("|")
        if target.startswith(("!", "@", "#")):  # <!date^…|fallback>, <!here>, <@U1>, <#C1|name>
            return plain(label or target.lstrip("!"))
        return link(target, label or target)
    return f"<{kind}>{html(inside)}</{kind}>"

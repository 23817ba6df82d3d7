"""The HTML of a mail: one column that fits a phone, light and dark. Pure; everything foreign is escaped.

Colours stand in the elements, because some mail programs drop the style sheet; the sheet only makes them dark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from html import escape as _escaped
from string import Template

from shared.notify.brief import Brief, Row, Summary
from shared.notify.figures import utc
from shared.notify.links import Link

_TONES = {"critical": "#b3261e", "high": "#c2410c", "warning": "#946200", "resolved": "#1a7f4b"}  # 4.5 : 1 on white
_OTHER = "#475569"
_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|×)(?![\w]))")
_FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_DARK = """
:root { color-scheme: light dark; supported-color-schemes: light dark; }
@media (prefers-color-scheme: dark) {
  .ground { background: #121316 !important; }
  .card { background: #1e2025 !important; border-left-color: #33363d !important; border-right-color: #33363d !important;
    border-bottom-color: #33363d !important; }
  .ink { color: #ececee !important; } .soft { color: #a6a8af !important; }
  .line { border-color: #33363d !important; } .box { background: #282b31 !important; }
  .link { color: #8ab8ff !important; }
  .critical { color: #ff8a80 !important; } .high { color: #ffab70 !important; }
  .warning { color: #f2c14e !important; } .resolved { color: #6bd19a !important; } .other { color: #b6bdc9 !important; }
}
@media (max-width: 480px) { .pad { padding: 20px !important; } .outer { padding: 0 !important; } }
"""
_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body class="ground" style="margin:0;padding:0;background:#f3f4f6;-webkit-text-size-adjust:100%">
<div style="display:none;max-height:0;overflow:hidden">$preview</div>
<table role="presentation" class="ground" width="100%" cellpadding="0" cellspacing="0" style="background:#f3f4f6">
<tr><td class="outer" align="center" style="padding:24px 12px">
<table role="presentation" class="card" width="100%" cellpadding="0" cellspacing="0" style="max-width:560px;\
background:#ffffff;border:1px solid #e2e4e9;border-radius:12px;border-top:5px solid $colour;text-align:left">
<tr><td class="pad" style="padding:28px 32px;font-family:$font;font-size:16px;line-height:1.5;overflow-wrap:anywhere">
$body
</td></tr>
</table>
<p class="soft" style="max-width:560px;margin:14px auto 0;padding:0 12px;font-family:$font;font-size:12px;\
line-height:1.5;color:#6b7280;overflow-wrap:anywhere">$foot</p>
</td></tr>
</table>
</body>
</html>
""")


def escape(text: str) -> str:
    """As HTML, with a number kept beside its unit."""
    return _escaped(_UNIT.sub("\u00a0", text))


def page(told: Brief | Summary) -> str:
    body = _one(told) if isinstance(told, Brief) else _many(told)
    title = told.title if isinstance(told, Summary) else f"{told.name}: {told.state}"
    preview = f"{told.state.capitalize()}. {told.what}" if isinstance(told, Brief) else told.title
    foot = [f"Notification {told.id}" + (f" and {told.others:,} more" if isinstance(told, Summary) else "")]
    if isinstance(told, Brief):
        foot += [f"incident {told.incident}"] if told.incident else []
        foot += [told.reason] if told.reason else []
    return _PAGE.substitute(
        title=escape(title),
        style=_DARK,
        preview=escape(preview),
        colour=_TONES.get(told.tone, _OTHER),
        font=escape(_FONT),
        body="\n".join([*body, _links(told.links)]),
        foot=escape(" · ".join(foot)),
    )


def _one(told: Brief) -> list[str]:
    parts = [_state(told.state, told.tone), _heading(told.name), _paragraph(told.what)]
    parts += [_paragraph(text) for text in (told.budget, told.adds) if text]
    if told.changed:
        parts.append(_box("What stands out", told.changed))
    if told.first:
        parts.append(_box("First", (told.first,)))
    return [*parts, _rows(told.rows)] if told.rows else parts


def _many(told: Summary) -> list[str]:
    parts = [_heading(told.title[0].upper() + told.title[1:])]
    parts += [_paragraph(told.adds)] if told.adds else []
    parts += [_rows(told.counts)] if told.counts else []
    for one in told.shown:
        state = _state(one.state, one.tone)
        name = f'<div class="ink" style="font-weight:600;color:#111827">{escape(one.name)}</div>'
        what = f'<div class="soft" style="font-size:15px;color:#4b5563">{escape(one.what)}</div>'
        more = "" if told.more else _more(one)
        style = "border-top:1px solid #e2e4e9;padding:14px 0"
        parts.append(f'<div class="line" style="{style}">{state}{name}{what}{more}</div>')
    if told.more:
        parts.append(f'<p class="soft" style="margin:0 0 8px;color:#4b5563">and {told.more:,} more</p>')
    return parts


def _more(one: Brief) -> str:
    """Of a few there is room for what a mail of one says."""
    first = f"First: {one.first}" if one.first else None
    lines = "".join(
        f'<div class="ink" style="margin-top:4px;font-size:15px;color:#111827">{escape(text)}</div>'
        for text in (one.budget, first)
        if text
    )
    return lines + _further(one.links[:-1])


def _state(state: str, tone: str) -> str:
    name = tone if tone in _TONES else "other"
    style = f"font-size:13px;font-weight:700;letter-spacing:.04em;color:{_TONES.get(tone, _OTHER)}"
    level = "" if tone in ("resolved", "test") else f" · {escape(tone)}"
    return f'<div class="{name}" style="{style};text-transform:uppercase">{escape(state)}{level}</div>'


def _heading(text: str) -> str:
    style = "margin:4px 0 14px;font-size:22px;line-height:1.25;font-weight:700;color:#111827"
    return f'<h1 class="ink" style="{style}">{escape(text)}</h1>'


def _paragraph(text: str) -> str:
    return f'<p class="ink" style="margin:0 0 14px;color:#111827">{escape(text)}</p>'


def _box(title: str, lines: tuple[str, ...]) -> str:
    inside = "".join(f'<div class="ink" style="margin-top:4px;color:#111827">{escape(line)}</div>' for line in lines)
    head = f'<div class="soft" style="font-size:13px;font-weight:600;color:#4b5563">{escape(title)}</div>'
    style = "margin:0 0 14px;padding:12px 14px;background:#f3f4f6;border-radius:8px;font-size:15px"
    return f'<div class="box" style="{style}">{head}{inside}</div>'


def _rows(rows: tuple[Row, ...] | tuple[tuple[str, str], ...]) -> str:
    cells = []
    for name, value in rows:
        shown = utc(value) if isinstance(value, datetime) else value
        left = "padding:7px 16px 7px 0;vertical-align:top;color:#6b7280;white-space:nowrap"
        right = "padding:7px 0;vertical-align:top;color:#111827"
        line = "border-top:1px solid #e2e4e9;font-size:15px;"
        cells.append(
            f'<tr><td class="soft line" style="{line}{left}">{escape(name)}</td>'
            f'<td class="ink line" width="100%" style="{line}{right}">{escape(shown)}</td></tr>'
        )
    style = "margin:4px 0 18px;border-collapse:collapse"
    inside = "".join(cells)
    return f'<table width="100%" cellpadding="0" cellspacing="0" style="{style}">{inside}</table>'


def _links(links: tuple[Link, ...]) -> str:
    first, *others = links
    style = "display:inline-block;padding:11px 20px;border-radius:8px;background:#1d4ed8;color:#ffffff;font-weight:600"
    button = f'<a href="{escape(first.url)}" style="{style};text-decoration:none">{escape(first.label)}</a>'
    return f"<div>{button}</div>{_further(others)}"


def _further(links: Sequence[Link]) -> str:
    more = "".join(
        f'<a class="link" href="{escape(link.url)}" style="display:inline-block;padding:11px 0 0;margin-right:18px;'
        f'color:#1d4ed8">{escape(link.label)}</a>'
        for link in links
    )
    return f"<div>{more}</div>" if more else ""

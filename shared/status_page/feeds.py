"""Incidents and maintenances as Atom and RSS. An entry keeps its id for ever, so that a reader shows it once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from email.utils import format_datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup
from markupsafe import escape as html

from shared.status.cache import Served
from shared.status_page import view, words
from shared.status_page.told import link

KEPT = 50
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_START = datetime(1970, 1, 1, tzinfo=UTC)


class _Entry(NamedTuple):
    id: str
    link: str
    title: str
    published: datetime
    updated: datetime
    content: str


class Feed(NamedTuple):
    """`notice` is there instead of entries while the page is switched off."""

    host: str
    origin: str
    title: str
    notice: str | None
    updated: datetime
    entries: tuple[_Entry, ...]


def feed(served: Served, public_url: str) -> Feed:
    """`updated` is that of the newest entry, so that a feed in which nothing happens stays the same bytes."""
    place = urlsplit(public_url)
    origin = f"{place.scheme}://{place.netloc}"
    snapshot = served.snapshot
    name = snapshot["page"]["name"] if snapshot else "Status"
    entries: list[_Entry] = []
    if snapshot is not None and served.enabled:
        zone = words.zone(snapshot["page"]["timeZone"])
        known = view.maintenances(snapshot, "scheduled", *view.UNDER_WAY, "completed")
        entries = [_entry(i, words.INCIDENT_STATUSES, place.netloc, origin, zone) for i in snapshot["incidents"]]
        entries += [_entry(m, words.MAINTENANCE_STATUSES, place.netloc, origin, zone) for m in known]
    entries.sort(key=lambda entry: (entry.updated, entry.id), reverse=True)
    return Feed(
        place.netloc,
        origin,
        f"{name} - Incident History",
        None if served.enabled else "The status page is switched off. It will be back here.",
        entries[0].updated if entries else _START,
        tuple(entries[:KEPT]),
    )


def atom(found: Feed) -> bytes:
    page = found.origin + "/status/history"
    own = found.origin + "/history.atom"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<feed xml:lang="en" xmlns="http://www.w3.org/2005/Atom">',
        f"<id>{_text(_tag(found.host))}/history</id>",
        f'<link rel="alternate" type="text/html" href={quoteattr(page)}/>',
        f'<link rel="self" type="application/atom+xml" href={quoteattr(own)}/>',
        f"<title>{_text(found.title)}</title>",
        *([f"<subtitle>{_text(found.notice)}</subtitle>"] if found.notice else []),
        f"<updated>{view.iso(found.updated)}</updated>",
        f"<author><name>{_text(found.title.removesuffix(' - Incident History'))}</name></author>",
    ]
    for entry in found.entries:
        lines += [
            "<entry>",
            f"<id>{_text(entry.id)}</id>",
            f"<published>{view.iso(entry.published)}</published>",
            f"<updated>{view.iso(entry.updated)}</updated>",
            f'<link rel="alternate" type="text/html" href={quoteattr(entry.link)}/>',
            f"<title>{_text(entry.title)}</title>",
            f'<content type="html">{_text(entry.content)}</content>',
            "</entry>",
        ]
    return _joined([*lines, "</feed>"])


def rss(found: Feed) -> bytes:
    own = found.origin + "/history.rss"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom">',
        "<channel>",
        f"<title>{_text(found.title)}</title>",
        f"<link>{_text(found.origin + '/status/history')}</link>",
        f'<atom:link rel="self" type="application/rss+xml" href={quoteattr(own)}/>',
        f"<description>{_text(found.notice or 'Incidents and maintenance')}</description>",
        "<language>en</language>",
    ]
    for entry in found.entries:
        lines += [
            "<item>",
            f"<title>{_text(entry.title)}</title>",
            f"<description>{_text(entry.content)}</description>",
            f"<pubDate>{format_datetime(entry.published.astimezone(UTC), usegmt=True)}</pubDate>",
            f"<link>{_text(entry.link)}</link>",
            f'<guid isPermaLink="false">{_text(entry.id)}</guid>',
            "</item>",
        ]
    return _joined([*lines, "</channel>", "</rss>"])


def _entry(event: Mapping[str, Any], statuses: Mapping[str, str], host: str, origin: str, zone: tzinfo) -> _Entry:
    updates = event.get("updates") or ()
    if "scheduledFor" in event:
        first = updates[0]["timestamp"] if updates else event["scheduledFor"]
    else:
        first = event["startedAt"]  # not of the first update, which may be one of those that are left out
    last = max(first, updates[-1]["timestamp"]) if updates else first
    parts = [_part(u["timestamp"], statuses.get(u["status"], u["status"]), u.get("message"), zone) for u in updates]
    if "scheduledFor" in event:
        planned = f"{words.moment(event['scheduledFor'], zone)} to {words.moment(event['scheduledUntil'], zone)}"
        parts.insert(0, Markup("<p>Planned for {}. {}</p>").format(planned, event.get("message") or ""))
    return _Entry(
        f"{_tag(host)}Incident/{quote(event['id'], safe='')}",
        origin + link(event["id"]),
        event["title"],
        first,
        max(last, event.get("resolvedAt") or last),
        "".join(reversed(parts)),
    )


def _part(at: datetime, status: str, message: str | None, zone: tzinfo) -> Markup:
    """One update as Statuspage's feeds have it, so that what reads theirs reads ours."""
    local = at.astimezone(zone)
    day = Markup("{} <var data-var='date'>{}</var>").format(f"{local:%b}", local.day)
    clock = Markup("<var data-var='time'>{}</var> {}").format(f"{local:%H:%M}", local.tzname() or "UTC")
    text = Markup(" - {}").format(html(message)) if message else ""
    return Markup("<p><small>{}, {}</small><br><strong>{}</strong>{}</p>").format(day, clock, status, text)


def _tag(host: str) -> str:
    return f"tag:{host.partition(':')[0]},2005:"


def _text(text: str) -> str:
    """Escaped, without the characters that XML cannot hold."""
    return escape(_NO_XML.sub("", text))


def _joined(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()

"""The public pages as HTML, from the snapshot alone: the page, the history, and one for each incident."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from shared.status.cache import Served
from shared.status_page import view, words
from shared.status_page.past import Whole
from shared.status_page.told import Detail, Teller, Told

MAX_BYTES = 40 * 1024
_EVENTS_BYTES = 22_000  # of a page of the history: the rest is for style, script, and a logo
_BARE_EVENT = 650  # bytes that one takes without its title and the names of its components
_HERE = Path(__file__).parent
_DETAILS = (
    Detail(active=50, past=50, updates=100, characters=4_000, days=90, titles=True),
    Detail(active=30, past=20, updates=8, characters=1_000, days=30, titles=True),
    Detail(active=20, past=10, updates=3, characters=400, days=10, titles=False),
    Detail(active=10, past=5, updates=1, characters=160, days=3, titles=False),
    Detail(active=10, past=0, updates=0, characters=80, days=0, titles=False),
    Detail(active=5, past=0, updates=0, characters=40, days=0, titles=False, drawn=False),
)
_WHOLE = replace(_DETAILS[0], updates=sys.maxsize, characters=sys.maxsize)
_STATES = ("operational", "degraded", "outage", "maintenance", "accent")

Fill = Callable[[Teller], Told]


def render(served: Served, now: datetime) -> bytes:
    """At most 40 KiB: with many or long incidents it shows the newest, in less detail, and says what it left out."""
    snapshot = served.snapshot
    if not served.enabled:
        return _notice(served, "The status page is switched off", "It will be back here.")
    if snapshot is None and not served.reachable:
        text = "The status cannot be read at the moment. Please try again in a minute."
        return _notice(served, "Status unknown", text)
    if snapshot is None:
        return _notice(served, "No data yet", "The status appears here after the first measurements.")
    return _fitted("page.html", served, snapshot, now, lambda teller: _content(snapshot, teller))


def history_page(whole: Whole, asked: str) -> int | None:
    """The number of the page of the history that is `asked` for, if there is one."""
    if not asked.isdecimal() or len(asked) > 3:
        return None
    return int(asked) if 1 <= int(asked) <= max(1, len(_history(whole))) else None


def render_history(whole: Whole, now: datetime, number: int = 1) -> bytes:
    """One page of what began in the last 90 days, by day; the notice of `render` where there is nothing to show."""
    snapshot = whole.snapshot
    if snapshot is None or not whole.enabled:
        return render(whole, now)
    pages = _history(whole)
    events = pages[number - 1] if pages else []

    def content(teller: Teller) -> Told:
        told = [
            teller.maintenance(e) | {"kind": "maintenance"}
            if "scheduledFor" in e
            else teller.incident(e) | {"kind": "incident"}
            for e in events
        ]
        around = {"newer": number - 1, "older": number + 1 if number < len(pages) else 0}
        return {"days": _by_day(told), "complete": whole.complete, **around}

    return _fitted("history.html", whole, snapshot, now, content)


def _history(whole: Whole) -> list[list[Mapping[str, Any]]]:
    """All incidents, and maintenances that have begun, newest first, in pages that fit."""
    known: list[list[Mapping[str, Any]]] | None = whole.prepared.get("history")
    if known is not None:
        return known
    snapshot = whole.snapshot or {"incidents": []}
    events = [*snapshot["incidents"], *view.maintenances(snapshot, *view.UNDER_WAY, "completed")]
    events.sort(key=lambda e: (e.get("startedAt") or e["scheduledFor"], e["id"]), reverse=True)
    names = {c["id"]: c["name"] for c in snapshot.get("components") or ()}
    pages: list[list[Mapping[str, Any]]] = []
    room = 0
    for found in events:
        size = _BARE_EVENT + len(
            escape(found["title"] + "".join(names.get(c, "") for c in found["components"])).encode()
        )
        if size > room:
            pages.append([])
            room = _EVENTS_BYTES
        pages[-1].append(found)
        room -= size
    whole.prepared["history"] = pages
    return pages


def event(served: Served, name: str) -> Mapping[str, Any] | None:
    """The incident or the maintenance of that id, if there is one to show."""
    snapshot = served.snapshot
    if snapshot is None or not served.enabled:
        return None
    known = [*snapshot["incidents"], *view.maintenances(snapshot, "scheduled", *view.UNDER_WAY, "completed")]
    return next((found for found in known if found["id"] == name), None)


def render_event(served: Served, now: datetime, found: Mapping[str, Any]) -> bytes:
    """The page of an incident or a maintenance, with as many of its updates as fit."""
    return _event_page(served, now, found, _DETAILS)


def render_timeline(served: Served, now: datetime, found: Mapping[str, Any]) -> bytes:
    """The same with all of its updates, however large that is."""
    return _event_page(served, now, found, (_WHOLE,))


def _event_page(served: Served, now: datetime, found: Mapping[str, Any], details: Sequence[Detail]) -> bytes:
    snapshot = served.snapshot
    assert snapshot is not None
    if "scheduledFor" in found:
        return _fitted(
            "maintenance.html", served, snapshot, now, lambda t: {"maintenance": t.maintenance(found)}, details
        )
    return _fitted("incident.html", served, snapshot, now, lambda t: {"incident": t.incident(found)}, details)


def render_missing(served: Served, now: datetime, *, complete: bool) -> bytes:
    """For what is not there; or, unless `complete`, may be among what cannot be read at the moment."""
    snapshot = served.snapshot
    if snapshot is None or not served.enabled:
        return render(served, now)
    return _fitted("missing.html", served, snapshot, now, lambda teller: {"complete": complete})


def age(served: Served, now: datetime) -> str:
    """What of a page changes while the snapshot does not; empty where there is no snapshot."""
    snapshot = served.snapshot
    return f"{words.ago(now - snapshot['publishedAt'])} {view.outdated(snapshot, now)}" if snapshot else ""


def headers(served: Served) -> list[tuple[str, str]]:
    """What every page is sent with."""
    return [
        ("Content-Security-Policy", security_policy(served)),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    ]


def security_policy(served: Served) -> str:
    """The Content-Security-Policy: nothing but the page's own style and script, and its own address for the refresh."""
    return (
        "default-src 'none'; "
        f"style-src '{_hash(_style(served.snapshot))}'; script-src '{_hash(_text('page.js'))}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _fitted(
    template: str,
    served: Served,
    snapshot: Mapping[str, Any],
    now: datetime,
    fill: Fill,
    details: Sequence[Detail] = _DETAILS,
) -> bytes:
    """The page in the first of the details that fits, or in the last."""
    summary = view.summary(snapshot)
    is_old = view.outdated(snapshot, now)
    warning = None
    if is_old:
        summary = view.last_known(summary)
        warning = "This page has not been updated for a while and may not show what is happening now."
    elif not served.reachable:
        warning = "New information cannot be read at the moment. This is the last that is known."
    html = b""
    for detail in details:
        teller = Teller(snapshot, detail)
        updated = teller.time(snapshot["publishedAt"]) | {"ago": words.ago(now - snapshot["publishedAt"])}
        frame = _frame(served) | summary._asdict() | {"warning": warning, "outdated": is_old, "updated": updated}
        html = _template(template).render(frame | fill(teller)).encode()
        if len(html) <= MAX_BYTES:
            break
    return html


def _content(snapshot: Mapping[str, Any], teller: Teller) -> Told:
    detail = teller.detail
    active, past = view.active(snapshot), view.resolved(snapshot)
    planned = [*view.maintenances(snapshot, *view.UNDER_WAY), *view.maintenances(snapshot, "scheduled")]
    return {
        "components": [teller.component(component) for component in snapshot["components"]],
        "active": [teller.incident(i) for i in active[: detail.active]],
        "more_active": len(active[detail.active :]),
        "planned": [teller.maintenance(m) for m in planned[: detail.active]],
        "more_planned": len(planned[detail.active :]),
        "past": _by_day([teller.incident(i) for i in past[: detail.past]]),
        "more_past": len(past[detail.past :]),
    }


def _by_day(items: Iterable[Told]) -> list[tuple[str, list[Told]]]:
    return [(day, list(group)) for day, group in groupby(items, key=lambda item: item["day"])]


def render_wait(served: Served, seconds: int) -> bytes:
    """For a client that asked too often. It does not refresh itself, which would be more of the same."""
    text = f"Your network has asked for this page very often. Please try again in {words.many(seconds, 'second')}."
    return _notice(served, "Too many requests", text, live=False)


def _notice(served: Served, headline: str, text: str, **more: Any) -> bytes:
    """A page that has nothing to show and says why."""
    frame = _frame(served) | more | {"tone": "unknown", "headline": headline, "notes": [text], "warning": None}
    nothing: Told = {"components": [], "active": [], "planned": [], "past": []}
    more = {"more_active": 0, "more_planned": 0, "more_past": 0, "updated": None, "outdated": False}
    html: str = _template("page.html").render(frame | nothing | more)
    return html.encode()


def _frame(served: Served) -> Told:
    """What all pages have: name, logo, links, style and script."""
    page = served.snapshot["page"] if served.snapshot else {}
    return {
        "title": f"{page['name']} status" if page.get("name") else "Status",
        "logo": page.get("logo"),
        "links": page.get("links", ()),
        "style": Markup(_style(served.snapshot)),
        "script": Markup(_text("page.js")),
        "live": served.enabled,
        "full": served.enabled and served.snapshot is not None,
    }


def _style(snapshot: Mapping[str, Any] | None) -> str:
    """The page's own style, and after it the configured colours, which are checked to be `#rrggbb`."""
    colours = (snapshot["page"].get("colours") if snapshot else None) or {}
    style = _text("page.css")
    for scheme, tones in sorted(colours.items(), reverse=True):  # light first: dark goes over it
        rules = "".join(f"--{s}:{tones[s]};--{s}-bar:{tones[s]};" for s in _STATES if s in tones)
        if rules:
            style += f"\n@media (prefers-color-scheme:{scheme}){{:root{{{rules}}}}}"
    return style


@cache
def _text(name: str) -> str:
    """Without its indentation, which is a tenth of it."""
    return "\n".join(line.strip() for line in (_HERE / name).read_text(encoding="utf-8").splitlines())


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _template(name: str) -> Any:
    return _environment().get_template(name)

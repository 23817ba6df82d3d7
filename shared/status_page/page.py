"""The public page as HTML, from the snapshot alone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared.status_cache import Served
from shared.status_page import words

MAX_BYTES = 40 * 1024
OUTDATED = timedelta(minutes=11)  # two evaluations missed
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Detail:
    """How much is shown: incidents under way and past, updates of each, characters of a message."""

    active: int
    past: int
    updates: int
    characters: int


_DETAILS = (_Detail(50, 50, 100, 4_000), _Detail(30, 20, 8, 1_000), _Detail(20, 10, 3, 400), _Detail(10, 5, 1, 160))


def render(served: Served, now: datetime) -> bytes:
    """At most 40 KiB: with many or long incidents it shows the newest, in less detail, and says what it left out."""
    html = b""
    for detail in _DETAILS:
        html = _template().render(_page(served, now, detail)).encode()
        if len(html) <= MAX_BYTES:
            break
    return html


def age(served: Served, now: datetime) -> str:
    """The one text of the page that changes while the snapshot does not; empty where there is no snapshot."""
    return words.ago(now - served.snapshot["publishedAt"]) if served.snapshot else ""


@cache
def security_policy() -> str:
    """The Content-Security-Policy: nothing but the page's own style and script, and its own address for the refresh."""
    return (
        "default-src 'none'; "
        f"style-src '{_hash(_text('page.css'))}'; script-src '{_hash(_text('page.js'))}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _page(served: Served, now: datetime, detail: _Detail) -> dict[str, Any]:
    snapshot = served.snapshot
    page: dict[str, Any] = {
        "name": "",
        "links": [],
        "style": Markup(_text("page.css")),
        "script": Markup(_text("page.js")),
        "components": [],
        "active": [],
        "past": [],
        "more_active": 0,
        "more_past": 0,
        "updated": None,
        "warning": None,
        "outdated": False,
        "live": served.enabled,
    }
    if snapshot is not None:
        page |= {"name": snapshot["page"]["name"], "links": snapshot["page"]["links"]}
    if not served.enabled:
        return page | {
            "tone": "unknown",
            "headline": "The status page is switched off",
            "notes": ["It will be back here."],
        }
    if snapshot is None and not served.reachable:
        return page | {
            "tone": "unknown",
            "headline": "Status unknown",
            "notes": ["The status cannot be read at the moment. Please try again in a minute."],
        }
    if snapshot is None:
        return page | {
            "tone": "unknown",
            "headline": "No data yet",
            "notes": ["The status appears here after the first measurements."],
        }
    return page | _filled(snapshot, served.reachable, now, detail)


def _filled(snapshot: Mapping[str, Any], reachable: bool, now: datetime, detail: _Detail) -> dict[str, Any]:
    components: list[Mapping[str, Any]] = snapshot["components"]
    place = words.zone(snapshot["page"]["timeZone"])
    names = {component["id"]: component["name"] for component in components}
    tone, headline, notes = _banner(snapshot["overall"], components)
    outdated = now - snapshot["publishedAt"] >= OUTDATED
    warning = None
    if outdated:
        tone, headline = "unknown", f"Last known: {headline[0].lower()}{headline[1:]}"
        warning = "This page has not been updated for a while and may not show what is happening now."
    elif not reachable:
        warning = "New information cannot be read at the moment. This is the last that is known."

    def shown(time: datetime) -> dict[str, str]:
        return {"iso": f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", "text": words.moment(time, place)}

    def incident(data: Mapping[str, Any]) -> dict[str, Any]:
        updates = data["updates"][::-1][: detail.updates]
        ended = data.get("resolvedAt")
        return {
            "id": data["id"],
            "title": data["title"],
            "tone": "outage" if data["impact"] == "critical" else "degraded",
            "impact": f"{data['impact'].capitalize()} impact",
            "status": words.INCIDENT_STATUSES.get(data["status"], data["status"]),
            "affects": words.listed([names[c] for c in data["components"] if c in names]),
            "started": shown(data["startedAt"]),
            "ended": shown(ended) if ended else None,
            "lasted": words.duration(ended - data["startedAt"]) if ended else None,
            "earlier": data["earlierUpdates"] + len(data["updates"]) - len(updates),
            "updates": [
                {
                    "time": shown(update["timestamp"]),
                    "status": words.INCIDENT_STATUSES.get(update["status"], update["status"]),
                    "message": words.cut(update["message"], detail.characters),
                }
                for update in updates
            ],
        }

    active = [i for i in snapshot["incidents"] if i["status"] != "resolved"]
    past = [i for i in snapshot["incidents"] if i["status"] == "resolved"]
    return {
        "tone": tone,
        "headline": headline,
        "notes": notes,
        "components": [_row(component) for component in components],
        "active": [incident(i) for i in active[: detail.active]],
        "past": [incident(i) for i in past[: detail.past]],
        "more_active": len(active[detail.active :]),
        "more_past": len(past[detail.past :]),
        "updated": shown(snapshot["publishedAt"]) | {"ago": words.ago(now - snapshot["publishedAt"])},
        "warning": warning,
        "outdated": outdated,
    }


def _banner(overall: str, components: list[Mapping[str, Any]]) -> tuple[str, str, list[str]]:
    """Tone, headline, and what the headline does not cover."""
    by_state: dict[str, list[str]] = {}
    for component in components:
        by_state.setdefault(component["state"], []).append(component["name"])
    outage, degraded = by_state.get("outage", []), by_state.get("degraded", [])
    silent, unwatched = by_state.get("no_data", []), by_state.get("not_monitored", [])
    notes = []
    if overall == "outage":
        headline = f"Outage: {words.listed(outage)}"
        if degraded:
            notes.append(f"Degraded: {words.listed(degraded)}.")
    elif overall == "degraded":
        headline = f"Degraded: {words.listed(degraded)}"
    elif overall == "operational":
        headline = "All systems operational" if not silent and not unwatched else "No known problems"
    else:
        headline = "No data yet" if not by_state.get("operational") else "Status unknown"
    if silent:
        notes.append(f"There is no data on {words.listed(silent)}.")
    if unwatched:
        notes.append(f"{words.listed(unwatched)} {'is' if len(unwatched) == 1 else 'are'} not monitored.")
    return overall, headline, notes


def _row(component: Mapping[str, Any]) -> dict[str, Any]:
    figures = []
    if "uptime" in component:
        figures.append(f"{component['uptime']:.2f} % uptime over {words.window(component['uptimeWindowSeconds'])}")
    for key, text in (("latency", "response time"), ("readLatency", "reads"), ("writeLatency", "writes")):
        if key in component:
            figures.append(f"{text} {component[key]:g} ms")
    behind = [f"{p['name']} ({', '.join(p['models'])})" for p in component.get("providers", ())]
    return {
        "name": component["name"],
        "state": component["state"],
        "word": words.STATES[component["state"]],
        "message": words.sentence(component["message"]) if "message" in component else None,
        "behind": component.get("provider") or ", ".join(behind),
        "figures": " · ".join(figure[:1].upper() + figure[1:] for figure in figures),
    }


@cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html")

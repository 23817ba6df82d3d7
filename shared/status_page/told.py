"""Components, incidents and maintenances as the templates want them: every time, name and number is text already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import quote

from shared.domain.timeline import lasted
from shared.status_page import view, words
from shared.status_page.bars import bars

Told = dict[str, Any]

_FIGURES = (("latency", "response time"), ("readLatency", "reads"), ("writeLatency", "writes"))
_TONES = {"critical": "outage"}
_SOON = timedelta(hours=12)  # in no zone of a reader can the time of day then be taken for that of another day


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is shown: incidents under way and past, updates of each, characters of a message, days with problems."""

    active: int
    past: int
    updates: int
    characters: int
    days: int
    titles: bool
    drawn: bool = True  # whether the days are drawn, or only told in one sentence


class Teller:
    """Of one snapshot, in one detail: `place` is the zone of its times, `names` what its components are called."""

    def __init__(self, snapshot: Mapping[str, Any], detail: Detail) -> None:
        self.place: tzinfo = words.zone(snapshot["page"]["timeZone"])
        self.published: datetime = snapshot["publishedAt"]
        self.names = {component["id"]: component["name"] for component in snapshot["components"]}
        self.detail = detail

    def time(self, time: datetime, begin: datetime | None = None) -> Told:
        """`begin`: of what this is the end. Soon after it, the time of day is all that is said."""
        is_soon = begin is not None and timedelta(0) <= time - begin < _SOON
        text = words.clock(time, self.place) if is_soon else words.moment(time, self.place)
        return {"iso": view.iso(time), "text": text, "is_soon": is_soon}

    def day(self, time: datetime) -> str:
        return words.day(time.astimezone(self.place).date())

    def affects(self, event: Mapping[str, Any]) -> str:
        return words.listed([self.names[c] for c in event["components"] if c in self.names])

    def incident(self, data: Mapping[str, Any]) -> Told:
        ended = data.get("resolvedAt")
        earlier = data.get("earlierUpdates", 0)
        return {
            "id": data["id"],
            "link": link(data["id"]),
            "title": data["title"],
            "tone": "operational" if ended else _TONES.get(data["impact"], "degraded"),
            "impact": f"{data['impact'].capitalize()} impact",
            "status": words.INCIDENT_STATUSES.get(data["status"], data["status"]),
            "affects": self.affects(data),
            "at": view.iso(data["startedAt"]),
            "day": self.day(data["startedAt"]),
            "started": self.time(data["startedAt"]),
            "ended": self.time(ended, data["startedAt"]) if ended else None,
            "lasted": words.unbroken(lasted(ended - data["startedAt"])) if ended else None,
            **self.timeline(data["updates"], words.INCIDENT_STATUSES, earlier),
        }

    def maintenance(self, data: Mapping[str, Any]) -> Told:
        under_way = data["status"] in view.UNDER_WAY
        begin = data.get("startedAt") or data["scheduledFor"]
        message = words.cut(data.get("message") or "", self.detail.characters)
        timeline = self.timeline(data.get("updates") or (), words.MAINTENANCE_STATUSES, 0)
        said = any(update["message"] == message for update in timeline["updates"])
        return {
            "id": data["id"],
            "link": link(data["id"]),
            "title": data["title"],
            "tone": "maintenance" if under_way else "unknown",
            "status": words.MAINTENANCE_STATUSES.get(data["status"], data["status"]),
            "message": "" if said else message,
            "affects": self.affects(data),
            "at": view.iso(begin),
            "day": self.day(begin),
            "begin": self.time(begin),
            "end": self.time(data["scheduledUntil"], begin),
            "done": self.time(data["completedAt"], begin) if data.get("completedAt") else None,
            **timeline,
        }

    def timeline(self, updates: Sequence[Mapping[str, Any]], statuses: Mapping[str, str], earlier: int) -> Told:
        """The newest updates first, how many are not shown, and whether a whole timeline would tell more."""
        shown = updates[::-1][: self.detail.updates]
        return {
            "earlier": earlier + len(updates) - len(shown),
            "is_cut": len(shown) < len(updates) or any(self.cuts(update.get("message") or "") for update in shown),
            "updates": [
                {
                    "time": self.time(update["timestamp"]),
                    "status": statuses.get(update["status"], update["status"]),
                    "message": words.cut(update.get("message") or "", self.detail.characters),
                }
                for update in shown
            ],
        }

    def cuts(self, message: str) -> bool:
        return len(message) > self.detail.characters

    def component(self, data: Mapping[str, Any]) -> Told:
        since = words.since(data["uptimeSince"], self.published, self.place) if "uptimeSince" in data else None
        drawn = bars(data, titles=self.detail.titles, since=since)
        providers = data.get("providers") or ()
        separate = any("state" in provider for provider in providers)
        by_provider = {f"{p['name']}: {p['message']}" for p in providers if p.get("message")}
        repeats = bool(by_provider) and set(data.get("message", "").split(". ")) <= by_provider
        together = [f"{p['name']} ({', '.join(p['models'])})" for p in providers]
        figures = [f"{text} {milliseconds(data[key])}" for key, text in _FIGURES if key in data]
        behind = data.get("provider") or ("" if separate else ", ".join(together))
        return {
            "id": data["id"],
            "name": data["name"],
            "state": view.state(data),
            "word": words.STATES[view.state(data)],
            "message": words.sentence(data["message"]) if "message" in data and not repeats else None,
            "facts": facts_of([behind, *figures]),
            "providers": [_provider(p, view.state(data), data.get("message")) for p in providers] if separate else [],
            "bars": drawn if self.detail.drawn else None,
            "troubles": drawn.troubles[: self.detail.days] if drawn else (),
            "label": drawn.label if drawn and not self.detail.drawn else None,
        }


def _provider(data: Mapping[str, Any], default: str, told: str | None) -> Told:
    """`default`: the state of its component; `told`: the component's message, which is not said again."""
    state = "maintenance" if default == "maintenance" else data.get("state", default)
    facts = [", ".join(data.get("models") or ())]
    if "latency" in data:
        facts.append(f"response time {milliseconds(data['latency'])}")
    if data.get("basis") == "feed":
        facts.append("as its own status page says")
    return {
        "name": data["name"],
        "state": state,
        "word": words.STATES[state],
        "message": words.sentence(data["message"]) if data.get("message") and data["message"] != told else None,
        "facts": facts_of(facts),
    }


def facts_of(facts: Sequence[str]) -> str:
    """`Firestore · Reads 45 ms`; a model's name keeps its small letter."""
    told = [fact if n == 0 else fact[:1].upper() + fact[1:] for n, fact in enumerate(facts) if fact]
    return " · ".join(told)


def milliseconds(value: float) -> str:
    """`1,200 ms`."""
    return words.unbroken(f"{value:,.10g} ms")


def link(name: str) -> str:
    """The page of an incident or a maintenance, below the host's root."""
    return f"/status/incidents/{quote(name, safe='')}"
